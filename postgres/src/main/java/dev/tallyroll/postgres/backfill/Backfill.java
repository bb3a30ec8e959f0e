package dev.tallyroll.postgres.backfill;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;

/**
 * Fills a rollup with the rows that were there before it, in slices of whole UTC days, newest
 * first.
 *
 * <p>Several slices can be read at once; each is published in a transaction of its own, under the
 * rollup's lock, which is held while it is written and not while it is read. Killed anywhere, the
 * published slices stay and the next run goes on with the rest. Writers of the source, refreshes
 * and queries go on meanwhile.
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
   * Publishes what is not covered yet.
   *
   * @param progress is told of it, by one thread at a time
   * @throws TallyrollException if the rollup does not exist or the database fails; what was
   *     published until then stays
   */
  public Result run(BackfillRequest request, Progress progress) {
    Installed installed =
        database.with("backfill", connection -> Registry.get(connection, request.rollup()));
    Sizing sizing = database.with("backfill", connection -> sizing(connection, installed));
    Deque<Coverage.Days> slices = new ConcurrentLinkedDeque<>(slices(installed, request, sizing));
    progress.begins(
        slices.stream()
            .mapToLong(
                days -> sizing.rowsPerDay() * ChronoUnit.DAYS.between(days.from(), days.to()))
            .sum());
    Throttle throttle = new Throttle(request.rowsPerSecond());
    Object one = new Object();
    Tally tally = new Tally();
    Callable<Void> job =
        () -> {
          for (Coverage.Days days = slices.poll(); days != null; days = slices.poll()) {
            Coverage.Days slice = days;
            Feed.Meter meter =
                rows -> {
                  synchronized (one) {
                    progress.read(rows);
                  }
                };
            Feed.Result read =
                Database.retrying(() ->
                    new Slice(
                            database,
                            request.rollup(),
                            slice,
                            clock.instant(),
                            meter,
                            throttle,
                            heapBudget / request.jobs())
                        .publish());
            synchronized (one) {
              progress.published(slice, read.rows());
              tally.slices++;
              tally.rows += read.rows();
              tally.quarantined += read.poison();
            }
          }
          return null;
        };
    if (request.jobs() == 1) {
      runHere(job);
    } else {
      runAll(Collections.nCopies(request.jobs(), job), slices);
    }
    return new Result(request.rollup(), tally.slices, tally.rows, tally.quarantined);
  }

  private static final class Tally {
    private int slices;
    private long rows;
    private long quarantined;
  }

  /** One job needs no other thread. */
  private static void runHere(Callable<Void> job) {
    try {
      job.call();
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new TallyrollException(ErrorCode.DATABASE, String.valueOf(e.getMessage()), e);
    }
  }

  private static void runAll(List<Callable<Void>> jobs, Deque<Coverage.Days> slices) {
    try (ExecutorService pool = Executors.newFixedThreadPool(jobs.size())) {
      List<Future<Void>> running = jobs.stream().map(pool::submit).toList();
      TallyrollException fault = null;
      for (Future<Void> job : running) {
        try {
          job.get();
        } catch (ExecutionException e) {
          // The others finish the slice that they are at.
          slices.clear();
          fault =
              e.getCause() instanceof TallyrollException known
                  ? known
                  : new TallyrollException(ErrorCode.DATABASE, String.valueOf(e.getCause()), e);
        } catch (InterruptedException e) {
          pool.shutdownNow();
          Thread.currentThread().interrupt();
          throw new TallyrollException(ErrorCode.DATABASE, "interrupted", e);
        }
      }
      if (fault != null) {
        throw fault;
      }
    }
  }

  /** What is to be published, newest first. */
  private static List<Coverage.Days> slices(
      Installed installed, BackfillRequest request, Sizing sizing) {
    List<Coverage.Days> slices = new ArrayList<>();
    for (Coverage.Days gap : installed.coverage().uncovered().reversed()) {
      LocalDate least = later(gap.from(), request.from());
      LocalDate to = earlier(gap.to(), request.to());
      while (least.isBefore(to)) {
        LocalDate from = later(least, to.minusDays(sizing.daysPerSlice()));
        slices.add(new Coverage.Days(from, to));
        to = from;
      }
    }
    return slices;
  }

  private static LocalDate later(LocalDate day, @Nullable LocalDate other) {
    return other != null && other.isAfter(day) ? other : day;
  }

  private static LocalDate earlier(LocalDate day, @Nullable LocalDate other) {
    return other != null && other.isBefore(day) ? other : day;
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
}
