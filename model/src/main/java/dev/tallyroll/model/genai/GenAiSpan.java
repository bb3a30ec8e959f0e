package dev.tallyroll.model.genai;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A span of generative AI, read from its attributes whichever generation of names they use:
 * OpenTelemetry's of every year, OpenInference, the AI SDK, OpenLLMetry. Immutable.
 *
 * <p>Only inference and embeddings are metered. Agents, workflows, chains and tools are activity
 * and have no tokens: as parents they repeat the totals of their children, which would count twice.
 *
 * @param kind what is metered of it
 * @param provider as OpenTelemetry spells it, lower case
 * @param model the model that answered, else the one that was asked
 * @param operation as {@code chat}, {@code embeddings}, {@code execute_tool}
 * @param tokens in the normal form; {@link TokenUsage#NONE} for activity
 * @param ttftMs time to the first chunk in milliseconds
 * @param userId whose call it is
 * @param sessionId the conversation or session
 * @param agentId the agent's id, else its name
 * @param workflowId the workflow's id, else its name
 * @param projectId the project
 * @param errorType the class of the error
 */
public record GenAiSpan(
    Kind kind,
    @Nullable String provider,
    @Nullable String model,
    @Nullable String operation,
    TokenUsage tokens,
    @Nullable Double ttftMs,
    @Nullable String userId,
    @Nullable String sessionId,
    @Nullable String agentId,
    @Nullable String workflowId,
    @Nullable String projectId,
    @Nullable String errorType) {
  /** What is metered of a span. Its label is the type of the event that it becomes. */
  public enum Kind {
    /** A call of a model that generates. */
    INFERENCE("gen_ai.inference"),
    /** A call of a model that embeds. */
    EMBEDDINGS("gen_ai.embeddings"),
    /** What is counted and timed, and has no tokens of its own. */
    ACTIVITY("gen_ai.activity");

    private final String label;

    Kind(String label) {
      this.label = label;
    }

    /** The type of the event. */
    public String label() {
      return label;
    }
  }

  private static final Set<String> EMBEDDING_OPERATIONS = Set.of("embeddings", "embedding");
  private static final Set<String> INFERENCE_OPERATIONS =
      Set.of("chat", "generate_content", "text_completion", "completion", "generate");

  /** OpenInference's kinds of spans that are calls of a model; all others are activity. */
  private static final Map<String, Kind> OPEN_INFERENCE =
      Map.of("LLM", Kind.INFERENCE, "EMBEDDING", Kind.EMBEDDINGS);

  /** Spellings of providers, in lower case, that are not OpenTelemetry's. */
  private static final Map<String, String> PROVIDERS =
      Map.ofEntries(
          Map.entry("az.ai.openai", "azure.ai.openai"),
          Map.entry("azure", "azure.ai.openai"),
          Map.entry("azure-openai", "azure.ai.openai"),
          Map.entry("az.ai.inference", "azure.ai.inference"),
          Map.entry("bedrock", "aws.bedrock"),
          Map.entry("aws", "aws.bedrock"),
          Map.entry("aws_bedrock", "aws.bedrock"),
          Map.entry("amazon-bedrock", "aws.bedrock"),
          Map.entry("vertexai", "gcp.vertex_ai"),
          Map.entry("vertex_ai", "gcp.vertex_ai"),
          Map.entry("google.vertex", "gcp.vertex_ai"),
          Map.entry("gemini", "gcp.gemini"),
          Map.entry("google", "gcp.gemini"),
          Map.entry("google.generative-ai", "gcp.gemini"),
          Map.entry("gcp_gemini", "gcp.gemini"),
          Map.entry("mistral", "mistral_ai"),
          Map.entry("mistralai", "mistral_ai"),
          Map.entry("xai", "x_ai"));

  /** What the AI SDK appends to a provider: which of its interfaces was called. */
  private static final Set<String> INTERFACES =
      Set.of(
          "chat",
          "messages",
          "responses",
          "completion",
          "embedding",
          "embeddings",
          "textembedding");

  /**
   * Reads a span.
   *
   * @param attributes its attributes: String, Long, Double, Boolean, or a List of these
   * @return empty if nothing tells that it is one of generative AI
   */
  public static Optional<GenAiSpan> of(Map<String, Object> attributes) {
    Kind kind = kind(attributes);
    if (kind == null) {
      return Optional.empty();
    }
    String provider = provider(attributes);
    boolean isActivity = kind == Kind.ACTIVITY;
    return Optional.of(
        new GenAiSpan(
            kind,
            provider,
            isActivity
                ? null
                : text(
                    attributes,
                    "gen_ai.response.model",
                    "gen_ai.request.model",
                    "ai.response.model",
                    "ai.model.id",
                    "llm.model_name",
                    "embedding.model_name",
                    "llm.response.model",
                    "llm.request.model"),
            operation(attributes, kind),
            isActivity
                ? TokenUsage.NONE
                : TokenNormaliser.normalise(attributes, provider, kind == Kind.EMBEDDINGS),
            isActivity ? null : ttft(attributes),
            text(
                attributes,
                "user.id",
                "enduser.id",
                "ai.telemetry.metadata.userId",
                "langfuse.user.id",
                "traceloop.association.properties.user_id"),
            text(
                attributes,
                "gen_ai.conversation.id",
                "session.id",
                "ai.telemetry.metadata.sessionId",
                "langfuse.session.id",
                "traceloop.association.properties.session_id"),
            text(attributes, "gen_ai.agent.id", "gen_ai.agent.name", "agent.name"),
            text(
                attributes,
                "gen_ai.workflow.id",
                "gen_ai.workflow.name",
                "traceloop.workflow.name"),
            text(attributes, "project.id", "openinference.project.name"),
            text(attributes, "error.type", "exception.type")));
  }

  private static @Nullable Kind kind(Map<String, Object> attributes) {
    // The AI SDK's outer spans carry the totals of the inner ones, which do the calls.
    String call = text(attributes, "ai.operationId", "operation.name");
    if (call != null && call.startsWith("ai.")) {
      String first = call.split(" ", 2)[0];
      return first.endsWith(".doGenerate") || first.endsWith(".doStream")
          ? Kind.INFERENCE
          : first.endsWith(".doEmbed") ? Kind.EMBEDDINGS : Kind.ACTIVITY;
    }
    String operation = text(attributes, "gen_ai.operation.name");
    if (operation != null) {
      String name = operation.toLowerCase(Locale.ROOT);
      return EMBEDDING_OPERATIONS.contains(name)
          ? Kind.EMBEDDINGS
          : INFERENCE_OPERATIONS.contains(name) ? Kind.INFERENCE : Kind.ACTIVITY;
    }
    String openInference = text(attributes, "openinference.span.kind");
    if (openInference != null) {
      return OPEN_INFERENCE.getOrDefault(openInference.toUpperCase(Locale.ROOT), Kind.ACTIVITY);
    }
    String request = text(attributes, "llm.request.type");
    if (request != null) {
      return EMBEDDING_OPERATIONS.contains(request)
          ? Kind.EMBEDDINGS
          : request.equals("rerank") ? Kind.ACTIVITY : Kind.INFERENCE;
    }
    if (text(attributes, "traceloop.span.kind", "gen_ai.tool.name") != null) {
      return Kind.ACTIVITY;
    }
    boolean isAgent = text(attributes, "gen_ai.agent.id", "gen_ai.agent.name") != null;
    boolean isCall =
        Stream.of(
                "gen_ai.system",
                "gen_ai.provider.name",
                "gen_ai.request.model",
                "gen_ai.response.model",
                "llm.model_name",
                "llm.request.model")
            .anyMatch(attributes::containsKey);
    boolean hasTokens = attributes.keySet().stream().anyMatch(TokenNormaliser::isTokenCount);
    if (isCall) {
      return Kind.INFERENCE;
    }
    return hasTokens && !isAgent
        ? Kind.INFERENCE
        : isAgent || attributes.keySet().stream().anyMatch(name -> name.startsWith("gen_ai."))
            ? Kind.ACTIVITY
            : null;
  }

  private static @Nullable String operation(Map<String, Object> attributes, Kind kind) {
    String named = text(attributes, "gen_ai.operation.name");
    if (named != null) {
      return named.toLowerCase(Locale.ROOT);
    }
    String call = text(attributes, "ai.operationId", "operation.name");
    if (call != null && call.startsWith("ai.")) {
      return switch (kind) {
        case INFERENCE -> "chat";
        case EMBEDDINGS -> "embeddings";
        case ACTIVITY -> call.startsWith("ai.toolCall") ? "execute_tool" : call.split(" ", 2)[0];
      };
    }
    String openInference = text(attributes, "openinference.span.kind");
    if (openInference != null) {
      return switch (openInference.toUpperCase(Locale.ROOT)) {
        case "LLM" -> "chat";
        case "EMBEDDING" -> "embeddings";
        case "AGENT" -> "invoke_agent";
        case "TOOL" -> "execute_tool";
        default -> openInference.toLowerCase(Locale.ROOT);
      };
    }
    String request = text(attributes, "llm.request.type");
    if (request != null) {
      return switch (request) {
        case "completion" -> "text_completion";
        case "embedding" -> "embeddings";
        default -> request;
      };
    }
    String traceloop = text(attributes, "traceloop.span.kind");
    if (traceloop != null) {
      return switch (traceloop) {
        case "agent" -> "invoke_agent";
        case "workflow" -> "invoke_workflow";
        case "tool" -> "execute_tool";
        default -> traceloop;
      };
    }
    return text(attributes, "gen_ai.tool.name") != null ? "execute_tool" : null;
  }

  private static @Nullable String provider(Map<String, Object> attributes) {
    String name =
        text(
            attributes,
            "gen_ai.provider.name",
            "gen_ai.system",
            "ai.model.provider",
            "llm.provider",
            "llm.system",
            "embedding.provider",
            "llm.vendor");
    if (name == null) {
      return null;
    }
    String spelt = name.toLowerCase(Locale.ROOT);
    int dot = spelt.lastIndexOf('.');
    if (dot > 0 && INTERFACES.contains(spelt.substring(dot + 1))) {
      spelt = spelt.substring(0, dot);
    }
    return PROVIDERS.getOrDefault(spelt, spelt);
  }

  private static @Nullable Double ttft(Map<String, Object> attributes) {
    Double seconds =
        number(
            attributes,
            List.of("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"));
    if (seconds != null && Double.isFinite(seconds * 1e3)) {
      return seconds * 1e3;
    }
    return number(attributes, List.of("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"));
  }

  private static @Nullable Double number(Map<String, Object> attributes, List<String> names) {
    for (String name : names) {
      if (attributes.get(name) instanceof Number number
          && number.doubleValue() >= 0
          && Double.isFinite(number.doubleValue())) {
        return number.doubleValue();
      }
    }
    return null;
  }

  /** The first attribute that is a text of at least one character, or a whole number. */
  private static @Nullable String text(Map<String, Object> attributes, String... names) {
    for (String name : names) {
      Object value = attributes.get(name);
      if (value instanceof String text && !text.isBlank()) {
        return text;
      }
      if (value instanceof Long number) {
        return number.toString();
      }
    }
    return null;
  }
}
