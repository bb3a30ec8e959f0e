package dev.tallyroll.postgres.verify;

import java.util.List;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * What to verify or repair. Immutable.
 *
 * @param rollup the rollup's name
 * @param from the start, in microseconds since the epoch, widened to whole UTC days; null for the
 *     oldest bucket
 * @param to the end; null for the newest
 * @param tenants the tenants as text; none means all
 * @param sample only so many random buckets
 * @param seed chooses the sample
 */
public record VerifyRequest(
    String rollup,
    @Nullable Long from,
    @Nullable Long to,
    List<String> tenants,
    OptionalInt sample,
    long seed) {
  /** Copies the list. */
  public VerifyRequest {
    tenants = List.copyOf(tenants);
  }

  /** All of a rollup. */
  public static VerifyRequest all(String rollup) {
    return new VerifyRequest(rollup, null, null, List.of(), OptionalInt.empty(), 0);
  }
}
