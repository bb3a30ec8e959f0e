package dev.tallyroll.postgres.backfill;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.time.Duration;

/** Lets so many rows pass in a second, whoever reads them. Thread-safe. */
final class Throttle {
  private final long rowsPerSecond;
  private long due = System.nanoTime();

  Throttle(long rowsPerSecond) {
    this.rowsPerSecond = rowsPerSecond;
  }

  /** Waits until these rows, which were read already, are due. */
  void passed(long rows) {
    if (rowsPerSecond == 0 || rows == 0) {
      return;
    }
    long pause;
    synchronized (this) {
      long now = System.nanoTime();
      // Time in which nothing was read is not made up for.
      due = Math.max(due, now) + Math.round(rows * 1e9 / rowsPerSecond);
      pause = due - now;
    }
    try {
      Thread.sleep(Duration.ofNanos(pause));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new TallyrollException(ErrorCode.DATABASE, "interrupted", e);
    }
  }
}
