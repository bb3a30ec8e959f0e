package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Coarse buckets that have not ended are left to finer grains while a process watches. */
class OpenBucketsTest {
  private static final String APPEND =
      Scenario.ROLLUP.replace(
          "1d: keep 1095d",
          "1d: {keep: 1095d, zones: [UTC, Asia/Kolkata, Europe/London, Australia/Lord_Howe]}");
  private static final List<String> TABLES =
      List.of(
          "1m", "5m", "1h", "1d", "1d_asia_kolkata", "1d_europe_london", "1d_australia_lord_howe");

  private static String of(String changes) {
    return APPEND.replace("changes: append", "changes: " + changes);
  }

  private static void watch(Scenario scenario) {
    try (Refresher refresher =
        new Refresher(scenario.database().database(), scenario.clock()).leavingOpen()) {
      refresher.refresh("usage", Refresher.WhenBusy.WAIT);
    }
  }

  /** Rows of now and of the hours before. */
  private static void write(Scenario scenario, Instant now, int from, int to) {
    scenario
        .database()
        .run(
            Scenario.insertSql(from, to, 3)
                .replace("timestamptz '" + Scenario.NOW + "'", "timestamptz '" + now + "'"));
  }

  private static long open(Scenario scenario, String table, Instant from) {
    return Long.parseLong(
        String.valueOf(
            scenario
                .database()
                .value(
                    "select count(*) from tallyroll.usage_"
                        + table
                        + " where bucket >= '"
                        + from
                        + "'")));
  }

  /** Views, queries and verify are right, whatever is open. */
  private static void assertRight(Scenario scenario) {
    assertThat(scenario.verify("usage").mismatches()).isEmpty();
    String truth =
        "select tenant_id, count(*), sum(tokens), count(duration_ms), min(cost), max(msg collate \"C\") from events group by 1 order by 1";
    List<?> expected = Oracle.rows(scenario.database(), truth);
    for (String table : TABLES) {
      assertThat(
              Oracle.rows(
                  scenario.database(),
                  "select tenant, sum(requests), sum(tokens), sum(duration_ms_count), min(least), max(last_word) from tallyroll.usage_"
                      + table
                      + "_fresh group by 1 order by 1"))
          .as(table)
          .isEqualTo(expected);
    }
    for (String zone : List.of("UTC", "Asia/Kolkata", "Asia/Kathmandu")) {
      assertThat(
              Oracle.rows(
                      scenario.query(
                          QueryRequest.of("usage")
                              .measuring(
                                  "requests", "tokens", "count(duration_ms)", "least", "last_word")
                              .every(Every.ALL, ZoneId.of(zone))
                              .range("2026-05-20", "2026-07-01")))
                  .stream()
                  .map(row -> {
                    row.remove(1);
                    return row;
                  })
                  .toList())
          .isEqualTo(expected);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void whoeverReads_seesOpenBucketsWhole(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 3);
      scenario.apply(of(changes));
      scenario.backfill("usage");
      scenario.refresh("usage");
      Instant now = Scenario.NOW;
      int row = 301;
      // Through the end of minutes, hours and days of all zones, and over a pause.
      for (Duration step :
          List.of(
              Duration.ofSeconds(1),
              Duration.ofMinutes(3),
              Duration.ofMinutes(58),
              Duration.ofHours(6),
              Duration.ofHours(8),
              Duration.ofHours(11),
              Duration.ofDays(3),
              Duration.ofSeconds(1))) {
        now = now.plus(step);
        scenario.setClock(now);
        write(scenario, now, row, row + 40);
        row += 41;
        if (changes.equals("any")) {
          scenario
              .database()
              .run(
                  "delete from events where id % 19 = 3 and ts > now() - interval '1000 years'; update events set cost = cost * 0.9, msg = 'm' where id % 17 = 5");
        }
        assertRight(scenario);
        watch(scenario);
        assertRight(scenario);
        Instant day = now.truncatedTo(java.time.temporal.ChronoUnit.DAYS);
        Instant hour = now.truncatedTo(java.time.temporal.ChronoUnit.HOURS);
        assertThat(open(scenario, "1d", day)).isZero();
        assertThat(open(scenario, "1h", hour)).isZero();
        assertThat(open(scenario, "1m", day)).isPositive();
      }
      // A refresh that stands alone stores all.
      scenario.refresh("usage");
      assertThat(open(scenario, "1d", now.truncatedTo(java.time.temporal.ChronoUnit.DAYS)))
          .isPositive();
      assertRight(scenario);
      String stored =
          String.join("\n", TABLES.stream().map(t -> scenario.contents("usage_" + t)).toList());
      scenario.apply(of(changes).replace("rollup: usage", "rollup: anew"));
      scenario.backfill("anew");
      assertThat(stored)
          .isEqualTo(
              String.join("\n", TABLES.stream().map(t -> scenario.contents("anew_" + t)).toList()));
    }
  }

