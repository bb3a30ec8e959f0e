package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.FieldWriter;
import dev.tallyroll.model.partial.Scalar;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The stored fields of one partial as Java objects, to compare and to show. */
final class FieldList implements FieldWriter {
  private final List<@Nullable Object> fields = new ArrayList<>();

  List<@Nullable Object> fields() {
    return fields;
  }

  @Override
  public void writeNull() {
    fields.add(null);
  }

  @Override
  public void writeLong(long value) {
    fields.add(value);
  }

  @Override
  public void write(Scalar value, ColumnType type) {
    fields.add(type.box(value));
  }

  @Override
  public void writeBytes(byte[] bytes) {
    fields.add("\\x" + HexFormat.of().formatHex(bytes));
  }

  @Override
  public void writeBits(byte[] bytes) {
    fields.add("\\x" + HexFormat.of().formatHex(bytes));
  }
}
