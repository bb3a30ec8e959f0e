package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What went wrong in other systems that keep rollups, case by case, and does not here. Cases that
 * are not in this class: 7 is in {@link LeavesTest} and {@link VerifyTest}, 8 and 10 are in {@link
 * RefreshTest}, 18 is in {@link SqlSurfaceTest}.
 */
class FieldCasesTest {
  private static final String ANY = Scenario.ROLLUP.replace("changes: append", "changes: any");
  private static final String SECOND = ANY.replace("rollup: usage", "rollup: second");
  private static final List<String> GRAINS = List.of("1m", "5m", "1h", "1d");
  private static final ZoneId UTC = ZoneId.of("UTC");

  private static String of(String changes) {
    return Scenario.ROLLUP.replace("changes: append", "changes: " + changes);
  }

  private static Connection begin(Scenario scenario) throws SQLException {
    Connection connection = scenario.database().connect();
    connection.setAutoCommit(false);
    return connection;
  }

  private static void until(BooleanSupplier isSo) throws InterruptedException {
    long end = System.nanoTime() + Duration.ofSeconds(30).toNanos();
    while (!isSo.getAsBoolean()) {
      assertThat(System.nanoTime()).isLessThan(end);
      Thread.sleep(5);
    }
  }

  /**
   * Every stored bucket of every grain is what plain SQL says of the rows, and no other is stored.
   * The rows must be of a time of which all grains are kept.
   */
  private static void assertStored(Scenario scenario, String rollup) {
    for (String grain : GRAINS) {
      String width =
          switch (grain) {
            case "1m" -> "1 minute";
            case "5m" -> "5 minutes";
            case "1h" -> "1 hour";
            default -> "1 day";
          };
      String order =
          " order by 1, 2, project collate \"C\" nulls last, model collate \"C\" nulls last";
      assertThat(
              Oracle.rows(
                  scenario.database(),
                  "select tenant collate \"C\" as tenant, bucket, project, model, requests, errors, tokens, big, cost, least, last_word,"
                      + " duration_ms_count, duration_ms_min, duration_ms_max, tallyroll.estimate(users_sketch), last_error from tallyroll."
                      + rollup
                      + "_"
                      + grain
                      + order))
          .as(grain)
          .isEqualTo(
              Oracle.rows(
                  scenario.database(),
                  """
                  select * from (
                    select tenant_id collate "C" as tenant, date_bin('%s', ts, 'epoch'::timestamptz) as bucket, project, model, count(*),
                      count(*) filter (where status = 'error'), sum(tokens), sum(big), sum(cost), min(cost), max(msg collate "C"),
                      count(duration_ms), min(duration_ms), max(duration_ms), count(distinct user_id),
                      (array_agg(msg order by ts desc, msg collate "C" desc) filter (where status = 'error' and msg is not null))[1]
                    from events group by 1, 2, 3, 4) truth
                  """
                          .formatted(width)
                      + order));
    }
    VerifyReport report = scenario.verify(rollup);
    assertThat(report.mismatches()).isEmpty();
    assertThat(report.uncovered()).isEmpty();
  }

  private static String count(Scenario scenario) {
    return String.valueOf(scenario.database().value("select count(*) from events"));
  }

  private static String stored(Scenario scenario, String table) {
    return String.valueOf(
        scenario.database().value("select coalesce(sum(requests), 0) from tallyroll." + table));
  }

  private static long sum(QueryResult answer) {
    return answer.rows().stream()
        .mapToLong(row -> Long.parseLong(String.valueOf(row.getLast())))
        .sum();
  }

  private static double number(@Nullable Object value) {
    return Double.parseDouble(String.valueOf(value));
  }

  private static void assertWithin(double share, @Nullable Object value, @Nullable Object right) {
    assertThat(Math.abs(number(value) - number(right)))
        .as("%s for %s", value, right)
        .isLessThanOrEqualTo(share * Math.abs(number(right)));
  }

  /** Case 1. For an append table {@link RefreshTest} has it, with writers of their own threads. */
  @Test
  void rowsThatCommitAfterARefreshPassedThem_areNotLost() throws SQLException {
    try (Scenario scenario = Scenario.withTable();
        Connection first = begin(scenario);
        Connection second = begin(scenario);
        Connection third = begin(scenario)) {
      scenario.insert(1, 300, 4);
      scenario.apply(ANY);
      scenario.backfill("usage");
      // Their transaction ids are in this order; they commit in another one.
      Sql.run(first, Scenario.insertSql(301, 340, 4));
      Sql.run(second, Scenario.insertSql(341, 380, 4));
      Sql.run(
          third, "update events set tokens = 7, project = 'moved', msg = 'zz' where id % 10 = 0");
      scenario.insert(381, 400, 4);
      assertThat(scenario.refresh("usage").rows()).isEqualTo(20);
      assertStored(scenario, "usage");
      second.commit();
      assertThat(scenario.refresh("usage").rows()).isEqualTo(40);
      assertStored(scenario, "usage");
      Savepoint before = first.setSavepoint();
      Sql.run(first, Scenario.insertSql(401, 440, 4));
      first.rollback(before);
      first.setSavepoint();
      Sql.run(first, "delete from events where id % 15 = 3");
      scenario.insert(441, 450, 4);
      assertThat(scenario.refresh("usage").rows()).isEqualTo(10);
      assertStored(scenario, "usage");
      third.commit();
      scenario.refresh("usage");
      assertStored(scenario, "usage");
      assertThat(scenario.refresh("usage").rows()).isZero();
      first.commit();
      scenario.refresh("usage");
      assertStored(scenario, "usage");
      assertThat(scenario.refresh("usage").rows()).isZero();
    }
  }

