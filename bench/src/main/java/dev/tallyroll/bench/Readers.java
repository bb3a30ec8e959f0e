package dev.tallyroll.bench;

import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.InstantSource;
import java.time.ZoneId;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Sessions that ask a rollup, by {@link QueryEngine} and by a fresh view, once a second each, and
 * one that holds a snapshot for a while.
 */
final class Readers implements AutoCloseable {
  /**
   * The rows of the source and those that its rollup has counted, of the days that the source
   * surely has.
   */
  private static final String BOTH =
      """
      select (select count(*) from %1$s where ts >= date_trunc('day', now()) - interval '1 day'),
             stored.*
      from (select coalesce(sum(requests), 0)::bigint, coalesce(bool_and(complete), true)
            from tallyroll.%2$s_1h_fresh where bucket >= date_trunc('day', now()) - interval '1 day') stored
      """;

  private final Database database;
  private final Sessions sessions;
  private final String both;
  private final AtomicLong queries = new AtomicLong();

  private record Seen(long source, long counted, boolean isComplete) {
    boolean isWrong() {
      return isComplete && source != counted;
    }
  }

  /** Starts those that ask. */
  Readers(Database database, String table, String rollup) {
    this.database = database;
    this.sessions = new Sessions(database);
    this.both = BOTH.formatted(table, rollup);
    QueryEngine engine = new QueryEngine(database, InstantSource.system());
    QueryRequest byDay =
        QueryRequest.of(rollup)
            .by("model")
            .measuring("requests", "cost_usd", "p95(duration_ms)", "users")
            .every(Every.DAY, ZoneId.of("Asia/Kolkata"));
    sessions.start(
        1,
        connection -> {
          engine.run(connection, byDay);
          queries.incrementAndGet();
          return 1;
        });
    sessions.start(
        1,
        connection -> {
          Seen seen = look(connection);
          if (seen.isWrong()) {
            throw new IllegalStateException("a fresh view counts otherwise: " + seen);
          }
          queries.incrementAndGet();
          return 1;
        });
  }

  private Seen look(Connection connection) throws SQLException {
    return Sql.one(
        connection, both, row -> new Seen(row.getLong(1), row.getLong(2), row.getBoolean(3)));
  }

  /**
   * Holds one snapshot for so long.
   *
   * @return what it saw first and last, which must be the same
   */
  String hold(Duration time) throws SQLException, InterruptedException {
    try (Connection connection = database.open("bench")) {
      connection.setAutoCommit(false);
      connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      Seen first =
          Database.retrying(() -> {
            connection.rollback();
            return look(connection);
          });
      sessions.pause(time);
      Seen last = look(connection);
      connection.rollback();
      if (!first.equals(last) || first.isWrong()) {
        throw new IllegalStateException("a snapshot saw " + first + " and then " + last);
      }
      return first.toString();
    }
  }

  /** How many answers there were. */
  long queries() {
    return queries.get();
  }

  /** How many times a reader was told to run its query again. */
  long passing() {
    return sessions.passing();
  }

  /** Throws what has ended a session. */
  void check() {
    sessions.check();
  }

  @Override
  public void close() {
    sessions.close();
  }
}
