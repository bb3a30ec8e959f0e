package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import java.time.InstantSource;
import java.time.LocalDate;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "backfill",
    description =
        "Fills history from before apply, newest day first. Can be stopped and run again.")
final class BackfillCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Option(names = "--from", paramLabel = "DAY", description = "the first UTC day, as 2026-05-01")
  private @Nullable LocalDate from;

  @Option(names = "--to", paramLabel = "DAY", description = "the UTC day after the last")
  private @Nullable LocalDate to;

  @Option(
      names = "--jobs",
      paramLabel = "N",
      defaultValue = "1",
      description = "how many slices are read at once (default: ${DEFAULT-VALUE})")
  private int jobs = 1;

  @Option(
      names = "--rate",
      paramLabel = "ROWS",
      defaultValue = "0",
      description = "at most so many rows a second, all jobs together (default: as many as it can)")
  private long rowsPerSecond;

  @Override
  int run(DatabaseOptions.Opened opened) {
    Backfill.Result result = run(opened, new BackfillRequest(name, from, to, jobs, rowsPerSecond));
    out()
        .println(
            "backfilled "
                + result.rollup()
                + ": "
                + result.rows()
                + " rows in "
                + result.slices()
                + (result.slices() == 1 ? " slice" : " slices")
                + (result.quarantined() > 0 ? ", " + result.quarantined() + " in quarantine" : ""));
    return 0;
  }

  /** Fills one rollup with a progress bar. */
  static Backfill.Result run(DatabaseOptions.Opened opened, BackfillRequest request) {
    Bar bar = new Bar(request.rollup());
    try {
      return new Backfill(opened.database(), InstantSource.system()).run(request, bar);
    } finally {
      bar.close();
    }
  }

  /** A progress bar for rows that are filled in. */
  static final class Bar implements Backfill.Progress, AutoCloseable {
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
