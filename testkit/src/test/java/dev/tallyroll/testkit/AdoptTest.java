package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.adopt.Adopt;
import dev.tallyroll.postgres.adopt.AdoptRequest;
import dev.tallyroll.postgres.adopt.Taken;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Reanchor;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.seal.Seals;
import java.time.Instant;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Buckets of a table that something else has kept, whose raw rows are gone. The table {@code raw}
 * keeps those rows for the oracle alone.
 */
class AdoptTest {
  private static final String ANY =
      Scenario.ROLLUP.replace("changes: append", "changes: any").replace("keep 37d", "keep 90d");
  private static final String ALL =
      "bucket=at, tenant=who, project=project, model=model, requests=n, errors=bad, tokens=tok, big=big, cost=usd,"
          + " least=cheapest, last_word=word, sizes_count=sn, sizes_sum=tok, sizes_min=smin, sizes_max=smax,"
          + " duration_ms_count=dn, duration_ms_sum=dsum";
  private static final String HOURS =
      "create table hours as select date_trunc('hour', ts, 'UTC') as at, tenant_id as who, project, model, count(*)::int as n,"
          + " count(*) filter (where status = 'error')::numeric as bad, sum(tokens) as tok, sum(big) as big, sum(cost) as usd,"
          + " min(cost) as cheapest, max(msg collate \"C\") as word, count(tokens) as sn, coalesce(min(tokens), -5000) as smin,"
          + " coalesce(max(tokens), 9999) as smax, count(duration_ms) as dn, sum(duration_ms) as dsum from raw where ts < '2026-06-01' group by 1, 2, 3, 4";

  /** Events of 25 days, of which those before June are only in the table of hours. */
  private static Scenario purged(String rollup) {
    Scenario scenario = Scenario.withTable();
    scenario.insert(1, 1_500, 25);
    scenario
        .database()
        .run(
            "create table raw as select * from events; "
                + HOURS
                + "; delete from events where ts < '2026-06-01'");
    scenario.apply(rollup);
    scenario.backfill("usage");
    return scenario;
  }

  private static AdoptRequest request(
      String table,
      String grain,
      String map,
      @Nullable String zone,
      @Nullable String since,
      @Nullable String before) {
    Map<String, String> mapped = new LinkedHashMap<>();
    for (String one : map.split(",", -1)) {
      mapped.put(one.strip().split("=", 2)[0], one.strip().split("=", 2)[1]);
    }
    return new AdoptRequest(
        "usage",
        table,
        grain,
        mapped,
        null,
        zone == null ? null : ZoneId.of(zone),
        since == null ? null : Instant.parse(since + "T00:00:00Z"),
        before == null ? null : Instant.parse(before + "T00:00:00Z"));
  }

  private static AdoptRequest hours() {
    return request("public.hours", "1h", ALL, null, null, null);
  }

  private static Taken adopt(Scenario scenario, AdoptRequest request) {
    return new Adopt(scenario.database().database(), scenario.clock())
        .run(request, new Adopt.Progress() {});
  }

  private static void assertRefused(
      Scenario scenario, AdoptRequest request, ErrorCode code, String message) {
    String before = state(scenario);
    assertThatThrownBy(() -> adopt(scenario, request))
        .isInstanceOfSatisfying(
            TallyrollException.class,
            e -> {
              assertThat(e.getMessage()).contains(message).doesNotContain("\n");
              assertThat(e.code().exitCode()).isEqualTo(code.exitCode());
            });
    assertThat(state(scenario)).isEqualTo(before);
  }

  /** All that adopting may change. */
  private static @Nullable String state(Scenario scenario) {
    return scenario
        .database()
        .value(
            "select concat_ws('|', (select jsonb_agg(to_jsonb(r)) from tallyroll.usage_1d r), (select jsonb_agg(to_jsonb(r)) from tallyroll.usage_1h r),"
                + " (select jsonb_agg(to_jsonb(r) - 'sealed_at') from tallyroll.seal r), (select jsonb_agg(to_jsonb(r)) from tallyroll.adopted r),"
                + " (select jsonb_agg(to_jsonb(r)) from tallyroll.start r), (select jsonb_agg(to_jsonb(r) order by r) from tallyroll.grain r))");
  }

