package dev.tallyroll.testkit;

import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Redefinition;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.status.RollupStatus;
import dev.tallyroll.postgres.status.StatusReader;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.Instant;
import java.time.InstantSource;
import java.util.List;

/**
 * An event table with a rollup that has every kind of measure, and the engine's calls in short
 * form. The clock stands still at {@link #NOW} unless it is set. For one thread, but for {@link
 * #database} and {@link #clock}.
 */
public final class Scenario implements AutoCloseable {
  /** What the scenario's clock shows at first. */
  public static final Instant NOW = Instant.parse("2026-06-15T12:00:00Z");

  /** The rollup's definition. */
  public static final String ROLLUP =
      """
      rollup: usage
      source: {table: public.events, tenant: tenant_id, time: ts, changes: append}
      dimensions: [project, model]
      measures:
        requests:    count
        errors:      count where status = 'error'
        tokens:      sum(tokens)
        big:         sum(big)
        cost:        sum(cost)
        score:       sum(score)
        least:       min(cost)
        last_word:   max(msg)
        duration_ms: distribution(duration_ms)
        sizes:       distribution(tokens)
        users:       distinct(user_id)
        last_error:  latest(msg) where status = 'error'
      grains: {1m: keep 37d, 5m: keep 90d, 1h: keep 210d, 1d: keep 1095d}
      """;

  private static final String COLUMNS =
      """
        id          bigint generated always as identity,
        tenant_id   text not null,
        ts          timestamptz not null,
        project     text,
        model       text,
        status      text,
        user_id     text,
        tokens      integer,
        big         bigint,
        cost        numeric(14, 6),
        score       double precision,
        duration_ms double precision,
        msg         text
      """;

  private final TestDatabase database = TestDatabase.create();
  private volatile Instant now = NOW;

  /** A database with the table, without the rollup. */
  public static Scenario withTable() {
    Scenario scenario = new Scenario();
    scenario.database.run("create table events (" + COLUMNS + "); create index on events (ts)");
    return scenario;
  }

  /** A database with the table, partitioned by month, without the rollup. */
  public static Scenario withPartitionedTable() {
    Scenario scenario = new Scenario();
    scenario.database.run(
        "create table events ("
            + COLUMNS
            + ") partition by range (ts);"
            + "create table events_may partition of events for values from ('2026-05-01') to ('2026-06-01');"
            + "create table events_june partition of events for values from ('2026-06-01') to ('2026-07-01') partition by list (tenant_id);"
            + "create table events_june_a partition of events_june for values in ('t0', 't1');"
            + "create table events_june_rest partition of events_june default; create index on events (ts)");
    return scenario;
  }

  /** A database with the table, partitioned by tenant, without the rollup. */
  public static Scenario withTablePerTenant() {
    Scenario scenario = new Scenario();
    scenario.database.run(
        "create table events ("
            + COLUMNS
            + ") partition by list (tenant_id);"
            + "create table events_t0 partition of events for values in ('t0');"
            + "create table events_rest partition of events default; create index on events (ts)");
    return scenario;
  }

  /** A database with the empty table and the rollup. */
  public static Scenario withRollup() {
    Scenario scenario = withTable();
    scenario.apply(ROLLUP);
    return scenario;
  }

  /** The database. */
  public TestDatabase database() {
    return database;
  }

  /** The scenario's clock. */
  public InstantSource clock() {
    return () -> now;
  }

  /** Sets the clock. */
  public void setClock(Instant instant) {
    now = instant;
  }

  /**
   * Inserts rows whose values all follow from their number: times spread evenly over the days
   * before {@link #NOW}, three tenants, NULLs in every column that allows them.
   */
  public void insert(int from, int to, double days) {
    database.run(insertSql(from, to, days));
  }

