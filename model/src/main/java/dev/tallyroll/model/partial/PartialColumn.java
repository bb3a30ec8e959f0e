package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The partials of one measure, one for each group of a {@link PartialTable}, in a column.
 *
 * <p>A partial is a commutative monoid: a group that nothing was added to is the identity, and
 * {@link #merge} is associative and commutative, so any order and any grouping of the same rows
 * gives the same stored bytes (sums of doubles aside). Columns instead of objects, since a refresh
 * folds millions of groups at once.
 *
 * <p>Mutable, for one thread.
 */
public sealed interface PartialColumn
    permits CountColumn,
        SumColumn,
        ExtremeColumn,
        LatestColumn,
        DistributionColumn,
        DistinctColumn {

  /** Makes room for groups up to {@code capacity}; new ones hold the identity. */
  void grow(int capacity);

  /**
   * Adds one row's value to a group.
   *
   * @param group the group
   * @param value the row's value, NULL where the row does not meet the measure's predicate
   * @param time the row's event time in microseconds since the epoch
   */
  void add(int group, Scalar value, long time);

  /**
   * Takes one row's value out of a group again: the row was deleted, or changed. The removals of a
   * feed come before its additions, so that a value that is taken out and put in again counts as
   * untouched.
   *
   * @param group the group
   * @param value the value that the row had
   * @param time the event time that the row had
   */
  void remove(int group, Scalar value, long time);

  /**
   * Whether what was taken out of a group leaves its partial unknown, so that it must be computed
   * anew from its rows: the least value is gone, say, and nobody remembers the second. Asked once
   * everything is merged; false for a group that nothing was taken out of.
   */
  boolean isDoubtful(int group);

  /**
   * Merges a partial of another column of the same measure into a group's. The other one stays as
   * it is.
   */
  void merge(int group, PartialColumn from, int fromGroup);

  /** Reads stored fields, and merges the partial that they hold into a group's. */
  void read(int group, FieldReader fields);

  /** Writes the stored fields of a group's partial. */
  void write(int group, FieldWriter fields);

  /** The stored columns, in the order of {@link #read} and {@link #write}. */
  List<StoredColumn> stored();

  /** The value of a part of a group's partial. */
  @Nullable Object value(int group, Part part);

  /**
   * The sum of the absolute values behind a sum of doubles, which bounds its rounding error; 0 for
   * every other partial. Known for what was added, not for what was read.
   */
  default double magnitude(int group) {
    return 0;
  }

  /** About how many bytes of heap the column's objects take beyond its arrays of primitives. */
  default long heapBytes() {
    return 0;
  }

  /**
   * The column of a measure.
   *
   * @param measure the measure
   * @param input the type of its expression; ignored for a count
   * @throws IllegalArgumentException if the type does not fit the measure
   */
  static PartialColumn of(Measure measure, @Nullable ColumnType input) {
    if (measure.kind() == Measure.Kind.COUNT) {
      return new CountColumn(measure);
    }
    if (input == null) {
      throw new IllegalArgumentException(
          measure.name() + ": the type of the expression is not known");
    }
    return switch (measure.kind()) {
      case COUNT -> new CountColumn(measure);
      case SUM -> new SumColumn(measure, input);
      case MIN, MAX -> new ExtremeColumn(measure, input);
      case LATEST -> new LatestColumn(measure, input);
      case DISTRIBUTION -> new DistributionColumn(measure, input);
      case DISTINCT -> new DistinctColumn(measure);
    };
  }

  /** What can be asked of a partial. */
  sealed interface Part {
    /**
     * The measure's own value: the count, sum, least, greatest or latest value, or the number of
     * distinct ones.
     */
    record Value() implements Part {}

    /** The number of values of a distribution. */
    record Count() implements Part {}

    /** The sum of a distribution. */
    record Sum() implements Part {}

    /** The least value of a distribution. */
    record Min() implements Part {}

    /** The greatest value of a distribution. */
    record Max() implements Part {}

    /** The number of NaN and infinite values that were left out. */
    record NonFinite() implements Part {}

    /**
     * A quantile of a distribution.
     *
     * @param q between 0 and 1
     */
    record Quantile(double q) implements Part {}
  }
}
