package dev.tallyroll.postgres.wire;

import java.sql.Connection;
import java.sql.SQLException;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;

/**
 * Writes rows by binary COPY. For one thread; what is not {@link #end}ed is cancelled by closing.
 */
public final class RowWriter extends RowBuffer implements AutoCloseable {
  private static final byte[] HEADER = {
    'P', 'G', 'C', 'O', 'P', 'Y', '\n', (byte) 0xff, '\r', '\n', 0, 0, 0, 0, 0, 0, 0, 0, 0
  };
  private static final int FLUSH_AT = 1 << 16;

  /** It grows where rows are written one by one; those of others mostly go on as they are. */
  private static final int FIRST = 1 << 13;

  private final CopyIn copy;

  private RowWriter(CopyIn copy) {
    super(FIRST);
    this.copy = copy;
    writeRaw(HEADER, 0, HEADER.length);
  }

  /** Starts writing rows into a table's columns, as {@code schema.table (a, b)}. */
  public static RowWriter of(Connection connection, String target) throws SQLException {
    String copy = "copy " + target + " from stdin (format binary)";
    return new RowWriter(connection.unwrap(PGConnection.class).getCopyAPI().copyIn(copy));
  }

  /** Begins a row of so many fields. */
  public void begin(int fields) throws SQLException {
    if (at >= FLUSH_AT) {
      flush();
    }
    beginRow(fields);
  }

  /** Writes whole rows of another buffer, by its bytes from a place on. */
  public void writeRows(RowBuffer rows, int start, int length) throws SQLException {
    if (at + length <= FLUSH_AT) {
      writeRaw(rows.buffer, start, length);
      return;
    }
    flush();
    copy.writeToCopy(rows.buffer, start, length);
  }

  private void flush() throws SQLException {
    copy.writeToCopy(buffer, 0, at);
    at = 0;
  }

  /** Ends the copy; all rows are then in the table. Gives their number. */
  public long end() throws SQLException {
    beginRow(-1);
    flush();
    return copy.endCopy();
  }

  @Override
  public void close() throws SQLException {
    if (copy.isActive()) {
      copy.cancelCopy();
    }
  }
}
