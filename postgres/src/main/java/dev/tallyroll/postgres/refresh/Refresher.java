package dev.tallyroll.postgres.refresh;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.capture.Leaves;
import dev.tallyroll.postgres.capture.LogRotation;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Marked;
import dev.tallyroll.postgres.feed.Markers;
import dev.tallyroll.postgres.feed.Recompute;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.merge.ChangeMerger;
import dev.tallyroll.postgres.merge.DayRebuild;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.merge.OpenBuckets;
import dev.tallyroll.postgres.merge.Retention;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.registry.StoredDays;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.OffsetDateTime;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;

/**
 * Brings rollups up to date. Holds two connections, which it opens when it needs them and keeps;
 * must be closed. For one thread.
 *
 * <p>One refresh is one transaction: it takes the rollup's lock before its snapshot S2, reads what
 * the cursor S1 has not seen, merges it into every grain and stores S2 as the cursor. Killed
 * anywhere, it leaves the state before or after. The source is read on the second connection, in
 * the same snapshot, so that reading, folding and writing overlap; that one locks the source before
 * the snapshot, since a purge in between would show as rows that are not there.
 */
public final class Refresher implements AutoCloseable {
  /** Events further ahead than this have a wrong clock. */
  public static final Duration MOST_AHEAD = Duration.ofDays(1);

  /** A clock further ahead of the server's than this is wrong. */
  private static final Duration MOST_CLOCK_AHEAD = Duration.ofHours(1);

  private static final int ATTEMPTS_IN_PASSING = 2;

  /** What is said to somebody who asks for something that is not there or must not be done. */
  private static final Set<ErrorCode> ANSWERS =
      Set.of(ErrorCode.USAGE, ErrorCode.UNKNOWN_NAME, ErrorCode.REFUSED);

  /**
   * How much is held at once.
   *
   * @param heapBytes bytes of partials in memory; more are merged in several passes of one
   *     transaction
   * @param logSlotBytes bytes of a partition of a change log
   */
  public record Limits(long heapBytes, long logSlotBytes) {
    /** A third of the heap, and the usual size of partitions. */
    public static final Limits DEFAULT =
        new Limits(Feed.defaultHeapBudget(), LogRotation.SLOT_BYTES);

    /** The same with less memory. */
    public Limits withHeap(long bytes) {
      return new Limits(bytes, logSlotBytes);
    }
  }

  private final Database database;
  private final InstantSource clock;
  private final Feed.Meter meter;
  private final Limits limits;
  private boolean ofAnyCluster;
  private boolean leavesOpen;
  private boolean trustsClock;

  /** Whether the refresh itself is done, and more is worked on in its transaction. */
  private boolean isBeyond;

  /** Rollups that this refresher has refreshed, and those with partitions that may have to go. */
  private final Set<String> seen = new HashSet<>();

  private final Set<String> dropDue = new HashSet<>();
  private RefreshConnections connections;

  /** A refresher of a database. */
  public Refresher(Database database, InstantSource clock) {
    this(database, clock, Feed.Meter.NONE, Limits.DEFAULT);
  }

  /**
   * A refresher.
   *
   * @param database the database
   * @param clock tells what is no longer kept and what lies in the future
   * @param meter is told how many rows are read
   * @param limits how much is held at once
   */
  public Refresher(Database database, InstantSource clock, Feed.Meter meter, Limits limits) {
    this.database = database;
    this.clock = clock;
    this.meter = meter;
    this.limits = limits;
    this.connections = new RefreshConnections(database);
  }

  /** From now on refreshes on these, which others use between its refreshes. */
  void use(RefreshConnections shared) {
    connections = shared;
  }

  /**
   * From now on also refreshes rollups that were made in another cluster: what their cursors have
   * not seen is told by the stored transaction ids alone.
   */
  public Refresher ofAnyCluster() {
    ofAnyCluster = true;
    return this;
  }

  /**
   * From now on leaves buckets that have not ended open where a grain is finer: they are not stored
   * until then. For those who refresh again and again.
   */
  public Refresher leavingOpen() {
    leavesOpen = true;
    return this;
  }

  /**
   * From now on believes the clock even where it has gone far ahead since the last refresh, so that
   * what is no longer kept goes. For one refresh that somebody has asked for.
   */
  public Refresher trustingClock() {
    trustsClock = true;
    return this;
  }

  private Installed installed(Connection connection, String name) throws SQLException {
    return ofAnyCluster
        ? Registry.getOfAnyCluster(connection, name)
        : Registry.get(connection, name);
  }

