package dev.tallyroll.bench;

import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.postgres.events.EventBatch;
import dev.tallyroll.postgres.events.GroupCommit;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntSupplier;
import java.util.function.IntToDoubleFunction;
import java.util.function.Supplier;
import org.postgresql.PGConnection;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * The server under load: server, database and what sends on the same processors, each in a process
 * of its own. Every body is made before it is sent.
 */
final class Ingesting {
  private static final String ROLE = "tallyroll_bench_app";
  private static final int TENANTS = 20;
  private static final int SENDERS = 8;
  private static final int CONNECTIONS = 64;
  private static final int PACED = 1_000;
  private static final int STARTS = 5;
  private static final int ROUNDS = 5;

  /** OpenTelemetry's batch processor exports every five seconds. */
  private static final Duration LATE = Duration.ofSeconds(5);

  private static final Duration WARM = Duration.ofSeconds(15);

  private final Supplier<PGSimpleDataSource> server;
  private final int events;
  private final Duration span;
  private final Requests requests = new Requests();
  private final Random random = new Random(42);

  /**
   * On a server.
   *
   * @param events how many events each load has, at most 400,000
   * @param span how long the loads last that are held at a rate
   */
  Ingesting(Supplier<PGSimpleDataSource> server, int events, Duration span) {
    this.server = server;
    this.events = Math.min(events, 400_000);
    this.span = span;
  }

  private PGSimpleDataSource source(String user, String password) {
    PGSimpleDataSource source = server.get();
    source.setDatabaseName("bench_ingest");
    if (!user.isEmpty()) {
      source.setUser(user);
      source.setPassword(password);
    }
    return source;
  }

  void measure() throws Exception {
    Database all = new Database(server.get());
    all.with(
        "bench",
        connection -> {
          Sql.run(connection, "drop database if exists bench_ingest with (force)");
          Sql.run(connection, "create database bench_ingest");
          Sql.run(
              connection,
              "do $$ begin if not exists (select from pg_roles where rolname = '"
                  + ROLE
                  + "') then create role "
                  + ROLE
                  + " login noinherit password 'bench'; end if; end $$");
          return true;
        });
    Database database = new Database(source("", ""));
    System.out.println("## ingest");
    byte[][] rows;
    try (Served running = start(true);
        Served without = start(false)) {
      List<String> keys = keys(database, Scope.INGEST);
      List<String> readers = keys(database, Scope.READ);
      int port = running.port();
      Load hundreds = () -> load(port, requests.cloudEvents(keys, 100, events, LATE), CONNECTIONS);
      Load thousands = () -> load(port, requests.cloudEvents(keys, PACED, events, LATE), SENDERS);
      Load spans = () -> load(port, requests.spans(keys, events), SENDERS);
      Load singles = () -> singles(port, keys);
      Load bare = () -> singles(without.port(), keys);
      for (Load load : List.of(thousands, spans, hundreds, singles, bare)) {
        warm(load);
      }
      byte[][] plain = plain(database);
      Load copy = () -> copy(database, plain);
      System.out.println("| | events a second | COPY beside it | of COPY |\n|---|---|---|---|");
      against("CloudEvents, 100 in a batch, 64 connections", hundreds, copy);
      double best = against("CloudEvents, 1,000 in a batch, 8 connections", thousands, copy);
      against("OTLP protobuf, 500 spans in a request, 8 connections", spans, copy);
      System.out.println("\n| | a second | without storage | of that |\n|---|---|---|---|");
      double[] groups = groups(port);
      against("single events, 64 connections", singles, bare);
      double[] after = groups(port);
      System.out.printf(
          Locale.ROOT,
          "%nRequests a commit of single events: %.1f%n",
          (after[0] - groups[0]) / (after[1] - groups[1]));
      lag(database, port, keys);
      month(port, keys);
      asking(database, port, keys, readers, best / 2);
      rows = plain;
    }
    byte[][] plain = rows;
    System.out.println("\n| | events a second | COPY beside it | of COPY |\n|---|---|---|---|");
    against(
        "appended alone, 1,000 in a batch, without HTTP and refreshes",
        this::appended,
        () -> copy(database, plain));
    starts(database);
  }

