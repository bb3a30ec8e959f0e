package dev.tallyroll.postgres.events;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Lets concurrent requests share transactions. Thread-safe; must be closed.
 *
 * <p>How. Requests queue; each of a few committers takes all that waits, up to a bound, appends it
 * in one transaction and only then lets the requests go on. While one commit waits for the disk the
 * next group forms, so that groups are as large as the load makes them, and a request that is alone
 * waits for nobody. Committers beside the first take part only when enough waits: small
 * transactions beside each other would cost more than one that is twice as large. A group that the
 * database refuses is split, so that no request fails because of another's.
 */
public final class GroupCommit implements Appender, AutoCloseable {
  private static final int MOST_EVENTS = 20_000;
  private static final int MOST_BYTES = 16 << 20;
  private static final int MOST_WAITING = 4_096;

  /** With fewer events than this waiting, a committer beside the first leaves them to that one. */
  private static final int ENOUGH_EVENTS = 250;

  private static final Duration WATCH_EVERY = Duration.ofSeconds(1);
  private static final int MOST_ATTEMPTS = 5;
  private static final Duration LONGEST_WAIT = Duration.ofMinutes(2);
  private static final Refusal NO_ANSWER =
      new Refusal.Unavailable("the database did not answer in time");

  /** Is told of each commit; called by the committers. */
  public interface Listener {
    /** Does nothing. */
    Listener NONE =
        new Listener() {
          @Override
          public void committed(int requests, int events, long appended, Duration duration) {}

          @Override
          public void failed(String reason) {}
        };

    /**
     * A group was committed.
     *
     * @param requests how many requests it held
     * @param events how many events, those that were known already counted too
     * @param appended how many of them were new
     * @param duration how long it took
     */
    void committed(int requests, int events, long appended, Duration duration);

    /** A group failed, or a connection. */
    void failed(String reason);
  }

  private record Waiting(EventBatch batch, CompletableFuture<Optional<Refusal>> done, long since) {
    boolean isFor(Duration longest) {
      return System.nanoTime() - since > longest.toNanos();
    }

    void refuse(Refusal why) {
      done.complete(Optional.of(why));
    }
  }

  private final Database database;
  private final Duration longestWait;
  private final Listener listener;
  private final BlockingQueue<Waiting> queue = new ArrayBlockingQueue<>(MOST_WAITING);
  private final AtomicLong waitingEvents = new AtomicLong();

  /** Has a permit when a committer beside the first has a reason to look. */
  private final Semaphore enough = new Semaphore(0);

  /** What each committer has taken. */
  private final Map<Held, List<Waiting>> committing = new ConcurrentHashMap<>();

  private final Set<Long> knownDays = EventLog.newDays();
  private final List<Thread> committers = new ArrayList<>();
  private final Thread watch;
  private volatile boolean closing;

  /**
   * Starts committers.
   *
   * @param database opens their connections, which no pool keeps, as the role that servers log in
   *     as
   * @param committers how many, as 2
   */
  public GroupCommit(Database database, int committers, Listener listener) {
    this(database, committers, LONGEST_WAIT, listener);
  }

  /**
   * The same.
   *
   * @param longestWait after how long a request is told that the database does not answer; looked
   *     at each second
   */
  public GroupCommit(Database database, int committers, Duration longestWait, Listener listener) {
    this.database = database;
    this.longestWait = longestWait;
    this.listener = listener;
    for (int i = 0; i < committers; i++) {
      boolean isFirst = i == 0;
      this.committers.add(
          Thread.ofPlatform().name("tallyroll-commit-" + i).daemon().start(() -> run(isFirst)));
    }
    watch = Thread.ofVirtual().name("tallyroll-commit-watch").start(this::watch);
  }

  @Override
  public Optional<Refusal> append(EventBatch batch) throws InterruptedException {
    Waiting one = new Waiting(batch, new CompletableFuture<>(), System.nanoTime());
    long waiting = waitingEvents.addAndGet(batch.size());
    if (closing || !queue.offer(one)) {
      waitingEvents.addAndGet(-batch.size());
      return Optional.of(new Refusal.Overloaded());
    }
    if (closing && queue.remove(one)) {
      waitingEvents.addAndGet(-batch.size());
      return Optional.of(new Refusal.Unavailable("the server stops"));
    }
    if (waiting >= ENOUGH_EVENTS && enough.availablePermits() == 0) {
      enough.release();
    }
    try {
      // A time of its own for each would wake another thread twice for each; they are watched.
      return one.done().get();
    } catch (ExecutionException e) {
      throw new IllegalStateException(e.getCause());
    }
  }

