package dev.tallyroll.model.time;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;

/**
 * Decomposes a range into the coarsest stored buckets that tile it exactly: whole days inside,
 * hours towards the edges, then finer grains. Immutable.
 *
 * <p>The decomposition is greedy from the coarsest grain: since each grain's width divides the next
 * one's, taking all whole coarse buckets inside a range leaves two edges that hold none, so the
 * number of tiles is smallest.
 */
public final class Tiling {
  /**
   * The grains at hand with the start of the oldest bucket of each that is complete, coarsest
   * first.
   */
  private final NavigableMap<Grain, Long> oldest;

  /**
   * A tiling with these grains.
   *
   * @param oldest for each grain the time from which on all its buckets are kept, in microseconds
   *     since the epoch; {@link Long#MIN_VALUE} for ever
   */
  public Tiling(Map<Grain, Long> oldest) {
    if (oldest.isEmpty()) {
      throw new IllegalArgumentException("a tiling needs at least one grain");
    }
    this.oldest = new TreeMap<>(oldest).descendingMap();
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
    Grain finest = oldest.lastKey();
    for (long edge : new long[] {start, end}) {
      if (finest.floor(edge) != edge) {
        return new Outcome.NotAligned(finest, edge);
      }
    }
    List<Tile> tiles = new ArrayList<>();
    return tile(start, end, List.copyOf(oldest.keySet()), 0, tiles)
        .<Outcome>map(fault -> fault)
        .orElseGet(() -> new Outcome.Tiled(tiles));
  }

  /**
   * Tiles with the grains from {@code next} on, coarsest first; the fault, if a part cannot be
   * tiled.
   */
  private Optional<Outcome.NotKept> tile(
      long start, long end, List<Grain> grains, int next, List<Tile> into) {
    if (start >= end) {
      return Optional.empty();
    }
    if (next == grains.size()) {
      Grain needed = coarsestFitting(start, end, grains);
      return Optional.of(new Outcome.NotKept(needed, start, end, oldest(needed)));
    }
    Grain grain = grains.get(next);
    long kept = oldest(grain);
    long innerStart = grain.ceil(Math.max(start, kept));
    long innerEnd = grain.floor(end);
    if (innerStart >= innerEnd) {
      return tile(start, end, grains, next + 1, into);
    }
    Optional<Outcome.NotKept> before = tile(start, innerStart, grains, next + 1, into);
    if (before.isPresent()) {
      return before;
    }
    into.add(new Tile(grain, innerStart, innerEnd));
    return tile(innerEnd, end, grains, next + 1, into);
  }

  private Grain coarsestFitting(long start, long end, List<Grain> grains) {
    for (Grain grain : grains) {
      if (grain.floor(start) == start && grain.floor(end) == end) {
        return grain;
      }
    }
    return grains.getLast();
  }

  /** Bounded so that rounding up to a bucket cannot overflow. */
  private long oldest(Grain grain) {
    return Math.max(oldest.getOrDefault(grain, Long.MAX_VALUE / 2), Long.MIN_VALUE / 2);
  }
}
