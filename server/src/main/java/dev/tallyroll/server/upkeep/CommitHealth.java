package dev.tallyroll.server.upkeep;

import dev.tallyroll.postgres.events.GroupCommit;
import java.time.Duration;
import java.util.Optional;

/** Whether the last commits of events went through. Thread-safe. */
public final class CommitHealth implements GroupCommit.Listener {
  private static final String DISK = "SQLSTATE 53100";
  private static final Duration FOR = Duration.ofSeconds(30);

  private final GroupCommit.Listener next;

  /** When a commit last failed for want of disk, by the clock of {@link System#nanoTime}. */
  private volatile Optional<Long> full = Optional.empty();

  /** Hands on to another listener. */
  public CommitHealth(GroupCommit.Listener next) {
    this.next = next;
  }

  @Override
  public void committed(int requests, int events, long appended, Duration duration) {
    full = Optional.empty();
    next.committed(requests, events, appended, duration);
  }

  @Override
  public void failed(String reason) {
    if (reason.contains(DISK)) {
      full = Optional.of(System.nanoTime());
    }
    next.failed(reason);
  }

  /**
   * {@code ok}, or {@code full} for a while after a commit failed for want of disk: who is asked
   * for nothing meanwhile would not find out that there is room again.
   */
  public String disk() {
    return full.filter(at -> System.nanoTime() - at < FOR.toNanos()).isPresent() ? "full" : "ok";
  }
}
