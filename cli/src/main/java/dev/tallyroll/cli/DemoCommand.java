package dev.tallyroll.cli;

import dev.tallyroll.cli.demo.Demo;
import dev.tallyroll.cli.embedded.EmbeddedServer;
import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.server.TallyrollServer;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.settings.Setting;
import java.net.URI;
import java.time.InstantSource;
import java.time.ZoneId;
import java.util.Map;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
    name = "demo",
    description =
        "Starts the embedded PostgreSQL and a server, to which sample tenants send a month of events and live traffic.")
final class DemoCommand extends BaseCommand {
  /** What is older is refused by the server: its keys are not remembered for longer. */
  private static final int MOST_DAYS = 34;

  private static final double LIVE_FACTOR = 20;

  @Option(names = "--once", description = "end after showing the results, without live traffic")
  private boolean once;

  @Option(
      names = "--days",
      paramLabel = "N",
      defaultValue = "30",
      description = "how many days of events (default: 30)")
  private int days = 30;

  @Option(
      names = "--listen",
      paramLabel = "HOST:PORT",
      description = "where the server listens (default: 127.0.0.1:8080; any port with --once)")
  private String listen = "";

  @Option(
      names = "--otlp-listen",
      paramLabel = "HOST:PORT|none",
      description =
          "where it takes in OTLP/HTTP as well (default: 127.0.0.1:4318; none with --once)")
  private String otlpListen = "";

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    EmbeddedServer embedded = opened.server();
    if (embedded == null) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "demo fills the embedded PostgreSQL, not a database of yours: leave out --database-url");
    }
    if (days < 1 || days > MOST_DAYS) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--days is 1 to " + MOST_DAYS + ": a server takes in nothing that is older than 35 days");
    }
    ServerSettings settings =
        ServerSettings.of(
            Map.of(
                Setting.LISTEN,
                asked(listen, "127.0.0.1:0", Setting.LISTEN),
                Setting.OTLP_LISTEN,
                asked(otlpListen, "none", Setting.OTLP_LISTEN)),
            Map.of(),
            null,
            "");
    embedded.hold("demo");
    InstantSource clock = InstantSource.system();
    out().println("PostgreSQL: " + opened.url());
    out().flush();
    Demo.check(opened.database());
    try (TallyrollServer server =
        TallyrollServer.start(
            settings,
            ServeCommand.embedded(opened.database(), embedded.url()),
            DatabaseUrl.parse(embedded.url()).dataSource(),
            clock)) {
      ServeCommand.tell(out(), settings, server);
      URI url =
          URI.create(
              "http://" + new ServerSettings.Address(settings.listen().host(), server.port()));
      // Somebody may have dropped one since.
      TallyrollServer.makeShipped(opened.database(), settings, clock);
      try (Demo demo = new Demo(opened.database(), clock, url)) {
        return run(opened, demo, clock, url);
      } catch (InterruptedException e) {
        if (!isStopping()) {
          throw e;
        }
        return 0;
      }
    }
  }

  @Override
  long stopWithinMs() {
    return ServeCommand.stopWithinMs(ServerSettings.of(Map.of(), Map.of(), null, ""));
  }

  private String asked(String given, String ofOnce, Setting setting) {
    return !given.isEmpty() ? given : once ? ofOnce : setting.byDefault();
  }

  private int run(DatabaseOptions.Opened opened, Demo demo, InstantSource clock, URI server)
      throws InterruptedException {
    demo.apply();
    Demo.Sent sent = demo.load(days);
    if (sent.events() > 0) {
      out()
          .println(
              "sent "
                  + sent.events()
                  + " events of "
                  + days
                  + " days, of five tenants, in "
                  + sent.requests()
                  + " requests");
    }
    boolean exact = true;
    try (Refresher refresher = new Refresher(opened.database(), clock)) {
      for (String rollup : Demo.ROLLUPS) {
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    show(new QueryEngine(opened.database(), clock));
    for (String rollup : Demo.ROLLUPS) {
      try (VerifyOptions.Bar bar = new VerifyOptions.Bar("verify " + rollup)) {
        VerifyReport report =
            new Verifier(opened.database(), clock).verify(VerifyRequest.all(rollup), bar);
        out().println(VerifyCommand.summary(report));
        exact &= report.isExact();
      }
    }
    out().flush();
    if (!once) {
      live(demo, server);
    }
    return exact ? 0 : 1;
  }

  private void show(QueryEngine engine) {
    ZoneId zone = ZoneId.of("Asia/Kolkata");
    QueryRequest base = QueryRequest.of("llm_usage").tenants(Demo.SHOWN).every(Every.DAY, zone);
    title("acme by local day in Asia/Kolkata, the last seven days");
    print(
        engine.run(
            base.measuring(
                "requests", "errors/requests", "input_tokens", "output_tokens", "users")));
    title("acme by model, the last seven days");
    print(
        engine.run(
            base.every(Every.ALL, zone)
                .by("model")
                .measuring(
                    "requests",
                    "p50(duration_ms)",
                    "p95(duration_ms)",
                    "p99(duration_ms)",
                    "users")));
    title(
        "all tenants, the last seven days of New York, the two models that cost most and the rest");
    print(
        engine.run(
            QueryRequest.of("llm_cost")
                .every(Every.ALL, ZoneId.of("America/New_York"))
                .by("model")
                .measuring("cost_usd", "requests")
                .top(2)));
  }

  private void title(String text) {
    out().println();
    out().println(text);
  }

  private void print(QueryResult result) {
    Table table = new Table(result.columns());
    result.rows().forEach(table::add);
    table.print(out(), Format.TABLE);
    out().println();
  }

  private void live(Demo demo, URI server) throws InterruptedException {
    say(
        "live traffic until Ctrl-C; each event is in the next answer: {tallyroll} query llm_usage --by model --every 1h; or, as "
            + Demo.SHOWN
            + ":");
    say(
        "curl -s '"
            + server
            + "/v1/usage/llm_usage?by=model&every=1d&zone=Asia/Kolkata' -H 'Authorization: Bearer "
            + demo.readKey()
            + "'");
    Demo.Sent sent = Demo.Sent.none();
    long seconds = 0;
    while (pause(1_000)) {
      sent = sent.plus(demo.tick(LIVE_FACTOR));
      if (++seconds % 10 == 0) {
        say(
            "sent "
                + sent.events()
                + " live events in "
                + sent.requests()
                + " requests, "
                + sent.again()
                + " of them twice");
      }
    }
    say("stopping");
  }
}
