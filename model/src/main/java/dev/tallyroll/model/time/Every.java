package dev.tallyroll.model.time;

import java.time.DayOfWeek;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.temporal.ChronoUnit;
import java.time.temporal.TemporalAdjusters;
import java.time.zone.ZoneOffsetTransition;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * The width of the buckets that a query answers in: calendar units of a zone.
 *
 * <p>A local day runs from {@link LocalDate#atStartOfDay(ZoneId)} to the next one, so it has 22 to
 * 26 hours and does not always start at 00:00. A local hour, and what is finer, ends where the
 * offset changes: the hour that a clock goes through twice is two buckets.
 */
public enum Every {
  /** One minute of local time. */
  MINUTE("1m"),
  /** Five minutes of local time. */
  FIVE_MINUTES("5m"),
  /** One hour of local time. */
  HOUR("1h"),
  /** One local day. */
  DAY("1d"),
  /** One local week, from Monday. */
  WEEK("1w"),
  /** One local month. */
  MONTH("1mo"),
  /** The whole range as one bucket. */
  ALL("all");

  private final String label;

  Every(String label) {
    this.label = label;
  }

  /** The name on the command line. */
  public String label() {
    return label;
  }

  /** The unit of this label, if there is one. */
  public static Optional<Every> of(String label) {
    return Arrays.stream(values()).filter(every -> every.label.equals(label)).findFirst();
  }

  /** All labels, shortest first. */
  public static List<String> labels() {
    return Arrays.stream(values()).map(Every::label).toList();
  }

  /**
   * The start of the bucket that holds {@code instant}. {@link #ALL} has no start of its own: the
   * instant itself.
   */
  Instant startOf(Instant instant, ZoneId zone) {
    return switch (this) {
      case MINUTE -> startWithinHour(instant, zone, 60);
      case FIVE_MINUTES -> startWithinHour(instant, zone, 300);
      case HOUR -> startWithinHour(instant, zone, 3_600);
      case DAY, WEEK, MONTH ->
          firstDay(instant.atZone(zone).toLocalDate()).atStartOfDay(zone).toInstant();
      case ALL -> instant;
    };
  }

  /** The end of the bucket that starts at {@code start}, which is the start of the next one. */
  Instant endOf(Instant start, ZoneId zone) {
    return switch (this) {
      case MINUTE -> endWithinHour(start, zone, 60);
      case FIVE_MINUTES -> endWithinHour(start, zone, 300);
      case HOUR -> endWithinHour(start, zone, 3_600);
      case DAY, WEEK, MONTH -> {
        LocalDate next = nextDay(firstDay(start.atZone(zone).toLocalDate()));
        Instant end = next.atStartOfDay(zone).toInstant();
        // A zone that crosses the date line skips a whole date, whose length is then zero.
        while (!end.isAfter(start)) {
          next = nextDay(next);
          end = next.atStartOfDay(zone).toInstant();
        }
        yield end;
      }
      case ALL -> Instant.MAX;
    };
  }

  private LocalDate firstDay(LocalDate date) {
    return switch (this) {
      case WEEK -> date.with(TemporalAdjusters.previousOrSame(DayOfWeek.MONDAY));
      case MONTH -> date.withDayOfMonth(1);
      case MINUTE, FIVE_MINUTES, HOUR, DAY, ALL -> date;
    };
  }

  private LocalDate nextDay(LocalDate first) {
    return switch (this) {
      case WEEK -> first.plusWeeks(1);
      case MONTH -> first.plusMonths(1);
      case MINUTE, FIVE_MINUTES, HOUR, DAY, ALL -> first.plusDays(1);
    };
  }

  private static Instant startWithinHour(Instant instant, ZoneId zone, int seconds) {
    ZonedDateTime local = instant.atZone(zone);
    int secondOfDay = local.toLocalTime().toSecondOfDay();
    LocalTime floored = LocalTime.ofSecondOfDay(secondOfDay - secondOfDay % seconds);
    Instant start =
        local
            .toLocalDate()
            .atTime(floored)
            .toInstant(local.getOffset())
            .truncatedTo(ChronoUnit.SECONDS);
    ZoneOffsetTransition before = zone.getRules().previousTransition(instant.plusNanos(1));
    return before != null && before.getInstant().isAfter(start) ? before.getInstant() : start;
  }

  private static Instant endWithinHour(Instant start, ZoneId zone, int seconds) {
    ZoneOffset offset = zone.getRules().getOffset(start);
    long local = start.getEpochSecond() + offset.getTotalSeconds();
    Instant end =
        Instant.ofEpochSecond(
            (Math.floorDiv(local, seconds) + 1) * seconds - offset.getTotalSeconds());
    ZoneOffsetTransition next = zone.getRules().nextTransition(start);
    return next != null && next.getInstant().isBefore(end) ? next.getInstant() : end;
  }
}
