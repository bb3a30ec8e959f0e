package dev.tallyroll.postgres.refresh;

import dev.tallyroll.session.Database;
import java.sql.Connection;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;

/**
 * The two connections of a refresh, which stay open for the next one, of the same rollup or
 * another. For one refresh at a time; must be closed.
 */
final class RefreshConnections implements AutoCloseable {
  private final Database database;
  private @Nullable Connection writer;
  private @Nullable Connection reader;

  /** Opens none before it is asked for one. */
  RefreshConnections(Database database) {
    this.database = database;
  }

  /** The one that merges. */
  Connection writer() throws SQLException {
    Connection open = writer;
    if (open == null || open.isClosed()) {
      open = prepared(database.openToLock("refresh"));
      writer = open;
    }
    return open;
  }

  /** The one that reads the source; it may pause for long, while what it has read is merged. */
  Connection reader() throws SQLException {
    Connection open = reader;
    if (open == null || open.isClosed()) {
      open = prepared(database.open("refresh"));
      reader = open;
    }
    return open;
  }

  private static Connection prepared(Connection opened) throws SQLException {
    opened.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    opened.setAutoCommit(false);
    return opened;
  }

  /** Closes both; an open transaction is rolled back, and the next refresh opens others. */
  @Override
  public void close() {
    for (Connection connection : new @Nullable Connection[] {reader, writer}) {
      if (connection != null) {
        try {
          connection.close();
        } catch (SQLException ignored) {
          // A connection that cannot be closed is lost already, and its transaction with it.
        }
      }
    }
    reader = null;
    writer = null;
  }
}
