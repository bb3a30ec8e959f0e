package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.registry.Adoption;
import dev.tallyroll.postgres.status.RollupStatus;
import dev.tallyroll.postgres.status.StatusReader;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "status",
    description = "Shows how far each rollup is behind, what it covers and what it takes.")
final class StatusCommand extends BaseCommand {
  @Parameters(
      arity = "0..1",
      paramLabel = "NAME",
      description = "the rollup; without it all of them")
  private @Nullable String name;

  @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
  private Format format = Format.TABLE;

  @Option(
      names = "--max-lag",
      paramLabel = "DURATION",
      description =
          "exit 1 if a rollup lags further behind, its last refresh failed, nobody has refreshed it for so long,"
              + " it holds back what is no longer kept since the clock has jumped, or its source was not purged;"
              + " as 30s or 5m")
  private @Nullable String maxLag;

  @Override
  int run(DatabaseOptions.Opened opened) {
    Duration most = maxLag == null ? null : RefreshCommand.duration("--max-lag", maxLag);
    Map<String, TallyrollException> unreadable = new TreeMap<>();
    StatusReader reader = new StatusReader(opened.database());
    // One that is in trouble hides no other.
    List<RollupStatus> all = name == null ? reader.read(null, unreadable::put) : reader.read(name);
    if (format == Format.TABLE) {
      all.forEach(this::print);
      if (all.isEmpty() && unreadable.isEmpty()) {
        say("there is no rollup; apply a definition first: {tallyroll} apply -f rollup.yaml");
      }
    } else {
      table(all, unreadable).print(out(), format);
    }
    out().flush();
    unreadable.forEach((rollup, fault) ->
        say("tallyroll: nothing can be said of " + rollup + ": " + fault.getMessage()));
    if (!unreadable.isEmpty()) {
      return unreadable.values().iterator().next().code().exitCode();
    }
    if (most == null) {
      return 0;
    }
    boolean isWell = true;
    Instant now = Instant.now();
    for (RollupStatus status : all) {
      for (String fault : status.faults(most, now)) {
        say(status.rollup() + " " + fault);
        isWell = false;
      }
    }
    return isWell ? 0 : 1;
  }

  /** Why what is no longer kept stays, and what to do; null if it goes. */
  private @Nullable String held(RollupStatus status) {
    return remedied(status.keepTime().held(status.rollup()).orElse(null));
  }

  /** A message whose commands can be run as they stand. */
  private @Nullable String remedied(@Nullable String message) {
    return message == null ? null : Main.remedied(message, options());
  }

  private Table table(List<RollupStatus> all, Map<String, TallyrollException> unreadable) {
    Table table =
        new Table(
            List.of(
                "rollup",
                "source",
                "lag_s",
                "unread_rows",
                "merged_to",
                "last_refresh",
                "last_duration_ms",
                "last_rows",
                "total_rows",
                "expired_rows",
                "quarantined_rows",
                "failing",
                "last_error",
                "last_error_at",
                "purge_error",
                "purge_error_at",
                "uncovered",
                "capture",
                "uncaptured",
                "log_bytes",
                "seals",
                "adopted",
                "awaited",
                "keep_time",
                "held",
                "source_bytes",
                "grains"));
    for (RollupStatus status : all) {
      Map<String, @Nullable Object> grains = new LinkedHashMap<>();
      status
          .grains()
          .forEach((grain, state) -> {
            Map<String, @Nullable Object> fields = new LinkedHashMap<>();
            fields.put("bytes", state.bytes());
            fields.put("oldest_bucket", text(state.oldestBucket()));
            fields.put("kept_from", text(state.keptFrom()));
            grains.put(grain, fields);
          });
      table.add(
          Arrays.asList(
              status.rollup(),
              status.source(),
              status.lag().toMillis() / 1_000.0,
              status.unreadRows(),
              text(status.mergedTo()),
              text(status.lastRefresh()),
              status.lastDuration() == null ? null : status.lastDuration().toMillis(),
              status.lastRows(),
              status.totalRows(),
              status.expiredRows(),
              status.quarantinedRows(),
              status.isFailing(),
              remedied(status.lastError()),
              text(status.lastErrorAt()),
              remedied(status.purgeError()),
              text(status.purgeErrorAt()),
              status.uncovered(),
              status.capture(),
              uncaptured(status),
              status.logBytes(),
              status.seals(),
              status.adopted().stream().map(StatusCommand::fields).toList(),
              status.awaited(),
              text(status.keepTime().time().orElse(null)),
              held(status),
              status.sourceBytes(),
              grains));
    }
    unreadable.forEach((rollup, fault) -> {
      @Nullable Object[] row = new @Nullable Object[table.columns().size()];
      row[table.columns().indexOf("rollup")] = rollup;
      row[table.columns().indexOf("failing")] = true;
      row[table.columns().indexOf("last_error")] = remedied(fault.getMessage());
      table.add(Arrays.asList(row));
    });
    return table;
  }

