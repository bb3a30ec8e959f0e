package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The change log is emptied behind its readers, and no writer waits for that. */
class LogRotationTest {
  private static final String ANY = Scenario.ROLLUP.replace("changes: append", "changes: any");
  private static final String SLOT = "select log_slot from tallyroll.source";

  /** A rollup whose writers have left the first partition of the log, which is not empty. */
  private static Scenario advanced() {
    Scenario scenario = Scenario.withTable();
    scenario.insert(1, 200, 4);
    scenario.apply(ANY);
    scenario.backfill("usage");
    scenario.insert(201, 300, 4);
    rotate(scenario);
    assertThat(scenario.database().value(SLOT)).isEqualTo("1");
    assertThat(size(scenario, 0)).isNotEqualTo("0");
    return scenario;
  }

  private static void rotate(Scenario scenario) {
    try (Refresher refresher =
        new Refresher(
            scenario.database().database(),
            scenario.clock(),
            Feed.Meter.NONE,
            new Refresher.Limits(Feed.defaultHeapBudget(), 1))) {
      refresher.refresh("usage", Refresher.WhenBusy.WAIT);
    }
  }

  private static String size(Scenario scenario, int slot) {
    return String.valueOf(
        scenario
            .database()
            .value(
                "select pg_relation_size(('tallyroll.' || log || '_"
                    + slot
                    + "')::regclass) from tallyroll.source"));
  }

  private static String slot(Scenario scenario, int slot) {
    return String.valueOf(
        scenario
            .database()
            .value("select 'tallyroll.' || log || '_" + slot + "' from tallyroll.source"));
  }

  private static Connection begin(Scenario scenario) throws SQLException {
    Connection connection = scenario.database().connect();
    connection.setAutoCommit(false);
    return connection;
  }

  /** What an application does; fails if anything has to be waited for. */
  private static void write(Connection writer, int row) throws SQLException {
    Sql.run(writer, "set lock_timeout = '200ms'");
    Sql.run(writer, Scenario.insertSql(row, row + 9, 4));
    Sql.run(writer, "update events set cost = cost + 1 where id % 20 = " + row % 20);
    Sql.run(writer, "delete from events where id % 40 = " + row % 40);
  }

  private static void assertExact(Scenario scenario) {
    scenario.refresh("usage");
    assertThat(scenario.verify("usage").mismatches()).isEmpty();
    assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
        .isEqualTo(scenario.database().value("select count(*) from events"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "select tallyroll.truncate_log(id, 0) from tallyroll.source",
        "select tallyroll.index_log(id, 0) from tallyroll.source",
        "select tallyroll.advance_log(id, log_slot, (log_slot + 1) % 4) from tallyroll.source"
      })
  void whileARotationHoldsItsLocks_writersGoOn(String rotation) throws SQLException {
    try (Scenario scenario = advanced();
        Connection rotating = begin(scenario);
        Connection writer = scenario.database().connect()) {
      Sql.run(rotating, rotation);
      write(writer, 301);
      // Whatever comes of it.
      rotating.commit();
      write(writer, 321);
      assertExact(scenario);
      Sql.run(rotating, rotation);
      write(writer, 341);
      rotating.rollback();
      write(writer, 361);
      assertExact(scenario);
    }
  }

  /** A rotation that waits for a reader is before nobody but other readers in the queue. */
  @Test
  void whileARotationWaitsForAReader_writersGoOn() throws Exception {
    try (Scenario scenario = advanced();
        ExecutorService pool = Executors.newSingleThreadExecutor();
        Connection rotating = begin(scenario);
        Connection writer = scenario.database().connect();
        Connection reading = begin(scenario)) {
      Sql.run(reading, "lock table " + slot(scenario, 0) + " in access share mode");
      Future<?> rotation =
          pool.submit(() -> {
            Sql.run(rotating, "select tallyroll.truncate_log(id, 0) from tallyroll.source");
            rotating.commit();
            return null;
          });
      String waits =
          "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
      long end = System.nanoTime() + Duration.ofSeconds(30).toNanos();
      while (!"1".equals(scenario.database().value(waits))) {
        assertThat(System.nanoTime()).isLessThan(end);
        Thread.sleep(5);
      }
      write(writer, 301);
      assertThat(rotation.isDone()).isFalse();
      reading.rollback();
      rotation.get();
      assertThat(size(scenario, 0)).isEqualTo("0");
      assertExact(scenario);
    }
  }

  /** A transaction that has written to the partition before it was left, and goes on. */
  @Test
  void aWriterOfThePartitionThatIsLeft_isNeitherWaitedForNorLost() throws SQLException {
    try (Scenario scenario = Scenario.withTable();
        Connection writer = begin(scenario)) {
      scenario.apply(ANY);
      Sql.run(writer, Scenario.insertSql(1, 10, 4));
      scenario.insert(11, 100, 4);
      for (int round = 1; round <= 3; round++) {
        // Leaves the partition of last time, and cannot empty the first one.
        rotate(scenario);
        write(writer, 100 * round);
        scenario.insert(100 * round + 20, 100 * round + 30, 4);
      }
      assertThat(size(scenario, 0)).isNotEqualTo("0");
      assertThat(scenario.database().value(SLOT)).isNotEqualTo("0");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      writer.commit();
      assertExact(scenario);
      rotate(scenario);
      assertThat(size(scenario, 0)).isEqualTo("0");
      assertExact(scenario);
    }
  }

  /** What has no index is read as a whole by every refresh, so it must not become large. */
  @Test
  void whileAReaderLags_whatIsFilledNextHasAnIndex() throws SQLException {
    try (Scenario scenario = advanced();
        Connection reading = begin(scenario)) {
      Sql.run(reading, "lock table " + slot(scenario, 0) + " in access share mode");
      scenario.insert(1_000, 1_100, 4);
      rotate(scenario);
      assertThat(scenario.database().value(SLOT)).isEqualTo("2");
      assertThat(scenario.database().value(INDEXED)).isEqualTo("0,2");
      reading.rollback();
      scenario.insert(3_000, 3_100, 4);
      rotate(scenario);
      rotate(scenario);
      assertThat(size(scenario, 0)).isEqualTo("0");
      assertThat(scenario.database().value(INDEXED)).doesNotContain("0");
      assertExact(scenario);
    }
  }

  private static final String INDEXED =
      "select string_agg(right(i.indrelid::regclass::text, 1), ',' order by i.indrelid) from pg_index i, tallyroll.source s where i.indrelid::regclass::text ~ (s.log || '_[0-3]$')";
}
