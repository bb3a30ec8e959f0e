package dev.tallyroll.postgres.backfill;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.merge.Retention;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;

/**
 * Fills a rollup with the rows that were there before it, in slices of whole UTC days, newest
 * first.
 *
 * <p>A slice is one transaction under the rollup's lock: it reads the history rows of its days,
 * which never change and are disjoint from what refreshes read, merges them and publishes the
 * slice. Killed anywhere, the published slices stay and the next run goes on with the rest.
 * Refreshes wait for a slice or skip a turn; fresh queries are not held up.
 */
public final class Backfill {
  /** A slice is about this many rows, but never less than a day. */
  private static final long ROWS_PER_SLICE = 2_000_000;

  /** Without an index on time every slice reads the whole table, so there should be few. */
  private static final long ROWS_PER_SLICE_UNINDEXED = 50_000_000;

  private final Database database;
  private final InstantSource clock;
  private final long heapBudget;

  /** A backfill of a database's rollups. */
  public Backfill(Database database, InstantSource clock) {
    this(database, clock, Feed.defaultHeapBudget());
  }

  /** A backfill that holds at most so many bytes of partials at once. */
  public Backfill(Database database, InstantSource clock, long heapBudget) {
    this.database = database;
    this.clock = clock;
    this.heapBudget = heapBudget;
  }

  /** Is told how a backfill goes on. */
  public interface Progress {
    /** About how many rows there are to read; called once, before the first is read. */
    default void begins(long estimatedRows) {}

    /** How many rows were read since the last call. */
    default void read(long rows) {}

    /** A slice was published. */
    default void published(Coverage.Days days, long rows) {}
  }

  /**
   * What a run did.
   *
   * @param rollup the rollup
   * @param slices how many slices it published
   * @param rows how many rows these hold
   * @param quarantined rows that could not be folded
   */
  public record Result(String rollup, int slices, long rows, long quarantined) {}

  /**
   * Publishes everything that is not covered yet.
   *
   * @throws TallyrollException if the rollup does not exist or the database fails
   */
  public Result run(String rollup, Progress progress) {
    Installed first = database.with("backfill", connection -> Registry.get(connection, rollup));
    Sizing sizing = database.with("backfill", connection -> sizing(connection, first));
    progress.begins(
        first.coverage().uncovered().stream()
            .mapToLong(
                days -> sizing.rowsPerDay() * ChronoUnit.DAYS.between(days.from(), days.to()))
            .sum());
    int slices = 0;
    long rows = 0;
    long quarantined = 0;
    while (true) {
      Installed installed =
          database.with("backfill", connection -> Registry.get(connection, rollup));
      List<Coverage.Days> gaps = installed.coverage().uncovered();
      if (gaps.isEmpty()) {
        return new Result(rollup, slices, rows, quarantined);
      }
      Coverage.Days gap = gaps.getLast();
      LocalDate from = gap.to().minusDays(sizing.daysPerSlice());
      Coverage.Days slice =
          new Coverage.Days(from.isBefore(gap.from()) ? gap.from() : from, gap.to());
      Feed.Result read = Database.retrying(() -> publish(rollup, slice, progress));
      progress.published(slice, read.rows());
      slices++;
      rows += read.rows();
      quarantined += read.poison();
    }
  }

  private record Sizing(long rowsPerDay, long daysPerSlice) {}

  private static Sizing sizing(Connection connection, Installed installed) throws SQLException {
    BoundRollup bound = installed.bound();
    double rows =
        Sql.one(
            connection,
            "select coalesce(sum(greatest(c.reltuples, pg_relation_size(c.oid) / 200)), 0)::float8 from pg_class c where c.relkind = 'r' and"
                + " (c.oid = ?::oid or c.oid in (select relid from pg_partition_tree(?::oid::regclass) where isleaf))",
            row -> row.getDouble(1),
            bound.table().oid(),
            bound.table().oid());
    long days =
        installed
            .coverage()
            .history()
            .map(history -> ChronoUnit.DAYS.between(history.from(), history.to()))
            .orElse(1L);
    long rowsPerDay = Math.max(1, (long) (rows / days));
    boolean indexed = bound.table().hasIndexOn(connection, bound.rollup().source().time());
    return new Sizing(
        rowsPerDay,
        Math.clamp((indexed ? ROWS_PER_SLICE : ROWS_PER_SLICE_UNINDEXED) / rowsPerDay, 1, 3_660));
  }

