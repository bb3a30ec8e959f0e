package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.merge.Retention;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyOut;

class RefreshTest {
  /**
   * Case 1 of the field: rows that commit after a watermark passed them. Here there is no
   * watermark, but snapshots.
   */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void rowsThatCommitLateOrRollBack_areCountedOnceOrNotAtAll(long seed) throws Exception {
    try (Scenario scenario = Scenario.withRollup();
        ExecutorService pool = Executors.newFixedThreadPool(9)) {
      AtomicBoolean done = new AtomicBoolean();
      AtomicLong rows = new AtomicLong();
      AtomicInteger refreshes = new AtomicInteger();
      List<Future<?>> writers = new ArrayList<>();
      for (int writer = 0; writer < 8; writer++) {
        Random random = new Random(seed * 100 + writer);
        writers.add(pool.submit(() -> write(scenario.database(), random, rows, refreshes)));
      }
      Future<?> held = pool.submit(() -> holdOneOpen(scenario.database(), done));
      try (Refresher refresher = new Refresher(scenario.database().database(), scenario.clock())) {
        while (!writers.stream().allMatch(Future::isDone)) {
          refresher.refresh("usage", Refresher.WhenBusy.WAIT);
          if (refreshes.incrementAndGet() % 5 == 0) {
            // The transaction that is held open does not keep the others' rows from being counted.
            assertThat(scenario.verify("usage").isExact()).isTrue();
          }
        }
        for (Future<?> writer : writers) {
          writer.get();
        }
        refresher.refresh("usage", Refresher.WhenBusy.WAIT);
        assertThat(total(scenario))
            .isEqualTo(scenario.database().value("select count(*) from events"));
        done.set(true);
        held.get();
        refresher.refresh("usage", Refresher.WhenBusy.WAIT);
      } finally {
        done.set(true);
      }
      assertThat(rows.get()).isGreaterThan(33_000);
      assertThat(total(scenario)).isEqualTo(Long.toString(rows.get() + 1));
      assertThat(scenario.verify("usage").isExact()).isTrue();
      for (String grain : List.of("1m", "5m", "1h", "1d")) {
        assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_" + grain))
            .isEqualTo(Long.toString(rows.get() + 1));
      }
    }
  }

  private static String total(Scenario scenario) {
    return Oracle.rows(
            scenario.query(
                QueryRequest.of("usage")
                    .measuring("requests")
                    .range("2026-05-01", "2026-07-01")
                    .options(false, true, false)))
        .stream()
        .map(row -> Long.parseLong(String.valueOf(row.get(2))))
        .reduce(0L, Long::sum)
        .toString();
  }

  private static Void holdOneOpen(TestDatabase database, AtomicBoolean done)
      throws SQLException, InterruptedException {
    try (Connection connection = database.connect()) {
      connection.setAutoCommit(false);
      connection.createStatement().execute(Scenario.insertSql(1, 1, 20));
      while (!done.get()) {
        Thread.sleep(20);
      }
      connection.commit();
    }
    return null;
  }

  /** Writes its part of 35,000 rows, and more as long as there were few refreshes beside it. */
  private static Void write(
      TestDatabase database, Random random, AtomicLong rows, AtomicInteger refreshes)
      throws SQLException, InterruptedException {
    try (Connection connection = database.connect()) {
      connection.setAutoCommit(false);
      for (int written = 0; written < 35_000 / 8 || refreshes.get() < 5; ) {
        int batch = 1 + random.nextInt(60);
        int start = random.nextInt(1_000_000);
        connection.createStatement().execute(Scenario.insertSql(start, start + batch - 1, 20));
        int lost = 0;
        if (random.nextInt(4) == 0) {
          var before = connection.setSavepoint();
          connection.createStatement().execute(Scenario.insertSql(start, start + 9, 20));
          if (random.nextBoolean()) {
            connection.rollback(before);
            lost = 10;
          }
          batch += 10;
        }
        if (written >= 35_000 / 8) {
          // Only so that it goes on.
          Thread.sleep(500);
        } else if (random.nextBoolean()) {
          Thread.sleep(random.nextInt(40));
        }
        if (random.nextInt(10) == 0) {
          connection.rollback();
        } else {
          connection.commit();
          rows.addAndGet(batch - lost);
          written += batch - lost;
        }
      }
    }
    return null;
  }

