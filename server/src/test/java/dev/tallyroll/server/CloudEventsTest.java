package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.Scope;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** CloudEvents over HTTP. */
class CloudEventsTest {
  private static Serving serving;

  @BeforeAll
  static void start() {
    serving = Serving.start();
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  @Test
  void event_isCountedAtOnce_andOnce() {
    String key = serving.key("once", Scope.INGEST);
    String read = serving.key("once", Scope.READ);
    Map<String, Object> event =
        Serving.event("1", Map.of("model", "gpt-4o", "input_tokens", 100, "output_tokens", 20));
    for (int i = 0; i < 3; i++) {
      HttpResponse<String> answer = serving.postEvents(key, event);
      assertThat(answer.statusCode()).as(answer.body()).isEqualTo(204);
      assertThat(answer.body()).isEmpty();
      assertThat(
              serving.usage(
                  read, "llm_usage?measure=requests&measure=input_tokens&every=all&by=model"))
          .singleElement()
          .satisfies(row ->
              assertThat(row)
                  .containsEntry("tenant", "once")
                  .containsEntry("model", "gpt-4o")
                  .containsEntry("requests", 1)
                  .containsEntry("input_tokens", 100));
    }
  }

  @Test
  void batch_withOneBadEvent_storesNothing_andTellsEachFault() {
    String key = serving.key("atomic", Scope.INGEST);
    Map<String, Object> bad = Serving.event("2", Map.of("model", "x"));
    bad.remove("type");
    HttpResponse<String> answer =
        serving.postEvents(key, List.of(Serving.event("1", Map.of("model", "x")), bad));
    assertThat(answer.statusCode()).isEqualTo(400);
    assertThat(answer.headers().firstValue("Content-Type")).contains("application/problem+json");
    assertThat(Serving.json(answer).get("errors").toString())
        .isEqualTo("[{\"index\":1,\"field\":\"type\",\"detail\":\"is missing\"}]");
    assertThat(
            serving.database.value("select count(*) from tallyroll.event where tenant = 'atomic'"))
        .isEqualTo("0");
    assertThat(
            serving.database.value(
                "select count(*) from tallyroll.event_key where tenant = 'atomic'"))
        .isEqualTo("0");
  }

  @Test
  void timesOfRfc3339_areTaken_andWhatSendersMakeOfIt() {
    String key = serving.key("times", Scope.INGEST);
    String day = Instant.now().toString().substring(0, 10);
    List<String> times =
        List.of(
            "T00:00:01Z", "T00:00:01.123456789+00:00", "T00:00:01-00:00", "T00:00Z", "t00:00:01z");
    for (int i = 0; i < times.size(); i++) {
      Map<String, Object> event = Serving.event("t" + i, Map.of());
      event.put("time", day + times.get(i));
      assertThat(refused(key, event)).as(times.get(i)).startsWith("204");
    }
    assertThat(
            serving.database.value(
                "select string_agg(distinct extract(epoch from time - date_trunc('day', time))::text, ' ') from tallyroll.event where tenant = 'times'"))
        .isEqualTo("0.000000 1.000000 1.123456");
    for (String wrong : List.of("T25:00:01Z", "T00:00:01", " noon")) {
      Map<String, Object> event = Serving.event("wrong", Map.of());
      event.put("time", day + wrong);
      assertThat(refused(key, event)).as(wrong).startsWith("400").contains("RFC 3339");
    }
  }

  /** CloudEvents 1.0.2 requires all of them but the subject. */
  @Test
  void eventOfTheRequiredAttributesAlone_isTaken_andOneThatLacksAnyIsRefused() {
    String key = serving.key("least", Scope.INGEST);
    Map<String, Object> least =
        Map.of("specversion", "1.0", "id", "1", "source", "s", "type", "t", "subject", "x");
    assertThat(refused(key, least)).startsWith("204");
    for (String name : least.keySet()) {
      Map<String, Object> less = new HashMap<>(least);
      less.put("id", "2");
      less.remove(name);
      assertThat(refused(key, less)).startsWith("400").contains("\"" + name + "\"", "is missing");
    }
    HttpResponse<String> binary =
        serving.send(
            serving
                .request("/api/v1/events", key)
                .headers("ce-specversion", "1.0", "ce-id", "3", "ce-source", "s", "ce-type", "t")
                .header("ce-subject", "y")
                .POST(HttpRequest.BodyPublishers.noBody()));
    assertThat(binary.statusCode()).as(binary.body()).isEqualTo(204);
    assertThat(
            serving.database.value(
                "select string_agg(id || subject, ' ' order by id) from tallyroll.event where tenant = 'least'"))
        .isEqualTo("1x 3y");
  }

  private static String refused(String key, Map<String, Object> event) {
    HttpResponse<String> answer = serving.postEvents(key, event);
    return answer.statusCode() + " " + answer.body();
  }

  private static Map<String, Object> with(String field, Object value) {
    Map<String, Object> event = Serving.event("edge", Map.of());
    event.put(field, value);
    return event;
  }

  @Test
  void whatCannotBeAnEvent_isRefused_andClaimsNoKey() {
    String key = serving.key("edges", Scope.INGEST);
    Instant now = Instant.now();
    assertThat(refused(key, with("data", List.of()))).startsWith("400").contains("\"data\"");
    assertThat(refused(key, with("data", "text"))).startsWith("400");
    assertThat(refused(key, with("specversion", "0.3"))).startsWith("400").contains("is not 1.0");
    assertThat(refused(key, with("time", "yesterday"))).startsWith("400").contains("RFC 3339");
    assertThat(refused(key, with("time", now.plus(Duration.ofHours(25)).toString())))
        .startsWith("400")
        .contains("24 h ahead");
    assertThat(refused(key, with("time", now.minus(Duration.ofDays(36)).toString())))
        .startsWith("400")
        .contains("too-old");
    assertThat(refused(key, with("id", "x".repeat(513)))).startsWith("400").contains("513 bytes");
    assertThat(refused(key, with("subject", ""))).startsWith("400").contains("is empty");
    assertThat(refused(key, with("data", Map.of("model", "x".repeat(513))))).startsWith("400");
    assertThat(refused(key, with("data", Map.of("a", "x".repeat(5_000))))).startsWith("400");
    assertThat(refused(key, with("data", Map.of("a", "\u0000")))).startsWith("400");
    Map<String, Object> many = new HashMap<>();
    for (int i = 0; i < 129; i++) {
      many.put("a" + i, i);
    }
    assertThat(refused(key, with("data", many))).startsWith("400").contains("more than 128");
    Object deep = "x";
    for (int i = 0; i < 40; i++) {
      deep = List.of(deep);
    }
    assertThat(refused(key, with("data", Map.of("a", deep)))).startsWith("400").contains("deeper");
    assertThat(refused(key, Serving.event("edge", Map.of()))).startsWith("204");
    assertThat(
            serving.database.value("select count(*) from tallyroll.event where tenant = 'edges'"))
        .isEqualTo("1");
  }

  @Test
  void membersOfData_fillColumnsOfTheirType_andAreAttributesOtherwise() {
    String key = serving.key("typed", Scope.INGEST);
    String body =
        """
        {"specversion":"1.0","id":"1","source":"s","type":"t","subject":"x","data":{"model":"m","input_tokens":"12","output_tokens":12.0,
         "cache_read_tokens":1.5,"quantity":12345678901234567890.123456789,"duration_ms":1e3,"provider":7,"unit":null,"nested":{"a":[1,{"b":null}]},"big":1e400}}
        """;
    assertThat(serving.post("/api/v1/events", key, "application/json", body).statusCode())
        .isEqualTo(204);
    assertThat(
            serving.database.value(
                "select row(model, input_tokens, output_tokens, cache_read_tokens, quantity, duration_ms, provider, unit)::text from tallyroll.event where tenant = 'typed'"))
        .isEqualTo("(m,,12,,12345678901234567890.123456789,1000,,)");
    assertThat(
            serving.database.value(
                "select (attributes - 'big')::text from tallyroll.event where tenant = 'typed'"))
        .isEqualTo(
            "{\"nested\": {\"a\": [1, {\"b\": null}]}, \"provider\": 7, \"input_tokens\": \"12\", \"cache_read_tokens\": 1.5}");
  }

  @Test
  void sameEventTwiceInARequest_isOne_theFirst() {
    String key = serving.key("twice", Scope.INGEST);
    assertThat(
            serving
                .postEvents(
                    key,
                    List.of(
                        Serving.event("1", Map.of("input_tokens", 1)),
                        Serving.event("1", Map.of("input_tokens", 2)),
                        Serving.event("2", Map.of("input_tokens", 4))))
                .statusCode())
        .isEqualTo(204);
    assertThat(
            serving.database.value(
                "select count(*) || ' ' || sum(input_tokens) from tallyroll.event where tenant = 'twice'"))
        .isEqualTo("2 5");
  }

  @Test
  void groupThatTheDatabaseRefuses_isSplit_soThatOnlyOneRequestFails() throws Exception {
    // What no check has foreseen: a value that the log refuses.
    serving.database.run(
        "alter table tallyroll.event add constraint unforeseen check (unit is distinct from 'bad') not valid");
    try (ExecutorService senders = Executors.newFixedThreadPool(16)) {
      String good = serving.key("good", Scope.INGEST);
      String bad = serving.key("bad", Scope.INGEST);
      List<Future<Integer>> answers = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        boolean isBad = i % 20 == 0;
        Map<String, Object> event =
            Serving.event("s" + i, isBad ? Map.of("unit", "bad") : Map.of("unit", "fine"));
        answers.add(
            senders.submit(() -> serving.postEvents(isBad ? bad : good, event).statusCode()));
      }
      for (int i = 0; i < 200; i++) {
        assertThat(answers.get(i).get()).isEqualTo(i % 20 == 0 ? 400 : 204);
      }
      assertThat(
              serving.database.value(
                  "select count(*) filter (where tenant = 'good') || ' ' || count(*) filter (where tenant = 'bad') from tallyroll.event"))
          .isEqualTo("190 0");
      assertThat(
              serving.database.value(
                  "select count(*) from tallyroll.event_key where tenant = 'bad'"))
          .isEqualTo("0");
    } finally {
      serving.database.run("alter table tallyroll.event drop constraint unforeseen");
    }
  }

  @Test
  void dayThatWasDropped_isMadeAgain() {
    String key = serving.key("dropped", Scope.INGEST);
    Instant back = Instant.now().minus(Duration.ofDays(20));
    Map<String, Object> event = Serving.event("1", Map.of());
    event.put("time", back.toString());
    assertThat(serving.postEvents(key, event).statusCode()).isEqualTo(204);
    String day = back.toString().substring(0, 10).replace("-", "");
    serving.database.run("drop table tallyroll.event_p" + day);
    event.put("id", "2");
    assertThat(serving.postEvents(key, event).statusCode()).isEqualTo(204);
    assertThat(serving.database.value("select id from tallyroll.event where tenant = 'dropped'"))
        .isEqualTo("2");
  }
}
