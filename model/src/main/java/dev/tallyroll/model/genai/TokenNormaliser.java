package dev.tallyroll.model.genai;

import dev.tallyroll.model.genai.TokenUsage.Flag;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Reads the token counts of a span, whichever generation of names they have, into the normal form.
 *
 * <p>How. Each number has a list of names, newest first; the first that is there counts. Two facts
 * about the numbers are not told by their names alone: whether input includes the cache, and
 * whether output includes reasoning. OpenTelemetry's dotted names, OpenInference and the AI SDK
 * include both. Anthropic's own API reports input without the cache, and instrumentations that hand
 * its numbers on name them as it does, with underscores: then the cache is added. Where input is
 * less than the cache, or output less than reasoning, they cannot have been included: they are
 * added and the call is flagged. Nothing is clamped.
 *
 * <p>Sources: OpenTelemetry's semantic conventions for generative AI, versions 1.27 to 1.41 and of
 * 2026; Anthropic's Messages API, {@code usage}; OpenInference's semantic conventions, {@code
 * llm.token_count.*}; the AI SDK's telemetry, {@code ai.usage.*}. The cases that decide stand in
 * {@code token-vectors.json} beside this class, for others to run too.
 */
final class TokenNormaliser {
  private static final List<String> INPUT =
      List.of(
          "gen_ai.usage.input_tokens",
          "gen_ai.usage.prompt_tokens",
          "llm.token_count.prompt",
          "ai.usage.inputTokens",
          "ai.usage.promptTokens",
          "ai.usage.tokens",
          "llm.usage.prompt_tokens");
  private static final List<String> OUTPUT =
      List.of(
          "gen_ai.usage.output_tokens",
          "gen_ai.usage.completion_tokens",
          "llm.token_count.completion",
          "ai.usage.outputTokens",
          "ai.usage.completionTokens",
          "llm.usage.completion_tokens");
  private static final List<String> RAW_CACHE_READ =
      List.of("gen_ai.usage.cache_read_input_tokens");
  private static final List<String> CACHE_READ =
      List.of(
          "gen_ai.usage.cache_read.input_tokens",
          "llm.token_count.prompt_details.cache_read",
          "ai.usage.inputTokenDetails.cacheReadTokens",
          "ai.usage.cachedInputTokens");
  private static final List<String> RAW_CACHE_WRITE =
      List.of("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens");
  private static final List<String> CACHE_WRITE =
      List.of(
          "gen_ai.usage.cache_write.input_tokens",
          "gen_ai.usage.cache_creation.input_tokens",
          "llm.token_count.prompt_details.cache_write",
          "ai.usage.inputTokenDetails.cacheWriteTokens");
  private static final List<String> REASONING =
      List.of(
          "gen_ai.usage.reasoning.output_tokens",
          "gen_ai.usage.reasoning_tokens",
          "llm.token_count.completion_details.reasoning",
          "ai.usage.outputTokenDetails.reasoningTokens",
          "ai.usage.reasoningTokens");
  private static final List<String> TOTAL =
      List.of(
          "gen_ai.usage.total_tokens",
          "llm.token_count.total",
          "ai.usage.totalTokens",
          "llm.usage.total_tokens");

  /** What is put together of names that differ by underscores alone is told by the raw ones. */
  private static final String ANTHROPIC = "anthropic";

  private final Map<String, Object> attributes;
  private final Set<Flag> flags = EnumSet.noneOf(Flag.class);

  private TokenNormaliser(Map<String, Object> attributes) {
    this.attributes = attributes;
  }

  /** Whether an attribute tells a number of tokens. */
  static boolean isTokenCount(String name) {
    return name.startsWith("gen_ai.usage.")
        || name.startsWith("llm.token_count.")
        || name.startsWith("ai.usage.")
        || name.startsWith("llm.usage.");
  }

  /**
   * The tokens of a call.
   *
   * @param provider the provider in its normal form; null if it is not known
   * @param isEmbedding whether the call has no output
   */
  static TokenUsage normalise(
      Map<String, Object> attributes, @Nullable String provider, boolean isEmbedding) {
    return new TokenNormaliser(attributes).normalise(ANTHROPIC.equals(provider), isEmbedding);
  }

  private TokenUsage normalise(boolean isAnthropic, boolean isEmbedding) {
    Long input = first(INPUT);
    Long output = first(OUTPUT);
    Long rawRead = first(RAW_CACHE_READ);
    Long rawWrite = first(RAW_CACHE_WRITE);
    Long namedRead = first(CACHE_READ);
    Long namedWrite = first(CACHE_WRITE);
    Long reasoning = first(REASONING);
    Long total = first(TOTAL);
    Long read = either(namedRead, rawRead);
    Long write = either(namedWrite, rawWrite);
    // Dotted names beside the raw ones are from an instrumentation that has added the cache
    // already.
    boolean isRaw =
        isAnthropic
            && (rawRead != null || rawWrite != null)
            && namedRead == null
            && namedWrite == null;
    Long cached = read == null && write == null ? null : sum(read, write);
    boolean isTold = input != null && (output != null || isEmbedding);
    if (isRaw && input != null) {
      input = sum(input, cached);
    }
    if (total != null && input == null) {
      input = rest(total, isEmbedding ? Long.valueOf(0) : output);
    } else if (total != null && output == null && !isEmbedding) {
      output = rest(total, input);
    }
    if (cached != null && (input == null || input < cached)) {
      input = sum(input, cached);
      flags.add(Flag.CACHE_ADDED);
    }
    if (reasoning != null && (output == null || output < reasoning)) {
      output = sum(output, reasoning);
      flags.add(Flag.REASONING_ADDED);
    }
    if (isTold && total != null && total != sum(input, output)) {
      flags.add(Flag.TOTAL_DIFFERS);
    }
    return new TokenUsage(input, output, read, write, reasoning, flags);
  }

  /** What a total leaves; null if that is not known. */
  private @Nullable Long rest(long total, @Nullable Long known) {
    if (known == null) {
      return null;
    }
    if (total < known) {
      flags.add(Flag.TOTAL_DIFFERS);
      return null;
    }
    flags.add(Flag.FROM_TOTAL);
    return total - known;
  }

  private @Nullable Long either(@Nullable Long newer, @Nullable Long older) {
    if (newer != null && older != null && !newer.equals(older)) {
      flags.add(Flag.CONTRADICTORY);
    }
    return newer != null ? newer : older;
  }

  /** Each is at most 2^53, so that the sum of a few is a long. */
  private static long sum(@Nullable Long one, @Nullable Long other) {
    return (one == null ? 0 : one) + (other == null ? 0 : other);
  }

  private @Nullable Long first(List<String> names) {
    Long found = null;
    for (String name : names) {
      Object value = attributes.get(name);
      if (value != null) {
        Long count = count(value);
        if (count == null) {
          flags.add(Flag.INVALID);
        } else if (found == null) {
          found = count;
        } else if (!found.equals(count)) {
          flags.add(Flag.CONTRADICTORY);
        }
      }
    }
    return found;
  }

  /** The most tokens that are believed of one call: what a double tells exactly. */
  private static final long MOST = 1L << 53;

  private static @Nullable Long count(Object value) {
    return switch (value) {
      case Long whole when whole >= 0 && whole <= MOST -> whole;
      case Double real when real >= 0 && real <= MOST && real == Math.rint(real) ->
          real.longValue();
      case String text when text.matches("[0-9]{1,15}") -> Long.valueOf(text);
      default -> null;
    };
  }
}
