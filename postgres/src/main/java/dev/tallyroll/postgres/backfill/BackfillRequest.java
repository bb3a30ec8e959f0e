package dev.tallyroll.postgres.backfill;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.time.LocalDate;
import org.jspecify.annotations.Nullable;

/**
 * What to fill, and how fast. Immutable.
 *
 * @param rollup the rollup's name
 * @param from the first UTC day; null for the oldest of the history
 * @param to the UTC day after the last; null for the newest
 * @param jobs how many slices are read at once
 * @param rowsPerSecond at most so many rows are read in a second by all jobs together; 0 for any
 *     number
 */
public record BackfillRequest(
    String rollup, @Nullable LocalDate from, @Nullable LocalDate to, int jobs, long rowsPerSecond) {
  /** Checks the numbers. */
  public BackfillRequest {
    check(jobs, rowsPerSecond);
    if (from != null && to != null && !from.isBefore(to)) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--from " + from + " is not before --to " + to + ": there is no such day");
    }
  }

  /**
   * Checks the numbers.
   *
   * @throws TallyrollException if one of them means nothing
   */
  public static void check(int jobs, long rowsPerSecond) {
    if (jobs < 1) {
      throw new TallyrollException(ErrorCode.USAGE, "--jobs is at least 1, not " + jobs);
    }
    if (rowsPerSecond < 0) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--rate is a number of rows, or 0 for any, not " + rowsPerSecond);
    }
  }

  /** All history of a rollup, one slice after the other, as fast as it goes. */
  public static BackfillRequest all(String rollup) {
    return new BackfillRequest(rollup, null, null, 1, 0);
  }
}
