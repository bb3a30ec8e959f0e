package dev.tallyroll.schema.catalog;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An index, with the key that it enforces if it does.
 *
 * @param table the number of its table
 * @param constraint the name of the key, unique or exclusion constraint that it serves; null
 *     without one
 * @param isValid false after a concurrent build that was cut short
 * @param isReady false if inserts do not even keep it up
 * @param isLive false while it is being dropped
 * @param isAttached whether it is part of the index of a partitioned table
 * @param method as {@code btree}
 * @param keys what it is over, in order, without included columns
 * @param included numbers of the columns that it only carries
 * @param predicate the SQL of its WHERE; null without one
 * @param deferral the SQL that lets its constraint be checked later, so that no upsert can use it;
 *     empty if it cannot
 * @param definition the SQL that makes it, taken apart
 */
public record Index(
    long oid,
    String name,
    long table,
    boolean isUnique,
    boolean isPrimary,
    boolean isExclusion,
    @Nullable String constraint,
    boolean isValid,
    boolean isReady,
    boolean isLive,
    boolean nullsNotDistinct,
    boolean isAttached,
    String method,
    List<Part> keys,
    List<Integer> included,
    @Nullable String predicate,
    String deferral,
    IndexDefinition definition) {
  /**
   * One part of an index.
   *
   * @param column the column's number; 0 if it is an expression
   * @param expression the SQL of the expression; null if it is a column
   * @param rules operator class, collation and order, which make two indexes different
   */
  public record Part(int column, @Nullable String expression, String rules) {}

  /** Copies. */
  public Index {
    keys = List.copyOf(keys);
    included = List.copyOf(included);
  }

  /** Whether queries use it and writers keep it up. */
  public boolean isUsable() {
    return isValid && isReady && isLive;
  }

  /** Whether one of its keys is this column. */
  public boolean hasKey(int column) {
    return column != 0 && keys.stream().anyMatch(part -> part.column() == column);
  }
}
