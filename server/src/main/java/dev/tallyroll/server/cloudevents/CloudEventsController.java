package dev.tallyroll.server.cloudevents;

import dev.tallyroll.model.event.EventLimits;
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
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.parameters.RequestBody;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import io.swagger.v3.oas.annotations.tags.Tag;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.InstantSource;
import java.util.Collections;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.springframework.http.InvalidMediaTypeException;
import org.springframework.http.MediaType;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RestController;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.exc.StreamConstraintsException;

/** Takes in CloudEvents 1.0: one in JSON or in headers, or a batch. */
@RestController
@Tag(name = "ingest")
public final class CloudEventsController {
  private static final String KIND = "cloudevents";
  private static final MediaType ONE = MediaType.parseMediaType("application/cloudevents+json");
  private static final MediaType BATCH =
      MediaType.parseMediaType("application/cloudevents-batch+json");

  /** A batch is around its events. */
  private static final int AROUND = 1;

  private final Bodies bodies;
  private final Ingest ingest;
  private final ServerSettings settings;
  private final InstantSource clock;
  private final JsonBodies json;

  /** With what it shares with other endpoints. */
  public CloudEventsController(
      Bodies bodies, Ingest ingest, ServerSettings settings, InstantSource clock) {
    this.bodies = bodies;
    this.ingest = ingest;
    this.settings = settings;
    this.clock = clock;
    this.json = new JsonBodies(settings.limits().depth() + AROUND, settings.maxBody());
  }

  /** Takes in one event or a batch; when it answers, all of it is durable. */
  @PostMapping("/api/v1/events")
  @Needs(Scope.INGEST)
  @Operation(
      operationId = "postEvents",
      summary = "Takes in CloudEvents, each once",
      requestBody =
          @RequestBody(
              required = true,
              content = {
                @Content(
                    mediaType = "application/cloudevents+json",
                    schema = @Schema(type = "object")),
                @Content(
                    mediaType = "application/cloudevents-batch+json",
                    schema = @Schema(type = "array")),
                @Content(mediaType = "application/json", schema = @Schema(type = "object"))
              }))
  @ApiResponse(responseCode = "204", description = "All of it is durable, or was already")
  public void post(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String tenant = Caller.of(request).ownTenant();
    try {
      try (Bodies.Body body = bodies.read(request)) {
        ingest.append(KIND, read(request, body, tenant));
      }
      response.setStatus(HttpServletResponse.SC_NO_CONTENT);
    } catch (ProblemException e) {
      ingest.metrics().rejected(KIND, e.problem().slug(), 1);
      throw e;
    }
  }

  private EventBatch read(HttpServletRequest request, Bodies.Body body, String tenant) {
    long now = Times.micros(clock.instant());
    EventLimits limits = ingest.limits(now);
    EventBatch batch = new EventBatch(tenant, now, body.length());
    EventReader reader = new EventReader(limits, now);
    int events = 1;
    MediaType type = type(request);
    try {
      if (request.getHeader("ce-specversion") != null) {
        boolean isJson = type != null && isJson(type);
        if (!isJson && body.length() > 0) {
          throw new ProblemException(
              Problem.UNSUPPORTED_MEDIA_TYPE,
              "in binary mode the body is the data, a JSON object: Content-Type is application/json");
        }
        if (body.length() == 0) {
          reader.readBinary(context(request), null).ifPresent(batch::add);
        } else {
          try (JsonParser parser = json.parser(body)) {
            reader.readBinary(context(request), parser).ifPresent(batch::add);
            end(parser);
          }
        }
      } else {
        boolean isOne = type != null && ONE.equalsTypeAndSubtype(type);
        boolean isBatch = type != null && BATCH.equalsTypeAndSubtype(type);
        if (!isOne
            && !isBatch
            && (type == null || !MediaType.APPLICATION_JSON.equalsTypeAndSubtype(type))) {
          throw new ProblemException(
              Problem.UNSUPPORTED_MEDIA_TYPE,
              "Content-Type is application/cloudevents+json, application/cloudevents-batch+json or application/json");
        }
        try (JsonParser parser = json.parser(body)) {
          JsonToken first = parser.nextToken();
          if (first == JsonToken.START_ARRAY && !isOne) {
            events = 0;
            while (parser.nextToken() != JsonToken.END_ARRAY) {
              if (++events > settings.maxEvents()) {
                throw new ProblemException(
                    Problem.BAD_REQUEST, "a batch has at most " + settings.maxEvents() + " events");
              }
              reader.readStructured(parser).ifPresent(batch::add);
              body.hold(batch.bytes());
            }
          } else if (first == JsonToken.START_OBJECT && !isBatch) {
            reader.readStructured(parser).ifPresent(batch::add);
          } else {
            throw new ProblemException(
                Problem.BAD_REQUEST,
                isBatch ? "a batch is a JSON array of events" : "an event is a JSON object");
          }
          end(parser);
        }
      }
    } catch (StreamConstraintsException e) {
      throw new ProblemException(
          Problem.BAD_REQUEST,
          "the JSON is nested deeper than "
              + limits.depth()
              + ", or has a number or name of more than "
              + JsonBodies.MOST_DIGITS
              + " or "
              + JsonBodies.MOST_NAME
              + " characters");
    } catch (JacksonException e) {
      throw new ProblemException(
          Problem.BAD_REQUEST,
          "the body is not JSON"
              + (e.getLocation() == null
                  ? ""
                  : " from line "
                      + e.getLocation().getLineNr()
                      + ", column "
                      + e.getLocation().getColumnNr()
                      + " on"));
    }
    if (!reader.faults().isEmpty()) {
      throw ProblemException.invalid(reader.faults(), events);
    }
    return batch;
  }

