package dev.tallyroll.bench;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * Sessions that each do one thing again and again, at a bounded rate, until they are closed. Faults
 * that pass (serialization failures, deadlocks, lock timeouts) are counted and the turn is left
 * out; any other ends the session and is thrown by {@link #check} and {@link #close}. Thread-safe.
 */
final class Sessions implements AutoCloseable {
  /** A session that was held up does not make up for more than this. */
  private static final long MOST_BEHIND_NS = 1_000_000_000;

  private final Database database;
  private final ExecutorService pool = Executors.newCachedThreadPool();
  private final CountDownLatch stop = new CountDownLatch(1);
  private final AtomicReference<@Nullable Throwable> fault = new AtomicReference<>();
  private final AtomicLong passing = new AtomicLong();

  Sessions(Database database) {
    this.database = database;
  }

  /** One turn of a session, on its connection in auto-commit mode. */
  @FunctionalInterface
  interface Turn {
    /** Does it and gives what it counts for, such as its rows. */
    double run(Connection connection) throws Exception;
  }

  /** Starts a session whose turns together count for so much a second at most. */
  void start(double perSecond, Turn turn) {
    pool.execute(() -> {
      try (Connection connection = database.open("bench")) {
        long due = System.nanoTime();
        do {
          double count = turn(connection, turn);
          due =
              Math.max(due + (long) (1e9 * count / perSecond), System.nanoTime() - MOST_BEHIND_NS);
        } while (!pause(Duration.ofNanos(Math.max(0, due - System.nanoTime()))));
      } catch (Throwable e) {
        fault.compareAndSet(null, e);
      }
    });
  }

  private double turn(Connection connection, Turn turn) throws Exception {
    try {
      return turn.run(connection);
    } catch (SQLException | TallyrollException e) {
      if (!((e instanceof SQLException ? e : e.getCause()) instanceof SQLException cause)
          || !Faults.isPassing(cause)) {
        throw e;
      }
      passing.incrementAndGet();
      if (!connection.getAutoCommit()) {
        connection.rollback();
        connection.setAutoCommit(true);
      }
      return 1;
    }
  }

  /** Waits, and says whether the sessions are to end. */
  boolean pause(Duration time) throws InterruptedException {
    return stop.await(time.toNanos(), TimeUnit.NANOSECONDS);
  }

  /** How many turns a fault that passes has cost. */
  long passing() {
    return passing.get();
  }

  /** Throws what has ended a session. */
  void check() {
    Throwable ended = fault.get();
    if (ended != null) {
      throw new IllegalStateException("a session has ended: " + ended.getMessage(), ended);
    }
  }

  /** Lets every session end its turn. */
  @Override
  public void close() {
    stop.countDown();
    pool.shutdown();
    try {
      if (!pool.awaitTermination(2, TimeUnit.MINUTES)) {
        throw new IllegalStateException("a session does not end");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    check();
  }
}
