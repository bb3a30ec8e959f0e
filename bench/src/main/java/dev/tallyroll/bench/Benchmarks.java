package dev.tallyroll.bench;

import dev.tallyroll.cli.embedded.EmbeddedServer;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.io.StringReader;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.OptionalInt;
import org.postgresql.PGConnection;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * Loads five million events three times over, refreshes, backfills and asks, and prints every
 * figure beside the thing it is measured against, in Markdown. Arguments: those of {@link Options}.
 */
public final class Benchmarks {
  private static final int LATE_ROWS = 2_000;
  private static final int WARM_RUNS = 1_500;
  private static final int TIMED_RUNS = 500;

  private final Database database;
  private final Path directory;
  private final int rows;

  private Benchmarks(Database database, Path directory, int rows) {
    this.database = database;
    this.directory = directory;
    this.rows = rows;
  }

  /** Runs the benchmarks. */
  public static void main(String[] arguments) throws Exception {
    Options options;
    try {
      options = Options.of(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
      return;
    }
    try (EmbeddedServer server = EmbeddedServer.open(options.directory(), OptionalInt.empty())) {
      Benchmarks benchmarks =
          new Benchmarks(
              new Database(dataSource(server.url())), options.directory(), options.rows());
      System.out.printf(
          Locale.ROOT,
          "JDK %s, %d processors, %d MB heap, %,d rows%n%n",
          Runtime.version(),
          Runtime.getRuntime().availableProcessors(),
          Runtime.getRuntime().maxMemory() >> 20,
          options.rows());
      for (String name : options.workloads()) {
        Database database = benchmarks.database;
        switch (name) {
          case "writers" -> new Writers(database, Duration.ofSeconds(8)).measure();
          case "hot" ->
              new Hot(database, Duration.ofMinutes(1), options.minutes().orElse(10)).measure();
          case "steady" ->
              new Steady(database, Duration.ofMinutes(options.minutes().orElse(60)), options.rate())
                  .measure();
          case "lag" ->
              new Lag(database, options.directory(), options.rows(), options.lag()).measure();
          case "audit" -> new Audits(() -> dataSource(server.url())).measure();
          case "check" -> new Checks(() -> dataSource(server.url()), options.directory()).measure();
          case "ingest" ->
              new Ingesting(() -> dataSource(server.url()), options.rows(), options.lag())
                  .measure();
          default -> benchmarks.measure(name);
        }
      }
    }
  }

  private static PGSimpleDataSource dataSource(String of) {
    PGSimpleDataSource source = new PGSimpleDataSource();
    URI url = URI.create(of);
    source.setURL("jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath());
    source.setUser(url.getUserInfo().split(":", 2)[0]);
    source.setPassword(url.getUserInfo().split(":", 2)[1]);
    return source;
  }

  private void measure(String name) throws Exception {
    Instant end = Instant.now().truncatedTo(ChronoUnit.HOURS);
    Workload workload =
        new Workload(
            name,
            switch (name) {
              case "dense" -> Duration.ofHours(6);
              case "sparse" -> Duration.ofDays(3);
              case "month" -> Duration.ofDays(30);
              default -> throw new IllegalArgumentException("no workload " + name);
            },
            end,
            rows);
    System.out.println("## " + name);
    Path file = directory.resolve(name + ".copy");
    workload.write(file);
    clean(name);
    double copy = timed(() -> load("plain", "create table plain " + Workload.TABLE, file));
    row("COPY into a plain, unindexed table", copy, "");
    clean("none");
    run("create table " + name + " " + Workload.TABLE + "; create index on " + name + " (ts)");
    Installer installer = new Installer(database);
    installer.apply(DefinitionReader.read(name, Workload.ROLLUP.formatted(name, name)));
    double source = timed(() -> load(name, "select", file));
    row("COPY into the source, with its index on time and its feed", source, ratio(source, copy));
    run("checkpoint");
    InstantSource clock = InstantSource.system();
    try (Refresher refresher = new Refresher(database, clock)) {
      RefreshOutcome[] outcome = new RefreshOutcome[1];
      double refresh = timed(() -> outcome[0] = refresher.refresh(name, Refresher.WhenBusy.WAIT));
      row("refresh of all rows into four grains", refresh, ratio(refresh, copy));
      run("analyze");
      sizes(name);
      run("checkpoint");
      late(workload, refresher);
      if (name.equals("month")) {
        // Otherwise autovacuum does this while the queries are timed.
        run("vacuum analyze");
        run("checkpoint");
        queries(name);
      }
      backfill(name, refresh);
    }
    Files.delete(file);
    clean(name);
    System.out.println();
  }

  private void late(Workload workload, Refresher refresher) throws Exception {
    for (int round = 0; round < 3; round++) {
      String lines = workload.late(LATE_ROWS);
      database.with(
          "bench",
          connection -> {
            try (Reader text = new StringReader(lines)) {
              return connection
                  .unwrap(PGConnection.class)
                  .getCopyAPI()
                  .copyIn(
                      "copy " + workload.name() + " (" + Workload.COLUMNS + ") from stdin", text);
            } catch (IOException e) {
              throw new SQLException(e);
            }
          });
      double late = timed(() -> refresher.refresh(workload.name(), Refresher.WhenBusy.WAIT));
      row(
          "refresh of " + LATE_ROWS + " late rows over the whole span, round " + (round + 1),
          late,
          "");
    }
  }

  private void backfill(String name, double refresh) throws Exception {
    run("checkpoint");
    new Installer(database)
        .apply(DefinitionReader.read(name, Workload.ROLLUP.formatted(name + "_again", name)));
    double backfill =
        timed(() ->
            new Backfill(database, InstantSource.system())
                .run(BackfillRequest.all(name + "_again"), new Backfill.Progress() {}));
    row(
        "backfill of the same rows",
        backfill,
        String.format(Locale.ROOT, "%.2f of the refresh", backfill / refresh));
  }

  private void sizes(String name) {
    long source = size(name);
    for (String grain : List.of("1m", "5m", "1h", "1d")) {
      long bytes = size("tallyroll." + name + "_" + grain);
      System.out.printf(
          Locale.ROOT,
          "| size of %s | %.1f MB | %.2f %% of the raw rows |%n",
          grain,
          bytes / 1e6,
          100.0 * bytes / source);
    }
    long together =
        size("tallyroll." + name + "_5m")
            + size("tallyroll." + name + "_1h")
            + size("tallyroll." + name + "_1d");
    System.out.printf(
        Locale.ROOT,
        "| size of 5m, 1h and 1d together | %.1f MB | %.2f %% of the raw rows (%.1f MB) |%n",
        together / 1e6,
        100.0 * together / source,
        source / 1e6);
  }

  /**
   * A table with its partitions, TOAST and indexes; of the source only its rows, without its
   * indexes.
   */
  private long size(String table) {
    String function = table.startsWith("tallyroll.") ? "pg_total_relation_size" : "pg_table_size";
    return database.with(
        "bench",
        connection ->
            Sql.one(
                connection,
                "select sum("
                    + function
                    + "(relid))::bigint from (select relid from pg_partition_tree('"
                    + table
                    + "'::regclass)"
                    + " union select '"
                    + table
                    + "'::regclass) t (relid)",
                row -> row.getLong(1)));
  }

  private void queries(String name) throws Exception {
    QueryEngine engine = new QueryEngine(database, InstantSource.system());
    for (String zone : List.of("UTC", "Asia/Kolkata")) {
      LocalDate to = LocalDate.now(ZoneOffset.UTC);
      QueryRequest request =
          QueryRequest.of(name)
              .tenants("tenant-7")
              .by("model")
              .measuring("requests", "cost_usd", "p95(duration_ms)", "users")
              .every(Every.DAY, ZoneId.of(zone))
              .range(to.minusDays(28).toString(), to.toString());
      String raw =
          """
          select date_trunc('day', ts at time zone '%s'), model, count(*), sum(cost_usd), percentile_disc(0.95) within group (order by duration_ms),
                 count(distinct user_id)
          from %s where tenant_id = 'tenant-7' and ts >= timestamp '%s' at time zone '%s' and ts < timestamp '%s' at time zone '%s'
          group by 1, 2
          """
              .formatted(zone, name, to.minusDays(28), zone, to, zone);
      try (Connection connection = database.open("bench")) {
        double[] millis = new double[TIMED_RUNS];
        for (int i = -WARM_RUNS; i < TIMED_RUNS; i++) {
          long began = System.nanoTime();
          engine.run(connection, request);
          if (i >= 0) {
            millis[i] = (System.nanoTime() - began) / 1e6;
          }
        }
        Arrays.sort(millis);
        double direct = timed(() -> Sql.list(connection, raw, row -> row.getLong(3)));
        System.out.printf(
            Locale.ROOT,
            "| one tenant, 28 days by day and model with p95 and distinct users, %s, warm | p50 %.1f ms, p99 %.1f ms | raw rows by SQL: %.0f ms |%n",
            zone,
            millis[TIMED_RUNS / 2],
            millis[TIMED_RUNS * 99 / 100],
            direct * 1_000);
      }
    }
  }

  /** Drops what an earlier run has left. */
  private void clean(String name) {
    for (String rollup : List.of(name, name + "_again")) {
      if (Refresher.names(database).contains(rollup)) {
        new Drop(database).run(rollup);
      }
    }
    run("drop table if exists plain; drop table if exists " + name);
    run("checkpoint");
  }

  private long load(String table, String before, Path file) throws IOException, SQLException {
    if (!before.equals("select")) {
      run(before);
    }
    return copy(database, table, file);
  }

  /** Loads a file of events into a table. */
  static long copy(Database database, String table, Path file) throws IOException, SQLException {
    try (Connection connection = database.open("bench");
        InputStream in = Files.newInputStream(file)) {
      return connection
          .unwrap(PGConnection.class)
          .getCopyAPI()
          .copyIn("copy " + table + " (" + Workload.COLUMNS + ") from stdin", in, 1 << 16);
    }
  }

  private void run(String sql) {
    database.with(
        "bench",
        connection -> {
          Sql.run(connection, sql);
          return true;
        });
  }

  /** Work that may throw. */
  @FunctionalInterface
  private interface Work {
    Object run() throws Exception;
  }

  private static double timed(Work work) throws Exception {
    long began = System.nanoTime();
    Object result = work.run();
    double seconds = (System.nanoTime() - began) / 1e9;
    if (result == null) {
      throw new IllegalStateException("nothing was done");
    }
    return seconds;
  }

  private static void row(String what, double seconds, String beside) {
    System.out.printf(Locale.ROOT, "| %s | %.2f s | %s |%n", what, seconds, beside);
  }

  private static String ratio(double seconds, double copy) {
    return String.format(Locale.ROOT, "%.2f of the COPY", seconds / copy);
  }
}
