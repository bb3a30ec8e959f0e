package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.postgres.install.Plan;
import dev.tallyroll.postgres.install.Planner;
import dev.tallyroll.postgres.roles.Grant;
import dev.tallyroll.postgres.roles.Grants;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
    name = "plan",
    description =
        "Shows the SQL that apply would run, what it adds to your tables and what that may break, and sizes a month by grain.")
final class PlanCommand extends BaseCommand {
  @Option(
      names = {"-f", "--file"},
      required = true,
      paramLabel = "FILE",
      description = "a definition file; repeat for several")
  private List<Path> files = List.of();

  @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
  private Format format = Format.TABLE;

  @Option(
      names = "--grants",
      description =
          "print instead what an installer, a refresher and a reader role still need, as SQL: without it, installing and refreshing take the rights of whoever does it")
  private boolean grants;

  @Option(
      names = "--installer",
      paramLabel = "ROLE",
      description =
          "with --grants: who applies and drops (default: the owner of the schema tallyroll, or tallyroll_installer)")
  private @Nullable String installer;

  @Option(
      names = "--refresher",
      paramLabel = "ROLE",
      defaultValue = "tallyroll_refresher",
      description =
          "with --grants: who refreshes, backfills, verifies and repairs; may be the installer (default: ${DEFAULT-VALUE})")
  private String refresher = "tallyroll_refresher";

  @Option(
      names = "--reader",
      paramLabel = "ROLE",
      defaultValue = "tallyroll_reader",
      description = "with --grants: who reads one tenant (default: ${DEFAULT-VALUE})")
  private String reader = "tallyroll_reader";

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    if (grants) {
      print(Grants.missing(opened.database(), definitions(files), installer, refresher, reader));
      return 0;
    }
    List<Plan> plans = new Planner(opened.database()).plan(definitions(files));
    if (format != Format.TABLE) {
      Table table =
          new Table(
              List.of(
                  "rollup",
                  "source",
                  "change",
                  "difference",
                  "statements",
                  "adds",
                  "breaks",
                  "warnings",
                  "month_bytes",
                  "sampled_rows",
                  "local_days"));
      for (Plan plan : plans) {
        table.add(
            Arrays.asList(
                plan.rollup(),
                plan.source(),
                plan.change().name().toLowerCase(Locale.ROOT),
                plan.difference(),
                plan.statements(),
                plan.adds(),
                plan.breaks(),
                plan.warnings(),
                plan.monthBytes(),
                plan.sampledRows(),
                plan.localDays()));
      }
      table.print(out(), format);
      return 0;
    }
    plans.forEach(this::print);
    return 0;
  }

  private void print(List<Grant> missing) {
    if (format != Format.TABLE) {
      Table table = new Table(List.of("when", "run_by", "role", "statement", "why"));
      for (Grant grant : missing) {
        table.add(
            List.of(
                grant.when().name().toLowerCase(Locale.ROOT),
                grant.by(),
                grant.role(),
                grant.statement(),
                grant.why()));
      }
      table.print(out(), format);
      return;
    }
    if (missing.isEmpty()) {
      out().println("-- nothing is missing");
    }
    String heading = "";
    for (Grant grant : missing) {
      String now =
          (grant.when() == Grant.When.BEFORE_APPLY ? "-- before apply, as " : "-- after apply, as ")
              + grant.by();
      if (!now.equals(heading)) {
        out().println(heading.isEmpty() ? now : System.lineSeparator() + now);
        heading = now;
      }
      out().println("--   " + grant.role() + ": " + grant.why());
      out().println(grant.statement() + ";");
    }
    out().flush();
  }

  private void print(Plan plan) {
    String state =
        switch (plan.change()) {
          case CREATE -> "to be installed";
          case CHANGE -> "to be changed";
          case NONE -> plan.statements().isEmpty() ? "nothing to do" : "to be completed";
        };
    // The SQL is long: what is to be read stays on the screen after it.
    plan.statements().forEach(sql -> out().println(sql.startsWith("--") ? sql : sql + ";"));
    out().println("rollup " + plan.rollup() + " over " + plan.source() + ": " + state);
    section("changes", plan.difference());
    section("adds to " + plan.source(), plan.adds().stream().map(PlanCommand::firstLine).toList());
    section("which means", plan.breaks());
    section("warnings", plan.warnings());
    if (!plan.monthBytes().isEmpty()) {
      out().println("  a month takes about (estimated from " + plan.sampledRows() + " rows):");
      plan.monthBytes()
          .forEach((grain, bytes) -> out().println("    " + grain + "  " + Sizes.text(bytes)));
    }
    out().println("  local days reach back:");
    plan.localDays()
        .forEach((zone, days) ->
            out()
                .println(
                    "    "
                        + zone
                        + "  "
                        + (days == 0 ? "never: no grain is fine enough" : days + "d")));
    out().flush();
  }

  private static String firstLine(String text) {
    int end = text.strip().indexOf('\n');
    return end < 0 ? text.strip() : text.strip().substring(0, end).strip() + " ...";
  }

  private void section(String title, List<String> lines) {
    if (!lines.isEmpty()) {
      out().println("  " + title + ":");
      lines.forEach(line -> out().println("    " + line));
    }
  }
}
