package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * {@code min} and {@code max}: the least or greatest value, NULL of nothing. Text is compared in
 * collation "C".
 */
final class ExtremeColumn implements PartialColumn {
  private final ColumnType type;
  private final boolean greatest;
  private final ValueStore values;
  private final NonFinite nonFinite;
  private final List<StoredColumn> stored;
  private final Removed<Object> removed = new Removed<>();
  private final Scalar held = new Scalar();
  private final Scalar scratch = new Scalar();

  ExtremeColumn(Measure measure, ColumnType input) {
    this(measure.name(), measure.name(), input, measure.kind() == Measure.Kind.MAX);
  }

  ExtremeColumn(String column, String measure, ColumnType input, boolean greatest) {
    this.type = input;
    this.greatest = greatest;
    this.values = ValueStore.of(input);
    this.nonFinite = new NonFinite(measure, input);
    List<StoredColumn> columns = new ArrayList<>();
    columns.add(new StoredColumn(column, input, true));
    if (nonFinite.isPossible()) {
      columns.add(nonFinite.column());
    }
    this.stored = List.copyOf(columns);
  }

  @Override
  public void grow(int capacity) {
    values.grow(capacity);
    nonFinite.grow(capacity);
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (!value.isNull() && !nonFinite.take(group, value)) {
      put(group, value);
    }
  }

  /** Adds a row's value, or cancels its removal. */
  void put(int group, Scalar value) {
    if (removed.isEmpty() || !removed.cancel(group, value.key())) {
      addFinite(group, value);
    }
  }

  @Override
  public void remove(int group, Scalar value, long time) {
    if (!value.isNull() && !nonFinite.remove(group, value)) {
      removeFinite(group, value);
    }
  }

  void removeFinite(int group, Scalar value) {
    removed.add(group, value.key());
  }

  @Override
  public boolean isDoubtful(int group) {
    return nonFinite.isNegative(group) || isExtremeRemoved(group);
  }

  /** Whether a value was taken out that may have been the extreme one. */
  boolean isExtremeRemoved(int group) {
    for (Object value : removed.of(group)) {
      values.load(group, held);
      if (held.isNull()) {
        return true;
      }
      scratch.setKey(value);
      int order = scratch.compareTo(held);
      if (greatest ? order >= 0 : order <= 0) {
        return true;
      }
    }
    return false;
  }

  void addFinite(int group, Scalar value) {
    values.load(group, held);
    if (held.isNull()) {
      values.set(group, value);
    } else {
      int order = value.compareTo(held);
      if (greatest ? order > 0 : order < 0) {
        values.set(group, value);
      }
    }
  }

  @Override
  public void merge(int group, PartialColumn from, int fromGroup) {
    ExtremeColumn other = (ExtremeColumn) from;
    Scalar value = other.scratch;
    other.values.load(fromGroup, value);
    if (!value.isNull()) {
      addFinite(group, value);
    }
    removed.addAll(group, other.removed, fromGroup);
    nonFinite.merge(group, other.nonFinite, fromGroup);
  }

  @Override
  public void read(int group, FieldReader fields) {
    readValue(group, fields);
    nonFinite.read(group, fields, scratch);
  }

  void readValue(int group, FieldReader fields) {
    fields.read(type, scratch);
    if (!scratch.isNull()) {
      addFinite(group, scratch);
    }
  }

  @Override
  public void write(int group, FieldWriter fields) {
    writeValue(group, fields);
    nonFinite.write(group, fields);
  }

  void writeValue(int group, FieldWriter fields) {
    values.load(group, held);
    fields.write(held, type);
  }

  @Override
  public long heapBytes() {
    return removed.heapBytes();
  }

  /** Loads the value, NULL where there is none. */
  void load(int group, Scalar into) {
    values.load(group, into);
  }

  @Override
  public List<StoredColumn> stored() {
    return stored;
  }

  @Override
  public @Nullable Object value(int group, Part part) {
    if (part instanceof Part.NonFinite) {
      return nonFinite.count(group);
    }
    values.load(group, held);
    return type.box(held);
  }
}
