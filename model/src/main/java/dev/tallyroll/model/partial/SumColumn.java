package dev.tallyroll.model.partial;

import dev.tallyroll.model.definition.Measure;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * {@code sum}: exact for integers and decimals, NULL of nothing. Sums of doubles are added in the
 * order of arrival.
 */
final class SumColumn implements PartialColumn {
  private final ColumnType type;
  private final ValueStore sums;
  private final NonFinite nonFinite;
  private final List<StoredColumn> stored;
  private final Scalar sum = new Scalar();
  private final Scalar scratch = new Scalar();
  private double[] magnitudes = {};

  SumColumn(Measure measure, ColumnType input) {
    this(measure.name(), measure.name(), input);
  }

  /** A sum in a column of its own name; what is not finite is counted under the measure's. */
  SumColumn(String column, String measure, ColumnType input) {
    this.type = input.sumType();
    this.sums = ValueStore.of(type);
    this.nonFinite = new NonFinite(measure, input);
    List<StoredColumn> columns = new ArrayList<>();
    columns.add(new StoredColumn(column, type, true));
    if (nonFinite.isPossible()) {
      columns.add(nonFinite.column());
    }
    this.stored = List.copyOf(columns);
  }

  @Override
  public void grow(int capacity) {
    sums.grow(capacity);
    nonFinite.grow(capacity);
    if (type == ColumnType.DOUBLE) {
      magnitudes = Arrays.copyOf(magnitudes, capacity);
    }
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (!value.isNull() && !nonFinite.take(group, value)) {
      addFinite(group, value);
    }
  }

  /** Adds a value that is a finite number. */
  void addFinite(int group, Scalar value) {
    sums.load(group, sum);
    switch (type) {
      case BIGINT ->
          sum.setInteger(
              sum.isNull() ? value.integer() : Math.addExact(sum.integer(), value.integer()));
      case DOUBLE -> {
        sum.setDouble(clamped((sum.isNull() ? 0 : sum.real()) + value.asDouble()));
        magnitudes[group] += Math.abs(value.asDouble());
      }
      default -> {
        if (sum.isNull()) {
          sum.copy(value);
          sum.toDecimal();
        } else {
          scratch.copy(value);
          scratch.toDecimal();
          sum.addDecimal(scratch);
        }
      }
    }
    sums.set(group, sum);
  }

  /** A sum of finite doubles that leaves their range stays at its end. */
  private static double clamped(double value) {
    return Math.clamp(value, -Double.MAX_VALUE, Double.MAX_VALUE);
  }

  @Override
  public void merge(int group, PartialColumn from, int fromGroup) {
    SumColumn other = (SumColumn) from;
    Scalar value = other.scratch;
    other.sums.load(fromGroup, value);
    if (!value.isNull()) {
      addFinite(group, value);
    }
    nonFinite.merge(group, other.nonFinite, fromGroup);
    if (type == ColumnType.DOUBLE && !value.isNull()) {
      magnitudes[group] += other.magnitudes[fromGroup] - Math.abs(value.real());
    }
  }

  @Override
  public double magnitude(int group) {
    return magnitudes.length == 0 ? 0 : magnitudes[group];
  }

  @Override
  public void read(int group, FieldReader fields) {
    readSum(group, fields);
    nonFinite.read(group, fields, scratch);
  }

  void readSum(int group, FieldReader fields) {
    Scalar value = new Scalar();
    fields.read(type, value);
    if (!value.isNull()) {
      addFinite(group, value);
    }
  }

  @Override
  public void write(int group, FieldWriter fields) {
    writeSum(group, fields);
    nonFinite.write(group, fields);
  }

  void writeSum(int group, FieldWriter fields) {
    sums.load(group, sum);
    fields.write(sum, type);
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
    sums.load(group, sum);
    return type.box(sum);
  }
}
