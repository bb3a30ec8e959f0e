package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.refresh.Watch;
import dev.tallyroll.postgres.seal.Purge;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(name = "refresh", description = "Brings rollups up to date, once or again and again.")
final class RefreshCommand extends BaseCommand {
  private static final Pattern INTERVAL = Pattern.compile("([0-9]{1,6})(ms|s|m|h)");

  /** A database that does not answer is asked again after so long at first. */
  private static final long FIRST_WAIT_MS = 2_000;

  /** A database that does not answer is asked again after so long at the latest. */
  private static final long MOST_WAIT_MS = 10_000;

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

  @Option(
      names = "--clock-is-right",
      description =
          "what is no longer kept goes by the present clock, though that is far ahead of the last refresh")
  private boolean isClockRight;

  /** By rollup, what was said of why its source is not purged: once is enough. */
  private final Map<String, String> kept = new ConcurrentHashMap<>();

  @Override
  int run(DatabaseOptions.Opened opened) {
    if (watch != null && isClockRight) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--clock-is-right is for one refresh, without --watch");
    }
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
      if (isClockRight) {
        refresher.trustingClock();
      }
      int code = 0;
      for (String rollup : names) {
        try {
          once(opened, refresher, rollup);
        } catch (TallyrollException e) {
          if (name != null || isStopping()) {
            throw e;
          }
          // The others are refreshed all the same.
          out().flush();
          say("tallyroll: " + rollup + ": " + e.getMessage());
          code = code == 0 ? e.code().exitCode() : code;
        }
      }
      return code;
    }
  }

  private void once(DatabaseOptions.Opened opened, Refresher refresher, String rollup) {
    RefreshOutcome outcome = refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
    out().println(line(outcome));
    Optional<String> held = held(outcome);
    if (held.isPresent()) {
      say(held.get());
    } else {
      purge(new Purge(opened.database(), InstantSource.system()), rollup);
    }
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
              + Times.format(refreshed.duration())
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

  /** What is to be said if the rollup holds back what is no longer kept. */
  private static Optional<String> held(RefreshOutcome outcome) {
    return outcome instanceof RefreshOutcome.Refreshed refreshed
        ? refreshed
            .held()
            .map(why -> refreshed.rollup() + " drops nothing that is no longer kept: " + why)
        : Optional.empty();
  }

  /** Refreshes until the process is stopped. */
  private void watch(DatabaseOptions.Opened opened, Duration interval) {
    say(
        "refreshing "
            + (name == null ? "all rollups" : name)
            + " every "
            + watch
            + " until Ctrl-C");
    Purge purge = new Purge(opened.database(), InstantSource.system());
    try (Watch watch =
        new Watch(
            opened.database(),
            InstantSource.system(),
            interval,
            name,
            self(),
            new Told(),
            rollup -> purge(purge, rollup))) {
      long tick = watch.pace().toMillis();
      long wait = tick;
      do {
        try {
          watch.tick();
          if (wait > tick) {
            say("the database answers again");
          }
          wait = tick;
        } catch (TallyrollException e) {
          if (e.code() == ErrorCode.UNKNOWN_NAME) {
            throw e;
          }
          wait = Math.clamp(2 * wait, FIRST_WAIT_MS, MOST_WAIT_MS);
          if (!isStopping()) {
            say(
                "tallyroll: "
                    + e.getMessage()
                    + "; again in "
                    + Times.format(Duration.ofMillis(wait)));
          }
        }
      } while (pause(wait));
    }
  }

  /** Says what is worth saying. */
  private final class Told implements Watch.Listener {
    /** Rollups of which it was said that they hold back what is no longer kept. */
    private final Set<String> holding = ConcurrentHashMap.newKeySet();

    @Override
    public void refreshed(RefreshOutcome.Refreshed outcome) {
      Optional<String> held = held(outcome);
      if (held.isEmpty()) {
        if (holding.remove(outcome.rollup())) {
          say(outcome.rollup() + " drops again what is no longer kept");
        }
      } else if (holding.add(outcome.rollup())) {
        say(held.get());
      }
      if (outcome.quarantined() + outcome.dropped().size() > 0) {
        say(line(outcome));
      }
    }

    @Override
    public void failed(String rollup, TallyrollException fault, Duration pause) {
      say(
          "tallyroll: refresh of "
              + rollup
              + " failed: "
              + fault.getMessage()
              + "; again in "
              + Times.format(pause));
    }

    @Override
    public void works(String rollup) {
      say(rollup + " works again");
    }
  }

  private static String self() {
    ProcessHandle process = ProcessHandle.current();
    String host;
    try {
      host = InetAddress.getLocalHost().getHostName();
    } catch (UnknownHostException e) {
      host = "localhost";
    }
    // The start tells a process from a later one of the same number.
    return host
        + ":"
        + process.pid()
        + ":"
        + process.info().startInstant().map(Instant::toEpochMilli).orElse(0L);
  }

  /**
   * Purges the source if its definition says so; what keeps it from that is said, and no more.
   *
   * @return whether nothing kept it from that
   */
  private boolean purge(Purge purge, String rollup) {
    try {
      Purge.Purged purged = purge.run(rollup);
      if (purged.rows() + purged.tables().size() > 0) {
        say(
            "purged the source of "
                + rollup
                + ": "
                + purged.rows()
                + " rows"
                + (purged.tables().isEmpty()
                    ? ""
                    : " and the tables " + String.join(", ", purged.tables())));
      }
      kept.remove(rollup);
      return true;
    } catch (TallyrollException e) {
      if (e.code() != ErrorCode.UNKNOWN_NAME
          && !e.getMessage().equals(kept.put(rollup, e.getMessage()))) {
        say("tallyroll: the source of " + rollup + " was not purged: " + e.getMessage());
      }
      return false;
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
