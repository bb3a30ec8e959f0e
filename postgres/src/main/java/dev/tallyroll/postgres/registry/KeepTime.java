package dev.tallyroll.postgres.registry;

import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Optional;

/**
 * Up to which moment of the clock {@code keep} is applied. What it drops is gone for good, so it
 * follows the clock in steps of at most {@link #MOST_STEP}: after a longer one it is <em>held</em>
 * where it was, until the clock is set right or somebody says that it is right. It never goes back
 * by itself: a clock that was behind for a while has not jumped when it is right again. Immutable.
 *
 * @param time the moment; empty if any clock is believed
 * @param heldAt what the clock showed when it had gone too far; empty while it is believed
 */
public record KeepTime(Optional<Instant> time, Optional<Instant> heldAt) {
  /**
   * Whoever refreshes once a week goes on by himself; a jump that is shorter takes at most so much
   * of each grain.
   */
  public static final Duration MOST_STEP = Duration.ofDays(8);

  /** How much of a step need not be written down. */
  private static final Duration LEAST_STEP = Duration.ofHours(1);

  /** Of a rollup that is new. */
  public static KeepTime from(Instant now) {
    return new KeepTime(Optional.of(now), Optional.empty());
  }

  /** Whether the clock has gone too far to be believed. */
  public boolean isHeld(Instant now) {
    return time.filter(one -> Duration.between(one, now).compareTo(MOST_STEP) > 0).isPresent();
  }

  /** The moment by which keep is to be applied now. */
  public Instant at(Instant now) {
    return isHeld(now) ? time.orElse(now) : now;
  }

  /** The same, ready to believe any clock once. */
  public KeepTime trusting() {
    return new KeepTime(Optional.empty(), heldAt);
  }

  /** How it stands after keep was applied now; the same object if nothing is to be written down. */
  public KeepTime next(Instant now) {
    if (isHeld(now)) {
      return heldAt.isPresent() ? this : new KeepTime(time, Optional.of(now));
    }
    Instant last = time.orElse(now);
    boolean isStep =
        time.isEmpty()
            || heldAt.isPresent()
            || Duration.between(last, now).compareTo(LEAST_STEP) >= 0;
    return isStep ? from(last.isAfter(now) ? last : now) : this;
  }

  /** Why keep is held and what to do, with its command; empty if it is not. */
  public Optional<String> held(String rollup) {
    return heldAt.map(shown ->
        "the clock went from "
            + time.orElse(shown).truncatedTo(ChronoUnit.SECONDS)
            + " to "
            + shown.truncatedTo(ChronoUnit.SECONDS)
            + " between two refreshes; if that is wrong, set it right and all goes on by itself; if it is right: {tallyroll} refresh "
            + rollup
            + " --clock-is-right");
  }
}
