package dev.tallyroll.model.time;

import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.Locale;

/**
 * Conversions between instants, days and microseconds since the epoch, the unit of all bucket
 * arithmetic.
 */
public final class Times {
  /** Microseconds in a UTC day. */
  public static final long DAY = Grain.DAY.micros();

  private static final DateTimeFormatter LOCAL =
      DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss[.SSSSSS]xxx");
  private static final DateTimeFormatter WHOLE =
      DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ssxxx");

  private Times() {}

  /** Microseconds since the epoch; what is finer is cut off towards the past. */
  public static long micros(Instant instant) {
    return Math.addExact(
        Math.multiplyExact(instant.getEpochSecond(), 1_000_000L), instant.getNano() / 1_000L);
  }

  /** The instant of so many microseconds since the epoch. */
  public static Instant instant(long micros) {
    return Instant.EPOCH.plus(micros, ChronoUnit.MICROS);
  }

  /** The UTC day that holds {@code micros}. */
  public static LocalDate day(long micros) {
    return LocalDate.ofEpochDay(Math.floorDiv(micros, DAY));
  }

  /** The start of a UTC day. */
  public static long micros(LocalDate day) {
    return Math.multiplyExact(day.toEpochDay(), DAY);
  }

  /**
   * As {@code 2026-05-01T00:00:00+05:30}: local time with its offset, with a fraction only where
   * there is one.
   */
  public static String format(long micros, ZoneId zone) {
    var local = instant(micros).atZone(zone).toOffsetDateTime();
    return (local.getNano() == 0 ? WHOLE : LOCAL).format(local);
  }

  /** As {@code 2026-05-01T00:00:00Z}. */
  public static String format(long micros) {
    return instant(micros).atOffset(ZoneOffset.UTC).format(DateTimeFormatter.ISO_INSTANT);
  }

  /** As {@code 3d 4h}, {@code 2h 5m}, {@code 5m 20s} or {@code 1.250s}; cut, not rounded. */
  public static String format(Duration duration) {
    long seconds = duration.toSeconds();
    if (seconds >= 86_400) {
      return seconds / 86_400 + "d " + seconds % 86_400 / 3_600 + "h";
    }
    if (seconds >= 3_600) {
      return seconds / 3_600 + "h " + seconds % 3_600 / 60 + "m";
    }
    if (seconds >= 60) {
      return seconds / 60 + "m " + seconds % 60 + "s";
    }
    return String.format(Locale.ROOT, "%.3fs", duration.toMillis() / 1_000.0);
  }
}
