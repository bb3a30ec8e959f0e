package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.net.URLEncoder;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;

/** Usage over HTTP: the same numbers as the engine's, of the caller's tenant alone. */
class UsageTest {
  private static Serving serving;
  private static String read;

  @BeforeAll
  static void start() {
    serving = Serving.start();
    Random random = new Random(42);
    Instant now = Instant.now();
    for (String tenant : List.of("acme", "bolt")) {
      String key = serving.key(tenant, Scope.INGEST);
      List<Map<String, Object>> batch = new ArrayList<>();
      for (int i = 0; i < 2_000; i++) {
        Map<String, Object> event =
            Serving.event(
                "e" + i,
                Map.of(
                    "model",
                    "model-" + random.nextInt(5),
                    "user_id",
                    "user-" + random.nextInt(100),
                    "input_tokens",
                    random.nextInt(1_000),
                    "output_tokens",
                    random.nextInt(200),
                    "duration_ms",
                    random.nextDouble() * 1_000,
                    "region",
                    random.nextBoolean() ? "eu" : "us",
                    "status",
                    random.nextInt(20) == 0 ? "error" : "ok"));
        event.put("time", now.minus(Duration.ofMinutes(random.nextInt(10 * 24 * 60))).toString());
        batch.add(event);
      }
      HttpResponse<String> answer = serving.postEvents(key, batch);
      assertThat(answer.statusCode()).as(answer.body()).isEqualTo(204);
    }
    read = serving.key("acme", Scope.READ);
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  private static String q(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8);
  }

  private static List<Map<String, Object>> rows(QueryResult result) {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (List<Object> row : result.rows()) {
      Map<String, Object> told = new LinkedHashMap<>();
      for (int i = 0; i < row.size(); i++) {
        told.put(result.columns().get(i), row.get(i));
      }
      rows.add(told);
    }
    // As JSON, in which a number has no class.
    return Serving.JSON.readValue(
        Serving.JSON.writeValueAsString(rows),
        new tools.jackson.core.type.TypeReference<List<Map<String, Object>>>() {});
  }

  @Test
  void answers_areThoseOfTheEngine_forOneTenantAndForAll() {
    QueryEngine engine = new QueryEngine(serving.database.database(), InstantSource.system());
    for (String zone : List.of("UTC", "Asia/Kolkata", "America/New_York")) {
      for (Every every : List.of(Every.DAY, Every.HOUR, Every.WEEK, Every.ALL)) {
        QueryRequest asked =
            QueryRequest.of("llm_usage")
                .every(every, ZoneId.of(zone))
                .by("model")
                .measuring("requests", "errors/requests", "p95(duration_ms)", "users");
        String query =
            "llm_usage?every="
                + every.label()
                + "&zone="
                + q(zone)
                + "&by=model&measure=requests&measure="
                + q("errors/requests")
                + "&measure="
                + q("p95(duration_ms)")
                + "&measure=users";
        assertThat(serving.usage(read, query))
            .as(query)
            .isNotEmpty()
            .isEqualTo(rows(engine.run(asked.tenants("acme"))));
        assertThat(serving.usage(serving.admin, query)).isEqualTo(rows(engine.run(asked)));
        assertThat(serving.usage(serving.admin, query + "&tenant=bolt"))
            .isEqualTo(rows(engine.run(asked.tenants("bolt"))));
      }
    }
  }

  @Test
  void everyParameter_meansWhatItMeansInTheCommand() {
    QueryEngine engine = new QueryEngine(serving.database.database(), InstantSource.system());
    QueryRequest base = QueryRequest.of("llm_usage").tenants("acme").measuring("requests");
    assertThat(serving.usage(read, "llm_usage?measure=requests&by=model&top=2&every=all"))
        .hasSize(3)
        .isEqualTo(rows(engine.run(base.by("model").top(2).every(Every.ALL, ZoneId.of("UTC")))));
    assertThat(serving.usage(read, "llm_usage?measure=requests&where=" + q("model=model-1")))
        .isEqualTo(rows(engine.run(base.where(new QueryRequest.Condition("model", "model-1")))));
    assertThat(serving.usage(read, "llm_usage?measure=requests&where=" + q("model is null")))
        .isEmpty();
    assertThat(
            serving.usage(
                read, "llm_usage?measure=requests&fill=true&from=2026-01-01&to=2026-01-04"))
        .hasSize(0);
    assertThat(serving.usage(read, "llm_usage?measure=requests&stale=true&every=all"))
        .hasSizeLessThanOrEqualTo(1);
  }

