package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.seal.Seals;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Erasing a tenant or a user from everything that was made of their rows. */
class ForgetTest {
  private static Scenario filled(String changes) {
    String rollup = Scenario.ROLLUP.replace("changes: append", "changes: " + changes);
    Scenario scenario = Scenario.withTable();
    scenario.insert(1, 600, 4);
    scenario.apply(rollup + "---\n" + rollup.replace("rollup: usage", "rollup: second"));
    scenario.backfill("usage");
    scenario.insert(601, 900, 4);
    scenario.refresh("usage");
    scenario
        .database()
        .run(
            "insert into events (tenant_id, ts, user_id) values ('t1', 'infinity', 'u31'), ('t0', 'infinity', 'u31')");
    scenario.insert(901, 1_000, 4);
    return scenario;
  }

  private static Forget.Forgotten forget(Scenario scenario, String tenant, @Nullable String where) {
    return new Forget(scenario.database().database(), scenario.clock())
        .run(new Forget.Request(null, tenant, where));
  }

  private static void assertExact(Scenario scenario) {
    scenario.backfill("second");
    for (String name : new String[] {"usage", "second"}) {
      scenario.refresh(name);
      assertThat(scenario.verify(name).mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(requests) from tallyroll." + name + "_1d"))
          .isEqualTo(
              scenario.database().value("select count(*) from events where ts < 'infinity'"));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aTenant_isErasedFromEverything(String changes) {
    try (Scenario scenario = filled(changes)) {
      String rows =
          String.valueOf(
              scenario.database().value("select count(*) from events where tenant_id = 't1'"));
      Forget.Forgotten forgotten = forget(scenario, "t1", null);
      assertThat(forgotten.rows()).isEqualTo(Long.parseLong(rows));
      assertThat(forgotten.entries()).isPositive();
      assertThat(forgotten.left()).isZero();
      assertThat(forgotten.rollups()).containsExactly("second", "usage");
      for (String table :
          new String[] {"usage_1m", "usage_5m", "usage_1h", "usage_1d", "second_1d"}) {
        assertThat(
                scenario
                    .database()
                    .value("select count(*) from tallyroll." + table + " where tenant = 't1'"))
            .isEqualTo("0");
      }
      assertThat(scenario.database().value("select tenant || rows from tallyroll.erasure"))
          .isEqualTo("t1" + rows);
      scenario.insert(1_001, 1_050, 4);
      assertExact(scenario);
      assertThat(forget(scenario, "nobody", null).rows()).isZero();
    }
  }

  /** A table that no refresh has captured yet needs the lock that forget holds. */
  @Test
  void aTenantOfANewPartition_isErased() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 300, 4);
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: any"));
      scenario.backfill("usage");
      scenario
          .database()
          .run(
              "create table events_july partition of events for values from ('2026-07-01') to ('2026-08-01'); insert into events (tenant_id, ts) values ('t1', '2026-06-16')");
      assertThat(forget(scenario, "t1", null).left()).isZero();
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from tallyroll.usage_1d where tenant = 't1'"))
          .isEqualTo("0");
    }
  }

