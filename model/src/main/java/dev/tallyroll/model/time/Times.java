package dev.tallyroll.model.time;

import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;

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
}
