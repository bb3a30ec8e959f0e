package dev.tallyroll.bench;

import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.postgresql.PGConnection;

/**
 * Lag at half of the rate at which the machine copies the same rows into a plain table: two
 * sessions copy batches of live events into a captured table, whose rollup is refreshed every
 * second, and a probe measures how far it is behind. Once for each capture.
 */
final class Lag {
  private static final int SESSIONS = 2;
  private static final int BATCH = 2_500;
  private static final int MOST_BATCHES = 100;
  private static final int STEP_SECONDS = 10;

  /** So much more lag at the end than at the beginning is not level any more. */
  private static final double LEVEL_SECONDS = 0.25;

  private final Database database;
  private final Path directory;
  private final int rows;
  private final Duration time;

  Lag(Database database, Path directory, int rows, Duration time) {
    this.database = database;
    this.directory = directory;
    this.rows = rows;
    this.time = time;
  }

  /** Measures both captures. */
  void measure() throws Exception {
    System.out.println("## lag\n");
    Path file = directory.resolve("lag.copy");
    new Workload("lag", Duration.ofHours(6), Instant.now().truncatedTo(ChronoUnit.HOURS), rows)
        .write(file);
    run("drop table if exists plain; create table plain " + Workload.TABLE);
    run("checkpoint");
    long began = System.nanoTime();
    Benchmarks.copy(database, "plain", file);
    double plain = rows / seconds(began);
    System.out.printf(
        Locale.ROOT,
        "COPY into a plain, unindexed table: %,.0f rows/s; half of it: %,.0f rows/s%n",
        plain,
        plain / 2);
    run("drop table plain");
    List<byte[]> batches = batches(file);
    Files.delete(file);
    for (String changes : List.of("any", "append")) {
      measure(changes, plain / 2, batches);
    }
  }

  /** The file's events without their time, so that each gets that of its arrival. */
  private static List<byte[]> batches(Path file) throws IOException {
    List<byte[]> batches = new ArrayList<>();
    StringBuilder batch = new StringBuilder();
    try (BufferedReader lines = Files.newBufferedReader(file)) {
      int in = 0;
      for (String line = lines.readLine();
          line != null && batches.size() < MOST_BATCHES;
          line = lines.readLine()) {
        int tenant = line.indexOf('\t') + 1;
        batch.append(line, 0, tenant).append(line, line.indexOf('\t', tenant) + 1, line.length());
        batch.append('\n');
        if (++in == BATCH) {
          batches.add(batch.toString().getBytes(StandardCharsets.UTF_8));
          batch.setLength(0);
          in = 0;
        }
      }
    }
    if (batches.isEmpty()) {
      throw new IllegalArgumentException("--rows must be at least " + BATCH);
    }
    return batches;
  }

  private void measure(String changes, double rate, List<byte[]> batches) throws Exception {
    String name = "lag_" + changes;
    drop(name);
    run(
        "create table "
            + name
            + " "
            + Workload.TABLE.replace(
                "ts timestamptz not null", "ts timestamptz not null default clock_timestamp()")
            + "; create index on "
            + name
            + " (ts)");
    new Installer(database)
        .apply(
            DefinitionReader.read(
                name,
                Workload.ROLLUP
                    .formatted(name, name)
                    .replace("changes: append", "changes: " + changes)));
    run("checkpoint");
    System.out.printf(
        "%n| changes: %s, seconds | rows/s | lag p50 s | p99 | max |%n|---|---|---|---|---|%n",
        changes);
    String copy = "copy " + name + " (" + Workload.COLUMNS.replace(" ts,", "") + ") from stdin";
    AtomicInteger next = new AtomicInteger();
    AtomicLong written = new AtomicLong();
    List<LagProbe.Lags> steps = new ArrayList<>();
    LagProbe ended;
    try (Refreshing refreshing = new Refreshing(database)) {
      try (Sessions sessions = new Sessions(database);
          LagProbe probe =
              new LagProbe(
                  database,
                  "insert into " + name + " (tenant_id, input_tokens) values ('probe', ?)",
                  "select coalesce(sum(requests), 0) from tallyroll."
                      + name
                      + "_1m where tenant = 'probe'")) {
        ended = probe;
        for (int session = 0; session < SESSIONS; session++) {
          sessions.start(
              rate / SESSIONS,
              connection -> {
                byte[] batch = batches.get(next.getAndIncrement() % batches.size());
                written.addAndGet(copy(connection, copy, batch));
                return BATCH;
              });
        }
        print(sessions, probe, written, steps);
      }
      refreshing.notes().forEach(note -> System.out.println("- " + note));
    }
    counted(name, written.get() + ended.written());
    drop(name);
  }

