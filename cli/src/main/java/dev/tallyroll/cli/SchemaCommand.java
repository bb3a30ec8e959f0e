package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.Replay;
import dev.tallyroll.schema.replay.Scratch;
import dev.tallyroll.schema.report.Baseline;
import dev.tallyroll.schema.report.Sarif;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.SettingsReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
    name = "schema",
    description = "Finds faults of tenancy in the schema of any PostgreSQL database.",
    subcommands = {SchemaCommand.AuditCommand.class})
final class SchemaCommand extends GroupCommand {
  /** How an audit is printed. */
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

  @Command(
      name = "audit",
      description =
          "Reads the catalogs of a database for faults of tenancy: keys and foreign keys without the tenant, missing or open"
              + " policies, views and functions that pass them by, unusable indexes. Changes nothing. Exits 1 if it finds"
              + " something.")
  static final class AuditCommand extends BaseCommand {
    private static final List<String> COLUMNS =
        List.of("severity", "rule", "object", "evidence", "why", "mend");

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
        names = "--migrations",
        paramLabel = "DIR",
        description =
            "audit what these migrations make of an empty database that is thrown away, instead of --database-url")
    private @Nullable Path migrations;

    @Option(
        names = "--layout",
        paramLabel = "LAYOUT",
        description =
            "for which runner: numbered, flyway, supabase, drizzle, prisma, golang-migrate, dbmate, goose (default: recognised)")
    private MigrationFolder.@Nullable Layout layout;

    @Option(
        names = "--scratch-url",
        paramLabel = "URL",
        description =
            "the server for that database, as a role that may make databases and roles (default: an embedded one of its own)")
    private @Nullable String scratchUrl;

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

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      Settings settings =
          (config == null
                  ? Settings.NONE
                  : SettingsReader.read(config.toString(), readText(config)))
              .with(tenantColumns, tenantsTable);
      Baseline known =
          baseline == null ? null : Baseline.read(baseline.toString(), readText(baseline));
      Audit.Report report;
      boolean isWhole = true;
      if (migrations == null) {
        try (Connection connection = opened.database().open("schema audit")) {
          Audit.check(connection, settings);
          report = Audit.run(connection, settings);
        }
      } else {
        MigrationFolder folder = MigrationFolder.read(migrations, Optional.ofNullable(layout));
        try (Scratch scratch = Scratch.on(DatabaseUrl.parse(opened.url())::dataSource);
            Connection connection = scratch.open()) {
          isWhole = replay(folder, scratch, connection);
          report = Audit.run(connection, settings);
        }
      }
      if (writeBaseline != null) {
        Files.writeString(writeBaseline, Baseline.of(report.findings()));
        say("wrote " + counted(report.findings().size(), "finding") + " to " + writeBaseline);
        return isWhole ? 0 : 1;
      }
      List<Finding> findings =
          known == null
              ? report.findings()
              : report.findings().stream().filter(finding -> !known.knows(finding)).toList();
      print(new Audit.Report(report.tenancy(), report.relations(), findings, report.suppressed()));
      if (known != null) {
        known
            .mended(report.findings())
            .forEach(entry -> say("mended since the baseline was written: " + entry));
      }
      return !isWhole || findings.stream().anyMatch(finding -> finding.severity().isAtLeast(failOn))
          ? 1
          : 0;
    }

    @Override
    DatabaseOptions.Opened open() {
      if (migrations == null && (scratchUrl != null || layout != null)) {
        throw new TallyrollException(
            ErrorCode.USAGE, "--scratch-url and --layout are for --migrations");
      }
      if (migrations != null && options().given().contains("--database-url")) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "--migrations are replayed on a scratch server and never on --database-url; name that with --scratch-url");
      }
      return migrations == null ? super.open() : options().openScratch(scratchUrl);
    }

    /** Applies migrations, and says what has failed; false if something has. */
    private boolean replay(MigrationFolder folder, Scratch scratch, Connection connection)
        throws SQLException {
      folder.notes().forEach(this::say);
      Replay.Result result;
      try (Progress bar = Progress.start("replay", "migrations", folder.migrations().size())) {
        result = Replay.run(scratch, connection, folder, migration -> bar.step(1));
      }
      result.notes().forEach(this::say);
      for (Replay.Failure failure : result.failures()) {
        say(
            "failed: %s:%d: %s: %s"
                .formatted(failure.file(), failure.line(), failure.message(), failure.statement()));
      }
      say(
          "replayed %s of %s (%s), %s, %d failed"
              .formatted(
                  counted(folder.migrations().size(), "migration"),
                  migrations,
                  folder.layout(),
                  counted(result.statements(), "statement"),
                  result.failures().size()));
      return result.failures().isEmpty();
    }

    private void print(Audit.Report report) throws IOException {
      switch (format) {
        case TABLE -> printText(report);
        case JSON -> table(report).print(out(), Format.JSON);
        case CSV -> table(report).print(out(), Format.CSV);
        case SARIF -> out().println(Sarif.of(report, Main.version(), place()));
      }
      out().flush();
      if (format != Output.TABLE) {
        say(report.tenancy().described());
        say(summary(report));
      }
    }

    private String place() {
      return (migrations != null ? migrations : config != null ? config : Path.of("schema"))
          .toString()
          .replace('\\', '/');
    }

    private static Table table(Audit.Report report) {
      Table table = new Table(COLUMNS);
      for (Finding finding : report.findings()) {
        table.add(
            Arrays.<@Nullable Object>asList(
                finding.severity().toString(),
                finding.rule().id(),
                finding.object(),
                finding.evidence(),
                finding.rule().why(),
                finding.mend()));
      }
      return table;
    }

    private void printText(Audit.Report report) {
      out().println(report.tenancy().described());
      Rule rule = null;
      for (Finding finding : report.findings()) {
        if (finding.rule() != rule) {
          rule = finding.rule();
          out().println();
          out().println(rule.id() + ": " + rule.title());
          out().println("  " + rule.why());
        }
        out()
            .println(
                "  " + finding.severity() + "  " + finding.object() + ": " + finding.evidence());
        finding.mend().lines().forEach(line -> out().println("    " + line));
      }
      out().println();
      out().println(summary(report));
    }

    private static String counted(int number, String what) {
      return number + " " + what + (number == 1 ? "" : "s");
    }

    private static String summary(Audit.Report report) {
      Map<Severity, Integer> counts = new EnumMap<>(Severity.class);
      report.findings().forEach(finding -> counts.merge(finding.severity(), 1, Integer::sum));
      return report.relations()
          + " tables, views and sequences; "
          + String.join(
              ", ",
              Arrays.stream(Severity.values())
                  .map(each -> counted(counts.getOrDefault(each, 0), each.toString()))
                  .toList())
          + (report.suppressed().isEmpty()
              ? ""
              : "; " + report.suppressed().size() + " suppressed");
    }
  }
}
