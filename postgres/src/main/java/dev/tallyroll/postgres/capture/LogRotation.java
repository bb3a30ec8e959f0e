package dev.tallyroll.postgres.capture;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;

/**
 * Empties a change log behind its readers. Writers fill one partition; once it is large they are
 * pointed to an empty one, and when every rollup has read it, it is truncated. Nothing is ever
 * deleted row by row, and nobody waits: a partition that somebody reads is left for the next time.
 *
 * <p>A row is found by its transaction and not by its partition, so that a writer who still fills
 * the last one does no harm.
 */
public final class LogRotation {
  /** By default a partition of this size is followed by the next. */
  public static final long SLOT_BYTES = 16L << 20;

  private LogRotation() {}

  /**
   * Advances and truncates what can be.
   *
   * @param connection a connection in auto-commit mode, READ COMMITTED: a partition is locked first
   *     and looked into afterwards
   * @param slotBytes the size at which a partition is followed by the next
   */
  public static void run(Connection connection, Installed installed, long slotBytes)
      throws SQLException {
    ChangeLog log = installed.log().orElse(null);
    if (log == null) {
      return;
    }
    record Slot(int number, long bytes, boolean isCurrent) {}
    List<Slot> slots =
        Sql.list(
            connection,
            "select n, pg_relation_size(('tallyroll.' || quote_ident(s.log || '_' || n))::regclass), n = s.log_slot"
                + " from tallyroll.source s, generate_series(0, ?) n where s.id = ? order by n",
            row -> new Slot(row.getInt(1), row.getLong(2), row.getBoolean(3)),
            ChangeLog.SLOTS - 1,
            installed.source());
    for (Slot slot : slots) {
      if (slot.isCurrent() && slot.bytes() >= slotBytes) {
        int next = (slot.number() + 1) % ChangeLog.SLOTS;
        if (slots.get(next).bytes() == 0) {
          Sql.update(
              connection,
              "update tallyroll.source set log_slot = ? where id = ? and log_slot = ?",
              next,
              installed.source(),
              slot.number());
        }
      } else if (!slot.isCurrent() && slot.bytes() > 0) {
        truncate(connection, installed.source(), log, slot.number());
      }
    }
  }

  /**
   * Truncates a partition if every rollup has read it; in one statement, so that the lock is never
   * held while the network is waited for.
   */
  private static void truncate(Connection connection, long source, ChangeLog log, int slot)
      throws SQLException {
    String partition = log.slotName(slot);
    String unread = "select from " + partition + " where " + BoundRollup.XID_COLUMN + " %s";
    try {
      // The lock first: what is committed after it was taken cannot lie in this partition.
      Sql.run(
          connection,
          "do $truncate$ begin lock table "
              + partition
              + " in access exclusive mode nowait; if not exists (select from tallyroll.rollup r, lateral ("
              + unread.formatted(">= pg_snapshot_xmax(r.cursor)")
              + " union all "
              + unread.formatted("= any (array(select pg_snapshot_xip(r.cursor)))")
              + ") unread where r.source = "
              + source
              + " and r.changes = 'any') then truncate "
              + partition
              + "; end if; end $truncate$");
    } catch (SQLException e) {
      if (!Faults.isPassing(e)) {
        throw e;
      }
    }
  }
}