  private static void end(JsonParser parser) {
    if (parser.nextToken() != null) {
      throw new ProblemException(Problem.BAD_REQUEST, "something stands behind the JSON value");
    }
  }

  private static @Nullable MediaType type(HttpServletRequest request) {
    String text = request.getContentType();
    if (text == null) {
      return null;
    }
    try {
      return MediaType.parseMediaType(text);
    } catch (InvalidMediaTypeException e) {
      throw new ProblemException(Problem.UNSUPPORTED_MEDIA_TYPE, "Content-Type is no media type");
    }
  }

  private static boolean isJson(MediaType type) {
    return MediaType.APPLICATION_JSON.equalsTypeAndSubtype(type)
        || "json".equals(type.getSubtypeSuffix());
  }

  /** The context attributes in headers; characters beyond ASCII are percent-encoded there. */
  private static Map<String, String> context(HttpServletRequest request) {
    Map<String, String> context = new HashMap<>();
    for (String name : Collections.list(request.getHeaderNames())) {
      String lower = name.toLowerCase(Locale.ROOT);
      if (lower.startsWith("ce-")) {
        if (Collections.list(request.getHeaders(name)).size() > 1) {
          throw new ProblemException(Problem.BAD_REQUEST, "a header ce-* stands twice");
        }
        Optional.ofNullable(request.getHeader(name))
            .ifPresent(value -> context.put(lower.substring(3), decoded(value)));
      }
    }
    return context;
  }

  private static String decoded(String value) {
    String text = utf8(value);
    if (text.length() > 1 && text.startsWith("\"") && text.endsWith("\"")) {
      text = text.substring(1, text.length() - 1).replaceAll("\\\\(.)", "$1");
    }
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    ByteBuffer plain = ByteBuffer.allocate(bytes.length);
    for (int i = 0; i < bytes.length; i++) {
      int high = bytes[i] == '%' && i + 2 < bytes.length ? Character.digit(bytes[i + 1], 16) : -1;
      int low = high < 0 ? -1 : Character.digit(bytes[i + 2], 16);
      if (low >= 0) {
        plain.put((byte) (16 * high + low));
        i += 2;
      } else {
        plain.put(bytes[i]);
      }
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(plain.flip()).toString();
    } catch (CharacterCodingException e) {
      // What decodes to no text stays as it came, so that two of them do not become one.
      return text;
    }
  }

  /** Some clients send UTF-8 as it is, each byte of which has become a character. */
  private static String utf8(String value) {
    try {
      return StandardCharsets.UTF_8
          .newDecoder()
          .decode(StandardCharsets.ISO_8859_1.newEncoder().encode(CharBuffer.wrap(value)))
          .toString();
    } catch (CharacterCodingException e) {
      return value;
    }
  }
}