  /** The statement of {@link #insert}. */
  public static String insertSql(int from, int to, double days) {
    return """
    insert into events (tenant_id, ts, project, model, status, user_id, tokens, big, cost, score, duration_ms, msg)
    select 't' || i %% 3,
           timestamptz '%s' - ((i * 7919::bigint) %% 100003) / 100003.0 * %s * interval '1 day',
           case when i %% 7 = 0 then null else 'p' || i %% 4 end,
           case when i %% 5 = 0 then null when i %% 2 = 0 then 'große' else 'm1' end,
           case when i %% 11 = 0 then 'error' when i %% 13 = 0 then null else 'ok' end,
           case when i %% 17 = 0 then null else 'u' || (i * 31) %% 900 end,
           case when i %% 19 = 0 then null else i %% 5000 - 100 end,
           9000000000000000000 - i,
           case when i %% 23 = 0 then null else i * 0.000123 end,
           i * 0.1 - 300,
           case when i %% 29 = 0 then null when i %% 31 = 0 then 0 else exp((i %% 1000) / 100.0) - 3 end,
           'msg ' || (i * 37) %% 1000
    from generate_series(%d, %d) i
    """
        .formatted(NOW, Double.toString(days), from, to);
  }

  /** Reads definitions. */
  public static List<Definition> definitions(String yaml) {
    return DefinitionReader.read("rollup.yaml", yaml);
  }

  /** Applies definitions. */
  public List<Installer.Applied> apply(String yaml) {
    return new Installer(database.database(), clock()).apply(definitions(yaml));
  }

  /** Applies a definition, and builds and swaps what it changes. */
  public Installer.Outcome change(String yaml, boolean startNow) {
    Installer.Applied applied =
        new Installer(database.database(), clock()).apply(definitions(yaml), startNow).getFirst();
    finish(applied.rollup());
    return applied.outcome();
  }

  /** Builds and swaps what an apply has begun to change. */
  public void finish(String rollup) {
    new Redefinition(database.database(), clock()).finish(rollup, 1, 0, new Backfill.Progress() {});
  }

  /** Refreshes a rollup once. */
  public RefreshOutcome.Refreshed refresh(String rollup) {
    return refresh(rollup, Feed.defaultHeapBudget());
  }

  /** Refreshes a rollup once with little memory. */
  public RefreshOutcome.Refreshed refresh(String rollup, long heapBudget) {
    try (Refresher refresher =
        new Refresher(
            database.database(),
            clock(),
            Feed.Meter.NONE,
            Refresher.Limits.DEFAULT.withHeap(heapBudget))) {
      return (RefreshOutcome.Refreshed) refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
    }
  }

  /** Fills all history of a rollup. */
  public Backfill.Result backfill(String rollup) {
    return new Backfill(database.database(), clock())
        .run(BackfillRequest.all(rollup), new Backfill.Progress() {});
  }

  /** Verifies all of a rollup. */
  public VerifyReport verify(String rollup) {
    return verify(VerifyRequest.all(rollup));
  }

  /** Verifies. */
  public VerifyReport verify(VerifyRequest request) {
    return new Verifier(database.database(), clock()).verify(request, new Verifier.Progress() {});
  }

  /** Repairs all of a rollup. */
  public Verifier.Repaired repair(String rollup) {
    return repair(VerifyRequest.all(rollup), false);
  }

  /** Repairs. */
  public Verifier.Repaired repair(VerifyRequest request, boolean acceptLoss) {
    return new Verifier(database.database(), clock())
        .repair(request, acceptLoss, new Verifier.Progress() {});
  }

  /** Asks. */
  public QueryResult query(QueryRequest request) {
    return new QueryEngine(database.database(), clock()).run(request);
  }

  /** The status of a rollup. */
  public RollupStatus status(String rollup) {
    return new StatusReader(database.database()).read(rollup).getFirst();
  }

  /**
   * All rows of a grain's table as one text, in key order: equal texts are equal bytes. Sums of
   * doubles are left out.
   */
  public String contents(String table) {
    String text =
        database.value(
            "select string_agg((to_jsonb(r) - 'score' - 'duration_ms_sum')::text, E'\\n' order by tenant, bucket, project nulls last, model nulls last)"
                + " from tallyroll."
                + table
                + " r");
    return text == null ? "" : text;
  }

  /** The same of a view, without what it adds. */
  public String freshContents(String table) {
    String text =
        database.value(
            "select string_agg((to_jsonb(r) - 'score' - 'duration_ms_sum' - 'complete')::text, E'\\n' order by tenant, bucket, project nulls last, model nulls last)"
                + " from tallyroll."
                + table
                + "_fresh r");
    return text == null ? "" : text;
  }

  @Override
  public void close() {
    database.close();
  }
}