  /** Has the database do the work that a load left to it, which would run beside what is timed. */
  private static void settle(Database database) {
    database.with(
        "bench",
        connection -> {
          Sql.run(connection, "vacuum analyze");
          Sql.run(connection, "checkpoint");
          return true;
        });
  }

  /** On a database that has no more work to do, as after a night. */
  private void starts(Database database) throws Exception {
    settle(database);
    List<Double> seconds = new ArrayList<>();
    for (int i = 0; i < STARTS; i++) {
      try (Served again = start(true)) {
        seconds.add(again.took().toMillis() / 1e3);
      }
    }
    System.out.printf(
        Locale.ROOT,
        "%nStart on the existing database, from the start of the process to ready: %.1f s (%.1f to %.1f)%n",
        percentile(seconds, 50),
        percentile(seconds, 0),
        percentile(seconds, 100));
  }

  /** Sends something, and gives the events a second. */
  @FunctionalInterface
  private interface Load {
    double run() throws Exception;
  }

  /** Until what it runs in is compiled, as it is in a server that has run for some minutes. */
  private static void warm(Load load) throws Exception {
    long until = System.nanoTime() + WARM.toNanos();
    while (System.nanoTime() < until) {
      load.run();
    }
  }

  /**
   * Alternates two loads, so that a machine that is slower for a while is so for both.
   *
   * @return the median of the first's rates
   */
  private static double against(String what, Load load, Load other) throws Exception {
    List<Double> rates = new ArrayList<>();
    List<Double> others = new ArrayList<>();
    List<Double> ratios = new ArrayList<>();
    for (int i = 0; i < ROUNDS; i++) {
      others.add(other.run());
      rates.add(load.run());
      ratios.add(rates.getLast() / others.getLast());
    }
    System.out.printf(
        Locale.ROOT,
        "| %s | %,.0f | %,.0f | %.2f (%.2f to %.2f) |%n",
        what,
        percentile(rates, 50),
        percentile(others, 50),
        percentile(ratios, 50),
        percentile(ratios, 0),
        percentile(ratios, 100));
    return percentile(rates, 50);
  }

  private double singles(int port, List<String> keys) throws Exception {
    return load(port, requests.cloudEvents(keys, 1, events / 8, LATE), CONNECTIONS);
  }

  private Served start(boolean stores) throws IOException {
    return Served.start(source(ROLE, "bench"), source("", ""), stores);
  }

  private static List<String> keys(Database database, Scope scope) {
    List<String> keys = new ArrayList<>();
    for (int i = 0; i < TENANTS; i++) {
      new Tenants(database).create("t" + i, null);
      keys.add(new ApiKeys(database).create("t" + i, scope, null).token());
    }
    return keys;
  }

  /** Sends all of these as fast as they are taken, and gives the events a second. */
  private static double load(int port, List<byte[]> requests, int connections) throws Exception {
    return load(port, requests, connections, request -> 0);
  }

  /**
   * The same at most as fast as they are due.
   *
   * @param due after how many seconds a request may be sent, by its place
   */
  private static double load(
      int port, List<byte[]> requests, int connections, IntToDoubleFunction due) throws Exception {
    long events = requests.stream().mapToLong(Requests::eventsOf).sum();
    long from = System.nanoTime();
    send(
        connections,
        next -> {
          try (HttpLoad connection = new HttpLoad(port)) {
            for (int at = next.getAsInt(); at < requests.size(); at = next.getAsInt()) {
              long wait = from + (long) (due.applyAsDouble(at) * 1e9) - System.nanoTime();
              if (wait > 0) {
                Thread.sleep(Duration.ofNanos(wait));
              }
              check(connection.send(requests.get(at)));
            }
          }
        });
    return events / ((System.nanoTime() - from) / 1e9);
  }

