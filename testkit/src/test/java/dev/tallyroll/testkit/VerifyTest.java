package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.Duration;
import java.time.LocalDate;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VerifyTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "update tallyroll.usage_1h set tokens = tokens + 1 where tenant = 't1'",
        "update tallyroll.usage_5m set cost = cost + 0.000001",
        "update tallyroll.usage_1m set users_sketch = B'000000000000000000000000000000000000000000000001' where project is null",
        "update tallyroll.usage_1d set duration_ms_sketch = '\\x00800001'",
        "update tallyroll.usage_1d set last_word = 'zzz'",
        "update tallyroll.usage_1h set score = score * 1.0001 + 1",
        "delete from tallyroll.usage_5m where tenant = 't0'",
        "insert into tallyroll.usage_1d select (jsonb_populate_record(r, '{\"tenant\": \"ghost\"}')).* from tallyroll.usage_1d r where tenant = 't2'",
        "update tallyroll.usage_1m set bucket = bucket + interval '1 minute' where tenant = 't2' and project = 'p1' and model is null and bucket > '2026-06-14'"
      })
  void aChangeByHand_isFoundAndMended(String tampering) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 2_000, 3);
      scenario.apply(Scenario.ROLLUP);
      scenario.apply(Scenario.ROLLUP.replace("rollup: usage", "rollup: twin"));
      scenario.backfill("usage");
      scenario.insert(2_001, 4_000, 3);
      scenario.refresh("usage");
      scenario.insert(4_001, 4_500, 3);
      assertThat(scenario.verify("usage").isExact()).isTrue();
      scenario.database().run("set session_replication_role = replica; " + tampering);
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isFalse();
      assertThat(report.mismatches()).isNotEmpty();
      assertThat(scenario.repair("usage").buckets()).isEqualTo(report.differing());
      assertThat(scenario.verify("usage").isExact()).isTrue();
      // Repair refreshes too; a twin that nobody tampered with tells what must be there.
      scenario.backfill("twin");
      scenario.refresh("twin");
      for (String grain : List.of("1m", "5m", "1h", "1d")) {
        assertThat(scenario.contents("usage_" + grain))
            .isEqualTo(scenario.contents("twin_" + grain));
      }
      assertThat(scenario.repair("usage").buckets()).isZero();
    }
  }

  @Test
  void rangesTenantsAndSamples_lookAtNothingElse() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 3_000, 6);
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "update tallyroll.usage_1h set requests = 0 where tenant = 't1' and bucket < '2026-06-12'");
      long day = Times.micros(LocalDate.of(2026, 6, 12));
      assertThat(
              scenario
                  .verify(new VerifyRequest("usage", day, null, List.of(), OptionalInt.empty(), 0))
                  .isExact())
          .isTrue();
      assertThat(
              scenario
                  .verify(new VerifyRequest("usage", null, day, List.of(), OptionalInt.empty(), 0))
                  .isExact())
          .isFalse();
      assertThat(
              scenario
                  .verify(
                      new VerifyRequest(
                          "usage", null, null, List.of("t0", "t2"), OptionalInt.empty(), 0))
                  .isExact())
          .isTrue();
      VerifyReport sample =
          scenario.verify(new VerifyRequest("usage", null, null, List.of(), OptionalInt.of(60), 4));
      assertThat(sample.sampled()).hasSize(60);
      assertThat(sample.isExact()).isFalse();
    }
  }

  /** Case 7: a range whose raw rows are gone must not erase the long-lived rollup. */
  @Test
  void aPurgedSource_isNamedAndNotRepairedAway() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.apply(Scenario.ROLLUP);
      scenario.insert(1, 2_000, 40);
      scenario.refresh("usage");
      String before = scenario.contents("usage_1d");
      scenario.database().run("drop table events_may");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isFalse();
      assertThat(report.sourceMissing())
          .containsExactly("2026-05-06T00:00:00Z to 2026-06-01T00:00:00Z");
      assertThatThrownBy(() -> scenario.repair("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("source missing");
      assertThat(scenario.contents("usage_1d")).isEqualTo(before);
    }
  }

  @Test
  void aRowThatLayAheadOnce_staysInQuarantine() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 1);
      scenario.database().run("insert into events (tenant_id, ts) values ('t0', '2026-06-17')");
      assertThat(scenario.refresh("usage").quarantined()).isEqualTo(1);
      scenario.setClock(Scenario.NOW.plus(Duration.ofDays(5)));
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.repair("usage").buckets()).isZero();
    }
  }
}
