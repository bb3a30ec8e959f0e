package dev.tallyroll.cli;

import dev.tallyroll.cli.embedded.EmbeddedServer;
import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Database;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/**
 * The database that a command works on: the one of {@code --database-url}, else the embedded one.
 */
final class DatabaseOptions {
  @Option(
      names = "--database-url",
      paramLabel = "URL",
      scope = ScopeType.INHERIT,
      description =
          "postgresql://user[:password]@host:port/database (or TALLYROLL_DATABASE_URL; PGPASSWORD and .pgpass work)")
  private @Nullable String databaseUrl;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      scope = ScopeType.INHERIT,
      description =
          "where the embedded PostgreSQL keeps its data (or TALLYROLL_DATA_DIR; default ./.tallyroll)")
  private @Nullable Path dataDir;

  @Option(
      names = "--port",
      paramLabel = "PORT",
      scope = ScopeType.INHERIT,
      description =
          "the port of the embedded PostgreSQL (default: the one of last time, or a free one)")
  private @Nullable Integer port;

  /** The URL that was given, by option or environment; null for the embedded server. */
  @Nullable String url() {
    return databaseUrl != null ? databaseUrl : nonEmpty(System.getenv("TALLYROLL_DATABASE_URL"));
  }

  /** The database of this command; must be closed. */
  Opened open() {
    String url = url();
    if (url != null) {
      DatabaseUrl parsed = DatabaseUrl.parse(url);
      return new Opened(new Database(parsed.dataSource()), parsed.redacted(), null);
    }
    if (port != null && !DatabaseUrl.isPort(port)) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--port is a number from 1 to 65535, not " + port);
    }
    Path directory = directory();
    if (!Files.exists(directory.resolve("postgres")) && Progress.isTerminal()) {
      System.err.println("tallyroll: preparing the embedded PostgreSQL in " + directory);
    }
    EmbeddedServer server =
        EmbeddedServer.open(directory, port == null ? OptionalInt.empty() : OptionalInt.of(port));
    return new Opened(
        new Database(DatabaseUrl.parse(server.url()).dataSource()), server.url(), server);
  }

  /**
   * A server for databases that are thrown away: that of the URL, or an embedded one beside the one
   * that keeps data, which it never touches.
   */
  Opened openScratch(@Nullable String url) {
    if (url != null) {
      DatabaseUrl parsed = DatabaseUrl.parse(url);
      return new Opened(new Database(parsed.dataSource()), url, null);
    }
    EmbeddedServer server =
        EmbeddedServer.open(directory().resolve("scratch"), OptionalInt.empty());
    return new Opened(
        new Database(DatabaseUrl.parse(server.url()).dataSource()), server.url(), server);
  }

  private Path directory() {
    if (dataDir != null) {
      return dataDir;
    }
    String directory = nonEmpty(System.getenv("TALLYROLL_DATA_DIR"));
    return Path.of(directory == null ? ".tallyroll" : directory);
  }

  private static @Nullable String nonEmpty(@Nullable String value) {
    return value == null || value.isEmpty() ? null : value;
  }

  /**
   * The options that were given, for remedies that must reach the same database; never a password.
   */
  String given() {
    StringBuilder given = new StringBuilder();
    if (databaseUrl != null) {
      given.append(" --database-url '").append(DatabaseUrl.redact(databaseUrl)).append('\'');
    } else if (dataDir != null) {
      given.append(" --data-dir '").append(dataDir).append('\'');
    }
    return given.toString();
  }

  /**
   * An open database.
   *
   * @param database the database
   * @param url its URL for people
   * @param server the embedded server, if it is that
   */
  record Opened(Database database, String url, @Nullable EmbeddedServer server)
      implements AutoCloseable {
    @Override
    public void close() {
      if (server != null) {
        server.close();
      }
    }
  }
}