  @Test
  void pages_makeUpTheWhole() {
    String query = "llm_usage?measure=requests&by=model&every=1h";
    List<Map<String, Object>> whole = serving.usage(read, query + "&limit=100000");
    List<Map<String, Object>> pages = new ArrayList<>();
    String next = "";
    do {
      JsonNode answer = Serving.json(serving.get("/v1/usage/" + query + "&limit=97" + next, read));
      pages.addAll(
          Serving.JSON.convertValue(
              answer.get("data"),
              new tools.jackson.core.type.TypeReference<List<Map<String, Object>>>() {}));
      next = answer.get("next").isNull() ? "" : "&cursor=" + answer.get("next").asString();
    } while (!next.isEmpty());
    assertThat(whole.size()).isGreaterThan(200);
    assertThat(pages).isEqualTo(whole);
  }

  @Test
  void csv_hasTheSameNames_andTheNextPageInAHeader() {
    HttpResponse<String> answer =
        serving.send(
            serving
                .request("/v1/usage/llm_usage?measure=requests&by=model&every=1d&limit=2", read)
                .header("Accept", "text/csv"));
    assertThat(answer.headers().firstValue("Content-Type")).contains("text/csv;charset=UTF-8");
    assertThat(answer.body().lines()).hasSize(3).first().isEqualTo("tenant,bucket,model,requests");
    assertThat(answer.headers().firstValue("Tallyroll-Next")).isPresent();
  }

  @Test
  void wrongQuestions_getOneClearLine() {
    assertThat(status("nothing")).startsWith("404").contains("unknown-rollup");
    assertThat(status("llm_usage?measure=cost")).startsWith("400").contains("no measure 'cost'");
    assertThat(status("llm_usage?by=modle")).startsWith("400").contains("did you mean 'model'");
    assertThat(status("llm_usage?where=x")).startsWith("400").doesNotContain("--where");
    assertThat(status("llm_usage?every=2d")).startsWith("400").contains("every is one of");
    assertThat(status("llm_usage?zone=Mars")).startsWith("400").contains("zone");
    assertThat(status("llm_usage?from=yesterday")).startsWith("400").doesNotContain("--from");
    assertThat(status("llm_usage?from=2026-02-01&to=2026-01-01"))
        .startsWith("400")
        .contains("empty");
    assertThat(status("llm_usage?top=2")).startsWith("400").contains("by");
    assertThat(status("llm_usage?top=many")).startsWith("400").contains("top");
    assertThat(status("llm_usage?limit=0")).startsWith("400").contains("limit");
    assertThat(status("llm_usage?fill=perhaps")).startsWith("400").contains("fill");
    assertThat(status("llm_usage?cursor=zzz")).startsWith("400").contains("cursor");
    assertThat(status("llm_usage?from=2001-01-01&to=2001-02-01&zone=" + q("Asia/Kolkata")))
        .startsWith("409")
        .contains("needs buckets of 5m");
  }

  private static String status(String query) {
    HttpResponse<String> answer = serving.get("/v1/usage/" + query, read);
    return answer.statusCode() + " " + answer.body();
  }

  @Test
  void rangeThatIsNotFilled_is409_andNamesTheCommand() {
    serving.database.run(
        "create table public.calls (tenant text not null, ts timestamptz not null, n int); insert into public.calls select 'acme', now() - interval '5 days', 1 from generate_series(1, 10)");
    new Installer(serving.database.database())
        .apply(
            DefinitionReader.read(
                "d",
                "{rollup: calls, source: {table: public.calls, tenant: tenant, time: ts}, measures: {calls: count}, grains: {1h: keep 60d}}"));
    assertThat(
            status(
                "calls?from="
                    + Instant.now().minus(Duration.ofDays(6)).toString().substring(0, 10)))
        .startsWith("409")
        .contains("uncovered", "tallyroll backfill calls");
    JsonNode partial = Serving.json(serving.get("/v1/usage/calls?partial=true", read));
    assertThat(partial.get("complete").asBoolean()).isFalse();
    assertThat(partial.get("incomplete").asString()).contains("not filled yet");
  }

