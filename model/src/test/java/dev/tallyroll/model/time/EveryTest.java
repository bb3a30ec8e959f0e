package dev.tallyroll.model.time;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class EveryTest {
  private static final LocalDate FROM = LocalDate.of(2025, 1, 1);
  private static final LocalDate TO = LocalDate.of(2028, 1, 1);
  private static final Tiling ALL_GRAINS =
      new Tiling(
          Map.of(
              Grain.MINUTE, Long.MIN_VALUE,
              Grain.FIVE_MINUTES, Long.MIN_VALUE,
              Grain.HOUR, Long.MIN_VALUE,
              Grain.DAY, Long.MIN_VALUE));

  /**
   * Every local day, week and month of three years, in every zone there is, against java.time
   * alone.
   */
  @ParameterizedTest
  @EnumSource(
      value = Every.class,
      names = {"DAY", "WEEK", "MONTH"})
  void everyZone_isTiledExactly(Every every) {
    int tilesSeen = 0;
    for (String id : new TreeSet<>(ZoneId.getAvailableZoneIds())) {
      ZoneId zone = ZoneId.of(id);
      LocalDate first =
          switch (every) {
            case WEEK -> LocalDate.of(2024, 12, 30);
            default -> FROM;
          };
      long from = Times.micros(first.atStartOfDay(zone).toInstant());
      long to = Times.micros(TO.atStartOfDay(zone).toInstant());
      Buckets buckets = Buckets.of(from, to, every, zone);
      List<Long> expected = new ArrayList<>();
      for (LocalDate date = first; date.isBefore(TO); ) {
        expected.add(Times.micros(date.atStartOfDay(zone).toInstant()));
        date =
            switch (every) {
              case WEEK -> date.plusWeeks(1);
              case MONTH -> date.plusMonths(1);
              default -> date.plusDays(1);
            };
      }
      assertThat(buckets.count()).as(id).isEqualTo(expected.size());
      for (int i = 0; i < buckets.count(); i++) {
        assertThat(buckets.start(i)).as(id).isEqualTo(expected.get(i));
        assertThat(buckets.end(i))
            .as(id)
            .isEqualTo(i + 1 < expected.size() ? expected.get(i + 1) : to);
        if (ALL_GRAINS.tile(buckets.start(i), buckets.end(i))
            instanceof Tiling.Outcome.Tiled tiled) {
          long at = buckets.start(i);
          for (Tile tile : tiled.tiles()) {
            assertThat(tile.start()).as(id).isEqualTo(at);
            at = tile.end();
            tilesSeen++;
          }
          assertThat(at).as(id).isEqualTo(buckets.end(i));
        } else {
          throw new AssertionError(id + " " + Times.format(buckets.start(i)) + " is not tiled");
        }
      }
    }
    assertThat(tilesSeen).isGreaterThan(10_000);
  }

  @Test
  void everyZone_startsItsDayOnAMultipleOfFiveMinutes() {
    Tiling fromFiveMinutes =
        new Tiling(Map.of(Grain.FIVE_MINUTES, Long.MIN_VALUE, Grain.DAY, Long.MIN_VALUE));
    for (String id : ZoneId.getAvailableZoneIds()) {
      long start = Times.micros(FROM.atStartOfDay(ZoneId.of(id)).toInstant());
      assertThat(fromFiveMinutes.tile(start, start + Times.DAY))
          .as(id)
          .isInstanceOf(Tiling.Outcome.Tiled.class);
    }
  }

  @Test
  void anHourWithTwoOffsets_isTwoBuckets() {
    ZoneId zone = ZoneId.of("America/New_York");
    long from = Times.micros(Instant.parse("2025-11-02T04:00:00Z"));
    long to = Times.micros(Instant.parse("2025-11-03T05:00:00Z"));
    Buckets hours = Buckets.of(from, to, Every.HOUR, zone);
    assertThat(hours.count()).isEqualTo(25);
    assertThat(Times.format(hours.label(1), zone)).isEqualTo("2025-11-02T01:00:00-04:00");
    assertThat(Times.format(hours.label(2), zone)).isEqualTo("2025-11-02T01:00:00-05:00");
  }

  @Test
  void anHalfHourChange_endsTheHourEarly() {
    ZoneId zone = ZoneId.of("Australia/Lord_Howe");
    long from = Times.micros(LocalDate.of(2026, 4, 5).atStartOfDay(zone).toInstant());
    long to = Times.micros(LocalDate.of(2026, 4, 6).atStartOfDay(zone).toInstant());
    Buckets hours = Buckets.of(from, to, Every.HOUR, zone);
    assertThat((to - from) / 60_000_000).isEqualTo(24 * 60 + 30);
    assertThat(hours.count()).isEqualTo(25);
    long shortest = Long.MAX_VALUE;
    for (int i = 0; i < hours.count(); i++) {
      shortest = Math.min(shortest, hours.end(i) - hours.start(i));
      assertThat(hours.indexOf(hours.start(i))).isEqualTo(i);
      assertThat(hours.indexOf(hours.end(i) - 1)).isEqualTo(i);
    }
    assertThat(shortest).isEqualTo(30 * 60_000_000L);
  }

  @Test
  void aSkippedDate_hasNoBucket() {
    ZoneId zone = ZoneId.of("Pacific/Apia");
    long from = Times.micros(LocalDate.of(2011, 12, 28).atStartOfDay(zone).toInstant());
    long to = Times.micros(LocalDate.of(2012, 1, 2).atStartOfDay(zone).toInstant());
    assertThat(Buckets.of(from, to, Every.DAY, zone).count()).isEqualTo(4);
  }

  @Test
  void aRangeThatBeginsInsideABucket_isCutButNamedByItsStart() {
    long from = Times.micros(Instant.parse("2026-05-04T12:00:00Z"));
    Buckets weeks = Buckets.of(from, from + 7 * Times.DAY, Every.WEEK, ZoneId.of("Europe/Berlin"));
    assertThat(weeks.count()).isEqualTo(2);
    assertThat(weeks.start(0)).isEqualTo(from);
    assertThat(Times.format(weeks.label(0), weeks.zone())).isEqualTo("2026-05-04T00:00:00+02:00");
    assertThat(weeks.indexOf(from - 1)).isEqualTo(-1);
  }
}
