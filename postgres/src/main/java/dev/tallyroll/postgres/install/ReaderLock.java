package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The lock that keeps readers of a rollup out for the moment in which its tables change. */
final class ReaderLock {
  /** So often it is tried to lock what readers read: about half a minute in all. */
  private static final int MOST_LOCK_ATTEMPTS = 40;

  private static final Duration LONGEST_LOCK_PAUSE = Duration.ofMillis(500);

  private ReaderLock() {}

  /**
   * Locks what readers read. Those who come meanwhile wait, so it is tried for moments only, and
   * again and again: where queries of seconds follow each other, one is seldom at its end.
   *
   * @throws TallyrollException if readers leave no moment for it
   */
  static void take(Connection writing, BoundRollup bound) throws SQLException {
    // Readers lock these tables before their snapshot, so none sees half of it. A view comes before
    // the table below it, as they lock them. The timeout is shorter than PostgreSQL waits before it
    // ends somebody for a deadlock.
    RollupSql sql = new RollupSql(bound, "", null);
    String tables =
        bound.rollup().grains().keySet().stream()
            .flatMap(grain -> Stream.of(sql.freshName(grain), bound.grainTable(grain)))
            .collect(Collectors.joining(", "));
    for (int attempt = 1; ; attempt++) {
      Savepoint before = writing.setSavepoint();
      try {
        Sql.run(
            writing,
            "set local lock_timeout = '500ms'; lock table "
                + bound.lockName()
                + " in access exclusive mode; lock table "
                + tables
                + " in access exclusive mode");
        writing.releaseSavepoint(before);
        return;
      } catch (SQLException e) {
        if (!Faults.state(e).equals("55P03")) {
          throw e;
        }
        writing.rollback(before);
        if (attempt == MOST_LOCK_ATTEMPTS) {
          throw inUse(writing, bound, e);
        }
        LockSupport.parkNanos(ThreadLocalRandom.current().nextLong(LONGEST_LOCK_PAUSE.toNanos()));
      }
    }
  }

  private static TallyrollException inUse(Connection writing, BoundRollup bound, SQLException cause)
      throws SQLException {
    List<String> readers =
        Sql.list(
            writing,
            """
            select 'process ' || a.pid || ' of ' || a.usename || ' since ' || to_char(a.xact_start at time zone 'UTC', 'HH24:MI:SS"Z"')
            from pg_stat_activity a
            where a.pid <> pg_backend_pid() and a.xact_start is not null and exists (
              select from pg_locks l join pg_class c on c.oid = l.relation
              where l.pid = a.pid and l.granted and c.relnamespace = 'tallyroll'::regnamespace and starts_with(c.relname, ?))
            order by a.xact_start limit 5
            """,
            row -> row.getString(1),
            bound.name() + "_");
    return new TallyrollException(
        ErrorCode.DATABASE,
        "the tables of rollup '"
            + bound.name()
            + "' are read without a pause, so its definition cannot be changed at the moment, and nothing is changed; try again, or end who reads for long"
            + (readers.isEmpty() ? "" : ": " + String.join(", ", readers)),
        cause);
  }
}
