package dev.tallyroll.model.time;

/**
 * A run of whole buckets of one grain.
 *
 * @param grain the grain of the buckets
 * @param start the start of the first one, in microseconds since the epoch, aligned to the grain
 * @param end the end of the last one, aligned and after {@code start}
 */
public record Tile(Grain grain, long start, long end) {
  /** Checks that the run is of whole buckets and not empty. */
  public Tile {
    if (start >= end || !grain.isWhole(start, end)) {
      throw new IllegalArgumentException(
          "not a run of "
              + grain.label()
              + " buckets: "
              + Times.format(start)
              + " to "
              + Times.format(end));
    }
  }
}
