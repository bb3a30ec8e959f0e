package dev.tallyroll.model.definition;

/**
 * A dimension: what rows are grouped by, beside tenant and time. NULL is a value like any other.
 *
 * @param name its name, a lower-case SQL identifier
 * @param expression the SQL expression over one source row; for a plain column its quoted name
 * @param column whether it is a plain column, named {@code name}
 */
public record Dimension(String name, String expression, boolean column) {}