  @Test
  void aDayIsNotRewritten_withEveryRefresh() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 1);
      scenario.apply(of("any"));
      scenario.backfill("usage");
      watch(scenario);
      String before = written(scenario);
      for (int i = 0; i < 10; i++) {
        scenario.insert(1_000 + i * 100, 1_009 + i * 100, 0.01);
        watch(scenario);
      }
      assertThat(written(scenario)).isEqualTo(before);
    }
  }

  /** Which versions of its rows the table of days holds. */
  private static String written(Scenario scenario) {
    return String.valueOf(
        scenario
            .database()
            .value(
                "select string_agg(tableoid || ' ' || ctid || ' ' || xmin, ',' order by tableoid, ctid) from tallyroll.usage_1d"));
  }

  @Test
  void aTenantSeesItsOwnOpenBuckets_andNoOthers() throws SQLException {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 1);
      scenario.apply(of("any"));
      scenario.backfill("usage");
      watch(scenario);
      scenario.insert(301, 330, 0.1);
      String role = "reader_" + ProcessHandle.current().pid() + "_open";
      scenario
          .database()
          .run(
              "drop role if exists "
                  + role
                  + "; create role "
                  + role
                  + " login password 'x'; grant usage on schema tallyroll to "
                  + role
                  + "; grant select on tallyroll.usage_1d, tallyroll.usage_1d_fresh to "
                  + role
                  + "; grant execute on function tallyroll.usage_1d_tail() to "
                  + role);
      try (Connection connection = scenario.database().connect(role, "x");
          Statement statement = connection.createStatement()) {
        statement.execute("set tallyroll.tenant = 't1'");
        try (var rows =
            statement.executeQuery(
                "select string_agg(distinct tenant, ','), sum(requests) from tallyroll.usage_1d_fresh")) {
          rows.next();
          assertThat(rows.getString(1)).isEqualTo("t1");
          assertThat(rows.getString(2))
              .isEqualTo(
                  scenario.database().value("select count(*) from events where tenant_id = 't1'"));
        }
        statement.execute("reset tallyroll.tenant");
        try (var rows = statement.executeQuery("select count(*) from tallyroll.usage_1d_fresh")) {
          rows.next();
          assertThat(rows.getLong(1)).isZero();
        }
      } finally {
        scenario.database().run("drop owned by " + role + "; drop role " + role);
      }
    }
  }

  @Test
  void daysOfAZone_thatAreWholeUtcDaysForHalfTheYear_areNotMadeOfThem() {
    String rollup =
        Scenario.ROLLUP
            .replace("1m: keep 37d, 5m: keep 90d, 1h: keep 210d, ", "")
            .replace("1d: keep 1095d", "1d: {keep: 1095d, zones: [UTC, Europe/London]}");
    try (Scenario scenario = Scenario.withTable()) {
      Instant now = Instant.parse("2026-01-15T10:00:00Z");
      scenario.setClock(now);
      scenario.apply(rollup);
      for (int day = 0; day < 3; day++) {
        write(scenario, now, 1 + day * 50, 50 + day * 50);
        watch(scenario);
        assertThat(scenario.verify("usage").mismatches()).isEmpty();
        now = now.plus(Duration.ofDays(1));
        scenario.setClock(now);
      }
      scenario.refresh("usage");
      assertThat(
              scenario
                  .database()
                  .value("select sum(requests) from tallyroll.usage_1d_europe_london"))
          .isEqualTo("150");
    }
  }

  /**
   * A jump closes buckets before they have ended; nothing is wrong, and none stay closed for good.
   */
  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aClockThatJumpsAhead_closesNothingForGood(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 3);
      scenario.apply(of(changes));
      scenario.backfill("usage");
      watch(scenario);
      scenario.setClock(Scenario.NOW.plus(Duration.ofDays(150)));
      write(scenario, Scenario.NOW.plusSeconds(60), 301, 340);
      assertRight(scenario);
      watch(scenario);
      assertRight(scenario);
      Instant day = Scenario.NOW.truncatedTo(java.time.temporal.ChronoUnit.DAYS);
      assertThat(open(scenario, "1d", day)).isPositive();
      write(scenario, Scenario.NOW.plusSeconds(120), 341, 380);
      watch(scenario);
      assertRight(scenario);
      scenario.setClock(Scenario.NOW.plusSeconds(600));
      write(scenario, Scenario.NOW.plusSeconds(600), 381, 420);
      watch(scenario);
      assertRight(scenario);
      watch(scenario);
      assertRight(scenario);
      assertThat(open(scenario, "1d", day)).isZero();
      assertThat(open(scenario, "1h", Scenario.NOW)).isZero();
      assertThat(open(scenario, "1m", day)).isPositive();
    }
  }

  @Test
  void whatStandsOnOpenBuckets_goesOn() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 300, 20);
      scenario.apply(of("any"));
      scenario.backfill("usage");
      watch(scenario);
      scenario.insert(301, 350, 1);
      watch(scenario);
      // A truncated partition, a new definition, a repair, a clock that goes back.
      scenario.database().run("truncate events_june_a");
      watch(scenario);
      assertRight(scenario);
      scenario.insert(351, 400, 1);
      assertThat(scenario.change(of("any").replace("errors:", "seen: max(ts)\n  errors:"), false))
          .isNotNull();
      assertRight(scenario);
      watch(scenario);
      scenario.change(of("any"), false);
      watch(scenario);
      scenario.setClock(Scenario.NOW.minus(Duration.ofHours(20)));
      watch(scenario);
      assertRight(scenario);
      scenario.setClock(Scenario.NOW);
      watch(scenario);
      scenario
          .database()
          .run(
              "update tallyroll.usage_1m set requests = requests + 1 where bucket = (select max(bucket) from tallyroll.usage_1m)");
      assertThat(scenario.verify("usage").mismatches()).isNotEmpty();
      scenario.repair("usage");
      assertRight(scenario);
      watch(scenario);
      assertRight(scenario);
    }
  }
}
