package dev.tallyroll.cli.demo;

import dev.tallyroll.cli.demo.SampleEvents.Call;
import dev.tallyroll.cli.demo.SampleEvents.Run;
import dev.tallyroll.cli.demo.SampleEvents.Sample;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.io.IOException;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * Sends samples to a server as any client of it does: as CloudEvents in batches, or as the spans of
 * an OpenTelemetry exporter in OTLP/JSON. What was not acknowledged is sent again, since it is
 * counted once all the same. Thread-safe.
 */
final class SampleSender {
  private static final JsonFactory JSON = JsonFactory.builder().build();
  private static final Duration TIMEOUT = Duration.ofSeconds(30);
  private static final String BATCH = "application/cloudevents-batch+json";

  /** Of an OpenTelemetry span. */
  private static final int KIND_CLIENT = 3;

  private static final int STATUS_ERROR = 2;

  private final HttpClient client =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(TIMEOUT).build();
  private final URI server;

  SampleSender(URI server) {
    this.server = server;
  }

  /** A request that can be sent again as it is. */
  record Request(String path, String type, String body) {}

  /**
   * A batch of CloudEvents.
   *
   * @param source their source
   * @param firstId the number in the id of the first one; the others follow
   */
  static Request cloudEvents(String source, String idPrefix, int firstId, List<Sample> samples) {
    return new Request(
        "/api/v1/events",
        BATCH,
        json(out -> {
          out.writeStartArray();
          for (int i = 0; i < samples.size(); i++) {
            out.writeStartObject();
            out.writeStringProperty("specversion", "1.0");
            out.writeStringProperty("id", idPrefix + (firstId + i));
            out.writeStringProperty("source", source);
            out.writeStringProperty("time", samples.get(i).time().toString());
            switch (samples.get(i)) {
              case Call call -> {
                out.writeStringProperty("type", "llm.call");
                out.writeStringProperty("subject", call.user());
                out.writeObjectPropertyStart("data");
                write(out, call);
              }
              case Run run -> {
                out.writeStringProperty("type", "workflow.run");
                out.writeStringProperty("subject", run.user());
                out.writeObjectPropertyStart("data");
                write(out, run);
              }
            }
            out.writeEndObject();
            out.writeEndObject();
          }
          out.writeEndArray();
        }));
  }

  private static void write(JsonGenerator out, Call call) {
    out.writeStringProperty("operation", "chat");
    out.writeStringProperty("project_id", call.project());
    optional(out, "workflow_id", call.workflow());
    out.writeStringProperty("user_id", call.user());
    out.writeStringProperty("provider", call.provider());
    out.writeStringProperty("model", call.model());
    out.writeStringProperty("status", call.error() == null ? "ok" : "error");
    optional(out, "error_type", call.error());
    out.writeNumberProperty("input_tokens", call.inputTokens());
    if (call.outputTokens() != null) {
      out.writeNumberProperty("output_tokens", call.outputTokens());
    }
    out.writeNumberProperty("duration_ms", call.durationMs());
    out.writeStringProperty("feature", call.feature());
    if (call.costUsd() != null) {
      out.writeNumberProperty("cost_usd", call.costUsd());
    }
  }

  private static void write(JsonGenerator out, Run run) {
    out.writeStringProperty("workflow_id", run.workflow());
    out.writeStringProperty("user_id", run.user());
    out.writeStringProperty("status", run.hasFailed() ? "error" : "ok");
    out.writeNumberProperty("duration_ms", run.durationMs());
    out.writeNumberProperty("quantity", run.steps());
    out.writeStringProperty("unit", "step");
  }

  private static void optional(JsonGenerator out, String name, @Nullable String value) {
    if (value != null) {
      out.writeStringProperty(name, value);
    }
  }

  /**
   * Calls as an exporter of OpenTelemetry sends them.
   *
   * @param ids what spans and traces are numbered from, which must not come again
   */
  static Request spans(long ids, List<Call> calls) {
    return new Request(
        "/v1/traces",
        "application/json",
        json(out -> {
          out.writeStartObject();
          out.writeArrayPropertyStart("resourceSpans");
          out.writeStartObject();
          out.writeArrayPropertyStart("scopeSpans");
          out.writeStartObject();
          out.writeArrayPropertyStart("spans");
          for (int i = 0; i < calls.size(); i++) {
            span(out, ids + i, calls.get(i));
          }
          out.writeEndArray();
          out.writeEndObject();
          out.writeEndArray();
          out.writeEndObject();
          out.writeEndArray();
          out.writeEndObject();
        }));
  }

