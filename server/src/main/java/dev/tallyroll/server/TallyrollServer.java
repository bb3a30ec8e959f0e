package dev.tallyroll.server;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.events.Appender;
import dev.tallyroll.postgres.events.GroupCommit;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.postgres.roles.ServerRoles;
import dev.tallyroll.server.access.Access;
import dev.tallyroll.server.http.Bodies;
import dev.tallyroll.server.http.InFlight;
import dev.tallyroll.server.ingest.Ingest;
import dev.tallyroll.server.ingest.IngestMetrics;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.upkeep.CommitHealth;
import dev.tallyroll.server.upkeep.Upkeep;
import dev.tallyroll.server.usage.Readers;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import io.micrometer.core.instrument.binder.jvm.JvmMemoryMetrics;
import io.micrometer.core.instrument.binder.system.ProcessorMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.BindException;
import java.nio.charset.StandardCharsets;
import java.time.InstantSource;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.UnaryOperator;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.bridge.SLF4JBridgeHandler;
import org.springframework.boot.Banner;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.tomcat.TomcatWebServer;
import org.springframework.boot.web.server.servlet.context.ServletWebServerApplicationContext;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.support.GenericApplicationContext;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.MapPropertySource;
import org.springframework.core.env.MutablePropertySources;
import org.springframework.core.env.StandardEnvironment;

/**
 * A running server. Must be closed, which drains it: requests that run come to their end, for as
 * long as settings say, and what they sent is committed. Thread-safe.
 */
