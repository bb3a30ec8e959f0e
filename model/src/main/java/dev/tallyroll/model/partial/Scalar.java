package dev.tallyroll.model.partial;

import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * One SQL value, held without allocation and used again for the next one: the currency between a
 * row and a column of partials. Mutable, for one thread.
 */
public final class Scalar {
  /** What a scalar holds. */
  public enum Form {
    /** Nothing. */
    NULL,
    /** A {@code long}: integers, booleans, dates, time stamps. */
    INTEGER,
    /** A finite {@code double}; never -0. */
    DOUBLE,
    /** A decimal whose unscaled value fits a {@code long}. */
    DECIMAL,
    /** A decimal of any size. */
    WIDE_DECIMAL,
    /** NaN or an infinity. */
    NON_FINITE,
    /** Bytes: text in UTF-8, a UUID, a sketch. */
    BYTES
  }

  private Form form = Form.NULL;
  private long integer;
  private double real;
  private int scale;
  private BigDecimal wide = BigDecimal.ZERO;
  private byte[] bytes = new byte[0];
  private int offset;
  private int length;

  /** What it holds. */
  public Form form() {
    return form;
  }

  /** Whether it holds NULL. */
  public boolean isNull() {
    return form == Form.NULL;
  }

  /** Makes it NULL. */
  public void setNull() {
    form = Form.NULL;
  }

  /** Sets an integer. */
  public void setInteger(long value) {
    form = Form.INTEGER;
    integer = value;
  }

  /** Sets a double; -0 becomes 0, and what is not finite is only known to be so. */
  public void setDouble(double value) {
    if (Double.isFinite(value)) {
      form = Form.DOUBLE;
      real = value + 0.0;
    } else {
      form = Form.NON_FINITE;
    }
  }

  /** Sets NaN or an infinity. */
  public void setNonFinite() {
    form = Form.NON_FINITE;
  }

  /** Sets a decimal, {@code unscaled * 10^-scale}. */
  public void setDecimal(long unscaled, int decimals) {
    form = Form.DECIMAL;
    integer = unscaled;
    scale = decimals;
  }

  /** Sets a decimal of any size. */
  public void setDecimal(BigDecimal value) {
    if (value.unscaledValue().bitLength() < Long.SIZE) {
      setDecimal(value.unscaledValue().longValue(), value.scale());
    } else {
      form = Form.WIDE_DECIMAL;
      wide = value;
    }
  }

  /** Sets bytes, which are not copied and must not change while this scalar is read. */
  public void setBytes(byte[] from, int start, int count) {
    form = Form.BYTES;
    bytes = from;
    offset = start;
    length = count;
  }

  /** The integer, or the unscaled value of a small decimal. */
  public long integer() {
    return integer;
  }

  /** The double. */
  public double real() {
    return real;
  }

  /** The scale of a small decimal. */
  public int scale() {
    return scale;
  }

  /** A decimal of any size as an object. */
  public BigDecimal decimal() {
    return form == Form.WIDE_DECIMAL ? wide : BigDecimal.valueOf(integer, scale);
  }

  /** The array that holds the bytes, from {@link #offset()} on. */
  public byte[] bytes() {
    return bytes;
  }

  /** Where the bytes begin. */
  public int offset() {
    return offset;
  }

  /** How many bytes there are. */
  public int length() {
    return length;
  }

  /** A copy of the bytes. */
  public byte[] copyBytes() {
    return Arrays.copyOfRange(bytes, offset, offset + length);
  }

  /** The value as an object with equality; it is neither NULL nor NaN nor infinite. */
  Object key() {
    return switch (form) {
      case INTEGER -> integer;
      case DOUBLE -> real;
      case DECIMAL, WIDE_DECIMAL -> decimal();
      case BYTES -> ByteBuffer.wrap(copyBytes());
      case NULL, NON_FINITE -> throw new IllegalStateException("not a value: " + form);
    };
  }

  /** Sets what {@link #key} gave. */
  @SuppressWarnings("ByteBufferBackingArray") // made by wrap
  void setKey(Object key) {
    switch (key) {
      case Long number -> setInteger(number);
      case Double number -> setDouble(number);
      case BigDecimal number -> setDecimal(number);
      case ByteBuffer buffer -> setBytes(buffer.array(), 0, buffer.capacity());
      default -> throw new IllegalArgumentException("not a key: " + key.getClass());
    }
  }

  /** Integers up to here are exact doubles. */
  private static final long EXACT = 1L << 53;

  private static final double[] POWERS = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22
  };

  /**
   * A number as a double, rounded to the nearest one; decimals beyond all doubles become the
   * greatest double.
   */
  public double asDouble() {
    return switch (form) {
      case INTEGER -> integer;
      case DOUBLE -> real;
      case DECIMAL -> {
        // Exact when both parts are exact doubles: one correctly rounded division.
        if (scale >= 0 && scale < POWERS.length && -EXACT <= integer && integer <= EXACT) {
          yield integer / POWERS[scale];
        }
        yield bounded(decimal());
      }
      case WIDE_DECIMAL -> bounded(wide);
      case NULL, NON_FINITE, BYTES -> throw new IllegalStateException("not a number: " + form);
    };
  }

  private static double bounded(BigDecimal value) {
    double real = value.doubleValue();
    return Double.isInfinite(real) ? Math.copySign(Double.MAX_VALUE, real) : real;
  }

  /** Whether it is a number equal to zero. */
  boolean isZero() {
    return switch (form) {
      case INTEGER, DECIMAL -> integer == 0;
      case DOUBLE -> real == 0;
      case WIDE_DECIMAL, NULL, NON_FINITE, BYTES -> false;
    };
  }

  /** Adds another decimal or integer exactly. */
  void addDecimal(Scalar other) {
    if (form == Form.DECIMAL && other.form == Form.DECIMAL && scale == other.scale) {
      long sum = integer + other.integer;
      if (((integer ^ sum) & (other.integer ^ sum)) >= 0) {
        integer = sum;
        return;
      }
    }
    setDecimal(decimal().add(other.decimal()));
  }

  /** As a decimal of scale 0 where it is an integer. */
  void toDecimal() {
    if (form == Form.INTEGER) {
      setDecimal(integer, 0);
    }
  }

  /**
   * Compares two values of one family: numbers by size, bytes as unsigned numbers from the left.
   */
  int compareTo(Scalar other) {
    if (form == Form.INTEGER && other.form == Form.INTEGER) {
      return Long.compare(integer, other.integer);
    }
    if (form == Form.DOUBLE) {
      return Double.compare(real, other.real);
    }
    if (form == Form.BYTES) {
      return Arrays.compareUnsigned(
          bytes, offset, offset + length, other.bytes, other.offset, other.offset + other.length);
    }
    if (form == Form.DECIMAL && other.form == Form.DECIMAL && scale == other.scale) {
      return Long.compare(integer, other.integer);
    }
    int order = decimal().compareTo(other.decimal());
    // 1.0 and 1.00 are equal; the longer one wins, so that the order of rows does not show.
    return order != 0 ? order : Integer.compare(decimal().scale(), other.decimal().scale());
  }

  void copy(Scalar from) {
    form = from.form;
    integer = from.integer;
    real = from.real;
    scale = from.scale;
    wide = from.wide;
    bytes = from.bytes;
    offset = from.offset;
    length = from.length;
  }
}
