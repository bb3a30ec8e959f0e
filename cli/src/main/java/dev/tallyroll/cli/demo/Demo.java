package dev.tallyroll.cli.demo;

import dev.tallyroll.cli.demo.SampleEvents.Call;
import dev.tallyroll.cli.demo.SampleEvents.Sample;
import dev.tallyroll.cli.demo.SampleEvents.Tenant;
import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Sample tenants that send what happened in the last weeks, and then what happens, to a server. For
 * one thread; must be closed.
 */
public final class Demo implements AutoCloseable {
  /** The rollups that it shows: two of them are a server's, one is its own. */
  public static final List<String> ROLLUPS = List.of("llm_usage", "activity", "llm_cost");

  /** The tenant of whom something is shown. */
  public static final String SHOWN = "acme";

  private static final String HISTORY = "demo/history";
  private static final String LIVE = "demo/live";
  private static final long SEED = 20_260_501;
  private static final int BATCH = 1_000;

  /** One in so many live requests is sent twice, as by a client that heard no answer. */
  private static final int TWICE = 4;

  private static final Duration KEYS_LAST = Duration.ofDays(30);

  private final Database database;
  private final InstantSource clock;
  private final SampleSender sender;
  private final ApiKeys keys;
  private final List<String> keyIds = new ArrayList<>();
  private final Map<String, String> ingestKeys = new HashMap<>();
  private final String readKey;
  private final Random random = new Random();
  private final SampleEvents live = new SampleEvents(random.nextLong());
  private Instant ticked;
  private int liveBatches;

  /**
   * What was sent.
   *
   * @param events how many events, each counted once
   * @param requests in how many requests
   * @param again how many of these were sent twice
   */
  public record Sent(long events, long requests, long again) {
    /** With what came after it. */
    public Sent plus(Sent other) {
      return new Sent(events + other.events, requests + other.requests, again + other.again);
    }

    /** Nothing. */
    public static Sent none() {
      return new Sent(0, 0, 0);
    }
  }

  /**
   * Makes tenants and their keys, which end with it.
   *
   * @param database as the installer
   * @param server where the tenants send to
   */
  public Demo(Database database, InstantSource clock, URI server) {
    this.database = database;
    this.clock = clock;
    this.sender = new SampleSender(server);
    this.keys = new ApiKeys(database);
    this.ticked = clock.instant();
    Tenants tenants = new Tenants(database);
    for (Tenant tenant : SampleEvents.TENANTS) {
      tenants.create(tenant.id(), tenant.zone().getId());
      ingestKeys.put(tenant.id(), key(tenant.id(), Scope.INGEST));
    }
    this.readKey = key(SHOWN, Scope.READ);
  }

  private String key(String tenant, Scope scope) {
    ApiKeys.NewKey key = keys.create(tenant, scope, clock.instant().plus(KEYS_LAST));
    keyIds.add(key.key().id());
    return key.token();
  }

