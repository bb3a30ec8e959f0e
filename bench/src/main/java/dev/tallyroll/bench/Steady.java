package dev.tallyroll.bench;

import dev.tallyroll.bench.Gauges.Gauge;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * A long run: an hour of mixed traffic on a source partitioned by day, with two rollups that are
 * refreshed every second, and once a minute the sizes, the memory, the connections and the lag,
 * which must stay level. Shorter runs are the same in small.
 *
 * <p>After 5 of 60 minutes, with a part of the first rows still there, the definition is given
 * shorter keeps, so that partitions of the source and of the rollup are dropped under the traffic;
 * from minute 20 to 30 a reader holds a snapshot. Minutes 10 to 19 are compared with the last ten,
 * and the rollups with their source.
 */
final class Steady {
  private static final String TABLE = "steady";
  private static final List<String> ROLLUPS = List.of("steady_usage", "steady_users");

  private static final int MOST_PURGES = 10;

  private static final String USAGE =
      """
      rollup: steady_usage
      source: {table: public.steady, tenant: tenant_id, time: ts, changes: any, keep: %s}
      dimensions: [project_id, workflow_id, provider, model]
      measures:
        requests:    count
        errors:      count where status = 'error'
        tokens:      "sum(input_tokens + output_tokens)"
        cost_usd:    sum(cost_usd)
        duration_ms: distribution(duration_ms)
        users:       distinct(user_id)
        newest:      max(input_tokens)
      grains: {1m: keep %s, 5m: keep 7d, 1h: keep 30d, 1d: {keep: 1095d, zones: [UTC, Asia/Kolkata]}}
      """;

  private static final String USERS =
      """
      rollup: steady_users
      source: {table: public.steady, tenant: tenant_id, time: ts, changes: any}
      dimensions: [status]
      measures:
        requests:  count
        users:     distinct(user_id)
        worst_ms:  max(duration_ms)
        last_user: latest(user_id)
        newest:    max(input_tokens)
      grains: {5m: keep 2d, 1h: keep 30d, 1d: keep 1095d}
      """;

  private static final String PROBE =
      "insert into steady (tenant_id, ts, status, input_tokens) values ('probe', now(), 'ok', ?)";

  /** The last that both rollups have merged. */
  private static final String MERGED =
      "select least((select coalesce(max(newest), 0) from tallyroll.steady_usage_1m where tenant = 'probe'),"
          + " (select coalesce(max(newest), 0) from tallyroll.steady_users_5m where tenant = 'probe'))";

  private final Database database;
  private final int minutes;
  private final int rate;

  Steady(Database database, Duration time, int rate) {
    this.database = database;
    this.minutes = (int) time.toMinutes();
    this.rate = rate;
  }

  /** Runs it. */
  void measure() throws Exception {
    System.out.printf(
        Locale.ROOT, "## steady: %d minutes, %,d rows changed a second%n%n", minutes, rate);
    drop();
    // As many rows as come in until the warm-up is over: they are all replaced by then.
    int most = (int) (rate * Traffic.NEW * at(8).toSeconds());
    prepare(most);
    List<Map<Gauge, Double>> readings = new ArrayList<>();
    List<String> said;
    @Nullable ExecutionException failed = null;
    ScheduledExecutorService later = Executors.newScheduledThreadPool(2);
    try (Refreshing refreshing = new Refreshing(database);
        Traffic traffic = new Traffic(database, TABLE, most, rate);
        Readers readers = new Readers(database, TABLE, ROLLUPS.getFirst());
        LagProbe probe = new LagProbe(database, PROBE, MERGED)) {
      List<ScheduledFuture<?>> events =
          List.of(
              later.schedule(() -> shorten(refreshing), at(5).toSeconds(), TimeUnit.SECONDS),
              later.schedule(
                  () -> {
                    refreshing.note("a reader takes a snapshot");
                    String seen = readers.hold(at(10));
                    refreshing.note("the reader has seen the same first and last: " + seen);
                    return true;
                  },
                  at(20).toSeconds(),
                  TimeUnit.SECONDS));
      watch(refreshing, traffic, readers, probe, readings);
      for (ScheduledFuture<?> event : events) {
        try {
          event.get();
        } catch (ExecutionException e) {
          // An hour's figures are not to be lost for that.
          failed = e;
          refreshing.note("FAILED: " + e.getMessage());
        }
      }
      said = new ArrayList<>(refreshing.notes());
      said.add(
          readers.queries()
              + " answers; told to run again: "
              + readers.passing()
              + " queries, "
              + traffic.passing()
              + " statements of writers");
    } finally {
      later.shutdownNow();
    }
    System.out.println();
    said.forEach(note -> System.out.println("- " + note));
    for (String rollup : ROLLUPS) {
      verify(rollup);
    }
    drop();
    if (failed != null) {
      throw failed;
    }
  }