  private static List<List<@Nullable String>> oracle(
      Scenario scenario, String bucket, String keys) {
    return Oracle.rows(
        scenario.database(),
        "select tenant_id, to_char("
            + bucket
            + ", 'YYYY-MM-DD HH24:MI')"
            + keys
            + ", count(*), count(*) filter (where status = 'error'), sum(tokens), sum(big), sum(cost), min(cost), max(msg collate \"C\"),"
            + " count(tokens), sum(tokens), min(tokens), max(tokens), count(duration_ms) from raw group by 1, 2"
            + (keys.isEmpty() ? "" : ", 3")
            + " order by 1, 2"
            + (keys.isEmpty() ? "" : ", 3 nulls last"));
  }

  private static List<List<@Nullable String>> answer(
      Scenario scenario, Every every, String zone, String... by) {
    QueryRequest request =
        QueryRequest.of("usage")
            .measuring(
                "requests",
                "errors",
                "tokens",
                "big",
                "cost",
                "least",
                "last_word",
                "count(sizes)",
                "sum(sizes)",
                "min(sizes)",
                "max(sizes)",
                "count(duration_ms)")
            .by(by)
            .range("2026-05-01", "2026-06-16")
            .every(every, ZoneId.of(zone));
    List<List<@Nullable String>> rows = new ArrayList<>();
    for (List<@Nullable String> row : Oracle.rows(scenario.query(request))) {
      List<@Nullable String> changed = new ArrayList<>(row);
      changed.set(1, String.valueOf(row.get(1)).substring(0, 16).replace('T', ' '));
      rows.add(changed);
    }
    return rows;
  }

  private static @Nullable String value(Scenario scenario, String sql) {
    return scenario.database().value(sql);
  }

  @ParameterizedTest
  @CsvSource({"append, 100000000", "any, 100000000", "any, 100000"})
  void adoptedHours_answerLikeTheRowsThatTheyStandFor(String changes, long heap) {
    try (Scenario scenario = purged(ANY.replace("changes: any", "changes: " + changes))) {
      long[] read = new long[2];
      Taken taken =
          new Adopt(scenario.database().database(), scenario.clock(), heap)
              .run(
                  hours(),
                  new Adopt.Progress() {
                    @Override
                    public void begins(long rows) {
                      read[0] = rows;
                    }

                    @Override
                    public void read(long rows) {
                      read[1] += rows;
                    }
                  });
      assertThat(taken.from()).isEqualTo("2026-05-21T00:00:00Z");
      assertThat(taken.to()).isEqualTo("2026-06-01T00:00:00Z");
      assertThat(taken.end())
          .startsWith("public.events has rows of its own from 2026-06-01T")
          .endsWith(", and of 2026-06-01 nothing else counts");
      assertThat(String.valueOf(taken.rows()))
          .isEqualTo(value(scenario, "select count(*) from hours"));
      assertThat(read).containsOnly(taken.rows());
      assertThat(taken.sums().getFirst())
          .hasToString(
              "Sum[name=requests, column=n, aggregate=sum, value="
                  + value(scenario, "select sum(n) from hours")
                  + "]");
      assertThat(taken.unknown())
          .containsExactly(
              "score",
              "duration_ms_min",
              "duration_ms_max",
              "duration_ms_sketch",
              "sizes_sketch",
              "users",
              "last_error");
      assertThat(answer(scenario, Every.DAY, "UTC"))
          .isEqualTo(oracle(scenario, "date_trunc('day', ts at time zone 'UTC')", ""));
      assertThat(answer(scenario, Every.HOUR, "UTC", "model"))
          .isEqualTo(
              oracle(
                  scenario, "date_trunc('hour', ts at time zone 'UTC')", ", model collate \"C\""));
      assertThat(answer(scenario, Every.DAY, "America/New_York", "project"))
          .isEqualTo(
              oracle(
                  scenario,
                  "date_trunc('day', ts at time zone 'America/New_York')",
                  ", project collate \"C\""));
      assertThat(answer(scenario, Every.MONTH, "Europe/Berlin"))
          .isEqualTo(oracle(scenario, "date_trunc('month', ts at time zone 'Europe/Berlin')", ""));
      for (String grain : List.of("1h", "1d")) {
        for (String fresh : List.of("", "_fresh")) {
          assertThat(
                  Oracle.rows(
                      scenario.database(),
                      "select sum(requests), sum(tokens), sum(cost), min(least), sum(sizes_count), min(sizes_min), max(sizes_max),"
                          + " round(sum(duration_ms_sum)::numeric, 3) from tallyroll.usage_"
                          + grain
                          + fresh))
              .isEqualTo(
                  Oracle.rows(
                      scenario.database(),
                      "select count(*), sum(tokens), sum(cost), min(cost), count(tokens), min(tokens), max(tokens),"
                          + " round(sum(duration_ms)::numeric, 3) from raw"));
        }
      }
    }
  }

