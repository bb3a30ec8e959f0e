package dev.tallyroll.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import com.google.protobuf.ByteString;
import dev.tallyroll.postgres.access.Scope;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import java.net.URLEncoder;
import java.net.http.HttpRequest;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.slf4j.LoggerFactory;

/**
 * Valid bodies, changed at random from a seed: whatever comes of it, the answer is one that is
 * documented, and everything goes on. {@code -Dtallyroll.mutations=N} sends more.
 */
class MutationTest {
  private static final int MUTATIONS = Integer.getInteger("tallyroll.mutations", 20_000);
  private static final long SEED = Long.getLong("tallyroll.seed", 1);
  private static final int THREADS = 8;
  private static final Set<Integer> DOCUMENTED =
      Set.of(200, 201, 204, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 429);

  /** Pieces that break readers. */
  private static final List<String> PIECES =
      List.of(
          "\u0000",
          "\\u0000",
          "\\ud800",
          "1e999999",
          "-1e-999999",
          "9".repeat(400),
          "NaN",
          "null",
          "{",
          "[",
          "]",
          "}",
          "\"",
          "\\",
          "\uFEFF",
          "é",
          "\uD83D\uDE00",
          "[".repeat(100),
          "{\"a\":".repeat(60),
          "-0",
          "1.5",
          "true",
          "\"data\":",
          ",",
          "2026-13-45T99:99:99Z",
          "+999999999-01-01T00:00:00Z",
          "0001-01-01T00:00:00Z",
          "x".repeat(5_000),
          "' or 1=1 --",
          "%00",
          "%",
          "\r\n");

  private record Valid(String path, String type, ByteString body, List<String> headers) {
    Valid(String path, String type, byte[] body, List<String> headers) {
      this(path, type, ByteString.copyFrom(body), headers);
    }
  }

  private static List<Valid> valid() {
    String event =
        Serving.JSON.writeValueAsString(
            Serving.event(
                "m",
                Map.of(
                    "model",
                    "gpt-4o",
                    "input_tokens",
                    5,
                    "quantity",
                    1.25,
                    "duration_ms",
                    12.5,
                    "tags",
                    List.of("a", Map.of("b", 1)))));
    long end = Instant.now().toEpochMilli() * 1_000_000;
    byte[] spans =
        ExportTraceServiceRequest.newBuilder()
            .addResourceSpans(
                ResourceSpans.newBuilder()
                    .addScopeSpans(
                        ScopeSpans.newBuilder()
                            .addSpans(
                                Span.newBuilder()
                                    .setTraceId(
                                        ByteString.copyFrom(new byte[16], 0, 15)
                                            .concat(ByteString.copyFrom(new byte[] {1})))
                                    .setSpanId(
                                        ByteString.copyFrom(new byte[] {1, 2, 3, 4, 5, 6, 7, 8}))
                                    .setStartTimeUnixNano(end - 1_000_000)
                                    .setEndTimeUnixNano(end)
                                    .addAttributes(attribute("gen_ai.operation.name", "chat"))
                                    .addAttributes(attribute("gen_ai.request.model", "m")))))
            .build()
            .toByteArray();
    String json =
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"startTimeUnixNano\":\""
            + (end - 1_000)
            + "\",\"endTimeUnixNano\":\""
            + end
            + "\",\"attributes\":[{\"key\":\"gen_ai.usage.input_tokens\",\"value\":{\"intValue\":\"4\"}},{\"key\":\"a\",\"value\":{\"arrayValue\":{\"values\":[{\"doubleValue\":1.5},{\"kvlistValue\":{\"values\":[]}}]}}}]}]}]}]}";
    return List.of(
        new Valid(
            "/api/v1/events", "application/cloudevents+json", event.getBytes(UTF_8), List.of()),
        new Valid(
            "/api/v1/events",
            "application/cloudevents-batch+json",
            ("[" + event + "," + event.replace("\"m\"", "\"n\"") + "]").getBytes(UTF_8),
            List.of()),
        new Valid("/api/v1/events", "application/json", event.getBytes(UTF_8), List.of()),
        new Valid(
            "/api/v1/events",
            "application/json",
            "{\"model\":\"m\",\"input_tokens\":3}".getBytes(UTF_8),
            List.of(
                "ce-specversion",
                "1.0",
                "ce-id",
                "b",
                "ce-source",
                "s",
                "ce-type",
                "t",
                "ce-subject",
                "x")),
        new Valid("/v1/traces", "application/x-protobuf", spans, List.of()),
        new Valid("/v1/traces", "application/json", json.getBytes(UTF_8), List.of()),
        new Valid(
            "/v1/keys",
            "application/json",
            "{\"tenant\":\"mutated\",\"scope\":\"read\"}".getBytes(UTF_8),
            List.of()),
        new Valid(
            "/v1/tenants",
            "application/json",
            "{\"id\":\"mutated\",\"zone\":\"UTC\"}".getBytes(UTF_8),
            List.of()));
  }

  private static KeyValue attribute(String key, String value) {
    return KeyValue.newBuilder()
        .setKey(key)
        .setValue(AnyValue.newBuilder().setStringValue(value))
        .build();
  }

  private static final List<String> PARAMETERS =
      List.of(
          "measure",
          "by",
          "where",
          "tenant",
          "from",
          "to",
          "every",
          "zone",
          "top",
          "fill",
          "stale",
          "partial",
          "limit",
          "cursor",
          "dimension");

  private static final List<String> VALUES =
      List.of(
          "requests",
          "p95(duration_ms)",
          "errors/requests",
          "model",
          "model=gpt-4o",
          "model is null",
          "mutated",
          "2026-11-01",
          "2026-11-01T00:00:00Z",
          "1h",
          "1d",
          "1w",
          "all",
          "Asia/Kolkata",
          "3",
          "true",
          "99999999999",
          "-1");

