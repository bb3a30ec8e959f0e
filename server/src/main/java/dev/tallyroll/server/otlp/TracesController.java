package dev.tallyroll.server.otlp;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.InvalidEvent;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.events.EventBatch;
import dev.tallyroll.server.access.Caller;
import dev.tallyroll.server.access.Needs;
import dev.tallyroll.server.http.Bodies;
import dev.tallyroll.server.http.JsonBodies;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.server.ingest.Ingest;
import dev.tallyroll.server.settings.ServerSettings;
import io.opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.parameters.RequestBody;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import io.swagger.v3.oas.annotations.tags.Tag;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.InstantSource;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RestController;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;

/** Takes in traces by OpenTelemetry's protocol over HTTP, as protocol buffers and as JSON. */
@RestController
@Tag(name = "ingest")
public final class TracesController {
  private static final String KIND = "traces";
  private static final String PROTOBUF = "application/x-protobuf";
  private static final String PLAIN_JSON = "application/json";
  private static final int MOST_DEPTH = 64;
  private static final int MOST_PAYLOAD = 16 << 10;

  private final Bodies bodies;
  private final Ingest ingest;
  private final ServerSettings settings;
  private final InstantSource clock;
  private final JsonBodies json;

  /** With what it shares with other endpoints. */
  public TracesController(
      Bodies bodies, Ingest ingest, ServerSettings settings, InstantSource clock) {
    this.bodies = bodies;
    this.ingest = ingest;
    this.settings = settings;
    this.clock = clock;
    this.json = new JsonBodies(MOST_DEPTH, settings.maxBody());
  }

  /** Takes in spans; when it answers, those that are metered are durable. */
  @PostMapping("/v1/traces")
  @Needs(Scope.INGEST)
  @Operation(
      operationId = "postTraces",
      summary = "Takes in spans by OTLP/HTTP, each once",
      requestBody =
          @RequestBody(
              required = true,
              content = {
                @Content(
                    mediaType = PROTOBUF,
                    schema = @Schema(type = "string", format = "binary")),
                @Content(mediaType = PLAIN_JSON, schema = @Schema(type = "object"))
              }))
  @ApiResponse(
      responseCode = "200",
      description = "All is durable, but for the spans that partial_success tells of")
  public void post(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String tenant = Caller.of(request).ownTenant();
    String type = type(request);
    try (Bodies.Body body = bodies.read(request)) {
      ExportTraceServiceRequest message = type.equals(PROTOBUF) ? protobuf(body) : json(body);
      ExportTraceServiceResponse answer = take(message, tenant, body);
      byte[] bytes =
          type.equals(PROTOBUF)
              ? answer.toByteArray()
              : JsonFormat.printer()
                  .omittingInsignificantWhitespace()
                  .print(answer)
                  .getBytes(StandardCharsets.UTF_8);
      response.setContentType(type);
      response.setContentLength(bytes.length);
      response.getOutputStream().write(bytes);
    } catch (ProblemException e) {
      ingest.metrics().rejected(KIND, e.problem().slug(), 1);
      throw e;
    }
  }

  private static String type(HttpServletRequest request) {
    String type =
        request.getContentType() == null
            ? ""
            : request.getContentType().split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
    if (!type.equals(PROTOBUF) && !type.equals(PLAIN_JSON)) {
      throw new ProblemException(
          Problem.UNSUPPORTED_MEDIA_TYPE, "Content-Type is " + PROTOBUF + " or " + PLAIN_JSON);
    }
    return type;
  }

  private static ExportTraceServiceRequest protobuf(Bodies.Body body) {
    try {
      OtlpSize.check(
          CodedInputStream.newInstance(body.bytes(), 0, body.length()),
          ExportTraceServiceRequest.getDescriptor());
      CodedInputStream in = CodedInputStream.newInstance(body.bytes(), 0, body.length());
      in.setRecursionLimit(MOST_DEPTH);
      ExportTraceServiceRequest message = ExportTraceServiceRequest.parseFrom(in);
      in.checkLastTagWas(0);
      return message;
    } catch (InvalidProtocolBufferException e) {
      throw new ProblemException(Problem.BAD_REQUEST, "the body is no ExportTraceServiceRequest");
    } catch (IOException e) {
      throw new ProblemException(Problem.BAD_REQUEST, "the body ends too early");
    }
  }

