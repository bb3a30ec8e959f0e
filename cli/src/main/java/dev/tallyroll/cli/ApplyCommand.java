package dev.tallyroll.cli;

import dev.tallyroll.postgres.install.Installer;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(name = "apply", description = "Installs rollups. Doing it again changes nothing.")
final class ApplyCommand extends BaseCommand {
  @Option(
      names = {"-f", "--file"},
      required = true,
      paramLabel = "FILE",
      description = "a definition file; repeat for several")
  private List<Path> files = List.of();

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    for (Installer.Applied applied : new Installer(opened.database()).apply(definitions(files))) {
      out()
          .println(
              "rollup "
                  + applied.rollup()
                  + ": "
                  + (applied.changed() ? "installed" : "unchanged"));
      out().flush();
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
    return 0;
  }
}
