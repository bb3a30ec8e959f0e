package dev.tallyroll.cli;

import static dev.tallyroll.cli.FindingsOptions.counted;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.check.Check;
import dev.tallyroll.schema.check.Ledger;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.statement.AppStatement;
import dev.tallyroll.schema.statement.ServerLog;
import dev.tallyroll.schema.statement.StatementStats;
import dev.tallyroll.schema.statement.Statements;
import dev.tallyroll.session.Database;
import java.nio.file.Path;
import java.sql.Connection;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "check",
    description =
        "Applies migrations to databases that are made for it and thrown away, and tells what fails and in which order it would not,"
            + " what locks or rewrites tables, what a fresh installation has that an upgrade has not, and which statements of the"
            + " application do not fit. Touches no other server, but reads --statements-url. Exits 1 if it finds something.")
final class SchemaCheckCommand extends BaseCommand {
  @Mixin private ScratchOptions scratchOptions = new ScratchOptions();

  @Option(
      names = "--ledger",
      paramLabel = "FILE",
      description =
          "what an existing database has applied, one migration a line in that order: an upgrade is tried too, and locks are told"
              + " of the others only")
  private @Nullable Path ledger;

  @Option(
      names = "--before",
      paramLabel = "DIR",
      description = "the migrations that databases have now, instead of --ledger")
  private @Nullable Path before;

  @Option(
      names = "--after",
      paramLabel = "DIR",
      description = "the same as --migrations, beside --before")
  private @Nullable Path after;

  @Option(
      names = "--statements",
      paramLabel = "PATH",
      description =
          "SQL of the application: a file or folder with .sql, TypeScript, JavaScript, Java, Go or Python, or a recording (.jsonl); repeats")
  private List<Path> paths = new ArrayList<>();

  @Option(
      names = "--exclude",
      paramLabel = "PATH",
      description =
          "a file or folder below --statements that is not looked at, as SQL for another database; repeats")
  private List<Path> excluded = new ArrayList<>();

  @Option(
      names = "--statements-url",
      paramLabel = "URL",
      description =
          "a database whose pg_stat_statements has statements of the application; it is only read")
  private @Nullable String statementsUrl;

  @Option(
      names = "--from-log",
      paramLabel = "FILE",
      description =
          "a log of PostgreSQL (stderr, csvlog or jsonlog) with statements that failed; repeats")
  private List<Path> logs = new ArrayList<>();

  @Mixin private FindingsOptions findings = new FindingsOptions();

  private Path folder() {
    Path migrations = scratchOptions.migrations();
    if (migrations != null && after != null) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--after and --migrations are the same: name one");
    }
    Path named = migrations != null ? migrations : after;
    if (named == null) {
      throw new TallyrollException(ErrorCode.USAGE, "name the migrations with --migrations DIR");
    }
    if (ledger != null && before != null) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--before and --ledger both say what databases have now: name one");
    }
    return named;
  }

  @Override
  DatabaseOptions.Opened open() {
    folder();
    return openScratch(scratchOptions);
  }

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    Path path = folder();
    MigrationFolder folder = scratchOptions.read(path);
    folder.notes().forEach(this::say);
    Optional<Ledger> applied = Optional.empty();
    if (ledger != null) {
      applied = Optional.of(Ledger.read(ledger.toString(), readText(ledger), folder));
    } else if (before != null) {
      applied = Optional.of(Ledger.of(scratchOptions.read(before), folder));
    }
    List<AppStatement> statements = statements();
    Check.Report report =
        new Check(
                DatabaseUrl.parse(opened.url())::dataSource,
                folder,
                path.toString().replace('\\', '/'),
                applied,
                statements,
                SchemaCheckCommand::phase)
            .run(findings.settings());
    report.notes().forEach(this::say);
    return findings.print(this, report.judged(), about(path, folder, report, statements), "", path);
  }

  private List<String> about(
      Path path, MigrationFolder folder, Check.Report report, List<AppStatement> statements) {
    List<String> about = new ArrayList<>();
    about.add(
        "%s of %s (%s), %s, %d failed"
            .formatted(
                counted(folder.migrations().size(), "migration"),
                path,
                folder.layout(),
                counted(report.statements(), "statement"),
                report.failures()));
    if (!statements.isEmpty()) {
      about.add(
          "%s of the application planned%s"
              .formatted(
                  counted(report.planned().planned(), "statement"),
                  report.planned().composed() == 0
                      ? ""
                      : "; "
                          + report.planned().composed()
                          + " more are put together at run time: record them, or give a log"));
    }
    byState(statements).forEach((state, times) -> about.add("logged: " + state + " " + times));
    return about;
  }

  /** How many statements failed with which state. */
  private static Map<String, String> byState(List<AppStatement> statements) {
    Map<String, List<Long>> byState = new TreeMap<>();
    for (AppStatement statement : statements) {
      if (statement.logged() != null) {
        byState
            .computeIfAbsent(
                statement.logged().state().isEmpty()
                    ? "without SQLSTATE"
                    : statement.logged().state(),
                key -> new ArrayList<>())
            .add(statement.times());
      }
    }
    Map<String, String> lines = new TreeMap<>();
    byState.forEach((state, times) ->
        lines.put(
            state,
            counted(times.size(), "statement")
                + ", "
                + counted(
                    (int)
                        Math.min(
                            Integer.MAX_VALUE, times.stream().mapToLong(Long::longValue).sum()),
                    "failure")));
    return lines;
  }

  private List<AppStatement> statements() throws Exception {
    List<Statements> read = new ArrayList<>();
    List<Path> leftOut = new ArrayList<>(List.of(folder()));
    if (before != null) {
      leftOut.add(before);
    }
    leftOut.addAll(excluded);
    for (Path path : paths) {
      read.add(Statements.read(path, leftOut));
    }
    for (Path log : logs) {
      read.add(ServerLog.read(log));
    }
    List<AppStatement> statements = new ArrayList<>();
    for (Statements each : read) {
      each.notes().forEach(this::say);
      statements.addAll(each.statements());
    }
    if (statementsUrl != null) {
      Database database = new Database(DatabaseUrl.parse(statementsUrl).dataSource());
      try (Connection connection = database.open("schema check")) {
        statements.addAll(StatementStats.read(connection));
      }
    }
    return statements;
  }

  private static Check.Phase phase(String what, String unit, int most) {
    Progress bar = Progress.start(what, unit, most);
    return new Check.Phase() {
      @Override
      public void step() {
        bar.step(1);
      }

      @Override
      public void close() {
        bar.close();
      }
    };
  }
}
