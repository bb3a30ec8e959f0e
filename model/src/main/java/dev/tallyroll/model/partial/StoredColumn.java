package dev.tallyroll.model.partial;

/**
 * A column of a rollup's tables.
 *
 * @param name its name
 * @param type its type
 * @param nullable whether it can be NULL
 */
public record StoredColumn(String name, ColumnType type, boolean nullable) {}
