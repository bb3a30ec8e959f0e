package dev.tallyroll.session;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Collections;
import java.util.Set;
import java.util.WeakHashMap;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A PostgreSQL database of 15 or newer. Thread-safe if its data source is.
 *
 * <p>Every connection has the same settings, so that the driver's defaults, the role's or the
 * database's never change a result: zone UTC, ISO dates, all digits of doubles, a fixed search
 * path, and a name that shows the command; of a pool of its own, what the pool is for.
 */
public final class Database {
  /** The oldest major version of PostgreSQL that works. */
  public static final int OLDEST_VERSION = 15;

  /** How often what passes is tried. */
  public static final int MOST_ATTEMPTS = 8;

  /** A password was wrong, or asked for and not there. */
  private static final Set<String> NO_PASSWORD = Set.of("28P01", "08004");

  private static final String OWN_SCHEMA = "\"tallyroll\", ";

  private final DataSource source;

  /** What connections of a pool of its own serve; null where each is set up when it is taken. */
  private final @Nullable String shown;

  /** The connections of such a pool that are set up. */
  private final Set<PGConnection> isSetUp =
      Collections.synchronizedSet(Collections.newSetFromMap(new WeakHashMap<>()));

  /** Work on a connection. */
  @FunctionalInterface
  public interface Work<T> {
    /** Does the work; the caller commits or rolls back. */
    T run(Connection connection) throws SQLException;
  }

  /**
   * A database behind a data source, whose connections must be its own and not those of a
   * transaction.
   */
  public Database(DataSource source) {
    this(source, null);
  }

  private Database(DataSource source, @Nullable String shown) {
    this.source = source;
    this.shown = shown;
  }

  /**
   * A database behind a pool that nobody else takes connections from, and in which nobody leaves
   * settings behind: each connection is set up once, when it is new, with Tallyroll's schema first
   * in its search path. What the driver has prepared on it is then of use again, which it forgets
   * whenever the path changes, and there is a round trip less each time.
   *
   * @param command what all its connections are shown to serve
   */
  public static Database ofOwnPool(DataSource pool, String command) {
    return new Database(pool, command);
  }

  /**
   * Opens a connection in auto-commit mode; the caller closes it.
   *
   * @param command the command that it serves, shown in {@code pg_stat_activity} as {@code
   *     tallyroll <command>}, but on a pool of its own
   * @throws TallyrollException if there is no connection, or the server is too old
   */
  public Connection open(String command) {
    Connection connection = null;
    try {
      connection = connect();
      connection.setAutoCommit(true);
      if (shown != null && isSetUp.contains(connection.unwrap(PGConnection.class))) {
        return connection;
      }
      int version = connection.getMetaData().getDatabaseMajorVersion();
      if (version < OLDEST_VERSION) {
        throw new TallyrollException(
            ErrorCode.DATABASE,
            "PostgreSQL "
                + version
                + " is too old: Tallyroll needs "
                + OLDEST_VERSION
                + " or newer");
      }
      Sql.run(
          connection,
          "set application_name = "
              + Sql.literal("tallyroll " + (shown == null ? command : shown))
              + "; set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'"
              + "; set extra_float_digits = 1; set bytea_output = 'hex'; set search_path = "
              + (shown == null ? "" : OWN_SCHEMA)
              + "public, pg_temp"
              + "; set standard_conforming_strings = on; set client_min_messages = warning"
              + "; set idle_in_transaction_session_timeout = '30min'; set statement_timeout = 0; reset lock_timeout; set row_security = on"
              + "; set default_transaction_read_only = off; set default_transaction_isolation = 'read committed'"
              + "; set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3");
      if (shown != null) {
        isSetUp.add(connection.unwrap(PGConnection.class));
      }
      return connection;
    } catch (SQLException e) {
      closeQuietly(connection);
      throw Faults.of(e);
    } catch (RuntimeException e) {
      closeQuietly(connection);
      throw e;
    }
  }

  private Connection connect() throws SQLException {
    try {
      return source.getConnection();
    } catch (SQLException e) {
      if (!(source instanceof PGSimpleDataSource named)) {
        throw e;
      }
      String port = named.getPortNumbers()[0] == 0 ? "" : ":" + named.getPortNumbers()[0];
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "no connection to "
              + String.join(",", named.getServerNames())
              + port
              + "/"
              + named.getDatabaseName()
              + ": "
              + Faults.message(e)
              + (NO_PASSWORD.contains(Faults.state(e))
                  ? "; a password stands in the URL, in PGPASSWORD or in .pgpass"
                  : ""),
          e);
    }
  }

  /**
   * Opens a connection that is to hold locks for which others wait: it ends within seconds when
   * this process or its host is gone, whatever the server does for it. All that it sends must be
   * read at once: a reader that pauses for a quarter of a minute would be cut off.
   */
  public Connection openToLock(String command) throws SQLException {
    Connection connection = open(command);
    try {
      Sql.run(connection, "set tcp_user_timeout = 15000");
      try {
        Sql.run(connection, "set client_connection_check_interval = 5000");
      } catch (SQLException e) {
        // Not every system can tell the server that.
        if (!Faults.state(e).equals("22023")) {
          throw e;
        }
      }
      return connection;
    } catch (SQLException e) {
      closeQuietly(connection);
      throw e;
    }
  }

  static void closeQuietly(@Nullable Connection connection) {
    if (connection != null) {
      try {
        connection.close();
      } catch (SQLException ignored) {
        // The connection is being given up; the fault that led here is the one to report.
      }
    }
  }

  /** Runs work on a connection of its own, outside a transaction. */
  public <T> T with(String command, Work<T> work) {
    try (Connection connection = open(command)) {
      return work.run(connection);
    } catch (SQLException e) {
      throw Faults.of(e);
    }
  }

  /**
   * Runs work in one transaction (READ COMMITTED) on a connection of its own. Serialization
   * failures, deadlocks and lock timeouts are retried with back-off, so the work must bear being
   * run again.
   */
  public <T> T transact(String command, Work<T> work) {
    return retrying(() -> {
      try (Connection connection = open(command)) {
        connection.setAutoCommit(false);
        try {
          T result = work.run(connection);
          connection.commit();
          return result;
        } catch (SQLException | RuntimeException e) {
          rollback(connection, e);
          throw e;
        }
      }
    });
  }

  /** Something that may throw what JDBC throws. */
  @FunctionalInterface
  public interface Attempt<T> {
    /** Tries once. */
    T run() throws SQLException;
  }

  /**
   * Tries again, with growing pauses, as long as the fault is one that passes: 40001, 40P01, 55P03.
   */
  public static <T> T retrying(Attempt<T> attempt) {
    return retrying(MOST_ATTEMPTS, attempt);
  }

  /** The same, at most so many times in all. */
  public static <T> T retrying(int mostAttempts, Attempt<T> attempt) {
    Duration pause = Duration.ofMillis(50);
    for (int tried = 1; ; tried++) {
      try {
        return attempt.run();
      } catch (SQLException e) {
        if (tried == mostAttempts || !Faults.isPassing(e)) {
          throw Faults.of(e);
        }
      }
      try {
        Thread.sleep(pause);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new TallyrollException(ErrorCode.DATABASE, "interrupted", e);
      }
      pause = pause.multipliedBy(2);
    }
  }

  /** Rolls back after a fault, which stays the one that is reported. */
  public static void rollback(Connection connection, Throwable fault) {
    try {
      connection.rollback();
    } catch (SQLException e) {
      fault.addSuppressed(e);
    }
  }
}
