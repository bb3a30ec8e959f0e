package dev.tallyroll.postgres.capture;

import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/**
 * Empties a change log behind its readers. Writers fill one partition; once it is large they are
 * pointed to an empty one, and when every rollup has read it, it is truncated. Nothing is ever
 * deleted row by row, and writers never wait: a partition that somebody reads is left for the next
 * time. Where there is a reader at all times, it is waited for now and then, for moments in which
 * other readers wait too; one that has outlasted that is let alone until it has gone.
 *
 * <p>A row is found by its transaction and not by its partition, so that a writer who still fills
 * the last one does no harm.
 *
 * <p>The partition that writers fill has no index, which would cost them more than all else here:
 * it is small and read as a whole. One that they have left, and that cannot be truncated because a
 * reader lags, gets an index; so does the next one then, before it is filled, and the more of these
 * there are, the larger it becomes.
 */
public final class LogRotation {
  /** By default the first partition is followed by the next at this size. */
  public static final long SLOT_BYTES = 4L << 20;

  /** Partitions that could not be truncated at once are waited for so long, from time to time. */
  private static final Duration WAIT = Duration.ofMillis(200);

  /** Readers of a log that grows take longer: then so long, in a few steps. */
  private static final Duration LONGEST_WAIT = Duration.ofMillis(1_800);

  private static final Duration PAUSE = Duration.ofSeconds(10);

  /** Where a reader holds its snapshot for long, the pauses grow, since others wait behind us. */
  private static final Duration LONGEST_PAUSE = Duration.ofMinutes(2);

  /**
   * When the readers of a log are waited for next.
   *
   * @param at the time
   * @param patience how long they are waited for then
   * @param pause how long they are left alone after the longest wait
   * @param outlasted the transactions that the longest wait was in vain for: as long as one of them
   *     reads, nobody has to wait behind us once more
   */
  private record Turn(Instant at, Duration patience, Duration pause, Set<String> outlasted) {
    static Turn first(Instant at) {
      return new Turn(at, WAIT, PAUSE, Set.of());
    }

    /** The one after this, which was in vain for these readers. */
    Turn next(Instant now, Set<String> readers) {
      if (patience.compareTo(LONGEST_WAIT) < 0) {
        return new Turn(now, patience.multipliedBy(3), pause, outlasted);
      }
      Duration longer = pause.multipliedBy(2);
      return new Turn(
          now.plus(pause),
          WAIT,
          longer.compareTo(LONGEST_PAUSE) > 0 ? LONGEST_PAUSE : longer,
          readers);
    }

    /** The same a little later. */
    Turn later(Instant now) {
      return new Turn(now.plus(PAUSE), patience, pause, outlasted);
    }
  }

  /** By the database and the log's name. */
  private static final Map<String, Turn> TURNS = new ConcurrentHashMap<>();

  private LogRotation() {}

  private record Slot(int number, long bytes, boolean isCurrent, boolean isIndexed) {}

  /**
   * Advances and truncates what can be.
   *
   * @param connection a connection in auto-commit mode, READ COMMITTED: a partition is locked first
   *     and looked into afterwards
   * @param slotBytes the size at which the first partition is followed by the next
   * @param now the time, by which readers are waited for now and then
   */
  public static void run(Connection connection, Installed installed, long slotBytes, Instant now)
      throws SQLException {
    if (installed.log().isEmpty()) {
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
    List<Slot> left = slots.stream().filter(slot -> !slot.isCurrent() && slot.bytes() > 0).toList();
    boolean isWaitedFor =
        left.stream().anyMatch(Slot::isIndexed) && waitFor(connection, installed, left, now);
    for (Slot slot : left) {
      if (!isWaitedFor) {
        passing(
            connection, Duration.ofMillis(1), "select " + call("truncate_log", installed, slot));
      }
      if (!slot.isIndexed()) {
        index(connection, installed, slot);
      }
    }
    for (Slot slot : slots) {
      // What has no index is read as a whole, again and again.
      long most = slot.isIndexed() ? slotBytes << (2 * left.size()) : slotBytes;
      if (slot.isCurrent() && slot.bytes() >= most) {
        int next = (slot.number() + 1) % ChangeLog.SLOTS;
        if (slots.get(next).bytes() == 0) {
          // Points writers to another partition, by new trigger functions.
          passing(
              connection,
              Duration.ofMillis(50),
              "select tallyroll.advance_log("
                  + installed.source()
                  + ", "
                  + slot.number()
                  + ", "
                  + next
                  + ")");
        }
      }
    }
  }

  /** Waits for the readers if it is time to, and truncates all that they have read. */
  private static boolean waitFor(
      Connection connection, Installed installed, List<Slot> left, Instant now)
      throws SQLException {
    String log = connection.getMetaData().getURL() + " " + installed.feedName();
    Turn turn = TURNS.computeIfAbsent(log, any -> Turn.first(now));
    // A clock that was set back must not make that an hour.
    if (now.isBefore(turn.at()) && now.plus(LONGEST_PAUSE).isAfter(turn.at())) {
      return false;
    }
    Set<String> readers = readers(connection, installed);
    if (!Collections.disjoint(readers, turn.outlasted())) {
      TURNS.put(log, turn.later(now));
      return false;
    }
    // In one transaction: who waits for the first of them cannot come before the last.
    boolean isDone =
        passing(
            connection,
            turn.patience(),
            left.stream()
                .map(slot -> call("truncate_log", installed, slot))
                .collect(Collectors.joining(", ", "select ", "")));
    readers.retainAll(readers(connection, installed));
    TURNS.put(log, isDone ? Turn.first(now.plus(PAUSE)) : turn.next(now, readers));
    return true;
  }

  /** The transactions that hold a partition of the log. */
  private static Set<String> readers(Connection connection, Installed installed)
      throws SQLException {
    return new HashSet<>(
        Sql.list(
            connection,
            """
            select distinct l.virtualtransaction from pg_locks l join pg_inherits i on i.inhrelid = l.relation
            where i.inhparent = ?::regclass and l.granted and l.pid <> pg_backend_pid()
            """,
            row -> row.getString(1),
            installed.feedName()));
  }

  /** An index for those who read a partition again and again because they cannot empty it. */
  private static void index(Connection connection, Installed installed, Slot slot)
      throws SQLException {
    passing(connection, Duration.ofMillis(50), "select " + call("index_log", installed, slot));
  }

  /**
   * One call does it all, so that no lock is held while the network is waited for; the functions
   * are the installer's, who owns the log.
   */
  private static String call(String function, Installed installed, Slot slot) {
    return "tallyroll." + function + "(" + installed.source() + ", " + slot.number() + ")";
  }

  /**
   * Runs a statement that somebody may be in the way of; false if so, and it is for the next time.
   */
  private static boolean passing(Connection connection, Duration wait, String sql)
      throws SQLException {
    Sql.run(connection, "set lock_timeout = " + wait.toMillis());
    try {
      Sql.run(connection, sql);
      return true;
    } catch (SQLException e) {
      if (!Faults.isPassing(e)) {
        throw e;
      }
      return false;
    } finally {
      if (!connection.isClosed()) {
        Sql.run(connection, "reset lock_timeout");
      }
    }
  }
}
