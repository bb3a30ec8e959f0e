package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code count}: the number of rows whose input is not NULL, which is the predicate's truth. */
final class CountColumn implements PartialColumn {
  private final List<StoredColumn> stored;
  private final Scalar scratch = new Scalar();
  private long[] counts = {};

  CountColumn(Measure measure) {
    this.stored = List.of(new StoredColumn(measure.name(), ColumnType.BIGINT, false));
  }

  @Override
  public void grow(int capacity) {
    counts = Arrays.copyOf(counts, capacity);
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (!value.isNull()) {
      counts[group]++;
    }
  }

  @Override
  public void remove(int group, Scalar value, long time) {
    if (!value.isNull()) {
      counts[group]--;
    }
  }

  @Override
  public boolean isDoubtful(int group) {
    return counts[group] < 0;
  }

  @Override
  public void merge(int group, PartialColumn from, int fromGroup) {
    counts[group] += ((CountColumn) from).counts[fromGroup];
  }

  @Override
  public void read(int group, FieldReader fields) {
    fields.read(ColumnType.BIGINT, scratch);
    counts[group] += scratch.isNull() ? 0 : scratch.integer();
  }

  @Override
  public void write(int group, FieldWriter fields) {
    fields.writeLong(counts[group]);
  }

  @Override
  public List<StoredColumn> stored() {
    return stored;
  }

  @Override
  public @Nullable Object value(int group, Part part) {
    return counts[group];
  }
}