  @Test
  void anyGroupingIntoRefreshes_givesTheSameBytes() {
    try (Scenario once = Scenario.withRollup();
        Scenario often = Scenario.withRollup();
        Scenario squeezed = Scenario.withRollup()) {
      once.insert(1, 6_000, 9);
      once.refresh("usage");
      for (int start = 5_001; start > 0; start -= 1_000) {
        often.insert(start, start + 999, 9);
        often.refresh("usage");
      }
      squeezed.insert(1, 6_000, 9);
      // So little memory that the partials are merged in several passes of one refresh.
      squeezed.database().run(Scenario.insertSql(6_001, 20_000, 9));
      squeezed.refresh("usage", 1);
      once.database().run(Scenario.insertSql(6_001, 20_000, 9));
      once.refresh("usage");
      often.database().run(Scenario.insertSql(6_001, 20_000, 9));
      often.refresh("usage");
      for (String grain : List.of("1m", "5m", "1h", "1d")) {
        String expected = once.contents("usage_" + grain);
        assertThat(expected).isNotEmpty();
        assertThat(often.contents("usage_" + grain)).isEqualTo(expected);
        assertThat(squeezed.contents("usage_" + grain)).isEqualTo(expected);
      }
      assertThat(squeezed.verify("usage").isExact()).isTrue();
    }
  }

