package dev.tallyroll.model.partial;

/**
 * Where partials write their stored fields, one call for each field and in the order of {@link
 * StoredColumn}s.
 */
public interface FieldWriter {
  /** Writes NULL. */
  void writeNull();

  /** Writes a {@code bigint}. */
  void writeLong(long value);

  /** Writes a value of a type. A NULL scalar writes NULL. */
  void write(Scalar value, ColumnType type);

  /** Writes a {@code bytea}. */
  void writeBytes(byte[] bytes);

  /** Writes a {@code bit varying} of all bits of these bytes, the first bit first. */
  void writeBits(byte[] bytes);
}
