package dev.tallyroll.model.definition;

import org.jspecify.annotations.Nullable;

/**
 * The table that a rollup is kept over.
 *
 * @param schema its schema, or null for {@code public}
 * @param table its name
 * @param tenant the tenant column
 * @param time the time column
 * @param zone the zone of a {@code timestamp} column without one; null for {@code timestamptz}
 * @param changes how its rows may change
 * @param keep how long its rows are kept before Tallyroll purges them; null if it never does
 */
public record Source(
    @Nullable String schema,
    String table,
    String tenant,
    String time,
    @Nullable String zone,
    Changes changes,
    @Nullable Keep keep) {
  /** {@code schema.table}, also where the schema is not written down. */
  public String qualifiedTable() {
    return (schema == null ? "public" : schema) + "." + table;
  }

  /** {@code schema.table}, or the table alone. */
  public String label() {
    return schema == null ? table : schema + "." + table;
  }
}