  /** What to do while another process writes the rollup. */
  public enum WhenBusy {
    /** Wait for it. */
    WAIT,
    /**
     * Come back with {@link RefreshOutcome.Busy}; and where the source is locked, fail after
     * seconds, for who comes again anyway.
     */
    SKIP
  }

  /**
   * Refreshes one rollup. Passing faults are retried; a fault that stays is recorded with the
   * rollup and thrown.
   *
   * @throws TallyrollException with what failed
   */
  public RefreshOutcome refresh(String rollup, WhenBusy whenBusy) {
    return refresh(rollup, whenBusy, (writing, reading) -> {});
  }

  /** More work in the transaction of a refresh, after its merge. */
  @FunctionalInterface
  public interface Also {
    /**
     * Does it; may be called again if the refresh is retried.
     *
     * @param writing the writer's connection, under the rollup's lock
     * @param reading the source's, in the same snapshot
     */
    void run(Connection writing, Connection reading) throws SQLException;
  }

  /** Refreshes one rollup, and does more work in the same transaction. */
  public RefreshOutcome refresh(String rollup, WhenBusy whenBusy, Also also) {
    return refresh(rollup, Locks.NONE, whenBusy, also);
  }

  /** Refreshes rollups one after the other, waiting for those that another process writes. */
  public void refreshAll(List<String> rollups) {
    for (String rollup : rollups) {
      refresh(rollup, WhenBusy.WAIT);
    }
  }

  /**
   * More that is locked before the snapshot.
   *
   * @param rollup another rollup, whose lock is taken first; empty for none
   * @param feed a table that is read, quoted; empty for none
   */
  public record Locks(String rollup, String feed) {
    /** Nothing more. */
    public static final Locks NONE = new Locks("", "");
  }

  /** The same, with more locks. */
  public RefreshOutcome refresh(String rollup, Locks other, WhenBusy whenBusy, Also also) {
    try {
      RefreshOutcome outcome =
          Database.retrying(
              whenBusy == WhenBusy.SKIP ? ATTEMPTS_IN_PASSING : Database.MOST_ATTEMPTS,
              () -> attempt(rollup, other, whenBusy, also));
      return outcome instanceof RefreshOutcome.Refreshed refreshed && dropDue.remove(rollup)
          ? drop(refreshed)
          : outcome;
    } catch (RuntimeException e) {
      // What more was asked for and is refused says nothing of the rollup.
      if (!(isBeyond && e instanceof TallyrollException fault && ANSWERS.contains(fault.code()))) {
        record(rollup, e);
      }
      throw e;
    }
  }