  @Test
  void changingSource_isAnsweredFresh_throughTheViews() {
    serving.database.run(
        "create table public.jobs (id int primary key, tenant text not null, ts timestamptz not null, n int)");
    new Installer(serving.database.database())
        .apply(
            DefinitionReader.read(
                "d",
                "{rollup: jobs, source: {table: public.jobs, tenant: tenant, time: ts}, measures: {n: sum(n), most: max(n)}, grains: {5m: keep 30d, 1h: keep 60d}}"));
    for (String change :
        List.of(
            "insert into public.jobs select i, case when i % 2 = 0 then 'acme' else 'bolt' end, now(), i from generate_series(1, 100) i",
            "update public.jobs set n = n + 1000 where id = 4",
            "delete from public.jobs where id = 100",
            "delete from public.jobs where id <= 50")) {
      serving.database.run(change);
      assertThat(serving.usage(read, "jobs?every=all"))
          .singleElement()
          .satisfies(row ->
              assertThat(row.get("n") + " " + row.get("most"))
                  .isEqualTo(
                      serving.database.value(
                          "select sum(n) || ' ' || max(n) from public.jobs where tenant = 'acme'")));
    }
  }

  @Test
  void definitionThatIsAppliedLater_isAnsweredWithin5Seconds_byAttributesToo()
      throws InterruptedException {
    new Installer(serving.database.database())
        .apply(
            DefinitionReader.read(
                "d",
                """
                rollup: by_region
                source: {table: tallyroll.event, tenant: tenant, time: time, changes: append}
                dimensions: [model, {region: "attributes->>'region'"}]
                measures: {calls: count}
                grains: {1h: keep 90d, 1d: keep 365d}
                """));
    String key = serving.key("later", Scope.INGEST);
    String asking = serving.key("later", Scope.READ);
    serving.postEvents(key, Serving.event("1", Map.of("model", "m", "region", "eu")));
    Serving.await(
        5,
        "by_region answers",
        () -> serving.get("/v1/usage/by_region", asking).statusCode() == 200);
    assertThat(serving.usage(asking, "by_region?by=region&every=all"))
        .singleElement()
        .satisfies(row -> assertThat(row).containsEntry("region", "eu").containsEntry("calls", 1));
    assertThat(
            Serving.json(serving.get("/v1/rollups/by_region/values?dimension=region", asking))
                .get("data")
                .toString())
        .isEqualTo("[\"eu\"]");
    assertThat(serving.get("/v1/rollups", asking).body()).contains("by_region", "llm_usage");
  }

  /** Which costs more than the log's own feed, and nobody has to ask for. */
  @Test
  void logOfWhichChangesAreCaptured_isAnsweredFreshToo() throws InterruptedException {
    new Installer(serving.database.database())
        .apply(
            DefinitionReader.read(
                "d",
                "{rollup: captured, source: {table: tallyroll.event, tenant: tenant, time: time, changes: any}, measures: {calls: count}, grains: {1h: keep 90d}}"));
    try {
      String key = serving.key("captured", Scope.INGEST);
      String asking = serving.key("captured", Scope.READ);
      Serving.await(
          10,
          "captured answers",
          () -> serving.get("/v1/usage/captured", asking).statusCode() == 200);
      for (int i = 1; i <= 3; i++) {
        serving.postEvents(key, Serving.event("event-" + i, Map.of("model", "m")));
        assertThat(serving.usage(asking, "captured?every=all"))
            .singleElement()
            .extracting(row -> row.get("calls"))
            .isEqualTo(i);
      }
    } finally {
      new Drop(serving.database.database()).run("captured");
    }
  }

  @Test
  void rollups_equalTheLog() throws InterruptedException {
    Serving.await(
        20,
        "all is merged",
        () ->
            "0"
                .equals(
                    serving.database.value(
                        "select count(*) from tallyroll.rollup r, tallyroll.event e where r.name in ('llm_usage', 'activity') and e.tallyroll_xid >= pg_snapshot_xmax(r.cursor)")));
    for (String rollup : List.of("llm_usage", "activity")) {
      assertThat(
              new Verifier(serving.database.database(), InstantSource.system())
                  .verify(VerifyRequest.all(rollup), new Verifier.Progress() {})
                  .isExact())
          .as(rollup)
          .isTrue();
    }
  }

  @Test
  void status_isForThoseWhoAdministrate() {
    assertThat(serving.get("/v1/status", read).statusCode()).isEqualTo(403);
    JsonNode status = Serving.json(serving.get("/v1/status", serving.admin)).get("data");
    assertThat(status.toString()).contains("llm_usage", "lag_s", "quarantined_rows");
  }
}