  private static Map<String, @Nullable Object> fields(Adoption adoption) {
    Map<String, @Nullable Object> fields = new LinkedHashMap<>();
    fields.put("from", Times.format(adoption.range().from()));
    fields.put("to", Times.format(adoption.range().to()));
    fields.put("table", adoption.origin());
    fields.put("grain", adoption.grain());
    fields.put("rows", adoption.rows());
    fields.put("adopted_at", text(adoption.at()));
    return fields;
  }

  private List<String> uncaptured(RollupStatus status) {
    return status.uncaptured().stream().map(what -> Main.remedied(what, options())).toList();
  }

  private static @Nullable String text(@Nullable Instant instant) {
    return instant == null ? null : instant.truncatedTo(ChronoUnit.MILLIS).toString();
  }

  private void print(RollupStatus status) {
    out().println("rollup " + status.rollup() + " over " + status.source());
    field(
        "lag",
        Times.format(status.lag()) + " of event time, " + status.unreadRows() + " unread rows");
    field("merged to", text(status.mergedTo()));
    field(
        "last refresh",
        status.lastRefresh() == null || status.lastDuration() == null
            ? "never"
            : text(status.lastRefresh())
                + ", "
                + status.lastRows()
                + " rows in "
                + Times.format(status.lastDuration()));
    field(
        "rows",
        status.totalRows()
            + " merged, "
            + status.expiredRows()
            + " expired, "
            + status.quarantinedRows()
            + " in quarantine");
    if (status.lastError() != null) {
      field(
          "last error",
          text(status.lastErrorAt())
              + (status.isFailing() ? " (still failing): " : ": ")
              + remedied(status.lastError()));
    }
    if (status.purgeError() != null) {
      field("not purged", text(status.purgeErrorAt()) + ": " + remedied(status.purgeError()));
    }
    uncaptured(status).forEach(what -> field("not captured", what));
    field(
        "coverage",
        status.uncovered().isEmpty()
            ? "complete"
            : "missing " + String.join(", ", status.uncovered()));
    for (String seal : status.seals()) {
      field("sealed", seal);
    }
    for (Adoption adoption : status.adopted()) {
      field(
          "adopted",
          Times.format(adoption.range().from())
              + " to "
              + Times.format(adoption.range().to())
              + " from "
              + adoption.origin()
              + ", "
              + adoption.rows()
              + " rows of "
              + adoption.grain()
              + ", on "
              + adoption.at().truncatedTo(ChronoUnit.SECONDS));
    }
    if (!status.awaited().isEmpty()) {
      field(
          "tables",
          String.join(", ", status.awaited())
              + " came, went or were emptied; the next refresh looks after it");
    }
    String held = held(status);
    if (held != null) {
      field("keep", "held: " + held);
    }
    field(
        "source size",
        Sizes.text(status.sourceBytes())
            + (status.capture().equals("any")
                ? ", change log " + Sizes.text(status.logBytes())
                : ""));
    status
        .grains()
        .forEach((grain, state) ->
            field(
                grain,
                Sizes.text(state.bytes())
                    + percent(state.bytes(), status.sourceBytes())
                    + ", oldest bucket "
                    + (state.oldestBucket() == null ? "-" : text(state.oldestBucket()))));
    out().flush();
  }

  private static String percent(long part, long whole) {
    return whole == 0 ? "" : String.format(Locale.ROOT, " (%.1f %%)", 100.0 * part / whole);
  }

  private void field(String label, @Nullable String value) {
    out()
        .println(
            "  "
                + label
                + " ".repeat(Math.max(1, 14 - label.length()))
                + (value == null ? "-" : value));
  }
}
