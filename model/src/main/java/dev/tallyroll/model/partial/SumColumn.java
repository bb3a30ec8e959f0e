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
  private final Scalar addend = new Scalar();
  private final Removed<Double> removed = new Removed<>();
  private double[] magnitudes = {};

  /**
   * Once something was taken out: how many values were added less those taken out, and whether what
   * was read from the table had any. A sum of nothing is NULL, one of 5 and -5 is 0.
   */
  private long[] net = {};

  private boolean[] wasStored = {};
  private int capacity;

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
  public void grow(int to) {
    capacity = to;
    sums.grow(capacity);
    if (net.length > 0) {
      net = Arrays.copyOf(net, capacity);
    }
    wasStored = Arrays.copyOf(wasStored, capacity);
    nonFinite.grow(capacity);
    if (type == ColumnType.DOUBLE) {
      magnitudes = Arrays.copyOf(magnitudes, capacity);
    }
  }

  @Override
  public void add(int group, Scalar value, long time) {
    if (!value.isNull() && !nonFinite.take(group, value)) {
      put(group, value);
    }
  }

  /** Adds a row's value, or cancels its removal. */
  void put(int group, Scalar value) {
    if (net.length > 0) {
      net[group]++;
    }
    if (removed.isEmpty() || !removed.cancel(group, value.asDouble())) {
      addFinite(group, value);
    }
  }

  @Override
  public void remove(int group, Scalar value, long time) {
    if (!value.isNull() && !nonFinite.remove(group, value)) {
      removeFinite(group, value);
    }
  }

  /** Takes out a value that is a finite number. */
  void removeFinite(int group, Scalar value) {
    net()[group]--;
    if (type == ColumnType.DOUBLE) {
      // What rounding has swallowed cannot be taken out: the sum is doubtful unless the value comes
      // back.
      removed.add(group, value.asDouble());
      return;
    }
    if (type == ColumnType.BIGINT) {
      scratch.setInteger(Math.negateExact(value.integer()));
    } else {
      scratch.copy(value);
      scratch.toDecimal();
      scratch.setDecimal(scratch.decimal().negate());
    }
    addFinite(group, scratch);
  }

  private long[] net() {
    if (net.length == 0) {
      net = new long[capacity];
      for (int group = 0; group < capacity; group++) {
        net[group] = sums.has(group) && !wasStored[group] ? 1 : 0;
      }
    }
    return net;
  }

  @Override
  public boolean isDoubtful(int group) {
    return nonFinite.isNegative(group) || isInexact(group) || isMaybeNothing(group);
  }

  /** Whether a double was taken out of the sum. */
  boolean isInexact(int group) {
    return !removed.of(group).isEmpty();
  }

  /** Whether it is unknown if there is anything left to sum. */
  private boolean isMaybeNothing(int group) {
    if (net.length == 0 || net[group] >= 0) {
      return false;
    }
    sums.load(group, sum);
    return !wasStored[group] || sum.isNull() || sum.isZero();
  }

  /** Whether all that was added was taken out again. */
  private boolean isNothing(int group) {
    return net.length > 0 && net[group] == 0 && !wasStored[group];
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
          addend.copy(value);
          addend.toDecimal();
          sum.addDecimal(addend);
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
    boolean counted = other.net.length > 0 || net.length > 0;
    if (counted) {
      net();
    }
    Scalar value = other.scratch;
    other.sums.load(fromGroup, value);
    if (!value.isNull()) {
      addFinite(group, value);
    }
    if (counted) {
      // A partial that nothing was taken out of holds at least one value, or none; one that was
      // stored is told apart.
      long least = value.isNull() || other.wasStored[fromGroup] ? 0 : 1;
      net()[group] += other.net.length > 0 ? other.net[fromGroup] : least;
    }
    wasStored[group] |= other.wasStored[fromGroup];
    removed.addAll(group, other.removed, fromGroup);
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
      wasStored[group] = true;
    }
  }

  @Override
  public void write(int group, FieldWriter fields) {
    writeSum(group, fields);
    nonFinite.write(group, fields);
  }

  void writeSum(int group, FieldWriter fields) {
    loadSum(group);
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
    loadSum(group);
    return type.box(sum);
  }

  private void loadSum(int group) {
    sums.load(group, sum);
    if (isNothing(group)) {
      sum.setNull();
    }
  }

  @Override
  public long heapBytes() {
    return removed.heapBytes();
  }
}
