package dev.tallyroll.postgres.capture;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Empties a change log behind its readers. Writers fill one partition; once it is large they are
 * pointed to an empty one, and when every rollup has read it, it is truncated. Nothing is ever
 * deleted row by row, and nobody waits: a partition that somebody reads is left for the next time.
 *
 * <p>A row is found by its transaction and not by its partition, so that a writer who still fills
 * the last one does no harm.
 *
 * <p>The partition that writers fill has no index, which would cost them more than all else here:
 * it is small and read as a whole. One that they have left, and that cannot be truncated because a
 * reader lags, gets an index. The more of these there are, the larger the next partition becomes.
 */
public final class LogRotation {
  /** By default the first partition is followed by the next at this size. */
  public static final long SLOT_BYTES = 4L << 20;

  private LogRotation() {}

  private record Slot(int number, long bytes, boolean isCurrent, boolean isIndexed) {}

  /**
   * Advances and truncates what can be.
   *
   * @param connection a connection in auto-commit mode, READ COMMITTED: a partition is locked first
   *     and looked into afterwards
   * @param slotBytes the size at which the first partition is followed by the next
   */
  public static void run(Connection connection, Installed installed, long slotBytes)
      throws SQLException {
    ChangeLog log = installed.log().orElse(null);
    if (log == null) {
      return;
    }
    List<Slot> slots =
        Sql.list(
            connection,
            """
            select n, pg_relation_size(c.oid), n = s.log_slot, exists (select from pg_index i where i.indrelid = c.oid)
            from tallyroll.source s, generate_series(0, ?) n, pg_class c
            where s.id = ? and c.oid = ('tallyroll.' || quote_ident(s.log || '_' || n))::regclass
            order by n
            """,
            row -> new Slot(row.getInt(1), row.getLong(2), row.getBoolean(3), row.getBoolean(4)),
            ChangeLog.SLOTS - 1,
            installed.source());
    for (Slot slot : slots) {
      if (!slot.isCurrent() && slot.bytes() > 0) {
        passing(connection, truncation(installed, log, slot));
        if (!slot.isIndexed()) {
          index(connection, log, slot);
        }
      }
    }
    int full = (int) slots.stream().filter(slot -> !slot.isCurrent() && slot.bytes() > 0).count();
    for (Slot slot : slots) {
      if (slot.isCurrent() && slot.bytes() >= slotBytes << (2 * full)) {
        int next = (slot.number() + 1) % ChangeLog.SLOTS;
        if (slots.get(next).bytes() == 0) {
          advance(connection, installed, log, slot.number(), next);
        }
      }
    }
  }

  /** Points writers to another partition, by new trigger functions. */
  private static void advance(
      Connection connection, Installed installed, ChangeLog log, int from, int to)
      throws SQLException {
    String functions =
        String.join(";\n", LogCapture.functions(log, installed.bound().table().oid(), to));
    // The row is locked before the columns of the log are compared: an apply that adds one makes
    // these functions too.
    passing(
        connection,
        "do $advance$ begin perform from tallyroll.source where id = "
            + installed.source()
            + " and log_slot = "
            + from
            + " and log_columns = "
            + log.columns().stream()
                .map(Sql::literal)
                .collect(Collectors.joining(", ", "array[", "]::text[]"))
            + " for update; if found then update tallyroll.source set log_slot = "
            + to
            + " where id = "
            + installed.source()
            + ";\n"
            + functions
            + ";\nend if; end $advance$");
  }

  /**
   * Truncates a partition if every rollup has read it; in one statement, so that the lock is never
   * held while the network is waited for.
   */
  private static String truncation(Installed installed, ChangeLog log, Slot slot) {
    String partition = log.slotName(slot.number());
    // The lock first: what is committed after it was taken cannot lie in this partition.
    return "do $truncate$ begin lock table "
        + partition
        + " in access exclusive mode nowait; if not exists (select from tallyroll.rollup r, "
        + partition
        + " l where r.source = "
        + installed.source()
        + " and r.changes = 'any' and (l."
        + BoundRollup.XID_COLUMN
        + " >= pg_snapshot_xmax(r.cursor) or l."
        + BoundRollup.XID_COLUMN
        + " = any (array(select pg_snapshot_xip(r.cursor))))) then truncate "
        + partition
        + "; drop index if exists "
        + indexName(log, slot)
        + "; end if; end $truncate$";
  }

  private static String indexName(ChangeLog log, Slot slot) {
    return BoundRollup.qualified(log.name() + "_" + slot.number() + "_xid");
  }

  /** An index for those who read a partition again and again because they cannot empty it. */
  private static void index(Connection connection, ChangeLog log, Slot slot) throws SQLException {
    Sql.run(connection, "set lock_timeout = '50ms'");
    try {
      passing(
          connection,
          "do $index$ begin lock table "
              + log.slotName(slot.number())
              + " in share update exclusive mode nowait; if pg_relation_size("
              + Sql.literal(log.slotName(slot.number()))
              + "::regclass) > 0 then create index if not exists "
              + Sql.identifier(log.name() + "_" + slot.number() + "_xid")
              + " on "
              + log.slotName(slot.number())
              + " ("
              + BoundRollup.XID_COLUMN
              + "); end if; end $index$");
    } finally {
      Sql.run(connection, "set lock_timeout = 0");
    }
  }

  /** Runs a statement that somebody may be in the way of, and then is left for the next time. */
  private static void passing(Connection connection, String sql) throws SQLException {
    try {
      Sql.run(connection, sql);
    } catch (SQLException e) {
      if (!Faults.isPassing(e)) {
        throw e;
      }
    }
  }
}
