package dev.tallyroll.session;

import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * A connection for work that is done again and again, which stays open in between: for each new one
 * PostgreSQL starts a process, checks a password and reads its catalogs, tens of milliseconds of a
 * processor. For one thread at a time; must be closed.
 */
public final class KeptConnection implements AutoCloseable {
  /** A host that has vanished says nothing. */
  private static final Duration LONGEST_WAIT = Duration.ofSeconds(30);

  private final Database database;
  private final String command;
  private @Nullable Connection connection;

  /**
   * One that is opened when it is first used.
   *
   * @param command as {@link Database#open} has it
   */
  public KeptConnection(Database database, String command) {
    this.database = database;
    this.command = command;
  }

  /**
   * Runs work outside a transaction. After any fault the connection is given up; if it had been
   * kept, and not just been opened, the work is then run once more on a new one, so it must bear
   * that.
   *
   * @throws dev.tallyroll.model.TallyrollException if there is no connection, or the work fails
   */
  public <T> T with(Database.Work<T> work) {
    Connection kept = connection;
    if (kept != null) {
      try {
        return work.run(kept);
      } catch (SQLException e) {
        // Most likely it broke since it was last used.
        close();
      } catch (RuntimeException e) {
        close();
        throw e;
      }
    }
    try {
      Connection opened = database.open(command);
      connection = opened;
      opened.setNetworkTimeout(Runnable::run, (int) LONGEST_WAIT.toMillis());
      return work.run(opened);
    } catch (SQLException e) {
      close();
      throw Faults.of(e);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** Closes the connection; the next use opens another. */
  @Override
  public void close() {
    Connection open = connection;
    connection = null;
    Database.closeQuietly(open);
  }
}
