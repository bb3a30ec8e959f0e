package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import tools.jackson.databind.JsonNode;

/** Who is let through to what: every operation that the API's own description tells of. */
class AccessTest {
  private static final Set<String> OPEN = Set.of("getLive", "getReady", "getMetrics");
  private static final Map<String, Set<Scope>> SCOPES =
      Map.ofEntries(
          Map.entry("postEvents", Set.of(Scope.INGEST)),
          Map.entry("postTraces", Set.of(Scope.INGEST)),
          Map.entry("getUsage", Set.of(Scope.READ, Scope.ADMIN)),
          Map.entry("getRollups", Set.of(Scope.READ, Scope.ADMIN)),
          Map.entry("getValues", Set.of(Scope.READ, Scope.ADMIN)),
          Map.entry("getQuarantine", Set.of(Scope.READ, Scope.ADMIN)),
          Map.entry("getStatus", Set.of(Scope.ADMIN)),
          Map.entry("postTenant", Set.of(Scope.ADMIN)),
          Map.entry("getTenants", Set.of(Scope.ADMIN)),
          Map.entry("postKey", Set.of(Scope.ADMIN)),
          Map.entry("getKeys", Set.of(Scope.ADMIN)),
          Map.entry("deleteKey", Set.of(Scope.ADMIN)));

  private static Serving serving;

  @BeforeAll
  static void start() {
    serving = Serving.start();
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  /** An operation as the description has it. */
  private record Operation(String id, String method, String path) {
    HttpRequest.Builder request(@Nullable String key, String query) {
      String at = path.replace("{rollup}", "llm_usage").replace("{name}", "llm_usage");
      at = at.replace("{id}", "aaaaaaaaaaaaaaaa");
      String parameters = id.equals("getValues") ? "?dimension=model" : "";
      if (!query.isEmpty()) {
        parameters += (parameters.isEmpty() ? "?" : "&") + query;
      }
      HttpRequest.Builder request = serving.request(at + parameters, key);
      return switch (id) {
        case "postEvents" ->
            request
                .header("Content-Type", "application/json")
                .POST(
                    HttpRequest.BodyPublishers.ofString(
                        Serving.JSON.writeValueAsString(
                            Serving.event("access", Map.of("model", "m")))));
        case "postTraces" ->
            request
                .header("Content-Type", "application/x-protobuf")
                .POST(HttpRequest.BodyPublishers.noBody());
        case "postTenant" ->
            request
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{\"id\":\"made\"}"));
        case "postKey" ->
            request
                .header("Content-Type", "application/json")
                .POST(
                    HttpRequest.BodyPublishers.ofString("{\"tenant\":\"one\",\"scope\":\"read\"}"));
        default -> request.method(method, HttpRequest.BodyPublishers.noBody());
      };
    }
  }

  private static List<Operation> operations() {
    List<Operation> operations = new ArrayList<>();
    JsonNode paths = Serving.json(serving.get("/v3/api-docs", null)).get("paths");
    paths
        .properties()
        .forEach(path ->
            path.getValue()
                .properties()
                .forEach(method ->
                    operations.add(
                        new Operation(
                            method.getValue().get("operationId").asString(),
                            method.getKey().toUpperCase(java.util.Locale.ROOT),
                            path.getKey()))));
    return operations;
  }

  @Test
  void description_tellsOfEveryOperation_andNoOther() {
    assertThat(operations().stream().map(Operation::id))
        .containsExactlyInAnyOrderElementsOf(
            Stream.concat(OPEN.stream(), SCOPES.keySet().stream()).toList());
  }

  @TestFactory
  Stream<DynamicTest> operation_letsThroughWhoItIsFor_andNobodyElse() {
    String one = "one";
    new Tenants(serving.database.database()).create(one, null);
    new Tenants(serving.database.database()).create("two", null);
    ApiKeys keys = new ApiKeys(serving.database.database());
    Map<Scope, String> valid =
        Map.of(
            Scope.INGEST, keys.create(one, Scope.INGEST, null).token(),
            Scope.READ, keys.create(one, Scope.READ, null).token(),
            Scope.ADMIN, serving.admin);
    List<DynamicTest> tests = new ArrayList<>();
    for (Operation operation : operations()) {
      if (OPEN.contains(operation.id())) {
        tests.add(
            DynamicTest.dynamicTest(
                operation.id() + " is open",
                () -> assertThat(status(operation, null)).isEqualTo(200)));
        continue;
      }
      Set<Scope> needed = SCOPES.getOrDefault(operation.id(), Set.of());
      for (Scope scope : Scope.values()) {
        String tenant = scope == Scope.ADMIN ? null : one;
        if (needed.contains(scope)) {
          tests.add(
              DynamicTest.dynamicTest(
                  operation.id() + " takes " + scope.label(),
                  () -> assertThat(status(operation, valid.get(scope))).isIn(200, 201, 204, 404)));
        } else {
          tests.add(
              DynamicTest.dynamicTest(
                  operation.id() + " refuses " + scope.label(),
                  () -> assertThat(status(operation, valid.get(scope))).isEqualTo(403)));
        }
        tests.add(
            DynamicTest.dynamicTest(
                operation.id() + " refuses an expired key of " + scope.label(),
                () -> {
                  String expired =
                      keys.create(tenant, scope, Instant.now().minusSeconds(1)).token();
                  assertThat(status(operation, expired)).isEqualTo(401);
                }));
        tests.add(
            DynamicTest.dynamicTest(
                operation.id() + " refuses a revoked key of " + scope.label(),
                () -> {
                  ApiKeys.NewKey revoked = keys.create(tenant, scope, null);
                  keys.revoke(revoked.key().id());
                  assertThat(status(operation, revoked.token())).isEqualTo(401);
                }));
      }
      for (String none :
          new String[] {
            null,
            "",
            "tr_",
            "tr_aaaaaaaaaaaaaaaa_" + "0".repeat(64),
            String.valueOf(valid.get(Scope.READ)).replaceFirst(".$", "g")
          }) {
        tests.add(
            DynamicTest.dynamicTest(
                operation.id() + " refuses " + (none == null ? "none" : "'" + none + "'"),
                () -> assertThat(status(operation, none)).isEqualTo(401)));
      }
    }
    return tests.stream();
  }

