package dev.tallyroll.model.time;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GrainTest {
  private static long at(String instant) {
    return Times.micros(Instant.parse(instant));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "Asia/Kolkata",
        "America/New_York",
        "Africa/Cairo",
        "America/Havana",
        "Antarctica/Troll",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Pacific/Apia",
        "Asia/Kathmandu",
        "America/Sao_Paulo"
      })
  void theDaysOfAZone_followEachOtherFromStartToStart(String id) {
    ZoneId zone = ZoneId.of(id);
    Grain days = Grain.dayIn(zone);
    Random random = new Random(7);
    for (int i = 0; i < 5_000; i++) {
      long time = at("1975-01-01T00:00:00Z") + random.nextLong(60 * 365 * Times.DAY);
      long start = days.floor(time);
      long end = days.end(start);
      assertThat(start).isLessThanOrEqualTo(time);
      assertThat(end).isGreaterThan(time);
      assertThat(days.floor(start)).isEqualTo(start);
      assertThat(days.ceil(start)).isEqualTo(start);
      assertThat(days.ceil(start + 1)).isEqualTo(end);
      assertThat((end - start) / 3_600_000_000L).isBetween(22L, 26L);
      LocalDate day = Times.instant(start).atZone(zone).toLocalDate();
      assertThat(Times.instant(start)).isEqualTo(day.atStartOfDay(zone).toInstant());
      assertThat(Grain.FIVE_MINUTES.isWhole(start, end)).isTrue();
    }
  }

  @Test
  void aDateThatAZoneSkips_isNoDay() {
    Grain days = Grain.dayIn(ZoneId.of("Pacific/Apia"));
    long before = days.floor(at("2011-12-30T09:00:00Z"));
    assertThat(before).isEqualTo(at("2011-12-29T10:00:00Z"));
    assertThat(days.end(before)).isEqualTo(at("2011-12-30T10:00:00Z"));
    assertThat(Times.instant(days.end(before)).atZone(ZoneId.of("Pacific/Apia")).toLocalDate())
        .isEqualTo(LocalDate.of(2011, 12, 31));
  }

  @Test
  void aClockThatGoesBackOverMidnight_leavesOneDayToEachTime() {
    // At 00:01 back to 23:01: the second pass of the evening belongs to the day that has begun.
    Grain days = Grain.dayIn(ZoneId.of("America/St_Johns"));
    long start = days.floor(at("2010-11-07T02:45:00Z"));
    assertThat(start).isEqualTo(at("2010-11-07T02:30:00Z"));
    assertThat(days.end(start)).isEqualTo(at("2010-11-08T03:30:00Z"));
  }

  @Test
  void daysAreMadeOfHours_onlyWhereTheOffsetsAreWholeHours() {
    Grain newYork = Grain.dayIn(ZoneId.of("America/New_York"));
    Grain kolkata = Grain.dayIn(ZoneId.of("Asia/Kolkata"));
    Grain kathmandu = Grain.dayIn(ZoneId.of("Asia/Kathmandu"));
    assertThat(newYork.madeOfFrom(Grain.HOUR)).isEqualTo(at("1970-01-02T05:00:00Z"));
    assertThat(kolkata.madeOfFrom(Grain.HOUR)).isEqualTo(Long.MAX_VALUE);
    assertThat(kolkata.madeOfFrom(Grain.FIVE_MINUTES)).isEqualTo(at("1970-01-01T18:30:00Z"));
    assertThat(kathmandu.madeOfFrom(Grain.HOUR)).isEqualTo(Long.MAX_VALUE);
    assertThat(newYork.madeOfFrom(Grain.DAY)).isEqualTo(Long.MAX_VALUE);
    assertThat(newYork.madeOfFrom(kolkata)).isEqualTo(Long.MAX_VALUE);
    // Until 1972 Liberia was 44 minutes and 30 seconds behind.
    assertThat(Grain.dayIn(ZoneId.of("Africa/Monrovia")).madeOfFrom(Grain.MINUTE))
        .isEqualTo(at("1972-01-08T00:00:00Z"));
    assertThat(Grain.HOUR.madeOfFrom(Grain.MINUTE)).isEqualTo(Long.MIN_VALUE);
  }

  @Test
  void labelsReadBack_andUtcIsTheDay() {
    List<Grain> grains =
        new ArrayList<>(
            List.of(
                Grain.dayIn(ZoneId.of("Asia/Kolkata")),
                Grain.DAY,
                Grain.MINUTE,
                Grain.dayIn(ZoneId.of("America/Port-au-Prince")),
                Grain.dayIn(ZoneId.of("Etc/GMT+5")),
                Grain.dayIn(ZoneId.of("Etc/GMT-5")),
                Grain.HOUR));
    grains.sort(null);
    assertThat(grains.stream().map(Grain::suffix))
        .containsExactly(
            "1m",
            "1h",
            "1d",
            "1d_america_port_au_prince",
            "1d_asia_kolkata",
            "1d_etc_gmt_plus_5",
            "1d_etc_gmt_minus_5");
    grains.forEach(grain -> assertThat(Grain.of(grain.label())).contains(grain));
    assertThat(Grain.dayIn(ZoneId.of("Etc/UTC"))).isSameAs(Grain.DAY);
    assertThat(Grain.dayIn(ZoneId.of("GMT"))).isSameAs(Grain.DAY);
    assertThat(Grain.of("1d@Nowhere")).isEmpty();
    assertThat(Grain.of("2d")).isEmpty();
  }
}
