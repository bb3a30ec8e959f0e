package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.seal.Seals;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "seal",
    description =
        "Seals what is before a time, for all rollups of the source: its rows may go then, and what was counted stays.")
final class SealCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "a rollup of the source")
  private String name = "";

  @Option(
      names = "--before",
      required = true,
      paramLabel = "TIME",
      description = "the end of the range: a UTC day, as 2026-05-01, or an instant")
  private String before = "";

  @Option(
      names = "--purger",
      paramLabel = "ROLE",
      description =
          "what this role deletes behind a seal is a purge and no change, from now on; repeat for several")
  private List<String> purgers = new ArrayList<>();

  @Override
  int run(DatabaseOptions.Opened opened) {
    Instant time = time(before);
    new Seals(opened.database(), InstantSource.system()).seal(name, time, purgers);
    out().println("sealed " + name + " before " + Times.format(Times.micros(time)));
    if (purgers.isEmpty()) {
      say(
          "every row that is deleted there gets an entry in quarantine, unless a role deletes it that was named with --purger");
    }
    return 0;
  }

  private static Instant time(String text) {
    try {
      return text.length() == 10
          ? Times.instant(Times.micros(LocalDate.parse(text)))
          : OffsetDateTime.parse(text).toInstant();
    } catch (DateTimeException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--before: '"
              + text
              + "' is neither a UTC day, as 2026-05-01, nor an instant, as 2026-05-01T06:00:00Z",
          e);
    }
  }
}
