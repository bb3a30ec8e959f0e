package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** What verify and repair look at. */
final class VerifyOptions {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Option(
      names = "--from",
      paramLabel = "TIME",
      description = "start, a UTC date or an instant (widened to whole UTC days)")
  private @Nullable String from;

  @Option(names = "--to", paramLabel = "TIME", description = "end, exclusive")
  private @Nullable String to;

  @Option(
      names = "--tenant",
      paramLabel = "TENANT",
      description = "only this tenant; repeat for several")
  private List<String> tenants = List.of();

  VerifyRequest request(OptionalInt sample, long seed) {
    Long begin = time(from, "--from");
    Long end = time(to, "--to");
    if (begin != null && end != null && begin >= end) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--from (" + from + ") must lie before --to (" + to + ")");
    }
    return new VerifyRequest(name, begin, end, tenants, sample, seed);
  }

  private static @Nullable Long time(@Nullable String text, String option) {
    if (text == null) {
      return null;
    }
    try {
      return text.length() == 10
          ? Times.micros(LocalDate.parse(text))
          : Times.micros(OffsetDateTime.parse(text).toInstant());
    } catch (DateTimeException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          option + ": '" + text + "' is neither a date, as 2026-05-01, nor an instant",
          e);
    }
  }

  /** A bar over the days. */
  static final class Bar implements Verifier.Progress, AutoCloseable {
    private final String task;
    private @Nullable Progress bar;

    Bar(String task) {
      this.task = task;
    }

    @Override
    public void begins(int parts) {
      bar = Progress.start(task, "parts", parts);
    }

    @Override
    public void done() {
      if (bar != null) {
        bar.step(1);
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
