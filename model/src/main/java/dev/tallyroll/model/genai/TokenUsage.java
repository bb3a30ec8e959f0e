package dev.tallyroll.model.genai;

import java.util.Collections;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of one call in the normal form: input includes what was read from and written to a
 * cache, output includes reasoning. What was not told is null. Immutable.
 *
 * @param input tokens of the prompt, those of the cache included
 * @param output tokens of the answer, those of reasoning included
 * @param cacheRead tokens of the prompt that were read from a cache
 * @param cacheWrite tokens of the prompt that were written to a cache
 * @param reasoning tokens of the answer that were spent on reasoning
 * @param flags what was wrong with the numbers as they came
 */
public record TokenUsage(
    @Nullable Long input,
    @Nullable Long output,
    @Nullable Long cacheRead,
    @Nullable Long cacheWrite,
    @Nullable Long reasoning,
    Set<Flag> flags) {
  /** No tokens at all, as of a span that is not metered. */
  public static final TokenUsage NONE = new TokenUsage(null, null, null, null, null, Set.of());

  /** Copies the flags. */
  public TokenUsage {
    flags = flags.isEmpty() ? Set.of() : Collections.unmodifiableSet(EnumSet.copyOf(flags));
  }

  /** What was wrong with numbers as they came. Its label is what an event's attributes hold. */
  public enum Flag {
    /** Input was less than what was read from and written to the cache, which were added to it. */
    CACHE_ADDED("cache_added"),
    /** Output was less than reasoning, which was added to it. */
    REASONING_ADDED("reasoning_added"),
    /** Two names of the same number told different ones; the newer name's was taken. */
    CONTRADICTORY("contradictory"),
    /** A number was negative, not whole or none at all, and was left out. */
    INVALID("invalid"),
    /** Input or output was not told, and is what the total leaves. */
    FROM_TOTAL("from_total"),
    /** The total is not input and output together. */
    TOTAL_DIFFERS("total_differs");

    private final String label;

    Flag(String label) {
      this.label = label;
    }

    /** Its name in attributes and test vectors. */
    public String label() {
      return label;
    }
  }
}
