package dev.tallyroll.cli;

import dev.tallyroll.cli.demo.Demo;
import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.InstantSource;
import java.time.ZoneId;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
    name = "demo",
    description =
        "Starts the embedded PostgreSQL with sample tenants, a month of events and live traffic, and rolls them up.")
final class DemoCommand extends BaseCommand {
  @Option(names = "--once", description = "end after showing the results, without live traffic")
  private boolean once;

  @Option(
      names = "--days",
      paramLabel = "N",
      defaultValue = "30",
      description = "how many days of events (default: 30)")
  private int days = 30;

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    if (opened.server() == null) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "demo fills the embedded PostgreSQL, not a database of yours: leave out --database-url");
    }
    if (days < 1 || days > 36) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--days is 1 to 36: minutes are kept for 37 days");
    }
    opened.server().hold("demo");
    InstantSource clock = InstantSource.system();
    Demo demo = new Demo(opened.database(), clock);
    out().println("PostgreSQL: " + opened.url());
    out().flush();
    if (!demo.isLoaded()) {
      long rows = demo.load(days);
      out()
          .println(
              "loaded "
                  + rows
                  + " events of "
                  + days
                  + " days into demo.llm_call and demo.workflow_run");
    }
    demo.apply();
    boolean exact = true;
    try (Refresher refresher = new Refresher(opened.database(), clock)) {
      for (String rollup : Demo.ROLLUPS) {
        BackfillCommand.run(opened, BackfillRequest.all(rollup));
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
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
        live(demo, refresher);
      }
    }
    return exact ? 0 : 1;
  }

  private void show(QueryEngine engine) {
    ZoneId zone = ZoneId.of("Asia/Kolkata");
    QueryRequest base = QueryRequest.of("llm_usage").tenants("acme").every(Every.DAY, zone);
    title("acme by local day in Asia/Kolkata, the last seven days");
    print(engine.run(base.measuring("requests", "errors/requests", "tokens", "cost_usd", "users")));
    title("acme by model, the last seven days");
    print(
        engine.run(
            base.every(Every.ALL, zone)
                .by("model")
                .measuring(
                    "requests",
                    "cost_usd",
                    "p50(duration_ms)",
                    "p95(duration_ms)",
                    "p99(duration_ms)",
                    "users")));
    title(
        "all tenants, the last seven days of New York, the two models that cost most and the rest");
    print(
        engine.run(
            QueryRequest.of("llm_usage")
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

  private void live(Demo demo, Refresher refresher) throws Exception {
    say(
        "live traffic and a refresh every second until Ctrl-C; try: {tallyroll} query llm_usage --by model --every 1h");
    long merged = 0;
    long seconds = 0;
    while (pause(1_000)) {
      demo.tick(20);
      for (String rollup : Demo.ROLLUPS) {
        if (refresher.refresh(rollup, Refresher.WhenBusy.SKIP)
            instanceof RefreshOutcome.Refreshed refreshed) {
          merged += refreshed.rows();
        }
      }
      if (++seconds % 10 == 0) {
        say("merged " + merged + " live events");
      }
    }
    say("stopping");
  }
}
