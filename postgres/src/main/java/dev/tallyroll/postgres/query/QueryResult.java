package dev.tallyroll.postgres.query;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * An answer: rows in order of tenant, bucket and dimensions. Immutable.
 *
 * @param columns {@code tenant}, {@code bucket}, the dimensions, then the measures as they were
 *     asked for
 * @param rows the rows: Long, Double, BigDecimal, Boolean, String or null in each column
 * @param from the start of the range
 * @param to its end
 * @param incomplete what of the range is not filled, if the question allowed that
 */
public record QueryResult(
    List<String> columns,
    List<List<@Nullable Object>> rows,
    Instant from,
    Instant to,
    Optional<String> incomplete) {
  /** Copies the lists. */
  public QueryResult {
    columns = List.copyOf(columns);
    List<List<@Nullable Object>> copies = new ArrayList<>();
    for (List<@Nullable Object> row : rows) {
      copies.add(Collections.unmodifiableList(new ArrayList<>(row)));
    }
    rows = Collections.unmodifiableList(copies);
  }
}
