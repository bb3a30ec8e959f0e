package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Source rows that go behind a seal: not a number of the rollups changes. */
class SealTest {
  private static final String ANY = Scenario.ROLLUP.replace("changes: append", "changes: any");

  private static String keeping(String changes) {
    return Scenario.ROLLUP.replace("changes: append", "changes: " + changes + ", keep: 10d");
  }

  private static Scenario filled(Scenario scenario, String... rollups) {
    scenario.insert(1, 600, 25);
    for (String rollup : rollups) {
      scenario.apply(rollup);
    }
    scenario.backfill("usage");
    scenario.insert(601, 800, 25);
    return scenario;
  }

  private static Purge.Purged purge(Scenario scenario) {
    return new Purge(scenario.database().database(), scenario.clock()).run("usage");
  }

  private static void seal(Scenario scenario, String before, String... purgers) {
    new Seals(scenario.database().database(), scenario.clock())
        .seal("usage", Instant.parse(before), List.of(purgers));
  }

  private static long rowsBefore(Scenario scenario, String time) {
    return Long.parseLong(
        String.valueOf(
            scenario.database().value("select count(*) from events where ts < '" + time + "'")));
  }

  private static String all(Scenario scenario) {
    return String.join(
        "\n",
        scenario.contents("usage_1m"),
        scenario.contents("usage_5m"),
        scenario.contents("usage_1h"),
        scenario.contents("usage_1d"));
  }

  @ParameterizedTest
  @CsvSource({"append, false", "append, true", "any, false", "any, true"})
  void aPurge_changesNoNumber(String changes, boolean isPartitioned) {
    try (Scenario scenario =
        filled(
            isPartitioned ? Scenario.withPartitionedTable() : Scenario.withTable(),
            keeping(changes))) {
      scenario.refresh("usage");
      String before = all(scenario);
      if (isPartitioned) {
        // A day of a partition that stays is deleted, one that is wholly old is dropped.
        scenario.setClock(Scenario.NOW.plus(Duration.ofDays(1)));
      }
      Purge.Purged purged = purge(scenario);
      assertThat(purged.rows()).isPositive();
      if (isPartitioned) {
        assertThat(purged.tables()).containsExactly("\"public\".\"events_may\"");
      }
      String edge = isPartitioned ? "2026-06-06" : "2026-06-05";
      assertThat(rowsBefore(scenario, edge)).isZero();
      assertThat(rowsBefore(scenario, "2026-07-01")).isPositive();
      assertThat(purge(scenario).rows()).isZero();
      scenario.refresh("usage");
      assertThat(all(scenario)).isEqualTo(before);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.verify("usage").sealed()).isNotEmpty();
      assertThat(scenario.repair("usage").buckets()).isZero();
      // A late row behind the seal counts, and goes with the next purge, which counts it first.
      if (!isPartitioned) {
        scenario
            .database()
            .run("insert into events (tenant_id, ts, tokens) values ('t0', '2026-05-30', 5)");
        assertThat(purge(scenario).rows()).isEqualTo(1);
        scenario.refresh("usage");
        assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
            .isEqualTo("801");
      }
      // Newer rows go on as ever.
      scenario.insert(801, 900, 5);
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aRangeThatKeepsChanging_isPurgedAllTheSame(boolean isPartitioned) throws Exception {
    String second = keeping("any").replace("usage", "second");
    try (Scenario scenario =
            filled(
                isPartitioned ? Scenario.withPartitionedTable() : Scenario.withTable(),
                keeping("any"),
                second);
        ExecutorService other = Executors.newSingleThreadExecutor();
        Connection connection = scenario.database().connect()) {
      scenario.backfill("second");
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) select 't0', '2026-05-20'::timestamptz + i * interval '1 second', 1 from generate_series(1, 20000) i");
      AtomicBoolean done = new AtomicBoolean();
      Future<Long> taken =
          other.submit(() -> {
            long rows = 0;
            while (!done.get()) {
              rows +=
                  Sql.update(
                      connection,
                      "delete from events where tokens = 1 and ts = (select min(ts) from events where tokens = 1)");
            }
            return rows;
          });
      if (isPartitioned) {
        scenario.setClock(Scenario.NOW.plus(Duration.ofDays(1)));
      }
      Purge.Purged purged = purge(scenario);
      done.set(true);
      assertThat(isPartitioned ? purged.tables().size() : purged.rows()).isNotEqualTo(0);
      for (String rollup : List.of("usage", "second")) {
        scenario.refresh(rollup);
        // What somebody else deletes behind the seal, before the purge does, stays counted.
        long behind =
            Long.parseLong(
                String.valueOf(
                    scenario
                        .database()
                        .value(
                            "select count(*) from tallyroll.quarantine where kind = 'change' and rollup = '"
                                + rollup
                                + "'")));
        assertThat(isPartitioned && behind > 0).isFalse();
        assertThat(
                scenario.database().value("select sum(requests) from tallyroll." + rollup + "_1d"))
            .isEqualTo(Long.toString(20_800 - taken.get() + behind));
        assertThat(scenario.verify(rollup).mismatches()).isEmpty();
      }
    }
  }

