package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer.Outcome;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.verify.VerifyReport;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Days that are kept in named zones. */
class ZonesTest {
  private static final String ZONES = "[UTC, Asia/Kolkata, America/New_York, Asia/Kathmandu]";
  private static final String GRAINS =
      "grains: {1m: keep 37d, 5m: keep 90d, 1h: keep 210d, 1d: {keep: 1095d, zones: "
          + ZONES
          + "}}";
  private static final String APPEND = grains(GRAINS);
  private static final String ANY = APPEND.replace("changes: append", "changes: any");

  private static String grains(String grains) {
    return Scenario.ROLLUP.replace(
        "grains: {1m: keep 37d, 5m: keep 90d, 1h: keep 210d, 1d: keep 1095d}", grains);
  }

  private static String of(String changes, String rollup) {
    return rollup.replace("changes: append", "changes: " + changes);
  }

  /** A zone's table holds what plain SQL says, and so does the fresh view and a query. */
  private static void assertDays(Scenario scenario, String rollup, String zone, String suffix) {
    String measures = "sum(requests), sum(tokens), sum(duration_ms_count), min(least)";
    String raw =
        "select tenant_id, (ts at time zone '%s')::date::text, count(*), sum(tokens), count(duration_ms), min(cost) from events group by 1, 2 order by 1, 2"
            .formatted(zone);
    String stored =
        "select tenant, (bucket at time zone '%s')::date::text, %s from tallyroll.%s_1d_%s%s group by 1, 2 order by 1, 2";
    List<?> expected = Oracle.rows(scenario.database(), raw);
    assertThat(
            Oracle.rows(
                scenario.database(), stored.formatted(zone, measures, rollup, suffix, "_fresh")))
        .isEqualTo(expected);
    assertThat(
            scenario
                .query(
                    QueryRequest.of(rollup)
                        .measuring("requests", "tokens", "count(duration_ms)", "least")
                        .every(Every.DAY, ZoneId.of(zone))
                        .range("2026-04-01", "2026-06-18"))
                .rows()
                .stream()
                .map(row ->
                    row.get(0)
                        + " "
                        + String.valueOf(row.get(1)).substring(0, 10)
                        + " "
                        + row.get(2))
                .toList())
        .isEqualTo(
            Oracle.rows(scenario.database(), raw).stream()
                .map(row -> row.get(0) + " " + row.get(1) + " " + row.get(2))
                .toList());
  }

  private static void assertAllDays(Scenario scenario) {
    assertDays(scenario, "usage", "Asia/Kolkata", "asia_kolkata");
    assertDays(scenario, "usage", "America/New_York", "america_new_york");
    assertDays(scenario, "usage", "Asia/Kathmandu", "asia_kathmandu");
  }

  private static void assertExact(Scenario scenario) {
    VerifyReport report = scenario.verify("usage");
    assertThat(report.mismatches()).isEmpty();
    assertThat(report.uncovered()).isEmpty();
  }

  private static final List<String> TABLES =
      List.of("1h", "1d", "1d_asia_kolkata", "1d_america_new_york", "1d_asia_kathmandu");

