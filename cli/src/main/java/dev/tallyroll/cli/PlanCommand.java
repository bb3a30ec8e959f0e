package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Plan;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
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

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    List<Plan> plans = new Installer(opened.database()).plan(definitions(files));
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

  private void print(Plan plan) {
    String state =
        switch (plan.change()) {
          case CREATE -> "to be installed";
          case CHANGE -> "to be changed";
          case NONE -> plan.statements().isEmpty() ? "nothing to do" : "to be completed";
        };
    out().println("rollup " + plan.rollup() + " over " + plan.source() + ": " + state);
    section("changes", plan.difference());
    section("adds to " + plan.source(), plan.adds());
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
    if (!plan.statements().isEmpty()) {
      out().println("  SQL:");
      plan.statements().forEach(sql -> out().println(sql.startsWith("--") ? sql : sql + ";"));
    }
    out().flush();
  }

  private void section(String title, List<String> lines) {
    if (!lines.isEmpty()) {
      out().println("  " + title + ":");
      lines.forEach(line -> out().println("    " + line));
    }
  }
}
