package dev.tallyroll.model.partial;

import java.util.Arrays;

/**
 * Counts the NaN and infinite values of each group, which are left out of sums, extremes and
 * sketches: one of them would otherwise spoil a month. Stored as NULL where there are none.
 */
final class NonFinite {
  private final boolean possible;
  private final StoredColumn column;
  private long[] counts = {};
  private int capacity;

  NonFinite(String measure, ColumnType input) {
    this.possible = input.isMaybeNonFinite();
    this.column = new StoredColumn(measure + "_nonfinite", ColumnType.BIGINT, true);
  }

  boolean isPossible() {
    return possible;
  }

  StoredColumn column() {
    return column;
  }

  void grow(int to) {
    capacity = to;
    if (counts.length > 0) {
      counts = Arrays.copyOf(counts, to);
    }
  }

  /** Takes a value if it is not finite, and says whether it did. */
  boolean take(int group, Scalar value) {
    if (value.form() != Scalar.Form.NON_FINITE) {
      return false;
    }
    add(group, 1);
    return true;
  }

  /** Takes a value out again if it is not finite, and says whether it did. */
  boolean remove(int group, Scalar value) {
    if (value.form() != Scalar.Form.NON_FINITE) {
      return false;
    }
    add(group, -1);
    return true;
  }

  boolean isNegative(int group) {
    return counts.length > 0 && counts[group] < 0;
  }

  void merge(int group, NonFinite from, int fromGroup) {
    if (from.counts.length > 0 && from.counts[fromGroup] != 0) {
      add(group, from.counts[fromGroup]);
    }
  }

  void read(int group, FieldReader fields, Scalar scratch) {
    if (possible) {
      fields.read(ColumnType.BIGINT, scratch);
      if (!scratch.isNull()) {
        add(group, scratch.integer());
      }
    }
  }

  void write(int group, FieldWriter fields) {
    if (possible) {
      if (counts.length == 0 || counts[group] == 0) {
        fields.writeNull();
      } else {
        fields.writeLong(counts[group]);
      }
    }
  }

  long count(int group) {
    return counts.length == 0 ? 0 : counts[group];
  }

  private void add(int group, long count) {
    if (counts.length == 0) {
      counts = new long[capacity];
    }
    counts[group] += count;
  }
}