  @Test
  void aPurgeOfASharedSource_waitsForTheLongestKeep_andForEveryBackfill() {
    String second = keeping("any").replace("usage", "second").replace("10d", "20d");
    try (Scenario scenario = filled(Scenario.withTable(), keeping("any"), second)) {
      assertThatThrownBy(() -> purge(scenario))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("backfill second");
      scenario.backfill("second");
      purge(scenario);
      assertThat(rowsBefore(scenario, "2026-05-26")).isZero();
      assertThat(rowsBefore(scenario, "2026-06-05")).isPositive();
      scenario.refresh("usage");
      scenario.refresh("second");
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("800");
      assertThat(scenario.database().value("select sum(requests) from tallyroll.second_1d"))
          .isEqualTo("800");
    }
  }

  @Test
  void aClockThatHasJumped_purgesNothing() {
    try (Scenario scenario = filled(Scenario.withTable(), keeping("append"))) {
      scenario.setClock(Scenario.NOW.plus(Duration.ofDays(300)));
      assertThatThrownBy(() -> purge(scenario)).hasMessageContaining("clock");
      assertThat(rowsBefore(scenario, "2026-07-01")).isEqualTo(800);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"delete from events where ts < '2026-06-01'", "truncate events_may"})
  void aPurgeByOthers_behindASeal_changesNoNumber(String purge) {
    try (Scenario scenario = filled(Scenario.withPartitionedTable(), ANY)) {
      scenario.database().makeRole("tallyroll_test_purger", "nologin");
      scenario.database().run("grant all on events, events_may to tallyroll_test_purger");
      seal(scenario, "2026-06-01T00:00:00Z", "tallyroll_test_purger");
      scenario.refresh("usage");
      String before = all(scenario);
      scenario.database().run("set role tallyroll_test_purger; " + purge + "; reset role");
      assertThat(rowsBefore(scenario, "2026-06-01")).isZero();
      scenario.refresh("usage");
      assertThat(all(scenario)).isEqualTo(before);
      assertThat(scenario.status("usage").quarantinedRows()).isZero();
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      // Before the seal's end the purger is like anybody.
      scenario
          .database()
          .run("set role tallyroll_test_purger; delete from events where ts > '2026-06-10'");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from tallyroll.usage_1d where bucket > '2026-06-10'"))
          .isEqualTo("0");
    }
  }

