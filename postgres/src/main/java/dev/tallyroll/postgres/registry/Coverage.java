package dev.tallyroll.postgres.registry;

import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * Which UTC days of history are published. Days outside the history are covered, since everything
 * there is live. Immutable.
 *
 * @param history the days that hold history rows, if there are any
 * @param slices the published slices
 */
public record Coverage(Optional<Days> history, List<Days> slices) {
  /**
   * A half-open range of UTC days.
   *
   * @param from the first day
   * @param to the day after the last
   */
  public record Days(LocalDate from, LocalDate to) {
    /** Checks that the range is not empty. */
    public Days {
      if (!from.isBefore(to)) {
        throw new IllegalArgumentException("no days from " + from + " to " + to);
      }
    }
  }

  /**
   * A published slice of a source whose rows may change, which no refresh has gone past yet.
   *
   * @param days its days
   * @param seen what it has counted: a refresh leaves out the changes of its days that this sees
   */
  public record Counted(Days days, Snapshot seen) {}

  /** Sorts the slices. */
  public Coverage {
    slices = slices.stream().sorted(Comparator.comparing(Days::from)).toList();
  }

  /** The ranges of history that are not published, oldest first. */
  public List<Days> uncovered() {
    List<Days> gaps = new ArrayList<>();
    if (history.isEmpty()) {
      return gaps;
    }
    LocalDate at = history.get().from();
    LocalDate end = history.get().to();
    for (Days slice : slices) {
      if (at.isBefore(slice.from()) && at.isBefore(end)) {
        gaps.add(new Days(at, slice.from().isBefore(end) ? slice.from() : end));
      }
      at = at.isBefore(slice.to()) ? slice.to() : at;
    }
    if (at.isBefore(end)) {
      gaps.add(new Days(at, end));
    }
    return gaps;
  }
}
