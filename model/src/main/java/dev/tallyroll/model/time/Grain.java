package dev.tallyroll.model.time;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * A bucket width that is stored. Buckets of every grain are half-open and aligned to the UTC epoch;
 * each grain's width divides the next one's. Times are microseconds since 1970-01-01T00:00:00Z.
 */
public enum Grain {
  /** One minute. */
  MINUTE("1m", 60),
  /** Five minutes: the finest unit that every zone's local day is made of. */
  FIVE_MINUTES("5m", 300),
  /** One hour. */
  HOUR("1h", 3_600),
  /** One UTC day. */
  DAY("1d", 86_400);

  private final String label;
  private final long micros;

  Grain(String label, long seconds) {
    this.label = label;
    this.micros = seconds * 1_000_000;
  }

  /**
   * The grain's name in definitions, table names and messages: {@code 1m}, {@code 5m}, {@code 1h},
   * {@code 1d}.
   */
  public String label() {
    return label;
  }

  /** The width in microseconds. */
  public long micros() {
    return micros;
  }

  /** The width. */
  public Duration width() {
    return Duration.ofSeconds(micros / 1_000_000);
  }

  /** The start of the bucket that holds {@code time}. */
  public long floor(long time) {
    return Math.floorDiv(time, micros) * micros;
  }

  /** The first bucket start at or after {@code time}. */
  public long ceil(long time) {
    return -Math.floorDiv(-time, micros) * micros;
  }

  /** The grain of this label, if there is one. */
  public static Optional<Grain> of(String label) {
    return Arrays.stream(values()).filter(grain -> grain.label.equals(label)).findFirst();
  }

  /** All labels, finest first. */
  public static List<String> labels() {
    return Arrays.stream(values()).map(Grain::label).toList();
  }
}
