package dev.tallyroll.postgres.adopt;

import java.time.Instant;
import java.time.ZoneId;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What is to be taken over. Immutable.
 *
 * @param rollup the rollup that gets it
 * @param table the table or view that has it, as {@code schema.table}; without a schema in {@code
 *     public}
 * @param grain the label of the width of its rows
 * @param mapped what becomes what: a name of the rollup, {@code bucket}, {@code tenant}, a
 *     dimension, a measure or, of a distribution x, {@code x_count}, {@code x_sum}, {@code x_min},
 *     {@code x_max}, to a column of the table
 * @param tenant the tenant of all rows, as text; null if a column says it
 * @param zone the zone of a bucket column without one; null if it has one
 * @param since the start, a UTC day; null for the first row that is kept
 * @param before the end, a UTC day; null for where the rollup or its source have their own
 */
public record AdoptRequest(
    String rollup,
    String table,
    String grain,
    Map<String, String> mapped,
    @Nullable String tenant,
    @Nullable ZoneId zone,
    @Nullable Instant since,
    @Nullable Instant before) {
  /** Copies the map, in its order. */
  public AdoptRequest {
    mapped = Collections.unmodifiableMap(new LinkedHashMap<>(mapped));
  }

  /** The same for just this time. */
  AdoptRequest between(Instant from, Instant to) {
    return new AdoptRequest(rollup, table, grain, mapped, tenant, zone, from, to);
  }
}
