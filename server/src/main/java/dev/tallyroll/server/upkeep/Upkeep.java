package dev.tallyroll.server.upkeep;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.events.EventQuarantine;
import dev.tallyroll.postgres.events.EventUpkeep;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Watch;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.server.access.Access;
import dev.tallyroll.server.ingest.Ingest;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.KeptConnection;
import dev.tallyroll.session.Sql;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What a server does without being asked: it refreshes the rollups, purges by {@code source.keep},
 * makes the partitions of days to come, deletes keys and entries of the quarantine that are old.
 * Several servers share this: each rollup is served by one of them. Must be closed.
 */
public final class Upkeep implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(Upkeep.class);

  /** Who was refreshed so lately does not fail. */
  private static final double RECENT_S = 1;

  private static final String REFRESH = "the refresh of rollups";
  private static final long KEYS_EVERY_S = 6 * 3_600;

  private final Database application;
  private final Optional<Database> owner;
  private final ServerSettings settings;
  private final Access access;
  private final Ingest ingest;
  private final InstantSource clock;
  private final MeterRegistry registry;
  private final ScheduledExecutorService timer = Executors.newScheduledThreadPool(4);
  private final List<AutoCloseable> open = new ArrayList<>();
  private final Map<String, String> failing = new ConcurrentHashMap<>();
  private final Map<String, Double> lags = new ConcurrentHashMap<>();
  private final Map<String, String> told = new ConcurrentHashMap<>();
  private volatile boolean closing;

  /**
   * Not yet started.
   *
   * @param owner as the installer; empty where another server does what only that may
   */
  public Upkeep(
      Database application,
      Optional<Database> owner,
      ServerSettings settings,
      Access access,
      Ingest ingest,
      InstantSource clock,
      MeterRegistry registry) {
    this.application = application;
    this.owner = owner;
    this.settings = settings;
    this.access = access;
    this.ingest = ingest;
    this.clock = clock;
    this.registry = registry;
  }

  /** Starts, once it is known which events are too old for this log. */
  public void start() {
    readPurge();
    every("the purge of keys by others", 60_000, 60_000, this::readPurge);
    every(
        "the partitions of the days to come",
        0,
        3_600_000,
        () ->
            application.with(
                "serve",
                connection -> {
                  EventUpkeep.makeDays(connection, clock.instant());
                  return true;
                }));
    every("the use of keys", 30_000, 30_000, access::writeUses);
    every("the lag of rollups", 1_000, 5_000, this::readLags);
    owner.ifPresent(this::startAsOwner);
  }

  private void startAsOwner(Database database) {
    Purge purge = new Purge(database, clock);
    String self = "serve:" + UUID.randomUUID();
    Watch watch =
        new Watch(
            database,
            clock,
            settings.refreshInterval(),
            null,
            self,
            new Told(),
            rollup -> purge(purge, rollup));
    open.add(watch);
    every(REFRESH, 0, watch.pace().toMillis(), watch::tick);
    KeptConnection looking = new KeptConnection(database, "serve");
    open.add(looking);
    every("the history of the event log", 1_000, 2_000, () -> fill(database, looking, self));
    every(
        "the quarantine of events",
        60_000,
        60_000,
        () ->
            database.transact(
                "serve",
                connection ->
                    EventQuarantine.purge(
                        connection, settings.quarantineKeep(), settings.quarantineMax())));
    every(
        "the purge of keys",
        TimeUnit.MINUTES.toMillis(5),
        TimeUnit.SECONDS.toMillis(KEYS_EVERY_S),
        () ->
            EventUpkeep.purgeKeys(
                database,
                clock.instant(),
                settings.limits().keep().plus(EventUpkeep.KEYS_LONGER),
                () -> !closing));
  }

  private void every(String what, long afterMs, long everyMs, Runnable work) {
    // Its runs catch what they throw, so that nothing is lost with what this returns.
    ScheduledFuture<?> unused =
        timer.scheduleWithFixedDelay(
            () -> run(what, work), afterMs, everyMs, TimeUnit.MILLISECONDS);
  }

  private void run(String what, Runnable work) {
    try {
      work.run();
      if (told.remove(what) != null) {
        LOG.info("{}: works again", what);
      }
    } catch (RuntimeException | Error e) {
      // Whatever it was: what throws is not run again. Said once, not at every try.
      if (!closing && told.put(what, String.valueOf(e.getMessage())) == null) {
        LOG.warn("{}: {}", what, e.getMessage());
      }
    }
  }

  /**
   * Fills rollups over the event log that were applied after events had come: nobody else knows
   * that there is history. Those over other tables are for whoever applied them.
   */
  private void fill(Database database, KeptConnection looking, String self) {
    List<String> unfilled =
        looking.with(connection ->
            Sql.list(
                connection,
                """
                select r.name from tallyroll.rollup r join tallyroll.source s on s.id = r.source join tallyroll.refresh f on f.rollup = r.name
                where s.relation = 'tallyroll.event'::regclass and f.served_by = ? and r.name !~ '~$'
                  and not isempty(tallyroll.uncovered(r.name))
                """,
                row -> row.getString(1),
                self));
    for (String rollup : unfilled) {
      try {
        Backfill.Result done =
            new Backfill(database, clock)
                .run(BackfillRequest.all(rollup), new Backfill.Progress() {});
        LOG.info("filled {} with {} rows of the event log", rollup, done.rows());
        told.remove("fill " + rollup);
      } catch (TallyrollException e) {
        if (told.put("fill " + rollup, String.valueOf(e.getMessage())) == null) {
          LOG.warn("{} was not filled: {}", rollup, e.getMessage());
        }
      }
    }
  }

  private void readPurge() {
    application.with("serve", EventUpkeep::keysPurgedBefore).ifPresent(ingest::keysPurgedBefore);
  }

  /** How long ago each rollup was last refreshed, which is how far it may be behind. */
  private void readLags() {
    record Lag(String rollup, double seconds) {}
    List<Lag> found =
        application.with(
            "serve",
            connection ->
                Sql.list(
                    connection,
                    "select rollup, extract(epoch from clock_timestamp() - finished_at)::double precision from tallyroll.refresh"
                        + " where finished_at is not null and rollup !~ '~$'",
                    row -> new Lag(row.getString(1), row.getDouble(2))));
    for (Lag lag : found) {
      if (lags.put(lag.rollup(), lag.seconds()) == null) {
        Gauge.builder(
                "tallyroll.rollup.lag.seconds",
                lags,
                all -> all.getOrDefault(lag.rollup(), Double.NaN))
            .description("How long ago a rollup was last refreshed")
            .tag("rollup", lag.rollup())
            .register(registry);
      }
    }
    lags.keySet().retainAll(found.stream().map(Lag::rollup).toList());
    // It was dropped, or another server has refreshed it since.
    failing.keySet().removeIf(rollup -> lags.getOrDefault(rollup, 0.0) < RECENT_S);
  }

  private boolean purge(Purge purge, String rollup) {
    try {
      Purge.Purged purged = purge.run(rollup);
      if (purged.rows() + purged.tables().size() > 0) {
        LOG.info(
            "purged the source of {}: {} rows, {} tables",
            rollup,
            purged.rows(),
            purged.tables().size());
      }
      told.remove("purge of " + rollup);
      return true;
    } catch (TallyrollException e) {
      if (told.put("purge of " + rollup, String.valueOf(e.getMessage())) == null) {
        LOG.warn("the source of {} was not purged: {}", rollup, e.getMessage());
      }
      return false;
    }
  }

  /** The rollups whose refresh fails, with the reason. */
  public Map<String, String> failing() {
    Map<String, String> all = new HashMap<>(failing);
    String every = told.get(REFRESH);
    if (every != null) {
      all.put("all", every);
    }
    return all;
  }

  /** What a watch tells. */
  private final class Told implements Watch.Listener {
    @Override
    public void refreshed(RefreshOutcome.Refreshed outcome) {
      Timer.builder("tallyroll.refresh.duration")
          .description("How long refreshes took")
          .tag("rollup", outcome.rollup())
          .register(registry)
          .record(outcome.duration());
      if (outcome.quarantined() > 0) {
        LOG.warn("{}: {} rows into quarantine", outcome.rollup(), outcome.quarantined());
      }
    }

    @Override
    public void failed(String rollup, TallyrollException fault, Duration pause) {
      failing.put(rollup, String.valueOf(fault.getMessage()));
      LOG.warn("refresh of {} failed: {}; again in {}", rollup, fault.getMessage(), pause);
    }

    @Override
    public void works(String rollup) {
      failing.remove(rollup);
      LOG.info("{} works again", rollup);
    }
  }

  @Override
  public void close() {
    closing = true;
    timer.shutdown();
    try {
      if (!timer.awaitTermination(5, TimeUnit.SECONDS)) {
        timer.shutdownNow();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    for (AutoCloseable one : open) {
      try {
        one.close();
      } catch (Exception e) {
        LOG.warn("at the end: {}", e.getMessage());
      }
    }
    try {
      access.writeUses();
    } catch (TallyrollException e) {
      // The database is gone; the time of last use is to within a minute only.
    }
  }
}
