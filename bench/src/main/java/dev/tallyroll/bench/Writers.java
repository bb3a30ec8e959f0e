package dev.tallyroll.bench;

import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.Locale;

/**
 * What {@code changes: any} costs: eight sessions that write the same rows to tables without
 * capture, with one rollup and with three; and a refresh of updates against one of inserts. fsync
 * and synchronous_commit are on.
 */
final class Writers {
  private static final int ROUNDS = 3;

  /** Takes the table, the tenant's number, how old the rows are at most, and how many there are. */
  static final String INSERT =
      """
      insert into %s (tenant_id, ts, project_id, workflow_id, provider, model, user_id, session_id, status, input_tokens, output_tokens, cost_usd, duration_ms, ttft_ms)
      select 'tenant-' || %s, now() - random() * interval '%s', 'project-' || i %% 11, case when i %% 3 > 0 then 'workflow-' || i %% 4 end,
             'openai', (array['sonnet', 'mini', 'large'])[1 + i %% 3], 'user-' || (random() * 100)::int, 'session-' || (random() * 1e6)::int,
             case when i %% 50 = 0 then 'error' else 'ok' end, (random() * 900)::int, (random() * 300)::int, (random() * 0.1)::numeric(12, 6),
             exp(6.5 + random() * 3), exp(4 + random())
      from generate_series(1, %d) i
      """;

  private final Database database;
  private final Duration each;

  Writers(Database database, Duration each) {
    this.database = database;
    this.each = each;
  }

  /** A rollup of four grains over a table whose rows may be changed. */
  static String rollup(String name, String table) {
    return Workload.ROLLUP.formatted(name, table).replace("changes: append", "changes: any");
  }

  /** A table with a primary key and an index on time. */
  static String table(String name) {
    return "create table "
        + name
        + " (id bigint generated always as identity primary key, "
        + Workload.TABLE.strip().substring(1)
        + "; create index on "
        + name
        + " (ts)";
  }

  /** Measures all of it. */
  void measure() throws Exception {
    System.out.println("## writers\n");
    drop();
    for (String table : List.of("w_none", "w_one", "w_three")) {
      run(table(table));
    }
    Installer installer = new Installer(database);
    installer.apply(DefinitionReader.read("one", rollup("one", "w_one")));
    for (String name : List.of("three_a", "three_b", "three_c")) {
      installer.apply(DefinitionReader.read(name, rollup(name, "w_three")));
    }
    for (int rows : new int[] {1, 200}) {
      double[][] rates = new double[3][ROUNDS];
      for (int round = 0; round < ROUNDS; round++) {
        rates[0][round] = rate("w_none", rows);
        rates[1][round] = rate("w_one", rows);
        rates[2][round] = rate("w_three", rows);
        for (String name : List.of("one", "three_a", "three_b", "three_c")) {
          refresh(name);
        }
      }
      Throughput.print(rows + "-row statements, no capture", Throughput.median(rates[0]), 1);
      Throughput.print(
          rows + "-row statements, one rollup",
          Throughput.median(rates[1]),
          Throughput.ratio(rates[1], rates[0]));
      Throughput.print(
          rows + "-row statements, three rollups",
          Throughput.median(rates[2]),
          Throughput.ratio(rates[2], rates[0]));
    }
    updates();
    drop();
  }

  private void updates() throws Exception {
    int rows = 1_000_000;
    int some = rows / 10;
    run("truncate w_one");
    run(INSERT.formatted("w_one", "i % 50", "1 day", rows));
    refresh("one");
    run("vacuum analyze w_one");
    run(INSERT.formatted("w_one", "i % 50", "1 day", some));
    double inserts = refresh("one");
    System.out.printf(
        Locale.ROOT, "%n%,d rows of a day inserted, then refreshed: %.2f s%n%n", some, inserts);
    for (String set :
        List.of(
            "cost_usd = cost_usd * 2",
            "status = case when status = 'ok' then 'error' else 'ok' end",
            "duration_ms = duration_ms * 1.1",
            "user_id = 'user-' || (random() * 100)::int")) {
      run("update w_one set " + set + " where id % 11 = 3");
      double updates = refresh("one");
      System.out.printf(
          Locale.ROOT,
          "as many rows updated (%s), then refreshed: %.2f s, %.1f times the inserts%n",
          set,
          updates,
          updates / inserts);
    }
  }

  private double rate(String table, int rows) throws Exception {
    return Throughput.of(
        database,
        session -> INSERT.formatted(table, "(i + " + session + ") % 50", "1 day", rows),
        rows,
        each);
  }

  private double refresh(String name) {
    long began = System.nanoTime();
    try (Refresher refresher = new Refresher(database, InstantSource.system())) {
      RefreshOutcome outcome = refresher.refresh(name, Refresher.WhenBusy.WAIT);
      if (!(outcome instanceof RefreshOutcome.Refreshed)) {
        throw new IllegalStateException(String.valueOf(outcome));
      }
    }
    return (System.nanoTime() - began) / 1e9;
  }

  private void drop() {
    Drop drop = new Drop(database);
    for (String name : List.of("one", "three_a", "three_b", "three_c")) {
      if (Refresher.names(database).contains(name)) {
        drop.run(name);
      }
    }
    run("drop table if exists w_none, w_one, w_three");
  }

  private void run(String sql) {
    database.with(
        "bench",
        connection -> {
          runOn(connection, sql);
          return true;
        });
  }

  private static void runOn(Connection connection, String sql) throws SQLException {
    for (String statement : sql.split(";", -1)) {
      if (!statement.isBlank()) {
        Sql.run(connection, statement);
      }
    }
  }
}