  /** A question whose parameters are those there are, with values of any of them, or of none. */
  private static String query(Random random) {
    StringBuilder query =
        new StringBuilder(
            List.of(
                    "/v1/usage/llm_usage?",
                    "/v1/rollups/llm_usage/values?",
                    "/v1/quarantine?",
                    "/v1/keys?")
                .get(random.nextInt(4)));
    for (int i = random.nextInt(5); i >= 0; i--) {
      List<String> from = random.nextInt(3) == 0 ? PIECES : VALUES;
      query
          .append(PARAMETERS.get(random.nextInt(PARAMETERS.size())))
          .append('=')
          .append(URLEncoder.encode(from.get(random.nextInt(from.size())), UTF_8))
          .append('&');
    }
    return query.toString();
  }

  private static byte[] mutated(byte[] body, Random random) {
    byte[] bytes = body;
    for (int times = 1 + random.nextInt(4); times > 0; times--) {
      int at = bytes.length == 0 ? 0 : random.nextInt(bytes.length);
      switch (random.nextInt(7)) {
        case 0 -> {
          bytes = bytes.clone();
          if (bytes.length > 0) {
            bytes[at] = (byte) random.nextInt(256);
          }
        }
        case 1 -> bytes = Arrays.copyOf(bytes, at);
        case 2 -> bytes = spliced(bytes, at, at + random.nextInt(10), new byte[0]);
        case 3 -> {
          int end = Math.min(bytes.length, at + random.nextInt(40));
          bytes = spliced(bytes, at, at, Arrays.copyOfRange(bytes, at, Math.max(at, end)));
        }
        case 4, 5 ->
            bytes =
                spliced(
                    bytes,
                    at,
                    at + random.nextInt(3),
                    PIECES.get(random.nextInt(PIECES.size())).getBytes(UTF_8));
        default -> {
          byte[] noise = new byte[random.nextInt(20)];
          random.nextBytes(noise);
          bytes = spliced(bytes, at, at, noise);
        }
      }
    }
    return bytes;
  }

  private static byte[] spliced(byte[] bytes, int from, int to, byte[] between) {
    int end = Math.min(bytes.length, to);
    byte[] out = new byte[from + between.length + bytes.length - end];
    System.arraycopy(bytes, 0, out, 0, from);
    System.arraycopy(between, 0, out, from, between.length);
    System.arraycopy(bytes, end, out, from + between.length, bytes.length - end);
    return out;
  }

  @Test
  void mutatedBodies_areAnsweredAsDocumented_andEverythingGoesOn() throws Exception {
    ListAppender<ILoggingEvent> log = new ListAppender<>();
    Logger root = (Logger) LoggerFactory.getLogger("dev.tallyroll");
    log.start();
    root.addAppender(log);
    try (Serving serving = Serving.start()) {
      String key = serving.key("mutated", Scope.INGEST);
      List<Valid> valid = valid();
      AtomicIntegerArray seen = new AtomicIntegerArray(600);
      ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();
      try (ExecutorService pool = Executors.newFixedThreadPool(THREADS)) {
        for (int thread = 0; thread < THREADS; thread++) {
          long first = SEED * 1_000_003L + thread;
          pool.execute(() -> {
            for (int i = 0; i < MUTATIONS / THREADS; i++) {
              long seed = first + (long) i * THREADS;
              Random random = new Random(seed);
              if (random.nextInt(10) == 0) {
                String query = query(random);
                var answer = serving.get(query, serving.admin);
                if (!DOCUMENTED.contains(answer.statusCode())) {
                  wrong.add(seed + " at " + query + ": " + answer.statusCode() + answer.body());
                }
                continue;
              }
              Valid from = valid.get(random.nextInt(valid.size()));
              byte[] body = mutated(from.body().toByteArray(), random);
              boolean isAdmin = from.path().matches("/v1/(keys|tenants)");
              HttpRequest.Builder request =
                  serving
                      .request(from.path(), isAdmin ? serving.admin : key)
                      .header("Content-Type", from.type())
                      .POST(HttpRequest.BodyPublishers.ofByteArray(body));
              if (!from.headers().isEmpty()) {
                request.headers(from.headers().toArray(String[]::new));
              }
              var answer = serving.sendForBytes(request);
              String text = new String(answer.body(), UTF_8);
              if (!DOCUMENTED.contains(answer.statusCode())
                  || text.contains("Exception")
                  || text.contains("\tat ")) {
                wrong.add(seed + " at " + from.path() + ": " + answer.statusCode() + " " + text);
              } else {
                seen.incrementAndGet(answer.statusCode());
              }
            }
          });
        }
        pool.shutdown();
        assertThat(pool.awaitTermination(20, TimeUnit.MINUTES)).isTrue();
      }
      assertThat(wrong).isEmpty();
      // Neither did all fail, nor was all accepted, or nothing was tried.
      assertThat(seen.get(204)).isGreaterThan(MUTATIONS / 100);
      assertThat(seen.get(400)).isGreaterThan(MUTATIONS / 4);
      assertThat(serving.postEvents(key, Serving.event("after", Map.of())).statusCode())
          .isEqualTo(204);
      assertThat(log.list.stream().filter(one -> one.getThrowableProxy() != null).toList())
          .isEmpty();
      assertThat(new ArrayList<>(log.list).stream().map(ILoggingEvent::getFormattedMessage))
          .noneMatch(line -> line.contains("internal error") || line.contains(key));
      System.gc();
      long used = Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
      assertThat(used).isLessThan(500L << 20);
    } finally {
      root.detachAppender(log);
    }
  }
}
