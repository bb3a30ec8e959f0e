package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code distinct}: a {@link DistinctSketch} of the values' text. */
final class DistinctColumn implements PartialColumn {
  private final List<StoredColumn> stored;
  private final HashCache hashes = new HashCache();
  private final Scalar scratch = new Scalar();
  private @Nullable DistinctSketch[] sketches = {};
  private final Removed<Long> removed = new Removed<>();
  private long heapBytes;

  DistinctColumn(Measure measure) {
    String column = measure.kind().columns(measure.name()).getFirst();
    this.stored = List.of(new StoredColumn(column, ColumnType.VARBIT, false));
  }

  @Override
  public void grow(int capacity) {
    sketches = Arrays.copyOf(sketches, capacity);
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (value.isNull()) {
      return;
    }
    long hash = hashes.hash(value.bytes(), value.offset(), value.length());
    if (!removed.isEmpty() && removed.cancel(group, hash)) {
      return;
    }
    DistinctSketch sketch = sketch(group);
    long before = sketch.heapBytes();
    sketch.add(hash);
    heapBytes += sketch.heapBytes() - before;
  }

  @Override
  public void remove(int group, Scalar value, long time) {
    if (!value.isNull()) {
      removed.add(group, hashes.hash(value.bytes(), value.offset(), value.length()));
    }
  }

  /** A sketch does not know how many rows have a value, so each that is taken out leaves doubt. */
  @Override
  public boolean isDoubtful(int group) {
    return !removed.of(group).isEmpty();
  }

  private DistinctSketch sketch(int group) {
    DistinctSketch sketch = sketches[group];
    if (sketch == null) {
      sketch = new DistinctSketch();
      sketches[group] = sketch;
      heapBytes += sketch.heapBytes();
    }
    return sketch;
  }

  @Override
  public void merge(int group, PartialColumn from, int fromGroup) {
    DistinctSketch other = ((DistinctColumn) from).sketches[fromGroup];
    if (other != null) {
      DistinctSketch into = sketch(group);
      long before = into.heapBytes();
      into.merge(other);
      heapBytes += into.heapBytes() - before;
    }
    removed.addAll(group, ((DistinctColumn) from).removed, fromGroup);
  }

  @Override
  public void read(int group, FieldReader fields) {
    fields.read(ColumnType.VARBIT, scratch);
    if (!scratch.isNull() && scratch.length() > 0) {
      DistinctSketch into = sketch(group);
      long before = into.heapBytes();
      into.merge(scratch.bytes(), scratch.offset(), scratch.length());
      heapBytes += into.heapBytes() - before;
    }
  }

  @Override
  public void write(int group, FieldWriter fields) {
    DistinctSketch sketch = sketches[group];
    fields.writeBits(sketch == null ? DistinctSketch.EMPTY : sketch.encode());
  }

  @Override
  public List<StoredColumn> stored() {
    return stored;
  }

  @Override
  public @Nullable Object value(int group, Part part) {
    DistinctSketch sketch = sketches[group];
    return sketch == null ? 0L : sketch.estimate();
  }

  @Override
  public long heapBytes() {
    return heapBytes + removed.heapBytes();
  }
}