  /** Sends what it is given the places of, until there are no more. */
  @FunctionalInterface
  private interface Sender {
    void run(IntSupplier next) throws Exception;
  }

  /** Lets some senders share what there is, and waits for them. */
  private static void send(int senders, Sender sender) throws Exception {
    AtomicInteger next = new AtomicInteger();
    try (ExecutorService threads = Executors.newFixedThreadPool(senders)) {
      List<Future<?>> running = new ArrayList<>();
      for (int i = 0; i < senders; i++) {
        running.add(
            threads.submit(() -> {
              sender.run(next::getAndIncrement);
              return null;
            }));
      }
      for (Future<?> one : running) {
        one.get();
      }
    }
  }

  /** Hands batches to committers as the endpoints do, and gives the events a second. */
  private double appended() throws Exception {
    List<EventBatch> batches = requests.read(TENANTS, PACED, events, LATE);
    try (GroupCommit commit =
        new GroupCommit(new Database(source(ROLE, "bench")), 2, GroupCommit.Listener.NONE)) {
      long from = System.nanoTime();
      send(
          SENDERS,
          next -> {
            for (int at = next.getAsInt(); at < batches.size(); at = next.getAsInt()) {
              if (commit.append(batches.get(at)).isPresent()) {
                throw new IOException("was not appended");
              }
            }
          });
      return events / ((System.nanoTime() - from) / 1e9);
    }
  }

  private static void check(int status) throws IOException {
    if (status != 204 && status != 200) {
      throw new IOException("answered with " + status);
    }
  }

  /** Events of the log as COPY has them. */
  private byte[][] plain(Database database) {
    return database.with(
        "bench",
        connection -> {
          Sql.run(
              connection,
              // Its vacuum would run beside what is measured against it.
              "create table plain with (autovacuum_enabled = off) as select * from tallyroll.event with no data; alter table plain drop column tallyroll_xid");
          List<byte[]> rows = new ArrayList<>();
          var out =
              connection
                  .unwrap(PGConnection.class)
                  .getCopyAPI()
                  .copyOut(
                      "copy (select "
                          + columns(connection)
                          + " from tallyroll.event limit "
                          + events
                          + ") to stdout");
          for (byte[] line = out.readFromCopy(); line != null; line = out.readFromCopy()) {
            rows.add(line);
          }
          return rows.toArray(byte[][]::new);
        });
  }

  private static String columns(Connection connection) throws SQLException {
    return Sql.one(
        connection,
        "select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = 'plain'::regclass and attnum > 0 and not attisdropped",
        row -> row.getString(1));
  }

  /** COPY of them into a plain table, in one session. */
  private static double copy(Database database, byte[][] rows) {
    return database.with(
        "bench",
        connection -> {
          String columns = columns(connection);
          Sql.run(connection, "truncate plain");
          long from = System.nanoTime();
          var in =
              connection
                  .unwrap(PGConnection.class)
                  .getCopyAPI()
                  .copyIn("copy plain (" + columns + ") from stdin");
          for (byte[] line : rows) {
            in.writeToCopy(line, 0, line.length);
          }
          in.endCopy();
          return rows.length / ((System.nanoTime() - from) / 1e9);
        });
  }

