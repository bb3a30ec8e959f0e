package dev.tallyroll.cli;

import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Redefinition;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
    name = "apply",
    description =
        "Installs rollups, or gives them the definition of the file. Doing it again changes nothing.")
final class ApplyCommand extends BaseCommand {
  @Option(
      names = {"-f", "--file"},
      required = true,
      paramLabel = "FILE",
      description = "a definition file; repeat for several")
  private List<Path> files = List.of();

  @Option(
      names = "--start-now",
      description =
          "let a new measure or dimension begin where the source's rows begin, if those of before are gone")
  private boolean startNow;

  @Option(
      names = "--accept-loss",
      description =
          "let a changed definition lose what was counted of source rows that are gone, where no seal keeps it")
  private boolean acceptLoss;

  @Option(
      names = "--jobs",
      paramLabel = "N",
      defaultValue = "1",
      description =
          "how many slices are read at once to build a changed definition (default: ${DEFAULT-VALUE})")
  private int jobs = 1;

  @Option(
      names = "--rate",
      paramLabel = "ROWS",
      defaultValue = "0",
      description = "at most so many rows a second are read for it (default: as many as it can)")
  private long rowsPerSecond;

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    BackfillRequest.check(jobs, rowsPerSecond);
    for (Installer.Applied applied :
        new Installer(opened.database()).apply(definitions(files), startNow)) {
      applied.difference().forEach(line -> say(applied.rollup() + ": " + line));
      String became =
          switch (applied.outcome()) {
            case INSTALLED -> "installed";
            case UNCHANGED -> "unchanged";
            case CHANGED -> "changed";
            case BUILDING -> build(opened, applied.rollup());
          };
      out().println("rollup " + applied.rollup() + ": " + became);
      out().flush();
      next(applied);
    }
    return 0;
  }

  /** The old definition answers until the new one is whole. */
  private String build(DatabaseOptions.Opened opened, String rollup) {
    say(
        rollup
            + ": the new definition is built beside the old one, which answers meanwhile; if this is stopped, apply goes on with it");
    try (BackfillCommand.Bar bar = new BackfillCommand.Bar(rollup)) {
      Redefinition redefinition = new Redefinition(opened.database(), InstantSource.system());
      (acceptLoss ? redefinition.acceptingLoss() : redefinition)
          .finish(rollup, jobs, rowsPerSecond, bar);
    }
    new Installer(opened.database()).reach(rollup).forEach(this::say);
    return "changed";
  }

  private void next(Installer.Applied applied) {
    if (applied.outcome() == Installer.Outcome.BUILDING) {
      return;
    }
    if (applied.uncovered().isEmpty()) {
      say(
          "everything is covered; keep it up to date with: {tallyroll} refresh "
              + applied.rollup()
              + " --watch 1s");
    } else {
      say(
          "there is history from "
              + applied.uncovered().getFirst().from()
              + " to "
              + applied.uncovered().getLast().to().minusDays(1)
              + "; fill it with: {tallyroll} backfill "
              + applied.rollup());
    }
  }
}
