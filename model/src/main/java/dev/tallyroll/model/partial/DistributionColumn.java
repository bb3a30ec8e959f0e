package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code distribution}: count, sum, min, max and a {@link Histogram} of the finite values. */
final class DistributionColumn implements PartialColumn {
  private final SumColumn sums;
  private final ExtremeColumn mins;
  private final ExtremeColumn maxs;
  private final NonFinite nonFinite;
  private final List<StoredColumn> stored;
  private final Scalar scratch = new Scalar();
  private long[] counts = {};
  private @Nullable Histogram[] histograms = {};
  private long heapBytes;

  DistributionColumn(Measure measure, ColumnType input) {
    List<String> names = measure.kind().columns(measure.name());
    this.sums = new SumColumn(names.get(1), measure.name(), input);
    this.mins = new ExtremeColumn(names.get(2), measure.name(), input, false);
    this.maxs = new ExtremeColumn(names.get(3), measure.name(), input, true);
    this.nonFinite = new NonFinite(measure.name(), input);
    List<StoredColumn> columns = new ArrayList<>();
    columns.add(new StoredColumn(names.get(0), ColumnType.BIGINT, false));
    columns.add(sums.stored().getFirst());
    columns.add(mins.stored().getFirst());
    columns.add(maxs.stored().getFirst());
    columns.add(new StoredColumn(names.get(4), ColumnType.BYTEA, false));
    if (nonFinite.isPossible()) {
      columns.add(nonFinite.column());
    }
    this.stored = List.copyOf(columns);
  }

  @Override
  public void grow(int capacity) {
    sums.grow(capacity);
    mins.grow(capacity);
    maxs.grow(capacity);
    nonFinite.grow(capacity);
    counts = Arrays.copyOf(counts, capacity);
    histograms = Arrays.copyOf(histograms, capacity);
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (value.isNull() || nonFinite.take(group, value)) {
      return;
    }
    counts[group]++;
    sums.put(group, value);
    mins.put(group, value);
    maxs.put(group, value);
    Histogram histogram = histogram(group);
    long before = histogram.heapBytes();
    histogram.add(value.asDouble());
    heapBytes += histogram.heapBytes() - before;
  }

  @Override
  public void remove(int group, Scalar value, long time) {
    if (value.isNull() || nonFinite.remove(group, value)) {
      return;
    }
    counts[group]--;
    sums.removeFinite(group, value);
    mins.removeFinite(group, value);
    maxs.removeFinite(group, value);
    Histogram histogram = histogram(group);
    long before = histogram.heapBytes();
    histogram.remove(value.asDouble());
    heapBytes += histogram.heapBytes() - before;
  }

  /** The count says whether anything is left, so that an empty distribution is beyond doubt. */
  @Override
  public boolean isDoubtful(int group) {
    Histogram histogram = histograms[group];
    if (counts[group] == 0) {
      return nonFinite.isNegative(group) || (histogram != null && !histogram.isEmpty());
    }
    return counts[group] < 0
        || nonFinite.isNegative(group)
        || sums.isInexact(group)
        || mins.isExtremeRemoved(group)
        || maxs.isExtremeRemoved(group)
        || (histogram != null && histogram.isNegative());
  }

  private Histogram histogram(int group) {
    Histogram histogram = histograms[group];
    if (histogram == null) {
      histogram = new Histogram();
      histograms[group] = histogram;
      heapBytes += histogram.heapBytes();
    }
    return histogram;
  }

  @Override
  public void merge(int group, PartialColumn from, int fromGroup) {
    DistributionColumn other = (DistributionColumn) from;
    counts[group] += other.counts[fromGroup];
    sums.merge(group, other.sums, fromGroup);
    mins.merge(group, other.mins, fromGroup);
    maxs.merge(group, other.maxs, fromGroup);
    nonFinite.merge(group, other.nonFinite, fromGroup);
    Histogram histogram = other.histograms[fromGroup];
    if (histogram != null) {
      Histogram into = histogram(group);
      long before = into.heapBytes();
      into.merge(histogram);
      heapBytes += into.heapBytes() - before;
    }
  }

  @Override
  public void read(int group, FieldReader fields) {
    fields.read(ColumnType.BIGINT, scratch);
    counts[group] += scratch.isNull() ? 0 : scratch.integer();
    sums.readSum(group, fields);
    mins.readValue(group, fields);
    maxs.readValue(group, fields);
    fields.read(ColumnType.BYTEA, scratch);
    if (!scratch.isNull()) {
      Histogram into = histogram(group);
      long before = into.heapBytes();
      into.merge(scratch.bytes(), scratch.offset(), scratch.length());
      heapBytes += into.heapBytes() - before;
    }
    nonFinite.read(group, fields, scratch);
  }

  @Override
  public void write(int group, FieldWriter fields) {
    fields.writeLong(counts[group]);
    if (counts[group] == 0) {
      // Also of what was there and was taken out again.
      fields.writeNull();
      fields.writeNull();
      fields.writeNull();
      fields.writeBytes(Histogram.EMPTY);
      nonFinite.write(group, fields);
      return;
    }
    sums.writeSum(group, fields);
    mins.writeValue(group, fields);
    maxs.writeValue(group, fields);
    Histogram histogram = histograms[group];
    fields.writeBytes(histogram == null ? Histogram.EMPTY : histogram.encode());
    nonFinite.write(group, fields);
  }

  @Override
  public List<StoredColumn> stored() {
    return stored;
  }

  @Override
  public @Nullable Object value(int group, Part part) {
    if (counts[group] == 0 && !(part instanceof Part.NonFinite)) {
      return part instanceof Part.Value || part instanceof Part.Count ? 0L : null;
    }
    return switch (part) {
      case Part.Value value -> counts[group];
      case Part.Count count -> counts[group];
      case Part.Sum sum -> sums.value(group, part);
      case Part.Min min -> mins.value(group, new Part.Value());
      case Part.Max max -> maxs.value(group, new Part.Value());
      case Part.NonFinite count -> nonFinite.count(group);
      case Part.Quantile quantile -> quantile(group, quantile.q());
    };
  }

  private @Nullable Object quantile(int group, double q) {
    Histogram histogram = histograms[group];
    if (histogram == null || histogram.isEmpty()) {
      // Counted without a sketch: taken over from where there was none.
      return null;
    }
    mins.load(group, scratch);
    double min = scratch.asDouble();
    maxs.load(group, scratch);
    return histogram.quantile(q, min, scratch.asDouble());
  }

  @Override
  public double magnitude(int group) {
    return sums.magnitude(group);
  }

  @Override
  public long heapBytes() {
    return heapBytes + sums.heapBytes() + mins.heapBytes() + maxs.heapBytes();
  }
}
