package dev.tallyroll.model.time;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import java.util.List;
import java.util.Map;
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
}