  private Feed.Result publish(String name, Coverage.Days slice, Progress progress)
      throws SQLException {
    Instant now = clock.instant();
    long latest = Times.micros(now.plus(Refresher.MOST_AHEAD));
    try (Connection writing = repeatable();
        Connection reading = repeatable()) {
      BoundRollup bound = Registry.get(reading, name).bound();
      reading.commit();
      Sql.run(
          reading,
          "set local lock_timeout = '10s'; lock table "
              + bound.table().sqlName()
              + " in access share mode");
      SourceVisibility.check(reading, bound.table());
      // Before the writer's snapshot: what a refresh or another backfill has published is then
      // seen.
      Sql.run(writing, "lock table " + bound.lockName() + " in exclusive mode");
      Installed installed = Registry.get(writing, name);

      SortedMap<Grain, Long> kept = Retention.keptFrom(installed, now);
      Retention.store(writing, installed, kept);
      long keptFromAny =
          kept.values().stream().mapToLong(Long::longValue).min().orElse(Long.MIN_VALUE);
      Merger merger = new Merger(writing, bound, kept);
      Feed feed = new Feed(reading, writing, bound, latest, progress::read, heapBudget);
      long from = Times.micros(slice.from());
      long to = Times.micros(slice.to());
      List<String> predicates = new ArrayList<>();
      predicates.add(
          installed.isHistorySql()
              + " and "
              + FeedSql.inRange(bound, Math.max(from, Math.min(to - 1, keptFromAny)), to));
      // The newest slice also takes what lies outside all days: infinite times, and those too far
      // ahead, for quarantine.
      installed
          .coverage()
          .history()
          .filter(history -> history.to().equals(slice.to()))
          .ifPresent(history ->
              predicates.add(
                  installed.isHistorySql()
                      + " and ("
                      + bound.timeSql()
                      + " < "
                      + FeedSql.instant(Times.micros(history.from()))
                      + " or "
                      + bound.timeSql()
                      + " >= "
                      + FeedSql.instant(to)
                      + ")"));
      Feed.Result read =
          feed.read(
              predicates,
              () ->
                  new RowFold(bound, bound.rollup().finest()::floor, from, to, latest, keptFromAny),
              fold -> merger.merge(fold.table()));
      boolean mine =
          Sql.update(
                  writing,
                  "insert into tallyroll.slice (rollup, day_from, day_to, rows) select ?, ?, ?, ? where not exists (select"
                      + " from tallyroll.slice where rollup = ? and daterange(day_from, day_to) && daterange(?, ?))",
                  name,
                  slice.from(),
                  slice.to(),
                  read.rows(),
                  name,
                  slice.from(),
                  slice.to())
              == 1;
      if (!mine) {
        // Another backfill published it meanwhile; ours is one too many.
        writing.rollback();
        return new Feed.Result(0, 0, 0, Long.MIN_VALUE);
      }
      Sql.update(
          writing,
          "update tallyroll.refresh set total_rows = total_rows + ?, expired_rows = expired_rows + ?, merged_to = greatest(merged_to, "
              + (read.newest() == Long.MIN_VALUE ? "null" : FeedSql.instant(read.newest()))
              + ") where rollup = ?",
          read.rows(),
          read.expired(),
          name);
      writing.commit();
      return read;
    }
  }

  private Connection repeatable() throws SQLException {
    Connection connection = database.open("backfill");
    connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    connection.setAutoCommit(false);
    return connection;
  }
}
