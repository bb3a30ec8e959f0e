package dev.tallyroll.postgres.refresh;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** How a refresh of one rollup ended. Faults are exceptions. */
public sealed interface RefreshOutcome {
  /** The name of the rollup. */
  String rollup();

  /**
   * The rollup is up to date with the refresh's snapshot.
   *
   * @param rollup its name
   * @param rows the rows that were merged
   * @param expired rows that lie before everything that is kept
   * @param quarantined rows that could not be folded
   * @param duration how long it took
   * @param dropped partitions that are no longer kept, by name
   * @param held why what is no longer kept stays, with the command that has it go; empty if it goes
   */
  record Refreshed(
      String rollup,
      long rows,
      long expired,
      long quarantined,
      Duration duration,
      List<String> dropped,
      Optional<String> held)
      implements RefreshOutcome {
    /** Copies the list. */
    public Refreshed {
      dropped = List.copyOf(dropped);
    }

    /** The same, with what was dropped after it. */
    Refreshed withDropped(List<String> tables) {
      return new Refreshed(rollup, rows, expired, quarantined, duration, tables, held);
    }
  }

  /**
   * Another process is writing this rollup.
   *
   * @param rollup its name
   */
  record Busy(String rollup) implements RefreshOutcome {}
}
