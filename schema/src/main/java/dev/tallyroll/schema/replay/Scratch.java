package dev.tallyroll.schema.replay;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.HexFormat;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import org.postgresql.ds.PGSimpleDataSource;
import org.postgresql.jdbc.PreferQueryMode;

/**
 * A database on a scratch server, made to be thrown away. When it is closed it is dropped, with the
 * roles that what was replayed on it has made. What migrations do to the whole server, as ALTER
 * ROLE or ALTER SYSTEM, is done to it. For one thread.
 */
public final class Scratch implements AutoCloseable {
  private final Supplier<PGSimpleDataSource> server;
  private final String name;
  private final Set<String> made = new LinkedHashSet<>();
  private String searchPath = "";

  private Scratch(Supplier<PGSimpleDataSource> server, String name) {
    this.server = server;
    this.name = name;
  }

  /**
   * Makes a database.
   *
   * @param server new data sources of the server, on a database that is there already, as a role
   *     that may make databases
   * @throws TallyrollException if it may not, or there is no such server
   */
  public static Scratch on(Supplier<PGSimpleDataSource> server) {
    byte[] random = new byte[6];
    ThreadLocalRandom.current().nextBytes(random);
    String name = "tallyroll_scratch_" + HexFormat.of().formatHex(random);
    try (Connection connection = server.get().getConnection()) {
      int version = connection.getMetaData().getDatabaseMajorVersion();
      if (version < Database.OLDEST_VERSION) {
        throw new TallyrollException(
            ErrorCode.DATABASE,
            "the scratch server is PostgreSQL "
                + version
                + ", too old: "
                + Database.OLDEST_VERSION
                + " or newer is needed");
      }
      Sql.run(connection, "create database " + name + " template template0 encoding 'UTF8'");
      return new Scratch(server, name);
    } catch (SQLException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE, "no scratch database: " + Faults.message(e), e);
    }
  }

  /**
   * Opens a connection as a runner of migrations has it: with the server's settings, and scripts
   * sent as they are. The caller closes it.
   */
  public Connection open() throws SQLException {
    PGSimpleDataSource source = server.get();
    source.setDatabaseName(name);
    source.setPreferQueryMode(PreferQueryMode.SIMPLE);
    source.setApplicationName("tallyroll schema");
    return source.getConnection();
  }

  /** Says what the search path of an application on it is. */
  void searchPath(String path) {
    searchPath = path;
  }

  /** The search path of an application on it, as SQL; empty for the server's. */
  public String searchPath() {
    return searchPath;
  }

  /** Says that a role was made for what is replayed; it is dropped with the database. */
  void made(String role) {
    made.add(role);
  }

  /** Drops the database, and the roles that were made with it unless somebody else uses them. */
  @Override
  public void close() {
    try (Connection connection = server.get().getConnection()) {
      Sql.run(connection, "drop database if exists " + name + " with (force)");
      for (String role : made) {
        drop(connection, role);
      }
    } catch (SQLException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the scratch database " + name + " is left behind: " + Faults.message(e),
          e);
    }
  }

  private static void drop(Connection connection, String role) throws SQLException {
    try {
      Sql.run(connection, "drop role if exists " + Sql.identifier(role));
    } catch (SQLException e) {
      // Another database has objects or grants of it by now.
      if (!Faults.state(e).equals("2BP01")) {
        throw e;
      }
    }
  }
}
