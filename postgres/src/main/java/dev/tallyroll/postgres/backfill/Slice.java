package dev.tallyroll.postgres.backfill;

import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tiling;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Recompute;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.merge.ChangeMerger;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.merge.Retention;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;

/**
 * Reads and publishes one slice. For one thread.
 *
 * <p>How it works. The slice is first <em>staged</em>: its rows are read in a snapshot Sk, without
 * the rollup's lock, and folded in memory. Then, under the lock and in a newer snapshot, the
 * partials are merged. What changed in between is added from the change log, the rows that this
 * snapshot sees and Sk did not; and the snapshot is stored with the slice, so that refreshes leave
 * those changes out. History rows of an append table never change, so nothing is to be added there.
 * The staging transaction stays open meanwhile: its locks keep source and log from being cut short.
 *
 * <p>If the partials do not fit into memory, or a row must go to quarantine, the slice is done
 * under the lock as a whole: read, fold and merge by parts in one snapshot.
 */
final class Slice {
  private final Database database;
  private final String rollup;
  private final Coverage.Days days;
  private final Instant now;
  private final long latest;
  private final Feed.Meter meter;
  private final Throttle throttle;
  private final long heapBudget;

  /** Rows that were read as fast as they came, since others waited for a lock. */
  private long owed;

  Slice(
      Database database,
      String rollup,
      Coverage.Days days,
      Instant now,
      Feed.Meter meter,
      Throttle throttle,
      long heapBudget) {
    this.database = database;
    this.rollup = rollup;
    this.days = days;
    this.now = now;
    this.latest = Times.micros(now.plus(Refresher.MOST_AHEAD));
    this.meter = meter;
    this.throttle = throttle;
    this.heapBudget = heapBudget;
  }

  /** Partials that were read outside the lock, or none if they must be read under it. */
  private record Staged(Optional<PartialTable> table, Feed.Result read) {}

  /**
   * Publishes the slice.
   *
   * @return what was read; nothing if another backfill has published it meanwhile
   */
  Feed.Result publish() throws SQLException {
    Feed.Result read = readAndPublish();
    throttle.passed(owed);
    return read;
  }

