package dev.tallyroll.server.otlp;

import com.google.protobuf.ByteString;
import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventColumn;
import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.model.event.InvalidEvent;
import dev.tallyroll.model.genai.GenAiSpan;
import dev.tallyroll.model.genai.TokenUsage;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.trace.v1.Span;
import io.opentelemetry.proto.trace.v1.Status;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * Makes events of spans. For one request.
 *
 * <p>What was said to and by a model is never kept, nor any attribute that is larger than an
 * attribute may be: a span with a long prompt is an ordinary one, so that these are left out and
 * their number is told in the attribute {@value #DROPPED}. A column's text that is too long, or a
 * time outside the window, makes a span faulty.
 */
final class SpanReader {
  /** How many attributes of a span were left out. */
  static final String DROPPED = "tallyroll.dropped_attributes";

  /** What was wrong with the numbers of tokens. */
  static final String FLAGS = "tallyroll.flags";

  static final String SOURCE = "otlp";

  private static final JsonFactory JSON = new JsonFactory();
  private static final String OTHER_SPAN = "span";

  /** The beginnings of names of attributes that hold what was said. */
  private static final List<String> CONTENT =
      List.of(
          "gen_ai.prompt",
          "gen_ai.completion",
          "gen_ai.input.messages",
          "gen_ai.output.messages",
          "gen_ai.system_instructions",
          "gen_ai.tool.call.arguments",
          "gen_ai.tool.call.result",
          "gen_ai.tool.definitions",
          "llm.prompts",
          "llm.completions",
          "llm.input_messages",
          "llm.output_messages",
          "llm.tools",
          "llm.function_call",
          "llm.prompt_template",
          "tool.parameters",
          "reranker.query",
          "reranker.input_documents",
          "reranker.output_documents",
          "langfuse.observation.input",
          "langfuse.observation.output",
          "langfuse.trace.input",
          "langfuse.trace.output",
          "input.value",
          "output.value",
          "retrieval.documents",
          "embedding.embeddings",
          "embedding.text",
          "ai.prompt",
          "ai.response.text",
          "ai.response.object",
          "ai.response.toolCalls",
          "ai.response.reasoning",
          "ai.result",
          "ai.value",
          "ai.embedding",
          "ai.toolCall.args",
          "ai.toolCall.result",
          "traceloop.entity.input",
          "traceloop.entity.output",
          "exception.message",
          "exception.stacktrace");

  private final EventLimits limits;
  private final boolean allSpans;
  private final long now;

  /**
   * A reader of a request.
   *
   * @param allSpans whether spans that are not of generative AI become events
   * @param now the time of receipt, in microseconds since the epoch
   */
  SpanReader(EventLimits limits, boolean allSpans, long now) {
    this.limits = limits;
    this.allSpans = allSpans;
    this.now = now;
  }

  /**
   * The event of a span; empty if it is not to be one.
   *
   * @param resource the attributes of its resource, as {@link #plain(List)} gives them
   * @throws InvalidEvent if it is faulty
   */
  Optional<Event> read(Map<String, Object> resource, Span span) throws InvalidEvent {
    Map<String, Object> attributes = plain(span.getAttributesList());
    Optional<GenAiSpan> known = GenAiSpan.of(attributes);
    if (known.isEmpty() && !allSpans) {
      return Optional.empty();
    }
    String id = id(span);
    long end = time(span);
    Map<EventColumn, Object> values = new EnumMap<>(EventColumn.class);
    boolean isError = span.getStatus().getCode() == Status.StatusCode.STATUS_CODE_ERROR;
    String errorType = known.map(GenAiSpan::errorType).orElse(string(attributes.get("error.type")));
    put(values, EventColumn.STATUS, isError || errorType != null ? "error" : "ok");
    put(values, EventColumn.ERROR_TYPE, errorType);
    long start = span.getStartTimeUnixNano();
    if (start > 0 && span.getEndTimeUnixNano() >= start) {
      values.put(EventColumn.DURATION_MS, (span.getEndTimeUnixNano() - start) / 1e6);
    }
    Map<String, Object> rest = new TreeMap<>(resource);
    rest.putAll(attributes);
    rest.put("span.name", span.getName());
    if (known.isPresent()) {
      fill(values, known.get(), rest);
    }
    return Optional.of(
        new Event(
            SOURCE,
            id,
            end,
            known.map(one -> one.kind().label()).orElse(OTHER_SPAN),
            null,
            values,
            attributes(rest, values)));
  }

  private void fill(Map<EventColumn, Object> values, GenAiSpan span, Map<String, Object> rest)
      throws InvalidEvent {
    put(values, EventColumn.PROJECT_ID, span.projectId());
    put(values, EventColumn.USER_ID, span.userId());
    put(values, EventColumn.AGENT_ID, span.agentId());
    put(values, EventColumn.WORKFLOW_ID, span.workflowId());
    put(values, EventColumn.SESSION_ID, span.sessionId());
    put(values, EventColumn.PROVIDER, span.provider());
    put(values, EventColumn.MODEL, span.model());
    put(values, EventColumn.OPERATION, span.operation());
    TokenUsage tokens = span.tokens();
    putNumber(values, EventColumn.TTFT_MS, span.ttftMs());
    putNumber(values, EventColumn.INPUT_TOKENS, tokens.input());
    putNumber(values, EventColumn.OUTPUT_TOKENS, tokens.output());
    putNumber(values, EventColumn.CACHE_READ_TOKENS, tokens.cacheRead());
    putNumber(values, EventColumn.CACHE_WRITE_TOKENS, tokens.cacheWrite());
    putNumber(values, EventColumn.REASONING_TOKENS, tokens.reasoning());
    if (!tokens.flags().isEmpty()) {
      rest.put(FLAGS, tokens.flags().stream().map(TokenUsage.Flag::label).toList());
    }
  }

  private void put(Map<EventColumn, Object> values, EventColumn column, @Nullable String text)
      throws InvalidEvent {
    if (text != null) {
      values.put(column, limits.text(column.label(), text));
    }
  }

  private static void putNumber(
      Map<EventColumn, Object> values, EventColumn column, @Nullable Number number) {
    if (number != null) {
      values.put(column, number);
    }
  }

  private static String id(Span span) throws InvalidEvent {
    return hex(span.getTraceId(), 16, "trace_id") + "-" + hex(span.getSpanId(), 8, "span_id");
  }

  private static String hex(ByteString id, int bytes, String field) throws InvalidEvent {
    if (id.size() != bytes) {
      throw new InvalidEvent(field, "has " + id.size() + " bytes, not " + bytes);
    }
    byte[] plain = id.toByteArray();
    boolean isZero = true;
    for (byte one : plain) {
      isZero &= one == 0;
    }
    if (isZero) {
      throw new InvalidEvent(field, "is all zeros");
    }
    return HexFormat.of().formatHex(plain);
  }

  /** A call is counted when it ends, which is when its tokens are known. */
  private long time(Span span) throws InvalidEvent {
    long nanos =
        span.getEndTimeUnixNano() != 0 ? span.getEndTimeUnixNano() : span.getStartTimeUnixNano();
    if (nanos == 0) {
      throw new InvalidEvent("end_time_unix_nano", "is missing");
    }
    if (nanos < 0) {
      throw new InvalidEvent("end_time_unix_nano", "lies behind the year 2262");
    }
    return limits.time("end_time_unix_nano", nanos / 1_000, now);
  }

  /** Attributes by name, as Java objects; those without a name or a value are left out. */
  static Map<String, Object> plain(List<KeyValue> attributes) {
    Map<String, Object> plain = new HashMap<>();
    for (KeyValue one : attributes) {
      Object value = plain(one.getValue(), 0);
      if (value != null && !one.getKey().isEmpty()) {
        plain.put(one.getKey(), value);
      }
    }
    return plain;
  }

  private static final int MOST_DEPTH = 8;

  private static @Nullable Object plain(AnyValue value, int depth) {
    return switch (value.getValueCase()) {
      case STRING_VALUE -> value.getStringValue();
      case BOOL_VALUE -> value.getBoolValue();
      case INT_VALUE -> value.getIntValue();
      case DOUBLE_VALUE -> value.getDoubleValue();
      case ARRAY_VALUE -> {
        List<Object> list = new ArrayList<>();
        for (AnyValue one : value.getArrayValue().getValuesList()) {
          Object plain = depth < MOST_DEPTH ? plain(one, depth + 1) : null;
          if (plain != null) {
            list.add(plain);
          }
        }
        yield list;
      }
      case KVLIST_VALUE -> {
        Map<String, Object> map = new TreeMap<>();
        for (KeyValue one : value.getKvlistValue().getValuesList()) {
          Object plain = depth < MOST_DEPTH ? plain(one.getValue(), depth + 1) : null;
          if (plain != null) {
            map.put(one.getKey(), plain);
          }
        }
        yield map;
      }
      default -> null;
    };
  }

  /** Whether an attribute holds what was said. */
  static boolean isContent(String name) {
    return CONTENT.stream().anyMatch(name::startsWith);
  }

  private static @Nullable String string(@Nullable Object value) {
    return value instanceof String text ? text : null;
  }

  /** What fills no column, without what was said, and within limits. */
  private @Nullable String attributes(Map<String, Object> all, Map<EventColumn, Object> values) {
    Set<String> filled = values.values().stream().map(Object::toString).collect(Collectors.toSet());
    StringBuilder object = new StringBuilder();
    int count = 0;
    int dropped = 0;
    for (Map.Entry<String, Object> one : all.entrySet()) {
      String name = one.getKey();
      if (IN_COLUMNS.contains(name) && filled.contains(String.valueOf(one.getValue()))) {
        continue;
      }
      String value = isContent(name) ? null : json(one.getValue());
      if (value == null
          || count == limits.attributes() - 1
          || name.length() > limits.textBytes()
          || !isStorable(name)
          || value.getBytes(StandardCharsets.UTF_8).length > limits.attributeBytes()) {
        dropped++;
      } else {
        object.append(count++ == 0 ? "" : ",").append(json(name)).append(':').append(value);
      }
    }
    if (dropped > 0) {
      object
          .append(count++ == 0 ? "" : ",")
          .append('"')
          .append(DROPPED)
          .append("\":")
          .append(dropped);
    }
    return count == 0 ? null : "{" + object + "}";
  }

  /** What is in a column whatever its name was, or is told by the column's. */
  private static final Set<String> IN_COLUMNS =
      Set.of(
          "gen_ai.operation.name",
          "gen_ai.provider.name",
          "gen_ai.system",
          "gen_ai.conversation.id",
          "gen_ai.agent.id",
          "error.type",
          "user.id",
          "session.id",
          "gen_ai.usage.input_tokens",
          "gen_ai.usage.output_tokens",
          "gen_ai.usage.prompt_tokens",
          "gen_ai.usage.completion_tokens",
          "gen_ai.usage.cache_read.input_tokens",
          "gen_ai.usage.cache_write.input_tokens",
          "gen_ai.usage.cache_creation.input_tokens",
          "gen_ai.usage.reasoning.output_tokens");

  private static boolean isStorable(String text) {
    try {
      EventLimits.storable("", text);
      return true;
    } catch (InvalidEvent e) {
      return false;
    }
  }

  /** A value as JSON; null if it cannot be stored. */
  private @Nullable String json(Object value) {
    StringWriter text = new StringWriter();
    try (JsonGenerator json = JSON.createGenerator(ObjectWriteContext.empty(), text)) {
      if (!write(json, value)) {
        return null;
      }
    }
    return text.toString();
  }

  private boolean write(JsonGenerator json, Object value) {
    switch (value) {
      case String text -> {
        // Not even looked at if it is too long, whatever its characters.
        boolean fits = text.length() <= limits.attributeBytes() && isStorable(text);
        json.writeString(fits ? text : "");
        return fits;
      }
      case Boolean is -> json.writeBoolean(is);
      case Long number -> json.writeNumber(number);
      case Double number -> {
        boolean isFinite = Double.isFinite(number);
        json.writeNumber(isFinite ? number : 0);
        return isFinite;
      }
      case List<?> list -> {
        boolean fits = true;
        json.writeStartArray();
        for (Object one : list) {
          fits &= one != null && write(json, one);
        }
        json.writeEndArray();
        return fits;
      }
      case Map<?, ?> map -> {
        boolean fits = true;
        json.writeStartObject();
        for (Map.Entry<?, ?> one : map.entrySet()) {
          String name = String.valueOf(one.getKey());
          fits &= isStorable(name);
          json.writeName(name);
          fits &= one.getValue() != null && write(json, one.getValue());
        }
        json.writeEndObject();
        return fits;
      }
      default -> throw new IllegalArgumentException("no attribute: " + value.getClass());
    }
    return true;
  }
}
