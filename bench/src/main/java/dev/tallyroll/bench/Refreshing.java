package dev.tallyroll.bench;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Watch;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.session.Database;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** All rollups, refreshed and purged as {@code tallyroll refresh --watch 1s} does it. */
final class Refreshing implements AutoCloseable, Watch.Listener {
  private static final Duration INTERVAL = Duration.ofSeconds(1);

  private final Watch watch;
  private final Purge purge;
  private final Thread thread;
  private final CountDownLatch stop = new CountDownLatch(1);
  private final AtomicLong refreshes = new AtomicLong();
  private final AtomicLong failures = new AtomicLong();
  private final List<String> notes = new ArrayList<>();

  /** Starts. */
  Refreshing(Database database) {
    purge = new Purge(database, InstantSource.system());
    watch =
        new Watch(
            database,
            InstantSource.system(),
            INTERVAL,
            null,
            "bench",
            this,
            rollup -> purge(rollup));
    thread = Thread.ofPlatform().name("watch").start(this::tick);
  }

  private void tick() {
    try {
      do {
        try {
          watch.tick();
        } catch (TallyrollException e) {
          failures.incrementAndGet();
          note("a tick failed: " + e.getMessage());
        }
      } while (!stop.await(INTERVAL.toMillis(), TimeUnit.MILLISECONDS));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Purges the source of a rollup, as the watch does it now and then and whoever else asks.
   *
   * @return whether nothing kept it from that
   */
  boolean purge(String rollup) {
    try {
      Purge.Purged purged = purge.run(rollup);
      if (purged.rows() + purged.tables().size() > 0) {
        note(
            "purged the source of "
                + rollup
                + ": "
                + purged.rows()
                + " rows and the tables "
                + purged.tables());
      }
      return true;
    } catch (TallyrollException e) {
      failures.incrementAndGet();
      note("the source of " + rollup + " was not purged: " + e.getMessage());
      return false;
    }
  }

  @Override
  public void refreshed(RefreshOutcome.Refreshed outcome) {
    refreshes.incrementAndGet();
    if (outcome.quarantined() + outcome.dropped().size() > 0) {
      note(
          outcome.rollup()
              + ": dropped "
              + outcome.dropped()
              + ", "
              + outcome.quarantined()
              + " rows into quarantine");
    }
  }

  @Override
  public void failed(String rollup, TallyrollException fault, Duration pause) {
    failures.incrementAndGet();
    note("refresh of " + rollup + " failed: " + fault.getMessage());
  }

  @Override
  public void works(String rollup) {
    note(rollup + " works again");
  }

  /** Remembers what is worth saying, with the time. */
  void note(String text) {
    synchronized (notes) {
      notes.add(InstantSource.system().instant() + " " + text);
    }
  }

  /** What was worth saying. */
  List<String> notes() {
    synchronized (notes) {
      return List.copyOf(notes);
    }
  }

  /** How many refreshes of one rollup there were. */
  long refreshes() {
    return refreshes.get();
  }

  /** How many refreshes, ticks and purges failed. */
  long failures() {
    return failures.get();
  }

  /** Ends, after the refreshes that run. */
  @Override
  public void close() {
    stop.countDown();
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    watch.close();
  }
}
