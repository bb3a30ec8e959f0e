package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * History: slice by slice, beside writers, stopped and gone on with, and what is not filled yet.
 */
class BackfillTest {
  private static String of(String changes) {
    return Scenario.ROLLUP.replace("changes: append", "changes: " + changes);
  }

  /** A rollup with so many rows of history; a slice of it is a day. */
  private static Scenario withHistory(String changes, int rows, double days) {
    Scenario scenario = Scenario.withTable();
    scenario.insert(1, rows, days);
    scenario.apply(of(changes));
    // Slices hold two million rows; so many are believed to be there.
    scenario.database().run("update pg_class set reltuples = 1e9 where oid = 'events'::regclass");
    return scenario;
  }

  private static long days(Scenario scenario) {
    return Long.parseLong(
        String.valueOf(
            scenario.database().value("select history_to - history_from from tallyroll.rollup")));
  }

  private static Backfill.Result run(
      Scenario scenario, BackfillRequest request, Backfill.Progress progress) {
    return new Backfill(scenario.database().database(), scenario.clock()).run(request, progress);
  }

  private static void assertExact(Scenario scenario) {
    scenario.refresh("usage");
    VerifyReport report = scenario.verify("usage");
    assertThat(report.mismatches()).isEmpty();
    assertThat(report.uncovered()).isEmpty();
    for (String grain : List.of("1m", "5m", "1h", "1d")) {
      assertThat(
              Oracle.rows(
                  scenario.database(),
                  "select sum(requests), sum(tokens), sum(cost), sum(duration_ms_count), min(least), max(last_word) from tallyroll.usage_"
                      + grain))
          .as(grain)
          .isEqualTo(
              Oracle.rows(
                  scenario.database(),
                  "select count(*), sum(tokens), sum(cost), count(duration_ms), min(cost), max(msg collate \"C\") from events"));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void fourJobsBesideWritersAndRefreshes_areExact(String changes) throws Exception {
    try (Scenario scenario = withHistory(changes, 4_000, 8);
        Refresher refresher = new Refresher(scenario.database().database(), scenario.clock());
        ExecutorService pool = Executors.newFixedThreadPool(3)) {
      AtomicBoolean isDone = new AtomicBoolean();
      AtomicInteger written = new AtomicInteger();
      AtomicInteger refreshed = new AtomicInteger();
      List<Future<?>> others = new ArrayList<>();
      for (int writer = 0; writer < 2; writer++) {
        Random random = new Random(writer);
        others.add(
            pool.submit(() -> {
              try (Connection connection = scenario.database().connect()) {
                while (!isDone.get()) {
                  int row = 10_000 + random.nextInt(1_000_000);
                  Sql.run(connection, Scenario.insertSql(row, row + random.nextInt(5), 8));
                  if (changes.equals("any")) {
                    int id = random.nextInt(4_000);
                    Sql.run(connection, "delete from events where id = " + id);
                    Sql.run(
                        connection,
                        "update events set cost = cost + 1, ts = ts - interval '1 day' where ts > '2026-06-09' and id = "
                            + (id + 7));
                  }
                  written.incrementAndGet();
                }
              }
              return null;
            }));
      }
      others.add(
          pool.submit(() -> {
            while (!isDone.get()) {
              refresher.refresh("usage", Refresher.WhenBusy.WAIT);
              refreshed.incrementAndGet();
            }
            return null;
          }));
      Backfill.Result result;
      try {
        // From the first slice on both are at work.
        result =
            run(
                scenario,
                new BackfillRequest("usage", null, null, 4, 0),
                new Backfill.Progress() {
                  @Override
                  public void published(Coverage.Days days, long rows) {
                    int before = written.get();
                    while (written.get() < before + 2
                        && others.stream().noneMatch(Future::isDone)) {
                      LockSupport.parkNanos(1_000_000);
                    }
                  }
                });
      } finally {
        isDone.set(true);
      }
      for (Future<?> other : others) {
        other.get();
      }
      assertThat(result.slices()).isEqualTo((int) days(scenario)).isGreaterThan(8);
      if (changes.equals("append")) {
        assertThat(result.rows()).isEqualTo(4_000);
      }
      assertThat(written.get()).isGreaterThan(15);
      assertThat(refreshed.get()).isGreaterThan(1);
      assertExact(scenario);
    }
  }

  @Test
  void aRate_holdsForAllJobsTogether() {
    try (Scenario scenario = withHistory("append", 3_000, 3)) {
      long began = System.nanoTime();
      Backfill.Result result =
          run(
              scenario,
              new BackfillRequest("usage", null, null, 4, 1_000),
              new Backfill.Progress() {});
      // None of the four slices holds more than a thousand rows and one.
      assertThat(Duration.ofNanos(System.nanoTime() - began))
          .isGreaterThanOrEqualTo(Duration.ofSeconds(3));
      assertThat(result.rows()).isEqualTo(3_000);
      assertThat(result.slices()).isEqualTo(4);
      assertExact(scenario);
    }
  }

  @Test
  void slices_arePublishedNewestFirst_andReadWhileOthersRefresh() {
    try (Scenario scenario = withHistory("any", 1_000, 6);
        Refresher refresher = new Refresher(scenario.database().database(), scenario.clock())) {
      List<LocalDate> published = new ArrayList<>();
      List<RefreshOutcome> meanwhile = new ArrayList<>();
      run(
          scenario,
          BackfillRequest.all("usage"),
          new Backfill.Progress() {
            @Override
            public void read(long rows) {
              meanwhile.add(refresher.refresh("usage", Refresher.WhenBusy.SKIP));
            }

            @Override
            public void published(Coverage.Days days, long rows) {
              published.add(days.from());
              // What is published answers, and what is not does not.
              assertThat(total(scenario, days.from(), days.to()))
                  .isEqualTo(
                      scenario
                          .database()
                          .value(
                              "select count(*) from events where ts >= '"
                                  + days.from()
                                  + " 00:00Z' and ts < '"
                                  + days.to()
                                  + " 00:00Z'"));
              if (published.size() < days(scenario)) {
                assertThatThrownBy(() -> total(scenario, LocalDate.parse("2026-06-08"), days.to()))
                    .hasMessageContaining("is not filled yet");
              }
            }
          });
      assertThat(published).hasSize((int) days(scenario)).doesNotHaveDuplicates();
      assertThat(published).isSortedAccordingTo(Comparator.reverseOrder());
      assertThat(meanwhile)
          .isNotEmpty()
          .allSatisfy(outcome -> assertThat(outcome).isInstanceOf(RefreshOutcome.Refreshed.class));
      assertExact(scenario);
    }
  }

  private static String total(Scenario scenario, LocalDate from, LocalDate to) {
    return Long.toString(
        scenario
            .query(
                QueryRequest.of("usage")
                    .measuring("requests")
                    .every(Every.ALL, ZoneId.of("UTC"))
                    .range(from.toString(), to.toString()))
            .rows()
            .stream()
            .mapToLong(row -> Long.parseLong(String.valueOf(row.getLast())))
            .sum());
  }

  /** Stopped between two slices, within one, or as Ctrl-C does it. */
  enum Stop {
    PUBLISHED,
    READ,
    INTERRUPT
  }

  @ParameterizedTest
  @CsvSource({"PUBLISHED, append", "READ, any", "INTERRUPT, any"})
  void aBackfillStoppedMidway_goesOnWithTheRest_andCountsNothingTwice(Stop stop, String changes) {
    try (Scenario scenario = withHistory(changes, 1_200, 7)) {
      List<Coverage.Days> first = new ArrayList<>();
      AtomicInteger reads = new AtomicInteger();
      Backfill.Progress stopping =
          new Backfill.Progress() {
            @Override
            public void read(long rows) {
              if (reads.incrementAndGet() == 4 && stop == Stop.READ) {
                throw new IllegalStateException("stopped");
              }
            }

            @Override
            public void published(Coverage.Days days, long rows) {
              first.add(days);
              if (first.size() == 3 && stop == Stop.PUBLISHED) {
                throw new IllegalStateException("stopped");
              }
              if (first.size() == 3 && stop == Stop.INTERRUPT) {
                Thread.currentThread().interrupt();
              }
            }
          };
      try {
        assertThatThrownBy(() ->
                run(scenario, new BackfillRequest("usage", null, null, 1, 1_000_000), stopping))
            .isInstanceOf(RuntimeException.class);
      } finally {
        // It is not for what comes next.
        boolean wasInterrupted = Thread.interrupted();
        assertThat(wasInterrupted && stop != Stop.INTERRUPT).isFalse();
      }
      assertThat(first).hasSize(3);
      assertThat(scenario.status("usage").uncovered()).hasSize(1);
      scenario.insert(1_201, 1_300, 7);
      if (changes.equals("any")) {
        scenario
            .database()
            .run(
                "delete from events where id % 10 = 0; update events set cost = 1 where id % 10 = 1");
      }
      if (stop != Stop.PUBLISHED) {
        scenario.refresh("usage");
      }
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      Backfill.Result rest = scenario.backfill("usage");
      assertThat(rest.slices()).isEqualTo((int) days(scenario) - 3);
      assertThat(scenario.status("usage").uncovered()).isEmpty();
      assertExact(scenario);
      assertThat(scenario.backfill("usage").slices()).isZero();
      assertExact(scenario);
    }
  }

  @Test
  void fromAndTo_fillTheseDaysAndNoOthers() {
    try (Scenario scenario = withHistory("any", 1_000, 6)) {
      Backfill.Result result =
          run(
              scenario,
              new BackfillRequest(
                  "usage", LocalDate.parse("2026-06-11"), LocalDate.parse("2026-06-13"), 1, 0),
              new Backfill.Progress() {});
      assertThat(result.slices()).isEqualTo(2);
      assertThat(Long.toString(result.rows()))
          .isEqualTo(
              scenario
                  .database()
                  .value(
                      "select count(*) from events where ts >= '2026-06-11 00:00Z' and ts < '2026-06-13 00:00Z'"));
      assertThat(scenario.status("usage").uncovered())
          .containsExactly("2026-06-09 to 2026-06-10", "2026-06-13 to 2026-06-15");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select min(bucket)::date || ' ' || max(bucket)::date from tallyroll.usage_1d"))
          .isEqualTo("2026-06-11 2026-06-12");
      scenario.backfill("usage");
      assertExact(scenario);
    }
  }

  /** An answer over history that is not filled is no small number. */
  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aQueryOverUncoveredHistory_namesTheCommand_orSaysThatItIsPartial(String changes) {
    try (Scenario scenario = withHistory(changes, 1_000, 6)) {
      scenario.insert(1_001, 1_200, 6);
      scenario.refresh("usage");
      LocalDate edge = LocalDate.parse("2026-06-12");
      run(scenario, new BackfillRequest("usage", edge, null, 1, 0), new Backfill.Progress() {});
      QueryRequest asked =
          QueryRequest.of("usage")
              .measuring("requests")
              .every(Every.DAY, ZoneId.of("UTC"))
              .range("2026-06-10", "2026-06-14");
      for (QueryRequest one :
          List.of(
              asked,
              asked.every(Every.ALL, ZoneId.of("Asia/Kolkata")),
              asked.options(false, true, false))) {
        assertThatThrownBy(() -> scenario.query(one))
            .isInstanceOfSatisfying(
                TallyrollException.class,
                e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED))
            .hasMessageContaining(
                "to 2026-06-12T00:00:00Z is not filled yet; run: {tallyroll} backfill usage (or ask with --partial)");
      }
      QueryResult partial = scenario.query(asked.options(false, false, true));
      assertThat(partial.incomplete())
          .contains("history from 2026-06-10T00:00:00Z to 2026-06-12T00:00:00Z is not filled yet");
      assertThat(
              partial.rows().stream()
                  .filter(row -> String.valueOf(row.get(1)).compareTo("2026-06-12") >= 0)
                  .mapToLong(row -> Long.parseLong(String.valueOf(row.getLast())))
                  .sum())
          .isEqualTo(
              Long.parseLong(
                  String.valueOf(
                      scenario
                          .database()
                          .value(
                              "select count(*) from events where ts >= '2026-06-12 00:00Z' and ts < '2026-06-14 00:00Z'"))));
      // What is covered is answered as ever.
      assertThat(scenario.query(asked.range("2026-06-12", "2026-06-14")).incomplete()).isEmpty();
      for (String grain : List.of("1m", "5m", "1h", "1d")) {
        assertThat(
                scenario
                    .database()
                    .value(
                        "select count(*) from tallyroll.usage_"
                            + grain
                            + "_fresh where complete <> (bucket >= '2026-06-12 00:00Z')"))
            .as(grain)
            .isEqualTo("0");
      }
      scenario.backfill("usage");
      assertThat(
              scenario.database().value("select bool_and(complete) from tallyroll.usage_1d_fresh"))
          .isEqualTo("t");
      assertExact(scenario);
    }
  }

  /** A slice with a row that cannot be folded is read once more, under the rollup's lock. */
  @Test
  void aSlowBackfill_readsFastWhileOthersWaitForIt() throws Exception {
    try (Scenario scenario = Scenario.withTable();
        ExecutorService other = Executors.newSingleThreadExecutor()) {
      scenario.insert(1, 3_000, 1);
      scenario.apply(
          of("any").replace("measures:\n", "measures:\n  parts: sum(1000 / (tokens - 7))\n"));
      Future<Backfill.Result> filled =
          other.submit(() ->
              run(
                  scenario,
                  new BackfillRequest("usage", null, null, 1, 1_000),
                  new Backfill.Progress() {}));
      long freeAt = System.nanoTime();
      Duration longest = Duration.ZERO;
      try (Refresher refresher = new Refresher(scenario.database().database(), scenario.clock())) {
        while (!filled.isDone()) {
          if (refresher.refresh("usage", Refresher.WhenBusy.SKIP)
              instanceof RefreshOutcome.Refreshed) {
            freeAt = System.nanoTime();
          }
          Duration busy = Duration.ofNanos(System.nanoTime() - freeAt);
          longest = busy.compareTo(longest) > 0 ? busy : longest;
          Thread.sleep(20);
        }
      }
      assertThat(filled.get().quarantined()).isEqualTo(1);
      assertThat(filled.get().rows()).isGreaterThanOrEqualTo(2_999);
      assertThat(longest).isLessThan(Duration.ofSeconds(2));
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }
}
