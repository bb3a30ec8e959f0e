package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * {@code latest}: the value with the greatest event time; of several at that time the greatest,
 * text in collation "C".
 */
final class LatestColumn implements PartialColumn {
  private final ColumnType type;
  private final ValueStore values;
  private final List<StoredColumn> stored;
  private final Scalar held = new Scalar();
  private final Scalar scratch = new Scalar();
  private final Scalar at = new Scalar();
  private long[] times = {};

  LatestColumn(Measure measure, ColumnType input) {
    this.type = input;
    this.values = ValueStore.of(input);
    List<String> names = measure.kind().columns(measure.name());
    this.stored =
        List.of(
            new StoredColumn(names.get(0), input, true),
            new StoredColumn(names.get(1), ColumnType.TIMESTAMPTZ, true));
  }

  @Override
  public void grow(int capacity) {
    values.grow(capacity);
    times = Arrays.copyOf(times, capacity);
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (value.isNull() || value.form() == Scalar.Form.NON_FINITE) {
      return;
    }
    if (values.has(group)) {
      if (time < times[group]) {
        return;
      }
      if (time == times[group]) {
        values.load(group, held);
        if (value.compareTo(held) <= 0) {
          return;
        }
      }
    }
    values.set(group, value);
    times[group] = time;
  }

  @Override
  public void merge(int group, PartialColumn from, int fromGroup) {
    LatestColumn other = (LatestColumn) from;
    other.values.load(fromGroup, other.scratch);
    add(group, other.scratch, other.times[fromGroup]);
  }

  @Override
  public void read(int group, FieldReader fields) {
    fields.read(type, scratch);
    fields.read(ColumnType.TIMESTAMPTZ, at);
    add(group, scratch, at.isNull() ? 0 : at.integer());
  }

  @Override
  public void write(int group, FieldWriter fields) {
    values.load(group, held);
    fields.write(held, type);
    if (held.isNull()) {
      at.setNull();
    } else {
      at.setInteger(times[group]);
    }
    fields.write(at, ColumnType.TIMESTAMPTZ);
  }

  @Override
  public List<StoredColumn> stored() {
    return stored;
  }

  @Override
  public @Nullable Object value(int group, Part part) {
    values.load(group, held);
    return type.box(held);
  }
}
