package dev.tallyroll.postgres.refresh;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.KeptConnection;
import dev.tallyroll.session.Sql;
import java.sql.SQLException;
import java.time.Duration;
import java.time.InstantSource;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Refreshes rollups again and again, several at once, so that one that is slow or fails does not
 * hold up the others. Must be closed.
 *
 * <p>Several processes may watch the same rollups: each is served by one of them. Who serves it
 * writes that down with every refresh, in its transaction, for a few seconds ahead; when that runs
 * out, because the process died, its host vanished or its refreshes fail, another takes over. The
 * rollup's lock keeps two from doing the same work in any case.
 *
 * <p>{@link #tick} and {@link #close} are for one thread.
 */
public final class Watch implements AutoCloseable {
  /** How many rollups are refreshed at once. */
  private static final int AT_ONCE = 4;

  /** How long after a refresh is due another process takes the rollup for given up. */
  private static final Duration LEAST_GRACE = Duration.ofSeconds(2);

  private static final Duration MOST_GRACE = Duration.ofSeconds(20);

  /** So late a refresh begins at most. */
  private static final Duration MOST_LATE = Duration.ofMillis(100);

  /**
   * By what part of the interval one rollup is due after the one before, the golden ratio: however
   * many there are, they lie about evenly in it.
   */
  private static final double SPREAD = (Math.sqrt(5) - 1) / 2;

  /** No rollup waits for longer than this to be due for the first time. */
  private static final Duration MOST_SPREAD = Duration.ofSeconds(1);

  /** How long at most a rollup that nobody serves is not seen. */
  private static final Duration MOST_UNSEEN = Duration.ofSeconds(1);

  private static final Duration LONGEST_PAUSE = Duration.ofMinutes(1);
  private static final Duration PURGE_EVERY = Duration.ofHours(1);
  private static final long CLOSE_WITHIN_MS = 8_000;

  /** Is told what happens; called from several threads. */
  public interface Listener {
    /** A rollup was refreshed. */
    void refreshed(RefreshOutcome.Refreshed outcome);

    /** A refresh failed, and is tried again after a pause. */
    void failed(String rollup, TallyrollException fault, Duration pause);

    /** A rollup that failed was refreshed again. */
    void works(String rollup);
  }

  /** Work that is done now and then for a rollup that this process serves. */
  @FunctionalInterface
  public interface Chore {
    /** Does it; false if something was in the way, so that it is tried again soon. */
    boolean run(String rollup);
  }

  private final Database database;
  private final InstantSource clock;
  private final Duration interval;
  private final @Nullable String only;
  private final Listener listener;
  private final Chore chore;
  private final String self;
  private final ExecutorService pool = Executors.newFixedThreadPool(AT_ONCE);

  /** One thing after the other: purges of one source must not meet, nor hold up refreshes. */
  private final ExecutorService chores = Executors.newSingleThreadExecutor();

  private final Map<String, Served> served = new HashMap<>();

  /**
   * Of refreshes that do not run just now: as many as have run at once, however many rollups there
   * are.
   */
  private final Deque<RefreshConnections> connections = new ConcurrentLinkedDeque<>();

  /** Asked at each refresh that is due, and each second. */
  private final KeptConnection looking;

  /** When to look again for what is free to be served, whatever is due. */
  private long lookAt = System.nanoTime();

  private boolean couldLook;

  /** A rollup that this process refreshes; for the thread that works on it. */
  private static final class Served {
    private volatile boolean isRunning;
    private volatile long notBefore;
    private volatile long choreAt = System.nanoTime();
    private int failures;
    private final Refresher refresher;

    Served(Refresher refresher, Duration after) {
      this.refresher = refresher;
      this.notBefore = System.nanoTime() + after.toNanos();
    }

    boolean isDue(long now) {
      return !isRunning && now - notBefore >= 0;
    }
  }

  /**
   * A watch.
   *
   * @param interval the time from the start of a refresh to the next
   * @param only the one rollup to serve; null for all
   * @param self names this process among those that watch
   * @param chore is run now and then for each served rollup
   */
  public Watch(
      Database database,
      InstantSource clock,
      Duration interval,
      @Nullable String only,
      String self,
      Listener listener,
      Chore chore) {
    this.database = database;
    this.clock = clock;
    this.interval = interval;
    this.only = only;
    this.self = self;
    this.listener = listener;
    this.chore = chore;
    this.looking = new KeptConnection(database, "watch");
  }

  private Duration lease() {
    Duration grace = interval.multipliedBy(2);
    return interval.plus(
        grace.compareTo(LEAST_GRACE) < 0
            ? LEAST_GRACE
            : grace.compareTo(MOST_GRACE) > 0 ? MOST_GRACE : grace);
  }

  /** How often somebody should {@link #tick}. */
  public Duration pace() {
    return shorter(interval, MOST_LATE);
  }

  private static Duration shorter(Duration one, Duration other) {
    return one.compareTo(other) < 0 ? one : other;
  }

  /**
   * Starts the refreshes that are due and that nobody else does. Does not wait for them, and asks
   * the database only when one is due or it has not been asked for a while.
   *
   * @throws TallyrollException if the database cannot be asked, or the one rollup does not exist
   */
  public void tick() {
    long now = System.nanoTime();
    boolean isDue = couldLook && served.values().stream().anyMatch(one -> one.isDue(now));
    if (!isDue && now - lookAt < 0) {
      return;
    }
    lookAt = now + shorter(interval, MOST_UNSEEN).toNanos();
    couldLook = false;
    List<String> free = free();
    couldLook = true;
    Set<String> gone = new HashSet<>(served.keySet());
    for (String name : free) {
      gone.remove(name);
      Served one =
          served.computeIfAbsent(
              name,
              rollup ->
                  new Served(new Refresher(database, clock).leavingOpen(), after(served.size())));
      if (one.isDue(System.nanoTime())) {
        one.isRunning = true;
        one.notBefore = System.nanoTime() + interval.toNanos();
        pool.execute(() -> run(name, one));
      }
    }
    for (String name : gone) {
      Served one = served.get(name);
      if (one != null && !one.isRunning) {
        served.remove(name);
      }
    }
  }

  /** How long after it is first seen a rollup is due, so that not all are refreshed at once. */
  private Duration after(int others) {
    return Duration.ofNanos(
        (long) (SPREAD * others % 1 * shorter(interval, MOST_SPREAD).toNanos()));
  }

  /** The rollups that nobody else serves. */
  private List<String> free() {
    return looking.with(connection -> {
      List<String> free =
          !Schema.isThere(connection)
              ? List.of()
              : Sql.list(
                  connection,
                  "select r.name from tallyroll.rollup r join tallyroll.refresh f on f.rollup = r.name"
                      + " where (?::text is null or r.name = ?) and (f.served_by is null or f.served_by = ? or f.served_until < clock_timestamp())"
                      + " order by f.finished_at nulls first",
                  row -> row.getString(1),
                  only,
                  only,
                  self);
      if (only != null && !Registry.names(connection).contains(only)) {
        throw new TallyrollException(ErrorCode.UNKNOWN_NAME, "no rollup '" + only + "'");
      }
      return free;
    });
  }

  private void run(String name, Served one) {
    RefreshConnections idle = connections.pollFirst();
    RefreshConnections taken = idle == null ? new RefreshConnections(database) : idle;
    one.refresher.use(taken);
    try {
      RefreshOutcome outcome =
          one.refresher.refresh(
              name,
              Refresher.WhenBusy.SKIP,
              (writing, reading) ->
                  Sql.update(
                      writing,
                      "update tallyroll.refresh set served_by = ?, served_until = clock_timestamp() + ? * interval '1 millisecond' where rollup = ?",
                      self,
                      lease().toMillis(),
                      name));
      if (outcome instanceof RefreshOutcome.Refreshed refreshed) {
        listener.refreshed(refreshed);
        // While the clock is not believed nothing is thrown away by it.
        if (refreshed.held().isEmpty() && System.nanoTime() - one.choreAt >= 0) {
          one.choreAt = System.nanoTime() + PURGE_EVERY.toNanos();
          chores.execute(() -> {
            if (!chore.run(name)) {
              one.choreAt = System.nanoTime() + LONGEST_PAUSE.toNanos();
            }
          });
        }
      }
      if (one.failures > 0 && outcome instanceof RefreshOutcome.Refreshed) {
        one.failures = 0;
        listener.works(name);
      }
    } catch (RuntimeException fault) {
      TallyrollException e =
          fault instanceof TallyrollException known
              ? known
              : new TallyrollException(ErrorCode.DATABASE, "internal error: " + fault, fault);
      if (e.code() != ErrorCode.UNKNOWN_NAME && !pool.isShutdown()) {
        one.failures++;
        Duration pause = interval.multipliedBy(1L << Math.min(one.failures, 10));
        pause = pause.compareTo(LONGEST_PAUSE) > 0 ? LONGEST_PAUSE : pause;
        one.notBefore = System.nanoTime() + pause.toNanos();
        listener.failed(name, e, pause);
      }
    } finally {
      connections.addFirst(taken);
      one.isRunning = false;
    }
  }

  /** Lets what runs come to its end, for a few seconds, and leaves the rollups to others. */
  @Override
  public void close() {
    pool.shutdown();
    chores.shutdownNow();
    try {
      if (!pool.awaitTermination(CLOSE_WITHIN_MS, TimeUnit.MILLISECONDS)) {
        pool.shutdownNow();
      }
    } catch (InterruptedException e) {
      pool.shutdownNow();
      Thread.currentThread().interrupt();
    }
    // Those of a refresh that does not end are with its refresher.
    served.values().forEach(one -> one.refresher.close());
    connections.forEach(RefreshConnections::close);
    try {
      looking.with(this::release);
    } catch (TallyrollException e) {
      // The database is gone; what was served runs out by itself.
    }
    looking.close();
  }

  private int release(java.sql.Connection connection) throws SQLException {
    return Schema.versionOf(connection) < Schema.version()
        ? 0
        : Sql.update(
            connection,
            "update tallyroll.refresh set served_by = null, served_until = null where served_by = ?",
            self);
  }
}