  /** Minutes of sixty, in proportion. */
  private Duration at(int minute) {
    return Duration.ofSeconds((long) minutes * minute);
  }

  private void prepare(int rows) throws Exception {
    run(
        "create table steady (id bigint generated by default as identity, "
            + Workload.TABLE.strip().substring(1, Workload.TABLE.strip().length() - 1)
            + ", primary key (id, ts)) partition by range (ts)");
    run("create index on steady (ts)");
    run(
        """
        do $$ declare day timestamptz; begin
          for day in select generate_series(date_trunc('day', now()) - interval '4 days', now() + interval '2 days', '1 day') loop
            execute format('create table steady_%s partition of steady for values from (%L) to (%L)', to_char(day, 'YYYYMMDD'), day, day + interval '1 day');
          end loop;
        end $$\
        """);
    database.with("bench", connection -> Traffic.backlog(connection, TABLE, rows));
    Installer installer = new Installer(database);
    installer.apply(DefinitionReader.read("steady", USAGE.formatted("3d", "3d")));
    installer.apply(DefinitionReader.read("steady", USERS));
    for (String rollup : ROLLUPS) {
      new Backfill(database, InstantSource.system())
          .run(BackfillRequest.all(rollup), new Backfill.Progress() {});
    }
  }

  private boolean shorten(Refreshing refreshing) throws InterruptedException {
    new Installer(database).apply(DefinitionReader.read("steady", USAGE.formatted("2d", "1d")));
    refreshing.note("applied shorter keeps");
    // A purge gives way to a transaction that is held open; who runs it by cron comes again.
    for (int tried = 1; !refreshing.purge(ROLLUPS.getFirst()) && tried < MOST_PURGES; tried++) {
      Thread.sleep(Duration.ofSeconds(10));
    }
    return true;
  }

  private void watch(
      Refreshing refreshing,
      Traffic traffic,
      Readers readers,
      LagProbe probe,
      List<Map<Gauge, Double>> readings)
      throws Exception {
    Gauges gauges = new Gauges(database, TABLE, ROLLUPS);
    Gauges.printHead();
    long began = System.nanoTime();
    long refreshes = 0;
    long failures = 0;
    for (int minute = 1; minute <= minutes; minute++) {
      long due = began + TimeUnit.MINUTES.toNanos(minute);
      Thread.sleep(Duration.ofNanos(Math.max(0, due - System.nanoTime())));
      traffic.check();
      readers.check();
      LagProbe.Lags lags = probe.take();
      Map<Gauge, Double> reading = gauges.read();
      reading.put(Gauge.ROWS, (double) traffic.rows());
      reading.put(Gauge.LAG_P50, lags.quantile(0.5));
      reading.put(Gauge.LAG_P99, lags.quantile(0.99));
      reading.put(Gauge.LAG_MAX, lags.quantile(1));
      reading.put(Gauge.REFRESHES, (double) (refreshing.refreshes() - refreshes));
      reading.put(Gauge.FAILURES, (double) (refreshing.failures() - failures));
      refreshes = refreshing.refreshes();
      failures = refreshing.failures();
      readings.add(reading);
      Gauges.print(Integer.toString(minute), reading);
    }
    // Minute m is the one that ends at m: 10 to 19 begin when nine are over.
    int part = Math.max(1, minutes / 6);
    int last = minutes - part;
    int first = Math.min(last, Math.max(1, minutes / 6 - 1));
    Gauges.print(
        "mean " + (first + 1) + "-" + (first + part),
        Gauges.mean(readings.subList(first, first + part)));
    Gauges.print(
        "mean " + (last + 1) + "-" + minutes, Gauges.mean(readings.subList(last, minutes)));
  }

  private void verify(String rollup) {
    VerifyReport report =
        new Verifier(database, InstantSource.system())
            .verify(VerifyRequest.all(rollup), new Verifier.Progress() {});
    System.out.printf(
        Locale.ROOT,
        "- verify %s: %s; %,d of %,d buckets differ from their %,d source rows; sealed %s; source missing %s; pending %s; uncovered %s; expired %s; %d in quarantine%n",
        rollup,
        report.isExact() ? "exact" : "NOT EXACT",
        report.differing(),
        report.buckets(),
        report.rows(),
        report.sealed(),
        report.sourceMissing(),
        report.pending(),
        report.uncovered(),
        report.expired(),
        report.quarantined());
    if (!report.isExact()) {
      report.mismatches().stream().limit(20).forEach(System.out::println);
      throw new IllegalStateException(rollup + " differs from its source");
    }
  }

  private void drop() {
    for (String rollup : ROLLUPS) {
      if (Refresher.names(database).contains(rollup)) {
        new Drop(database).run(rollup);
      }
    }
    run("drop table if exists steady");
  }

  private void run(String sql) {
    database.with(
        "bench",
        connection -> {
          Sql.run(connection, sql);
          return true;
        });
  }
}
