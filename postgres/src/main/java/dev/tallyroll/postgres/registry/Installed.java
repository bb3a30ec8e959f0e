package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;

/**
 * A rollup that is installed and live, as one snapshot sees it. Immutable.
 *
 * @param bound the rollup and its source
 * @param anchor the snapshot after the capture was in place
 * @param cursor the snapshot of the last refresh
 * @param coverage which part of history is published
 * @param keptFrom for each grain the start of the oldest bucket that is complete, {@link
 *     Long#MIN_VALUE} for all
 */
public record Installed(
    BoundRollup bound,
    Snapshot anchor,
    Snapshot cursor,
    Coverage coverage,
    SortedMap<Grain, Long> keptFrom) {

  /** The name of the rollup. */
  public String name() {
    return bound.name();
  }

  /** The source rows that are history, in SQL. */
  public String isHistorySql() {
    return "("
        + BoundRollup.XID_COLUMN
        + " is null or pg_visible_in_snapshot("
        + BoundRollup.XID_COLUMN
        + ", '"
        + anchor.text()
        + "'::pg_snapshot))";
  }

  /** The start of the oldest bucket that any grain keeps. */
  public long keptFromAny() {
    return keptFrom.values().stream().mapToLong(Long::longValue).min().orElse(Long.MIN_VALUE);
  }

  /** The first part of a range that is history and not published, as a range of times. */
  public Optional<Map.Entry<Long, Long>> uncovered(long from, long to) {
    return coverage.uncovered().stream()
        .map(days ->
            Map.entry(
                Math.max(from, Times.micros(days.from())), Math.min(to, Times.micros(days.to()))))
        .filter(range -> range.getKey() < range.getValue())
        .findFirst();
  }
}
