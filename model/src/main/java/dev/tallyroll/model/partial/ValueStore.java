package dev.tallyroll.model.partial;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** An optional value for each group, held by the family of its type. Mutable, for one thread. */
sealed interface ValueStore {
  void grow(int capacity);

  boolean has(int group);

  /** Sets a group's value; {@code value} is of this family and not NULL. */
  void set(int group, Scalar value);

  /** Loads a group's value, NULL where there is none. */
  void load(int group, Scalar into);

  static ValueStore of(ColumnType type) {
    return switch (type.family()) {
      case INTEGER -> new Integers();
      case DOUBLE -> new Doubles();
      case DECIMAL -> new Decimals();
      case BYTES -> new Bytes();
    };
  }

  /** Longs with a mark for presence. */
  final class Integers implements ValueStore {
    private long[] values = {};
    private boolean[] present = {};

    @Override
    public void grow(int capacity) {
      values = Arrays.copyOf(values, capacity);
      present = Arrays.copyOf(present, capacity);
    }

    @Override
    public boolean has(int group) {
      return present[group];
    }

    @Override
    public void set(int group, Scalar value) {
      values[group] = value.integer();
      present[group] = true;
    }

    @Override
    public void load(int group, Scalar into) {
      if (present[group]) {
        into.setInteger(values[group]);
      } else {
        into.setNull();
      }
    }
  }

  /** Doubles; NaN, which is never a value, marks absence. */
  final class Doubles implements ValueStore {
    private double[] values = {};

    @Override
    public void grow(int capacity) {
      int before = values.length;
      values = Arrays.copyOf(values, capacity);
      Arrays.fill(values, before, capacity, Double.NaN);
    }

    @Override
    public boolean has(int group) {
      return !Double.isNaN(values[group]);
    }

    @Override
    public void set(int group, Scalar value) {
      values[group] = value.real();
    }

    @Override
    public void load(int group, Scalar into) {
      double value = values[group];
      if (Double.isNaN(value)) {
        into.setNull();
      } else {
        // Not setDouble: a sum that overflowed is infinite, and stays so.
        into.setDouble(Math.clamp(value, -Double.MAX_VALUE, Double.MAX_VALUE));
      }
    }
  }

  /** Decimals as a long and a scale, with the wide ones apart. */
  final class Decimals implements ValueStore {
    private static final byte ABSENT = -1;
    private static final byte WIDE = -2;

    private long[] unscaled = {};
    private byte[] scales = {};
    private final Map<Integer, java.math.BigDecimal> wide = new HashMap<>();

    @Override
    public void grow(int capacity) {
      int before = scales.length;
      unscaled = Arrays.copyOf(unscaled, capacity);
      scales = Arrays.copyOf(scales, capacity);
      Arrays.fill(scales, before, capacity, ABSENT);
    }

    @Override
    public boolean has(int group) {
      return scales[group] != ABSENT;
    }

    @Override
    public void set(int group, Scalar value) {
      if (value.form() == Scalar.Form.DECIMAL
          && value.scale() >= 0
          && value.scale() <= Byte.MAX_VALUE) {
        if (scales[group] == WIDE) {
          wide.remove(group);
        }
        unscaled[group] = value.integer();
        scales[group] = (byte) value.scale();
      } else {
        scales[group] = WIDE;
        wide.put(group, value.decimal());
      }
    }

    @Override
    public void load(int group, Scalar into) {
      byte scale = scales[group];
      if (scale == ABSENT) {
        into.setNull();
      } else if (scale == WIDE) {
        java.math.BigDecimal value = wide.get(group);
        if (value == null) {
          throw new IllegalStateException("a wide decimal is missing");
        }
        into.setDecimal(value);
      } else {
        into.setDecimal(unscaled[group], scale);
      }
    }
  }

  /** Byte strings. */
  final class Bytes implements ValueStore {
    private byte[] @Nullable [] values = {};

    @Override
    public void grow(int capacity) {
      values = Arrays.copyOf(values, capacity);
    }

    @Override
    public boolean has(int group) {
      return values[group] != null;
    }

    @Override
    public void set(int group, Scalar value) {
      values[group] = value.copyBytes();
    }

    @Override
    public void load(int group, Scalar into) {
      byte[] value = values[group];
      if (value == null) {
        into.setNull();
      } else {
        into.setBytes(value, 0, value.length);
      }
    }
  }
}
