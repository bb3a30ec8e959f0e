package dev.tallyroll.model.time;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.time.ZoneId;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class TilingTest {
  private static final long DAY_START = at("2026-03-10T00:00:00Z");

  private static long at(String instant) {
    return Times.micros(Instant.parse(instant));
  }

  @Test
  void aKolkataDay_isHoursWithFiveMinuteEdges() {
    Tiling tiling = new Tiling(Map.of(Grain.FIVE_MINUTES, 0L, Grain.HOUR, 0L, Grain.DAY, 0L));
    Tiling.Outcome outcome = tiling.tile(at("2026-03-09T18:30:00Z"), at("2026-03-10T18:30:00Z"));
    assertThat(outcome)
        .isEqualTo(
            new Tiling.Outcome.Tiled(
                List.of(
                    new Tile(
                        Grain.FIVE_MINUTES, at("2026-03-09T18:30:00Z"), at("2026-03-09T19:00:00Z")),
                    new Tile(Grain.HOUR, at("2026-03-09T19:00:00Z"), at("2026-03-10T18:00:00Z")),
                    new Tile(
                        Grain.FIVE_MINUTES,
                        at("2026-03-10T18:00:00Z"),
                        at("2026-03-10T18:30:00Z")))));
  }

  @Test
  void anEdgeWhoseGrainIsNoLongerKept_isNamed() {
    Tiling tiling =
        new Tiling(Map.of(Grain.FIVE_MINUTES, DAY_START, Grain.HOUR, 0L, Grain.DAY, 0L));
    assertThat(tiling.tile(at("2026-03-01T18:30:00Z"), at("2026-03-02T18:30:00Z")))
        .isEqualTo(
            new Tiling.Outcome.NotKept(
                Grain.FIVE_MINUTES,
                at("2026-03-01T18:30:00Z"),
                at("2026-03-01T19:00:00Z"),
                DAY_START));
  }

  @Test
  void anEdgeOffTheFinestGrain_isNamed() {
    Tiling tiling = new Tiling(Map.of(Grain.HOUR, 0L));
    assertThat(tiling.tile(at("2026-03-01T18:30:00Z"), at("2026-03-02T18:00:00Z")))
        .isEqualTo(new Tiling.Outcome.NotAligned(Grain.HOUR, at("2026-03-01T18:30:00Z")));
  }

  @Test
  void finerBuckets_standInWhereTheCoarseGrainIsKeptForLess() {
    Tiling tiling = new Tiling(Map.of(Grain.HOUR, 0L, Grain.DAY, DAY_START));
    assertThat(tiling.tile(DAY_START - Times.DAY, DAY_START + Times.DAY))
        .isEqualTo(
            new Tiling.Outcome.Tiled(
                List.of(
                    new Tile(Grain.HOUR, DAY_START - Times.DAY, DAY_START),
                    new Tile(Grain.DAY, DAY_START, DAY_START + Times.DAY))));
  }

  @Test
  void aMonthInAZoneWhoseDaysAreKept_isMadeOfThem() {
    Grain days = Grain.dayIn(ZoneId.of("Asia/Kolkata"));
    long start = at("2026-02-28T18:30:00Z");
    long end = at("2026-03-31T18:30:00Z");
    assertThat(
            new Tiling(Map.of(Grain.FIVE_MINUTES, 0L, Grain.HOUR, 0L, Grain.DAY, 0L, days, 0L))
                .tile(start, end))
        .isEqualTo(new Tiling.Outcome.Tiled(List.of(new Tile(days, start, end))));
    // Where hours are gone, and with nothing finer at all.
    assertThat(new Tiling(Map.of(Grain.HOUR, end, Grain.DAY, 0L, days, 0L)).tile(start, end))
        .isEqualTo(new Tiling.Outcome.Tiled(List.of(new Tile(days, start, end))));
    assertThat(new Tiling(Map.of(days, 0L)).tile(start, end))
        .isEqualTo(new Tiling.Outcome.Tiled(List.of(new Tile(days, start, end))));
    assertThat(new Tiling(Map.of(days, start)).tile(start - 86_400_000_000L, end))
        .isEqualTo(new Tiling.Outcome.NotKept(days, start - 86_400_000_000L, start, start));
    assertThat(new Tiling(Map.of(days, 0L)).tile(start, end + 1))
        .isEqualTo(new Tiling.Outcome.NotAligned(days, end + 1));
  }

  @Test
  void aDayOfAZone_isMadeOfTheCoarsestFinerGrainThatIsKept() {
    Grain kolkata = Grain.dayIn(ZoneId.of("Asia/Kolkata"));
    Grain newYork = Grain.dayIn(ZoneId.of("America/New_York"));
    TreeMap<Grain, Long> kept =
        new TreeMap<>(
            Map.of(Grain.FIVE_MINUTES, DAY_START, Grain.HOUR, 0L, kolkata, 0L, newYork, 0L));
    long inKolkata = at("2026-03-12T18:30:00Z");
    assertThat(Tiling.finer(kept, kolkata, inKolkata)).contains(Grain.FIVE_MINUTES);
    assertThat(Tiling.finer(kept, kolkata, at("2026-03-01T18:30:00Z"))).isEmpty();
    assertThat(Tiling.finer(kept, newYork, at("2026-03-01T05:00:00Z"))).contains(Grain.HOUR);
  }
}
