package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.Duration;
import java.time.Instant;
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
        "delete from tallyroll.usage_5m where tenant = 't0'"
      })
  void aChangeByHand_isFoundAndMended(String tampering) {
    assertMended(tampering, false);
  }

  /** Nothing tells them from buckets whose source rows were purged. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "insert into tallyroll.usage_1d select (jsonb_populate_record(r, '{\"tenant\": \"ghost\"}')).* from tallyroll.usage_1d r where tenant = 't2'",
        "update tallyroll.usage_1m set bucket = bucket + interval '1 minute' where tenant = 't2' and project = 'p1' and model is null and bucket > '2026-06-14'"
      })
  void bucketsByHandWhereTheTenantHasNoRow_areErasedOnlyIfTheLossIsAccepted(String tampering) {
    assertMended(tampering, true);
  }

  private static void assertMended(String tampering, boolean isLoss) {
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
      assertThat(report.lost() > 0).isEqualTo(isLoss);
      if (isLoss) {
        assertRefused(scenario, VerifyRequest.all("usage"));
      }
      assertThat(scenario.repair(VerifyRequest.all("usage"), isLoss).buckets())
          .isEqualTo(report.differing());
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

  private static void assertRefused(Scenario scenario, VerifyRequest request) {
    assertThatThrownBy(() -> scenario.repair(request, false))
        .isInstanceOfSatisfying(
            TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
        .hasMessageContaining("source missing");
  }

  private static VerifyRequest from(String day, String... tenants) {
    return new VerifyRequest(
        "usage",
        Times.micros(LocalDate.parse(day)),
        null,
        List.of(tenants),
        OptionalInt.empty(),
        0);
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
      assertThat(sample.sampled()).hasSize(60).doesNotHaveDuplicates();
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
      // Before it repairs it refreshes, which seals what is gone.
      assertThat(scenario.repair("usage").buckets()).isZero();
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.verify("usage").isComplete()).isFalse();
      assertThat(scenario.verify("usage").sealed()).isNotEmpty();
      assertThat(scenario.contents("usage_1d")).isEqualTo(before);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aPartitionOfOneTenantThatWasDropped_isNamedAndNotRepairedAway(String changes) {
    try (Scenario scenario = filled(Scenario.withTablePerTenant(), changes, 40)) {
      String before = all(scenario);
      scenario.database().run("drop table events_t0");
      scenario.refresh("usage");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isFalse();
      assertThat(report.sourceMissing())
          .containsExactly("2026-05-06T00:00:00Z to 2026-06-16T00:00:00Z of tenant t0");
      assertThat(report.lost()).isEqualTo(report.differing());
      assertThat(report.mismatches())
          .allSatisfy(mismatch -> {
            assertThat(mismatch.tenant()).isEqualTo("t0");
            assertThat(mismatch.column()).isEqualTo("(source missing)");
          });
      assertThatThrownBy(() -> scenario.repair("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("has no row of tenant t0 from 2026-05-06T00:00:00Z to 2026-05-07T");
      assertThat(all(scenario)).isEqualTo(before);
      // Of the others a number that somebody changed is mended.
      scenario
          .database()
          .run("update tallyroll.usage_1h set requests = requests + 1 where tenant <> 't0'");
      VerifyReport both = scenario.verify("usage");
      assertThat(both.lost()).isEqualTo(report.lost());
      assertThat(both.differing()).isGreaterThan(both.lost());
      assertThat(both.mismatches().getFirst().tenant()).isNotEqualTo("t0");
      assertThat(scenario.repair(from("2026-05-01", "t1", "t2"), false).buckets())
          .isEqualTo(both.differing() - both.lost());
      assertThat(all(scenario)).isEqualTo(before);
      assertThat(scenario.repair(VerifyRequest.all("usage"), true).buckets())
          .isEqualTo(report.lost());
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from tallyroll.usage_1d where tenant = 't0'"))
          .isEqualTo("0");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void halfADayThatOthersPurged_isNamedAndNotRepairedAway(String changes) {
    try (Scenario scenario = filled(Scenario.withTable(), changes, 6)) {
      String before = all(scenario);
      purge(scenario, "ts >= '2026-06-12 00:00Z' and ts < '2026-06-12 12:00Z'");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isFalse();
      assertThat(report.sourceMissing())
          .hasSize(3)
          .allSatisfy(range ->
              assertThat(range)
                  .startsWith("2026-06-12T00:")
                  .contains(" to 2026-06-12T12:00:00Z of tenant t"));
      // The day has rows left, and is lost with its hours.
      assertThat(report.lost()).isEqualTo(report.differing());
      assertThat(report.mismatches()).anyMatch(mismatch -> mismatch.grain().equals("1d"));
      assertRefused(scenario, VerifyRequest.all("usage"));
      assertThat(all(scenario)).isEqualTo(before);
      scenario
          .database()
          .run("update tallyroll.usage_1d set requests = 0 where bucket >= '2026-06-13 00:00Z'");
      assertThat(scenario.repair(from("2026-06-13"), false).buckets()).isPositive();
      assertThat(all(scenario)).isEqualTo(before);
      // What verify names as the way to keep it.
      new Seals(scenario.database().database(), scenario.clock())
          .seal("usage", Instant.parse("2026-06-12T12:00:00Z"), List.of());
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.repair("usage").buckets()).isZero();
      assertThat(all(scenario)).isEqualTo(before);
    }
  }

  @Test
  void aDayOfAZone_thatReachesIntoAPurgedDay_isNotRepairedAway() {
    String rollup =
        Scenario.ROLLUP.replace("1d: keep 1095d", "1d: {keep: 1095d, zones: [UTC, Asia/Kolkata]}");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 3_000, 6);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      String before = scenario.contents("usage_1d_asia_kolkata");
      purge(scenario, "ts < '2026-06-12 00:00Z'");
      // Of the range that is asked for nothing is gone but five hours of a day of Kolkata.
      VerifyReport report = scenario.verify(from("2026-06-12"));
      assertThat(report.differing()).isPositive();
      assertThat(report.lost()).isEqualTo(report.differing());
      assertThat(report.mismatches())
          .allMatch(mismatch -> mismatch.grain().equals("1d@Asia/Kolkata"));
      assertThat(report.sourceMissing())
          .hasSize(3)
          .allSatisfy(range -> assertThat(range).startsWith("2026-06-11T1").contains(" of "));
      assertRefused(scenario, from("2026-06-12"));
      assertThat(scenario.contents("usage_1d_asia_kolkata")).isEqualTo(before);
      // A day that somebody changed is one that differs.
      scenario
          .database()
          .run(
              "update tallyroll.usage_1d_asia_kolkata set requests = 0 where bucket = '2026-06-13 18:30Z'");
      assertThat(scenario.verify(from("2026-06-13")).lost()).isZero();
      assertThat(scenario.repair(from("2026-06-13"), false).buckets()).isPositive();
      assertThat(scenario.contents("usage_1d_asia_kolkata")).isEqualTo(before);
    }
  }

  @Test
  void aTenantOfWhichOnlyRowsInQuarantineAreLeft_hasLostItsSource() {
    try (Scenario scenario = filled(Scenario.withTable(), "any", 3)) {
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, model) values ('t9', '2026-06-14 10:00Z', 'm1'), ('t9', '2026-06-14 10:00Z', repeat('x', 600))");
      assertThat(scenario.refresh("usage").quarantined()).isEqualTo(1);
      purge(scenario, "tenant_id = 't9' and model = 'm1'");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.sourceMissing())
          .containsExactly("2026-06-14T00:00:00Z to 2026-06-15T00:00:00Z of tenant t9");
      assertThat(report.lost()).isEqualTo(4);
      assertThat(report.differing()).isEqualTo(4);
      assertRefused(scenario, VerifyRequest.all("usage"));
    }
  }

  @Test
  void deletionsThatWereCaptured_leaveNoSourceMissing() {
    try (Scenario scenario = filled(Scenario.withTable(), "any", 6)) {
      scenario
          .database()
          .run(
              "delete from events where ts >= '2026-06-12 00:00Z' and ts < '2026-06-13 00:00Z' or tenant_id = 't1'");
      VerifyReport unread = scenario.verify("usage");
      assertThat(unread.isExact()).isTrue();
      assertThat(unread.sourceMissing()).isEmpty();
      assertThat(scenario.repair("usage").buckets()).isZero();
      assertThat(scenario.verify("usage").sourceMissing()).isEmpty();
    }
  }

  @Test
  void manyTenantsWithoutTheirRows_areListedOnlyInPart() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) select 'n' || i, '2026-06-14 10:00Z' from generate_series(1, 130) i");
      scenario.apply(Scenario.ROLLUP);
      scenario.backfill("usage");
      purge(scenario, "tenant_id <> 'n130'");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.lost()).isEqualTo(129 * 4);
      assertThat(report.sourceMissing()).hasSize(101).last().isEqualTo("and 29 more");
      assertThatThrownBy(() -> scenario.repair("usage")).hasMessageContaining("128 more ranges");
    }
  }

  private static Scenario filled(Scenario scenario, String changes, int days) {
    scenario.insert(1, 3_000, days);
    scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: " + changes));
    scenario.backfill("usage");
    scenario.refresh("usage");
    return scenario;
  }

  /** Deletes rows of the source without a trace. */
  private static void purge(Scenario scenario, String predicate) {
    scenario
        .database()
        .run(
            "alter table events disable trigger all; delete from events where "
                + predicate
                + "; alter table events enable trigger all");
  }

  private static String all(Scenario scenario) {
    return String.join(
        "\n",
        scenario.contents("usage_1m"),
        scenario.contents("usage_5m"),
        scenario.contents("usage_1h"),
        scenario.contents("usage_1d"));
  }

  /** Case 27: what a guard before the drop of a legacy table must not accept. */
  @Test
  void aBackfillThatNobodyRan_isNotComplete() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      scenario.apply(Scenario.ROLLUP);
      VerifyReport report = scenario.verify("usage");
      assertThat(report.differing()).isZero();
      assertThat(report.buckets()).isZero();
      assertThat(report.isPartial()).isTrue();
      assertThat(report.isComplete()).isFalse();
    }
  }

  @Test
  void anInterruptedBackfill_isNotComplete() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      scenario.apply(Scenario.ROLLUP);
      new Backfill(scenario.database().database(), scenario.clock())
          .run(
              new BackfillRequest("usage", LocalDate.of(2026, 6, 13), null, 1, 0),
              new Backfill.Progress() {});
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isTrue();
      assertThat(report.buckets()).isPositive();
      assertThat(report.uncovered())
          .containsExactly("2026-06-10T00:00:00Z to 2026-06-13T00:00:00Z");
      assertThat(report.isComplete()).isFalse();
      // Of what was filled it is.
      assertThat(scenario.verify(from("2026-06-13")).isComplete()).isTrue();
      scenario.backfill("usage");
      assertThat(scenario.verify("usage").isComplete()).isTrue();
    }
  }

  @Test
  void aCoverageStampedByHand_isNotComplete() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      scenario.apply(Scenario.ROLLUP);
      scenario
          .database()
          .run(
              "insert into tallyroll.slice (rollup, day_from, day_to, rows) values ('usage', '2026-06-10', '2026-06-16', 300)");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isFalse();
      assertThat(report.lost()).isZero();
      assertThat(report.isComplete()).isFalse();
    }
  }

  @Test
  void anEmptySource_whoseHistoryWasPurged_isNotComplete() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      scenario.database().run("delete from events");
      scenario.apply(Scenario.ROLLUP);
      scenario.backfill("usage");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.isExact()).isTrue();
      assertThat(report.buckets()).isZero();
      assertThat(report.isComplete()).isFalse();
    }
  }

  @Test
  void aHistoryThatWasPurgedBeforeItsBackfill_isNotComplete() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: any"));
      scenario.database().run("delete from events where ts < '2026-06-13 00:00Z'");
      assertThat(scenario.verify("usage").uncovered())
          .containsExactly("2026-06-10T00:00:00Z to 2026-06-16T00:00:00Z");
      scenario.database().run("truncate events");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.uncovered())
          .containsExactly("2026-06-10T00:00:00Z to 2026-06-16T00:00:00Z");
      assertThat(report.isComplete()).isFalse();
      scenario.backfill("usage");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").uncovered()).isEmpty();
      assertThat(scenario.verify("usage").isComplete()).isFalse();
    }
  }

  @Test
  void whatIsSealedOrInQuarantine_isNotComplete_andTheRestIs() {
    try (Scenario scenario = filled(Scenario.withTable(), "any", 6)) {
      assertThat(scenario.verify("usage").isComplete()).isTrue();
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, model) values ('t1', '2026-06-12 12:00Z', repeat('x', 600))");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").isComplete()).isFalse();
      assertThat(scenario.verify(from("2026-06-12")).quarantined()).isEqualTo(1);
      assertThat(scenario.verify(from("2026-06-01", "t1")).quarantined()).isEqualTo(1);
      assertThat(scenario.verify(from("2026-06-13")).isComplete()).isTrue();
      assertThat(scenario.verify(from("2026-06-01", "t0", "t2")).isComplete()).isTrue();
      assertThat(scenario.verify(from("2026-06-01", "nobody")).isComplete()).isFalse();
      // Buckets that could not be computed anew, one of them of a day that reaches into the next.
      scenario
          .database()
          .run(
              "insert into tallyroll.quarantine (rollup, kind, reason, tenant, source_row) select 'usage', 'bucket', 'gone', 't0', jsonb_build_object('grain', g, 'bucket', b, 'key', '{}'::text[])"
                  + " from (values ('1d', '2026-06-12T00:00:00Z'), ('1d@Asia/Kolkata', '2026-06-12T18:30:00Z')) entries (g, b)");
      assertThat(scenario.verify("usage").quarantined()).isEqualTo(3);
      assertThat(scenario.verify(from("2026-06-12", "t0")).quarantined()).isEqualTo(2);
      assertThat(scenario.verify(from("2026-06-13")).quarantined()).isEqualTo(1);
      assertThat(scenario.verify(from("2026-06-14")).quarantined()).isZero();
      new Seals(scenario.database().database(), scenario.clock())
          .seal("usage", Instant.parse("2026-06-14T06:00:00Z"), List.of());
      assertThat(scenario.verify(from("2026-06-14")).isExact()).isTrue();
      assertThat(scenario.verify(from("2026-06-14")).isComplete()).isFalse();
      assertThat(scenario.verify(from("2026-06-15")).isComplete()).isTrue();
      VerifyReport sample =
          scenario.verify(new VerifyRequest("usage", null, null, List.of(), OptionalInt.of(5), 1));
      assertThat(sample.isComplete()).isFalse();
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
