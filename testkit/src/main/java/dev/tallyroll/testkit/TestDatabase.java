package dev.tallyroll.testkit;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A database of its own on a shared PostgreSQL: the embedded one, or that of {@code
 * TALLYROLL_TEST_DATABASE_URL} ({@code postgresql://user:password@host:port/database}, a
 * superuser). Made from a template in which Tallyroll's schema is in place already; dropped when
 * closed.
 */
public final class TestDatabase implements AutoCloseable {
  private static final String TEMPLATE = "tallyroll_template_" + ProcessHandle.current().pid();
  private static final AtomicInteger COUNTER = new AtomicInteger();
  private static @Nullable Server server;
  private static @Nullable OwnServer own;
  private static @Nullable Server toCrash;

  private record Server(String host, int port, String user, String password) {
    PGSimpleDataSource database(String name) {
      PGSimpleDataSource source = new PGSimpleDataSource();
      source.setServerNames(new String[] {host});
      source.setPortNumbers(new int[] {port});
      source.setDatabaseName(name);
      source.setUser(user);
      source.setPassword(password);
      // Not asked for: a round trip for each of thousands of connections.
      source.setSslMode("disable");
      return source;
    }

    void run(String sql) throws SQLException {
      try (Connection connection = database("postgres").getConnection()) {
        Sql.run(connection, sql);
      }
    }

    String value(String sql) throws SQLException {
      try (Connection connection = database("postgres").getConnection()) {
        return Sql.one(connection, sql, row -> row.getString(1));
      }
    }
  }

  static {
    // A backend may have been terminated meanwhile: every connection is tried before it is used.
    System.setProperty("com.zaxxer.hikari.aliveBypassWindowMs", "0");
  }

  private final Server on;
  private final @Nullable OwnServer crashes;
  private final String name;
  private final PGSimpleDataSource source;

  /** A new backend takes ten times as long for its first statements as one that has run some. */
  private final HikariDataSource pool;

  private TestDatabase(Server on, @Nullable OwnServer crashes, String name) {
    this.on = on;
    this.crashes = crashes;
    this.name = name;
    this.source = on.database(name);
    HikariConfig config = new HikariConfig();
    config.setDataSource(source);
    config.setMinimumIdle(0);
    config.setMaximumPoolSize(100);
    config.setConnectionTimeout(60_000);
    config.setInitializationFailTimeout(-1);
    config.setExceptionOverride(new RefusedExpressions());
    this.pool = new HikariDataSource(config);
  }

  /** A new, empty database with Tallyroll's schema. */
  public static synchronized TestDatabase create() {
    try {
      return create(server(), null);
    } catch (SQLException | IOException e) {
      throw new IllegalStateException("no test database", e);
    }
  }

  /**
   * The same on a durable server of the same version that nobody else uses, so that it can be
   * killed; empty if the shared server's programs are not on this machine.
   */
  public static synchronized Optional<TestDatabase> createToCrash() {
    try {
      OwnServer crashes = own;
      Server started = toCrash;
      if (crashes == null || started == null) {
        Path bin = Path.of(server().value("select setting from pg_config where name = 'BINDIR'"));
        if (!Files.isExecutable(bin.resolve("initdb"))) {
          return Optional.empty();
        }
        crashes = new OwnServer(bin);
        started = new Server("127.0.0.1", crashes.port(), "postgres", "postgres");
        started.run("create database " + TEMPLATE);
        Schema.migrate(new Database(started.database(TEMPLATE)));
        if (crashes.hasDisk()) {
          started.run("create tablespace small location '" + crashes.space() + "'");
        }
        own = crashes;
        toCrash = started;
      }
      TestDatabase created = create(started, crashes);
      if (crashes.hasDisk()) {
        started.run(
            "alter database "
                + created.name
                + " set default_tablespace = small; alter database "
                + created.name
                + " set temp_tablespaces = small");
      }
      return Optional.of(created);
    } catch (SQLException | IOException e) {
      throw new IllegalStateException("no test database to crash", e);
    }
  }

  private static TestDatabase create(Server on, @Nullable OwnServer crashes) throws SQLException {
    String name =
        "tallyroll_test_" + ProcessHandle.current().pid() + "_" + COUNTER.incrementAndGet();
    on.run("create database " + name + " template " + TEMPLATE);
    return new TestDatabase(on, crashes, name);
  }

  private static Server server() throws IOException, SQLException {
    if (server != null) {
      return server;
    }
    String url = System.getenv("TALLYROLL_TEST_DATABASE_URL");
    Server started = url == null || url.isEmpty() ? embedded() : external(URI.create(url));
    started.run("drop database if exists " + TEMPLATE);
    started.run("create database " + TEMPLATE);
    Schema.migrate(new Database(started.database(TEMPLATE)));
    server = started;
    return started;
  }

  /** Durability is off: nothing here outlives the test. */
  private static Server embedded() throws IOException {
    EmbeddedPostgres postgres =
        EmbeddedPostgres.builder()
            .setPGStartupWait(Duration.ofSeconds(60))
            .setServerConfig("max_connections", "200")
            .setServerConfig("max_prepared_transactions", "5")
            // Statistics that come and go would make a seed's history another one.
            .setServerConfig("autovacuum", "off")
            .start();
    return new Server("localhost", postgres.getPort(), "postgres", "postgres");
  }

  private static Server external(URI url) {
    String[] user = url.getUserInfo().split(":", 2);
    return new Server(url.getHost(), url.getPort(), user[0], user.length > 1 ? user[1] : "");
  }

  /** The database as the engine sees it. */
  public Database database() {
    return new Database(pool);
  }

  /** The URL, for commands. */
  public String url() {
    return "postgresql://"
        + on.user()
        + ":"
        + on.password()
        + "@"
        + on.host()
        + ":"
        + on.port()
        + "/"
        + name;
  }

  /** A plain connection with the driver's defaults; the caller closes it. */
  public Connection connect() throws SQLException {
    return source.getConnection();
  }

  /** A plain connection as another role; the caller closes it. */
  public Connection connect(String user, String password) throws SQLException {
    return source(user, password).getConnection();
  }

  /** A new data source of plain connections. */
  public PGSimpleDataSource newSource() {
    return on.database(name);
  }

  /** A data source as another role. */
  public PGSimpleDataSource source(String user, String password) {
    PGSimpleDataSource other = on.database(name);
    other.setUser(user);
    other.setPassword(password);
    return other;
  }

  /** Whether its server can be killed. */
  public boolean canCrash() {
    return crashes != null;
  }

  /** Kills its server with SIGQUIT and starts it again; every connection is lost. */
  public void crash() {
    try {
      Objects.requireNonNull(crashes).crash();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Kills every process of its server with SIGKILL and starts it again. */
  public void kill() {
    try {
      Objects.requireNonNull(crashes).kill();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Whether its tables lie on a small disk that can be filled. */
  public boolean hasSmallDisk() {
    return crashes != null && crashes.hasDisk();
  }

  /** Takes all that is left of the small disk. */
  public void fillDisk() {
    try {
      run(
          "copy (select repeat('x', 4000) from generate_series(1, 1000000)) to '"
              + Objects.requireNonNull(crashes).filler()
              + "'");
    } catch (IllegalStateException e) {
      // As it should be: no space is left.
      if (!String.valueOf(e.getMessage()).contains("No space left")) {
        throw e;
      }
      return;
    }
    throw new IllegalStateException("the small disk is not full");
  }

  /** Gives it back. */
  public void freeDisk() {
    run("copy (select 1 where false) to '" + Objects.requireNonNull(crashes).filler() + "'");
  }

  /** Runs statements in auto-commit mode, with a session's defaults. */
  public void run(String sql) {
    try (Connection connection = pool.getConnection()) {
      Sql.run(connection, "reset all");
      try {
        Sql.run(connection, sql);
      } finally {
        if (!connection.isClosed()) {
          // Statements may have begun a transaction of their own, and failed in it.
          Sql.run(connection, "rollback");
          Sql.run(connection, "reset all; reset role");
        }
      }
    } catch (SQLException e) {
      throw new IllegalStateException(e.getMessage() + " in " + sql, e);
    }
  }

  /** The first column of the first row as text, null for NULL or no row. */
  public @Nullable String value(String sql) {
    try (Connection connection = pool.getConnection()) {
      Sql.run(connection, "reset all");
      return Sql.list(connection, sql, row -> new @Nullable String[] {row.getString(1)}).stream()
          .findFirst()
          .map(row -> row[0])
          .orElse(null);
    } catch (SQLException e) {
      throw new IllegalStateException(e.getMessage() + " in " + sql, e);
    }
  }

  /**
   * Makes a role, with attributes as CREATE ROLE and ALTER ROLE have them. Roles belong to the
   * server and outlive their test: one that is there already gets these attributes.
   */
  public void makeRole(String role, String attributes) {
    run(
        "do $$ begin if to_regrole('"
            + role
            + "') is null then create role "
            + role
            + "; end if; end $$; alter role "
            + role
            + " "
            + attributes);
  }

  @Override
  public void close() {
    pool.close();
    try {
      on.run("drop database if exists " + name + " with (force)");
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }
}