  private static void span(JsonGenerator out, long id, Call call) {
    String hex = HexFormat.of().toHexDigits(id);
    out.writeStartObject();
    out.writeStringProperty("traceId", hex + hex);
    out.writeStringProperty("spanId", hex);
    out.writeStringProperty("name", "chat " + call.model());
    out.writeNumberProperty("kind", KIND_CLIENT);
    out.writeStringProperty("startTimeUnixNano", nanos(call.time()));
    out.writeStringProperty(
        "endTimeUnixNano", nanos(call.time().plusNanos((long) (call.durationMs() * 1e6))));
    out.writeArrayPropertyStart("attributes");
    text(out, "gen_ai.operation.name", "chat");
    text(out, "gen_ai.provider.name", call.provider());
    text(out, "gen_ai.request.model", call.model());
    text(out, "user.id", call.user());
    text(out, "project.id", call.project());
    text(out, "feature", call.feature());
    if (call.workflow() != null) {
      text(out, "gen_ai.workflow.name", call.workflow());
    }
    whole(out, "gen_ai.usage.input_tokens", call.inputTokens());
    if (call.outputTokens() != null) {
      whole(out, "gen_ai.usage.output_tokens", call.outputTokens());
    }
    BigDecimal cost = call.costUsd();
    if (cost != null) {
      attribute(out, "cost_usd", () -> out.writeNumberProperty("doubleValue", cost.doubleValue()));
    }
    if (call.error() != null) {
      text(out, "error.type", call.error());
    }
    out.writeEndArray();
    if (call.error() != null) {
      out.writeObjectPropertyStart("status");
      out.writeNumberProperty("code", STATUS_ERROR);
      out.writeEndObject();
    }
    out.writeEndObject();
  }

  private static String nanos(Instant time) {
    return Long.toString(time.getEpochSecond() * 1_000_000_000 + time.getNano());
  }

  private static void text(JsonGenerator out, String key, String value) {
    attribute(out, key, () -> out.writeStringProperty("stringValue", value));
  }

  private static void whole(JsonGenerator out, String key, long value) {
    attribute(out, key, () -> out.writeStringProperty("intValue", Long.toString(value)));
  }

  private static void attribute(JsonGenerator out, String key, Runnable value) {
    out.writeStartObject();
    out.writeStringProperty("key", key);
    out.writeObjectPropertyStart("value");
    value.run();
    out.writeEndObject();
    out.writeEndObject();
  }

  private interface Content {
    void write(JsonGenerator out);
  }

  private static String json(Content content) {
    StringWriter text = new StringWriter();
    try (JsonGenerator out = JSON.createGenerator(ObjectWriteContext.empty(), text)) {
      content.write(out);
    }
    return text.toString();
  }

  /**
   * Sends a request until it is acknowledged.
   *
   * @throws TallyrollException if it is refused, or cannot be sent for half a minute
   */
  void send(Request request, String key) throws InterruptedException {
    String fault = "";
    long until = System.nanoTime() + TIMEOUT.toNanos();
    while (System.nanoTime() < until) {
      try {
        HttpResponse<String> answer =
            client.send(
                HttpRequest.newBuilder(server.resolve(request.path()))
                    .timeout(TIMEOUT)
                    .header("Authorization", "Bearer " + key)
                    .header("Content-Type", request.type())
                    .POST(BodyPublishers.ofString(request.body()))
                    .build(),
                BodyHandlers.ofString());
        if (answer.statusCode() / 100 == 2) {
          return;
        }
        fault = answer.statusCode() + " " + answer.body();
        if (answer.statusCode() != 429 && answer.statusCode() != 503) {
          break;
        }
      } catch (IOException e) {
        fault = e.toString();
      }
      Thread.sleep(1_000);
    }
    throw new TallyrollException(
        ErrorCode.DATABASE, "the server did not take in what the demo sent: " + fault);
  }
}