  private static int status(Operation operation, @Nullable String key) {
    return serving.send(operation.request(key, "")).statusCode();
  }

  @Test
  void anotherTenant_isForbidden_alikeWhetherItExists() {
    String read = serving.key("asking", Scope.READ);
    serving.key("there", Scope.READ);
    for (Operation operation : operations()) {
      if (!Set.of("getUsage", "getValues", "getQuarantine").contains(operation.id())) {
        continue;
      }
      HttpResponse<String> there = serving.send(operation.request(read, "tenant=there"));
      HttpResponse<String> nowhere = serving.send(operation.request(read, "tenant=nowhere"));
      assertThat(there.statusCode()).as(operation.id()).isEqualTo(403);
      assertThat(nowhere.statusCode()).isEqualTo(403);
      assertThat(there.body()).isEqualTo(nowhere.body());
      assertThat(serving.send(operation.request(read, "tenant=asking")).statusCode())
          .isEqualTo(200);
    }
  }

  @Test
  void revocation_holdsOnAllServers_within5Seconds() throws InterruptedException {
    try (Serving other = serving.another(Map.of())) {
      String read = serving.key("revoked", Scope.READ);
      assertThat(serving.get("/v1/rollups", read).statusCode()).isEqualTo(200);
      assertThat(other.get("/v1/rollups", read).statusCode()).isEqualTo(200);
      HttpResponse<String> revoked =
          serving.send(serving.request("/v1/keys/" + read.split("_")[1], serving.admin).DELETE());
      assertThat(revoked.statusCode()).isEqualTo(204);
      Serving.await(
          5,
          "both refuse it",
          () ->
              other.get("/v1/rollups", read).statusCode() == 401
                  && serving.get("/v1/rollups", read).statusCode() == 401);
    }
  }

  @Test
  void keys_areShownOnce_andStoredAsHashes() {
    serving.post("/v1/tenants", serving.admin, "application/json", "{\"id\":\"shown\"}");
    HttpResponse<String> made =
        serving.post(
            "/v1/keys",
            serving.admin,
            "application/json",
            "{\"tenant\":\"shown\",\"scope\":\"read\",\"expires_at\":\"2099-01-01T00:00:00Z\"}");
    assertThat(made.statusCode()).isEqualTo(201);
    String key = Serving.json(made).get("key").asString();
    assertThat(key).matches("tr_[a-z0-9]{16}_[0-9a-f]{64}");
    String secret = key.split("_")[2];
    assertThat(serving.get("/v1/keys?tenant=shown", serving.admin).body())
        .contains(key.split("_")[1], "2099-01-01T00:00:00Z")
        .doesNotContain(secret);
    assertThat(
            serving.database.value(
                "select count(*) from tallyroll.api_key k where k::text like '%" + secret + "%'"))
        .isEqualTo("0");
  }

  @Test
  void badAdministration_getsOneClearLine() {
    assertThat(admin("/v1/tenants", "{\"id\":\"a b\"}")).startsWith("400").contains("letters");
    assertThat(admin("/v1/tenants", "{\"id\":\"x\",\"zone\":\"Asia/Kolkatta\"}"))
        .startsWith("400")
        .contains("Asia/Kolkata");
    assertThat(admin("/v1/tenants", "{\"id\":\"x\",\"colour\":1}")).startsWith("400");
    assertThat(admin("/v1/tenants", "{")).startsWith("400");
    assertThat(admin("/v1/keys", "{\"tenant\":\"nobody\",\"scope\":\"read\"}"))
        .startsWith("400")
        .contains("POST /v1/tenants");
    assertThat(admin("/v1/keys", "{\"tenant\":\"nobody\",\"scope\":\"write\"}"))
        .startsWith("400")
        .contains("ingest, read or admin");
    assertThat(admin("/v1/keys", "{\"tenant\":\"nobody\",\"scope\":\"admin\"}"))
        .startsWith("400")
        .contains("leave the tenant out");
    assertThat(
            admin(
                "/v1/keys",
                "{\"tenant\":\"x\",\"scope\":\"read\",\"expires_at\":\"2001-01-01T00:00:00Z\"}"))
        .startsWith("400")
        .contains("past");
    admin("/v1/tenants", "{\"id\":\"zoned\",\"zone\":\"Asia/Kolkata\"}");
    assertThat(admin("/v1/tenants", "{\"id\":\"zoned\",\"zone\":\"Asia/Kolkata\"}"))
        .startsWith("201");
    assertThat(admin("/v1/tenants", "{\"id\":\"zoned\"}")).startsWith("409");
  }

  private static String admin(String path, String body) {
    HttpResponse<String> answer = serving.post(path, serving.admin, "application/json", body);
    return answer.statusCode() + " " + answer.body();
  }
}
