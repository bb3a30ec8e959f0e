package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
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

  private static final int MOST_ATTEMPTS = 5;

  /** A table, or its schema, is not there any more. */
  private static final Set<String> GONE = Set.of("42P01", "3F000");

  /** The statements that lock the tables of a rollup and begin a reading, by its name. */
  private final Map<String, String> locks = new ConcurrentHashMap<>();

  private final long mostRows;

  /** An engine for a database; the clock says what today is. */
  public QueryEngine(Database database, InstantSource clock) {
    this(database, clock, Long.MAX_VALUE);
  }

  /**
   * The same where several share the heap.
   *
   * @param mostRows answers of more rows are refused while they are read
   */
  public QueryEngine(Database database, InstantSource clock, long mostRows) {
    this.database = database;
    this.clock = clock;
    this.mostRows = mostRows;
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
    return run(connection, request, false).orElseThrow();
  }

  /**
   * Answers a query for one tenant as a role that sees nothing but what PostgreSQL shows it of the
   * tenant that is set in its transaction: neither sources nor change logs. What no refresh has
   * merged yet it gets from the functions of the rollup.
   *
   * @throws TallyrollException as {@link #run}
   */
  public QueryResult runAs(String tenant, QueryRequest request) {
    QueryRequest ofTenant = request.tenants(tenant);
    for (int attempt = 1; ; attempt++) {
      try {
        Optional<QueryResult> answer =
            database.with("query", connection -> run(connection, ofTenant, true));
        if (answer.isPresent()) {
          return answer.get();
        }
      } catch (TallyrollException e) {
        if (attempt == MOST_ATTEMPTS || !isPassing(e)) {
          throw e;
        }
      }
      if (attempt == MOST_ATTEMPTS) {
        throw new TallyrollException(
            ErrorCode.DATABASE, "the source is being purged; ask again in a moment");
      }
    }
  }

  private static boolean isPassing(TallyrollException fault) {
    return fault.getCause() instanceof SQLException cause && Faults.isPassing(cause);
  }

  /** Empty if a purge came between. */
  private Optional<QueryResult> run(Connection connection, QueryRequest request, boolean isReader)
      throws SQLException {
    connection.setAutoCommit(false);
    try {
      Installed installed = locked(connection, request, isReader);
      if (!isReader) {
        RollupVisibility.checkReader(connection, installed.bound());
      }
      QueryResult result =
          new Answer(
                  new Question(connection, installed, request, clock.instant(), isReader, mostRows))
              .rows();
      // A purge that came between the snapshot and the reading of a source, which a reader cannot
      // lock, has left its seal.
      return isReader && endSeeingSeals(connection, request.rollup()) != installed.seals().size()
          ? Optional.empty()
          : Optional.of(result);
    } finally {
      connection.rollback();
      connection.setAutoCommit(true);
    }
  }

  private static int endSeeingSeals(Connection connection, String rollup) throws SQLException {
    return Sql.one(
        connection,
        "rollback; select count(*) from tallyroll.seal s join tallyroll.rollup r on r.source = s.source where r.name = ?",
        row -> row.getInt(1),
        rollup);
  }

  /**
   * Locks tables before the snapshot: what a purge or a dropped partition takes away would
   * otherwise read as empty. Which tables these are is remembered from the last query; if that is
   * wrong by now, it is looked up again.
   */
  private Installed locked(Connection connection, QueryRequest request, boolean isReader)
      throws SQLException {
    String rollup = request.rollup();
    // For one tenant the start of parallel workers takes longer than the reading.
    String settings =
        "set transaction isolation level repeatable read; "
            + (request.tenants().isEmpty() ? "" : "set local max_parallel_workers_per_gather = 0; ")
            + (isReader ? "set local statement_timeout = '60s'; " : "");
    for (int attempt = 1; ; attempt++) {
      String remembered = locks.get(rollup);
      String lock = remembered == null ? lookUp(connection, rollup, isReader) : remembered;
      try {
        Installed installed =
            Registry.getLocked(
                connection,
                settings + lock + "; ",
                rollup,
                isReader ? request.tenants().getFirst() : null);
        if (lockOf(installed, isReader).equals(lock)) {
          return installed;
        }
        // It was dropped and made anew, over something else.
        connection.rollback();
      } catch (SQLException e) {
        connection.rollback();
        if (remembered == null || !GONE.contains(Faults.state(e))) {
          throw e;
        }
      }
      locks.remove(rollup);
      if (attempt == MOST_ATTEMPTS) {
        throw new TallyrollException(
            ErrorCode.DATABASE,
            "rollup '" + rollup + "' is being made anew; ask again in a moment");
      }
    }
  }

  private String lookUp(Connection connection, String rollup, boolean isReader)
      throws SQLException {
    String lock = lockOf(Registry.get(connection, rollup), isReader);
    connection.commit();
    locks.put(rollup, lock);
    return lock;
  }

  private static String lockOf(Installed installed, boolean isReader) {
    BoundRollup bound = installed.bound();
    String tables =
        bound.rollup().grains().keySet().stream()
            .map(bound::grainTable)
            .collect(Collectors.joining(", "));
    return "lock table "
        + tables
        + (isReader ? "" : ", " + installed.feedLocks())
        + " in access share mode; "
        + Feed.beginning(bound);
  }
}
