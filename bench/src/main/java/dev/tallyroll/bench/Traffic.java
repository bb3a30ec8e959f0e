package dev.tallyroll.bench;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Sessions that write to one partitioned table as applications do: inserts of one row and of fifty,
 * upserts, updates of a measure, a dimension, the tenant and the time, deletes, and transactions
 * that are rolled back or held open for 30 seconds. The oldest rows by id are deleted as new ones
 * come, so that the table stays as large as it was.
 *
 * <p>Half of the rows are of the last ten minutes, the others of today and the two days before.
 */
final class Traffic implements AutoCloseable {
  /** Of the rows that are changed in a second. */
  private static final double ONE_ROW = 0.06;

  private static final double FIFTY_ROWS = 0.24;
  private static final double UPSERTS = 0.10;
  private static final double UPDATES = 0.14;

  /** What is new in a second: two sessions of one-row inserts, one of fifty, half of an upsert. */
  static final double NEW = 2 * ONE_ROW + FIFTY_ROWS + UPSERTS / 2;

  private static final Duration HELD = Duration.ofSeconds(30);
  private static final double HELD_EVERY_SECONDS = 120;
  private static final double ROLLED_BACK_EVERY_SECONDS = 2;

  /** Takes an expression for the time and the number of rows. */
  private static final String NEW_ROWS =
      """
      select %s, 'tenant-' || k %% 20, 'project-' || k %% 7, case when k %% 3 > 0 then 'workflow-' || k %% 4 end,
             'openai', (array['sonnet', 'mini', 'large'])[1 + k %% 3], 'user-' || (random() * 100)::int, 'session-' || (random() * 1e6)::int,
             case when i %% 50 = 0 then 'error' else 'ok' end, (random() * 900)::int, (random() * 300)::int, (random() * 0.1)::numeric(12, 6),
             exp(6.5 + random() * 3), exp(4 + random())
      from (select i, (random() * random() * 210)::int k from generate_series(1, %d) i) keys
      """;

  private static final String COLUMNS =
      "ts, tenant_id, project_id, workflow_id, provider, model, user_id, session_id, status, input_tokens, output_tokens, cost_usd, duration_ms, ttft_ms";

  /** Within the days that the source keeps, whatever the time of day. */
  private static final String LIVE =
      "case when random() < 0.5 then now() - random() * interval '10 minutes'"
          + " else now() - random() * (now() - date_trunc('day', now()) + interval '47 hours 59 minutes') end";

  private static final String[] UPDATED = {
    "cost_usd = cost_usd * 1.5, duration_ms = duration_ms + 1",
    "model = case when model = 'mini' then 'large' else 'mini' end",
    "duration_ms = duration_ms / 2, user_id = 'user-' || (random() * 100)::int",
    "status = case when status = 'ok' then 'error' else 'ok' end",
    "tenant_id = 'tenant-' || (random() * 19)::int",
    "ts = greatest(ts - interval '3 minutes', date_trunc('day', ts))"
  };

  private final Sessions sessions;
  private final String table;
  private final long most;
  private final AtomicLong rows = new AtomicLong();
  private volatile long newest;
  private volatile long oldest;

  /**
   * Starts.
   *
   * @param table has the columns of {@link Workload#TABLE} and an {@code id}, key with {@code ts}
   * @param most how many of the newest ids stay
   * @param rate rows that are changed in a second
   */
  Traffic(Database database, String table, long most, int rate) {
    this.sessions = new Sessions(database);
    this.table = table;
    this.most = most;
    sessions.start(ONE_ROW * rate, connection -> counted(insert(connection, 1)));
    sessions.start(ONE_ROW * rate, connection -> counted(insert(connection, 1)));
    sessions.start(FIFTY_ROWS * rate, connection -> counted(insert(connection, 50)));
    sessions.start(UPSERTS * rate, this::upsert);
    sessions.start(UPDATES * rate, this::update);
    sessions.start(4, this::delete);
    sessions.start(1 / ROLLED_BACK_EVERY_SECONDS, this::rollBack);
    sessions.start(1 / HELD_EVERY_SECONDS, this::hold);
  }

  /** Inserts rows of the last four days, of which some are older than the source keeps. */
  static int backlog(Connection connection, String table, int count) throws SQLException {
    return Sql.update(
        connection,
        "insert into %s (%s) ".formatted(table, COLUMNS)
            + NEW_ROWS.formatted("now() - random() * interval '4 days'", count));
  }

  private int insert(Connection connection, int count) throws SQLException {
    return Sql.update(
        connection,
        "insert into %s (%s) ".formatted(table, COLUMNS) + NEW_ROWS.formatted(LIVE, count));
  }

  private double upsert(Connection connection) throws SQLException {
    long id = someId();
    return counted(
        Sql.update(
            connection,
            "insert into %1$s (id, %2$s) select id, %2$s from %1$s where id between ? and ? and tenant_id <> 'probe'"
                    .formatted(table, COLUMNS)
                + " union all select nextval(pg_get_serial_sequence('%s', 'id')), fresh.* from (%s) fresh"
                    .formatted(table, NEW_ROWS.formatted(LIVE, 5))
                + " on conflict (id, ts) do update set cost_usd = excluded.cost_usd + 0.01, status = 'ok'",
            id,
            id + 4));
  }

  private double update(Connection connection) throws SQLException {
    long id = someId();
    String set = UPDATED[ThreadLocalRandom.current().nextInt(UPDATED.length)];
    int updated =
        Sql.update(
            connection,
            "update "
                + table
                + " set "
                + set
                + " where id between ? and ? and tenant_id <> 'probe'",
            id,
            id + 4);
    // At least one, or a stretch without rows would be asked for without a pause.
    return Math.max(1, counted(updated));
  }

  /** An id among those that are not deleted, if rollbacks have not left a hole there. */
  private long someId() {
    return ThreadLocalRandom.current().nextLong(oldest, Math.max(oldest, newest) + 1);
  }

  private double delete(Connection connection) throws SQLException {
    newest =
        Sql.one(connection, "select coalesce(max(id), 0) from " + table, row -> row.getLong(1));
    oldest = Math.max(0, newest - most);
    counted(Sql.update(connection, "delete from " + table + " where id <= ?", oldest));
    return 1;
  }

  private double rollBack(Connection connection) throws SQLException {
    connection.setAutoCommit(false);
    insert(connection, 20);
    Sql.run(connection, "savepoint half");
    Sql.update(connection, "update " + table + " set cost_usd = 0 where id = ?", someId());
    Sql.run(connection, "rollback to half");
    int kept = insert(connection, 5);
    if (ThreadLocalRandom.current().nextBoolean()) {
      connection.commit();
      counted(20 + kept);
    } else {
      connection.rollback();
    }
    connection.setAutoCommit(true);
    return 1;
  }

  private double hold(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    int held = insert(connection, 50);
    sessions.pause(HELD);
    held += insert(connection, 50);
    connection.commit();
    connection.setAutoCommit(true);
    counted(held);
    return 1;
  }

  private int counted(int changed) {
    rows.addAndGet(changed);
    return changed;
  }

  /** Rows that were inserted, updated or deleted, in transactions that were committed. */
  long rows() {
    return rows.get();
  }

  /** How many statements a deadlock or the like has ended. */
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
