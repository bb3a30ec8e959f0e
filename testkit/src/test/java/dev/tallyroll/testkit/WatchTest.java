package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.refresh.Watch;
import dev.tallyroll.session.Database;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.InstantSource;
import java.util.HashSet;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** Several processes that watch the same rollups. */
class WatchTest {
  private static final class Told implements Watch.Listener {
    private final Queue<String> refreshed = new ConcurrentLinkedQueue<>();
    private final Queue<String> failed = new ConcurrentLinkedQueue<>();
    private final Queue<String> held = new ConcurrentLinkedQueue<>();

    @Override
    public void refreshed(RefreshOutcome.Refreshed outcome) {
      refreshed.add(outcome.rollup());
      outcome.held().ifPresent(held::add);
    }

    @Override
    public void failed(String rollup, TallyrollException fault, Duration pause) {
      failed.add(rollup);
    }

    @Override
    public void works(String rollup) {
      refreshed.add(rollup + " works");
    }
  }

  private static Watch watch(Scenario scenario, String self, Told told, @Nullable String only) {
    return watch(scenario, self, told, only, rollup -> true);
  }

  private static Watch watch(
      Scenario scenario, String self, Told told, @Nullable String only, Watch.Chore chore) {
    return watch(scenario.database().database(), scenario.clock(), self, told, only, chore);
  }

  private static Watch watch(
      Database database,
      InstantSource clock,
      String self,
      Told told,
      @Nullable String only,
      Watch.Chore chore) {
    return new Watch(database, clock, Duration.ofMillis(50), only, self, told, chore);
  }

  /** Ticks until something is so, for half a minute at most. */
  private static void until(java.util.function.BooleanSupplier isSo, Watch... watches)
      throws InterruptedException {
    long end = System.nanoTime() + Duration.ofSeconds(30).toNanos();
    while (!isSo.getAsBoolean()) {
      assertThat(System.nanoTime()).isLessThan(end);
      for (Watch watch : watches) {
        watch.tick();
      }
      Thread.sleep(20);
    }
  }