  /** Has requests go on that have waited for too long, whether they will be committed or not. */
  private void watch() {
    try {
      while (true) {
        Thread.sleep(WATCH_EVERY);
        for (Waiting one : queue) {
          if (one.isFor(longestWait) && queue.remove(one)) {
            waitingEvents.addAndGet(-one.batch().size());
            one.refuse(NO_ANSWER);
          }
        }
        committing.values().stream()
            .flatMap(List::stream)
            .filter(one -> one.isFor(longestWait))
            .forEach(one -> one.refuse(NO_ANSWER));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void run(boolean isFirst) {
    Held held = new Held();
    try {
      while (!closing || !queue.isEmpty()) {
        if (!isFirst && !closing && waitingEvents.get() < ENOUGH_EVENTS) {
          // To look again and again would take the processor from those who make events of bodies.
          enough.acquire();
          continue;
        }
        Waiting first = queue.poll(isFirst ? 100 : 1, TimeUnit.MILLISECONDS);
        if (first != null) {
          commitTaken(held, group(first));
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      held.close();
    }
  }

  private List<Waiting> group(Waiting first) {
    List<Waiting> group = new ArrayList<>();
    group.add(first);
    long events = first.batch().sizeWithRefused();
    long bytes = first.batch().bytes();
    for (Waiting next = queue.peek();
        next != null
            && events + next.batch().sizeWithRefused() <= MOST_EVENTS
            && bytes + next.batch().bytes() <= MOST_BYTES;
        next = queue.peek()) {
      // Another committer may have taken what was looked at; what comes instead is as welcome.
      Waiting taken = queue.poll();
      if (taken == null) {
        break;
      }
      group.add(taken);
      events += taken.batch().sizeWithRefused();
      bytes += taken.batch().bytes();
    }
    return group;
  }

  private void commitTaken(Held held, List<Waiting> group) {
    waitingEvents.addAndGet(-group.stream().mapToLong(one -> one.batch().size()).sum());
    committing.put(held, group);
    commit(held, group);
    committing.remove(held);
  }

  private void commit(Held held, List<Waiting> group) {
    long start = System.nanoTime();
    long appended;
    try {
      appended = append(held, group.stream().map(Waiting::batch).toList());
    } catch (SQLException e) {
      fail(held, group, e);
      return;
    } catch (RuntimeException | Error e) {
      // Whatever it was, those who wait are told, and the committer goes on.
      held.close();
      listener.failed(String.valueOf(e.getMessage()));
      group.forEach(
          one -> one.refuse(new Refusal.Unavailable("there is no connection to the database")));
      return;
    }
    Duration duration = Duration.ofNanos(System.nanoTime() - start);
    Runnable answer = () -> group.forEach(one -> one.done().complete(Optional.empty()));
    try {
      // Woken from here, each would cost this thread a system call before it takes the next group.
      Thread.startVirtualThread(answer);
      listener.committed(
          group.size(),
          group.stream().mapToInt(one -> one.batch().size()).sum(),
          appended,
          duration);
    } catch (RuntimeException | Error e) {
      // It is committed all the same.
      answer.run();
      listener.failed(String.valueOf(e.getMessage()));
    }
  }

  private void fail(Held held, List<Waiting> group, SQLException e) {
    String state = Faults.state(e);
    listener.failed("SQLSTATE " + state);
    // Data exceptions, constraints, and limits of the program, as of the size of a row.
    boolean isOfValues = state.startsWith("22") || state.startsWith("23") || state.startsWith("54");
    if (isOfValues && group.size() > 1) {
      group.forEach(one -> commit(held, List.of(one)));
      return;
    }
    Refusal refusal =
        isOfValues
            ? new Refusal.Invalid("SQLSTATE " + state)
            : new Refusal.Unavailable(
                state.startsWith("53")
                    ? "the database is out of disk or memory (SQLSTATE " + state + ")"
                    : "the database refuses (SQLSTATE " + state + ")");
    group.forEach(one -> one.refuse(refusal));
  }

  private long append(Held held, List<EventBatch> batches) throws SQLException {
    for (int attempt = 1; ; attempt++) {
      try {
        return held.log().append(batches);
      } catch (SQLException e) {
        if (!held.isValid()) {
          held.close();
          throw e;
        }
        boolean isDropped = Faults.state(e).equals(EventLog.NO_PARTITION);
        if (attempt == MOST_ATTEMPTS || !(isDropped || Faults.isPassing(e))) {
          throw e;
        }
      }
    }
  }

  /** A committer's connection, which is opened when it is needed and again when it broke. */
  private final class Held {
    private @Nullable Connection connection;
    private @Nullable EventLog log;

    EventLog log() throws SQLException {
      EventLog open = log;
      if (open == null) {
        Connection opened = database.openToLock("ingest");
        connection = opened;
        try {
          open = new EventLog(opened, knownDays);
        } catch (SQLException e) {
          close();
          throw e;
        }
        log = open;
      }
      return open;
    }

    boolean isValid() {
      try {
        return connection != null && connection.isValid(5);
      } catch (SQLException e) {
        return false;
      }
    }

    void close() {
      try {
        if (connection != null) {
          connection.close();
        }
      } catch (SQLException e) {
        // It is given up.
      }
      connection = null;
      log = null;
    }
  }

  /** Commits what waits, for a few seconds, and takes nothing more. */
  @Override
  public void close() {
    closing = true;
    enough.release(committers.size());
    for (Thread committer : committers) {
      try {
        committer.join(Duration.ofSeconds(10));
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
      committer.interrupt();
    }
    watch.interrupt();
    for (Waiting one = queue.poll(); one != null; one = queue.poll()) {
      one.refuse(new Refusal.Unavailable("the server stops"));
    }
  }
}
