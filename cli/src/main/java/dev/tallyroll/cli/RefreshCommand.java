package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import java.time.Duration;
import java.time.InstantSource;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(name = "refresh", description = "Brings rollups up to date, once or again and again.")
final class RefreshCommand extends BaseCommand {
  private static final Pattern INTERVAL = Pattern.compile("([0-9]{1,6})(ms|s|m|h)");
  private static final Duration LONGEST_BACK_OFF = Duration.ofMinutes(1);

  @Parameters(
      arity = "0..1",
      paramLabel = "NAME",
      description = "the rollup; without it all of them")
  private @Nullable String name;

  @Option(
      names = "--watch",
      paramLabel = "INTERVAL",
      description = "refresh again after every interval, as 1s, until Ctrl-C")
  private @Nullable String watch;

  @Override
  int run(DatabaseOptions.Opened opened) {
    if (watch == null) {
      return once(opened);
    }
    watch(opened, interval(watch));
    return 0;
  }

  private int once(DatabaseOptions.Opened opened) {
    List<String> names = name != null ? List.of(name) : Refresher.names(opened.database());
    if (names.isEmpty()) {
      say("there is no rollup; apply a definition first: {tallyroll} apply -f rollup.yaml");
    }
    try (Progress bar = Progress.start("refresh", "rows", -1);
        Refresher refresher =
            new Refresher(
                opened.database(), InstantSource.system(), bar::step, Refresher.Limits.DEFAULT)) {
      for (String rollup : names) {
        RefreshOutcome outcome = refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        out().println(line(outcome));
      }
    }
    return 0;
  }

  private static String line(RefreshOutcome outcome) {
    return switch (outcome) {
      case RefreshOutcome.Busy busy -> busy.rollup() + ": another process is writing it";
      case RefreshOutcome.Refreshed refreshed ->
          "refreshed "
              + refreshed.rollup()
              + ": "
              + refreshed.rows()
              + " rows in "
              + Sizes.text(refreshed.duration())
              + (refreshed.expired() > 0
                  ? ", " + refreshed.expired() + " older than every keep"
                  : "")
              + (refreshed.quarantined() > 0
                  ? ", " + refreshed.quarantined() + " into quarantine"
                  : "")
              + (refreshed.dropped().isEmpty()
                  ? ""
                  : ", dropped " + refreshed.dropped().size() + " old partitions");
    };
  }

  /**
   * Refreshes until the process is stopped. A rollup that fails is tried again with growing pauses;
   * the others go on.
   */
  private void watch(DatabaseOptions.Opened opened, Duration interval) {
    Map<String, Integer> failures = new HashMap<>();
    Map<String, Long> notBefore = new HashMap<>();
    try (Refresher refresher = new Refresher(opened.database(), InstantSource.system())) {
      do {
        List<String> names;
        try {
          names = name != null ? List.of(name) : Refresher.names(opened.database());
        } catch (TallyrollException e) {
          if (isStopping()) {
            return;
          }
          say("tallyroll: " + e.getMessage());
          continue;
        }
        for (String rollup : names) {
          if (isStopping() || System.nanoTime() < notBefore.getOrDefault(rollup, Long.MIN_VALUE)) {
            continue;
          }
          try {
            RefreshOutcome outcome = refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
            if (failures.remove(rollup) != null) {
              say(rollup + " works again");
            }
            if (outcome instanceof RefreshOutcome.Refreshed refreshed
                && refreshed.quarantined() + refreshed.dropped().size() > 0) {
              say(line(outcome));
            }
          } catch (TallyrollException e) {
            if (e.code() == ErrorCode.UNKNOWN_NAME) {
              throw e;
            }
            if (isStopping()) {
              return;
            }
            int failed = failures.merge(rollup, 1, Integer::sum);
            Duration pause = interval.multipliedBy(1L << Math.min(failed, 10));
            pause = pause.compareTo(LONGEST_BACK_OFF) > 0 ? LONGEST_BACK_OFF : pause;
            notBefore.put(rollup, System.nanoTime() + pause.toNanos());
            say(
                "tallyroll: refresh of "
                    + rollup
                    + " failed: "
                    + e.getMessage()
                    + "; again in "
                    + Sizes.text(pause));
          }
        }
      } while (pause(interval.toMillis()));
    }
  }

  static Duration interval(String text) {
    return duration("--watch", text);
  }

  /** A duration as {@code 500ms}, {@code 1s}, {@code 5m} or {@code 2h}. */
  static Duration duration(String option, String text) {
    Matcher match = INTERVAL.matcher(text);
    if (!match.matches() || Integer.parseInt(match.group(1)) == 0) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          option + " takes an interval such as 500ms, 1s or 5m, not '" + text + "'");
    }
    long number = Long.parseLong(match.group(1));
    return switch (match.group(2)) {
      case "ms" -> Duration.ofMillis(number);
      case "s" -> Duration.ofSeconds(number);
      case "m" -> Duration.ofMinutes(number);
      default -> Duration.ofHours(number);
    };
  }
}
