package dev.tallyroll.postgres.catalog;

import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.stream.Collectors;

/**
 * The change log of a source: an insert-only copy of the columns that its rollups read, of each row
 * that was put in (sign 1) or taken out (sign -1) by a statement; 2 and -2 for the two halves of an
 * update, -3 for what a registered purger has deleted. A row of sign 0 is a marker: what happened
 * cannot be said by rows, and a range must be computed anew. Immutable.
 *
 * @param name the name of its table in Tallyroll's schema
 * @param columns the source columns that it copies
 */
public record ChangeLog(String name, List<String> columns) {
  /** The column with what became of the row. */
  public static final String SIGN = "tallyroll_sign";

  /** The column with the partition that a row lies in. */
  public static final String SLOT = "tallyroll_slot";

  /** The column with the table that the statement named. */
  public static final String LEAF = "tallyroll_leaf";

  /** The columns with the range of a marker; NULL if it is not known. */
  public static final String FROM = "tallyroll_from";

  /** See {@link #FROM}. */
  public static final String TO = "tallyroll_to";

  /** How many partitions there are: one is filled while the others are emptied. */
  public static final int SLOTS = 4;

  /** Copies the list. */
  public ChangeLog {
    columns = List.copyOf(columns);
  }

  /** The table, quoted. */
  public String sqlName() {
    return BoundRollup.qualified(name);
  }

  /** The partition of a slot, quoted. */
  public String slotName(int slot) {
    return BoundRollup.qualified(name + "_" + slot);
  }

  /** A row's columns of these names as one JSON object, in SQL: the same for source and log. */
  public static String image(List<String> columns) {
    return "(select to_jsonb(image) from (select "
        + columns.stream().map(Sql::identifier).collect(Collectors.joining(", "))
        + ") image)";
  }
}
