package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.quarantine.Quarantine;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.KeepTime;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The clock of the database's host and that of the engine jump together. */
class ClockTest {
  /** The right time; a jump of a year must not go past the clock of the server under test. */
  private static final Instant THEN = Scenario.NOW.minus(Duration.ofDays(365));

  private static final String SHORT =
      Scenario.ROLLUP.replaceAll(
          "grains: .*", "grains: {1m: keep 7d, 5m: keep 14d, 1h: keep 40d, 1d: keep 60d}");

  private static String of(String changes) {
    return SHORT.replace("changes: append", "changes: " + changes);
  }

  /** Rows of the days before a time. */
  private static void write(Scenario scenario, int from, int to, Instant before, double days) {
    scenario
        .database()
        .run(
            Scenario.insertSql(from, to, days)
                .replace("timestamptz '" + Scenario.NOW + "'", "timestamptz '" + before + "'"));
  }

  /** A rollup with two months of rows, which was refreshed at the right time. */
  private static Scenario refreshed(String rollup) {
    Scenario scenario = Scenario.withTable();
    scenario.setClock(THEN);
    write(scenario, 1, 300, THEN, 50);
    scenario.apply(rollup);
    scenario.backfill("usage");
    write(scenario, 301, 600, THEN, 50);
    assertThat(scenario.refresh("usage").held()).isEmpty();
    return scenario;
  }

  private static String kept(Scenario scenario) {
    return String.valueOf(
        scenario
            .database()
            .value(
                "select string_agg(grain || ' ' || kept_from, ', ' order by grain) from tallyroll.grain where rollup = 'usage'"));
  }

  private static String partitions(Scenario scenario) {
    return String.valueOf(
        scenario
            .database()
            .value(
                "select string_agg(relname, ' ' order by relname) from pg_class where relname ~ '^usage_.*_p[0-9]{8}$'"));
  }

  private static void assertCounted(Scenario scenario, int rows) {
    assertThat(scenario.verify("usage").isExact()).isTrue();
    assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
        .isEqualTo(Integer.toString(rows));
    assertThat(scenario.status("usage").expiredRows()).isZero();
  }

