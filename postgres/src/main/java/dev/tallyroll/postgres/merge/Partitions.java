package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HashSet;
import java.util.Set;

/**
 * The partitions of a rollup's tables: whole UTC days, more of them the coarser the grain, so that
 * a partition has a useful size and dropping it is how {@code keep} works.
 */
final class Partitions {
  private static final DateTimeFormatter NAME =
      DateTimeFormatter.ofPattern("uuuuMMdd").withZone(ZoneOffset.UTC);

  private Partitions() {}

  /** How much of a grain is in a partition: whole UTC days, a week of the epoch at that. */
  private enum Width {
    DAY,
    WEEK,
    MONTH,
    YEAR;

    static Width of(Grain grain) {
      if (grain.equals(Grain.MINUTE)) {
        return DAY;
      }
      if (grain.equals(Grain.FIVE_MINUTES)) {
        return WEEK;
      }
      return grain.equals(Grain.HOUR) ? MONTH : YEAR;
    }
  }

  /** The start of the partition that holds the buckets of this grain that start at a time. */
  static long start(Grain grain, long time) {
    LocalDate day = Times.day(time);
    return Times.micros(
        switch (Width.of(grain)) {
          case DAY -> day;
          case WEEK -> LocalDate.ofEpochDay(Math.floorDiv(day.toEpochDay(), 7L) * 7);
          case MONTH -> day.withDayOfMonth(1);
          case YEAR -> day.withDayOfYear(1);
        });
  }

  /** The end of the partition that starts at {@code start}. */
  static long end(Grain grain, long start) {
    LocalDate day = Times.day(start);
    return Times.micros(
        switch (Width.of(grain)) {
          case DAY -> day.plusDays(1);
          case WEEK -> day.plusDays(7);
          case MONTH -> day.plusMonths(1);
          case YEAR -> day.plusYears(1);
        });
  }

  /** The bare name of the partition that starts at {@code start}. */
  static String name(BoundRollup bound, Grain grain, long start) {
    return bound.tableName(grain) + "_p" + NAME.format(Times.instant(start));
  }

  /** The bare names of all attached partitions of a grain. */
  static Set<String> attached(Connection connection, BoundRollup bound, Grain grain)
      throws SQLException {
    return new HashSet<>(
        Sql.list(
            connection,
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
                + " where i.inhparent = ?::regclass and not i.inhdetachpending",
            row -> row.getString(1),
            bound.grainTable(grain)));
  }
}
