package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.adopt.Adopt;
import dev.tallyroll.postgres.adopt.AdoptRequest;
import dev.tallyroll.postgres.adopt.Taken;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "adopt",
    description =
        "Takes over the buckets of a table that something else has kept, where the raw rows are gone: counts, sums,"
            + " minima and maxima. They are marked as adopted, and never computed from the source.",
    footer = {
      "",
      "As: tallyroll adopt llm_usage --from public.llm_hourly --grain 1h --map bucket=hour_start --map tenant=tenant_id"
          + " --map model=model --map requests=n --map cost_usd=cost --map duration_ms_count=n --map duration_ms_sum=total_ms",
      "",
      "What is not mapped is not known of that time: dimensions are NULL there, and a query for such a measure exits 3"
          + " unless it is asked with --partial. Several rows of one bucket and key are merged."
    })
final class AdoptCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Option(
      names = "--from",
      required = true,
      paramLabel = "TABLE",
      description = "the table or view that has the buckets, as public.llm_hourly")
  private String table = "";

  @Option(
      names = "--grain",
      required = true,
      paramLabel = "GRAIN",
      description = "the width of its rows: a grain of the rollup, 1h or 1d as a rule")
  private String grain = "";

  @Option(
      names = "--map",
      required = true,
      paramLabel = "OURS=COLUMN",
      description =
          "what a column of it is: bucket, tenant, a dimension, a measure (count, sum, min, max), or of a"
              + " distribution x: x_count, x_sum, x_min, x_max; repeat")
  private List<String> map = List.of();

  @Option(names = "--tenant", paramLabel = "TENANT", description = "the tenant of all its rows")
  private @Nullable String tenant;

  @Option(
      names = "--zone",
      paramLabel = "ZONE",
      description = "the zone of its times, if the column has none: a timestamp or a date")
  private @Nullable String zone;

  @Option(
      names = "--since",
      paramLabel = "TIME",
      description =
          "the start, a UTC day, as 2026-05-01 (default: its first row that is still kept)")
  private @Nullable String since;

  @Option(
      names = "--before",
      paramLabel = "TIME",
      description =
          "the end, a UTC day (default: the day from which on the source has rows or the rollup buckets)")
  private @Nullable String before;

  @Option(
      names = "--dry-run",
      description = "only show what would be taken over, and all that stands against it")
  private boolean dryRun;

  @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
  private Format format = Format.TABLE;

  @Override
  int run(DatabaseOptions.Opened opened) {
    AdoptRequest request =
        new AdoptRequest(
            name,
            table,
            grain,
            mapped(),
            tenant,
            zone == null ? null : zone(zone),
            time("--since", since),
            time("--before", before));
    Adopt adopt = new Adopt(opened.database(), InstantSource.system());
    Taken taken;
    if (dryRun) {
      taken = adopt.plan(request);
    } else {
      try (Bar bar = new Bar(name)) {
        taken = adopt.run(request, bar);
      }
    }
    print(taken);
    if (taken.refusals().isEmpty()) {
      return 0;
    }
    taken.refusals().forEach(refusal -> say("refused: " + refusal.message()));
    return taken.refusals().getFirst().code().exitCode();
  }

  private Map<String, String> mapped() {
    Map<String, String> mapped = new LinkedHashMap<>();
    for (String one : map) {
      int equals = one.indexOf('=');
      if (equals <= 0 || equals == one.length() - 1) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "--map " + one + ": write what it becomes, then its column, as --map requests=n");
      }
      String ours = one.substring(0, equals);
      if (mapped.put(ours, one.substring(equals + 1)) != null) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "--map " + ours + " stands twice; only one column can be it, add them up in a view");
      }
    }
    return mapped;
  }

  private static @Nullable Instant time(String option, @Nullable String text) {
    if (text == null) {
      return null;
    }
    try {
      return text.length() == 10
          ? LocalDate.parse(text).atStartOfDay(ZoneOffset.UTC).toInstant()
          : OffsetDateTime.parse(text).toInstant();
    } catch (DateTimeException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          option
              + ": '"
              + text
              + "' is neither a UTC day, as 2026-05-01, nor its start, as 2026-05-01T00:00:00Z",
          e);
    }
  }

  private void print(Taken taken) {
    if (format == Format.TABLE) {
      summary(taken).forEach(out()::println);
    }
    Table sums =
        new Table(
            format == Format.TABLE
                ? List.of("measure", "column", "aggregate", "value")
                : List.of(
                    "rollup",
                    "table",
                    "grain",
                    "from",
                    "to",
                    "rows",
                    "older_rows",
                    "later_rows",
                    "measure",
                    "column",
                    "aggregate",
                    "value"));
    taken
        .sums()
        .forEach(sum -> add(sums, taken, sum.name(), sum.column(), sum.aggregate(), sum.value()));
    taken.unknown().forEach(unknown -> add(sums, taken, unknown, null, null, null));
    if (format != Format.TABLE || !taken.sums().isEmpty()) {
      sums.print(out(), format);
    }
    out().flush();
  }

  private void add(
      Table sums,
      Taken taken,
      String measure,
      @Nullable String column,
      @Nullable String aggregate,
      @Nullable Object value) {
    sums.add(
        format == Format.TABLE
            ? Arrays.asList(measure, column == null ? "(not known)" : column, aggregate, value)
            : Arrays.asList(
                taken.rollup(),
                taken.table(),
                taken.grain(),
                text(taken.from()),
                text(taken.to()),
                taken.rows(),
                taken.older(),
                taken.later(),
                measure,
                column,
                aggregate,
                value));
  }

  private List<String> summary(Taken taken) {
    if (taken.from() == null || taken.to() == null) {
      return List.of("nothing to take over of " + taken.table());
    }
    boolean isDone = !dryRun;
    String head =
        (isDone ? "adopted " : "would adopt ")
            + taken.rollup()
            + ": "
            + taken.rows()
            + " rows of "
            + taken.grain()
            + " of "
            + taken.table()
            + " from "
            + taken.from()
            + " to "
            + taken.to();
    List<String> lines = new ArrayList<>();
    lines.add(head);
    if (taken.older() > 0) {
      lines.add(
          (isDone ? "left " : "would leave ")
              + taken.older()
              + " older rows, "
              + (since == null ? "which no grain keeps" : "before --since"));
    }
    if (taken.later() > 0) {
      lines.add(
          (isDone ? "left " : "would leave ")
              + taken.later()
              + " rows from the end on: "
              + taken.end());
    }
    return lines;
  }

  private static @Nullable String text(@Nullable Instant time) {
    return time == null ? null : time.toString();
  }

  /** A progress bar for rows that are taken over. */
  private static final class Bar implements Adopt.Progress, AutoCloseable {
    private final String name;
    private @Nullable Progress bar;

    Bar(String name) {
      this.name = name;
    }

    @Override
    public void begins(long rows) {
      close();
      bar = Progress.start("adopt " + name, "rows", rows);
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
        bar = null;
      }
    }
  }
}
