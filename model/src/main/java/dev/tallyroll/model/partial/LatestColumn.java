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
  private final Removed<At> removed = new Removed<>();
  private long[] times = {};

  /** A value and its event time. */
  private record At(long time, Object value) {}

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
    if (removed.isEmpty() || !removed.cancel(group, new At(time, value.key()))) {
      addLatest(group, value, time);
    }
  }

  @Override
  public void remove(int group, Scalar value, long time) {
    if (!value.isNull() && value.form() != Scalar.Form.NON_FINITE) {
      removed.add(group, new At(time, value.key()));
    }
  }

  @Override
  public boolean isDoubtful(int group) {
    for (At at : removed.of(group)) {
      if (!values.has(group) || at.time() > times[group]) {
        return true;
      }
      if (at.time() == times[group]) {
        values.load(group, held);
        scratch.setKey(at.value());
        if (scratch.compareTo(held) >= 0) {
          return true;
        }
      }
    }
    return false;
  }

  private void addLatest(int group, Scalar value, long time) {
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
    if (!other.scratch.isNull()) {
      addLatest(group, other.scratch, other.times[fromGroup]);
    }
    removed.addAll(group, other.removed, fromGroup);
  }

  @Override
  public void read(int group, FieldReader fields) {
    fields.read(type, scratch);
    fields.read(ColumnType.TIMESTAMPTZ, at);
    if (!scratch.isNull()) {
      addLatest(group, scratch, at.isNull() ? 0 : at.integer());
    }
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
  public long heapBytes() {
    return removed.heapBytes();
  }

  @Override
  public @Nullable Object value(int group, Part part) {
    values.load(group, held);
    return type.box(held);
  }
}
