package dev.tallyroll.postgres.wire;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.FieldWriter;
import dev.tallyroll.model.partial.Scalar;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Rows in the binary form of COPY, in memory. For one thread. */
public sealed class RowBuffer implements FieldWriter permits RowWriter {
  private static final VarHandle SHORT =
      MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.BIG_ENDIAN);
  private static final VarHandle INT =
      MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);
  private static final VarHandle LONG =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);

  /** Smaller ones are still a long with as many digits more as fill the last group of four. */
  private static final long SMALL_DECIMAL = 1_000_000_000_000_000L;

  private static final BigInteger BASE = BigInteger.valueOf(10_000);

  byte[] buffer;
  int at;

  /** An empty buffer with room for so many bytes, which grows. */
  public RowBuffer(int bytes) {
    buffer = new byte[bytes];
  }

  /** Begins a row of so many fields. */
  public final void beginRow(int fields) {
    room(2);
    SHORT.set(buffer, at, (short) fields);
    at += 2;
  }

  /** How many bytes there are. */
  public final int size() {
    return at;
  }

  final void room(int bytes) {
    if (buffer.length - at < bytes) {
      buffer = Arrays.copyOf(buffer, Math.max(buffer.length * 2, at + bytes));
    }
  }

  /** Writes fields as they came, with their length words. */
  public final void writeRaw(byte[] bytes, int start, int length) {
    room(length);
    System.arraycopy(bytes, start, buffer, at, length);
    at += length;
  }

  @Override
  public final void writeNull() {
    room(4);
    INT.set(buffer, at, -1);
    at += 4;
  }

  @Override
  public final void writeLong(long value) {
    room(12);
    INT.set(buffer, at, 8);
    LONG.set(buffer, at + 4, value);
    at += 12;
  }

  /** Writes an {@code integer}. */
  public final void writeInt(int value) {
    room(8);
    INT.set(buffer, at, 4);
    INT.set(buffer, at + 4, value);
    at += 8;
  }

  /** Writes a {@code timestamptz} from microseconds since 1970. */
  public final void writeInstant(long micros) {
    writeLong(
        micros == Long.MAX_VALUE || micros == Long.MIN_VALUE
            ? micros
            : micros - RowReader.EPOCH_MICROS);
  }

  @Override
  public final void writeBytes(byte[] bytes) {
    room(4 + bytes.length);
    INT.set(buffer, at, bytes.length);
    System.arraycopy(bytes, 0, buffer, at + 4, bytes.length);
    at += 4 + bytes.length;
  }

  /** Writes a {@code jsonb} from its text in UTF-8. */
  public final void writeJson(byte[] text) {
    room(5 + text.length);
    INT.set(buffer, at, 1 + text.length);
    buffer[at + 4] = 1;
    System.arraycopy(text, 0, buffer, at + 5, text.length);
    at += 5 + text.length;
  }

  @Override
  public final void writeBits(byte[] bytes) {
    room(8 + bytes.length);
    INT.set(buffer, at, 4 + bytes.length);
    INT.set(buffer, at + 4, 8 * bytes.length);
    System.arraycopy(bytes, 0, buffer, at + 8, bytes.length);
    at += 8 + bytes.length;
  }

  @Override
  public final void write(Scalar value, ColumnType type) {
    if (value.isNull()) {
      writeNull();
      return;
    }
    switch (type) {
      case SMALLINT -> {
        room(6);
        INT.set(buffer, at, 2);
        SHORT.set(buffer, at + 4, (short) value.integer());
        at += 6;
      }
      case INTEGER -> writeInt((int) value.integer());
      case BIGINT -> writeLong(value.integer());
      case BOOLEAN -> {
        room(5);
        INT.set(buffer, at, 1);
        buffer[at + 4] = (byte) value.integer();
        at += 5;
      }
      case DATE -> writeInt((int) value.integer() - RowReader.EPOCH_DAYS);
      case TIMESTAMP, TIMESTAMPTZ -> writeInstant(value.integer());
      case DOUBLE -> writeLong(Double.doubleToRawLongBits(value.real()));
      case NUMERIC -> writeDecimal(value);
      case TEXT, UUID, BYTEA -> {
        room(4 + value.length());
        INT.set(buffer, at, value.length());
        System.arraycopy(value.bytes(), value.offset(), buffer, at + 4, value.length());
        at += 4 + value.length();
      }
      case VARBIT -> writeBits(value.copyBytes());
    }
  }

  private void writeDecimal(Scalar value) {
    if (value.form() == Scalar.Form.DECIMAL
        && value.scale() <= 12
        // Not by its absolute value, which the least of all has not.
        && value.integer() > -SMALL_DECIMAL
        && value.integer() < SMALL_DECIMAL) {
      writeSmallDecimal(value.integer(), value.scale());
    } else {
      writeWideDecimal(value.decimal());
    }
  }

  /** Groups of four decimal digits on both sides of the point. */
  private void writeSmallDecimal(long unscaled, int scale) {
    int padding = (4 - scale % 4) % 4;
    long rest = Math.abs(unscaled);
    for (int i = 0; i < padding; i++) {
      rest *= 10;
    }
    int fraction = (scale + padding) / 4;
    int groups = 0;
    for (long left = rest; left > 0; left /= 10_000) {
      groups++;
    }
    int weight = groups - fraction - 1;
    // Trailing groups of zeros are left out, as PostgreSQL does.
    int dropped = 0;
    while (groups - dropped > 0 && rest % 10_000 == 0) {
      rest /= 10_000;
      dropped++;
    }
    int digits = groups - dropped;
    decimalHead(digits, digits == 0 ? 0 : weight, unscaled < 0, scale);
    for (int i = digits - 1; i >= 0; i--) {
      SHORT.set(buffer, at + 2 * i, (short) (rest % 10_000));
      rest /= 10_000;
    }
    at += 2 * digits;
  }

  private void writeWideDecimal(BigDecimal value) {
    int scale = Math.max(0, value.scale());
    BigInteger rest =
        value
            .setScale(scale)
            .unscaledValue()
            .abs()
            .multiply(BigInteger.TEN.pow((4 - scale % 4) % 4));
    int fraction = (scale + 3) / 4;
    short[] groups = new short[rest.bitLength() / 13 + 2];
    int count = 0;
    while (rest.signum() > 0) {
      BigInteger[] parts = rest.divideAndRemainder(BASE);
      groups[count++] = parts[1].shortValueExact();
      rest = parts[0];
    }
    int weight = count - fraction - 1;
    int dropped = 0;
    while (dropped < count && groups[dropped] == 0) {
      dropped++;
    }
    decimalHead(count - dropped, count == dropped ? 0 : weight, value.signum() < 0, scale);
    for (int i = count - 1; i >= dropped; i--) {
      SHORT.set(buffer, at, groups[i]);
      at += 2;
    }
  }

  private void decimalHead(int digits, int weight, boolean negative, int scale) {
    room(12 + 2 * digits);
    INT.set(buffer, at, 8 + 2 * digits);
    SHORT.set(buffer, at + 4, (short) digits);
    SHORT.set(buffer, at + 6, (short) weight);
    SHORT.set(buffer, at + 8, (short) (negative && digits > 0 ? 0x4000 : 0));
    SHORT.set(buffer, at + 10, (short) scale);
    at += 12;
  }
}
