package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What {@code status --max-lag} finds. */
class StatusTest {
  private static final Duration MOST = Duration.ofMinutes(5);

  private static List<String> faults(Scenario scenario, Instant now) {
    return scenario.status("usage").faults(MOST, now);
  }

  private static Instant lastRefresh(Scenario scenario) {
    return Objects.requireNonNull(scenario.status("usage").lastRefresh());
  }

  /** It has no rows to read, and yet nothing that is stored is true any more. */
  @Test
  void aTruncateThatNoRefreshHasSeen_isShown() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: any"));
      scenario.insert(1, 100, 3);
      scenario.refresh("usage");
      assertThat(scenario.status("usage").awaited()).isEmpty();
      scenario.database().run("truncate events");
      assertThat(scenario.status("usage").unreadRows()).isZero();
      assertThat(scenario.status("usage").awaited()).containsExactly("\"public\".\"events\"");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").awaited()).isEmpty();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aRollupThatNobodyEverRefreshed_isAFault(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: " + changes));
      assertThat(faults(scenario, Instant.now())).containsExactly("was never refreshed");
      scenario.refresh("usage");
      assertThat(faults(scenario, Instant.now())).isEmpty();
    }
  }

  /** Case 10: a catch-up of ten days does not read healthy because it ran a moment ago. */
  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void eventsBeyondTheLag_areAFault_howeverShortAgoTheRefresh(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: " + changes));
      scenario
          .database()
          .run("insert into events (tenant_id, ts) values ('t0', '2026-06-05 10:00:00Z')");
      scenario.refresh("usage");
      Instant now = lastRefresh(scenario);
      String insert = "insert into events (tenant_id, ts) values ('t0', '%s')";
      scenario.database().run(insert.formatted("2026-06-05 10:05:00Z"));
      assertThat(faults(scenario, now)).isEmpty();
      scenario.database().run(insert.formatted("2026-06-05 10:05:01Z"));
      assertThat(faults(scenario, now)).containsExactly("lags by 5m 1s");
      scenario.database().run(insert.formatted("2026-06-15 10:00:00Z"));
      assertThat(faults(scenario, now)).containsExactly("lags by 10d 0h");
      // A late event is no lag of event time; the rows say that it is not merged.
      scenario.refresh("usage");
      scenario.database().run(insert.formatted("2026-06-01 10:00:00Z"));
      assertThat(faults(scenario, lastRefresh(scenario))).isEmpty();
      assertThat(scenario.status("usage").unreadRows()).isEqualTo(1);
    }
  }

  @Test
  void aRefreshTooLongAgo_isAFault_evenWithNothingUnread() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.refresh("usage");
      Instant last = lastRefresh(scenario);
      assertThat(faults(scenario, last.plus(MOST))).isEmpty();
      assertThat(faults(scenario, last.plus(MOST).plusSeconds(1)))
          .hasSize(1)
          .first()
          .asString()
          .startsWith("was not refreshed since 20");
    }
  }

  @Test
  void aFailedRefresh_isAFaultUntilOneSucceeds() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.refresh("usage");
      scenario.insert(1, 10, 1);
      scenario.database().run("alter table tallyroll.usage_5m rename to gone");
      assertThatThrownBy(() -> scenario.refresh("usage")).hasMessageContaining("usage_5m");
      scenario.database().run("alter table tallyroll.gone rename to usage_5m");
      assertThat(scenario.status("usage").isFailing()).isTrue();
      assertThat(faults(scenario, lastRefresh(scenario)))
          .anySatisfy(fault ->
              assertThat(fault).startsWith("the last refresh failed: ").contains("usage_5m"));
      scenario.refresh("usage");
      assertThat(faults(scenario, Instant.now())).isEmpty();
      // It can still be read.
      assertThat(scenario.status("usage").lastError()).contains("usage_5m");
    }
  }
}
