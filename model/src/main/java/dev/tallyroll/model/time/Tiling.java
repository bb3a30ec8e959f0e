package dev.tallyroll.model.time;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Decomposes a range into the coarsest stored buckets that tile it exactly: whole days inside,
 * hours towards the edges, then finer grains. Immutable.
 *
 * <p>The decomposition is greedy from the coarsest grain: since each grain's width divides the next
 * one's, taking all whole coarse buckets inside a range leaves two edges that hold none, so the
 * number of tiles is smallest. The days of a zone come first; give only those of the zone that is
 * asked for, since a day of another one would push everything else to its edges.
 */
public final class Tiling {
  /**
   * The grains at hand with the start of the oldest bucket of each that is complete, coarsest
   * first.
   */
  private final NavigableMap<Grain, Long> oldest;

  private final Map<Grain, Long> openFrom;

  /**
   * A tiling with these grains.
   *
   * @param oldest for each grain the time from which on all its buckets are kept, in microseconds
   *     since the epoch; {@link Long#MIN_VALUE} for ever
   */
  public Tiling(Map<Grain, Long> oldest) {
    this(oldest, Map.of());
  }

  /**
   * The same with grains whose last buckets are not stored yet.
   *
   * @param openFrom for some grains the start of the first bucket that is not
   */
  public Tiling(Map<Grain, Long> oldest, Map<Grain, Long> openFrom) {
    this.openFrom = Map.copyOf(openFrom);
    if (oldest.isEmpty()) {
      throw new IllegalArgumentException("a tiling needs at least one grain");
    }
    this.oldest = new TreeMap<>(oldest).descendingMap();
  }

  /**
   * The coarsest kept grain that a bucket of a coarser one can be made of, if there is one.
   *
   * @param oldest for each grain the time from which on its buckets are kept
   * @param grain the grain of the bucket
   * @param start the bucket's start
   */
  public static Optional<Grain> finer(SortedMap<Grain, Long> oldest, Grain grain, long start) {
    Grain found = null;
    for (Map.Entry<Grain, Long> finer : oldest.headMap(grain).entrySet()) {
      if (finer.getKey().zone().isEmpty()
          && finer.getValue() <= start
          && finer.getKey().isWhole(start, grain.end(start))) {
        found = finer.getKey();
      }
    }
    return Optional.ofNullable(found);
  }

  /**
   * What came out of {@link #tile}: tiles in order of time, or the first part that no kept bucket
   * covers.
   */
  public sealed interface Outcome {
    /** The range is tiled exactly by these, in order of time. */
    record Tiled(List<Tile> tiles) implements Outcome {
      /** Copies the list. */
      public Tiled {
        tiles = List.copyOf(tiles);
      }
    }

    /**
     * The part {@code [start, end)} needs buckets of {@code grain}, the coarsest that fits its
     * edges, and these are kept only from {@code oldest} on.
     */
    record NotKept(Grain grain, long start, long end, long oldest) implements Outcome {}

    /**
     * An edge of the range, {@code time}, does not fall on a bucket of the finest grain there is.
     */
    record NotAligned(Grain finest, long time) implements Outcome {}
  }

  /** Tiles {@code [start, end)}. */
  public Outcome tile(long start, long end) {
    List<Tile> tiles = new ArrayList<>();
    Outcome fault = tile(start, end, List.copyOf(oldest.keySet()), 0, tiles);
    return fault == null ? new Outcome.Tiled(tiles) : fault;
  }

  /**
   * Tiles with the grains from {@code next} on, coarsest first; the fault, if a part cannot be
   * tiled.
   */
  private @Nullable Outcome tile(
      long start, long end, List<Grain> grains, int next, List<Tile> into) {
    if (start >= end) {
      return null;
    }
    if (next == grains.size()) {
      return fault(start, end, grains);
    }
    Grain grain = grains.get(next);
    long innerStart = grain.ceil(Math.max(start, oldest(grain)));
    long innerEnd = grain.floor(Math.min(end, openFrom.getOrDefault(grain, Long.MAX_VALUE)));
    if (innerStart >= innerEnd) {
      return tile(start, end, grains, next + 1, into);
    }
    Outcome before = tile(start, innerStart, grains, next + 1, into);
    if (before != null) {
      return before;
    }
    into.add(new Tile(grain, innerStart, innerEnd));
    return tile(innerEnd, end, grains, next + 1, into);
  }

  /** Why a part that holds no kept bucket of any grain cannot be tiled. */
  private Outcome fault(long start, long end, List<Grain> grains) {
    for (Grain grain : grains) {
      if (grain.isWhole(start, end)) {
        return new Outcome.NotKept(grain, start, end, oldest(grain));
      }
    }
    Grain finest = grains.getLast();
    return new Outcome.NotAligned(finest, finest.floor(start) == start ? end : start);
  }

  /** Bounded so that rounding up to a bucket cannot overflow. */
  private long oldest(Grain grain) {
    return Math.max(oldest.getOrDefault(grain, Long.MAX_VALUE / 2), Long.MIN_VALUE / 2);
  }
}
