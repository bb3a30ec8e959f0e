package dev.tallyroll.postgres.refresh;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;

/**
 * The mark of the session that reads for a refresh, a shared advisory lock of its transaction.
 *
 * <p>When a host vanishes, the server ends the session that writes within seconds, and another
 * process takes over. The one that reads may pause for long while what it has read is merged, so
 * the server has to bear with it, until TCP gives it up after a quarter of an hour; so long it
 * would keep its snapshot and its lock on the source. Whoever holds a rollup's lock knows that
 * nobody else reads for that rollup, and ends who still bears the mark.
 */
final class ReadingMark {
  /** The first key of the lock, "tyrl"; the second is the number of the rollup's lock table. */
  private static final int KEY = 0x7479726c;

  private ReadingMark() {}

  /** Marks the session until its transaction ends. Waits for nobody. */
  static void set(Connection reading, BoundRollup bound) throws SQLException {
    Sql.run(
        reading,
        "select pg_advisory_xact_lock_shared(" + KEY + ", " + table(bound) + "::oid::integer)");
  }

  /**
   * Ends the sessions of this role that still read for a rollup, under its lock and before this
   * refresh's own reader is marked. One that is idle may just have come to its end.
   */
  static void endOthers(Connection writing, BoundRollup bound) throws SQLException {
    Sql.list(
        writing,
        "select pg_terminate_backend(a.pid) from pg_locks l join pg_stat_activity a on a.pid = l.pid"
            + " where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = "
            + KEY
            + "::oid and l.objid = "
            + table(bound)
            + "::oid and l.database = a.datid and a.datname = current_database() and a.usename = current_user"
            + " and (a.state = 'active' or a.state_change < clock_timestamp() - interval '2 seconds')",
        row -> row.getBoolean(1));
  }

  private static String table(BoundRollup bound) {
    return Sql.literal(bound.lockName()) + "::regclass";
  }
}
