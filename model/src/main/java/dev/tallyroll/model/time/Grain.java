package dev.tallyroll.model.time;

import java.time.DateTimeException;
import java.time.Duration;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A kind of buckets that is stored: of a fixed width, half-open and aligned to the UTC epoch, or
 * the days of a zone. Each fixed width divides the next one; a zone's day of 22 to 26 hours is made
 * of fixed buckets of at most 15 minutes, and of hours where its offsets are whole hours. Times are
 * microseconds since 1970-01-01T00:00:00Z. Ordered from the finest on, days in zones last.
 * Immutable.
 */
public final class Grain implements Comparable<Grain> {
  /** One minute. */
  public static final Grain MINUTE = new Grain("1m", 60);

  /** Five minutes: the finest unit that every zone's local day is made of. */
  public static final Grain FIVE_MINUTES = new Grain("5m", 300);

  /** One hour. */
  public static final Grain HOUR = new Grain("1h", 3_600);

  /** One UTC day. */
  public static final Grain DAY = new Grain("1d", 86_400);

  /** The start of 2000. */
  private static final long CENTURY = 946_684_800_000_000L;

  private static final List<Grain> FIXED = List.of(MINUTE, FIVE_MINUTES, HOUR, DAY);

  private final String label;
  private final long micros;
  private final @Nullable ZoneId zone;
  private final @Nullable LocalDays days;

  private Grain(String label, long seconds) {
    this.label = label;
    this.micros = seconds * 1_000_000;
    this.zone = null;
    this.days = null;
  }

  private Grain(ZoneId zone) {
    this.label = "1d@" + zone.getId();
    this.micros = 86_400 * 1_000_000L;
    this.zone = zone;
    this.days = LocalDays.of(zone);
  }

  /** The days of a zone; those of a zone that is always at UTC are {@link #DAY}. */
  public static Grain dayIn(ZoneId zone) {
    return zone.getRules().equals(ZoneOffset.UTC.getRules()) ? DAY : new Grain(zone);
  }

  /**
   * The grain's name in messages and the registry: {@code 1m}, {@code 5m}, {@code 1h}, {@code 1d},
   * or {@code 1d@Asia/Kolkata}.
   */
  public String label() {
    return label;
  }

  /** The same as the end of a table's name: {@code 1d_asia_kolkata}. */
  public String suffix() {
    return zone == null ? label : "1d_" + slug(zone.getId());
  }

  private static String slug(String id) {
    return id.toLowerCase(Locale.ROOT)
        .replace("+", "_plus_")
        .replaceAll("-(?=[0-9])", "_minus_")
        .replaceAll("[^a-z0-9]+", "_");
  }

  /** The zone, if these are the days of one. */
  public Optional<ZoneId> zone() {
    return Optional.ofNullable(zone);
  }

  /** Whether these are the days of a zone with the same rules. */
  public boolean isDayIn(ZoneId other) {
    return zone != null && zone.getRules().equals(other.getRules());
  }

  /**
   * The width of every bucket.
   *
   * @throws IllegalStateException for the days of a zone, which differ
   */
  public Duration width() {
    if (zone != null) {
      throw new IllegalStateException("the days of " + zone + " differ in width");
    }
    return Duration.ofSeconds(micros / 1_000_000);
  }

  /** The width in microseconds; as {@link #width}. */
  public long micros() {
    return width().toSeconds() * 1_000_000;
  }

  /**
   * The start of the bucket that holds {@code time}. {@link Long#MIN_VALUE} before the first day of
   * a zone, which is in 1970.
   */
  public long floor(long time) {
    return days == null ? Math.floorDiv(time, micros) * micros : days.floor(time);
  }

  /** The first bucket start at or after {@code time}. */
  public long ceil(long time) {
    return days == null ? -Math.floorDiv(-time, micros) * micros : days.ceil(time);
  }

  /** The end of the bucket that starts at {@code start}. */
  public long end(long start) {
    return days == null ? start + micros : days.ceil(start + 1);
  }

  /** Whether the range is one of whole buckets. */
  public boolean isWhole(long start, long end) {
    return floor(start) == start && floor(end) == end;
  }

  /**
   * From which bucket start on all buckets are made of whole buckets of a finer grain; {@link
   * Long#MIN_VALUE} for always, {@link Long#MAX_VALUE} for never. Days that are, but have been so
   * only since this century, or for a part of the year, count as never.
   */
  public long madeOfFrom(Grain finer) {
    if (finer.days != null || finer.compareTo(this) >= 0) {
      return finer.equals(this) ? Long.MIN_VALUE : Long.MAX_VALUE;
    }
    if (days == null) {
      return Long.MIN_VALUE;
    }
    long from = days.alignedFrom(finer.micros);
    return from <= CENTURY ? from : Long.MAX_VALUE;
  }

  /** The starts of the days of a zone, in order, from 1970 to 2100; none for a fixed width. */
  public long[] dayStarts() {
    return days == null ? new long[0] : days.starts();
  }

  /**
   * Tells apart when the days of a zone begin: other time zone data may say something else. Empty
   * for a fixed width.
   */
  public String version() {
    return days == null ? "" : days.version();
  }

  /** The grain of this label, if there is one. */
  public static Optional<Grain> of(String label) {
    if (label.startsWith("1d@")) {
      try {
        return Optional.of(dayIn(ZoneId.of(label.substring(3))));
      } catch (DateTimeException e) {
        return Optional.empty();
      }
    }
    return FIXED.stream().filter(grain -> grain.label.equals(label)).findFirst();
  }

  /** The labels of the fixed widths, finest first. */
  public static List<String> labels() {
    return FIXED.stream().map(Grain::label).toList();
  }

  @Override
  public int compareTo(Grain other) {
    int order = Long.compare(micros, other.micros);
    if (order == 0) {
      order = Boolean.compare(zone != null, other.zone != null);
    }
    return order == 0 ? label.compareTo(other.label) : order;
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Grain grain && grain.label.equals(label);
  }

  @Override
  public int hashCode() {
    return label.hashCode();
  }

  @Override
  public String toString() {
    return label;
  }
}