  /**
   * Case 2. Nobody refreshes for seven hours, in which events go on, some of them late by weeks.
   */
  @Test
  void eventsOfWeeksAgoAndOfHoursOfOutage_areAllCounted() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 4);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.insert(301, 400, 4);
      scenario.refresh("usage");
      for (int hour = 1; hour <= 7; hour++) {
        Instant now = Scenario.NOW.plus(Duration.ofHours(hour));
        scenario.setClock(now);
        scenario
            .database()
            .run(
                """
                insert into events (tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg)
                select 't' || i %% 3, timestamptz '%s' - i * interval '1 minute' - case when i %% 10 = 0 then interval '%d days' else '0' end,
                  'p', 'error', 'late ' || i, i, i * 0.5, i * 100, 'late ' || i
                from generate_series(1, 50) i
                """
                    .formatted(now, hour * 5));
      }
      scenario.database().run("update events set cost = cost + 1 where id % 25 = 0 and id <= 400");
      assertThat(stored(scenario, "usage_1d_fresh")).isEqualTo(count(scenario));
      assertThat(scenario.refresh("usage").rows()).isEqualTo(7 * 50 + 2 * 16);
      assertStored(scenario, "usage");
      // Later than the minutes are kept, and still in all that is.
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, project) values ('t0', '2026-04-17 01:02:03Z', 'ancient')");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      for (String grain : GRAINS) {
        assertThat(
                scenario
                    .database()
                    .value(
                        "select count(*) from tallyroll.usage_"
                            + grain
                            + " where project = 'ancient' and requests = 1"))
            .as(grain)
            .isEqualTo(grain.equals("1m") ? "0" : "1");
      }
    }
  }

  /** How the commit of a refresh goes wrong. */
  enum Cut {
    /** The server has committed, and the connection is lost before it says so. */
    ANSWER_LOST,
    /** The server's process dies right before. */
    BEFORE,
    /** The server's process dies right after, when the refresher has its answer. */
    AFTER
  }

  /** A database whose commits go wrong while {@code isArmed}. */
  private static Database cutting(Scenario scenario, Cut cut, AtomicBoolean isArmed) {
    DataSource source = scenario.database().newSource();
    return new Database(
        proxy(
            DataSource.class,
            (proxy, method, arguments) -> {
              Object result = invoke(source, method, arguments);
              return result instanceof Connection connection
                  ? cutting(scenario, connection, cut, isArmed)
                  : result;
            }));
  }

  private static Connection cutting(
      Scenario scenario, Connection connection, Cut cut, AtomicBoolean isArmed) {
    return proxy(
        Connection.class,
        (proxy, method, arguments) -> {
          if (!method.getName().equals("commit") || !isArmed.getAndSet(false)) {
            return invoke(connection, method, arguments);
          }
          String pid = Sql.one(connection, "select pg_backend_pid()", row -> row.getString(1));
          String kill = "select pg_terminate_backend(" + pid + ", 10000)";
          if (cut == Cut.BEFORE) {
            assertThat(scenario.database().value(kill)).isEqualTo("t");
          }
          connection.commit();
          assertThat(scenario.database().value(kill)).isEqualTo("t");
          if (cut == Cut.ANSWER_LOST) {
            throw new SQLException("An I/O error occurred while sending to the backend.", "08006");
          }
          return null;
        });
  }

  private static <T> T proxy(Class<T> type, InvocationHandler handler) {
    return type.cast(
        Proxy.newProxyInstance(
            FieldCasesTest.class.getClassLoader(), new Class<?>[] {type}, handler));
  }

  private static @Nullable Object invoke(
      Object target, java.lang.reflect.Method method, @Nullable Object @Nullable [] arguments)
      throws Throwable {
    try {
      return method.invoke(target, arguments);
    } catch (InvocationTargetException e) {
      throw Objects.requireNonNull(e.getCause());
    }
  }

  /** Case 3: deltas applied twice after a retry or a crash. */
  @ParameterizedTest
  @CsvSource({"ANSWER_LOST, any", "BEFORE, any", "AFTER, any", "ANSWER_LOST, append"})
  void aRefreshThatIsCutOffAtItsCommit_isNotCountedTwice(Cut cut, String changes) {
    AtomicBoolean isArmed = new AtomicBoolean();
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 200, 4);
      scenario.apply(of(changes));
      scenario.backfill("usage");
      try (Refresher refresher = new Refresher(cutting(scenario, cut, isArmed), scenario.clock())) {
        for (int round = 0; round < 2; round++) {
          String before = stored(scenario, "usage_1d");
          scenario.insert(201 + round * 100, 250 + round * 100, 4);
          if (changes.equals("any")) {
            scenario
                .database()
                .run(
                    "update events set cost = cost + 1, tokens = tokens + 5 where id % 9 = "
                        + round);
          }
          assertThat(refreshes(refresher, isArmed)).isEqualTo(cut == Cut.AFTER);
          assertThat(isArmed).isFalse();
          assertThat(stored(scenario, "usage_1d"))
              .isEqualTo(cut == Cut.BEFORE ? before : count(scenario));
          assertThat(scenario.verify("usage").mismatches()).isEmpty();
          // Whoever tries again, the same or another one. The first may find its connection dead.
          Refresher.Also nothing = (writing, reading) -> {};
          if (round == 0 || cut == Cut.AFTER) {
            scenario.refresh("usage");
          }
          boolean works = works(refresher, nothing);
          assertThat(works || works(refresher, nothing)).isTrue();
          assertStored(scenario, "usage");
        }
      }
    }
  }

  private static boolean refreshes(Refresher refresher, AtomicBoolean isArmed) {
    return works(refresher, (writing, reading) -> isArmed.set(true));
  }

  private static boolean works(Refresher refresher, Refresher.Also also) {
    try {
      refresher.refresh("usage", Refresher.WhenBusy.WAIT, also);
      return true;
    } catch (TallyrollException e) {
      assertThat(e.code()).isEqualTo(ErrorCode.DATABASE);
      return false;
    }
  }

  /** Case 4: a delete that waits for longer than its queue keeps it. */
  @Test
  void aDeleteThatWaitsWhileTheLogGoesRound_isStillApplied() {
    try (Scenario scenario = Scenario.withTable();
        Refresher rotating =
            new Refresher(
                scenario.database().database(),
                scenario.clock(),
                Feed.Meter.NONE,
                new Refresher.Limits(Feed.defaultHeapBudget(), 1))) {
      scenario.insert(1, 300, 4);
      scenario.apply(ANY + "---\n" + SECOND);
      scenario.backfill("usage");
      scenario.backfill("second");
      String filled =
          "select count(*) from tallyroll.source s, generate_series(0, 3) n where pg_relation_size(('tallyroll.' || s.log || '_' || n)::regclass) > 0";
      for (int round = 0; round < 2; round++) {
        scenario
            .database()
            .run(
                "delete from events where id % 10 = "
                    + round
                    + "; update events set cost = cost / 2 where id % 10 = "
                    + (round + 4));
        // The first goes on, and would be glad to be rid of what it has read; the second one lags.
        for (int i = 0; i < 5; i++) {
          scenario.insert(1_000 + round * 100 + i * 10, 1_004 + round * 100 + i * 10, 4);
          rotating.refresh("usage", Refresher.WhenBusy.WAIT);
        }
        assertThat(scenario.database().value(filled)).isEqualTo("4");
        assertStored(scenario, "usage");
        assertThat(scenario.verify("second").mismatches()).isEmpty();
        rotating.refresh("second", Refresher.WhenBusy.WAIT);
        assertStored(scenario, "second");
        // All have read it: it goes, up to the partition that writers fill.
        rotating.refresh("usage", Refresher.WhenBusy.WAIT);
        assertThat(scenario.database().value(filled)).isIn("0", "1");
      }
      assertStored(scenario, "usage");
    }
  }

  /** Case 5: the later invalidation of a key is lost since the key is queued already. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aSecondInvalidationDuringTheRefreshOfTheFirst_isNotLost(boolean isOpenBefore)
      throws SQLException {
    try (Scenario scenario = Scenario.withTable();
        Connection other = begin(scenario);
        Refresher refresher = new Refresher(scenario.database().database(), scenario.clock())) {
      scenario.apply(ANY);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, project, status, user_id, cost, duration_ms, msg) select 't0', timestamptz '2026-06-14 10:00:00Z' + i * interval '1 second', 'p', 'error', 'u' || i, i, i, 'm' || i from generate_series(1, 5) i");
      refresher.refresh("usage", Refresher.WhenBusy.WAIT);
      // Each takes away the greatest, the latest and a distinct value of the same bucket.
      String second = "delete from events where duration_ms = 4";
      if (isOpenBefore) {
        Sql.run(other, second);
      }
      scenario.database().run("delete from events where duration_ms = 5");
      refresher.refresh(
          "usage",
          Refresher.WhenBusy.WAIT,
          (writing, reading) -> {
            if (!isOpenBefore) {
              Sql.run(other, second);
            }
            other.commit();
          });
      String max =
          "select string_agg(duration_ms_max || last_error || requests, ' ') from tallyroll.usage_";
      assertThat(scenario.database().value(max + "1m")).isEqualTo("4m44");
      assertThat(scenario.database().value(max + "1m_fresh")).isEqualTo("3m33");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      refresher.refresh("usage", Refresher.WhenBusy.WAIT);
      assertThat(scenario.database().value(max + "1m")).isEqualTo("3m33");
      assertStored(scenario, "usage");
    }
  }

  /** Case 6: the row that moves was the least, the greatest, the latest and a user of its own. */
  @Test
  void anUpdateThatMovesARow_mendsTheKeyThatItLeavesToo() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 4);
      scenario
          .database()
          .run(
              """
              insert into events (tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg) values
                ('t0', '2026-06-14 10:00:10Z', 'old', 'error', 'one', 1, 5, 50, 'b'),
                ('t0', '2026-06-14 10:00:20Z', 'old', 'error', 'two', 2, 6, 60, 'c'),
                ('t0', '2026-06-14 10:00:30Z', 'old', 'error', 'own', 4, 1, 10, 'z'),
                ('t0', '2026-06-14 10:00:40Z', 'old', 'ok', 'own', 8, 9, 90, 'a'),
                ('t0', '2026-06-14 10:00:05Z', 'new', 'error', 'one', 16, 3, 30, 'm')
              """);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      String[] moves = {
        "update events set project = 'new' where user_id = 'own'",
        "update events set tenant_id = 't1' where project = 'new' and msg = 'z'",
        "update events set model = 'm9', ts = ts + interval '1 hour' where project = 'old' and user_id = 'one'",
        // Nothing is left of the old key.
        "update events set project = 'new' where project = 'old'"
      };
      for (String move : moves) {
        scenario.database().run(move);
        assertThat(keys(scenario, "usage_1d_fresh")).isEqualTo(truth(scenario));
        scenario.refresh("usage");
        assertThat(keys(scenario, "usage_1d")).isEqualTo(truth(scenario));
        assertStored(scenario, "usage");
      }
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from tallyroll.usage_1m where project = 'old'"))
          .isEqualTo("0");
    }
  }

  private static List<?> keys(Scenario scenario, String table) {
    return Oracle.rows(
        scenario.database(),
        "select tenant, project, model, requests, tokens, least, duration_ms_max, last_word, last_error, tallyroll.estimate(users_sketch) from tallyroll."
            + table
            + " where project in ('old', 'new') order by 1, 2, 3");
  }

  private static List<?> truth(Scenario scenario) {
    return Oracle.rows(
        scenario.database(),
        "select tenant_id, project, model, count(*), sum(tokens), min(cost), max(duration_ms), max(msg collate \"C\"),"
            + " (array_agg(msg order by ts desc) filter (where status = 'error'))[1], count(distinct user_id) from events"
            + " where project in ('old', 'new') group by 1, 2, 3 order by 1, 2, 3");
  }

  /** Case 9: a lock that leaks on a cancelled query stops all that comes after it. */
  @ParameterizedTest
  @ValueSource(strings = {"public.events", "tallyroll.usage_1h"})
  @Timeout(60)
  void aCancelledRefresh_leavesNoLockInThePool(String heldUpAt) throws Exception {
    try (Scenario scenario = Scenario.withTable();
        ExecutorService pool = Executors.newSingleThreadExecutor();
        Connection holding = begin(scenario)) {
      scenario.insert(1, 300, 4);
      scenario.apply(ANY + "---\n" + SECOND);
      scenario.backfill("usage");
      scenario.insert(301, 400, 4);
      Sql.run(holding, "lock table " + heldUpAt + " in access exclusive mode");
      Future<?> refresh = pool.submit(() -> scenario.refresh("usage"));
      String waits =
          "from pg_stat_activity where datname = current_database() and application_name = 'tallyroll refresh' and wait_event_type = 'Lock'";
      until(() -> "1".equals(scenario.database().value("select count(*) " + waits)));
      assertThat(scenario.database().value("select bool_and(pg_cancel_backend(pid)) " + waits))
          .isEqualTo("t");
      assertThatThrownBy(refresh::get)
          .hasCauseInstanceOf(TallyrollException.class)
          .hasMessageContaining("57014");
      holding.rollback();
      assertThat(scenario.status("usage").isFailing()).isTrue();
      assertThat(
              Oracle.rows(
                  scenario.database(),
                  "select a.application_name, l.locktype, l.mode from pg_locks l join pg_stat_activity a using (pid)"
                      + " where a.datname = current_database() and l.pid <> pg_backend_pid()"))
          .isEmpty();
      assertThat(
              new Forget(scenario.database().database(), scenario.clock())
                  .run(new Forget.Request(null, "t1", null))
                  .left())
          .isZero();
      scenario.refresh("usage");
      assertStored(scenario, "usage");
      new Drop(scenario.database().database()).run("usage");
      new Drop(scenario.database().database()).run("second");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from pg_class where relnamespace = 'tallyroll'::regnamespace and relname ~ '^(usage|second|log)_'"))
          .isEqualTo("0");
    }
  }

  /** Case 11: nothing schedules the job, and a fresh installation shows zero for ever. */
  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void anInstallationThatNobodyRefreshes_answersRightOrSaysWhyNot(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 200, 4);
      scenario.apply(of(changes));
      QueryRequest all =
          QueryRequest.of("usage")
              .measuring("requests")
              .range("2026-06-10", "2026-06-16")
              .every(Every.ALL, UTC);
      assertThatThrownBy(() -> scenario.query(all))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED))
          .hasMessageContaining("backfill usage");
      scenario.backfill("usage");
      scenario.insert(201, 300, 4);
      scenario
          .database()
          .run("insert into events (tenant_id, ts) values ('t0', '2026-06-15 13:00:00Z')");
      assertThat(sum(scenario.query(all))).isEqualTo(301);
      for (String grain : GRAINS) {
        assertThat(
                Oracle.rows(
                    scenario.database(),
                    "select sum(requests), bool_and(complete) from tallyroll.usage_"
                        + grain
                        + "_fresh"))
            .isEqualTo(List.of(List.of("301", "true")));
      }
      // The plain tables hold what was merged, and the status tells how far that is behind.
      assertThat(stored(scenario, "usage_1d")).isEqualTo("200");
      assertThat(scenario.status("usage").unreadRows()).isEqualTo(101);
      assertThat(scenario.status("usage").faults(Duration.ofMinutes(5), Instant.now()))
          .hasSize(2)
          .anySatisfy(fault -> assertThat(fault).startsWith("lags by "))
          .contains("was never refreshed");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").faults(Duration.ofMinutes(5), Instant.now())).isEmpty();
    }
  }

  /** Case 12: averages of averages, and sums over all grains, which count traffic four times. */
  @Test
  void aRangeMadeOfAllGrains_countsEachRowOnce() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 9_000, 4);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      QueryRequest asked =
          QueryRequest.of("usage")
              .measuring("requests", "avg(duration_ms)", "p95(duration_ms)", "cost")
              .tenants("t1")
              .every(Every.ALL, UTC)
              .range("2026-06-13T10:03:00Z", "2026-06-15T11:58:00Z");
      String rows =
          " from events where tenant_id = 't1' and ts >= '2026-06-13T10:03:00Z' and ts < '2026-06-15T11:58:00Z'";
      List<@Nullable Object> answer = scenario.query(asked).rows().getFirst();
      List<@Nullable String> right =
          Oracle.rows(
                  scenario.database(),
                  "select count(*), avg(duration_ms), percentile_disc(0.95) within group (order by duration_ms), sum(cost)"
                      + rows)
              .getFirst();
      assertThat(String.valueOf(answer.get(2))).isEqualTo(right.get(0));
      assertWithin(1e-9, answer.get(3), right.get(1));
      assertWithin(0.01, answer.get(4), right.get(2));
      assertThat(number(answer.get(5))).isEqualTo(number(right.get(3)));
      // Each grain has a part of it, and the parts are the whole.
      long total = Long.parseLong(String.valueOf(right.get(0)));
      long parts = 0;
      for (String grain : GRAINS) {
        String table = "tallyroll.usage_" + grain;
        scenario.database().run("create table taken as table " + table + "; delete from " + table);
        long part =
            total
                - scenario.query(asked.measuring("requests")).rows().stream()
                    .mapToLong(row -> Long.parseLong(String.valueOf(row.get(2))))
                    .sum();
        assertThat(part).as(grain).isPositive();
        parts += part;
        scenario.database().run("insert into " + table + " table taken; drop table taken");
      }
      assertThat(parts).isEqualTo(total);
    }
  }

  private static final String OVERFLOWING =
      ANY.replace(
          "  least:",
          "  squares:     sum(tokens::bigint * tokens)\n  narrow:      sum(tokens * tokens)\n  least:");

  /** Case 13: the square of 46,341 ms is more than an int4 holds, and so is many a sum. */
  @Test
  void sumsBeyondTheirType_areExact_andASquareThatOverflowsIsSaid() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(OVERFLOWING.replace("  narrow:      sum(tokens * tokens)\n", ""));
      // Squares of 4 * 10^18, whose sum no int8 holds either.
      scenario
          .database()
          .run(
              """
              insert into events (tenant_id, ts, tokens, duration_ms)
              select 't0', timestamptz '2026-06-14 10:00Z' + i * interval '10 seconds',
                case i % 4 when 0 then 46340 when 1 then 46341 when 2 then 2147483647 else -2000000000 end, i
              from generate_series(1, 400) i
              """);
      QueryRequest asked =
          QueryRequest.of("usage")
              .measuring("tokens", "squares", "big", "max(sizes)")
              .range("2026-06-14", "2026-06-15");
      List<?> right =
          Oracle.rows(
              scenario.database(),
              "select sum(tokens::numeric), sum(tokens::numeric * tokens), sum(big), max(tokens) from events");
      assertThat(Oracle.rows(scenario.query(asked)).getFirst().subList(2, 6))
          .isEqualTo(right.getFirst());
      scenario.refresh("usage");
      assertThat(Oracle.rows(scenario.query(asked)).getFirst().subList(2, 6))
          .isEqualTo(right.getFirst());
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.status("usage").quarantinedRows()).isZero();
      // An expression that overflows stops neither writers nor refreshes, and is no silent zero.
      scenario.apply(OVERFLOWING.replace("rollup: usage", "rollup: narrow"));
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) values ('t0', '2026-06-15 10:00Z', 46340), ('t0', '2026-06-15 10:00Z', 46341)");
      assertThat(scenario.refresh("narrow").quarantined()).isEqualTo(1);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select (source_row->>'tokens') || ' ' || reason from tallyroll.quarantine where rollup = 'narrow'"))
          .isEqualTo("46341 integer out of range (SQLSTATE 22003)");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select sum(narrow) from tallyroll.narrow_1d where bucket = '2026-06-15 00:00Z'"))
          .isEqualTo(Integer.toString(46_340 * 46_340));
    }
  }

  /**
   * Case 13: from mean and variance the median of such latencies comes out three times too high.
   */
  @Test
  void percentilesOfLogNormalLatencies_areWithinOnePercent() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(ANY);
      scenario
          .database()
          .run(
              """
              insert into events (tenant_id, ts, duration_ms)
              select 't0', timestamptz '2026-06-12 00:00Z' + i * interval '12 seconds',
                exp(6 + 1.5 * sqrt(-2 * ln(((i * 7919) % 100003 + 0.5) / 100003.0)) * cos(2 * pi() * ((i * 104729) % 99991) / 99991.0))
              from generate_series(1, 25000::bigint) i
              """);
      scenario.refresh("usage");
      double[] ranks = {0.01, 0.5, 0.9, 0.95, 0.99, 0.999};
      List<@Nullable Object> answer =
          scenario
              .query(
                  QueryRequest.of("usage")
                      .measuring(
                          "p1(duration_ms)",
                          "p50(duration_ms)",
                          "p90(duration_ms)",
                          "p95(duration_ms)",
                          "p99(duration_ms)",
                          "p99.9(duration_ms)")
                      .every(Every.ALL, ZoneId.of("Asia/Kolkata"))
                      .range("2026-06-12", "2026-06-16"))
              .rows()
              .getFirst();
      for (int i = 0; i < ranks.length; i++) {
        assertWithin(
            0.01,
            answer.get(i + 2),
            scenario
                .database()
                .value(
                    "select percentile_disc("
                        + ranks[i]
                        + ") within group (order by duration_ms) from events where ts >= timestamptz '2026-06-12 00:00+05:30' and ts < timestamptz '2026-06-16 00:00+05:30'"));
      }
      // Not a set in which every way of guessing is right.
      assertThat(
              number(
                  scenario
                      .database()
                      .value(
                          "select avg(duration_ms) / percentile_disc(0.5) within group (order by duration_ms) from events")))
          .isGreaterThan(2);
    }
  }

  /** Case 14: users, and tasks of a workflow, summed over hours. */
  @Test
  void aTaskSeenInManyHours_isOneTaskOfTheDay() {
    try (Scenario scenario = Scenario.withTable()) {
      // Workflow p1 has 250 tasks a day, p2 has 40; each is seen in five hours of either day.
      String rows =
          """
          insert into events (tenant_id, ts, project, user_id)
          select 't0', timestamptz '2026-06-13 01:30Z' + day * interval '1 day' + h * interval '4 hours' + i * interval '10 seconds',
            case when i <= %1$d then 'p1' else 'p2' end, 'task ' || i %% 251 + day * 20
          from generate_series(1, 290) i, generate_series(0, 1) day, generate_series(0, 4) h where i %% 2 = %2$d
          """;
      scenario.database().run(rows.formatted(250, 0));
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.database().run(rows.formatted(250, 1));
      for (int round = 0; round < 2; round++) {
        for (String zone : List.of("UTC", "Asia/Kolkata")) {
          QueryRequest asked =
              QueryRequest.of("usage")
                  .measuring("users")
                  .by("project")
                  .range("2026-06-13", "2026-06-15");
          List<List<@Nullable String>> days =
              Oracle.rows(scenario.query(asked.every(Every.DAY, ZoneId.of(zone))));
          assertThat(days.stream().map(row -> row.subList(2, 4)).toList())
              .isEqualTo(
                  Oracle.rows(
                      scenario.database(),
                      "select project, count(distinct user_id) from events where ts at time zone '%1$s' >= '2026-06-13' and ts at time zone '%1$s' < '2026-06-15' group by date_trunc('day', ts at time zone '%1$s'), project order by date_trunc('day', ts at time zone '%1$s'), project"
                          .formatted(zone)));
          List<List<@Nullable String>> hours =
              Oracle.rows(scenario.query(asked.every(Every.HOUR, ZoneId.of(zone))));
          assertThat(total(hours)).isGreaterThan(3 * total(days));
        }
        scenario.refresh("usage");
      }
      assertStored(scenario, "usage");
    }
  }

  private static long total(List<List<@Nullable String>> rows) {
    return rows.stream().mapToLong(row -> Long.parseLong(String.valueOf(row.getLast()))).sum();
  }

  /** Case 15. */
  @Test
  void failedCalls_areInThePercentilesUnlessTheDefinitionLeavesThemOut() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(
          ANY.replace(
              "  sizes:", "  good_ms: distribution(duration_ms) where status = 'ok'\n  sizes:"));
      // Three in a hundred fail, after half a minute; one in a hundred has no status.
      scenario
          .database()
          .run(
              """
              insert into events (tenant_id, ts, status, duration_ms)
              select 't0', timestamptz '2026-06-14 10:00Z' + i * interval '1 second',
                case when i % 100 < 3 then 'error' when i % 100 < 4 then null else 'ok' end,
                case when i % 100 < 3 then 30000 + i when i % 100 < 4 then 9000 else 100 + i % 50 end
              from generate_series(1, 4000) i
              """);
      for (int round = 0; round < 2; round++) {
        List<@Nullable Object> answer =
            scenario
                .query(
                    QueryRequest.of("usage")
                        .measuring(
                            "p99(duration_ms)",
                            "p99(good_ms)",
                            "count(duration_ms)",
                            "count(good_ms)",
                            "max(good_ms)",
                            "p96.5(duration_ms)")
                        .every(Every.ALL, UTC)
                        .range("2026-06-14", "2026-06-15"))
                .rows()
                .getFirst();
        String percentile =
            "select percentile_disc(%s) within group (order by duration_ms) from events %s";
        assertWithin(
            0.01, answer.get(2), scenario.database().value(percentile.formatted("0.99", "")));
        assertThat(number(answer.get(2))).isGreaterThan(30_000);
        assertWithin(
            0.01,
            answer.get(3),
            scenario.database().value(percentile.formatted("0.99", "where status = 'ok'")));
        assertThat(number(answer.get(3))).isLessThan(152);
        assertThat(Stream.of(4, 5, 6).map(i -> (long) number(answer.get(i))).toList())
            .containsExactly(4_000L, 3_840L, 149L);
        assertWithin(0.01, answer.get(7), 9_000);
        scenario.refresh("usage");
      }
      // An error that is found out about later moves over.
      scenario
          .database()
          .run("update events set status = 'error' where duration_ms between 100 and 149");
      scenario.refresh("usage");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select sum(good_ms_count) || ' ' || sum(duration_ms_count) from tallyroll.usage_1d"))
          .isEqualTo("0 4000");
      assertThat(scenario.verify("usage").isExact()).isTrue();
    }
  }

  /** Case 16: N days against N + 1 days, and totals that do not agree, between two panels. */
  @Test
  void everyPanel_hasAsManyDaysAsWereAskedFor_andTheSameTotal() {
    String stored = ANY.replace("1d: keep 1095d", "1d: {keep: 1095d, zones: [UTC, Asia/Kolkata]}");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 2_000, 12);
      scenario.apply(stored + "---\n" + SECOND);
      scenario.backfill("usage");
      scenario.backfill("second");
      scenario.insert(2_001, 2_300, 12);
      // The one answers from days that are stored, the other from hours and unread rows.
      scenario.refresh("usage");
      for (String zone : List.of("UTC", "Asia/Kolkata", "America/Los_Angeles", "Asia/Kathmandu")) {
        String right =
            scenario
                .database()
                .value(
                    "select count(*) from events where tenant_id = 't1' and ts at time zone '%1$s' >= '2026-06-07' and ts at time zone '%1$s' < '2026-06-14'"
                        .formatted(zone));
        for (String rollup : List.of("usage", "second")) {
          QueryRequest asked =
              QueryRequest.of(rollup)
                  .measuring("requests")
                  .tenants("t1")
                  .range("2026-06-07", "2026-06-14")
                  .options(true, false, false);
          QueryResult byDay = scenario.query(asked.every(Every.DAY, ZoneId.of(zone)));
          assertThat(days(byDay)).as(rollup + " " + zone).isEqualTo(sevenDaysFrom("2026-06-07"));
          QueryResult byHour = scenario.query(asked.every(Every.HOUR, ZoneId.of(zone)));
          assertThat(byHour.rows()).hasSize(7 * 24);
          QueryResult whole = scenario.query(asked.every(Every.ALL, ZoneId.of(zone)));
          assertThat(List.of(sum(byDay), sum(byHour), sum(whole)))
              .as(rollup + " " + zone)
              .containsOnly(Long.parseLong(String.valueOf(right)));
          // Without a range it is the seven days that end with the zone's own today.
          QueryResult byDefault =
              scenario.query(asked.range(null, null).every(Every.DAY, ZoneId.of(zone)));
          assertThat(days(byDefault)).isEqualTo(sevenDaysFrom("2026-06-09"));
        }
      }
    }
  }

  private static List<String> days(QueryResult answer) {
    return answer.rows().stream().map(row -> String.valueOf(row.get(1)).substring(0, 10)).toList();
  }

  private static List<String> sevenDaysFrom(String first) {
    return Stream.iterate(LocalDate.parse(first), day -> day.plusDays(1))
        .limit(7)
        .map(LocalDate::toString)
        .toList();
  }

  /** Case 16: hourly UTC buckets cannot make a day in India. */
  @Test
  void aDayInIndia_isTheSameOfHoursAndOfStoredDays() {
    String india =
        ANY.replace("1d: keep 1095d", "1d: {keep: 1095d, zones: [Asia/Kolkata]}")
            .replace("rollup: usage", "rollup: india");
    String hours = SECOND.replace("1m: keep 37d, ", "");
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 3_000, 10);
      scenario.apply(india + "---\n" + hours);
      scenario.backfill("india");
      scenario.backfill("second");
      scenario.insert(3_001, 3_500, 10);
      scenario.database().run("delete from events where id % 9 = 0");
      scenario.refresh("india");
      scenario.refresh("second");
      QueryRequest asked =
          QueryRequest.of("india")
              .measuring("requests", "cost", "users", "least", "p95(duration_ms)", "last_error")
              .by("project")
              .every(Every.DAY, ZoneId.of("Asia/Kolkata"))
              .range("2026-06-06", "2026-06-16");
      List<List<@Nullable String>> days = Oracle.rows(scenario.query(asked));
      assertThat(days)
          .isEqualTo(
              Oracle.rows(
                  scenario.query(
                      QueryRequest.of("second")
                          .measuring(
                              "requests",
                              "cost",
                              "users",
                              "least",
                              "p95(duration_ms)",
                              "last_error")
                          .by("project")
                          .every(Every.DAY, ZoneId.of("Asia/Kolkata"))
                          .range("2026-06-06", "2026-06-16"))));
      assertThat(
              days.stream()
                  .map(row ->
                      List.of(
                          String.valueOf(row.get(0)),
                          String.valueOf(row.get(1)),
                          String.valueOf(row.get(2)),
                          String.valueOf(row.get(3))))
                  .toList()
                  .toString())
          .isEqualTo(
              Oracle.rows(
                      scenario.database(),
                      """
                      select tenant_id, (ts at time zone 'Asia/Kolkata')::date || 'T00:00:00+05:30', project, count(*) from events
                      where ts >= timestamptz '2026-06-06 00:00+05:30' and ts < timestamptz '2026-06-16 00:00+05:30'
                      group by 1, 2, 3 order by 1, 2, project collate "C" nulls last
                      """)
                  .toString());
    }
  }

  /** Case 16: a dashboard at $0 all evening, and the same cost under two days. */
  @Test
  void anEveningInCalifornia_belongsToItsOwnDayAndToNoOther() {
    try (Scenario scenario = Scenario.withTable()) {
      // Nine in the evening of June 15.
      scenario.setClock(Instant.parse("2026-06-16T04:00:00Z"));
      scenario.apply(ANY);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, cost) values ('t0', '2026-06-16 03:00Z', 6), ('t0', '2026-06-15 07:00Z', 2), ('t0', '2026-06-15 06:59:59Z', 7)");
      for (int round = 0; round < 2; round++) {
        assertThat(
                Oracle.rows(
                    scenario.query(
                        QueryRequest.of("usage")
                            .measuring("cost")
                            .every(Every.DAY, ZoneId.of("America/Los_Angeles")))))
            .containsExactly(
                List.of("t0", "2026-06-14T00:00:00-07:00", "7"),
                List.of("t0", "2026-06-15T00:00:00-07:00", "8"));
        scenario.refresh("usage");
      }
    }
  }

  /** Case 17. That parts add up to the total is in {@link QueryTest}. */
  @Test
  void bucketsThatBecameEmpty_areGoneAtEveryGrain() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 400, 4);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.insert(401, 450, 4);
      scenario.refresh("usage");
      String[] deletes = {
        // An hour, of whose day others stay; a tenant; a day; all.
        "delete from events where ts >= '2026-06-13 05:00Z' and ts < '2026-06-13 06:00Z'",
        "delete from events where tenant_id = 't2'",
        "update events set ts = ts + interval '1 day' where ts >= '2026-06-12' and ts < '2026-06-13'",
        "delete from events"
      };
      for (String delete : deletes) {
        scenario.database().run(delete);
        String left =
            "select count(*), coalesce(min(requests), 1) > 0, coalesce(sum(requests), 0) from tallyroll.usage_";
        List<List<List<@Nullable String>>> fresh =
            GRAINS.stream()
                .map(grain -> Oracle.rows(scenario.database(), left + grain + "_fresh"))
                .toList();
        scenario.refresh("usage");
        assertStored(scenario, "usage");
        assertThat(
                GRAINS.stream()
                    .map(grain -> Oracle.rows(scenario.database(), left + grain))
                    .toList())
            .isEqualTo(fresh);
      }
      for (String grain : GRAINS) {
        assertThat(scenario.database().value("select count(*) from tallyroll.usage_" + grain))
            .isEqualTo("0");
      }
      assertThat(
              scenario
                  .query(
                      QueryRequest.of("usage")
                          .measuring("requests")
                          .range("2026-06-10", "2026-06-16"))
                  .rows())
          .isEmpty();
    }
  }
}
