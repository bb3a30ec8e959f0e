package dev.tallyroll.cli;

import static dev.tallyroll.cli.FindingsOptions.counted;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.guard.Guard;
import dev.tallyroll.schema.guard.GuardReader;
import dev.tallyroll.schema.guard.Guards;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "guard",
    description =
        "Lets a legacy table go only if what replaces it holds the same: compared by content, in the transaction of the drop.",
    subcommands = {
      SchemaGuardCommand.PlanCommand.class,
      SchemaGuardCommand.InstallCommand.class,
      SchemaGuardCommand.StatusCommand.class,
      SchemaGuardCommand.WaiveCommand.class
    })
final class SchemaGuardCommand extends GroupCommand {
  /** The guards of a file, or one of them. */
  static final class GuardFile {
    @Option(
        names = {"-f", "--file"},
        required = true,
        paramLabel = "FILE",
        description = "YAML with the guards")
    private @Nullable Path file;

    @Parameters(arity = "0..1", paramLabel = "NAME", description = "the guard (default: all)")
    private @Nullable String name;

    List<Guard> guards() throws IOException {
      Path named = Objects.requireNonNull(file);
      List<Guard> guards = GuardReader.read(named.toString(), BaseCommand.readText(named));
      String wanted = name;
      if (wanted == null) {
        return guards;
      }
      return List.of(
          guards.stream()
              .filter(guard -> guard.name().equals(wanted))
              .findFirst()
              .orElseThrow(() ->
                  new TallyrollException(
                      ErrorCode.UNKNOWN_NAME,
                      "no guard '"
                          + wanted
                          + "' in "
                          + named
                          + Names.didYouMean(wanted, guards.stream().map(Guard::name).toList()))));
    }
  }

  /** What mends something, as it can be run here. */
  private static String runnable(String remedy) {
    return remedy.replaceAll("(?m)(^|; )tallyroll ", "$1{tallyroll} ");
  }

  @Command(
      name = "plan",
      description =
          "Compares legacy tables with what replaces them and prints what is missing, and what mends it. Changes nothing. Exits 4 if"
              + " a guard would refuse.")
  static final class PlanCommand extends BaseCommand {
    @Mixin private GuardFile file = new GuardFile();

    @Option(
        names = "--limit",
        paramLabel = "N",
        defaultValue = "20",
        description = "at most so many differences of each guard (default: ${DEFAULT-VALUE})")
    private int limit = 20;

    @Option(
        names = "--format",
        defaultValue = "table",
        description = "table, json or csv (default: ${DEFAULT-VALUE})")
    private Format format = Format.TABLE;

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      if (limit < 1) {
        throw new TallyrollException(ErrorCode.USAGE, "--limit is 1 or more, not " + limit);
      }
      Table table =
          new Table(
              List.of(
                  "guard",
                  "tenant",
                  "bucket",
                  "key",
                  "measure",
                  "expected",
                  "found",
                  "because_of",
                  "in_source"));
      List<String> lines = new ArrayList<>();
      boolean isCovered = true;
      try (Connection connection = opened.database().open("schema guard")) {
        for (Guard guard : file.guards()) {
          Guards.Plan plan = Guards.plan(connection, guard);
          isCovered &= plan.differences().isEmpty();
          plan.differences().stream().limit(limit).forEach(each -> table.add(row(guard, each)));
          lines.addAll(said(plan));
        }
      }
      if (format != Format.TABLE || !isCovered) {
        table.print(out(), format);
      }
      lines.forEach(this::say);
      return isCovered ? 0 : ErrorCode.REFUSED.exitCode();
    }

    private static List<@Nullable Object> row(Guard guard, Guards.Difference difference) {
      return Arrays.<@Nullable Object>asList(
          guard.name(),
          difference.tenant(),
          difference.bucket(),
          new Table.Json(difference.key()),
          difference.measure(),
          number(difference.expected()),
          number(difference.found()),
          difference.side(),
          difference.isInSource());
    }

    /** As a number where it is one: NaN and infinity are none in JSON. */
    private static Object number(String text) {
      return text.matches("-?[0-9.]+") ? new BigDecimal(text) : text;
    }