  /**
   * Refuses a database in which a rollup has a name of the demo's and is over something else.
   *
   * @throws TallyrollException with the command that makes room
   */
  public static void check(Database database) {
    List<String> others =
        database.with(
            "demo",
            connection ->
                Sql.one(
                        connection,
                        "select to_regclass('tallyroll.source') is not null",
                        row -> row.getBoolean(1))
                    ? Sql.list(
                        connection,
                        "select r.name from tallyroll.rollup r join tallyroll.source s on s.id = r.source"
                            + " where r.name = any (?) and s.relation is distinct from to_regclass('tallyroll.event')",
                        row -> row.getString(1),
                        (Object) ROLLUPS.toArray(String[]::new))
                    : List.of());
    if (!others.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "here a rollup "
              + others.getFirst()
              + " is over a table of its own; run: {tallyroll} drop "
              + others.getFirst()
              + "; or give the demo another --data-dir");
    }
  }

  /** A key of scope read of the tenant that is shown. */
  public String readKey() {
    return readKey;
  }

  /** Applies the rollup that is the demo's own. */
  public void apply() {
    new Installer(database, clock)
        .apply(DefinitionReader.read("rollups.yaml", resource("rollups.yaml")));
  }

  /**
   * Sends what happened on the last days, up to now, as far as it is not there: the same days are
   * the same events, whenever they are sent.
   */
  public Sent load(int days) throws InterruptedException {
    LocalDate today = LocalDate.ofInstant(clock.instant(), ZoneOffset.UTC);
    Map<String, Integer> there = there();
    Sent sent = Sent.none();
    try (Progress bar = Progress.start("send", "days", (long) days * SampleEvents.TENANTS.size());
        ExecutorService pool = Executors.newFixedThreadPool(SampleEvents.TENANTS.size())) {
      // Day by day, so that the days become complete one after the other.
      for (LocalDate day = today.minusDays(days - 1L); !day.isAfter(today); day = day.plusDays(1)) {
        LocalDate at = day;
        List<Future<Sent>> running = new ArrayList<>();
        for (Tenant tenant : SampleEvents.TENANTS) {
          running.add(pool.submit(() -> loadDay(tenant, at, there)));
        }
        for (Future<Sent> one : running) {
          sent = sent.plus(ended(one));
          bar.step(1);
        }
      }
    }
    return sent;
  }

  private static Sent ended(Future<Sent> one) throws InterruptedException {
    try {
      return one.get();
    } catch (ExecutionException e) {
      if (e.getCause() instanceof TallyrollException known) {
        throw known;
      }
      if (e.getCause() instanceof InterruptedException) {
        throw new InterruptedException();
      }
      throw new IllegalStateException(e.getCause());
    }
  }

  /** How many events of the past are there, by tenant and UTC day. */
  private Map<String, Integer> there() {
    record Count(String of, int events) {}
    Map<String, Integer> there = new HashMap<>();
    database
        .with(
            "demo",
            connection ->
                Sql.list(
                    connection,
                    "select tenant || ' ' || (time at time zone 'UTC')::date, count(*) from tallyroll.event where source = ? group by 1",
                    row -> new Count(row.getString(1), row.getInt(2)),
                    HISTORY))
        .forEach(count -> there.put(count.of(), count.events()));
    return there;
  }

  private Sent loadDay(Tenant tenant, LocalDate day, Map<String, Integer> there)
      throws InterruptedException {
    Instant from = day.atStartOfDay(ZoneOffset.UTC).toInstant();
    // They come minute by minute: what there is so far is how all of the day begins.
    Instant until = clock.instant().truncatedTo(ChronoUnit.MINUTES);
    List<Sample> samples =
        new SampleEvents(SEED + 31L * tenant.id().hashCode() + day.toEpochDay())
            .between(tenant, from, from.plus(Duration.ofDays(1)), 1).stream()
                .takeWhile(sample -> sample.time().isBefore(until))
                .toList();
    if (there.getOrDefault(tenant.id() + " " + day, 0) == samples.size()) {
      return Sent.none();
    }
    int requests = 0;
    for (int i = 0; i < samples.size(); i += BATCH) {
      sender.send(
          SampleSender.cloudEvents(
              HISTORY, day + "-", i, samples.subList(i, Math.min(i + BATCH, samples.size()))),
          keyOf(tenant));
      requests++;
    }
    return new Sent(samples.size(), requests, 0);
  }

  private String keyOf(Tenant tenant) {
    return ingestKeys.getOrDefault(tenant.id(), "");
  }

  /**
   * Sends what happened since the last tick: the larger tenants' calls as OpenTelemetry spans, the
   * rest as CloudEvents, and now and then a request twice.
   *
   * @param factor how many times as busy as on an ordinary day
   */
  public Sent tick(double factor) throws InterruptedException {
    Instant now = clock.instant();
    Instant from = ticked;
    ticked = now;
    Sent sent = Sent.none();
    for (Tenant tenant : SampleEvents.TENANTS) {
      List<Sample> samples =
          live.between(tenant, from, now, factor).stream()
              .filter(sample -> sample.time().isBefore(now))
              .toList();
      List<Call> traced =
          tenant.callsPerDay() < 5_000
              ? List.of()
              : samples.stream().filter(Call.class::isInstance).map(Call.class::cast).toList();
      List<Sample> others =
          samples.stream().filter(sample -> traced.isEmpty() || !(sample instanceof Call)).toList();
      if (!traced.isEmpty()) {
        sent =
            sent.plus(send(tenant, SampleSender.spans(random.nextLong(), traced), traced.size()));
      }
      if (!others.isEmpty()) {
        sent =
            sent.plus(
                send(
                    tenant,
                    SampleSender.cloudEvents(
                        LIVE, from.toEpochMilli() + "-" + liveBatches++ + "-", 0, others),
                    others.size()));
      }
    }
    return sent;
  }

  private Sent send(Tenant tenant, SampleSender.Request request, int events)
      throws InterruptedException {
    int again = random.nextInt(TWICE) == 0 ? 1 : 0;
    for (int i = 0; i <= again; i++) {
      sender.send(request, keyOf(tenant));
    }
    return new Sent(events, 1 + again, again);
  }

  private static String resource(String name) {
    try (InputStream in = Demo.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalStateException("no resource " + name);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Revokes its keys. */
  @Override
  public void close() {
    keyIds.forEach(keys::revoke);
  }
}
