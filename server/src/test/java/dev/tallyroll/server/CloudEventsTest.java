package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.Scope;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
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
}