  private RefreshOutcome attempt(String name, Locks other, WhenBusy whenBusy, Also also)
      throws SQLException {
    Instant started = clock.instant();
    long began = System.nanoTime();
    isBeyond = false;
    Connection writing = connections.writer();
    Connection reading = connections.reader();
    try {
      // The lock and the source's lock come before the first snapshot on either connection.
      Installed before = installed(writing, name);
      writing.commit();
      Leaves.complete(writing, database, before);
      if (!lock(writing, before.bound(), other.rollup(), whenBusy)) {
        writing.rollback();
        return new RefreshOutcome.Busy(name);
      }
      // Before the source's lock: somebody may wait for what they hold.
      ReadingSession.endOthers(reading, before.bound());
      Sql.run(
          reading,
          "set local lock_timeout = '"
              + (whenBusy == WhenBusy.SKIP ? "2s" : "10s")
              + "'; lock table "
              + before.feedLocks()
              + (other.feed().isEmpty() ? "" : ", " + other.feed())
              + " in access share mode");
      String exported = Sql.one(writing, "select pg_export_snapshot()", row -> row.getString(1));
      Sql.run(reading, "set transaction snapshot " + Sql.literal(exported));
      ReadingSession.begin(reading, before.bound());
      Installed found = installed(writing, name);
      found.checkSame(before);
      String snapshot =
          Sql.one(writing, "select pg_current_snapshot()::text", row -> row.getString(1));
      check(reading, found);
      RollupVisibility.check(reading, found.bound());
      checkClock(writing, started);
      Installed known =
          Leaves.sealVanished(writing, reading, database, found).isEmpty()
              ? found
              : installed(writing, name);
      Installed sealed = trustsClock ? known.withKeepTime(known.keepTime().trusting()) : known;

      SortedMap<Grain, Long> kept = Retention.keptFrom(sealed, started);
      Installed installed =
          OpenBuckets.move(
              writing, sealed, kept, leavesOpen ? Optional.of(started) : Optional.empty());
      Optional<String> held = Retention.store(writing, installed, kept, started).held(name);
      if (!kept.equals(installed.keptFrom()) || seen.add(name)) {
        dropDue.add(name);
      }
      long latest = Times.micros(started.plus(MOST_AHEAD));
      DayRebuild rebuild =
          new DayRebuild(writing, reading, installed, kept, installed.log().isEmpty(), latest);
      Map<Grain, List<StoredDays.Moved>> moved = moved(writing, installed, rebuild, latest);
      Feed.Result read = merge(writing, reading, installed, kept, latest);
      for (Map.Entry<Grain, List<StoredDays.Moved>> days : moved.entrySet()) {
        for (StoredDays.Moved one : days.getValue()) {
          rebuild.run(days.getKey(), one);
        }
        StoredDays.register(writing, name, days.getKey());
      }
      Duration took = Duration.ofNanos(System.nanoTime() - began);
      store(writing, name, snapshot, read, took);
      isBeyond = true;
      also.run(writing, reading);
      isBeyond = false;
      reading.rollback();
      writing.commit();
      if (installed.log().isPresent()) {
        reading.setAutoCommit(true);
        // What is committed once the rotation has its lock must be seen: no snapshot from before
        // it.
        reading.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        LogRotation.run(reading, installed, limits.logSlotBytes(), clock.instant());
        reading.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        reading.setAutoCommit(false);
      }
      return new RefreshOutcome.Refreshed(
          name, read.rows(), read.expired(), read.poison(), took, List.of(), held);
    } catch (SQLException | RuntimeException e) {
      // Both connections are given up, and what they hold is rolled back.
      close();
      if (e instanceof SQLException fault && Faults.state(fault).equals("42P01")) {
        // It may have been dropped meanwhile, or taken the place of the one that it was built
        // beside: then this says that there is none.
        database.with("refresh", connection -> Registry.get(connection, name));
      }
      throw e;
    }
  }

  /** What was checked when the rollup was applied may be otherwise by now. */
  private static void check(Connection reading, Installed installed) throws SQLException {
    SourceTable table = installed.bound().table();
    SourceVisibility.check(reading, table);
    table
        .obstacle(reading, installed.log().isPresent())
        .ifPresent(why -> {
          throw new TallyrollException(
              ErrorCode.REFUSED, "not all changes are captured any more: " + why);
        });
  }

  /** Reads what the cursor has not seen, and merges it. */
  private Feed.Result merge(
      Connection writing,
      Connection reading,
      Installed installed,
      SortedMap<Grain, Long> kept,
      long latest)
      throws SQLException {
    BoundRollup bound = installed.bound();
    long keptFromAny =
        kept.values().stream().mapToLong(Long::longValue).min().orElse(Long.MIN_VALUE);
    Feed feed = new Feed(reading, writing, bound, latest, meter, limits.heapBytes());
    if (installed.log().isEmpty()) {
      Merger merger = new Merger(writing, bound, kept, installed.openFrom());
      return feed.read(
          FeedSql.unread(installed),
          () -> RowFold.ofAll(bound, latest, keptFromAny),
          fold -> merger.merge(fold.table()));
    }
    List<Marked> marked = Markers.unread(reading, installed);
    Rebuild rebuild = new Rebuild(writing, feed, installed, kept, latest);
    Feed.Result read = Feed.Result.NONE;
    for (Marked one : marked) {
      read = read.plus(rebuild.run(one));
    }
    feed.quarantineChanges(FeedSql.sealed(installed));
    ChangeMerger merger =
        new ChangeMerger(
            writing,
            installed,
            kept,
            new Recompute(reading, installed, installed.uncovered(), latest)::groups);
    String outside = marked.isEmpty() ? "" : " and not " + Marked.contains(bound, marked);
    read =
        read.plus(
            feed.read(
                FeedSql.unread(installed).stream().map(branch -> branch.and(outside)).toList(),
                () ->
                    RowFold.ofChanges(
                        bound, bound.rollup().foldGrain()::floor, latest, keptFromAny),
                fold -> merger.merge(fold.table())));
    merger.end();
    DayRebuild days = new DayRebuild(writing, reading, installed, kept, false, latest);
    for (Marked one : marked) {
      days.run(one, marked);
    }
    Sql.update(
        writing,
        "update tallyroll.slice set seen = null where rollup = ? and seen is not null",
        installed.name());
    return read;
  }