  private static long copy(Connection connection, String copy, byte[] batch) throws Exception {
    return connection
        .unwrap(PGConnection.class)
        .getCopyAPI()
        .copyIn(copy, new ByteArrayInputStream(batch), 1 << 16);
  }

  private void print(
      Sessions sessions, LagProbe probe, AtomicLong written, List<LagProbe.Lags> steps)
      throws InterruptedException {
    long began = System.nanoTime();
    long before = 0;
    int all = (int) Math.max(1, time.toSeconds() / STEP_SECONDS);
    long at = began;
    for (int step = 1; step <= all; step++) {
      long due = began + Duration.ofSeconds((long) step * STEP_SECONDS).toNanos();
      Thread.sleep(Duration.ofNanos(Math.max(0, due - System.nanoTime())));
      sessions.check();
      LagProbe.Lags lags = probe.take();
      steps.add(lags);
      long now = written.get();
      print(Integer.toString(step * STEP_SECONDS), (now - before) / seconds(at), lags);
      before = now;
      at = System.nanoTime();
    }
    LagProbe.Lags overall = LagProbe.Lags.of(steps);
    print("all", before / seconds(began), overall);
    // The first ten seconds warm up.
    List<LagProbe.Lags> warm = steps.subList(Math.min(1, all - 1), all);
    int part = Math.max(1, warm.size() / 3);
    double first = LagProbe.Lags.of(warm.subList(0, part)).quantile(0.5);
    double last = LagProbe.Lags.of(warm.subList(warm.size() - part, warm.size())).quantile(0.5);
    System.out.printf(
        Locale.ROOT,
        "%np50 %.2f s at the beginning, %.2f s at the end: %s; p99 %.2f s: %s%n",
        first,
        last,
        last - first <= LEVEL_SECONDS ? "level" : "NOT LEVEL",
        overall.quantile(0.99),
        overall.quantile(0.99) < 3 ? "under 3 s" : "NOT UNDER 3 s");
  }

  private static void print(String first, double rate, LagProbe.Lags lags) {
    System.out.printf(
        Locale.ROOT,
        "| %s | %,.0f | %.2f | %.2f | %.2f |%n",
        first,
        rate,
        lags.quantile(0.5),
        lags.quantile(0.99),
        lags.quantile(1));
  }

  /** Merges what is left and compares the rollup's count with the rows that were written. */
  private void counted(String name, long rows) {
    try (Refresher refresher = new Refresher(database, InstantSource.system())) {
      refresher.refresh(name, Refresher.WhenBusy.WAIT);
    }
    long counted =
        database.with(
            "bench",
            connection ->
                Sql.one(
                    connection,
                    "select sum(requests)::bigint from tallyroll." + name + "_1d",
                    row -> row.getLong(1)));
    if (counted != rows) {
      throw new IllegalStateException(name + " has counted " + counted + " of " + rows + " rows");
    }
    System.out.printf(Locale.ROOT, "all %,d rows are counted%n", rows);
  }

  private void drop(String name) {
    if (Refresher.names(database).contains(name)) {
      new Drop(database).run(name);
    }
    run("drop table if exists " + name);
    run("checkpoint");
  }

  private void run(String sql) {
    database.with(
        "bench",
        connection -> {
          Sql.run(connection, sql);
          return true;
        });
  }

  private static double seconds(long began) {
    return (System.nanoTime() - began) / 1e9;
  }
}