  private static RefreshOutcome.Refreshed trusting(Scenario scenario) {
    try (Refresher refresher =
        new Refresher(scenario.database().database(), scenario.clock()).trustingClock()) {
      return (RefreshOutcome.Refreshed) refresher.refresh("usage", Refresher.WhenBusy.WAIT);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aJumpOfAYear_dropsNothing_andTheRightClockGoesOn(String changes) {
    try (Scenario scenario = refreshed(of(changes))) {
      String kept = kept(scenario);
      String partitions = partitions(scenario);
      scenario.setClock(Scenario.NOW);
      write(scenario, 601, 650, THEN, 40);
      for (int i = 0; i < 2; i++) {
        RefreshOutcome.Refreshed refreshed = scenario.refresh("usage");
        assertThat(refreshed.dropped()).isEmpty();
        assertThat(refreshed.expired()).isZero();
        assertThat(refreshed.held().orElse(""))
            .contains("from 2025-06-15T12:00:00Z to 2026-06-15T12:00:00Z")
            .endsWith("{tallyroll} refresh usage --clock-is-right");
      }
      assertThat(kept(scenario)).isEqualTo(kept);
      assertThat(partitions(scenario)).isEqualTo(partitions);
      assertCounted(scenario, 650);
      assertThat(scenario.status("usage").keepTime().heldAt()).contains(Scenario.NOW);
      assertThat(scenario.status("usage").faults(Duration.ofDays(1), Instant.now()))
          .singleElement()
          .asString()
          .startsWith("drops nothing that is no longer kept: the clock went from")
          .endsWith("{tallyroll} refresh usage --clock-is-right");
      // The clock is right again, and late rows of the last month come.
      scenario.setClock(THEN.plus(Duration.ofHours(5)));
      write(scenario, 651, 700, THEN, 40);
      RefreshOutcome.Refreshed again = scenario.refresh("usage");
      assertThat(again.held()).isEmpty();
      assertThat(again.rows()).isEqualTo(50);
      assertThat(kept(scenario)).isEqualTo(kept);
      assertCounted(scenario, 700);
      assertThat(scenario.status("usage").keepTime().heldAt()).isEmpty();
      assertThat(scenario.status("usage").faults(Duration.ofDays(1), Instant.now())).isEmpty();
      // And what is no longer kept goes in its time.
      scenario.setClock(THEN.plus(Duration.ofDays(2)));
      assertThat(scenario.refresh("usage").dropped())
          .contains("usage_1m_p20250608", "usage_1m_p20250609")
          .doesNotContain("usage_1m_p20250610");
      assertThat(scenario.verify("usage").isExact()).isTrue();
    }
  }

  @Test
  void whoSaysThatTheClockIsRight_isBelievedOnce() {
    try (Scenario scenario = refreshed(of("any"))) {
      scenario.setClock(THEN.plus(Duration.ofDays(100)));
      assertThat(scenario.refresh("usage").held()).isPresent();
      RefreshOutcome.Refreshed refreshed = trusting(scenario);
      assertThat(refreshed.held()).isEmpty();
      assertThat(refreshed.dropped()).contains("usage_1m_p20250615", "usage_1h_p20250601");
      assertThat(scenario.status("usage").keepTime())
          .isEqualTo(new KeepTime(Optional.of(THEN.plus(Duration.ofDays(100))), Optional.empty()));
      assertThat(scenario.verify("usage").isExact()).isTrue();
      scenario.setClock(THEN.plus(Duration.ofDays(101)));
      assertThat(scenario.refresh("usage").held()).isEmpty();
      scenario.setClock(THEN.plus(Duration.ofDays(200)));
      assertThat(scenario.refresh("usage").held()).isPresent();
    }
  }

  @Test
  void aRollupThatStoodStillForAWeek_goesOnByItself() {
    try (Scenario scenario = refreshed(of("any"))) {
      scenario.setClock(THEN.plus(KeepTime.MOST_STEP));
      RefreshOutcome.Refreshed refreshed = scenario.refresh("usage");
      assertThat(refreshed.held()).isEmpty();
      assertThat(refreshed.dropped()).contains("usage_1m_p20250615");
      assertThat(scenario.verify("usage").isExact()).isTrue();
      // A clock that was behind for a while has not jumped when it is right again.
      scenario.setClock(Instant.parse("2001-01-01T00:00:00Z"));
      write(scenario, 601, 650, THEN, 5);
      assertThat(scenario.refresh("usage").quarantined()).isEqualTo(50);
      scenario.setClock(THEN.plus(Duration.ofDays(9)));
      assertThat(scenario.refresh("usage").held()).isEmpty();
      assertThat(
              new Quarantine(scenario.database().database(), scenario.clock())
                  .replay("usage", List.of())
                  .counted())
          .isEqualTo(50);
      assertCounted(scenario, 650);
    }
  }

  @Test
  void aShorterKeep_isNoJump() {
    try (Scenario scenario = refreshed(of("any"))) {
      assertThat(scenario.change(of("any").replace("1m: keep 7d", "1m: keep 3d"), false))
          .isEqualTo(Installer.Outcome.CHANGED);
      RefreshOutcome.Refreshed refreshed = scenario.refresh("usage");
      assertThat(refreshed.held()).isEmpty();
      assertThat(refreshed.dropped())
          .contains("usage_1m_p20250611")
          .doesNotContain("usage_1m_p20250612");
      // Under a clock that is not believed a keep counts from the time before.
      scenario.setClock(Scenario.NOW);
      scenario.change(of("any").replace("1m: keep 7d", "1m: keep 1d"), false);
      refreshed = scenario.refresh("usage");
      assertThat(refreshed.held()).isPresent();
      assertThat(refreshed.dropped()).containsExactly("usage_1m_p20250612", "usage_1m_p20250613");
      assertCounted(scenario, 600);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void historyAndNewDefinitions_areWholeUnderAClockThatHasJumped(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.setClock(THEN);
      write(scenario, 1, 300, THEN, 50);
      scenario.apply(of(changes));
      write(scenario, 301, 400, THEN, 50);
      scenario.refresh("usage");
      String kept = kept(scenario);
      scenario.setClock(Scenario.NOW);
      scenario.backfill("usage");
      assertThat(scenario.status("usage").keepTime().heldAt()).contains(Scenario.NOW);
      assertCounted(scenario, 400);
      // A measure that is new is built beside, and a grain from what is stored or beside.
      scenario.change(
          of(changes)
              .replace("errors:", "newest: max(ts)\n  errors:")
              .replace("5m: keep 14d, ", ""),
          false);
      scenario.change(of(changes).replace("errors:", "newest: max(ts)\n  errors:"), false);
      assertThat(scenario.status("usage").keepTime().heldAt()).isPresent();
      assertCounted(scenario, 400);
      scenario.setClock(THEN);
      scenario.refresh("usage");
      assertThat(scenario.status("usage").keepTime().heldAt()).isEmpty();
      assertThat(kept(scenario)).isEqualTo(kept);
      assertCounted(scenario, 400);
    }
  }

  /** Rows that come with the wrong time, so that the newest of them speaks for the clock. */
  @Test
  void rowsWithTheTimeOfAClockThatHasJumped_purgeNothing_andCanBeTakenOut() {
    try (Scenario scenario =
        refreshed(of("any").replace("changes: any", "changes: any, keep: 70d"))) {
      scenario.setClock(Scenario.NOW);
      write(scenario, 601, 650, Scenario.NOW, 0.1);
      assertThat(scenario.refresh("usage").held()).isPresent();
      Purge purge = new Purge(scenario.database().database(), scenario.clock());
      assertThatThrownBy(() -> purge.run("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("nothing is purged: the clock went from");
      assertThat(scenario.database().value("select count(*) from events")).isEqualTo("650");
      assertCounted(scenario, 650);
      scenario.setClock(THEN.plus(Duration.ofHours(1)));
      scenario.refresh("usage");
      scenario
          .database()
          .run("update events set ts = ts - interval '365 days' where ts > '2026-01-01'");
      scenario.refresh("usage");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.sourceMissing()).isNotEmpty();
      new Verifier(scenario.database().database(), scenario.clock())
          .repair(
              new VerifyRequest(
                  "usage",
                  Times.micros(Instant.parse("2026-06-14T00:00:00Z")),
                  null,
                  List.of(),
                  OptionalInt.empty(),
                  0),
              true,
              new Verifier.Progress() {});
      assertCounted(scenario, 650);
    }
  }
}