  /**
   * What has moved of the days of zones, where the time zone data says something else than when
   * they were stored. Gives the stored days their new starts, before anything is merged.
   */
  private static Map<Grain, List<StoredDays.Moved>> moved(
      Connection writing, Installed installed, DayRebuild rebuild, long latest)
      throws SQLException {
    Map<Grain, List<StoredDays.Moved>> moved = new LinkedHashMap<>();
    for (Grain days : installed.movedDays()) {
      moved.put(days, StoredDays.moved(writing, installed.name(), days, latest));
      for (StoredDays.Moved one : moved.get(days)) {
        rebuild.move(days, one);
      }
    }
    return moved;
  }

  /**
   * A clock that runs ahead would drop partitions that are still to be kept, so it is held against
   * the server's.
   */
  private static void checkClock(Connection connection, Instant now) throws SQLException {
    Instant server =
        Sql.one(
            connection,
            "select clock_timestamp()",
            row -> row.getObject(1, OffsetDateTime.class).toInstant());
    Duration ahead = Duration.between(server, now);
    if (ahead.compareTo(MOST_CLOCK_AHEAD) > 0) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "this host's clock is "
              + ahead.toMinutes()
              + " minutes ahead of the database's: nothing is refreshed, since too much would be dropped as no longer kept;"
              + " set the clock");
    }
  }

  private static boolean lock(
      Connection writing, BoundRollup bound, String other, WhenBusy whenBusy) throws SQLException {
    try {
      Sql.run(
          writing,
          "lock table "
              + (other.isEmpty() ? "" : other + ", ")
              + bound.lockName()
              + " in exclusive mode"
              + (whenBusy == WhenBusy.SKIP ? " nowait" : "")
              // The other connection holds locks for which those may wait that this one waits for.
              + "; set local lock_timeout = '10s'");
      return true;
    } catch (SQLException e) {
      if (whenBusy == WhenBusy.SKIP && Faults.state(e).equals("55P03")) {
        return false;
      }
      throw e;
    }
  }

  private static void store(
      Connection writing, String name, String snapshot, Feed.Result read, Duration took)
      throws SQLException {
    Sql.update(
        writing,
        "update tallyroll.rollup set cursor = ?::pg_snapshot where name = ?",
        snapshot,
        name);
    Sql.update(
        writing,
        "update tallyroll.refresh set finished_at = clock_timestamp(), duration_ms = ?, rows = ?,"
            + " total_rows = total_rows + ?, expired_rows = expired_rows + ?, merged_to = greatest(merged_to, "
            + (read.newest() == Long.MIN_VALUE ? "null" : FeedSql.instant(read.newest()))
            + ") where rollup = ?",
        took.toMillis(),
        read.rows(),
        read.rows(),
        read.expired(),
        name);
  }

  /** Drops what is no longer kept, after the refresh, outside its transaction. */
  private RefreshOutcome drop(RefreshOutcome.Refreshed refreshed) {
    return database.with(
        "refresh",
        connection -> {
          if (!Registry.names(connection).contains(refreshed.rollup())) {
            return refreshed;
          }
          Retention.Dropped dropped;
          try (Connection holding = database.open("refresh")) {
            // While this is held no other partitions take the place of these.
            holding.setAutoCommit(false);
            Sql.run(
                holding,
                "lock table "
                    + installed(connection, refreshed.rollup()).bound().lockName()
                    + " in access share mode");
            dropped = Retention.drop(connection, installed(connection, refreshed.rollup()));
            holding.rollback();
          }
          if (!dropped.complete()) {
            dropDue.add(refreshed.rollup());
          }
          return refreshed.withDropped(dropped.tables());
        });
  }

  /** Records a fault in a transaction of its own, since the refresh's is gone. */
  private void record(String rollup, RuntimeException fault) {
    try {
      database.transact(
          "refresh",
          connection ->
              Sql.update(
                  connection,
                  "update tallyroll.refresh set error = ?, error_at = clock_timestamp(), errors = errors + 1 where rollup = ?",
                  fault instanceof TallyrollException
                      ? fault.getMessage()
                      : "a fault of Tallyroll itself: " + fault,
                  rollup));
    } catch (TallyrollException e) {
      fault.addSuppressed(e);
    }
  }

  /** Closes the connections; an open transaction is rolled back. */
  @Override
  public void close() {
    connections.close();
  }

  /** The names of all rollups. */
  public static List<String> names(Database database) {
    return database.with("refresh", Registry::names);
  }
}
