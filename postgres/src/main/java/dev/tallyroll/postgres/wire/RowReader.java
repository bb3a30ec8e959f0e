package dev.tallyroll.postgres.wire;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.FieldReader;
import dev.tallyroll.model.partial.Scalar;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.sql.Connection;
import java.sql.SQLException;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyOut;

/**
 * Reads the rows of a query by binary COPY: no text is parsed, and keys can be taken as the bytes
 * they come in. For one thread; must be closed, which cancels what has not been read; the
 * connection is to be closed then too.
 *
 * <p>Source: PostgreSQL's manual, "COPY", section "Binary Format"; {@code numeric_send} and {@code
 * varbit_send}.
 */
public final class RowReader implements FieldReader, AutoCloseable {
  /** Microseconds from 1970 to 2000, where PostgreSQL's time begins. */
  static final long EPOCH_MICROS = 946_684_800_000_000L;

  static final int EPOCH_DAYS = 10_957;

  private static final VarHandle INT =
      MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);
  private static final VarHandle LONG =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);
  private static final int HEADER = 19;

  private final CopyOut copy;
  private byte[] message = {};
  private int at;
  private int fields;
  private int read;
  private boolean started;
  private boolean ended;

  private RowReader(CopyOut copy) {
    this.copy = copy;
  }

  /** Starts reading the rows of a query, which has no parameters. */
  public static RowReader of(Connection connection, String query) throws SQLException {
    String copy = "copy (" + query + ") to stdout (format binary)";
    return new RowReader(connection.unwrap(PGConnection.class).getCopyAPI().copyOut(copy));
  }

  /** Steps to the next row, over what of the last one was not read; false at the end. */
  public boolean next() throws SQLException {
    if (ended) {
      return false;
    }
    skipRow();
    while (at >= message.length) {
      byte[] next = copy.readFromCopy();
      if (next == null) {
        ended = true;
        return false;
      }
      message = next;
      at = 0;
      if (!started) {
        started = true;
        at = HEADER;
      }
    }
    fields = (message[at] << 8) | (message[at + 1] & 0xff);
    read = 0;
    at += 2;
    if (fields < 0) {
      // The trailer; what follows is only the end of the copy.
      at = message.length;
      return next();
    }
    return true;
  }

  /** The bytes that the current row is in, for keys that are taken undecoded. */
  public byte[] bytes() {
    return message;
  }

  /** Where the next field, with its length word, begins. */
  public int position() {
    return at;
  }

  /** Steps over a field and gives its length, -1 for NULL. */
  public int skip() {
    read++;
    int length = (int) INT.get(message, at);
    at += 4 + Math.max(0, length);
    return length;
  }

  /** Steps over all fields of the row that were not read. */
  public void skipRow() {
    while (read < fields) {
      skip();
    }
  }

  /** Reads a {@code bigint}, {@code timestamptz} or the like that is not NULL, undecoded. */
  public long readRawLong() {
    read++;
    long value = (long) LONG.get(message, at + 4);
    at += 12;
    return value;
  }

  /** Reads an {@code integer} that is not NULL. */
  public int readInt() {
    read++;
    int value = (int) INT.get(message, at + 4);
    at += 8;
    return value;
  }

  /**
   * Reads an instant that is not NULL as microseconds since 1970; infinite ones as the extremes of
   * long.
   */
  public long readInstant() {
    long value = readRawLong();
    return value == Long.MAX_VALUE || value == Long.MIN_VALUE ? value : value + EPOCH_MICROS;
  }

  @Override
  public void read(ColumnType type, Scalar into) {
    read++;
    int length = (int) INT.get(message, at);
    int start = at + 4;
    at = start + Math.max(0, length);
    if (length < 0) {
      into.setNull();
    } else {
      decode(type, message, start, length, into);
    }
  }

  /** Decodes a field of a type from its bytes. */
  public static void decode(ColumnType type, byte[] bytes, int start, int length, Scalar into) {
    switch (type) {
      case SMALLINT, INTEGER, BIGINT -> into.setInteger(integer(bytes, start, length));
      case BOOLEAN -> into.setInteger(bytes[start]);
      case DATE -> into.setInteger(integer(bytes, start, length) + EPOCH_DAYS);
      case TIMESTAMP, TIMESTAMPTZ -> {
        long micros = (long) LONG.get(bytes, start);
        into.setInteger(
            micros == Long.MAX_VALUE || micros == Long.MIN_VALUE ? micros : micros + EPOCH_MICROS);
      }
      case DOUBLE -> into.setDouble(Double.longBitsToDouble((long) LONG.get(bytes, start)));
      case NUMERIC -> decimal(bytes, start, into);
      case TEXT, UUID, BYTEA -> into.setBytes(bytes, start, length);
      case VARBIT -> into.setBytes(bytes, start + 4, length - 4);
    }
  }

  private static long integer(byte[] bytes, int start, int length) {
    return switch (length) {
      case 2 -> (short) ((bytes[start] << 8) | (bytes[start + 1] & 0xff));
      case 4 -> (int) INT.get(bytes, start);
      case 8 -> (long) LONG.get(bytes, start);
      default -> throw new IllegalStateException("an integer of " + length + " bytes");
    };
  }

  private static int unsigned(byte[] bytes, int start) {
    return ((bytes[start] & 0xff) << 8) | (bytes[start + 1] & 0xff);
  }

  /**
   * Digits to the base of 10,000, the weight of the first, the sign and the number of decimals to
   * show.
   */
  private static void decimal(byte[] bytes, int start, Scalar into) {
    int digits = unsigned(bytes, start);
    int weight = (short) unsigned(bytes, start + 2);
    int sign = unsigned(bytes, start + 4);
    int scale = unsigned(bytes, start + 6);
    if (sign >= 0xC000) {
      into.setNonFinite();
      return;
    }
    // The last digit stands for 10^(4 * (weight - digits + 1)); the value is scaled to `scale`
    // decimals.
    int exponent = 4 * (weight - digits + 1) + scale;
    if (digits <= 4 && exponent >= -4 && digits * 4 + exponent <= 18) {
      long unscaled = 0;
      for (int i = 0; i < digits; i++) {
        unscaled = unscaled * 10_000 + unsigned(bytes, start + 8 + 2 * i);
      }
      for (int i = exponent; i < 0; i++) {
        unscaled /= 10;
      }
      for (int i = exponent; i > 0; i--) {
        unscaled *= 10;
      }
      into.setDecimal(sign == 0 ? unscaled : -unscaled, scale);
      return;
    }
    BigInteger unscaled = BigInteger.ZERO;
    BigInteger base = BigInteger.valueOf(10_000);
    for (int i = 0; i < digits; i++) {
      unscaled =
          unscaled.multiply(base).add(BigInteger.valueOf(unsigned(bytes, start + 8 + 2 * i)));
    }
    if (exponent >= 0) {
      unscaled = unscaled.multiply(BigInteger.TEN.pow(exponent));
    } else {
      unscaled = unscaled.divide(BigInteger.TEN.pow(-exponent));
    }
    into.setDecimal(new BigDecimal(sign == 0 ? unscaled : unscaled.negate(), scale));
  }

  /**
   * Passes over all rows that are left. A connection that is to go on after an unfinished read
   * needs this: PostgreSQL may get to a cancellation only when it has come to the end of the rows
   * by itself, and cancels the next statement then.
   */
  public void skipAll() throws SQLException {
    boolean isRow;
    do {
      isRow = next();
    } while (isRow);
  }

  @Override
  public void close() throws SQLException {
    if (!ended && copy.isActive()) {
      copy.cancelCopy();
    }
  }
}
