package dev.tallyroll.cli;

import static dev.tallyroll.cli.FindingsOptions.counted;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.Replay;
import dev.tallyroll.schema.replay.Scratch;
import dev.tallyroll.schema.settings.Settings;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
    name = "audit",
    description =
        "Reads the catalogs of a database for faults of tenancy: keys and foreign keys without the tenant, missing or open"
            + " policies, views and functions that pass them by, unusable indexes. Changes nothing. With --migrations, it"
            + " audits what they make, instead of --database-url. Exits 1 if it finds something.")
final class SchemaAuditCommand extends BaseCommand {
  @Mixin private FindingsOptions findings = new FindingsOptions();
  @Mixin private ScratchOptions scratchOptions = new ScratchOptions();

  @Override
  DatabaseOptions.Opened open() {
    if (scratchOptions.isLost()) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--scratch-url and --layout are for --migrations");
    }
    if (scratchOptions.migrations() == null) {
      return super.open();
    }
    return openScratch(scratchOptions);
  }

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    Settings settings = findings.settings();
    Path migrations = scratchOptions.migrations();
    if (migrations == null) {
      try (Connection connection = opened.database().open("schema audit")) {
        Audit.check(connection, settings);
        return print(Audit.run(connection, settings), Path.of("schema"));
      }
    }
    MigrationFolder folder = scratchOptions.read(migrations);
    try (Scratch scratch = Scratch.on(DatabaseUrl.parse(opened.url())::dataSource)) {
      boolean isWhole = replay(folder, migrations, scratch);
      try (Connection connection = scratch.open()) {
        int code = print(Audit.run(connection, settings), migrations);
        return isWhole ? code : 1;
      }
    }
  }

  private int print(Audit.Report report, Path place) throws Exception {
    return findings.print(
        this,
        report.judged(),
        List.of(report.tenancy().described()),
        report.relations() + " tables, views and sequences; ",
        place);
  }

  /** Applies migrations, and says what has failed; false if something has. */
  private boolean replay(MigrationFolder folder, Path migrations, Scratch scratch)
      throws SQLException {
    folder.notes().forEach(this::say);
    Replay.Result result;
    try (Progress bar = Progress.start("replay", "migrations", folder.migrations().size())) {
      result =
          Replay.run(
              scratch,
              folder,
              new Replay.Watcher() {
                @Override
                public void done(Migration migration) {
                  bar.step(1);
                }
              });
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
}
