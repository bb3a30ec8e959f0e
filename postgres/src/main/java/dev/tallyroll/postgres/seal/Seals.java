package dev.tallyroll.postgres.seal;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Markers;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Seals ranges of sources: from then on their buckets are never computed from the source again, so
 * that its rows may go. Thread-safe.
 *
 * <p>A seal stands on a snapshot in which every rollup of the source has merged what was taken out
 * of the range: all are refreshed, then all their locks are taken before the snapshot, and it is
 * looked whether something came in between; if so, once more, and in the end while writers wait.
 * What changes in the range after that snapshot is behind the seal: an insert still counts, an
 * update or a deletion goes to quarantine, unless a registered purger deletes.
 */
public final class Seals {
  private static final int MOST_ATTEMPTS = 6;

  /** So often it is tried while others write. */
  private static final int ATTEMPTS_BESIDE_WRITERS = 3;

  /** How long writers wait at most for a rollup that somebody else works on. */
  private static final Duration LONGEST_HOLD = Duration.ofSeconds(1);

  private final Database database;
  private final InstantSource clock;

  /** For a database; the clock is the refreshes'. */
  public Seals(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * Seals everything before a time, for all rollups of a rollup's source.
   *
   * @param rollup a rollup of the source
   * @param before the end of the range
   * @param purgers roles whose deletions before this time are purges from now on
   * @throws TallyrollException if a part of the range is not filled by a backfill, or a role does
   *     not exist
   */
  public void seal(String rollup, Instant before, List<String> purgers) {
    if (before.isAfter(clock.instant())) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--before " + before + " lies ahead: only the past can be sealed");
    }
    Leaf.Range range = new Leaf.Range(Long.MIN_VALUE, Times.micros(before));
    settled(
        rollup,
        range,
        Writers.WAIT_IF_NEEDED,
        "",
        (connection, all) -> {
          Installed one = all.getFirst();
          if (!purgers.isEmpty() && all.stream().anyMatch(rollup1 -> rollup1.log().isEmpty())) {
            throw new TallyrollException(
                ErrorCode.REFUSED,
                one.bound().table().label()
                    + " is append-only, so nobody may delete from it; source.keep in the definition purges it, and partitions that are sealed may be dropped");
          }
          for (String purger : purgers) {
            if (!Sql.one(
                connection,
                "select to_regrole(quote_ident(?)) is not null",
                row -> row.getBoolean(1),
                purger)) {
              throw new TallyrollException(
                  ErrorCode.UNKNOWN_NAME, "no role '" + purger + "' in this cluster");
            }
            Sql.update(
                connection,
                "insert into tallyroll.purger (source, role) values (?, ?) on conflict do nothing",
                one.source(),
                purger);
          }
          insert(connection, one, range, "sealed before " + Times.format(range.to()));
        });
  }

  /**
   * Writes a seal down. Older seals that it contains go once every rollup has read all that it
   * tells from what came later.
   */
  public static void insert(
      Connection connection, Installed installed, Leaf.Range range, String reason)
      throws SQLException {
    String from = FeedSql.instant(range.from());
    String to = FeedSql.instant(range.to());
    Sql.update(
        connection,
        """
        delete from tallyroll.seal s where s.source = ? and exists (
          select from tallyroll.seal o
          where o.source = s.source and o.range_from <= s.range_from and o.range_to >= s.range_to
            and (o.range_from, o.range_to) <> (s.range_from, s.range_to)
            and not exists (select from tallyroll.rollup r where r.source = s.source
                            and pg_snapshot_xmin(r.cursor) < pg_snapshot_xmax(o.seen)))
        """,
        installed.source());
    Sql.update(
        connection,
        "insert into tallyroll.seal (source, range_from, range_to, seen, reason) select ?, "
            + from
            + ", "
            + to
            + ", pg_current_snapshot(), ? where not exists (select from tallyroll.seal where source = ? and range_from <= "
            + from
            + " and range_to >= "
            + to
            + ")",
        installed.source(),
        reason,
        installed.source());
  }

  /** What becomes of those who write a source while a range of it is settled. */
  public enum Writers {
    /** They go on; if the range keeps changing, it cannot be settled. */
    GO_ON,
    /** They go on, and wait for one refresh and the work if the range keeps changing. */
    WAIT_IF_NEEDED,
    /** They wait for one refresh and the work. */
    WAIT
  }

  /** Work in a snapshot in which a range is settled. */
  @FunctionalInterface
  public interface Work {
    /**
     * Does it; may be called again if the transaction is retried.
     *
     * @param connection in a transaction that holds the locks of all rollups
     * @param all the rollups of the source
     */
    void run(Connection connection, List<Installed> all) throws SQLException;
  }

  /**
   * Does something in a snapshot in which every rollup of a source has merged all that was taken
   * out of a range, and of an append table all that was put in.
   *
   * @param rollup a rollup of the source
   * @param range the range
   * @param writers how long those who write the source may go on
   * @param lock statements that lock more before the snapshot; or nothing
   * @throws TallyrollException if the range is not covered, or keeps changing
   */
  public void settled(String rollup, Leaf.Range range, Writers writers, String lock, Work work) {
    for (int attempt = 1; ; attempt++) {
      List<String> names = siblings(rollup);
      refresh(names);
      boolean isBlocking =
          writers == Writers.WAIT
              || (writers == Writers.WAIT_IF_NEEDED && attempt > ATTEMPTS_BESIDE_WRITERS);
      boolean isDone = Database.retrying(() -> attempt(names, range, isBlocking, lock, work));
      if (isDone) {
        return;
      }
      if (attempt == MOST_ATTEMPTS) {
        throw new TallyrollException(
            ErrorCode.DATABASE,
            "rows before "
                + Times.format(range.to())
                + " keep changing, so that they cannot be sealed; try again when their writers rest");
      }
    }
  }

