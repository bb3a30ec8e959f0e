package dev.tallyroll.server.http;

import java.util.concurrent.atomic.AtomicLong;

/** The bytes of all bodies that are being read or wait for their commit, bounded. Thread-safe. */
public final class InFlight {
  private final long most;
  private final AtomicLong bytes = new AtomicLong();

  /** At most so many bytes. */
  public InFlight(long most) {
    this.most = most;
  }

  /**
   * Takes bytes, which the caller gives back.
   *
   * @throws ProblemException if that would be too many
   */
  public void take(long count) {
    if (bytes.addAndGet(count) > most) {
      bytes.addAndGet(-count);
      throw ProblemException.retry(
          Problem.OVERLOADED, "as many bytes as the server takes on are in flight", 1);
    }
  }

  /** Gives bytes back. */
  public void give(long count) {
    bytes.addAndGet(-count);
  }

  /** How many are taken. */
  public long bytes() {
    return bytes.get();
  }
}
