package dev.tallyroll.model.time;

import java.time.Instant;
import java.time.ZoneId;
import java.util.Arrays;

/**
 * The output buckets of a query: calendar buckets of one zone that cover a half-open range, in
 * order and without gaps.
 *
 * <p>The first and the last are cut to the range, so that the buckets' sum is the range. Immutable.
 */
public final class Buckets {
  /** More buckets than anybody reads: a range of minutes over decades is a slip. */
  private static final int MOST = 2_000_000;

  private final long[] edges;
  private final long firstStart;
  private final Every every;
  private final ZoneId zone;

  private Buckets(long[] edges, long firstStart, Every every, ZoneId zone) {
    this.edges = edges;
    this.firstStart = firstStart;
    this.every = every;
    this.zone = zone;
  }

  /**
   * The buckets of {@code [from, to)}, in microseconds since the epoch.
   *
   * @throws IllegalArgumentException if the range is empty or would have more than two million
   *     buckets
   */
  public static Buckets of(long from, long to, Every every, ZoneId zone) {
    if (from >= to) {
      throw new IllegalArgumentException("the range is empty: it ends at or before its start");
    }
    long[] edges = new long[16];
    int count = 0;
    edges[count++] = from;
    Instant start = every.startOf(Times.instant(from), zone);
    long firstStart = every == Every.ALL ? from : Times.micros(start);
    Instant last = Times.instant(to);
    while (true) {
      Instant end = every.endOf(start, zone);
      if (!end.isBefore(last)) {
        break;
      }
      if (count >= MOST) {
        throw new IllegalArgumentException(
            "the range has more than " + MOST + " buckets of " + every.label());
      }
      if (count + 1 >= edges.length) {
        edges = Arrays.copyOf(edges, edges.length * 2);
      }
      edges[count++] = Times.micros(end);
      start = end;
    }
    edges = Arrays.copyOf(edges, count + 1);
    edges[count] = to;
    return new Buckets(edges, firstStart, every, zone);
  }

  /** How many buckets there are; at least one. */
  public int count() {
    return edges.length - 1;
  }

  /** Where bucket {@code index} begins inside the range. */
  public long start(int index) {
    return edges[index];
  }

  /** Where bucket {@code index} ends. */
  public long end(int index) {
    return edges[index + 1];
  }

  /**
   * The start that names bucket {@code index}: its calendar start, even where the range begins
   * later.
   */
  public long label(int index) {
    return index == 0 ? firstStart : edges[index];
  }

  /** The bucket that holds {@code time}, or -1 outside the range. */
  public int indexOf(long time) {
    if (time < edges[0] || time >= edges[edges.length - 1]) {
      return -1;
    }
    int at = Arrays.binarySearch(edges, time);
    return at >= 0 ? at : -at - 2;
  }

  /** The calendar unit. */
  public Every every() {
    return every;
  }

  /** The zone of the calendar. */
  public ZoneId zone() {
    return zone;
  }
}
