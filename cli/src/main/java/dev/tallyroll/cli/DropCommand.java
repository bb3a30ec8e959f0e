package dev.tallyroll.cli;

import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.refresh.Refresher;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "drop",
    description =
        "Removes a rollup with everything that it installed, and nothing else; says what first.")
final class DropCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Option(names = "--dry-run", description = "only say what would be removed")
  private boolean dryRun;

  @Override
  int run(DatabaseOptions.Opened opened) {
    Drop drop = new Drop(opened.database());
    Drop.Removal removal = drop.removal(name);
    out().println((dryRun ? "would remove" : "removes") + " rollup " + name + ":");
    removal.objects().forEach(object -> out().println("  " + object));
    out().flush();
    if (!dryRun) {
      boolean isLast = Refresher.names(opened.database()).equals(List.of(name));
      drop.run(name);
      out().println("dropped " + name);
      if (isLast) {
        say(
            "no rollup is left; the schema tallyroll stays, with what forget has noted in it: drop schema tallyroll cascade removes it, with what of yours calls its functions");
      }
    }
    return 0;
  }
}