  @Test
  void changesBehindASeal_goToQuarantine_andInsertsCount() {
    try (Scenario scenario = filled(Scenario.withTable(), ANY)) {
      seal(scenario, "2026-06-01T00:00:00Z");
      scenario.refresh("usage");
      String requests = "select sum(requests) from tallyroll.usage_1d";
      assertThat(scenario.database().value(requests)).isEqualTo("800");
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', '2026-05-25');"
                  + "delete from events where id in (select id from events where ts < '2026-06-01' limit 3);"
                  + "update events set tokens = 1 where id in (select id from events where ts < '2026-06-01' limit 2)");
      scenario.refresh("usage");
      assertThat(scenario.database().value(requests)).isEqualTo("801");
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from tallyroll.quarantine where kind = 'change'"))
          .isEqualTo("7");
      assertThatThrownBy(() -> seal(scenario, "2026-06-02T00:00:00Z", "nobody_of_this_name"))
          .hasMessageContaining("no role 'nobody_of_this_name'");
    }
  }

  @Test
  void aSeal_thatContainsOthers_takesTheirPlace_onceAllHaveReadThem() throws Exception {
    try (Scenario scenario = filled(Scenario.withTable(), ANY)) {
      seal(scenario, "2026-06-01T00:00:00Z");
      seal(scenario, "2026-06-02T00:00:00Z");
      // Any transaction of the cluster that was open at the seal may be one that has still to be
      // read.
      for (int i = 0; i < 200 && scenario.status("usage").seals().size() > 1; i++) {
        Thread.sleep(50);
        seal(scenario, "2026-05-30T00:00:00Z");
      }
      assertThat(scenario.status("usage").seals()).hasSize(1);
      assertThat(scenario.status("usage").seals().getFirst()).contains("2026-06-02");
    }
  }

  @Test
  void aPurge_hidesNoDeletionFromAnotherSource() {
    try (Scenario scenario = filled(Scenario.withTable(), keeping("any"))) {
      scenario
          .database()
          .run(
              "alter table events add primary key (id); create table lines (event bigint references events on delete cascade, tenant_id text not null, ts timestamptz not null);"
                  + "insert into lines select id, tenant_id, ts from events");
      scenario.apply(
          "rollup: lines\nsource: {table: public.lines, tenant: tenant_id, time: ts}\nmeasures: {n: count}\ngrains: {1d: keep 1095d}\n");
      scenario.backfill("lines");
      purge(scenario);
      scenario.refresh("lines");
      assertThat(scenario.verify("lines").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(n) from tallyroll.lines_1d"))
          .isEqualTo(scenario.database().value("select count(*) from lines"));
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("800");
    }
  }

  @Test
  void whatCannotBeSealed_isSaid() {
    try (Scenario scenario = filled(Scenario.withTable(), ANY)) {
      scenario
          .database()
          .run("alter table events add column paid_at timestamptz not null default now()");
      assertThatThrownBy(() -> seal(scenario, "2026-06-20T00:00:00Z"))
          .hasMessageContaining("lies ahead");
      scenario.apply(
          "rollup: paid\nsource: {table: public.events, tenant: tenant_id, time: paid_at}\nmeasures: {n: count}\ngrains: {1d: keep 1095d}\n");
      assertThatThrownBy(() -> seal(scenario, "2026-06-01T00:00:00Z"))
          .hasMessageContaining("go by different time columns");
    }
    try (Scenario scenario = filled(Scenario.withTable(), Scenario.ROLLUP)) {
      assertThatThrownBy(() -> seal(scenario, "2026-06-01T00:00:00Z", "postgres"))
          .hasMessageContaining("append-only");
      // Without the right of Tallyroll's owner the setting is only a word.
      scenario.database().makeRole("tallyroll_test_purger", "nologin");
      scenario.database().run("grant all on events to tallyroll_test_purger");
      assertThatThrownBy(() ->
              scenario
                  .database()
                  .run(
                      "set role tallyroll_test_purger; select set_config('tallyroll.purge', 'events'::regclass::oid::text, false); delete from events"))
          .hasMessageContaining("append-only");
    }
  }

  /** The last row before the cut takes along the first one after it. */
  @Test
  void aPurge_hidesNoDeletionOfARowThatIsNotBehindItsSeal() {
    try (Scenario scenario = filled(Scenario.withTable(), keeping("any"))) {
      scenario
          .database()
          .run(
              "alter table events add primary key (id), add column parent bigint references events on delete cascade;"
                  + "update events set parent = (select id from events order by ts limit 1) where id in (select id from events order by ts desc limit 7)");
      scenario.refresh("usage");
      assertThat(purge(scenario).rows()).isPositive();
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("793");
    }
  }

  /** Nobody is to take that for success, hour after hour. */
  @Test
  void aPurgeThatATriggerKeepsFromDeleting_isSaid() {
    try (Scenario scenario = filled(Scenario.withTable(), keeping("any"))) {
      scenario
          .database()
          .run(
              "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;"
                  + " create trigger keep before delete on events for each row execute function keep()");
      assertThatThrownBy(() -> purge(scenario))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("could be deleted");
      assertThat(scenario.status("usage").purgeError()).contains("could be deleted");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").faults(Duration.ofDays(1), Instant.now()))
          .singleElement()
          .asString()
          .startsWith("the source was not purged: none of the old rows");
      scenario.database().run("drop trigger keep on events");
      assertThat(purge(scenario).rows()).isPositive();
      assertThat(scenario.status("usage").purgeError()).isNull();
      assertThat(scenario.status("usage").faults(Duration.ofDays(1), Instant.now())).isEmpty();
    }
  }
}
