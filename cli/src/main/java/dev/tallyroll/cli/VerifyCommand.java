package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.verify.Mismatch;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "verify",
    description = "Proves that a rollup equals its source rows; exits 1 if it does not.")
final class VerifyCommand extends BaseCommand {
  private static final List<String> COLUMNS =
      List.of("tenant", "grain", "bucket", "dimensions", "column", "stored", "expected");

  @Mixin private final VerifyOptions what = new VerifyOptions();

  @Option(
      names = "--sample",
      paramLabel = "N",
      description = "only N random buckets, which are named")
  private @Nullable Integer sample;

  @Option(
      names = "--seed",
      paramLabel = "SEED",
      description = "chooses the sample (default: the time)")
  private @Nullable Long seed;

  @Option(
      names = "--complete",
      description =
          "exit 1 also if something that was asked for was not verified, or there was nothing to verify;"
              + " says what, and what to run")
  private boolean complete;

  @Option(
      names = "--format",
      defaultValue = "table",
      description = "table or csv: the differences, one each; json: all that was found")
  private Format format = Format.TABLE;

  @Override
  int run(DatabaseOptions.Opened opened) {
    if (complete && sample != null) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--complete looks at everything, --sample at a part: name one of them");
    }
    if (sample != null && sample < 1) {
      throw new TallyrollException(ErrorCode.USAGE, "--sample is at least 1, not " + sample);
    }
    VerifyReport report;
    long chosen = seed != null ? seed : System.currentTimeMillis();
    try (VerifyOptions.Bar bar = new VerifyOptions.Bar("verify")) {
      report =
          new Verifier(opened.database(), InstantSource.system())
              .verify(
                  what.request(
                      sample == null ? OptionalInt.empty() : OptionalInt.of(sample), chosen),
                  bar);
    }
    if (format == Format.JSON) {
      json(report).print(out(), format);
    } else if (format == Format.CSV || !report.isExact()) {
      Table table = new Table(COLUMNS);
      report.mismatches().forEach(mismatch -> table.add(row(mismatch)));
      table.print(out(), format);
      if (report.differing() > report.mismatches().size()) {
        say(
            "of "
                + report.differing()
                + " differences the first "
                + report.mismatches().size()
                + " are shown");
      }
    }
    if (format == Format.TABLE) {
      out().println(summary(report));
    } else {
      say(summary(report));
    }
    out().flush();
    if (!report.sampled().isEmpty()) {
      say("sampled with --seed " + chosen + ": " + String.join(", ", report.sampled()));
    }
    remedies(report).forEach(this::say);
    if (!complete) {
      return report.isExact() ? 0 : 1;
    }
    gaps(report).forEach(gap -> say("not complete: " + gap));
    return report.isComplete() ? 0 : 1;
  }

  /** One line that says what was compared, what differs and what was not looked at. */
  static String summary(VerifyReport report) {
    List<String> parts = new ArrayList<>();
    if (!report.isExact()) {
      parts.add(
          report.differing()
              + " of "
              + report.buckets()
              + " buckets differ from their source rows");
    } else if (report.buckets() == 0) {
      parts.add("nothing to compare");
    } else {
      parts.add(
          (report.isPartial() ? "exact only in part: " : "exact: ")
              + report.buckets()
              + " buckets equal their "
              + report.rows()
              + " source rows");
    }
    if (!report.from().isEmpty()) {
      parts.add("from " + report.from() + " to " + report.to());
    }
    if (!report.uncovered().isEmpty()) {
      parts.add("not verified because not filled yet: " + String.join(", ", report.uncovered()));
    }
    if (!report.pending().isEmpty()) {
      parts.add(
          "not verified because the next refresh computes it anew: "
              + String.join(", ", report.pending()));
    }
    if (!report.adopted().isEmpty()) {
      parts.add("adopted and not verified: " + String.join(", ", report.adopted()));
    }
    if (!report.sealed().isEmpty()) {
      parts.add("sealed: " + String.join(", ", report.sealed()));
    }
    if (!report.sourceMissing().isEmpty()) {
      parts.add("source missing: " + first(report.sourceMissing()));
    }
    if (!report.expired().isEmpty()) {
      parts.add("not kept and not verified: " + String.join(", ", report.expired()));
    }
    if (report.quarantined() > 0) {
      parts.add(report.quarantined() + " rows in quarantine");
    }
    return "verify " + report.rollup() + ": " + String.join("; ", parts);
  }

  /** What to do about differences, a line each. */
  static List<String> remedies(VerifyReport report) {
    List<String> lines = new ArrayList<>();
    String repair = "{tallyroll} repair " + report.rollup();
    if (report.differing() > report.lost()) {
      lines.add(
          report.lost() == 0
              ? "mend it with: " + repair
              : "mend the rest with: "
                  + repair
                  + " and --from, --to or --tenant, which leave out what is missing");
    }
    if (!report.sourceMissing().isEmpty()) {
      lines.add(
          "where the source is missing nothing can be computed anew; keep what was counted with: {tallyroll} seal "
              + report.rollup()
              + " --before TIME; erase it with: "
              + repair
              + " --accept-loss");
    }
    return lines;
  }

  /** What keeps a verification from being complete, but differences, a line each. */
  static List<String> gaps(VerifyReport report) {
    List<String> lines = new ArrayList<>();
    String name = report.rollup();
    if (!report.uncovered().isEmpty()) {
      lines.add(
          "not filled yet: "
              + String.join(", ", report.uncovered())
              + "; run: {tallyroll} backfill "
              + name);
    }
    if (!report.pending().isEmpty()) {
      lines.add(
          "to be computed anew: "
              + String.join(", ", report.pending())
              + "; run: {tallyroll} refresh "
              + name);
    }
    if (!report.sourceMissing().isEmpty()) {
      lines.add("source missing: " + first(report.sourceMissing()));
    }
    if (!report.sealed().isEmpty()) {
      lines.add(
          "sealed: "
              + String.join(", ", report.sealed())
              + "; its source rows are gone or going, and no longer prove it");
    }
    if (!report.adopted().isEmpty()) {
      lines.add(
          "adopted: "
              + String.join(", ", report.adopted())
              + "; its rows are in no source that could prove it");
    }
    if (report.quarantined() > 0) {
      lines.add(
          report.quarantined()
              + " rows in quarantine; see: {tallyroll} quarantine list "
              + name
              + "; then run: {tallyroll} quarantine replay "
              + name
              + ", which leaves what is of kind change or bucket");
    }
    if (lines.isEmpty() && report.buckets() == 0) {
      lines.add(
          "nothing to verify: neither the source nor the rollup has anything of what was asked for; where rows"
              + " were purged and a table of their buckets is left, run: {tallyroll} adopt "
              + name
              + " --from TABLE --dry-run");
    }
    return lines;
  }

  /** The first few of many. */
  private static String first(List<String> ranges) {
    int most = 5;
    return ranges.size() <= most
        ? String.join(", ", ranges)
        : String.join(", ", ranges.subList(0, most)) + ", and more";
  }

  private static Table json(VerifyReport report) {
    return new Table(
            List.of(
                "rollup",
                "exact",
                "complete",
                "from",
                "to",
                "rows",
                "buckets",
                "differing",
                "lost",
                "uncovered",
                "pending",
                "source_missing",
                "sealed",
                "adopted",
                "expired",
                "quarantined",
                "sampled",
                "differences"))
        .add(
            Arrays.asList(
                report.rollup(),
                report.isExact(),
                report.isComplete(),
                report.from(),
                report.to(),
                report.rows(),
                report.buckets(),
                report.differing(),
                report.lost(),
                report.uncovered(),
                report.pending(),
                report.sourceMissing(),
                report.sealed(),
                report.adopted(),
                report.expired(),
                report.quarantined(),
                report.sampled(),
                report.mismatches().stream().map(VerifyCommand::fields).toList()));
  }

  private static Map<String, @Nullable Object> fields(Mismatch mismatch) {
    Map<String, @Nullable Object> fields = new LinkedHashMap<>();
    List<@Nullable Object> row = row(mismatch);
    for (int i = 0; i < row.size(); i++) {
      fields.put(COLUMNS.get(i), row.get(i));
    }
    return fields;
  }

  private static List<@Nullable Object> row(Mismatch mismatch) {
    return Arrays.asList(
        plain(mismatch.tenant()),
        mismatch.grain(),
        mismatch.bucket(),
        dimensions(mismatch),
        mismatch.column(),
        plain(mismatch.stored()),
        plain(mismatch.expected()));
  }

  private static @Nullable Object dimensions(Mismatch mismatch) {
    List<String> parts = new ArrayList<>();
    mismatch.dimensions().forEach((name, value) -> parts.add(name + "=" + value));
    return parts;
  }

  /** A sketch is too long for the eye. */
  private static @Nullable Object plain(@Nullable Object value) {
    if (value instanceof String text && text.length() > 60) {
      return text.substring(0, 57) + "...";
    }
    return value == null || value instanceof Number || value instanceof Boolean
        ? value
        : value.toString();
  }
}