  /** However it is spelt, and however long it is. */
  @ParameterizedTest
  @CsvSource({
    "uuid, A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11, a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "integer, 007, 7",
    "text, '', ''"
  })
  void entriesOfATenant_areErased_howeverItIsSpelt(String type, String spelt, String stored) {
    String tenant = spelt.isEmpty() ? "long".repeat(60) : spelt;
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "alter table events alter column tenant_id type "
                  + type
                  + " using "
                  + (stored.isEmpty() ? "tenant_id" : "'" + stored + "'::" + type));
      scenario.apply(Scenario.ROLLUP);
      scenario
          .database()
          .run("insert into events (tenant_id, ts) values ('" + tenant + "', 'infinity')");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").quarantinedRows()).isEqualTo(1);
      Forget.Forgotten forgotten = forget(scenario, tenant, null);
      assertThat(forgotten.rows()).isEqualTo(1);
      assertThat(forgotten.entries()).isEqualTo(1);
      assertThat(forgotten.left()).isZero();
      assertThat(scenario.status("usage").quarantinedRows()).isZero();
    }
  }

  @ParameterizedTest
  @CsvSource({"append, true", "any, true", "append, false", "any, false"})
  void aUser_isErased_andAllElseStaysExact(String changes, boolean isFilled) {
    try (Scenario scenario = filled(changes)) {
      if (isFilled) {
        scenario.backfill("second");
      }
      Forget.Forgotten forgotten = forget(scenario, "t1", "user_id = 'u31' or cost > 0.1");
      assertThat(forgotten.rows()).isPositive();
      assertThat(forgotten.entries()).isPositive();
      assertThat(forgotten.left()).isZero();
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from events where tenant_id = 't1' and (user_id = 'u31' or cost > 0.1)"))
          .isEqualTo("0");
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from events where tenant_id = 't0' and user_id = 'u31'"))
          .isNotEqualTo("0");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from tallyroll.erasure where predicate_sha256 = sha256('user_id = ''u31'' or cost > 0.1')"))
          .isEqualTo("1");
      assertExact(scenario);
    }
  }

  @Test
  void whatCannotBeErased_isSaid_andNothingHappens() {
    try (Scenario scenario = filled("any")) {
      assertThatThrownBy(() -> forget(scenario, "t1", "no_column = 1"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.USAGE))
          .hasMessageContaining("no_column");
      assertThatThrownBy(() -> forget(scenario, "t1", "true) or (true"))
          .isInstanceOf(TallyrollException.class);
      assertThat(scenario.database().value("select count(*) from events")).isEqualTo("1002");
    }
  }

  @Test
  void writersGoOn_andNothingOfTheTenantComesBack() throws Exception {
    try (Scenario scenario = filled("any");
        ExecutorService pool = Executors.newFixedThreadPool(1)) {
      AtomicBoolean done = new AtomicBoolean();
      Future<?> writer =
          pool.submit(() -> {
            for (int i = 2_000; !done.get(); i++) {
              scenario
                  .database()
                  .run(
                      "insert into events (tenant_id, ts) values ('t0', '2026-06-14'); update events set tokens = 3 where id = "
                          + i % 900);
            }
            return null;
          });
      try {
        assertThat(forget(scenario, "t1", null).left()).isZero();
        assertThat(forget(scenario, "t2", "project = 'p1'").left()).isZero();
      } finally {
        done.set(true);
      }
      writer.get();
      assertExact(scenario);
    }
  }

  /** Soft deletion: the application never lets a row go. */
  @Test
  void rowsThatATriggerKeeps_eraseNothing() {
    try (Scenario scenario = filled("any")) {
      scenario
          .database()
          .run(
              "create function keep() returns trigger language plpgsql as $$ begin update events set msg = 'deleted' where id = old.id; return null; end $$;"
                  + " create trigger keep before delete on events for each row execute function keep()");
      scenario.refresh("usage");
      String before = scenario.contents("usage_1d");
      assertThatThrownBy(() -> forget(scenario, "t1", null))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("nothing is erased");
      assertThat(scenario.contents("usage_1d")).isEqualTo(before);
      assertThat(scenario.database().value("select count(*) from tallyroll.erasure"))
          .isEqualTo("0");
      assertExact(scenario);
    }
  }

  /** What goes along by a foreign key is not of the tenant's user, and is not counted any more. */
  @ParameterizedTest
  @ValueSource(strings = {"ts < '2026-06-13'", ""})
  void rowsThatAForeignKeyTakesAlong_areTakenOut(String where) {
    try (Scenario scenario = filled("any")) {
      scenario
          .database()
          .run(
              "alter table events add primary key (id), add column parent bigint references events on delete cascade;"
                  + "update events set parent = id - 1 where id % 5 = 0 and id > 1;"
                  + "create table lines (event bigint references events on delete cascade, tenant_id text not null, ts timestamptz not null);"
                  + "insert into lines select id, tenant_id, ts from events where ts < 'infinity'; insert into lines select id, 'other', ts from events where ts < 'infinity'");
      scenario.apply(
          "rollup: lines\nsource: {table: public.lines, tenant: tenant_id, time: ts}\nmeasures: {n: count}\ngrains: {1d: keep 1095d}\n");
      scenario.backfill("lines");
      String others = "select count(*) from events where tenant_id <> 't1'";
      String before = scenario.database().value(others);
      Forget.Forgotten forgotten = forget(scenario, "t1", where.isEmpty() ? null : where);
      assertThat(forgotten.left()).isZero();
      assertThat(scenario.database().value(others)).isNotEqualTo(before);
      assertExact(scenario);
      scenario.refresh("lines");
      assertThat(scenario.verify("lines").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(n) from tallyroll.lines_1d"))
          .isEqualTo(scenario.database().value("select count(*) from lines"));
      assertThat(scenario.database().value("select count(*) from tallyroll.lines_1d where n <= 0"))
          .isEqualTo("0");
    }
  }

  /** What was counted of single rows behind a seal stays, and is told. */
  @Test
  void aUserBehindASeal_isErasedFromTheSource_andWhatWasCountedStays() {
    try (Scenario scenario = filled("any")) {
      scenario.backfill("second");
      new Seals(scenario.database().database(), scenario.clock())
          .seal("usage", Instant.parse("2026-06-14T00:00:00Z"), List.of());
      scenario.database().run("update events set tokens = 1000 where ts < '2026-06-13'");
      String sealed =
          "select coalesce(sum(requests), 0) || ' ' || coalesce(sum(tokens), 0) from tallyroll.usage_1d where bucket < '2026-06-14'";
      String before = String.valueOf(scenario.database().value(sealed));
      String rows =
          String.valueOf(
              scenario
                  .database()
                  .value(
                      "select count(*) from events where tenant_id = 't1' and tokens > 100 and ts < '2026-06-14'"));
      Forget.Forgotten forgotten = forget(scenario, "t1", "tokens > 100");
      assertThat(forgotten.sealed()).isEqualTo(Long.parseLong(rows)).isPositive();
      assertThat(forgotten.rows()).isGreaterThan(forgotten.sealed());
      assertThat(forgotten.left()).isZero();
      assertThat(scenario.database().value(sealed)).isEqualTo(before);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from tallyroll.quarantine where kind = 'change' and source_row->>'tenant_id' = 't1' and (source_row->>'tokens')::int > 100"))
          .isEqualTo("0");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select sum(requests) from tallyroll.usage_1d where bucket >= '2026-06-14'"))
          .isEqualTo(
              scenario
                  .database()
                  .value(
                      "select count(*) from events where ts >= '2026-06-14' and ts < 'infinity'"));
      scenario.refresh("usage");
      assertThat(scenario.database().value(sealed)).isEqualTo(before);
    }
  }
}
