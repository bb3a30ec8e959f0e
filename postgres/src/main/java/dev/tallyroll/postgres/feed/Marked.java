package dev.tallyroll.postgres.feed;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import java.util.List;
import java.util.stream.Collectors;

/**
 * What a marker of the change log stands for: rows that were taken out or put in as a whole.
 * Immutable.
 *
 * @param range where they may lie
 * @param tenants whose they may be
 */
public record Marked(Leaf.Range range, Tenants tenants) {
  /** Rows of all tenants. */
  public static Marked ofAll(Leaf.Range range) {
    return new Marked(range, new Tenants(""));
  }

  /** As a condition over a rollup's table. */
  public String buckets(BoundRollup bound) {
    return "bucket >= "
        + FeedSql.instant(range.from())
        + " and bucket < "
        + FeedSql.instant(range.to())
        + tenants.and(bound);
  }

  /** As a condition over source rows, which an index on their time serves. */
  public String rows(BoundRollup bound) {
    return (range.to() == Long.MAX_VALUE
            ? bound.timeSql() + " >= " + FeedSql.instant(range.from())
            : FeedSql.inRange(bound, range.from(), range.to()))
        + tenants.andOfRow(bound);
  }

  /** That a source row is one of any of these; at least one. */
  public static String contains(BoundRollup bound, List<Marked> marked) {
    return marked.stream()
        .map(one -> SourceRanges.contains(bound, List.of(one.range)) + one.tenants.andOfRow(bound))
        .collect(Collectors.joining(" or ", "(", ")"));
  }
}
