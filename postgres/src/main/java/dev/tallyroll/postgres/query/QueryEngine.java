package dev.tallyroll.postgres.query;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/**
 * Answers queries from the stored partials and, in the same snapshot, the rows that no refresh has
 * merged yet. Thread-safe.
 *
 * <p>The range is cut into calendar buckets of the asked zone, each of these into the coarsest
 * stored buckets that tile it exactly; each grain is then read once, with only the dimensions and
 * measures that are asked for, and merged here.
 */
public final class QueryEngine {
  private final Database database;
  private final InstantSource clock;

  /** The statement that locks the tables of a rollup, by its name. */
  private final Map<String, String> locks = new ConcurrentHashMap<>();

  /** An engine for a database; the clock says what today is. */
  public QueryEngine(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * Answers a query.
   *
   * @throws TallyrollException if a name does not exist (exit 2), or a part of the range is no
   *     longer or not yet there (exit 3)
   */
  public QueryResult run(QueryRequest request) {
    return database.with("query", connection -> run(connection, request));
  }

  /** Answers a query on a connection that is not in a transaction. */
  public QueryResult run(Connection connection, QueryRequest request) throws SQLException {
    connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    connection.setAutoCommit(false);
    try {
      lock(connection, request);
      Installed installed = Registry.get(connection, request.rollup());
      if (!lockOf(installed).equals(locks.get(request.rollup()))) {
        // It was dropped and made anew, over something else.
        connection.rollback();
        locks.remove(request.rollup());
        lock(connection, request);
        installed = Registry.get(connection, request.rollup());
      }
      RollupVisibility.checkReader(connection, installed.bound());
      return new Answer(new Question(connection, installed, request, clock.instant())).rows();
    } finally {
      connection.rollback();
      connection.setAutoCommit(true);
    }
  }

  /**
   * Locks tables before the snapshot: what a purge or a dropped partition takes away would
   * otherwise read as empty. Which tables these are is remembered from the last query; if that is
   * wrong by now, it is looked up again.
   */
  private void lock(Connection connection, QueryRequest request) throws SQLException {
    // For one tenant the start of parallel workers takes longer than the reading.
    String serial =
        request.tenants().isEmpty() ? "" : "set local max_parallel_workers_per_gather = 0; ";
    String known = locks.get(request.rollup());
    if (known != null) {
      try {
        Sql.run(connection, serial + known);
        return;
      } catch (SQLException e) {
        connection.rollback();
        if (!Faults.state(e).equals("42P01")) {
          throw e;
        }
      }
    }
    Installed installed = Registry.get(connection, request.rollup());
    connection.commit();
    String lock = lockOf(installed);
    locks.put(request.rollup(), lock);
    Sql.run(connection, serial + lock);
  }

  private static String lockOf(Installed installed) {
    BoundRollup bound = installed.bound();
    String tables =
        bound.rollup().grains().keySet().stream()
            .map(bound::grainTable)
            .collect(Collectors.joining(", "));
    return "lock table " + tables + ", " + installed.feedLocks() + " in access share mode";
  }
}
