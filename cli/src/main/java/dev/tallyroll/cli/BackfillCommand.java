package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.postgres.backfill.Backfill;
import java.time.InstantSource;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

@Command(
    name = "backfill",
    description =
        "Fills history from before apply, newest day first. Can be stopped and run again.")
final class BackfillCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Override
  int run(DatabaseOptions.Opened opened) {
    Backfill.Result result = run(opened, name);
    out()
        .println(
            "backfilled "
                + result.rollup()
                + ": "
                + result.rows()
                + " rows in "
                + result.slices()
                + " slices"
                + (result.quarantined() > 0 ? ", " + result.quarantined() + " in quarantine" : ""));
    return 0;
  }

  /** Fills one rollup with a progress bar. */
  static Backfill.Result run(DatabaseOptions.Opened opened, String name) {
    Bar bar = new Bar(name);
    try {
      return new Backfill(opened.database(), InstantSource.system()).run(name, bar);
    } finally {
      bar.close();
    }
  }

  private static final class Bar implements Backfill.Progress, AutoCloseable {
    private final String name;
    private @Nullable Progress bar;

    Bar(String name) {
      this.name = name;
    }

    @Override
    public void begins(long estimatedRows) {
      bar = Progress.start("backfill " + name, "rows", estimatedRows);
    }

    @Override
    public void read(long rows) {
      if (bar != null) {
        bar.step(rows);
      }
    }

    @Override
    public void close() {
      if (bar != null) {
        bar.close();
      }
    }
  }
}
