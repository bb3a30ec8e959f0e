package dev.tallyroll.bench;

import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.time.Duration;
import java.time.InstantSource;
import java.util.Locale;

/**
 * Eight sessions that write events of one tenant as fast as they can, all into the same few
 * buckets, while the rollup is refreshed every second as a watch does it; in turn with the same
 * into a table without Tallyroll. Both tables are empty at the start of each round. fsync and
 * synchronous_commit are on.
 */
final class Hot {
  private static final int ROWS = 5;
  private static final String NAME = "hot";

  private final Database database;
  private final Duration each;
  private final int rounds;

  /**
   * For a database.
   *
   * @param each how long a round is
   * @param rounds of each kind
   */
  Hot(Database database, Duration each, int rounds) {
    this.database = database;
    this.each = each;
    this.rounds = rounds;
  }

  /** Measures events as they happen, and events of a whole day that come late. */
  void measure() throws Exception {
    System.out.println("## hot\n");
    drop();
    run(Writers.table("hot_none"));
    run(Writers.table("hot_rolled"));
    new Installer(database).apply(DefinitionReader.read(NAME, Writers.rollup(NAME, "hot_rolled")));
    measure("1 minute", rounds);
    measure("1 day", Math.min(rounds, 3));
    drop();
  }

  private void measure(String age, int rounds) throws Exception {
    double[][] rates = new double[2][rounds];
    long refreshes = 0;
    long failures = 0;
    long deadlocks = deadlocks();
    for (int round = 0; round < rounds; round++) {
      run("truncate hot_none; truncate hot_rolled");
      try (Refresher refresher = new Refresher(database, InstantSource.system())) {
        refresher.refresh(NAME, Refresher.WhenBusy.WAIT);
      }
      run("checkpoint");
      rates[0][round] = rate("hot_none", age);
      run("checkpoint");
      try (Refreshing refreshing = new Refreshing(database)) {
        rates[1][round] = rate("hot_rolled", age);
        refreshes += refreshing.refreshes();
        failures += refreshing.failures();
        refreshing.notes().forEach(note -> System.out.println("- " + note));
      }
    }
    Throughput.print(
        "5-row statements on one tenant, events of the last " + age + ", without Tallyroll",
        Throughput.median(rates[0]),
        1);
    Throughput.print(
        "the same, refreshed every second",
        Throughput.median(rates[1]),
        Throughput.ratio(rates[1], rates[0]));
    System.out.printf(
        Locale.ROOT,
        "%n%d rounds of %d s: %,d refreshes, of which %d failed; %d deadlocks%n%n",
        rounds,
        each.toSeconds(),
        refreshes,
        failures,
        deadlocks() - deadlocks);
  }

  private double rate(String table, String age) throws Exception {
    return Throughput.of(
        database, session -> Writers.INSERT.formatted(table, "1", age, ROWS), ROWS, each);
  }

  private long deadlocks() {
    return database.with(
        "bench",
        connection ->
            Sql.one(
                connection,
                "select deadlocks from pg_stat_database where datname = current_database()",
                row -> row.getLong(1)));
  }

  private void drop() {
    if (Refresher.names(database).contains(NAME)) {
      new Drop(database).run(NAME);
    }
    run("drop table if exists hot_none, hot_rolled");
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
