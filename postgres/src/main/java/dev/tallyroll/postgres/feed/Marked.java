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

  /** That a source row is one of any of these; at least one. */
  public static String contains(BoundRollup bound, List<Marked> marked) {
    return marked.stream()
        .map(one -> SourceRanges.contains(bound, List.of(one.range)) + one.tenants.andOfRow(bound))
        .collect(Collectors.joining(" or ", "(", ")"));
  }
}