  /** Requests and commits so far. */
  private static double[] groups(int port) throws Exception {
    String metrics =
        HttpClient.newHttpClient()
            .send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/metrics")).build(),
                HttpResponse.BodyHandlers.ofString())
            .body();
    return new double[] {
      value(metrics, "tallyroll_ingest_group_requests_sum"),
      value(metrics, "tallyroll_ingest_group_requests_count")
    };
  }

  private static double value(String metrics, String name) {
    return metrics
        .lines()
        .filter(line -> line.startsWith(name + " "))
        .mapToDouble(line -> Double.parseDouble(line.substring(name.length() + 1)))
        .findFirst()
        .orElse(0);
  }

  /** How far the merged rollups are behind while as much is sent as goes. */
  private void lag(Database database, int port, List<String> keys) throws Exception {
    List<Double> seen = new ArrayList<>();
    AtomicBoolean isOver = new AtomicBoolean();
    List<byte[]> bodies = requests.cloudEvents(keys, 1_000, events, LATE);
    try (ExecutorService one = Executors.newSingleThreadExecutor()) {
      Future<?> looking =
          one.submit(() -> {
            try (Connection connection = database.open("bench")) {
              while (!isOver.get()) {
                seen.add(
                    Sql.one(
                        connection,
                        "select max(extract(epoch from clock_timestamp() - finished_at) + duration_ms / 1e3)::double precision from tallyroll.refresh",
                        row -> row.getDouble(1)));
                Thread.sleep(50);
              }
            }
            return null;
          });
      double rate = load(port, bodies, SENDERS);
      isOver.set(true);
      looking.get();
      System.out.printf(
          Locale.ROOT,
          "%nLag of the merged rollups under that load (%,.0f events a second, since the snapshot of the last refresh): p50 %.2f s, p99 %.2f s%n",
          rate,
          percentile(seen, 50),
          percentile(seen, 99));
    }
  }

  private static double percentile(List<Double> values, int percent) {
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    return sorted.length == 0
        ? Double.NaN
        : sorted[Math.max(0, (int) Math.ceil(percent / 100.0 * sorted.length) - 1)];
  }

  /** Thirty days of the tenants, for the questions. */
  private void month(int port, List<String> keys) throws Exception {
    load(port, requests.cloudEvents(keys, 1_000, events / 2, Duration.ofDays(30)), SENDERS);
    Thread.sleep(5_000);
  }

  private void asking(
      Database database, int port, List<String> keys, List<String> readers, double rate)
      throws Exception {
    settle(database);
    List<String> zones = List.of("UTC", "Asia/Kolkata");
    for (String zone : zones) {
      try (HttpLoad connection = new HttpLoad(port)) {
        warm(() -> ask(connection, readers, zone));
      }
      // And beside the load, by which code is compiled anew and the heap grows.
      askBeside(port, keys, readers, rate, zone);
    }
    for (String zone : zones) {
      List<Double> times = askBeside(port, keys, readers, rate, zone);
      System.out.printf(
          Locale.ROOT,
          "%nUsage of one tenant, 30 days by day in %s, while %,.0f events a second come: %d questions, p50 %.1f ms, p99 %.1f ms%n",
          zone,
          rate,
          times.size(),
          percentile(times, 50),
          percentile(times, 99));
    }
  }

  /** Asks again and again while events come at a rate, and gives the milliseconds of each. */
  private List<Double> askBeside(
      int port, List<String> keys, List<String> readers, double rate, String zone)
      throws Exception {
    List<byte[]> bodies =
        requests.cloudEvents(keys, PACED, (int) (rate * span.toSeconds() / 3), LATE);
    List<Double> times = new ArrayList<>();
    // What these bodies take is moved to where it stays now, and not while somebody is timed.
    System.gc();
    try (ExecutorService one = Executors.newSingleThreadExecutor();
        HttpLoad connection = new HttpLoad(port)) {
      Future<?> sending = one.submit(() -> load(port, bodies, SENDERS, at -> at * PACED / rate));
      Thread.sleep(2_000);
      while (!sending.isDone()) {
        times.add(ask(connection, readers, zone));
        Thread.sleep(5);
      }
      sending.get();
    }
    return times;
  }

  /** How many milliseconds an answer takes. */
  private double ask(HttpLoad connection, List<String> readers, String zone) throws IOException {
    byte[] request =
        HttpLoad.get(
            "/v1/usage/llm_usage?measure=requests&measure=input_tokens&measure=p95(duration_ms)&by=model&every=1d&zone="
                + zone
                + "&from="
                + Instant.now().minus(Duration.ofDays(29)).toString().substring(0, 10),
            readers.get(random.nextInt(readers.size())));
    long from = System.nanoTime();
    check(connection.send(request));
    return (System.nanoTime() - from) / 1e6;
  }
}