  private ExportTraceServiceRequest json(Bodies.Body body) {
    ExportTraceServiceRequest.Builder message = ExportTraceServiceRequest.newBuilder();
    try (JsonParser parser = json.parser(body)) {
      parser.nextToken();
      new OtlpJson().merge(parser, message);
      if (parser.nextToken() != null) {
        throw new ProblemException(Problem.BAD_REQUEST, "something stands behind the JSON object");
      }
    } catch (OtlpJson.Malformed e) {
      throw new ProblemException(
          Problem.BAD_REQUEST, "the body is no ExportTraceServiceRequest: " + e.getMessage());
    } catch (JacksonException e) {
      throw new ProblemException(Problem.BAD_REQUEST, "the body is not JSON, or nested too deep");
    }
    return message.build();
  }

  private ExportTraceServiceResponse take(
      ExportTraceServiceRequest message, String tenant, Bodies.Body body) {
    long now = Times.micros(clock.instant());
    EventBatch batch = new EventBatch(tenant, now, body.length());
    SpanReader reader = new SpanReader(ingest.limits(now), settings.allSpans(), now);
    int spans = 0;
    int ignored = 0;
    String first = "";
    for (ResourceSpans resource : message.getResourceSpansList()) {
      Map<String, Object> attributes = SpanReader.plain(resource.getResource().getAttributesList());
      for (ScopeSpans scope : resource.getScopeSpansList()) {
        for (Span span : scope.getSpansList()) {
          if (++spans > settings.maxEvents()) {
            throw new ProblemException(
                Problem.BAD_REQUEST, "a request has at most " + settings.maxEvents() + " spans");
          }
          try {
            Optional<Event> event = reader.read(attributes, span);
            if (event.isPresent()) {
              batch.add(event.get());
              body.hold(batch.bytes());
            } else {
              ignored++;
            }
          } catch (InvalidEvent e) {
            String reason = e.field() + " " + e.detail();
            first = first.isEmpty() ? reason : first;
            batch.refuse(new EventBatch.Refused("span", reason, payload(span)));
            body.hold(batch.bytes());
          }
        }
      }
    }
    ingest.append(KIND, batch);
    ingest.metrics().ignored(ignored);
    int refused = batch.refused().size();
    if (refused == 0) {
      return ExportTraceServiceResponse.getDefaultInstance();
    }
    ingest.metrics().rejected(KIND, "span", refused);
    return ExportTraceServiceResponse.newBuilder()
        .setPartialSuccess(
            ExportTracePartialSuccess.newBuilder()
                .setRejectedSpans(refused)
                .setErrorMessage(
                    refused
                        + (refused == 1 ? " span is" : " spans are")
                        + " in quarantine; the first: "
                        + first))
        .build();
  }

  /** A faulty span as JSON, cut, without what was said, and what PostgreSQL cannot store. */
  private static String payload(Span span) {
    Span.Builder plain =
        span.toBuilder().clearAttributes().clearEvents().clearLinks().clearStatus();
    span.getAttributesList().stream()
        .filter(one -> !SpanReader.isContent(one.getKey()))
        .forEach(plain::addAttributes);
    String text;
    try {
      text = JsonFormat.printer().omittingInsignificantWhitespace().print(plain);
    } catch (InvalidProtocolBufferException e) {
      text = "";
    }
    String cut = text.length() > MOST_PAYLOAD ? text.substring(0, MOST_PAYLOAD) : text;
    return new String(
            cut.replace('\u0000', '\uFFFD').getBytes(StandardCharsets.UTF_8),
            StandardCharsets.UTF_8)
        .strip();
  }
}