  @Test
  void aRollup_isServedByOne_andTakenOverWhenItGoes() throws Exception {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 5);
      Told first = new Told();
      Told second = new Told();
      try (Watch one = watch(scenario, "one", first, null);
          Watch other = watch(scenario, "other", second, null)) {
        until(() -> first.refreshed.size() >= 2, one);
        until(() -> first.refreshed.size() >= 20, one, other);
        assertThat(second.refreshed).isEmpty();
        // The first one dies without a word: its hold runs out.
        until(() -> second.refreshed.size() >= 2, other);
        assertThat(scenario.database().value("select served_by from tallyroll.refresh"))
            .isEqualTo("other");
      }
      // A clean stop leaves it at once.
      assertThat(scenario.database().value("select served_by from tallyroll.refresh")).isNull();
    }
  }

  /**
   * The host that refreshed is gone: the server ends the session that wrote, and waits for the
   * other.
   */
  @Test
  void whatAVanishedHostWasReading_isEndedByWhoTakesOver() throws Exception {
    try (Scenario scenario = Scenario.withRollup();
        Refresher other = new Refresher(scenario.database().database(), scenario.clock())) {
      TestDatabase database = scenario.database();
      // It has served this rollup before.
      other.refresh("usage", Refresher.WhenBusy.SKIP);
      scenario.insert(1, 300_000, 5);
      CountDownLatch isReading = new CountDownLatch(1);
      CountDownLatch end = new CountDownLatch(1);
      Feed.Meter pausing =
          rows -> {
            isReading.countDown();
            try {
              end.await();
            } catch (InterruptedException e) {
              Thread.currentThread().interrupt();
            }
          };
      Thread vanished =
          new Thread(() -> {
            try (Refresher refresher =
                new Refresher(
                    database.database(), scenario.clock(), pausing, Refresher.Limits.DEFAULT)) {
              assertThatThrownBy(() -> refresher.refresh("usage", Refresher.WhenBusy.WAIT))
                  .isInstanceOf(TallyrollException.class);
            }
          });
      vanished.start();
      isReading.await();
      String sessions =
          "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tallyroll refresh' and ";
      until(() -> "1".equals(database.value(sessions + "wait_event = 'ClientWrite'")));
      database.value(
          "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
              + " and application_name = 'tallyroll refresh' and state = 'idle in transaction'");
      until(() -> "0".equals(database.value(sessions + "state = 'idle in transaction'")));
      assertThat(database.value(sessions + "wait_event = 'ClientWrite'")).isEqualTo("1");
      // And somebody stands in line behind what it has locked.
      Thread altering = new Thread(() -> database.run("alter table events add column more text"));
      altering.start();
      until(() ->
          "1"
              .equals(
                  database.value(
                      "select count(*) from pg_locks where not granted and relation = 'events'::regclass")));
      assertThat(other.refresh("usage", Refresher.WhenBusy.SKIP))
          .isInstanceOf(RefreshOutcome.Refreshed.class);
      altering.join();
      until(() -> "0".equals(database.value(sessions + "state <> 'idle'")));
      end.countDown();
      vanished.join();
      assertThat(scenario.verify("usage").isExact()).isTrue();
    }
  }

  @Test
  void aHoldOutlastsThePauseBetweenRefreshes() throws Exception {
    try (Scenario scenario = Scenario.withRollup()) {
      Told told = new Told();
      try (Watch watch =
          new Watch(
              scenario.database().database(),
              scenario.clock(),
              Duration.ofMinutes(5),
              null,
              "one",
              told,
              rollup -> true)) {
        until(() -> !told.refreshed.isEmpty(), watch);
        assertThat(
                scenario
                    .database()
                    .value(
                        "select served_until between clock_timestamp() + interval '5 minutes' and clock_timestamp() + interval '6 minutes' from tallyroll.refresh"))
            .isEqualTo("t");
      }
    }
  }

  /** More of them than are refreshed at once. */
  @Test
  void rollupsOfALockedSource_doNotHoldUpOthers() throws Exception {
    try (Scenario scenario = Scenario.withTable()) {
      for (int i = 0; i < 5; i++) {
        scenario.apply(Scenario.ROLLUP.replace("rollup: usage", "rollup: locked_" + i));
      }
      scenario.database().run("create table others (like events including all)");
      scenario.apply(
          Scenario.ROLLUP
              .replace("rollup: usage", "rollup: free")
              .replace("public.events", "public.others"));
      Told told = new Told();
      try (Connection held = scenario.database().connect();
          Watch watch = watch(scenario, "one", told, null)) {
        held.setAutoCommit(false);
        held.createStatement().execute("lock table events in access exclusive mode");
        // Each of them has failed, and is tried again later than the other one.
        until(() -> told.failed.size() >= 5 && told.refreshed.size() >= 5, watch);
        assertThat(told.refreshed).containsOnly("free");
        held.rollback();
        until(() -> told.refreshed.contains("locked_4 works"), watch);
      }
    }
  }

  /**
   * Each connection costs PostgreSQL a process and a login: tens of milliseconds of a processor.
   */
  @Test
  void manyRollups_areRefreshedOnConnectionsThatStay() throws Exception {
    try (Scenario scenario = Scenario.withTable()) {
      for (int i = 0; i < 10; i++) {
        scenario.apply(Scenario.ROLLUP.replace("rollup: usage", "rollup: usage_" + i));
      }
      AtomicInteger opened = new AtomicInteger();
      PGSimpleDataSource counting =
          new PGSimpleDataSource() {
            @Override
            public Connection getConnection() throws SQLException {
              opened.incrementAndGet();
              return super.getConnection();
            }
          };
      PGSimpleDataSource same = scenario.database().newSource();
      counting.setURL(same.getURL());
      counting.setUser(same.getUser());
      counting.setPassword(same.getPassword());
      Told told = new Told();
      try (Watch watch =
          watch(new Database(counting), scenario.clock(), "one", told, null, rollup -> true)) {
        // At its first refresh each has looked for partitions that have to go.
        until(
            () -> told.refreshed.size() >= 40 && new HashSet<>(told.refreshed).size() == 10, watch);
        int before = opened.get();
        until(() -> told.refreshed.size() >= 200, watch);
        // Two for each of four refreshes at once, and two where one was in another's way.
        assertThat(opened.get() - before).isLessThan(40);
      }
    }
  }

  @Test
  void aWatchWhoseConnectionsAreEnded_goesOnWithOthers() throws Exception {
    try (Scenario scenario = Scenario.withRollup()) {
      Told told = new Told();
      try (Watch watch = watch(scenario, "one", told, null)) {
        until(() -> told.refreshed.size() >= 2, watch);
        scenario
            .database()
            .value(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name in ('tallyroll watch', 'tallyroll refresh')");
        // A tick that fails would throw; the refresh that has lost its connections says so.
        until(() -> told.refreshed.contains("usage works"), watch);
        assertThat(told.failed).containsOnly("usage");
      }
    }
  }

  /** Who asks meanwhile would wait for all of them. */
  @Test
  void severalRollups_areRefreshedOneAfterTheOther() throws Exception {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(Scenario.ROLLUP);
      scenario.apply(Scenario.ROLLUP.replace("rollup: usage", "rollup: other"));
      Told told = new Told();
      try (Watch watch =
          new Watch(
              scenario.database().database(),
              scenario.clock(),
              Duration.ofMinutes(5),
              null,
              "one",
              told,
              rollup -> true)) {
        watch.tick();
        until(() -> !told.refreshed.isEmpty());
        Thread.sleep(500);
        assertThat(told.refreshed).hasSize(1);
        until(() -> told.refreshed.size() >= 2, watch);
        assertThat(told.refreshed).containsExactlyInAnyOrder("usage", "other");
      }
    }
  }

  /** That somebody else holds its lock says nothing about what it failed of. */
  @Test
  void aFailingRollupThatIsHeld_doesNotWork() throws Exception {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 5);
      scenario.database().run("alter table tallyroll.usage_1d rename to gone");
      Told told = new Told();
      try (Connection held = scenario.database().connect();
          Watch watch = watch(scenario, "one", told, null)) {
        until(() -> told.failed.contains("usage"), watch);
        held.setAutoCommit(false);
        held.createStatement().execute("lock table tallyroll.usage_lock in exclusive mode");
        long end = System.nanoTime() + Duration.ofSeconds(2).toNanos();
        until(() -> System.nanoTime() > end, watch);
        assertThat(told.refreshed).isEmpty();
        held.rollback();
        scenario.database().run("alter table tallyroll.gone rename to usage_1d");
        until(() -> told.refreshed.contains("usage works"), watch);
      }
    }
  }

  @Test
  void aClockThatHasJumped_failsNoRefresh_andHoldsUpPurges() throws Exception {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 5);
      scenario.refresh("usage");
      scenario.setClock(Scenario.NOW.plus(Duration.ofDays(100)));
      Told told = new Told();
      Queue<String> chores = new ConcurrentLinkedQueue<>();
      try (Watch watch = watch(scenario, "one", told, null, chores::add)) {
        until(() -> told.held.size() >= 3, watch);
        scenario.insert(101, 150, 5);
        int seen = told.refreshed.size();
        until(() -> told.refreshed.size() >= seen + 3, watch);
        assertThat(scenario.status("usage").totalRows()).isEqualTo(150);
        assertThat(told.failed).isEmpty();
        assertThat(chores).isEmpty();
        scenario.setClock(Scenario.NOW.plusSeconds(60));
        until(() -> !chores.isEmpty(), watch);
        assertThat(scenario.status("usage").keepTime().heldAt()).isEmpty();
      }
    }
  }

  @Test
  void aRollupThatFailsOrIsHeld_doesNotHoldUpTheOthers() throws Exception {
    String definition = Scenario.ROLLUP;
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(definition);
      scenario.apply(definition.replace("rollup: usage", "rollup: second"));
      scenario.apply(definition.replace("rollup: usage", "rollup: third"));
      scenario.insert(1, 100, 5);
      scenario.database().run("alter table tallyroll.second_1d rename to gone");
      Told told = new Told();
      try (Connection held = scenario.database().connect();
          Watch watch = watch(scenario, "one", told, null)) {
        held.setAutoCommit(false);
        held.createStatement().execute("lock table tallyroll.third_lock in exclusive mode");
        until(() -> told.failed.contains("second") && told.refreshed.contains("usage"), watch);
        assertThat(told.refreshed).doesNotContain("second", "third");
        held.rollback();
        scenario.database().run("alter table tallyroll.gone rename to second_1d");
        until(() -> told.refreshed.containsAll(List.of("third", "second works")), watch);
      }
      assertThatThrownBy(() -> watch(scenario, "one", told, "nothing").tick())
          .hasMessageContaining("no rollup 'nothing'");
    }
  }

  /** After an upgrade of the program alone nothing is served, which must not go unsaid. */
  @Test
  void aSchemaOfAnEarlierVersion_isSaid() {
    try (Scenario scenario = Scenario.withRollup();
        Watch watch = watch(scenario, "one", new Told(), null)) {
      scenario.database().run("delete from tallyroll.schema_version where version > 5");
      assertThatThrownBy(watch::tick).hasMessageContaining("of version 5");
    }
  }
}
