package dev.tallyroll.postgres.adopt;

import dev.tallyroll.model.ErrorCode;
import java.time.Instant;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What was taken over, or would be. Immutable.
 *
 * @param rollup the rollup
 * @param table the table that it comes from
 * @param grain the label of the width of its rows
 * @param from the start of the range, a UTC day; null if there is no row to take
 * @param to its end, a UTC day
 * @param end why the range ends there
 * @param rows how many rows of the table lie in it
 * @param older rows before it, which no grain keeps, or which were not asked for
 * @param later rows from its end on
 * @param sums what is in the rows that are taken, for each mapped column
 * @param unknown what cannot be known of the range: dimensions, measures, and columns of measures
 * @param refusals why it cannot be done; empty if it can, or was
 */
public record Taken(
    String rollup,
    String table,
    String grain,
    @Nullable Instant from,
    @Nullable Instant to,
    String end,
    long rows,
    long older,
    long later,
    List<Sum> sums,
    List<String> unknown,
    List<Refusal> refusals) {
  /** Copies the lists. */
  public Taken {
    sums = List.copyOf(sums);
    unknown = List.copyOf(unknown);
    refusals = List.copyOf(refusals);
  }

  /**
   * All values of a column.
   *
   * @param name the column of the rollup's tables
   * @param column the column that it is taken from
   * @param aggregate {@code sum}, {@code min} or {@code max}
   * @param value a number, a text, or null of nothing
   */
  public record Sum(String name, String column, String aggregate, @Nullable Object value) {}

  /**
   * A reason.
   *
   * @param code its kind
   * @param message one line that says what, where and how to mend it
   */
  public record Refusal(ErrorCode code, String message) {}
}
