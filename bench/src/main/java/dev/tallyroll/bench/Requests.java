package dev.tallyroll.bench;

import com.google.protobuf.ByteString;
import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventColumn;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.events.EventBatch;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What is sent: events of a seed, each once, as requests with keys, or as what an endpoint makes of
 * them. For one thread.
 */
final class Requests {
  private static final int SPANS = 500;

  private final Random random = new Random(42);
  private final AtomicLong ids = new AtomicLong();

  /** Requests of so many events each, of the last seconds. */
  List<byte[]> cloudEvents(List<String> keys, int size, int count, Duration back) {
    List<byte[]> requests = new ArrayList<>();
    Instant now = Instant.now();
    for (int made = 0; made < count; made += size) {
      StringBuilder body = new StringBuilder();
      for (int i = 0; i < size; i++) {
        body.append(i == 0 ? "" : ",")
            .append(
                event(ids.incrementAndGet(), now.minusMillis(random.nextLong(back.toMillis()))));
      }
      requests.add(
          HttpLoad.post(
              "/api/v1/events",
              keys.get(random.nextInt(keys.size())),
              size == 1 ? "application/cloudevents+json" : "application/cloudevents-batch+json",
              (size == 1 ? body.toString() : "[" + body + "]").getBytes(StandardCharsets.UTF_8)));
    }
    return requests;
  }

  /** Requests of {@link #SPANS} spans each, in protobuf, that ended in the last second. */
  List<byte[]> spans(List<String> keys, int count) {
    List<byte[]> requests = new ArrayList<>();
    for (int made = 0; made < count; made += SPANS) {
      ScopeSpans.Builder scope = ScopeSpans.newBuilder();
      long now = System.currentTimeMillis() * 1_000_000;
      for (int i = 0; i < SPANS; i++) {
        long id = ids.incrementAndGet();
        long end = now - random.nextInt(1_000_000_000);
        scope.addSpans(
            Span.newBuilder()
                .setTraceId(
                    ByteString.copyFrom(ByteBuffer.allocate(16).putLong(id).putLong(1).array()))
                .setSpanId(ByteString.copyFrom(ByteBuffer.allocate(8).putLong(id).array()))
                .setName("chat")
                .setStartTimeUnixNano(end - random.nextInt(900_000_000))
                .setEndTimeUnixNano(end)
                .addAttributes(text("gen_ai.operation.name", "chat"))
                .addAttributes(text("gen_ai.provider.name", "openai"))
                .addAttributes(text("gen_ai.request.model", "gpt-" + random.nextInt(6)))
                .addAttributes(text("gen_ai.conversation.id", "s-" + random.nextInt(5_000)))
                .addAttributes(text("user.id", "u-" + random.nextInt(500)))
                .addAttributes(text("server.address", "api.example.com"))
                .addAttributes(number("gen_ai.usage.input_tokens", random.nextInt(4_000)))
                .addAttributes(number("gen_ai.usage.output_tokens", random.nextInt(900))));
      }
      requests.add(
          HttpLoad.post(
              "/v1/traces",
              keys.get(random.nextInt(keys.size())),
              "application/x-protobuf",
              ExportTraceServiceRequest.newBuilder()
                  .addResourceSpans(ResourceSpans.newBuilder().addScopeSpans(scope))
                  .build()
                  .toByteArray()));
    }
    return requests;
  }

  private static KeyValue text(String key, String value) {
    return KeyValue.newBuilder()
        .setKey(key)
        .setValue(AnyValue.newBuilder().setStringValue(value))
        .build();
  }

  private static KeyValue number(String key, long value) {
    return KeyValue.newBuilder()
        .setKey(key)
        .setValue(AnyValue.newBuilder().setIntValue(value))
        .build();
  }

  /** Batches of so many events each, as endpoints hand them over. */
  List<EventBatch> read(int tenants, int size, int count, Duration back) {
    long now = Times.micros(Instant.now());
    List<EventBatch> batches = new ArrayList<>();
    for (int made = 0; made < count; made += size) {
      EventBatch batch = new EventBatch("t" + random.nextInt(tenants), now, 0);
      for (int i = 0; i < size; i++) {
        batch.add(event(ids.incrementAndGet(), now, back));
      }
      batches.add(batch);
    }
    return batches;
  }

  /** How many events a request holds, by what each of them holds once. */
  static long eventsOf(byte[] request) {
    String text = new String(request, StandardCharsets.ISO_8859_1);
    return text.contains("x-protobuf")
        ? SPANS
        : (text.length() - text.replace("\"specversion\"", "").length()) / 13;
  }

  private String event(long id, Instant time) {
    return "{\"specversion\":\"1.0\",\"id\":\"e-"
        + id
        + "\",\"source\":\"bench/"
        + id % 7
        + "\",\"type\":\"llm.call\",\"subject\":\"customer-"
        + id % 50
        + "\",\"time\":\""
        + time
        + "\",\"data\":{\"project_id\":\"p-"
        + random.nextInt(5)
        + "\",\"user_id\":\"u-"
        + random.nextInt(500)
        + "\",\"session_id\":\"s-"
        + random.nextInt(5_000)
        + "\",\"provider\":\"openai\",\"model\":\"gpt-"
        + random.nextInt(6)
        + "\",\"operation\":\"chat\",\"status\":\""
        + (random.nextInt(50) == 0 ? "error" : "ok")
        + "\",\"duration_ms\":"
        + Math.round(Math.exp(6 + random.nextGaussian()) * 100) / 100.0
        + ",\"ttft_ms\":"
        + random.nextInt(900)
        + ",\"input_tokens\":"
        + random.nextInt(4_000)
        + ",\"output_tokens\":"
        + random.nextInt(900)
        + ",\"cache_read_tokens\":"
        + random.nextInt(100)
        + ",\"region\":\"eu-"
        + random.nextInt(3)
        + "\"}}";
  }

  /** What {@link #event(long, Instant)} is once it is read. */
  private Event event(long id, long now, Duration back) {
    Map<EventColumn, Object> values = new EnumMap<>(EventColumn.class);
    values.put(EventColumn.PROJECT_ID, "p-" + random.nextInt(5));
    values.put(EventColumn.USER_ID, "u-" + random.nextInt(500));
    values.put(EventColumn.SESSION_ID, "s-" + random.nextInt(5_000));
    values.put(EventColumn.PROVIDER, "openai");
    values.put(EventColumn.MODEL, "gpt-" + random.nextInt(6));
    values.put(EventColumn.OPERATION, "chat");
    values.put(EventColumn.STATUS, random.nextInt(50) == 0 ? "error" : "ok");
    values.put(
        EventColumn.DURATION_MS, Math.round(Math.exp(6 + random.nextGaussian()) * 100) / 100.0);
    values.put(EventColumn.TTFT_MS, (double) random.nextInt(900));
    values.put(EventColumn.INPUT_TOKENS, (long) random.nextInt(4_000));
    values.put(EventColumn.OUTPUT_TOKENS, (long) random.nextInt(900));
    values.put(EventColumn.CACHE_READ_TOKENS, (long) random.nextInt(100));
    return new Event(
        "bench/" + id % 7,
        "e-" + id,
        now - random.nextLong(back.toNanos() / 1_000),
        "llm.call",
        "customer-" + id % 50,
        values,
        "{\"region\": \"eu-" + random.nextInt(3) + "\"}");
  }
}
