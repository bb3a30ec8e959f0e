package dev.tallyroll.schema.replay;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.postgresql.ds.PGSimpleDataSource;
import org.postgresql.jdbc.PreferQueryMode;

/**
 * A database on a scratch server, made to be thrown away. When it is closed it is dropped, with the
 * roles that what was replayed on it has made. Nothing else of the server is touched. For one
 * thread.
 */
public final class Scratch implements AutoCloseable {
  private final Supplier<PGSimpleDataSource> server;
  private final String name;
  private final List<String> rolesBefore;
  private Predicate<String> madeRoles = role -> false;

  private Scratch(Supplier<PGSimpleDataSource> server, String name, List<String> rolesBefore) {
    this.server = server;
    this.name = name;
    this.rolesBefore = rolesBefore;
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
      List<String> roles = roles(connection);
      Sql.run(connection, "create database " + name + " template template0 encoding 'UTF8'");
      return new Scratch(server, name, roles);
    } catch (SQLException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE, "no scratch database: " + Faults.message(e), e);
    }
  }

  private static List<String> roles(Connection connection) throws SQLException {
    return Sql.list(connection, "select rolname from pg_roles", row -> row.getString(1));
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

  /**
   * Says which roles are to be dropped with the database, of those that were not there before it:
   * others may have come by somebody else.
   */
  void made(Predicate<String> roles) {
    madeRoles = roles;
  }

  /** Drops the database, and the roles that were made with it. */
  @Override
  public void close() {
    try (Connection connection = server.get().getConnection()) {
      Sql.run(connection, "drop database if exists " + name + " with (force)");
      List<String> left = new ArrayList<>(roles(connection));
      left.removeAll(rolesBefore);
      for (String role : left.stream().filter(madeRoles).toList()) {
        Sql.run(connection, "drop role if exists " + Sql.identifier(role));
      }
    } catch (SQLException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the scratch database " + name + " is left behind: " + Faults.message(e),
          e);
    }
  }
}
