package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The cadence of the coarser grains. While a process refreshes every second, a bucket that has not
 * ended yet is <em>open</em>: it is not in its grain's table, and whoever reads makes it of finer
 * buckets, down to the finest grain, which is always stored. When it has ended it is written once.
 * So a day is not rewritten with every refresh.
 *
 * <p>For each grain there is one edge, before which buckets are stored and merged as ever. It only
 * moves forward; that of a finer grain is never before that of a coarser one. If the clock that it
 * followed was wrong and is set back, all is stored once, and it starts anew. In the caller's
 * transaction, which holds the rollup's lock.
 */
public final class OpenBuckets {
  private final Connection connection;
  private final Installed installed;
  private final BoundRollup bound;
  private final SortedMap<Grain, Long> openFrom;

  private OpenBuckets(Connection connection, Installed installed) {
    this.connection = connection;
    this.installed = installed;
    this.bound = installed.bound();
    this.openFrom = new TreeMap<>(installed.openFrom());
  }

  /**
   * Moves the edges: stores what has ended. Before the refresh merges, since what it reads is then
   * merged into what is stored.
   *
   * @param kept for each grain the oldest bucket that is kept from now on
   * @param now which buckets have not ended; empty to leave none open
   * @return the rollup as it is then
   */
  public static Installed move(
      Connection connection,
      Installed installed,
      SortedMap<Grain, Long> kept,
      Optional<Instant> now)
      throws SQLException {
    OpenBuckets open = new OpenBuckets(connection, installed);
    Optional<Instant> time = now.filter(one -> !isAhead(installed, one));
    for (Map.Entry<Grain, Long> grain : installed.openFrom().entrySet()) {
      open.move(grain.getKey(), grain.getValue(), kept, time);
    }
    return installed.withOpenFrom(open.openFrom);
  }

  /** Whether an edge lies so far ahead that no bucket would be open for a day or more. */
  private static boolean isAhead(Installed installed, Instant now) {
    return installed.openFrom().values().stream()
        .anyMatch(edge -> edge < Long.MAX_VALUE && edge > Times.micros(now) + Times.DAY);
  }

  private void move(Grain grain, long before, SortedMap<Grain, Long> kept, Optional<Instant> now)
      throws SQLException {
    long edge = before;
    if (edge < Long.MAX_VALUE && installed.movedDays().contains(grain)) {
      // The edge is none of the days any more; what comes after the start of its day is made anew.
      edge = grain.floor(edge);
      deleteFrom(grain, edge);
    }
    long next = next(grain, edge, kept, now);
    if (next == before) {
      return;
    }
    if (edge == Long.MAX_VALUE) {
      deleteFrom(grain, next);
    } else {
      fill(grain, edge, next);
    }
    openFrom.put(grain, next);
    Sql.update(
        connection,
        "update tallyroll.grain set open_from = "
            + FeedSql.instant(next)
            + " where rollup = ? and grain = ?",
        bound.name(),
        grain.label());
  }

  /** The new edge; {@link Long#MAX_VALUE} where all is to be stored. */
  private long next(Grain grain, long edge, SortedMap<Grain, Long> kept, Optional<Instant> now) {
    if (now.isEmpty()) {
      return Long.MAX_VALUE;
    }
    long start = grain.floor(Times.micros(now.get()));
    long next = edge == Long.MAX_VALUE ? start : Math.max(edge, start);
    boolean isMade =
        bound.rollup().grains().headMap(grain).keySet().stream()
            .filter(finer -> finer.zone().isEmpty() && grain.madeOfFrom(finer) <= next)
            .anyMatch(finer -> kept.getOrDefault(finer, Long.MIN_VALUE) <= next);
    return isMade ? next : Long.MAX_VALUE;
  }

  private void deleteFrom(Grain grain, long from) throws SQLException {
    Sql.run(
        connection,
        "delete from " + bound.grainTable(grain) + " where bucket >= " + FeedSql.instant(from));
  }

  /**
   * Stores the buckets of a range, from the next finer grain as far as that is stored, and so on.
   */
  private void fill(Grain grain, long from, long to) throws SQLException {
    Carry carry = new Carry(connection, installed, bound, installed.keptFrom(), new TreeMap<>());
    Grain finer = grain;
    for (long start = from; start < to; ) {
      finer = finer(grain, finer, start);
      long end = Math.min(to, openFrom.getOrDefault(finer, Long.MAX_VALUE));
      if (start < end) {
        carry.add(finer, grain, new Leaf.Range(start, end));
        start = end;
      }
    }
  }

  /** The coarsest grain that is finer than another one, and of which a grain is made. */
  private Grain finer(Grain grain, Grain than, long time) {
    @Nullable Grain found = null;
    for (Grain candidate : bound.rollup().grains().headMap(than).keySet()) {
      if (candidate.zone().isEmpty() && grain.madeOfFrom(candidate) <= time) {
        found = candidate;
      }
    }
    if (found == null) {
      throw new IllegalStateException(
          "nothing finer than "
              + than.label()
              + " is stored, of which "
              + grain.label()
              + " is made");
    }
    return found;
  }
}
