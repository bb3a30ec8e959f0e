package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.session.Sql;
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

  /**
   * The start of the partition of this grain that holds a time: a day, a week of the epoch, a
   * month, a year.
   */
  static long start(Grain grain, long time) {
    LocalDate day = Times.day(time);
    return Times.micros(
        switch (grain) {
          case MINUTE -> day;
          case FIVE_MINUTES -> LocalDate.ofEpochDay(Math.floorDiv(day.toEpochDay(), 7L) * 7);
          case HOUR -> day.withDayOfMonth(1);
          case DAY -> day.withDayOfYear(1);
        });
  }

  /** The end of the partition that starts at {@code start}. */
  static long end(Grain grain, long start) {
    LocalDate day = Times.day(start);
    return Times.micros(
        switch (grain) {
          case MINUTE -> day.plusDays(1);
          case FIVE_MINUTES -> day.plusDays(7);
          case HOUR -> day.plusMonths(1);
          case DAY -> day.plusYears(1);
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
