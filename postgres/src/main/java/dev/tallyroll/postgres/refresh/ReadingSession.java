package dev.tallyroll.postgres.refresh;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;

/**
 * The session that reads for a refresh, known by a shared advisory lock of its transaction.
 *
 * <p>When a host vanishes, the server ends the session that writes within seconds, and another
 * process takes over. The one that reads may pause for long while what it has read is merged, so
 * the server has to bear with it, until TCP gives it up after a quarter of an hour; so long it
 * would keep its snapshot and its lock on the source. A refresh ends its reading before it gives up
 * the rollup's lock: whoever gets that lock knows that nobody else reads for the rollup any more,
 * and ends who still seems to.
 */
final class ReadingSession {
  /** The first key of the lock, "tyrl"; the second is the number of the rollup's lock table. */
  private static final int KEY = 0x7479726c;

  private ReadingSession() {}

  /** Makes the session known until its transaction ends. Waits for nobody. */
  static void begin(Connection reading, BoundRollup bound) throws SQLException {
    Sql.run(
        reading,
        "select pg_advisory_xact_lock_shared(" + KEY + ", " + table(bound) + "::oid::integer)");
  }

  /**
   * Ends the sessions of this role that read for a rollup, in a transaction of its own, while
   * another connection holds the rollup's lock and this one is not {@linkplain #begin known} yet.
   * Does nothing where the role may end no session.
   */
  static void endOthers(Connection reading, BoundRollup bound) throws SQLException {
    List<Integer> others =
        Sql.list(
            reading,
            "select a.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid"
                + " where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = "
                + KEY
                + "::oid and l.objid = "
                + table(bound)
                + "::oid and l.database = a.datid and a.datname = current_database() and a.usename = session_user",
            row -> row.getInt(1));
    try {
      for (int pid : others) {
        Sql.one(reading, "select pg_terminate_backend(" + pid + ")", row -> row.getBoolean(1));
      }
    } catch (SQLException e) {
      if (!Faults.state(e).equals("42501")) {
        throw e;
      }
    }
    reading.rollback();
  }

  private static String table(BoundRollup bound) {
    return Sql.literal(bound.lockName()) + "::regclass";
  }
}
