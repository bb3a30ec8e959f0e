package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Sha256;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.server.TallyrollServer;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.settings.Setting;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.EnumMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;
import picocli.CommandLine.Command;
import picocli.CommandLine.IModelTransformer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;

@Command(
    name = "serve",
    modelTransformer = ServeCommand.Settings.class,
    description = {
      "Takes in OpenTelemetry traces and CloudEvents, counts each once, and answers usage, over HTTP.",
      "The database is the embedded PostgreSQL; or --database-url names it as the role that servers log in as, and --owner-url as the one that owns the schema tallyroll.",
      "Every setting is an option, a key of the file of --config, and a variable TALLYROLL_... of the environment; the option counts first, the file last."
    })
final class ServeCommand extends BaseCommand {
  /** The role of servers on the embedded PostgreSQL. */
  private static final String ROLE = "tallyroll_app";

  /** What is left to do once requests have come to their end. */
  private static final long TO_CLOSE_MS = 30_000;

  @Option(
      names = "--config",
      paramLabel = "FILE",
      description = "settings in YAML, as: ingest.rate: 1000")
  private @Nullable Path config;

  private @Nullable ServerSettings settings;

  /** Adds an option for each setting. */
  static final class Settings implements IModelTransformer {
    @Override
    public CommandSpec transform(CommandSpec spec) {
      for (Setting setting : Setting.values()) {
        if (setting != Setting.DATABASE_URL) {
          spec.addOption(
              OptionSpec.builder(setting.option())
                  .type(String.class)
                  .paramLabel(setting.form())
                  .description(
                      escaped(setting.description())
                          + (setting.byDefault().isEmpty()
                              ? ""
                              : " (default: " + escaped(setting.byDefault()) + ")"))
                  .build());
        }
      }
      return spec;
    }
  }

  private static String escaped(String text) {
    return text.replace("%", "%%");
  }

  private ServerSettings settings() {
    ServerSettings read = settings;
    if (read == null) {
      Map<Setting, String> given = new EnumMap<>(Setting.class);
      for (Setting setting : Setting.values()) {
        OptionSpec option = specification().findOption(setting.option());
        if (setting != Setting.DATABASE_URL
            && option != null
            && option.getValue() instanceof String text) {
          given.put(setting, text);
        }
      }
      String url = options().url();
      if (url != null) {
        given.put(Setting.DATABASE_URL, url);
      }
      try {
        read =
            ServerSettings.of(
                given,
                System.getenv(),
                config == null ? null : config.toString(),
                config == null ? "" : readText(config));
      } catch (IOException e) {
        throw new TallyrollException(ErrorCode.USAGE, config + " cannot be read", e);
      }
      settings = read;
    }
    return read;
  }

  @Override
  long stopWithinMs() {
    return stopWithinMs(settings());
  }

  /** How long a command in which a server runs may take to end. */
  static long stopWithinMs(ServerSettings settings) {
    return settings.shutdownDeadline().toMillis() + TO_CLOSE_MS;
  }

  /** The embedded server is opened only if no database is named, in a file neither. */
  @Override
  DatabaseOptions.Opened open() {
    return settings()
        .databaseUrl()
        .map(url -> {
          DatabaseUrl parsed = DatabaseUrl.parse(url);
          return new DatabaseOptions.Opened(
              new Database(parsed.dataSource()), parsed.redacted(), null);
        })
        .orElseGet(super::open);
  }

  @Override
  int run(DatabaseOptions.Opened opened) {
    ServerSettings asked = settings();
    DataSource application;
    DataSource owner;
    if (opened.server() != null) {
      if (asked.ownerUrl().isPresent()) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            Setting.OWNER_URL.option()
                + " goes with --database-url; the embedded PostgreSQL has roles of its own");
      }
      owner = DatabaseUrl.parse(opened.server().url()).dataSource();
      application = embedded(opened.database(), opened.server().url());
    } else {
      application = DatabaseUrl.parse(asked.databaseUrl().orElseThrow()).dataSource();
      owner = asked.ownerUrl().map(ServeCommand::owner).orElse(null);
    }
    try (TallyrollServer server =
        TallyrollServer.start(asked, application, owner, InstantSource.system())) {
      tell(out(), asked, server);
      await();
      say("stopping: requests that run may take " + asked.shutdownDeadline().toMillis() + " ms");
      return 0;
    }
  }

  private static DataSource owner(String url) {
    try {
      return DatabaseUrl.parse(url).dataSource();
    } catch (TallyrollException e) {
      throw new TallyrollException(
          e.code(),
          e.getMessage()
              .replace(
                  "--database-url (or TALLYROLL_DATABASE_URL)",
                  Setting.OWNER_URL.option() + " (or " + Setting.OWNER_URL.variable() + ")"),
          e);
    }
  }

  /** Says where a server listens, and what its first key is. */
  static void tell(PrintWriter out, ServerSettings asked, TallyrollServer server) {
    String url = "http://" + new ServerSettings.Address(asked.listen().host(), server.port());
    out.println("listening on " + url + " (API: " + url + "/docs)");
    server
        .otlpPort()
        .ifPresent(port ->
            out.println(
                "OTLP/HTTP on http://"
                    + asked
                        .otlpListen()
                        .map(address -> new ServerSettings.Address(address.host(), port))
                        .orElseThrow()
                    + "/v1/traces, and there"));
    out.println("health: " + url + "/readyz");
    server.firstAdminKey().ifPresent(key -> out.println("admin key, shown only this once: " + key));
    out.flush();
  }

  /** Until the process is told to stop. */
  private void await() {
    CountDownLatch never = new CountDownLatch(1);
    while (!isStopping()) {
      try {
        never.await();
      } catch (InterruptedException e) {
        // Only to look whether the process is to stop.
      }
    }
  }

  /** The role of servers on the embedded PostgreSQL, whose superuser nobody but its owner knows. */
  static DataSource embedded(Database database, String url) {
    PGSimpleDataSource source = DatabaseUrl.parse(url).dataSource();
    String password = derived(source.getPassword());
    database.transact(
        "serve",
        connection -> {
          Sql.run(connection, "select pg_advisory_xact_lock(7308332241526253418)");
          boolean isThere =
              Sql.first(
                      connection,
                      "select 1 from pg_roles where rolname = ?",
                      row -> row.getInt(1),
                      ROLE)
                  .isPresent();
          Sql.run(
              connection,
              (isThere ? "alter role " : "create role ")
                  + ROLE
                  + " login noinherit password "
                  + Sql.literal(password));
          return true;
        });
    source.setUser(ROLE);
    source.setPassword(password);
    return source;
  }

  /** The same for every server of a data directory, and no way back. */
  private static String derived(@Nullable String secret) {
    return HexFormat.of().formatHex(Sha256.of(ROLE + ":" + secret));
  }
}
