package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.settings.Setting;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** A server on a database of its own, and a client for it. Must be closed. */
final class Serving implements AutoCloseable {
  static final String ROLE = "tallyroll_test_app";
  static final JsonMapper JSON = JsonMapper.builder().build();

  final TestDatabase database;
  final TallyrollServer server;
  final String admin;
  private final HttpClient client =
      HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
  private final boolean ownsDatabase;

  private Serving(TestDatabase database, boolean ownsDatabase, Map<Setting, String> settings) {
    this.database = database;
    this.ownsDatabase = ownsDatabase;
    makeRole(database);
    Map<Setting, String> all = new HashMap<>();
    all.put(Setting.LISTEN, "127.0.0.1:0");
    all.put(Setting.OTLP_LISTEN, "127.0.0.1:0");
    all.putAll(settings);
    this.server =
        TallyrollServer.start(
            ServerSettings.of(all, Map.of(), null, ""),
            database.source(ROLE, "secret"),
            database.newSource(),
            InstantSource.system());
    this.admin =
        server
            .firstAdminKey()
            .orElseGet(
                () -> new ApiKeys(database.database()).create(null, Scope.ADMIN, null).token());
  }

  static void makeRole(TestDatabase database) {
    database.makeRole(ROLE, "login noinherit password 'secret'");
  }

  static Serving start() {
    return start(Map.of());
  }

  static Serving start(Map<Setting, String> settings) {
    return new Serving(TestDatabase.create(), true, settings);
  }

  /** Another server on the same database. */
  Serving another(Map<Setting, String> settings) {
    return new Serving(database, false, settings);
  }

  /** A key of a tenant, which is made if it is not there. */
  String key(String tenant, Scope scope) {
    new Tenants(database.database()).create(tenant, null);
    return new ApiKeys(database.database()).create(tenant, scope, null).token();
  }

  URI uri(String path) {
    return URI.create("http://127.0.0.1:" + server.port() + path);
  }

  HttpRequest.Builder request(String path, @Nullable String key) {
    HttpRequest.Builder request = HttpRequest.newBuilder(uri(path)).timeout(Duration.ofSeconds(60));
    return key == null ? request : request.header("Authorization", "Bearer " + key);
  }

  HttpResponse<String> send(HttpRequest.Builder request) {
    try {
      return client.send(request.build(), HttpResponse.BodyHandlers.ofString());
    } catch (IOException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  HttpResponse<byte[]> sendForBytes(HttpRequest.Builder request) {
    try {
      return client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    } catch (IOException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  HttpResponse<String> get(String path, @Nullable String key) {
    return send(request(path, key).GET());
  }

  HttpResponse<String> post(String path, @Nullable String key, String type, String body) {
    return send(
        request(path, key)
            .header("Content-Type", type)
            .POST(HttpRequest.BodyPublishers.ofString(body)));
  }

  HttpResponse<String> postEvents(@Nullable String key, Object events) {
    return post("/api/v1/events", key, "application/json", JSON.writeValueAsString(events));
  }

  /** An event with the least that it needs, and data. */
  static Map<String, Object> event(String id, Map<String, Object> data) {
    Map<String, Object> event = new HashMap<>();
    event.put("specversion", "1.0");
    event.put("id", id);
    event.put("source", "test");
    event.put("type", "llm.call");
    event.put("subject", "somebody");
    event.put("data", data);
    return event;
  }

  /** The rows of an answer. */
  List<Map<String, Object>> usage(String key, String query) {
    HttpResponse<String> answer = get("/v1/usage/" + query, key);
    if (answer.statusCode() != 200) {
      throw new AssertionError(answer.statusCode() + " " + answer.body());
    }
    JsonNode data = JSON.readTree(answer.body()).get("data");
    return JSON.convertValue(data, new tools.jackson.core.type.TypeReference<>() {});
  }

  /** Looks again and again until something holds, and fails if it does not by then. */
  static void await(int seconds, String what, BooleanSupplier holds) throws InterruptedException {
    Instant end = Instant.now().plusSeconds(seconds);
    while (!holds.getAsBoolean()) {
      assertThat(Instant.now()).as("by then %s", what).isBefore(end);
      Thread.sleep(100);
    }
  }

  static JsonNode json(HttpResponse<String> answer) {
    return JSON.readTree(answer.body());
  }

  @Override
  public void close() {
    client.close();
    server.close();
    if (ownsDatabase) {
      database.close();
    }
  }
}
