package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.quarantine.Quarantine;
import dev.tallyroll.postgres.query.QueryRequest;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class QuarantineTest {
  /** Batches are read once without a look at them, and rows of any length must be stepped over. */
  @ParameterizedTest
  @CsvSource({"append, true", "append, false", "any, true", "any, false"})
  void poisonAmongRowsOfAllLengths_isFoundAlone(String changes, boolean isLive) {
    try (Scenario scenario = new Scenario()) {
      scenario
          .database()
          .run(
              "create table lines (tenant_id text not null, ts timestamptz not null, a integer not null, b integer not null, m text not null)");
      String insert =
          "insert into lines select 't' || i % 3, timestamptz '2026-06-15 10:00:00.7Z' - i * interval '1.2345 seconds', i, case when i % 250 = 77 then 0 else 3 end, repeat('x', i % 50)"
              + " from generate_series(1, 2000) i";
      if (!isLive) {
        scenario.database().run(insert);
      }
      scenario.apply(
          """
          rollup: usage
          source: {table: public.lines, tenant: tenant_id, time: ts, changes: %s}
          dimensions: [m]
          measures: {n: count, q: sum(a / b)}
          grains: {1m: keep 30d, 1d: keep 900d}
          """
              .formatted(changes));
      if (isLive) {
        scenario.database().run(insert);
      } else {
        scenario.backfill("usage");
      }
      scenario.refresh("usage");
      assertThat(scenario.status("usage").quarantinedRows()).isEqualTo(8);
      assertThat(
              scenario.database().value("select sum(n) || ' ' || sum(q) from tallyroll.usage_1d"))
          .isEqualTo(
              scenario
                  .database()
                  .value(
                      "select count(*) || ' ' || sum(a / nullif(b, 0)) from lines where b <> 0"));
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }

  @Test
  void rowsThatCannotBeFolded_areKeptApartAndTheRestGoesOn() {
    try (Scenario scenario = Scenario.withTable()) {
      String rollup = Scenario.ROLLUP.replace("sum(tokens)", "sum(1000 / tokens)");
      scenario.apply(rollup);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens, project) select 't' || i % 3, timestamptz '2026-06-15 10:00Z' + i * interval '1 second',"
                  + " case when i in (17, 4000) then 0 else i end, case when i = 99 then repeat('x', 600) else 'p' end from generate_series(1, 5000) i");
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) values ('t0', 'infinity', 1), ('t0', '-infinity', 1), ('t0', '2026-06-17', 1), ('t0', '2026-06-16 11:00Z', 1)");
      var refreshed = scenario.refresh("usage");
      assertThat(refreshed.rows()).isEqualTo(5_000 - 3 + 1);
      assertThat(refreshed.quarantined()).isEqualTo(6);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select string_agg(distinct reason, ' | ' order by reason) from tallyroll.quarantine"))
          .contains("division by zero (SQLSTATE 22012)")
          .contains("longer than 512 bytes")
          .contains("more than a day ahead");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select string_agg(source_row->>'id', ',' order by id) from tallyroll.quarantine where reason like 'division%'"))
          .isEqualTo("17,4000");
      assertThat(scenario.status("usage").quarantinedRows()).isEqualTo(6);
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.verify("usage").quarantined()).isEqualTo(6);
      // A poison row that is not merged yet does not stop a fresh answer.
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) values ('t0', '2026-06-15 10:00Z', 0), ('t0', '2026-06-15 10:00Z', 7)");
      assertThat(
              scenario
                  .query(
                      QueryRequest.of("usage")
                          .measuring("requests")
                          .range("2026-06-15", "2026-06-17"))
                  .rows())
          .isNotEmpty();
      assertThat(scenario.verify("usage").isExact()).isTrue();
    }
  }

  @Test
  void poisonInHistory_doesNotStopTheBackfill() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 2_000, 5);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, project) values ('t0', '2026-06-14', repeat('y', 513)), ('t0', 'infinity', null), ('t0', '-infinity', null), ('t0', '2999-01-01', null)");
      scenario.apply(Scenario.ROLLUP);
      // What lies outside all days is in no slice, and goes there at once.
      assertThat(scenario.status("usage").quarantinedRows()).isEqualTo(3);
      assertThat(scenario.backfill("usage").quarantined()).isEqualTo(1);
      assertThat(scenario.status("usage").quarantinedRows()).isEqualTo(4);
      assertThat(scenario.verify("usage").isExact()).isTrue();
    }
  }

  @Test
  void whatIsNoLongerKept_isDroppedAndCountedAsExpired() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(
          Scenario.ROLLUP
              .replace("1d: keep 1095d", "1d: keep 30d")
              .replace("1h: keep 210d", "1h: keep 20d")
              .replace("5m: keep 90d", "5m: keep 14d")
              .replace("1m: keep 37d", "1m: keep 2d"));
      scenario.insert(1, 3_000, 10);
      scenario.refresh("usage");
      assertThat(
              scenario
                  .database()
                  .value("select min(bucket) >= '2026-06-13' from tallyroll.usage_1m"))
          .isEqualTo("t");
      scenario.setClock(Scenario.NOW.plus(Duration.ofDays(3)));
      scenario.insert(3_001, 3_100, 10);
      var refreshed = scenario.refresh("usage");
      assertThat(refreshed.dropped())
          .containsExactly("usage_1m_p20260613", "usage_1m_p20260614", "usage_1m_p20260615");
      assertThat(scenario.verify("usage").isExact()).isTrue();
      // Later than every keep: counted, not merged.
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', '2024-01-01'), ('t0', '2026-06-10')");
      assertThat(scenario.refresh("usage").expired()).isEqualTo(1);
      assertThat(scenario.status("usage").expiredRows()).isEqualTo(1);
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThatThrownBy(() ->
              scenario.query(
                  QueryRequest.of("usage")
                      .measuring("requests")
                      .range("2026-06-13T10:01:00Z", "2026-06-15T10:00:00Z")))
          .hasMessageContaining("needs buckets of 1m, which are kept from 2026-06-16T00:00:00Z on");
    }
  }

  @Test
  void aClockThatRunsAhead_dropsNothing() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 1);
      scenario.refresh("usage");
      scenario.setClock(Instant.now().plus(Duration.ofHours(30)));
      assertThatThrownBy(() -> scenario.refresh("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("minutes ahead of the database's");
      assertThat(scenario.verify("usage").expired()).isEmpty();
    }
  }

  @Test
  void nanAndInfinities_areCountedApart() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, cost, score, duration_ms) values ('t0', '2026-06-15', 1.5, '-0', 2), ('t0', '2026-06-15', 'NaN', 'Infinity', 'NaN'),"
                  + " ('t0', '2026-06-15', 2.25, 'NaN', '-Infinity'), ('t0', '2026-06-15', null, null, -4)");
      scenario.refresh("usage");
      var row =
          Oracle.rows(
                  scenario.query(
                      QueryRequest.of("usage")
                          .range("2026-06-15", "2026-06-16")
                          .measuring(
                              "cost",
                              "nonfinite(cost)",
                              "score",
                              "nonfinite(score)",
                              "count(duration_ms)",
                              "p50(duration_ms)",
                              "nonfinite(duration_ms)",
                              "least")))
              .getFirst();
      assertThat(row.subList(2, row.size()))
          .containsExactly("3.75", "1", "0", "2", "2", "-4", "2", "1.5");
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(
              scenario
                  .database()
                  .value(
                      "select cost_nonfinite::text || ' ' || score_nonfinite || ' ' || duration_ms_nonfinite from tallyroll.usage_1d"))
          .isEqualTo("1 2 2");
    }
  }

  @org.junit.jupiter.params.ParameterizedTest
  @org.junit.jupiter.params.provider.ValueSource(strings = {"append", "any"})
  void rowsWhoseReasonIsGone_areReplayed(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: " + changes));
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) values ('t0', '2026-06-20', 5), ('t0', '2026-06-20', 5), ('t1', '2026-06-21', 6), ('t1', '2026-06-14', 7);"
                  + "insert into events (tenant_id, ts, project) values ('t2', '2026-06-14', repeat('x', 600)), ('t2', 'infinity', null)");
      scenario.refresh("usage");
      Quarantine quarantine = new Quarantine(scenario.database().database(), scenario.clock());
      java.util.List<Quarantine.Entry> entries = quarantine.list("usage", null, 100);
      assertThat(entries).hasSize(5);
      assertThat(quarantine.list(null, "t1", 100)).hasSize(1);
      assertThat(quarantine.show(entries.getFirst().id()).orElseThrow().row())
          .contains("2026-06-20");
      assertThat(quarantine.replay("usage", java.util.List.of()))
          .isEqualTo(new Quarantine.Replayed(0, 0, 5));
      scenario.setClock(Scenario.NOW.plus(java.time.Duration.ofDays(5)));
      // Two rows that are alike leave together.
      Quarantine.Replayed replayed =
          quarantine.replay("usage", java.util.List.of(entries.getFirst().id()));
      assertThat(replayed.counted()).isEqualTo(2);
      quarantine.replay("usage", java.util.List.of());
      assertThat(quarantine.list("usage", null, 100)).hasSize(2);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("4");
      assertThat(scenario.database().value("select sum(tokens) from tallyroll.usage_1h"))
          .isEqualTo("23");
      assertThatThrownBy(() -> quarantine.replay("usage", java.util.List.of(999_999L)))
          .hasMessageContaining("no entry 999999");
      if (changes.equals("any")) {
        scenario.database().run("delete from events where tenant_id = 't1'");
        scenario.refresh("usage");
        assertThat(scenario.verify("usage").mismatches()).isEmpty();
      }
    }
  }

  /** Whoever asks for an entry that is not there has not broken the rollup. */
  @Test
  void anEntryThatIsNotThere_isNoFailedRefresh() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.refresh("usage");
      assertThatThrownBy(() ->
              new Quarantine(scenario.database().database(), scenario.clock())
                  .replay("usage", List.of(999_999L)))
          .hasMessageContaining("999999");
      assertThat(scenario.status("usage").isFailing()).isFalse();
    }
  }
}
