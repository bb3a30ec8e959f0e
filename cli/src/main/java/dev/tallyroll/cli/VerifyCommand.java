package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.postgres.verify.Mismatch;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "verify",
    description = "Proves that a rollup equals its source rows; exits 1 if it does not.")
final class VerifyCommand extends BaseCommand {
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
      names = "--format",
      defaultValue = "table",
      description = "table, json or csv: the differences, one each")
  private Format format = Format.TABLE;

  @Override
  int run(DatabaseOptions.Opened opened) {
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
    if (format != Format.TABLE || !report.isExact()) {
      Table table =
          new Table(
              List.of("tenant", "grain", "bucket", "dimensions", "column", "stored", "expected"));
      for (Mismatch mismatch : report.mismatches()) {
        table.add(
            Arrays.asList(
                plain(mismatch.tenant()),
                mismatch.grain(),
                mismatch.bucket(),
                dimensions(mismatch),
                mismatch.column(),
                plain(mismatch.stored()),
                plain(mismatch.expected())));
      }
      table.print(out(), format);
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
    if (!report.isExact()) {
      say("mend it with: {tallyroll} repair " + report.rollup());
    }
    return report.isExact() ? 0 : 1;
  }

  /** One line that says what was compared, what differs and what was not looked at. */
  static String summary(VerifyReport report) {
    List<String> parts = new ArrayList<>();
    parts.add(
        report.isExact()
            ? "exact: "
                + report.buckets()
                + " buckets equal their "
                + report.rows()
                + " source rows"
            : report.differing()
                + " of "
                + report.buckets()
                + " buckets differ from their source rows");
    if (!report.from().isEmpty()) {
      parts.add("from " + report.from() + " to " + report.to());
    }
    if (!report.uncovered().isEmpty()) {
      parts.add(
          "not verified because not filled yet: "
              + report.uncovered().size()
              + " days, first "
              + report.uncovered().getFirst());
    }
    if (!report.pending().isEmpty()) {
      parts.add(
          report.pending().size()
              + " days will be computed anew by the next refresh, from "
              + report.pending().getFirst());
    }
    if (!report.adopted().isEmpty()) {
      parts.add("adopted and not verified: " + String.join(", ", report.adopted()));
    }
    if (!report.sealed().isEmpty()) {
      parts.add("sealed: " + String.join(", ", report.sealed()));
    }
    if (!report.sourceMissing().isEmpty()) {
      parts.add("source missing: " + String.join(", ", report.sourceMissing()));
    }
    if (!report.expired().isEmpty()) {
      parts.add("not kept and not verified: " + String.join(", ", report.expired()));
    }
    if (report.quarantined() > 0) {
      parts.add(report.quarantined() + " rows in quarantine");
    }
    return "verify " + report.rollup() + ": " + String.join("; ", parts);
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
