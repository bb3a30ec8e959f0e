package dev.tallyroll.schema.catalog;

import java.util.List;

/**
 * The query of a view or materialized view.
 *
 * @param view the number of the view
 * @param sql the query
 * @param reads the numbers of the relations that it reads itself, views among them
 */
public record View(long view, String sql, List<Long> reads) {
  /** Copies. */
  public View {
    reads = List.copyOf(reads);
  }
}