  @Test
  void everyMeasure_equalsPlainSql() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 20_000, 3);
      scenario.refresh("usage");
      String sql =
          """
          select tenant_id, to_char(date_trunc('day', ts at time zone 'UTC'), 'YYYY-MM-DD"T00:00:00Z"'), project, model,
                 count(*), count(*) filter (where status = 'error'), sum(tokens), sum(big), sum(cost), min(cost), max(msg collate "C"),
                 count(duration_ms), min(duration_ms), max(duration_ms), count(distinct user_id),
                 (array_agg(msg order by ts desc, msg collate "C" desc) filter (where status = 'error' and msg is not null))[1]
          from events group by 1, 2, 3, 4 order by 1, 2, 3 nulls last, 4 nulls last
          """;
      List<?> answer =
          Oracle.rows(
              scenario.query(
                  QueryRequest.of("usage")
                      .by("project", "model")
                      .range("2026-06-12", "2026-06-16")
                      .measuring(
                          "requests",
                          "errors",
                          "tokens",
                          "big",
                          "cost",
                          "least",
                          "last_word",
                          "count(duration_ms)",
                          "min(duration_ms)",
                          "max(duration_ms)",
                          "users",
                          "last_error")));
      assertThat(answer.toString().replace("+00:00", "Z"))
          .isEqualTo(Oracle.rows(scenario.database(), sql).toString());
    }
  }

  @Test
  void aHeldTransaction_doesNotMakeRefreshesDearer() throws SQLException {
    try (Scenario scenario = Scenario.withRollup();
        Connection held = scenario.database().connect()) {
      held.setAutoCommit(false);
      held.createStatement().execute(Scenario.insertSql(1, 1, 1));
      scenario.insert(1, 5_000, 2);
      assertThat(scenario.refresh("usage").rows()).isEqualTo(5_000);
      scenario.insert(1, 10, 2);
      assertThat(scenario.refresh("usage").rows()).isEqualTo(10);
      assertThat(scenario.refresh("usage").rows()).isZero();
      held.commit();
      assertThat(scenario.refresh("usage").rows()).isEqualTo(1);
    }
  }

  /** As of a table that has just been filled: the planner knows nothing of it. */
  @Test
  void ofATableWithoutStatistics_onlyWhatIsNewIsRead() throws SQLException {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.database().run("alter table events set (autovacuum_enabled = off)");
      scenario.apply(Scenario.ROLLUP);
      scenario.insert(1, 60_000, 30);
      scenario.refresh("usage");
      scenario.insert(60_001, 60_100, 30);
      Installed installed =
          scenario.database().database().with("test", c -> Registry.get(c, "usage"));
      assertThat(wholeReads(scenario, FeedSql.select(FeedSql.unread(installed), "tenant_id")))
          .isEqualTo("0");
      assertThat(wholeReads(scenario, "select * from tallyroll.usage_1d_fresh")).isEqualTo("0");
    }
  }

  private static String wholeReads(Scenario scenario, String query) {
    return scenario
        .database()
        .database()
        .transact(
            "test",
            connection -> {
              Sql.list(connection, query, row -> row.getString(1));
              return Sql.one(
                  connection,
                  "select pg_stat_get_xact_numscans('events'::regclass)",
                  row -> row.getString(1));
            });
  }

  @Test
  void whileAnotherWrites_aSkippingRefreshIsBusy() throws SQLException {
    try (Scenario scenario = Scenario.withRollup();
        Connection other = scenario.database().connect();
        Refresher refresher = new Refresher(scenario.database().database(), scenario.clock())) {
      other.setAutoCommit(false);
      other.createStatement().execute("lock table tallyroll.usage_lock in exclusive mode");
      assertThat(refresher.refresh("usage", Refresher.WhenBusy.SKIP))
          .isInstanceOf(RefreshOutcome.Busy.class);
      other.rollback();
      assertThat(refresher.refresh("usage", Refresher.WhenBusy.SKIP))
          .isInstanceOf(RefreshOutcome.Refreshed.class);
    }
  }

  /** Case 8: the error of a failed tick is rolled back together with the tick. */
  @Test
  void aFailedRefresh_leavesItsErrorBehind() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 10, 1);
      scenario.database().run("drop table tallyroll.usage_5m cascade");
      org.assertj.core.api.Assertions.assertThatThrownBy(() -> scenario.refresh("usage"))
          .hasMessageContaining("usage_5m");
      assertThat(scenario.database().value("select error || ' ' || errors from tallyroll.refresh"))
          .contains("usage_5m")
          .endsWith(" 1");
      assertThat(scenario.database().value("select count(*) from tallyroll.usage_1m"))
          .isEqualTo("0");
    }
  }

  /** Case 10: lag is event time and rows behind. */
  @Test
  void status_tellsLagInEventTimeAndRows() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 1);
      scenario.refresh("usage");
      assertThat(scenario.status("usage").unreadRows()).isZero();
      assertThat(scenario.status("usage").lag()).isEqualTo(Duration.ZERO);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', '2026-06-15T12:00:00Z'), ('t0', '2026-06-25T12:00:00Z')");
      assertThat(scenario.status("usage").unreadRows()).isEqualTo(2);
      assertThat(scenario.status("usage").lag()).isGreaterThan(Duration.ofDays(10));
    }
  }

  /** An event that lay ahead when it was merged. */
  @Test
  void aRowThatLiesAhead_hidesNoLag() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.setClock(Instant.now());
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', now() + interval '20 hours'), ('t0', now())");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "update tallyroll.refresh set finished_at = finished_at - interval '1 hour'; insert into events (tenant_id, ts) values ('t0', now())");
      assertThat(scenario.status("usage").lag()).isGreaterThan(Duration.ofMinutes(59));
    }
  }

  /** Who merges what it has read does not read on for as long as that takes. */
  @Test
  void aReaderThatPauses_isNotCutOff() throws Exception {
    try (TestDatabase test = TestDatabase.create();
        Connection reading = test.database().open("refresh")) {
      CopyOut copy =
          reading
              .unwrap(PGConnection.class)
              .getCopyAPI()
              .copyOut("copy (select repeat('x', 1000) from generate_series(1, 40000)) to stdout");
      copy.readFromCopy();
      // Longer than the server waits for one that holds locks.
      Thread.sleep(Duration.ofSeconds(17));
      long rows = 1;
      while (copy.readFromCopy() != null) {
        rows++;
      }
      assertThat(rows).isEqualTo(40_000);
    }
  }

  /** As a watch and an apply do it, after a shorter keep. */
  @Test
  void partitionsThatTwoProcessesDropAtOnce_areNoFailure() throws Exception {
    try (Scenario scenario = Scenario.withTable();
        ExecutorService pool = Executors.newFixedThreadPool(2)) {
      scenario.insert(1, 2_000, 30);
      scenario.apply(Scenario.ROLLUP);
      scenario.backfill("usage");
      scenario
          .database()
          .run("update tallyroll.grain set kept_from = '2026-06-14' where grain = '1m'");
      Installed installed =
          scenario.database().database().with("test", c -> Registry.get(c, "usage"));
      CyclicBarrier both = new CyclicBarrier(2);
      List<Future<Boolean>> droppers = new ArrayList<>();
      for (int i = 0; i < 2; i++) {
        droppers.add(
            pool.submit(() -> {
              both.await();
              return scenario
                  .database()
                  .database()
                  .with("test", c -> Retention.drop(c, installed).complete());
            }));
      }
      for (Future<Boolean> dropper : droppers) {
        dropper.get();
      }
      scenario.database().database().with("test", c -> Retention.drop(c, installed));
      assertThat(
              scenario
                  .database()
                  .value(
                      "select string_agg(relname, ',') from pg_class where relname ~ '^usage_1m_p[0-9]+$' and relname < 'usage_1m_p20260614'"))
          .isNull();
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }
}