  private void refresh(List<String> names) {
    try (Refresher refresher = new Refresher(database, clock)) {
      refresher.refreshAll(names);
    }
  }

  /**
   * Refreshes while writers wait, so not for long if somebody else has a rollup's lock.
   *
   * @return whether all were refreshed
   */
  public boolean isRefreshedSoon(List<String> names) {
    long end = System.nanoTime() + LONGEST_HOLD.toNanos();
    try (Refresher refresher = new Refresher(database, clock)) {
      for (String name : names) {
        while (!(refresher.refresh(name, Refresher.WhenBusy.SKIP)
            instanceof RefreshOutcome.Refreshed)) {
          if (System.nanoTime() - end > 0) {
            return false;
          }
          LockSupport.parkNanos(Duration.ofMillis(20).toNanos());
        }
      }
      return true;
    } catch (TallyrollException e) {
      if (e.getCause() instanceof SQLException fault && Faults.isPassing(fault)) {
        return false;
      }
      throw e;
    }
  }

  private List<String> siblings(String rollup) {
    return database.with(
        "seal",
        connection -> Registry.namesOver(connection, Registry.get(connection, rollup).source()));
  }

  /** A range of one time is none of another. */
  private static void checkTimes(List<Installed> all) {
    for (Installed one : all) {
      if (!one.bound().timeSql().equals(all.getFirst().bound().timeSql())) {
        throw new TallyrollException(
            ErrorCode.REFUSED,
            "the rollups '"
                + all.getFirst().name()
                + "' and '"
                + one.name()
                + "' of "
                + one.bound().table().label()
                + " go by different time columns, so that no range of it can be sealed for both");
      }
    }
  }

  private boolean attempt(
      List<String> names, Leaf.Range range, boolean isBlocking, String lock, Work work)
      throws SQLException {
    try (Connection connection = database.openToLock("seal")) {
      connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      connection.setAutoCommit(false);
      try {
        List<Installed> before = new ArrayList<>();
        for (String name : names) {
          before.add(Registry.get(connection, name));
        }
        boolean locksFirst = isBlocking && before.getFirst().bound().table().mayLock(connection);
        connection.commit();
        // Shorter than PostgreSQL waits before it ends somebody for a deadlock.
        Sql.run(connection, "set local lock_timeout = '500ms'");
        if (locksFirst) {
          // Writers wait for one more refresh, which has little to do, so that nothing can come in
          // between. It is the first lock: while writers are waited for, refreshes go on.
          Sql.run(
              connection,
              "lock table "
                  + before.getFirst().bound().table().sqlName()
                  + " in share row exclusive mode");
          if (!isRefreshedSoon(names)) {
            connection.rollback();
            return false;
          }
        }
        Sql.run(
            connection,
            "lock table "
                + before.stream()
                    .map(one -> one.bound().lockName())
                    .collect(Collectors.joining(", "))
                + " in exclusive mode; lock table "
                + before.stream()
                    .flatMap(one -> Stream.of(one.feedLocks().split(", ")))
                    .distinct()
                    .collect(Collectors.joining(", "))
                + " in access share mode"
                + (lock.isEmpty() ? "" : "; " + lock));
        List<Installed> all = new ArrayList<>();
        for (String name : names) {
          all.add(Registry.get(connection, name));
        }
        if (!Registry.namesOver(connection, all.getFirst().source()).equals(names)) {
          connection.rollback();
          return false;
        }
        checkTimes(all);
        for (int i = 0; i < all.size(); i++) {
          all.get(i).checkSame(before.get(i));
        }
        for (Installed one : all) {
          if (!isSettled(connection, one, range)) {
            connection.rollback();
            return false;
          }
        }
        work.run(connection, all);
        connection.commit();
        return true;
      } catch (SQLException | RuntimeException e) {
        Database.rollback(connection, e);
        throw e;
      }
    }
  }

  private static boolean isSettled(Connection connection, Installed installed, Leaf.Range range)
      throws SQLException {
    installed
        .uncovered(range.from(), range.to())
        .ifPresent(gap -> {
          throw new TallyrollException(
              ErrorCode.REFUSED,
              "rollup '"
                  + installed.name()
                  + "' has not counted the history from "
                  + Times.format(gap.getKey())
                  + " to "
                  + Times.format(gap.getValue())
                  + " yet: its rows must not go; first run: {tallyroll} backfill "
                  + installed.name());
        });
    if (Markers.undecided(connection, installed).stream()
        .anyMatch(one -> one.from() < range.to() && range.from() < one.to())) {
      return false;
    }
    String inside = " and " + FeedSql.inRange(installed.bound(), range.from(), range.to());
    return !FeedSql.exists(
        connection,
        FeedSql.unread(installed).stream()
            .filter(branch -> branch.isOut() || installed.log().isEmpty())
            .map(branch -> branch.and(inside))
            .toList());
  }
}
