package dev.tallyroll.model.partial;

/**
 * Where partials read their stored fields from, one call for each field, in the order they were
 * written in.
 */
public interface FieldReader {
  /**
   * Reads the next field into {@code into}. Sketches are read as bytes; a {@code bit varying} gives
   * its bits packed, the first bit first.
   */
  void read(ColumnType type, Scalar into);
}
