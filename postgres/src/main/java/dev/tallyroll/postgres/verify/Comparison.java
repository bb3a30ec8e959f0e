package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.registry.Installed;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How two sides compare.
 *
 * @param buckets how many buckets were compared
 * @param differences those that differ
 */
record Comparison(long buckets, List<Difference> differences) {
  /** A bucket that differs; a group of -1 is not there. */
  record Difference(Grain grain, int key, long bucket, int expectedGroup, int actualGroup) {
    /** Whether something is stored that is lost. */
    boolean isIn(Losses losses) {
      return actualGroup >= 0 && losses.contain(grain, key, bucket);
    }
  }

  /** Compares. */
  static Comparison of(Installed installed, Sides sides) {
    long buckets = 0;
    List<Difference> differences = new ArrayList<>();
    for (Grain grain : sides.expected().keySet()) {
      PartialTable expected = Sides.table(sides.expected(), grain);
      PartialTable actual = Sides.table(sides.actual(), grain);
      long kept = installed.keptFrom().getOrDefault(grain, Long.MIN_VALUE);
      // Open buckets are made of finer ones, which are compared.
      long open = installed.openFrom(grain);
      for (int group = 0; group < expected.size(); group++) {
        int key = expected.key(group);
        long bucket = expected.bucket(group);
        if (bucket >= kept && bucket < open) {
          buckets++;
          int other = actual.find(key, bucket);
          if (other < 0 || !isSame(expected, group, actual, other)) {
            differences.add(new Difference(grain, key, bucket, group, other));
          }
        }
      }
      for (int group = 0; group < actual.size(); group++) {
        int key = actual.key(group);
        long bucket = actual.bucket(group);
        if (bucket >= kept && expected.find(key, bucket) < 0) {
          buckets++;
          differences.add(new Difference(grain, key, bucket, -1, group));
        }
      }
    }
    return new Comparison(buckets, differences);
  }

  private static boolean isSame(PartialTable expected, int group, PartialTable actual, int other) {
    for (int i = 0; i < expected.columns().size(); i++) {
      if (differing(expected.columns().get(i), group, actual.columns().get(i), other) >= 0) {
        return false;
      }
    }
    return true;
  }

  /** The index of the first stored column in which two partials differ, or -1. */
  static int differing(PartialColumn expected, int group, PartialColumn actual, int other) {
    List<@Nullable Object> left = fields(expected, group);
    List<@Nullable Object> right = fields(actual, other);
    for (int i = 0; i < left.size(); i++) {
      Object a = left.get(i);
      Object b = right.get(i);
      boolean close =
          a instanceof Double x
              && b instanceof Double y
              && Math.abs(x - y) <= 1e-9 * expected.magnitude(group);
      // A sum keeps the longest scale that it ever had: 2.50 is 2.5.
      boolean same =
          (a instanceof BigDecimal one && b instanceof BigDecimal two)
              ? one.compareTo(two) == 0
              : close || Objects.equals(a, b);
      if (!same) {
        return i;
      }
    }
    return -1;
  }

  /** The stored columns of a partial. */
  static List<@Nullable Object> fields(PartialColumn column, int group) {
    FieldList fields = new FieldList();
    column.write(group, fields);
    return fields.fields();
  }
}