  @Test
  void whatIsNotKnownThere_isNotAnsweredThere() {
    try (Scenario scenario = purged(ANY)) {
      adopt(scenario, hours());
      QueryRequest june = QueryRequest.of("usage").range("2026-06-01", "2026-06-16");
      assertThat(scenario.query(june).incomplete()).isEmpty();
      for (String measure :
          List.of("users", "p95(duration_ms)", "max(duration_ms)", "last_error", "score")) {
        QueryRequest may =
            QueryRequest.of("usage").measuring(measure).range("2026-05-25", "2026-06-03");
        assertThatThrownBy(() -> scenario.query(may))
            .isInstanceOfSatisfying(
                TallyrollException.class,
                e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED))
            .hasMessageContaining("'" + measure + "' is known from 2026-06-01T00:00:00Z on");
        assertThat(scenario.query(may.options(false, false, true)).incomplete()).isPresent();
        assertThat(
                scenario
                    .query(may.options(false, false, true).range("2026-05-25", "2026-05-26"))
                    .rows())
            .isNotEmpty();
      }
      assertThat(
              scenario
                  .query(
                      QueryRequest.of("usage")
                          .measuring("avg(duration_ms)", "sum(sizes)", "errors/requests")
                          .range("2026-05-25", "2026-06-03"))
                  .incomplete())
          .isEmpty();
      // Finer than the table's rows there is nothing, nor are days that begin at half past.
      for (QueryRequest finer :
          List.of(
              QueryRequest.of("usage").every(Every.MINUTE, ZoneId.of("UTC")),
              QueryRequest.of("usage").every(Every.DAY, ZoneId.of("Asia/Kolkata")))) {
        assertThatThrownBy(
                () -> scenario.query(finer.measuring("requests").range("2026-05-25", "2026-05-26")))
            .isInstanceOfSatisfying(
                TallyrollException.class,
                e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED))
            .hasMessageContaining("kept from 2026-06-01T00:00:00Z on");
      }
      assertThat(
              value(
                  scenario,
                  "select string_agg(distinct complete::text, ',') from tallyroll.usage_1d_fresh where bucket < '2026-06-01'"))
          .isEqualTo("false");
      assertThat(
              value(
                  scenario,
                  "select string_agg(distinct complete::text, ',') from tallyroll.usage_1d_fresh where bucket >= '2026-06-01'"))
          .isEqualTo("true");
    }
  }

  @Test
  void adoptedBuckets_areMarked_andLeftAlone() {
    try (Scenario scenario = purged(ANY)) {
      scenario.database().run("create view mine as select * from tallyroll.usage_1d_fresh");
      adopt(scenario, hours());
      assertThat(scenario.status("usage").adopted())
          .singleElement()
          .satisfies(one -> {
            assertThat(one.origin()).isEqualTo("public.hours");
            assertThat(one.grain()).isEqualTo("1h");
          });
      assertThat(scenario.verify("usage").adopted())
          .containsExactly("2026-05-21T00:00:00Z to 2026-06-01T00:00:00Z");
      assertThat(scenario.verify("usage").sealed()).isEmpty();
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      String before = state(scenario);
      assertThat(scenario.repair("usage").buckets()).isZero();
      scenario.refresh("usage");
      assertThat(state(scenario)).isEqualTo(before);
      for (String grain : List.of("1h", "1d")) {
        assertThat(
                value(
                    scenario,
                    "select count(*) from tallyroll.usage_"
                        + grain
                        + "_fresh where adopted <> (bucket < '2026-06-01')"))
            .isEqualTo("0");
      }
      assertThat(
              value(
                  scenario,
                  "select tallyroll.adopted('usage') = '{[2026-05-21 00:00Z,2026-06-01 00:00Z)}'::tstzmultirange"))
          .isEqualTo("t");
      assertThat(value(scenario, "select count(*) > 0 from mine where bucket < '2026-06-01'"))
          .isEqualTo("t");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aLateRow_counts_andItsChange_goesToQuarantine(String changes) {
    try (Scenario scenario = purged(ANY.replace("changes: any", "changes: " + changes))) {
      adopt(scenario, hours());
      String sums =
          "select concat_ws(' ', sum(requests), sum(tokens), min(sizes_min), max(sizes_max), sum(sizes_count)) from tallyroll.usage_%s where bucket >= '2026-05-25' and bucket < '2026-05-26'";
      String day =
          "select concat_ws(' ', count(*) + 1, sum(tokens) - 7000, -7000, max(tokens), count(tokens) + 1) from raw where ts >= '2026-05-25' and ts < '2026-05-26'";
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, model, tokens) values ('t0', '2026-05-25T10:20:00Z', 'm1', -7000)");
      assertThat(value(scenario, sums.formatted("1d_fresh"))).isEqualTo(value(scenario, day));
      scenario.refresh("usage");
      for (String table : List.of("1h", "1d", "1h_fresh", "1d_fresh")) {
        assertThat(value(scenario, sums.formatted(table))).isEqualTo(value(scenario, day));
      }
      assertThat(
              value(
                  scenario, "select count(*) from tallyroll.usage_1m where bucket < '2026-06-01'"))
          .isEqualTo("0");
      if (changes.equals("any")) {
        scenario
            .database()
            .run(
                "update events set tokens = 1 where tokens = -7000; delete from events where tokens = 1 and ts < '2026-06-01'");
        assertThat(value(scenario, sums.formatted("1d_fresh"))).isEqualTo(value(scenario, day));
        scenario.refresh("usage");
        assertThat(value(scenario, sums.formatted("1h"))).isEqualTo(value(scenario, day));
        assertThat(
                value(scenario, "select count(*) from tallyroll.quarantine where kind = 'change'"))
            .isEqualTo("3");
        scenario.database().run("truncate events");
        scenario.refresh("usage");
        assertThat(value(scenario, sums.formatted("1d"))).isEqualTo(value(scenario, day));
        assertThat(value(scenario, "select max(bucket) < '2026-06-01' from tallyroll.usage_1d"))
            .isEqualTo("t");
      }
    }
  }

  @Test
  void whatIsCountedAlready_isRefused() {
    try (Scenario scenario = purged(ANY)) {
      String own = "public.events has ";
      assertRefused(
          scenario, request("hours", "1h", ALL, null, null, "2026-06-03"), ErrorCode.REFUSED, own);
      // A late row, merged or not.
      scenario
          .database()
          .run("insert into events (tenant_id, ts) values ('t0', '2026-05-23T01:00:00Z')");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, null, "2026-06-01"),
          ErrorCode.REFUSED,
          own + "1 row of its own");
      Taken part = new Adopt(scenario.database().database(), scenario.clock()).plan(hours());
      assertThat(part.to()).isEqualTo("2026-05-23T00:00:00Z");
      assertThat(part.end()).contains("rows of its own from 2026-05-23T01:00:00Z on");
      scenario.refresh("usage");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, null, "2026-06-01"),
          ErrorCode.REFUSED,
          own + "1 row of its own");
      // Its bucket stays, once it is purged behind a seal.
      new Seals(scenario.database().database(), scenario.clock())
          .seal("usage", Instant.parse("2026-05-24T00:00:00Z"), List.of("postgres"));
      scenario.database().run("delete from events where ts < '2026-06-01'");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, null, "2026-06-01"),
          ErrorCode.REFUSED,
          "'usage' has buckets of its own from 2026-05-23T");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, "2026-05-24", null),
          ErrorCode.REFUSED,
          "'usage' has older buckets of 1m");
      scenario.change(ANY.replace("1m: keep 90d, 5m: keep 90d, ", ""), false);
      adopt(scenario, request("hours", "1h", ALL, null, "2026-05-24", null));
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, "2026-05-24", null),
          ErrorCode.REFUSED,
          "already adopted");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, "2026-05-28", "2026-06-01"),
          ErrorCode.REFUSED,
          "already adopted");
      adopt(scenario, request("hours", "1h", ALL, null, null, "2026-05-23"));
      assertThat(
              value(
                  scenario,
                  "select sum(requests) from tallyroll.usage_1d where bucket < '2026-06-01'"))
          .isEqualTo(
              value(
                  scenario,
                  "select count(*) + 1 from raw where ts < '2026-06-01' and not (ts >= '2026-05-23' and ts < '2026-05-24')"));
    }
  }

  @Test
  void historyThatIsNotFilled_andADefinitionThatIsBuilt_comeFirst() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 500, 25);
      scenario
          .database()
          .run(
              "create table raw as select * from events; "
                  + HOURS
                  + "; delete from events where ts < '2026-06-01'; insert into events (tenant_id, ts) values ('t0', '2026-05-15')");
      scenario.apply(ANY);
      scenario.database().run("delete from events where ts < '2026-06-01'");
      assertRefused(
          scenario,
          hours(),
          ErrorCode.REFUSED,
          "is not filled yet; first run: {tallyroll} backfill usage");
      scenario.backfill("usage");
      new Installer(scenario.database().database(), scenario.clock())
          .apply(Scenario.definitions(ANY.replace("sum(tokens)", "sum(tokens + 1)")), true);
      assertRefused(
          scenario, hours(), ErrorCode.REFUSED, "another definition of 'usage' is being built");
      scenario.finish("usage");
      adopt(scenario, hours());
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      quoteCharacter = '"',
      value = {
        "who = null; tenant (column who) is NULL: every row has a tenant",
        "n = -3; requests (column n) is -3: a count is never negative",
        "n = null; requests (column n) is NULL: a count is a number",
        "bad = 1.5; errors (column bad) is 1.5: that is no whole number",
        "bad = 'Infinity'; errors (column bad) is Infinity: that is no number",
        "bad = 1e19; that is too much for a bigint",
        "usd = 'NaN'; cost (column usd) is NaN: that is no number",
        "dsum = 'Infinity'; duration_ms_sum (column dsum) is Infinity",
        "dn = 0; but duration_ms_count of the same row is 0",
        "dsum = null; but duration_ms_count of the same row is not 0",
        "smin = smax + 1; that is more than sizes_max of the same row",
        "model = repeat('x', 600); model (column model) is xxxxx",
        "at = at + interval '20 minutes'; that is not the start of a UTC bucket of 1h",
        "at = null; row of no time",
        "at = '-infinity'; a bucket has a beginning"
      })
  void aRowThatCannotBeTaken_isNamed(String change, String message) {
    try (Scenario scenario = purged(ANY)) {
      scenario
          .database()
          .run(
              "update hours set "
                  + change
                  + " where ctid = (select ctid from hours where dn > 0 and sn > 0 and dsum <> 0 and model = 'm1' order by at, who limit 1)");
      assertRefused(scenario, hours(), ErrorCode.USAGE, message);
      Taken looked = new Adopt(scenario.database().database(), scenario.clock()).plan(hours());
      assertThat(looked.refusals()).singleElement().asString().contains("public.hours, row of ");
    }
  }

  @Test
  void allKindsOfBadRows_areShownAtOnce() {
    try (Scenario scenario = purged(ANY)) {
      scenario
          .database()
          .run(
              "update hours set n = -1 where at < '2026-05-23'; update hours set usd = 'NaN' where at > '2026-05-30'");
      Taken looked = new Adopt(scenario.database().database(), scenario.clock()).plan(hours());
      assertThat(looked.refusals()).hasSize(2);
      assertThat(looked.refusals().getFirst().message())
          .contains("a count is never negative")
          .contains(
              "(and "
                  + (Integer.parseInt(
                          String.valueOf(
                              value(scenario, "select count(*) from hours where n = -1")))
                      - 1)
                  + " more such)");
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      quoteCharacter = '"',
      value = {
        "1h; tenant=who, requests=n; say which column of public.hours is the start of a row's time",
        "1h; bucket=at, requests=n; is the tenant, as --map tenant=COLUMN",
        "1h; bucket=at, tenant=who; no measure is mapped",
        "1h; bucket=at, tenant=who, request=n; has no 'request' to take over; did you mean 'requests'?",
        "1h; bucket=at, tenant=who, requests=nn; no column 'nn' in public.hours",
        "1h; bucket=at, tenant=who, users=n; a distinct measure cannot be taken over",
        "1h; bucket=at, tenant=who, sizes=n; map its parts sizes_count, sizes_sum, sizes_min, sizes_max",
        "1h; bucket=at, tenant=who, sizes_sum=tok; map sizes_count too",
        "1h; bucket=at, tenant=who, cost=model; is of type text, and cost needs a number",
        "1h; bucket=n, tenant=who, requests=n; needs a timestamp or a date",
        "2h; bucket=at, tenant=who, requests=n; 'usage' has no buckets of 2h"
      })
  void aWrongMapping_isSaid(String grain, String map, String message) {
    try (Scenario scenario = purged(ANY)) {
      assertRefused(
          scenario, request("hours", grain, map, null, null, null), ErrorCode.USAGE, message);
    }
  }

  @Test
  void aWrongTableOrTime_isSaid() {
    try (Scenario scenario = purged(ANY)) {
      assertRefused(
          scenario,
          request("public.hour", "1h", ALL, null, null, null),
          ErrorCode.USAGE,
          "there is no such table");
      assertRefused(
          scenario,
          request("events", "1h", "bucket=ts, tenant=tenant_id, tokens=tokens", null, null, null),
          ErrorCode.USAGE,
          "the source of 'usage' itself");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, "UTC", null, null),
          ErrorCode.USAGE,
          "leave --zone out");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, null, "2026-06-20"),
          ErrorCode.USAGE,
          "lies ahead");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, null, "2026-06-02", null),
          ErrorCode.USAGE,
          "there is nothing to take over");
      scenario
          .database()
          .run("alter table hours alter at type timestamp using at at time zone 'UTC'");
      assertRefused(
          scenario, hours(), ErrorCode.USAGE, "say in which zone its times are, as --zone UTC");
    }
  }

  @Test
  void localTimes_areTakenAsInstants_unlessTheClockWasSet() {
    try (Scenario scenario = purged(ANY.replace("keep 210d", "keep 1000d"))) {
      scenario
          .database()
          .run("alter table hours alter at type timestamp using at at time zone 'Europe/Berlin'");
      AdoptRequest berlin = request("hours", "1h", ALL, "Europe/Berlin", null, null);
      scenario
          .database()
          .run(
              "insert into hours (at, who, n, bad, sn, dn) values ('2025-10-26 02:00', 't0', 1, 0, 0, 0)");
      assertRefused(scenario, berlin, ErrorCode.USAGE, "comes twice in Europe/Berlin");
      assertRefused(
          scenario,
          request("hours", "1h", ALL, "+02:00", null, null),
          ErrorCode.USAGE,
          "name a zone of the time zone database");
      scenario.database().run("update hours set at = '2026-03-29 02:00' where at < '2026-01-01'");
      assertRefused(
          scenario, berlin, ErrorCode.USAGE, "there is no such local time in Europe/Berlin");
      scenario.database().run("delete from hours where at < '2026-04-01'");
      adopt(scenario, berlin);
      assertThat(answer(scenario, Every.HOUR, "UTC"))
          .isEqualTo(oracle(scenario, "date_trunc('hour', ts at time zone 'UTC')", ""));
    }
  }

  @Test
  void days_areTakenBehindHours_andUnmappedDimensionsAreNull() {
    try (Scenario scenario = purged(ANY)) {
      scenario
          .database()
          .run(
              "create table days as select date '2025-11-01' + i as day, 't' || i % 2 as who, i as n from generate_series(0, 300) i;"
                  + "delete from hours where at < '2026-05-25'; create view recent as select * from hours");
      adopt(scenario, request("recent", "1h", ALL, null, null, null));
      Taken days =
          adopt(
              scenario,
              request("days", "1d", "bucket=day, tenant=who, requests=n", "UTC", null, null));
      assertThat(days.to()).isEqualTo("2026-05-25T00:00:00Z");
      assertThat(days.end()).contains("adopted from public.recent from 2026-05-25");
      assertThat(days.later()).isEqualTo(96);
      assertThat(days.unknown()).contains("project", "model", "tokens");
      assertThat(
              Oracle.rows(
                  scenario.query(
                      QueryRequest.of("usage")
                          .measuring("requests")
                          .range("2025-12-01", "2026-01-01")
                          .every(Every.ALL, ZoneId.of("UTC")))))
          .isEqualTo(
              Oracle.rows(
                  scenario.database(),
                  "select who, '2025-12-01T00:00:00+00:00', sum(n) from days where day >= '2025-12-01' and day < '2026-01-01' group by 1 order by 1"));
      assertThatThrownBy(() ->
              scenario.query(
                  QueryRequest.of("usage")
                      .measuring("requests")
                      .by("model")
                      .range("2026-05-01", "2026-05-03")))
          .hasMessageContaining("'model' is known from 2026-05-25");
      // Of hours the days know nothing.
      assertThatThrownBy(() ->
              scenario.query(
                  QueryRequest.of("usage")
                      .measuring("requests")
                      .every(Every.HOUR, ZoneId.of("UTC"))
                      .range("2026-05-01", "2026-05-03")))
          .hasMessageContaining("kept from 2026-05-25");
      assertThat(scenario.verify("usage").adopted())
          .containsExactly("2025-11-01T00:00:00Z to 2026-06-01T00:00:00Z");
      scenario.database().run("insert into days values ('2025-10-02', 't0', 1)");
      assertRefused(
          scenario,
          request(
              "days",
              "1d",
              "bucket=day, tenant=who, requests=n",
              "America/New_York",
              "2025-10-01",
              "2025-11-01"),
          ErrorCode.USAGE,
          "days of another zone than UTC cannot be taken over");
    }
  }

  @Test
  void whatNoGrainKeeps_isLeft_andHoursTooOldForHours_becomeDays() {
    try (Scenario scenario = purged(ANY)) {
      scenario
          .database()
          .run(
              "insert into hours (at, who, n, bad, sn, dn) select t, 't0', 2, 0, 0, 0 from generate_series(timestamptz '2022-01-01Z', '2025-12-31Z', '12 hours') t");
      Taken taken = adopt(scenario, hours());
      // The partition of the oldest day to keep is of 2023; that of the oldest hour, of November.
      assertThat(taken.from()).isEqualTo("2023-01-01T00:00:00Z");
      assertThat(taken.older()).isEqualTo(730);
      assertThat(
              value(
                  scenario,
                  "select min(bucket) = '2023-01-01Z' and sum(requests) filter (where bucket < '2026-01-01') = 4382 from tallyroll.usage_1d"))
          .isEqualTo("t");
      assertThat(value(scenario, "select min(bucket) = '2025-11-01Z' from tallyroll.usage_1h"))
          .isEqualTo("t");
    }
  }

  @Test
  void aKilledAdoption_leavesNothing_andCanBeRunAgain() {
    try (Scenario scenario = purged(ANY)) {
      String before = state(scenario);
      Adopt adopt = new Adopt(scenario.database().database(), scenario.clock());
      assertThatThrownBy(() ->
              adopt.run(
                  hours(),
                  new Adopt.Progress() {
                    @Override
                    public void read(long rows) {
                      scenario
                          .database()
                          .run(
                              "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'tallyroll %' and state <> 'idle'");
                    }
                  }))
          .isInstanceOf(TallyrollException.class);
      assertThat(state(scenario)).isEqualTo(before);
      assertThat(value(scenario, "select count(*) from tallyroll.usage_1d_fresh where adopted"))
          .isEqualTo("0");
      // A view that has the column already keeps it, whatever changes before the next try.
      scenario.change(ANY.replace("  score:       sum(score)\n", ""), false);
      adopt(scenario, hours());
      assertThat(answer(scenario, Every.DAY, "UTC"))
          .isEqualTo(oracle(scenario, "date_trunc('day', ts at time zone 'UTC')", ""));
    }
  }

  @Test
  void anotherDefinition_carriesWhatWasAdopted() {
    try (Scenario scenario = purged(ANY)) {
      adopt(scenario, hours());
      String days =
          "select string_agg(concat_ws(' ', tenant, bucket, project, requests, tokens, cost, sizes_sum), E'\\n' order by tenant, bucket, project nulls last) from"
              + " (select tenant, bucket, project, sum(requests) as requests, sum(tokens) as tokens, sum(cost) as cost, sum(sizes_sum) as sizes_sum from tallyroll.usage_1d group by 1, 2, 3) d";
      String before = value(scenario, days);
      // At once: a measure and a dimension go, and what is not known of a distribution stays so.
      String less =
          ANY.replace("  score:       sum(score)\n", "").replace("[project, model]", "[project]");
      assertThat(scenario.change(less, false)).isEqualTo(Installer.Outcome.CHANGED);
      assertThat(value(scenario, days)).isEqualTo(before);
      assertThatThrownBy(() ->
              scenario.query(
                  QueryRequest.of("usage")
                      .measuring("p50(sizes)")
                      .range("2026-05-25", "2026-06-03")))
          .hasMessageContaining("is known from 2026-06-01");
      // Built beside: the new measure begins where the source does.
      String more = less.replace("  requests:", "  twice: sum(tokens * 2)\n  requests:");
      assertThatThrownBy(() -> scenario.change(more, false)).hasMessageContaining("--start-now");
      assertThat(scenario.change(more, true)).isEqualTo(Installer.Outcome.BUILDING);
      scenario.refresh("usage");
      assertThat(value(scenario, days)).isEqualTo(before);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.verify("usage").adopted())
          .containsExactly("2026-05-21T00:00:00Z to 2026-06-01T00:00:00Z");
      assertThat(scenario.status("usage").adopted()).hasSize(1);
      for (String measure : List.of("p50(sizes)", "twice")) {
        assertThatThrownBy(() ->
                scenario.query(
                    QueryRequest.of("usage").measuring(measure).range("2026-05-25", "2026-06-03")))
            .hasMessageContaining("is known from 2026-06-01");
      }
      assertThat(
              value(
                  scenario,
                  "select count(*) from tallyroll.usage_1d_fresh where adopted <> (bucket < '2026-06-01')"))
          .isEqualTo("0");
      assertRefused(
          scenario,
          request("hours", "1h", ALL.replace(" model=model,", ""), null, null, null),
          ErrorCode.REFUSED,
          "already adopted");
      // A row that comes late, and one that comes in time.
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', '2026-05-25'), ('t0', '2026-06-14')");
      scenario.refresh("usage");
      assertThat(value(scenario, "select sum(requests) from tallyroll.usage_1d")).isEqualTo("1502");
    }
  }

  @Test
  void otherRollupsOfTheSource_keepTheirNumbers() {
    try (Scenario scenario = purged(ANY)) {
      scenario.apply(ANY.replace("rollup: usage", "rollup: second"));
      scenario.insert(2_000, 2_100, 5);
      scenario.backfill("second");
      adopt(scenario, hours());
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', '2026-05-25'), ('t0', '2026-06-14')");
      scenario.refresh("second");
      scenario.refresh("usage");
      assertThat(scenario.verify("second").mismatches()).isEmpty();
      assertThat(scenario.verify("second").adopted()).isEmpty();
      assertThat(value(scenario, "select sum(requests) from tallyroll.second_1d"))
          .isEqualTo(value(scenario, "select count(*) from events"));
      assertThat(value(scenario, "select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo(value(scenario, "select count(*) + 103 from raw"));
      new Drop(scenario.database().database()).run("usage");
      assertThat(value(scenario, "select count(*) from tallyroll.adopted")).isEqualTo("0");
    }
  }

  @Test
  void forget_erasesAdoptedBuckets_andReanchorKeepsThem() {
    try (Scenario scenario = purged(ANY)) {
      adopt(scenario, hours());
      new Forget(scenario.database().database(), scenario.clock())
          .run(new Forget.Request(null, "t1", null));
      assertThat(value(scenario, "select count(*) from tallyroll.usage_1h where tenant = 't1'"))
          .isEqualTo("0");
      String left = "select sum(requests) from tallyroll.usage_1d";
      assertThat(value(scenario, left))
          .isEqualTo(value(scenario, "select count(*) from raw where tenant_id <> 't1'"));
      scenario.database().run("update tallyroll.rollup set system_identifier = 1");
      new Reanchor(scenario.database().database(), scenario.clock()).run("usage", false);
      scenario.refresh("usage");
      assertThat(value(scenario, left))
          .isEqualTo(value(scenario, "select count(*) from raw where tenant_id <> 't1'"));
      assertThat(scenario.verify("usage").adopted()).hasSize(1);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      scenario.database().run("insert into events (tenant_id, ts) values ('t0', '2026-05-25')");
      scenario.refresh("usage");
      assertThat(value(scenario, left))
          .isEqualTo(value(scenario, "select count(*) + 1 from raw where tenant_id <> 't1'"));
    }
  }

  @Test
  void aRowThatComesWhileItIsAdopted_counts() {
    try (Scenario scenario = purged(ANY)) {
      new Adopt(scenario.database().database(), scenario.clock())
          .run(
              hours(),
              new Adopt.Progress() {
                @Override
                public void begins(long rows) {
                  scenario
                      .database()
                      .run(
                          "insert into events (tenant_id, ts) values ('t0', '2026-05-25T10:20:00Z'); delete from events where ts > '2026-06-14'");
                }
              });
      scenario.refresh("usage");
      assertThat(value(scenario, "select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo(value(scenario, "select count(*) + 1 from raw where ts <= '2026-06-14'"));
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }

  @Test
  void rowsOfOneBucketAndKey_areMerged_underAnyNames() {
    String rollup =
        ANY.replace("[project, model]", "[{adopted: project}]")
            .replace("  score:       sum(score)\n", "");
    try (Scenario scenario = purged(rollup)) {
      String map = ALL.replace("project=project, model=model", "adopted=project");
      adopt(scenario, request("hours", "1h", map, null, null, null));
      List<List<@Nullable String>> rows =
          oracle(scenario, "date_trunc('day', ts at time zone 'UTC')", ", project collate \"C\"");
      assertThat(answer(scenario, Every.DAY, "UTC", "adopted")).isEqualTo(rows);
      // The view's column is the dimension then; the function tells.
      assertThat(
              value(
                  scenario,
                  "select count(*) > 0 from tallyroll.usage_1d_fresh where adopted = 'p1' and (select tallyroll.adopted('usage')) @> bucket"))
          .isEqualTo("t");
    }
  }

  @Test
  void whatIsNotWhole_isNotRounded() {
    try (Scenario scenario = purged(ANY)) {
      scenario
          .database()
          .run(
              "update hours set usd = null; alter table hours alter usd type double precision; update hours set usd = 0.1234567890123456");
      adopt(scenario, hours());
      assertThat(
              value(
                  scenario, "select sum(cost) from tallyroll.usage_1d where bucket < '2026-06-01'"))
          .isEqualTo(value(scenario, "select count(*) * 0.1234567890123456 from hours"));
    }
  }
}