  /** What is stored is what the same definition makes of the source when it is installed anew. */
  private static void assertAsInstalledAnew(Scenario scenario, String rollup) {
    scenario.apply(rollup.replace("rollup: usage", "rollup: anew"));
    scenario.backfill("anew");
    for (String table : TABLES) {
      if (scenario.database().value("select to_regclass('tallyroll.anew_" + table + "')") != null) {
        assertThat(scenario.contents("usage_" + table))
            .as(table)
            .isEqualTo(scenario.contents("anew_" + table));
        assertThat(scenario.freshContents("usage_" + table))
            .as(table + "_fresh")
            .isEqualTo(scenario.contents("anew_" + table));
      }
    }
    new Drop(scenario.database().database()).run("anew");
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void daysOfZones_areRightBeforeAndAfterEachRefresh(String changes) {
    String rollup = of(changes, APPEND);
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 600, 40);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.insert(601, 900, 40);
      assertAllDays(scenario);
      assertExact(scenario);
      scenario.refresh("usage");
      assertAllDays(scenario);
      assertExact(scenario);
      if (changes.equals("any")) {
        scenario
            .database()
            .run(
                "update events set ts = ts + interval '7 hours' where id % 5 = 0 and ts < '2026-06-14';"
                    + "delete from events where id % 7 = 0; update events set cost = cost / 2, duration_ms = null where id % 11 = 0");
        assertAllDays(scenario);
        assertExact(scenario);
        scenario.refresh("usage");
        assertAllDays(scenario);
      }
      assertExact(scenario);
      assertAsInstalledAnew(scenario, rollup);
    }
  }

  @Test
  void aDefinitionOfZonesAlone_isMadeFromRows() {
    String rollup = grains("grains: {1d: {keep: 1095d, zones: [Asia/Kolkata, Asia/Kathmandu]}}");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 20);
      scenario.apply(of("any", rollup));
      scenario.backfill("usage");
      scenario.insert(301, 400, 20);
      scenario.refresh("usage");
      // Minima are taken out, and nothing finer is there to tell the next ones.
      scenario.database().run("delete from events where id % 3 = 0");
      assertDays(scenario, "usage", "Asia/Kolkata", "asia_kolkata");
      scenario.refresh("usage");
      assertDays(scenario, "usage", "Asia/Kolkata", "asia_kolkata");
      assertDays(scenario, "usage", "Asia/Kathmandu", "asia_kathmandu");
      assertExact(scenario);
      assertThatThrownBy(() ->
              scenario.query(
                  QueryRequest.of("usage")
                      .every(Every.DAY, ZoneId.of("UTC"))
                      .range("2026-06-01", "2026-06-10")))
          .isInstanceOfSatisfying(
              TallyrollException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED);
                assertThat(e).hasMessageContaining("keeps only 1d@Asia/Kathmandu, 1d@Asia/Kolkata");
              });
    }
  }

  @ParameterizedTest
  @CsvSource({"append, true", "any, true", "any, false"})
  void slicesThatEndWithinALocalDay_addUp_besideWriters(String changes, boolean hasFiner) {
    String rollup =
        of(changes, hasFiner ? APPEND : APPEND.replace("1m: keep 37d, 5m: keep 90d, ", ""));
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 400, 12);
      scenario.apply(rollup);
      for (int day = 0; day < 13; day += 3) {
        scenario.insert(401 + day * 10, 410 + day * 10, 12);
        if (changes.equals("any")) {
          scenario.database().run("delete from events where id % 13 = " + day);
          scenario.database().run("update events set cost = 0, tokens = 1 where id % 17 = " + day);
        }
        scenario.refresh("usage");
        LocalDate from = LocalDate.parse("2026-06-16").minusDays(day + 3);
        new Backfill(scenario.database().database(), scenario.clock())
            .run(
                new BackfillRequest("usage", from, from.plusDays(3), 1, 0),
                new Backfill.Progress() {});
        // A day that is filled in part says so.
        assertThat(
                scenario
                    .database()
                    .value(
                        "select count(*) from tallyroll.usage_1d_asia_kolkata_fresh where complete and bucket < timestamptz '"
                            + from
                            + " 00:00Z'"))
            .isEqualTo("0");
        assertThat(scenario.verify("usage").mismatches()).isEmpty();
      }
      scenario.backfill("usage");
      scenario.refresh("usage");
      assertExact(scenario);
      assertAllDays(scenario);
      assertAsInstalledAnew(scenario, rollup);
    }
  }

  @Test
  void aPartitionThatIsTruncated_leavesTheRestOfItsLocalDays() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 600, 30);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      // Beside changes of the same local days that are not merged yet.
      scenario
          .database()
          .run(
              "truncate events_may; delete from events where ts < '2026-06-01 12:00Z' and id % 2 = 0");
      scenario.insert(601, 640, 30);
      scenario.refresh("usage");
      assertAllDays(scenario);
      assertExact(scenario);
      assertAsInstalledAnew(scenario, ANY);
    }
  }

  @Test
  void aPartitionThatIsTruncated_whereNothingFinerIsKept_isReadFromTheSource() {
    String rollup =
        of("any", grains("grains: {1m: keep 1d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}}"));
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 600, 30);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "truncate events_may; delete from events where ts < '2026-06-01 12:00Z' and id % 2 = 0");
      scenario.insert(601, 640, 30);
      scenario.refresh("usage");
      assertDays(scenario, "usage", "Asia/Kolkata", "asia_kolkata");
      assertExact(scenario);
      // One half of the day is sealed: neither it nor finer buckets tell what the other half was.
      scenario.insert(641, 700, 30);
      scenario.refresh("usage");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      scenario.database().run("truncate events_june");
      scenario.refresh("usage");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) > 0 from tallyroll.quarantine where kind = 'bucket' and source_row->>'bucket' = '2026-05-31T18:30:00Z'"
                          + " and source_row->>'grain' = '1d@Asia/Kolkata'"))
          .isEqualTo("t");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.verify("usage").sealed()).isNotEmpty();
    }
  }

  @Test
  void changesThatDoNotFitIntoMemory_areCutWithinLocalDays() {
    String rollup =
        of("any", grains("grains: {1h: keep 210d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}}"));
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 30_000, 3);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario
          .database()
          .run("delete from events where id % 3 = 0; update events set cost = 0 where id % 3 = 1");
      scenario.refresh("usage", 10_000);
      assertExact(scenario);
      assertAsInstalledAnew(scenario, rollup);
    }
  }

  @Test
  void hoursThatAreNoLongerKept_areNotMissed() {
    String rollup =
        grains("grains: {5m: keep 2d, 1h: keep 5d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}}");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 500, 60);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      assertDays(scenario, "usage", "Asia/Kolkata", "asia_kolkata");
      assertThatThrownBy(() ->
              scenario.query(
                  QueryRequest.of("usage")
                      .every(Every.DAY, ZoneId.of("Asia/Kathmandu"))
                      .range("2026-04-20", "2026-06-10")))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED));
      assertExact(scenario);
    }
  }

  @Test
  void aDayThatSomebodyChanged_isFoundAndRepaired() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "update tallyroll.usage_1d_asia_kolkata set requests = requests + 1 where bucket = '2026-06-12 18:30Z' and project = 'p1'");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.mismatches()).isNotEmpty();
      assertThat(report.mismatches())
          .allSatisfy(mismatch -> {
            assertThat(mismatch.grain()).isEqualTo("1d@Asia/Kolkata");
            assertThat(mismatch.bucket()).isEqualTo("2026-06-12T18:30:00Z");
          });
      assertThat(scenario.repair("usage").buckets()).isPositive();
      assertExact(scenario);
      // Each row once, however many grains it is read for.
      assertThat(scenario.verify("usage").rows()).isEqualTo(300);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aZoneThatIsAdded_isMadeOfWhatIsStored_orBuiltBeside(String changes) {
    String plain = of(changes, Scenario.ROLLUP);
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 400, 25);
      scenario.apply(plain);
      scenario.backfill("usage");
      scenario.insert(401, 500, 25);
      assertThat(scenario.change(of(changes, APPEND), false)).isEqualTo(Outcome.CHANGED);
      scenario.refresh("usage");
      assertAllDays(scenario);
      assertExact(scenario);
      assertAsInstalledAnew(scenario, of(changes, APPEND));
      assertThat(scenario.change(plain, false)).isEqualTo(Outcome.CHANGED);
      assertThat(scenario.database().value("select to_regclass('tallyroll.usage_1d_asia_kolkata')"))
          .isNull();
      // With hours alone the days of Kolkata need the rows.
      String hours = of(changes, grains("grains: {1h: keep 210d}"));
      scenario.change(hours, false);
      String both =
          of(changes, grains("grains: {1h: keep 210d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}}"));
      assertThat(scenario.change(both, false)).isEqualTo(Outcome.BUILDING);
      assertDays(scenario, "usage", "Asia/Kolkata", "asia_kolkata");
      assertExact(scenario);
      // Those of New York do not.
      assertThat(
              scenario.change(
                  both.replace("[Asia/Kolkata]", "[Asia/Kolkata, America/New_York]"), false))
          .isEqualTo(Outcome.CHANGED);
      assertDays(scenario, "usage", "America/New_York", "america_new_york");
      assertExact(scenario);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aPurge_changesNoLocalDay_norDoesADefinitionAfterIt(String changes) {
    String rollup =
        of(changes, APPEND)
            .replace("time: ts,", "time: ts, keep: 10d,")
            .replace("dimensions: [project, model]", "dimensions: [project, model]");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 600, 25);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.insert(601, 800, 25);
      scenario.refresh("usage");
      List<String> before =
          TABLES.stream().map(table -> scenario.contents("usage_" + table)).toList();
      assertThat(new Purge(scenario.database().database(), scenario.clock()).run("usage").rows())
          .isPositive();
      scenario.refresh("usage");
      assertThat(TABLES.stream().map(table -> scenario.contents("usage_" + table)).toList())
          .isEqualTo(before);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      // The local day at the seal is half from before it and half from the source.
      assertThat(scenario.change(rollup.replace("requests:", "seen: max(ts)\n  requests:"), true))
          .isEqualTo(Outcome.BUILDING);
      scenario.database().run("create view ours as select * from tallyroll.usage_1d_asia_kolkata");
      assertThat(
              TABLES.stream()
                  .map(table ->
                      scenario
                          .database()
                          .value(
                              "select sum(requests) || ' ' || sum(tokens) || ' ' || sum(duration_ms_count) || ' ' || md5(string_agg(tenant || bucket || requests, ',' order by tenant, bucket, project, model)) from tallyroll.usage_"
                                  + table))
                  .toList())
          .isEqualTo(sums(scenario, before));
    }
  }

  private static List<String> sums(Scenario scenario, List<String> contents) {
    return contents.stream()
        .map(text ->
            String.valueOf(
                scenario
                    .database()
                    .value(
                        "select sum((r->>'requests')::bigint) || ' ' || sum((r->>'tokens')::bigint) || ' ' || sum((r->>'duration_ms_count')::bigint) || ' '"
                            + " || md5(string_agg((r->>'tenant') || (r->>'bucket')::timestamptz || (r->>'requests'), ',' order by r->>'tenant', (r->>'bucket')::timestamptz, r->>'project', r->>'model'))"
                            + " from (select line::jsonb as r from regexp_split_to_table($text$"
                            + text
                            + "$text$, E'\\n') line) lines")))
        .toList();
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void otherTimeZoneData_movesTheDays(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 500, 30);
      scenario.apply(of(changes, APPEND));
      scenario.backfill("usage");
      scenario.refresh("usage");
      // As if Kolkata had been an hour ahead of what is known now, from the 20th of May to the 10th
      // of June: the stored days begin an hour too early.
      scenario
          .database()
          .run(
              """
              insert into tallyroll.local_day select zone, 'older', array(
                select case when s >= '2026-05-20' and s < '2026-06-10' then s - interval '1 hour' else s end from unnest(starts) s order by 1)
              from tallyroll.local_day where zone = 'Asia/Kolkata';
              update tallyroll.grain set days_version = 'older' where grain = '1d@Asia/Kolkata';
              create table moved as
                select * from tallyroll.usage_1d_asia_kolkata where bucket >= '2026-05-19 18:30Z' and bucket < '2026-06-10';
              delete from tallyroll.usage_1d_asia_kolkata where bucket >= '2026-05-19 18:30Z' and bucket < '2026-06-10';
              update moved set bucket = bucket - interval '1 hour' where bucket > '2026-05-20';
              insert into tallyroll.usage_1d_asia_kolkata select * from moved
              """);
      // Queries do without them, and verify waits for the refresh.
      assertThat(
              scenario
                  .query(
                      QueryRequest.of("usage")
                          .measuring("requests")
                          .every(Every.ALL, ZoneId.of("Asia/Kolkata"))
                          .range("2026-05-01", "2026-06-18"))
                  .rows()
                  .stream()
                  .mapToLong(row -> Long.parseLong(String.valueOf(row.get(2))))
                  .sum())
          .isEqualTo(500);
      assertThat(scenario.verify("usage").pending()).isNotEmpty();
      scenario.insert(501, 600, 30);
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").pending()).isEmpty();
      assertExact(scenario);
      assertAllDays(scenario);
      assertAsInstalledAnew(scenario, of(changes, APPEND));
    }
  }

  /** A key of which nothing was counted that could be gone. */
  @Test
  void aNewKeyOfADayThatIsSealedInPart_isShownThoughItChangedBeforeItWasRead() {
    String rollup =
        of("any", grains("grains: {1h: keep 210d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}}"));
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 600, 30);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, project) values ('t1', '2026-06-01 05:00Z', 'new'); update events set tokens = 3 where project = 'new'");
      for (int i = 0; i < 2; i++) {
        assertThat(
                scenario
                    .database()
                    .value(
                        "select complete || ' ' || requests || ' ' || tokens from tallyroll.usage_1d_asia_kolkata_fresh where project = 'new'"))
            .isEqualTo("true 1 3");
        scenario.refresh("usage");
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"2026-06-10", "infinity"})
  void otherTimeZoneData_countsNoRowOfASealedDayTwice(String until) {
    String rollup =
        of("any", grains("grains: {1m: keep 1d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}}"));
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 600, 30);
      scenario.apply(rollup);
      scenario.backfill("usage");
      // No row lies in the hour that goes to another day.
      scenario
          .database()
          .run("delete from events where extract(hour from ts at time zone 'UTC') in (17, 18)");
      scenario.refresh("usage");
      String rows = scenario.database().value("select count(*) from events");
      String days =
          "select string_agg(bucket || ' ' || n, E'\\n' order by bucket) from (select bucket, sum(requests) as n from tallyroll.usage_1d_asia_kolkata group by bucket) d";
      String before = scenario.database().value(days);
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      // As if Kolkata had been an hour ahead of what is known now: the stored days begin too early.
      scenario
          .database()
          .run(
              """
              insert into tallyroll.local_day select zone, 'older', array(
                select case when s >= '2026-05-20' and s < '2026-06-10' then s - interval '1 hour' else s end from unnest(starts) s order by 1)
              from tallyroll.local_day where zone = 'Asia/Kolkata';
              update tallyroll.grain set days_version = 'older' where grain = '1d@Asia/Kolkata';
              update tallyroll.usage_1d_asia_kolkata set bucket = bucket - interval '1 hour' where bucket >= '2026-05-20' and bucket < '2026-06-10'
              """
                  .replace("2026-06-10", until));
      scenario.refresh("usage");
      assertThat(scenario.database().value(days)).isEqualTo(before);
      assertThat(
              scenario
                  .database()
                  .value("select sum(requests) from tallyroll.usage_1d_asia_kolkata"))
          .isEqualTo(rows);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) > 0 from tallyroll.quarantine where reason like '%time zone data%' and source_row->>'bucket' = '2026-05-31T18:30:00Z'"))
          .isEqualTo("t");
    }
  }

  @ParameterizedTest
  @CsvSource({
    "Africa/Cairo, 2025-10-31",
    "Africa/Cairo, 2026-04-24",
    "America/Havana, 2025-11-02",
    "America/Havana, 2026-03-08",
    "Australia/Lord_Howe, 2026-04-05",
    "America/St_Johns, 2010-11-07",
    "Antarctica/Troll, 2026-03-29",
    "Pacific/Apia, 2011-12-30"
  })
  void daysInWhichTheClockIsChanged_areTheSameStoredAndTiled(String zone, LocalDate change) {
    String rollup =
        """
        rollup: usage
        source: {table: public.events, tenant: tenant_id, time: ts, changes: any}
        dimensions: []
        measures: {requests: count, tokens: sum(tokens)}
        grains: {5m: keep 20000d, 1d: {keep: 20000d, zones: [%s]}}
        """
            .formatted(zone);
    String table = "usage_1d_" + zone.toLowerCase(Locale.ROOT).replace('/', '_');
    String rows =
        "insert into events (tenant_id, ts, tokens) select 't0', t + interval '%d minute', extract(epoch from t)::bigint %% 1000 from"
            + " generate_series(timestamptz '"
            + change.minusDays(5)
            + " 00:00Z', '"
            + change.plusDays(5)
            + " 00:00Z', interval '20 minutes') t";
    try (Scenario scenario = Scenario.withTable()) {
      scenario.database().run(rows.formatted(0));
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      QueryRequest request =
          QueryRequest.of("usage")
              .measuring("requests", "tokens")
              .every(Every.DAY, ZoneId.of(zone))
              .range(change.minusDays(4).toString(), change.plusDays(4).toString());
      List<?> stored = scenario.query(request).rows();
      scenario
          .database()
          .run("update tallyroll.grain set days_version = 'none' where grain like '1d@%'");
      List<?> tiled = scenario.query(request).rows();
      scenario
          .database()
          .run(
              "update tallyroll.grain set days_version = (select version from tallyroll.local_day) where grain like '1d@%'");
      assertThat(stored).isNotEmpty().isEqualTo(tiled);
      // Rows that are not merged yet: the view finds the same days.
      scenario.database().run(rows.formatted(1));
      String days =
          "select string_agg(bucket || ' ' || requests, ',' order by bucket) from tallyroll.";
      String fresh = scenario.database().value(days + table + "_fresh");
      scenario.refresh("usage");
      assertThat(scenario.database().value(days + table)).isEqualTo(fresh);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }

  @Test
  void partitionsOfDaysOfAZone_goByTheirKeep() {
    String rollup = grains("grains: {1h: keep 400d, 1d: {keep: 30d, zones: [Asia/Kolkata]}}");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 300);
      scenario.apply(rollup);
      scenario.backfill("usage");
      scenario.refresh("usage");
      // A partition holds a year; what is kept begins with the first whole day of it.
      assertThat(
              scenario
                  .database()
                  .value(
                      "select min(bucket)::text from tallyroll.usage_1d_asia_kolkata where bucket < '2026-01-02'"))
          .isNotEqualTo("2025-12-31 18:30:00+00");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select kept_from at time zone 'UTC' from tallyroll.grain where grain = '1d@Asia/Kolkata'"))
          .isEqualTo("2026-01-01 18:30:00");
      assertExact(scenario);
      scenario.setClock(Scenario.NOW.plus(Duration.ofDays(1)));
      scenario.refresh("usage");
      assertThat(
              scenario
                  .database()
                  .value("select to_regclass('tallyroll.usage_1d_asia_kolkata_p20250101')"))
          .isNull();
      assertExact(scenario);
    }
  }
}
