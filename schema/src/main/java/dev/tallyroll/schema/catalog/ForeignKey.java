package dev.tallyroll.schema.catalog;

import java.util.List;

/**
 * A foreign key; of partitioned tables the one of the parent.
 *
 * @param table the number of the table that refers
 * @param columns the numbers of its columns, in the order of the key
 * @param referenced the number of the table that it refers to
 * @param referencedColumns the numbers of that table's columns, in the same order
 * @param isValidated false after NOT VALID: old rows were not looked at
 * @param isEnforced false after NOT ENFORCED, which PostgreSQL 18 has: no row is looked at
 * @param onDelete what a deletion over there does here, as {@code cascade}
 * @param rest the SQL of what else it says, as {@code " on update cascade deferrable"}
 */
public record ForeignKey(
    String name,
    long table,
    List<Integer> columns,
    long referenced,
    List<Integer> referencedColumns,
    boolean isValidated,
    boolean isEnforced,
    String onDelete,
    String rest) {
  /** Copies. */
  public ForeignKey {
    columns = List.copyOf(columns);
    referencedColumns = List.copyOf(referencedColumns);
  }
}
