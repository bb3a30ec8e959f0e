package dev.tallyroll.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import com.google.protobuf.ByteString;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.Code;
import com.google.rpc.Status;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.server.settings.Setting;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.resource.v1.Resource;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.zip.GZIPOutputStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** OpenTelemetry's protocol over HTTP. */
class TracesTest {
  private static final String PROTOBUF = "application/x-protobuf";
  private static Serving serving;

  @BeforeAll
  static void start() {
    serving = Serving.start();
  }

  @AfterAll
  static void stop() {
    serving.close();
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

  /** A call of a model that took 250 ms and ended a second ago. */
  private static Span.Builder call(long id) {
    long end = Instant.now().minusSeconds(1).toEpochMilli() * 1_000_000;
    return Span.newBuilder()
        .setTraceId(ByteString.copyFrom(ByteBuffer.allocate(16).putLong(7).putLong(id).array()))
        .setSpanId(ByteString.copyFrom(ByteBuffer.allocate(8).putLong(id).array()))
        .setName("chat gpt-4o")
        .setStartTimeUnixNano(end - 250_000_000)
        .setEndTimeUnixNano(end)
        .addAttributes(text("gen_ai.operation.name", "chat"))
        .addAttributes(text("gen_ai.provider.name", "openai"))
        .addAttributes(text("gen_ai.request.model", "gpt-4o"))
        .addAttributes(number("gen_ai.usage.input_tokens", 100))
        .addAttributes(number("gen_ai.usage.output_tokens", 10));
  }

  private static ExportTraceServiceRequest request(Span... spans) {
    return ExportTraceServiceRequest.newBuilder()
        .addResourceSpans(
            ResourceSpans.newBuilder()
                .setResource(Resource.newBuilder().addAttributes(text("service.name", "shop")))
                .addScopeSpans(ScopeSpans.newBuilder().addAllSpans(List.of(spans))))
        .build();
  }

  private static HttpResponse<byte[]> post(
      @Nullable String key, String type, byte[] body, String... headers) {
    HttpRequest.Builder request =
        serving
            .request("/v1/traces", key)
            .header("Content-Type", type)
            .POST(HttpRequest.BodyPublishers.ofByteArray(body));
    if (headers.length > 0) {
      request.headers(headers);
    }
    return serving.sendForBytes(request);
  }

  private static ExportTraceServiceResponse sent(String key, Span... spans) throws IOException {
    HttpResponse<byte[]> answer = post(key, PROTOBUF, request(spans).toByteArray());
    assertThat(answer.statusCode()).isEqualTo(200);
    assertThat(answer.headers().firstValue("Content-Type")).contains(PROTOBUF);
    return ExportTraceServiceResponse.parseFrom(answer.body());
  }

  @Test
  void openTelemetrySdk_exportsCalls_onBothPorts() {
    String ingest = serving.key("sdk", Scope.INGEST);
    for (int port : List.of(serving.server.port(), serving.server.otlpPort().orElseThrow())) {
      OtlpHttpSpanExporter exporter =
          OtlpHttpSpanExporter.builder()
              .setEndpoint("http://127.0.0.1:" + port + "/v1/traces")
              .addHeader("Authorization", "Bearer " + ingest)
              .setCompression("gzip")
              .build();
      try (SdkTracerProvider provider =
          SdkTracerProvider.builder()
              .addSpanProcessor(BatchSpanProcessor.builder(exporter).build())
              .build()) {
        Tracer tracer = provider.get("test");
        for (int i = 0; i < 50; i++) {
          tracer
              .spanBuilder("chat")
              .setSpanKind(SpanKind.CLIENT)
              .setAllAttributes(
                  Attributes.builder()
                      .put("gen_ai.operation.name", "chat")
                      .put("gen_ai.provider.name", "anthropic")
                      .put("gen_ai.request.model", "claude")
                      .put("gen_ai.usage.input_tokens", 3)
                      .put("gen_ai.usage.cache_read_input_tokens", 7)
                      .put("gen_ai.usage.output_tokens", 2)
                      .build())
              .startSpan()
              .end();
          tracer.spanBuilder("GET /").startSpan().end();
        }
        CompletableResultCode flushed = provider.forceFlush().join(20, TimeUnit.SECONDS);
        assertThat(flushed.isSuccess()).isTrue();
      }
    }
    assertThat(
            serving.usage(
                serving.key("sdk", Scope.READ),
                "llm_usage?measure=requests&measure=input_tokens&measure=cache_read_tokens&measure=output_tokens&by=provider&every=all"))
        .singleElement()
        .satisfies(row ->
            assertThat(row)
                .containsEntry("provider", "anthropic")
                .containsEntry("requests", 100)
                .containsEntry("input_tokens", 1000)
                .containsEntry("cache_read_tokens", 700)
                .containsEntry("output_tokens", 200));
  }

  @Test
  void span_isStoredOnce_underTraceAndSpanId_withoutWhatWasSaid() throws IOException {
    String key = serving.key("span", Scope.INGEST);
    Span span =
        call(1)
            .addAttributes(text("gen_ai.input.messages", "a secret"))
            .addAttributes(text("long", "x".repeat(5_000)))
            .addAttributes(text("region", "eu"))
            .build();
    for (int i = 0; i < 2; i++) {
      assertThat(sent(key, span, span).hasPartialSuccess()).isFalse();
    }
    assertThat(
            serving.database.value(
                "select count(*) || ' ' || min(source) || ' ' || min(id) || ' ' || min(type) || ' ' || min(duration_ms) || ' ' || min(status)"
                    + " from tallyroll.event where tenant = 'span'"))
        .isEqualTo(
            "1 otlp 00000000000000070000000000000001-0000000000000001 gen_ai.inference 250 ok");
    assertThat(
            serving.database.value("select attributes from tallyroll.event where tenant = 'span'"))
        .isEqualTo(
            "{\"region\": \"eu\", \"span.name\": \"chat gpt-4o\", \"service.name\": \"shop\", \"gen_ai.request.model\": \"gpt-4o\", \"tallyroll.dropped_attributes\": 2}");
  }

  @Test
  void faultySpan_isAPartialSuccess_andGoesToQuarantine() throws IOException {
    String key = serving.key("faulty", Scope.INGEST);
    Span noId = call(2).clearSpanId().addAttributes(text("gen_ai.prompt", "a secret")).build();
    Span old =
        call(3)
            .setEndTimeUnixNano(Instant.now().minus(Duration.ofDays(40)).toEpochMilli() * 1_000_000)
            .build();
    ExportTraceServiceResponse answer = sent(key, noId, call(4).build(), old);
    assertThat(answer.getPartialSuccess().getRejectedSpans()).isEqualTo(2);
    assertThat(answer.getPartialSuccess().getErrorMessage())
        .isEqualTo("2 spans are in quarantine; the first: span_id has 0 bytes, not 8");
    HttpResponse<String> quarantine =
        serving.get("/v1/quarantine", serving.key("faulty", Scope.READ));
    assertThat(Serving.json(quarantine).get("data")).hasSize(2);
    assertThat(quarantine.body())
        .contains("span_id has 0 bytes")
        .contains("too-old")
        .contains("gpt-4o")
        .doesNotContain("a secret");
    assertThat(
            serving.database.value("select count(*) from tallyroll.event where tenant = 'faulty'"))
        .isEqualTo("1");
  }

  @Test
  void json_hasIdsInHex_andLongsAsTextOrNumbers() throws IOException {
    String key = serving.key("json", Scope.INGEST);
    long end = Instant.now().toEpochMilli() * 1_000_000;
    String body =
        """
        {"resourceSpans":[{"scopeSpans":[{"spans":[
          {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","name":"chat",
           "startTimeUnixNano":"%d","endTimeUnixNano":"%d","kind":3,"unknown":{"a":[1]},
           "attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},
             {"key":"gen_ai.usage.input_tokens","value":{"intValue":"41"}},
             {"key":"gen_ai.usage.output_tokens","value":{"intValue":1}}],
           "status":{"code":2}}]}]}]}
        """
            .formatted(end - 5_000_000, end);
    HttpResponse<byte[]> answer = post(key, "application/json", body.getBytes(UTF_8));
    assertThat(answer.statusCode()).isEqualTo(200);
    assertThat(answer.headers().firstValue("Content-Type")).contains("application/json");
    assertThat(new String(answer.body(), UTF_8)).isEqualTo("{}");
    assertThat(
            serving.database.value(
                "select id || ' ' || input_tokens || ' ' || output_tokens || ' ' || status from tallyroll.event where tenant = 'json'"))
        .isEqualTo("5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174 41 1 error");
  }

  @Test
  void protobufAndItsJsonForm_areTheSameSpan() throws IOException {
    String key = serving.key("forms", Scope.INGEST);
    Span span = call(5).build();
    sent(key, span);
    String json =
        JsonFormat.printer()
            .print(request(span))
            .replaceAll(
                "\"traceId\": \"[^\"]*\"", "\"traceId\": \"00000000000000070000000000000005\"")
            .replaceAll("\"spanId\": \"[^\"]*\"", "\"spanId\": \"0000000000000005\"");
    assertThat(post(key, "application/json", json.getBytes(UTF_8)).statusCode()).isEqualTo(200);
    assertThat(
            serving.database.value("select count(*) from tallyroll.event where tenant = 'forms'"))
        .isEqualTo("1");
  }

  @Test
  void emptyRequest_isASuccess() throws IOException {
    String key = serving.key("empty", Scope.INGEST);
    assertThat(post(key, PROTOBUF, new byte[0]).statusCode()).isEqualTo(200);
    assertThat(post(key, "application/json", "{}".getBytes(UTF_8)).statusCode()).isEqualTo(200);
  }

  @Test
  void errors_areStatuses_inTheContentTypeOfTheRequest() throws IOException {
    String key = serving.key("errors", Scope.INGEST);
    HttpResponse<byte[]> bad = post(key, PROTOBUF, "not protobuf".getBytes(UTF_8));
    assertThat(bad.statusCode()).isEqualTo(400);
    assertThat(bad.headers().firstValue("Content-Type")).contains(PROTOBUF);
    assertThat(Status.parseFrom(bad.body()).getCode()).isEqualTo(Code.INVALID_ARGUMENT_VALUE);
    HttpResponse<byte[]> json = post(key, "application/json", "{".getBytes(UTF_8));
    assertThat(json.statusCode()).isEqualTo(400);
    assertThat(new String(json.body(), UTF_8)).contains("\"code\": 3");
    HttpResponse<byte[]> none = post(null, PROTOBUF, new byte[0]);
    assertThat(none.statusCode()).isEqualTo(401);
    assertThat(Status.parseFrom(none.body()).getCode()).isEqualTo(Code.UNAUTHENTICATED_VALUE);
    assertThat(post(key, "text/plain", new byte[0]).statusCode()).isEqualTo(415);
    assertThat(post(key, PROTOBUF, "x".getBytes(UTF_8), "Content-Encoding", "gzip").statusCode())
        .isEqualTo(400);
  }

  @Test
  void gzip_isRead() throws IOException {
    String key = serving.key("zipped", Scope.INGEST);
    ByteArrayOutputStream zipped = new ByteArrayOutputStream();
    try (GZIPOutputStream out = new GZIPOutputStream(zipped)) {
      request(call(6).build()).writeTo(out);
    }
    assertThat(post(key, PROTOBUF, zipped.toByteArray(), "Content-Encoding", "gzip").statusCode())
        .isEqualTo(200);
    assertThat(
            serving.database.value("select count(*) from tallyroll.event where tenant = 'zipped'"))
        .isEqualTo("1");
  }

  @Test
  void metricsAndLogs_areNotTakenIn() {
    String key = serving.key("others", Scope.INGEST);
    for (String path : List.of("/v1/metrics", "/v1/logs")) {
      assertThat(serving.post(path, key, "application/json", "{}").statusCode()).isEqualTo(404);
    }
  }

  @Test
  void parentsOfCalls_haveNoTokens_andAreActivity() throws IOException {
    String key = serving.key("parents", Scope.INGEST);
    Span agent =
        call(8)
            .clearAttributes()
            .addAttributes(text("gen_ai.operation.name", "invoke_agent"))
            .addAttributes(text("gen_ai.agent.id", "a-1"))
            .addAttributes(number("gen_ai.usage.input_tokens", 100))
            .build();
    sent(key, agent, call(9).build());
    String read = serving.key("parents", Scope.READ);
    assertThat(serving.usage(read, "llm_usage?measure=requests&measure=input_tokens&every=all"))
        .containsExactly(
            Map.of(
                "tenant",
                "parents",
                "bucket",
                serving
                    .usage(read, "llm_usage?measure=requests&every=all")
                    .getFirst()
                    .get("bucket"),
                "requests",
                1,
                "input_tokens",
                100));
    assertThat(
            serving.usage(
                read, "activity?measure=events&by=agent_id&where=agent_id%3Da-1&every=all"))
        .singleElement()
        .satisfies(row -> assertThat(row).containsEntry("events", 1));
  }

  private static double ignoredSpans() {
    return serving
        .get("/metrics", null)
        .body()
        .lines()
        .filter(line -> line.startsWith("tallyroll_ingest_ignored_spans_total "))
        .mapToDouble(line -> Double.parseDouble(line.substring(line.indexOf(' '))))
        .sum();
  }

  @Test
  void otherSpans_areAcknowledgedAndCounted_andEventsOnlyWhereAllAreAsked() throws IOException {
    Span other =
        call(77).clearAttributes().setName("GET /").addAttributes(text("http.route", "/")).build();
    String key = serving.key("others", Scope.INGEST);
    double before = ignoredSpans();
    assertThat(sent(key, other, call(78).build()).hasPartialSuccess()).isFalse();
    assertThat(ignoredSpans()).isEqualTo(before + 1);
    String stored =
        "select string_agg(type || ' ' || (attributes->>'http.route' is not null), ',' order by id) from tallyroll.event where tenant = 'others'";
    assertThat(serving.database.value(stored)).isEqualTo("gen_ai.inference false");
    try (Serving all = serving.another(Map.of(Setting.INGEST_SPANS, "all"))) {
      HttpResponse<byte[]> answer =
          all.sendForBytes(
              all.request("/v1/traces", key)
                  .header("Content-Type", PROTOBUF)
                  .POST(HttpRequest.BodyPublishers.ofByteArray(request(other).toByteArray())));
      assertThat(answer.statusCode()).isEqualTo(200);
    }
    assertThat(serving.database.value(stored)).isEqualTo("span true,gen_ai.inference false");
  }
}