    private static List<String> said(Guards.Plan plan) {
      List<String> lines = new ArrayList<>();
      lines.add(
          "%s: %s of %s rows in the legacy table, %s in the replacement: %s"
              .formatted(
                  plan.guard().name(),
                  counted((int) plan.legacyGroups(), "group"),
                  plan.legacyRows(),
                  counted((int) plan.replacementGroups(), "group"),
                  plan.differences().isEmpty()
                      ? "covered"
                      : counted(plan.differences().size(), "difference")));
      if (!plan.uncompared().isEmpty()) {
        lines.add("not compared, and gone with the table: " + String.join(", ", plan.uncompared()));
      }
      plan.remedies().forEach(remedy -> lines.add(runnable(remedy)));
      return lines;
    }
  }

  @Command(
      name = "install",
      description =
          "Makes the function tallyroll.assert_covered and the guards of a file in a database, or writes them as a migration.")
  static final class InstallCommand extends BaseCommand {
    @Mixin private GuardFile file = new GuardFile();

    @Option(
        names = "--emit",
        paramLabel = "FILE",
        description =
            "write a self-contained migration instead, for before the one that drops; the database is only read")
    private @Nullable Path emit;

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      List<Guard> guards = file.guards();
      try (Connection connection = opened.database().open("schema guard")) {
        StringBuilder migration = new StringBuilder();
        for (Guard guard : guards) {
          if (emit == null) {
            Guards.install(connection, guard, Main.version());
            say(
                "installed; the migration that drops it is to be this one statement: "
                    + Guards.dropping(guard));
          } else {
            migration.append(Guards.emit(connection, guard, Main.version())).append('\n');
          }
        }
        if (emit != null) {
          Files.writeString(emit, migration);
          say("wrote " + emit);
        }
      }
      return 0;
    }
  }

  @Command(name = "status", description = "Tells how the installed guards stand. Changes nothing.")
  static final class StatusCommand extends BaseCommand {
    @Option(
        names = "--format",
        defaultValue = "table",
        description = "table, json or csv (default: ${DEFAULT-VALUE})")
    private Format format = Format.TABLE;

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      Table table =
          new Table(
              List.of(
                  "guard",
                  "legacy",
                  "replacement",
                  "state",
                  "differences",
                  "proofs",
                  "proved_at",
                  "waiver"));
      try (Connection connection = opened.database().open("schema guard")) {
        for (Guards.Status status : Guards.status(connection)) {
          Long differences = status.differences();
          table.add(
              Arrays.<@Nullable Object>asList(
                  status.name(),
                  status.legacy().replace("\"", ""),
                  status.replacement().replace("\"", ""),
                  differences == null
                      ? status.isThere() ? "cannot be compared" : "gone"
                      : differences == 0 ? "covered" : "not covered",
                  differences,
                  status.proofs(),
                  status.provedAt(),
                  status.waiver()));
        }
      }
      table.print(out(), format);
      return 0;
    }
  }

  @Command(
      name = "waive",
      description =
          "Lets an installed guard pass until a day though something is missing, under a name and with a reason that each message shows.")
  static final class WaiveCommand extends BaseCommand {
    @Parameters(paramLabel = "NAME", description = "the guard")
    private String name = "";

    @Option(
        names = "--by",
        required = true,
        paramLabel = "WHO",
        description = "who takes the responsibility")
    private String by = "";

    @Option(names = "--reason", required = true, paramLabel = "TEXT", description = "why")
    private String reason = "";

    @Option(
        names = "--until",
        required = true,
        paramLabel = "DAY",
        description = "the UTC day on which it ends, as 2026-12-01, or an instant")
    private String until = "";

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      if (by.isBlank() || reason.isBlank()) {
        throw new TallyrollException(
            ErrorCode.USAGE, "a waiver has a name and a reason: --by, --reason");
      }
      Instant end = instant(until);
      if (!end.isAfter(Instant.now())) {
        throw new TallyrollException(ErrorCode.USAGE, "--until " + until + " is over");
      }
      try (Connection connection = opened.database().open("schema guard")) {
        Guards.waive(connection, name, by, reason, end);
      }
      say("guard " + name + " passes until " + end + " whatever is missing");
      return 0;
    }

    private static Instant instant(String text) {
      try {
        return text.contains("T")
            ? Instant.parse(text)
            : LocalDate.parse(text).atStartOfDay(ZoneOffset.UTC).toInstant();
      } catch (DateTimeException e) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "--until is a day, as 2026-12-01, or an instant, not '" + text + "'",
            e);
      }
    }
  }
}
