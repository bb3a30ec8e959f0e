package dev.tallyroll.postgres.verify;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A stored value that differs from its source rows. Immutable.
 *
 * @param tenant the tenant
 * @param grain the grain's label
 * @param bucket the bucket's start, as {@code 2026-05-01T00:00:00Z}
 * @param dimensions the dimensions by name
 * @param column the column, or {@code (row)} where a whole row is missing or too many
 * @param stored what the rollup has, with what is not merged yet; null for nothing
 * @param expected what the source rows give; null for nothing
 */
public record Mismatch(
    @Nullable Object tenant,
    String grain,
    String bucket,
    Map<String, @Nullable Object> dimensions,
    String column,
    @Nullable Object stored,
    @Nullable Object expected) {
  /** Copies the map. */
  public Mismatch {
    dimensions = Collections.unmodifiableMap(new LinkedHashMap<>(dimensions));
  }
}