public final class TallyrollServer implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(TallyrollServer.class);
  private static final int OWNER_CONNECTIONS = 8;

  /** For looking keys up, upkeep and health. */
  private static final int MORE_CONNECTIONS = 4;

  private final Deque<AutoCloseable> open;
  private final int port;
  private final OptionalInt otlpPort;
  private final Optional<String> firstAdminKey;

  private TallyrollServer(
      Deque<AutoCloseable> open, int port, OptionalInt otlpPort, Optional<String> firstAdminKey) {
    this.open = open;
    this.port = port;
    this.otlpPort = otlpPort;
    this.firstAdminKey = firstAdminKey;
  }

  /**
   * Starts a server; when this returns it answers.
   *
   * @param application connections as the role that servers log in as
   * @param owner connections as the installer; null if another server, or a watch, does what only
   *     the installer may
   * @throws TallyrollException if PostgreSQL would not keep tenants apart for the application role,
   *     the database is not reached, an address is taken, or the schema has to be migrated first
   */
  public static TallyrollServer start(
      ServerSettings settings,
      DataSource application,
      @Nullable DataSource owner,
      InstantSource clock) {
    return start(settings, application, owner, clock, UnaryOperator.identity());
  }

  /**
   * The same with something between the endpoints and the event log, as a benchmark has it that
   * measures what the log costs.
   *
   * @param between is given the log, and gives what the endpoints append to
   */
  public static TallyrollServer start(
      ServerSettings settings,
      DataSource application,
      @Nullable DataSource owner,
      InstantSource clock,
      UnaryOperator<Appender> between) {
    logAsEverythingElse();
    checkHost(settings.listen());
    settings.otlpListen().ifPresent(TallyrollServer::checkHost);
    Deque<AutoCloseable> open = new ArrayDeque<>();
    try {
      return start(settings, application, owner, clock, between, open);
    } catch (RuntimeException e) {
      closeAll(open);
      throw faultOf(e, settings);
    }
  }

  private static TallyrollServer start(
      ServerSettings settings,
      DataSource application,
      @Nullable DataSource owner,
      InstantSource clock,
      UnaryOperator<Appender> between,
      Deque<AutoCloseable> open) {
    PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
    open.push(registry::close);
    new ProcessorMetrics().bindTo(registry);
    new JvmMemoryMetrics().bindTo(registry);
    Connections reading =
        new Connections(application, "queries", settings.queryConnections(), registry);
    open.push(reading);
    // Who asks for much must not keep others from being known, nor the server from saying how it
    // is.
    Connections looking = new Connections(application, "keys", MORE_CONNECTIONS, registry);
    open.push(looking);
    ServerRoles.check(reading.database());
    Optional<Database> installer = Optional.empty();
    if (owner != null) {
      Connections owning = new Connections(owner, "owner", OWNER_CONNECTIONS, registry);
      open.push(owning);
      installer = Optional.of(owning.settingUp());
      setUp(owning.settingUp(), reading.database(), settings, clock);
    } else {
      reading.database().with("serve", TallyrollServer::checkSchema);
    }
    InFlight inFlight = new InFlight(settings.maxInFlight());
    IngestMetrics metrics = new IngestMetrics(registry, inFlight, settings.metricsTenants());
    CommitHealth health = new CommitHealth(metrics);
    // Its own connections: a commit must not wait for one that answers a query.
    GroupCommit commit = new GroupCommit(new Database(application), settings.committers(), health);
    open.push(commit);
    Access access = new Access(looking.database(), clock);
    Ingest ingest = new Ingest(between.apply(commit), metrics, settings.rate(), settings.limits());
    Upkeep upkeep =
        new Upkeep(
            looking.database(),
            // Refreshes keep their connections, as many as there are rollups: not those of a pool.
            Optional.ofNullable(owner).map(Database::new),
            settings,
            access,
            ingest,
            clock,
            registry);
    open.push(upkeep);
    upkeep.start();
    Readers readers = new Readers(reading.database(), installer, clock);
    Bodies bodies = new Bodies(settings.maxBody(), settings.bodyDeadline(), inFlight);
    SpringApplicationBuilder spring =
        new SpringApplicationBuilder(ServerApplication.class)
            .web(WebApplicationType.SERVLET)
            .bannerMode(Banner.Mode.OFF)
            .logStartupInfo(false)
            .registerShutdownHook(false)
            .environment(environment(settings))
            .initializers(starting -> {
              GenericApplicationContext beans = (GenericApplicationContext) starting;
              beans.registerBean(ServerSettings.class, () -> settings);
              beans.registerBean(InstantSource.class, () -> clock);
              beans.registerBean(Database.class, looking::database);
              beans.registerBean(Access.class, () -> access);
              beans.registerBean(Upkeep.class, () -> upkeep, bean -> bean.setDestroyMethodName(""));
              beans.registerBean(CommitHealth.class, () -> health);
              beans.registerBean(Readers.class, () -> readers);
              beans.registerBean(Bodies.class, () -> bodies);
              beans.registerBean(Ingest.class, () -> ingest);
              beans.registerBean(
                  PrometheusMeterRegistry.class,
                  () -> registry,
                  bean -> bean.setDestroyMethodName(""));
            });
    // They look for files and variables of Spring's, of which none may say how this server is set
    // up, and set logging up anew.
    spring.application().setListeners(List.of());
    ConfigurableApplicationContext context = spring.run();
    open.push(context);
    if (!(context instanceof ServletWebServerApplicationContext serving)
        || !(serving.getWebServer() instanceof TomcatWebServer web)) {
      throw new IllegalStateException("the server is no Tomcat");
    }
    int main = web.getPort();
    OptionalInt otlp =
        settings.otlpListen().isEmpty()
            ? OptionalInt.empty()
            : java.util.Arrays.stream(web.getTomcat().getService().findConnectors())
                .mapToInt(connector -> connector.getLocalPort())
                .filter(port -> port != main)
                .findFirst();
    otlp.ifPresent(access::onlyTracesOn);
    // Not before: a server that cannot listen shows it to nobody.
    Optional<String> firstKey =
        installer
            .flatMap(database -> new ApiKeys(database).createFirstAdmin())
            .map(ApiKeys.NewKey::token);
    return new TallyrollServer(open, main, otlp, firstKey);
  }

  /** Tomcat logs by {@code java.util.logging}, which would write to standard error by itself. */
  private static void logAsEverythingElse() {
    if (!SLF4JBridgeHandler.isInstalled()) {
      SLF4JBridgeHandler.removeHandlersForRootLogger();
      SLF4JBridgeHandler.install();
    }
  }

  private static void checkHost(ServerSettings.Address address) {
    try {
      ServerApplication.inet(address.host());
    } catch (IllegalArgumentException e) {
      throw new TallyrollException(
          ErrorCode.USAGE, "cannot listen on " + address + ": " + e.getMessage(), e);
    }
  }

  private static ConfigurableEnvironment environment(ServerSettings settings) {
    return new StandardEnvironment() {
      @Override
      protected void customizePropertySources(MutablePropertySources sources) {
        sources.addFirst(new MapPropertySource("tallyroll", properties(settings)));
      }
    };
  }

  private static Map<String, Object> properties(ServerSettings settings) {
    return Map.ofEntries(
        Map.entry("server.address", settings.listen().host()),
        Map.entry("server.port", settings.listen().port()),
        Map.entry("server.shutdown", "graceful"),
        Map.entry(
            "spring.lifecycle.timeout-per-shutdown-phase",
            settings.shutdownDeadline().toMillis() + "ms"),
        Map.entry("server.error.whitelabel.enabled", false),
        Map.entry("spring.threads.virtual.enabled", true),
        Map.entry("spring.servlet.multipart.enabled", false),
        // It would read whole bodies of forms, of whoever sends them.
        Map.entry("spring.mvc.formcontent.filter.enabled", false),
        Map.entry("spring.mvc.log-resolved-exception", false),
        Map.entry("spring.web.resources.add-mappings", false),
        Map.entry("spring.jackson.deserialization.fail-on-unknown-properties", true),
        Map.entry("spring.main.allow-bean-definition-overriding", false),
        Map.entry("springdoc.swagger-ui.path", "/docs"),
        Map.entry("springdoc.api-docs.version", "openapi_3_1"),
        Map.entry("springdoc.paths-to-match", "/**"),
        Map.entry("springdoc.override-with-generic-response", false));
  }

  private static boolean checkSchema(java.sql.Connection connection) throws java.sql.SQLException {
    if (!Schema.isThere(connection)) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "there is no schema tallyroll in this database, and without --owner-url nobody here may make it; start a server with --owner-url first");
    }
    return true;
  }

  /** Migrates, gives the roles what they need, and at the first time makes what is shipped. */
  private static void setUp(
      Database owner, Database application, ServerSettings settings, InstantSource clock) {
    Schema.migrate(owner);
    String role =
        application.with(
            "serve",
            connection -> Sql.one(connection, "select current_user", row -> row.getString(1)));
    boolean isFirst =
        owner.with(
            "serve",
            connection ->
                Sql.one(
                    connection,
                    "select not exists (select from tallyroll.server_role)",
                    row -> row.getBoolean(1)));
    // Before the role is written down, by which it is known that this was done.
    if (isFirst) {
      try {
        makeShipped(owner, settings, clock);
      } catch (TallyrollException e) {
        // Another server that starts for the first time may have been in the way.
        makeShipped(owner, settings, clock);
      }
    }
    ServerRoles.setUp(owner, role);
    ServerRoles.check(application);
  }

  /** Makes those of the shipped definitions whose names are free. */
  public static void makeShipped(Database owner, ServerSettings settings, InstantSource clock) {
    List<String> there = owner.with("serve", Registry::names);
    List<Definition> missing =
        DefinitionReader.read("definitions.yaml", definitions(settings)).stream()
            .filter(definition -> !there.contains(definition.rollup().name()))
            .toList();
    if (!missing.isEmpty()) {
      new Installer(owner, clock).apply(missing);
    }
  }

  private static String definitions(ServerSettings settings) {
    try (InputStream in = TallyrollServer.class.getResourceAsStream("definitions.yaml")) {
      if (in == null) {
        throw new IllegalStateException("no definitions.yaml");
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8)
          .replace("{keep}", settings.eventsKeep() + "d");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static RuntimeException faultOf(RuntimeException fault, ServerSettings settings) {
    for (Throwable cause = fault; cause != null; cause = cause.getCause()) {
      if (cause instanceof TallyrollException known) {
        return known;
      }
      boolean isTaken =
          cause instanceof BindException
              || cause.getClass().getSimpleName().equals("PortInUseException");
      if (isTaken || cause.getClass().getSimpleName().equals("ConnectorStartFailedException")) {
        return new TallyrollException(
            ErrorCode.USAGE,
            "cannot listen on "
                + settings.listen()
                + settings.otlpListen().map(address -> " and " + address).orElse("")
                + ": an address is taken or not of this host; choose another --listen or --otlp-listen",
            fault);
      }
    }
    return fault;
  }

  /** Where it listens. */
  public int port() {
    return port;
  }

  /** Where it takes traces in too. */
  public OptionalInt otlpPort() {
    return otlpPort;
  }

  /** The first key of scope admin, if it was made now: it is shown once. */
  public Optional<String> firstAdminKey() {
    return firstAdminKey;
  }

  @Override
  public void close() {
    closeAll(open);
  }

  private static void closeAll(Deque<AutoCloseable> open) {
    while (!open.isEmpty()) {
      try {
        open.pop().close();
      } catch (Exception e) {
        LOG.warn("at the end: {}", e.getMessage());
      }
    }
  }
}