  private Feed.Result readAndPublish() throws SQLException {
    Installed known = database.with("backfill", connection -> Registry.get(connection, rollup));
    if (cutsDays(known)) {
      return publishWithRefresh();
    }
    if (isBehind(known)) {
      try (Refresher refresher = new Refresher(database, () -> now)) {
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    try (Connection reading = repeatable(database.open("backfill"));
        Connection writing = repeatable(database.openToLock("backfill"))) {
      Installed before = Registry.get(reading, rollup);
      reading.commit();
      lockSource(reading, before);
      String snapshot =
          Sql.one(reading, "select pg_current_snapshot()::text", row -> row.getString(1));
      Staged staged = stage(reading, Registry.get(reading, rollup));
      long erasures = erasures(reading);
      lockRollup(writing, before);
      Installed installed = Registry.get(writing, rollup);
      installed.checkSame(before);
      if (!installed.movedDays().isEmpty()) {
        throw new SQLException("other time zone data was used meanwhile", "40001");
      }
      if (erasures(writing) != erasures) {
        throw new SQLException("rows were erased that this slice has read", "40001");
      }
      boolean isStaged = staged.table().isPresent() && !isMarked(writing, installed, snapshot);
      if (!isStaged) {
        // All over, the locks first: none may be given up and taken again behind a snapshot.
        writing.rollback();
        reading.rollback();
        lockSource(reading, installed);
        lockRollup(writing, installed);
        installed = Registry.get(writing, rollup);
        installed.checkSame(before);
        importSnapshot(writing, reading);
      }
      SortedMap<Grain, Long> kept = Retention.keptFrom(installed, now);
      Retention.store(writing, installed, kept, now);
      Feed.Result read;
      if (isStaged) {
        new Merger(writing, installed.bound(), kept, installed.openFrom())
            .merge(staged.table().orElseThrow());
        read = staged.read();
        if (installed.log().isPresent()) {
          read = read.plus(addChanges(writing, installed, kept, snapshot));
        }
      } else {
        read = readUnderLock(reading, writing, installed, kept);
      }
      if (!record(writing, installed, read)) {
        writing.rollback();
        return Feed.Result.NONE;
      }
      writing.commit();
      return read;
    }
  }

  /**
   * Whether the slice begins or ends within a day of a zone that could only be computed from the
   * source: that would count what no refresh has merged of the rest of the day.
   */
  private boolean cutsDays(Installed installed) {
    SortedMap<Grain, Long> kept = Retention.keptFrom(installed, now);
    long from = Times.micros(days.from());
    long to = Times.micros(days.to());
    return installed.log().isPresent()
        && installed.bound().rollup().grains().keySet().stream()
            .filter(grain -> grain.zone().isPresent())
            .anyMatch(grain -> isCut(grain, from, kept) || isCut(grain, to, kept));
  }

  private static boolean isCut(Grain days, long edge, SortedMap<Grain, Long> kept) {
    long day = days.floor(edge);
    return day < edge
        && day >= kept.getOrDefault(days, Long.MIN_VALUE)
        && Tiling.finer(kept, days, day).isEmpty();
  }

  /**
   * Whether a refresh has to come first: for days of a zone that are stored as other time zone data
   * has them, or buckets that are open since long ago, so that finer ones may be gone.
   */
  private boolean isBehind(Installed installed) {
    return !installed.movedDays().isEmpty()
        || installed.openFrom().values().stream()
            .anyMatch(open -> open < Times.micros(now) - 2 * Times.DAY);
  }

  /** Reads and publishes in the transaction of a refresh, which has merged everything then. */
  private Feed.Result publishWithRefresh() {
    Feed.Result[] result = {Feed.Result.NONE};
    try (Refresher refresher = new Refresher(database, () -> now)) {
      refresher.refresh(
          rollup,
          Refresher.WhenBusy.WAIT,
          (writing, reading) -> {
            result[0] = Feed.Result.NONE;
            Installed installed = Registry.get(writing, rollup);
            boolean isOpen =
                installed.uncovered().stream()
                    .anyMatch(range ->
                        range.from() <= Times.micros(days.from())
                            && Times.micros(days.to()) <= range.to());
            if (isOpen) {
              Feed.Result read =
                  readUnderLock(reading, writing, installed, Retention.keptFrom(installed, now));
              if (record(writing, installed, read)) {
                result[0] = read;
              }
            }
          });
    }
    return result[0];
  }

  /** How many erasures a connection's snapshot sees. */
  private static long erasures(Connection connection) throws SQLException {
    return Sql.one(connection, "select count(*) from tallyroll.erasure", row -> row.getLong(1));
  }

  private static void lockRollup(Connection writing, Installed installed) throws SQLException {
    Sql.run(writing, "lock table " + installed.bound().lockName() + " in exclusive mode");
  }

  private Staged stage(Connection reading, Installed installed) throws SQLException {
    SourceVisibility.check(reading, installed.bound().table());
    RollupVisibility.check(reading, installed.bound());
    SortedMap<Grain, Long> kept = Retention.keptFrom(installed, now);
    PartialTable[] staged = new PartialTable[1];
    boolean[] isTooLarge = new boolean[1];
    Feed.Meter throttled =
        rows -> {
          meter.read(rows);
          throttle.passed(rows);
        };
    Feed feed = new Feed(reading, null, installed.bound(), latest, throttled, heapBudget);
    Feed.Result read =
        feed.read(
            List.of(branch(installed, kept)),
            () -> fold(installed, kept),
            fold -> {
              // What comes after it is read to the end: the connection goes on.
              isTooLarge[0] = isTooLarge[0] || staged[0] != null;
              staged[0] = fold.table();
            });
    if (isTooLarge[0] || read.poison() > 0) {
      return new Staged(Optional.empty(), read);
    }
    PartialTable table = staged[0];
    return new Staged(Optional.of(table == null ? fold(installed, kept).table() : table), read);
  }

  private Feed.Result readUnderLock(
      Connection reading, Connection writing, Installed installed, SortedMap<Grain, Long> kept)
      throws SQLException {
    Merger merger = new Merger(writing, installed.bound(), kept, installed.openFrom());
    Feed.Meter counted =
        rows -> {
          meter.read(rows);
          owed += rows;
        };
    return new Feed(reading, writing, installed.bound(), latest, counted, heapBudget)
        .read(
            List.of(branch(installed, kept)),
            () -> fold(installed, kept),
            fold -> merger.merge(fold.table()));
  }

  /** Whether a marker in the log says that rows do not tell all that changed since a snapshot. */
  private static boolean isMarked(Connection writing, Installed installed, String since)
      throws SQLException {
    return installed.log().isPresent()
        && FeedSql.exists(writing, FeedSql.markersSince(installed, since));
  }

  /** Merges what changed in the slice's days since it was staged. */
  private Feed.Result addChanges(
      Connection writing, Installed installed, SortedMap<Grain, Long> kept, String since)
      throws SQLException {
    BoundRollup bound = installed.bound();
    try (Connection live = repeatable(database.open("backfill"))) {
      // The staging transaction holds the source's lock all the while.
      lockSource(live, installed);
      importSnapshot(writing, live);
      List<Branch> changes =
          FeedSql.changesSince(
              installed, since, Times.micros(days.from()), Times.micros(days.to()));
      ChangeMerger merger =
          new ChangeMerger(
              writing,
              installed,
              kept,
              new Recompute(live, installed, stillUncovered(installed), latest)::groups);
      Feed.Result read =
          new Feed(live, writing, bound, latest, Feed.Meter.NONE, heapBudget)
              .read(
                  changes,
                  () ->
                      RowFold.ofChanges(
                          bound, bound.rollup().foldGrain()::floor, latest, keptFromAny(kept)),
                  fold -> merger.merge(fold.table()));
      merger.end();
      live.rollback();
      return read;
    }
  }

  /** What no slice has published, this one aside. */
  private List<Leaf.Range> stillUncovered(Installed installed) {
    return SourceRanges.difference(
        installed.uncovered(),
        List.of(new Leaf.Range(Times.micros(days.from()), Times.micros(days.to()))));
  }

  /** Gives the writer's snapshot to another connection, which has locked the source. */
  private static void importSnapshot(Connection writing, Connection with) throws SQLException {
    String exported = Sql.one(writing, "select pg_export_snapshot()", row -> row.getString(1));
    Sql.run(with, "set transaction snapshot " + Sql.literal(exported));
  }

  private static void lockSource(Connection connection, Installed installed) throws SQLException {
    Sql.run(
        connection,
        "set local lock_timeout = '10s'; lock table "
            + installed.feedLocks()
            + " in access share mode");
  }

  private Branch branch(Installed installed, SortedMap<Grain, Long> kept) {
    long from = Times.micros(days.from());
    long to = Times.micros(days.to());
    String range =
        FeedSql.inRange(installed.bound(), Math.max(from, Math.min(to - 1, keptFromAny(kept))), to);
    return FeedSql.source(
        installed.bound(),
        installed.log().isPresent() ? range : installed.isHistorySql() + " and " + range);
  }

  private RowFold fold(Installed installed, SortedMap<Grain, Long> kept) {
    return new RowFold(
        installed.bound(),
        installed.bound().rollup().foldGrain()::floor,
        Times.micros(days.from()),
        Times.micros(days.to()),
        latest,
        keptFromAny(kept));
  }

  private static long keptFromAny(SortedMap<Grain, Long> kept) {
    return kept.values().stream().mapToLong(Long::longValue).min().orElse(Long.MIN_VALUE);
  }

  /** Publishes, and says whether nobody else has. */
  private boolean record(Connection writing, Installed installed, Feed.Result read)
      throws SQLException {
    boolean mine =
        Sql.update(
                writing,
                "insert into tallyroll.slice (rollup, day_from, day_to, rows, seen) select ?, ?, ?, ?, "
                    + (installed.log().isPresent() ? "pg_current_snapshot()" : "null")
                    + " where not exists (select"
                    + " from tallyroll.slice where rollup = ? and daterange(day_from, day_to) && daterange(?, ?))",
                rollup,
                days.from(),
                days.to(),
                read.rows(),
                rollup,
                days.from(),
                days.to())
            == 1;
    if (mine) {
      Sql.update(
          writing,
          "update tallyroll.refresh set total_rows = total_rows + ?, expired_rows = expired_rows + ?, merged_to = greatest(merged_to, "
              + (read.newest() == Long.MIN_VALUE ? "null" : FeedSql.instant(read.newest()))
              + ") where rollup = ?",
          read.rows(),
          read.expired(),
          rollup);
    }
    return mine;
  }

  private static Connection repeatable(Connection connection) throws SQLException {
    connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    connection.setAutoCommit(false);
    return connection;
  }
}
