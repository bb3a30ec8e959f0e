package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Judged;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.schema.report.Baseline;
import dev.tallyroll.schema.report.Sarif;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.SettingsReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Which findings a command tells, how, and with which exit code. */
final class FindingsOptions {
  private static final List<String> COLUMNS =
      List.of("severity", "rule", "object", "file", "line", "evidence", "why", "mend");

  /** How findings are printed. */
  enum Output {
    /** For people, with what mends each finding. */
    TABLE,
    /** One JSON array of flat objects. */
    JSON,
    /** Comma-separated values. */
    CSV,
    /** SARIF 2.1.0. */
    SARIF;

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  @Option(
      names = "--config",
      paramLabel = "FILE",
      description =
          "YAML with what cannot be seen: tenancy {columns, tenants, shared}, schemas, exclude,"
              + " roles {application, trusted}, suppress [{rule, object, reason}]")
  private @Nullable Path config;

  @Option(
      names = "--tenant-column",
      paramLabel = "NAME",
      description = "the column that says whose a row is; repeats (default: inferred)")
  private List<String> tenantColumns = new ArrayList<>();

  @Option(
      names = "--tenants-table",
      paramLabel = "TABLE",
      description = "the table that lists the tenants (default: inferred)")
  private @Nullable String tenantsTable;

  @Option(
      names = "--baseline",
      paramLabel = "FILE",
      description = "tell only of findings that are not in this file")
  private @Nullable Path baseline;

  @Option(
      names = "--write-baseline",
      paramLabel = "FILE",
      description = "write all findings into this file, and exit 0")
  private @Nullable Path writeBaseline;

  @Option(
      names = "--fail-on",
      defaultValue = "warning",
      paramLabel = "SEVERITY",
      description =
          "exit 1 on findings that are at least so bad: error, warning or note (default: ${DEFAULT-VALUE})")
  private Severity failOn = Severity.WARNING;

  @Option(
      names = "--format",
      defaultValue = "table",
      description = "table, json, csv or sarif (default: ${DEFAULT-VALUE})")
  private Output format = Output.TABLE;

  /** What the file and the options say of the schema. */
  Settings settings() throws IOException {
    return (config == null
            ? Settings.NONE
            : SettingsReader.read(config.toString(), BaseCommand.readText(config)))
        .with(tenantColumns, tenantsTable);
  }

  /**
   * Prints findings, or writes them down.
   *
   * @param about what is said of the whole, one line each, before and after the findings
   * @param place the file or folder of findings without one
   * @return the exit code
   */
  int print(BaseCommand command, Judged judged, List<String> about, String summary, Path place)
      throws IOException {
    Baseline known =
        baseline == null
            ? null
            : Baseline.read(baseline.toString(), BaseCommand.readText(baseline));
    if (writeBaseline != null) {
      Files.writeString(writeBaseline, Baseline.of(judged.findings()));
      command.say("wrote " + counted(judged.findings().size(), "finding") + " to " + writeBaseline);
      return 0;
    }
    List<Finding> findings =
        known == null
            ? judged.findings()
            : judged.findings().stream().filter(finding -> !known.knows(finding)).toList();
    String counts = summary + counts(findings, judged.suppressed().size());
    PrintWriter out = command.out();
    switch (format) {
      case TABLE -> {
        about.forEach(out::println);
        printText(out, findings);
        out.println();
        out.println(counts);
      }
      case JSON -> table(findings).print(out, Format.JSON);
      case CSV -> table(findings).print(out, Format.CSV);
      case SARIF ->
          out.println(
              Sarif.of(
                  new Judged(findings, judged.suppressed()),
                  Main.version(),
                  (config != null ? config : place).toString().replace('\\', '/'),
                  Map.of("about", String.join("; ", about))));
    }
    out.flush();
    if (format != Output.TABLE) {
      about.forEach(command::say);
      command.say(counts);
    }
    if (known != null) {
      known
          .mended(judged.findings())
          .forEach(entry -> command.say("mended since the baseline was written: " + entry));
    }
    return findings.stream().anyMatch(finding -> finding.severity().isAtLeast(failOn)) ? 1 : 0;
  }

  private static Table table(List<Finding> findings) {
    Table table = new Table(COLUMNS);
    for (Finding finding : findings) {
      table.add(
          Arrays.<@Nullable Object>asList(
              finding.severity().toString(),
              finding.rule().id(),
              finding.object(),
              finding.place() == null ? null : finding.place().file(),
              finding.place() == null ? null : finding.place().line(),
              finding.evidence(),
              finding.rule().why(),
              finding.mend()));
    }
    return table;
  }

  private static void printText(PrintWriter out, List<Finding> findings) {
    Rule rule = null;
    for (Finding finding : findings) {
      if (finding.rule() != rule) {
        rule = finding.rule();
        out.println();
        out.println(rule.id() + ": " + rule.title());
        out.println("  " + rule.why());
      }
      out.println(
          "  "
              + finding.severity()
              + "  "
              + (finding.place() == null ? "" : finding.place() + ": ")
              + finding.object()
              + ": "
              + finding.evidence());
      finding.mend().lines().forEach(line -> out.println("    " + line));
    }
  }

  static String counted(int number, String what) {
    return number + " " + what + (number == 1 ? "" : "s");
  }

  private static String counts(List<Finding> findings, int suppressed) {
    Map<Severity, Integer> counts = new EnumMap<>(Severity.class);
    findings.forEach(finding -> counts.merge(finding.severity(), 1, Integer::sum));
    return String.join(
            ", ",
            Arrays.stream(Severity.values())
                .map(each -> counted(counts.getOrDefault(each, 0), each.toString()))
                .toList())
        + (suppressed == 0 ? "" : "; " + suppressed + " suppressed");
  }
}
