package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code changes: any}: every kind of statement, in every place, before and after a refresh. */
class ChangeCaptureTest {
  private static final String ANY = Scenario.ROLLUP.replace("changes: append", "changes: any");
  private static final List<String> GRAINS = List.of("1m", "5m", "1h", "1d");

  /** A rollup with history, live rows, and rows that no refresh has seen. */
  private static void fill(Scenario scenario) {
    scenario.insert(1, 2_000, 4);
    scenario.apply(ANY);
    scenario.backfill("usage");
    scenario.insert(2_001, 4_000, 4);
    scenario.refresh("usage");
  }

  /** Exact in every way that a reader can look, before and after a refresh. */
  private static void check(Scenario scenario, String statement) {
    if (!statement.startsWith("truncate")) {
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      checkReads(scenario);
    } else {
      // Rows cannot tell what a TRUNCATE took: until the next refresh the answer says as of when it
      // is.
      assertThat(
              scenario
                  .query(QueryRequest.of("usage").range("2026-06-01", "2026-06-20"))
                  .incomplete())
          .hasValueSatisfying(text -> assertThat(text).startsWith("as of "));
      assertThat(
              scenario.database().value("select bool_or(complete) from tallyroll.usage_1d_fresh"))
          .isEqualTo("f");
    }
    scenario.refresh("usage");
    assertThat(scenario.verify("usage").mismatches()).isEmpty();
    checkReads(scenario);
    for (String grain : GRAINS) {
      assertThat(scenario.contents("usage_" + grain))
          .isEqualTo(scenario.freshContents("usage_" + grain));
    }
  }

  private static void checkReads(Scenario scenario) {
    QueryResult answer =
        scenario.query(
            QueryRequest.of("usage")
                .measuring(
                    "requests",
                    "errors",
                    "tokens",
                    "big",
                    "cost",
                    "least",
                    "last_word",
                    "users",
                    "count(duration_ms)",
                    "min(duration_ms)",
                    "max(duration_ms)")
                .by("project", "model")
                .range("2026-06-01", "2026-06-20"));
    assertThat(answer.incomplete()).isEmpty();
    assertThat(Oracle.rows(answer))
        .isEqualTo(
            Oracle.rows(
                scenario.database(),
                """
                select tenant_id, to_char(ts at time zone 'UTC', 'YYYY-MM-DD"T00:00:00+00:00"') as d, project, model, count(*),
                  count(*) filter (where status = 'error'), sum(tokens), sum(big), sum(cost), min(cost), max(msg collate "C"),
                  count(distinct user_id), count(duration_ms), min(duration_ms), max(duration_ms)
                from events group by tenant_id, to_char(ts at time zone 'UTC', 'YYYY-MM-DD"T00:00:00+00:00"'), project, model order by tenant_id, 2, project collate "C" nulls last, model collate "C" nulls last
                """));
    for (String grain : GRAINS) {
      assertThat(
              Oracle.rows(
                  scenario.database(),
                  "select tenant, sum(requests), sum(tokens), sum(cost), sum(duration_ms_count), min(least), max(last_word), bool_and(complete) from tallyroll.usage_"
                      + grain
                      + "_fresh group by 1 order by 1"))
          .isEqualTo(
              Oracle.rows(
                  scenario.database(),
                  "select tenant_id, count(*), sum(tokens), sum(cost), count(duration_ms), min(cost), max(msg collate \"C\"), true from events group by 1 order by 1"));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "insert into events (tenant_id, ts, project, tokens) values ('t0', '2026-06-14 10:00Z', null, 5)",
        "update events set tokens = tokens + 1 where id % 5 = 0",
        "update events set cost = null where id % 7 = 0",
        "update events set msg = 'aaa' where msg > 'msg 9'",
        "update events set project = case when project = 'p1' then null else 'p1' end where id % 3 = 0",
        "update events set tenant_id = 't2' where id % 4 = 0",
        "update events set ts = ts + interval '1 day 3 minutes' where id % 6 = 0",
        "update events set duration_ms = null, user_id = 'u1' where id % 2 = 0",
        "update events set status = case when status = 'error' then 'ok' else 'error' end",
        "update events set status = status",
        "delete from events where id % 3 = 0",
        "delete from events where tenant_id = 't1'",
        "delete from events where duration_ms > 1000",
        "delete from events",
        "truncate events",
        "truncate events; insert into events (tenant_id, ts) values ('t0', '2026-06-14 10:00Z')",
        "begin; insert into events (tenant_id, ts) values ('t9', '2026-06-14 10:00Z'); savepoint a; delete from events; rollback to a; update events set tokens = 0 where tenant_id = 't9'; commit",
        "begin; delete from events where id % 2 = 0; rollback",
        "insert into events (tenant_id, ts, tokens) select 't0', '2026-06-14 10:00Z', i from generate_series(1, 50) i; delete from events where tokens = 30 and ts = '2026-06-14 10:00Z'; update events set tokens = tokens * 2 where ts = '2026-06-14 10:00Z'",
        "merge into events e using (select generate_series(1, 5000) as id) s on e.id = s.id when matched and s.id % 3 = 0 then delete when matched and s.id % 3 = 1 then update set tokens = 1 when not matched then insert (tenant_id, ts, tokens) values ('new', '2026-06-13 01:02:03Z', s.id)",
        "create unique index on events (id); insert into events (id, tenant_id, ts) overriding system value select i, 'up', '2026-06-13 05:00Z' from generate_series(3900, 4100) i on conflict (id) do update set tokens = 77, ts = excluded.ts"
      })
  void everyStatement_countsWhatItLeaves(String statement) {
    try (Scenario scenario = Scenario.withTable()) {
      fill(scenario);
      scenario.database().run(statement);
      check(scenario, statement);
      String more = "update events set tokens = 3 where id % 10 = 1";
      scenario.database().run(more);
      check(scenario, more);
    }
  }

  /** COPY routes the rows of a partitioned table, or puts them into one below. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "copy events (tenant_id, ts, project, tokens) from program 'printf \"t0,2026-06-14 10:00Z,p1,5\\nt2,2026-06-12 11:00Z,,7\\n\"' with (format csv)",
        "copy events_june_a (id, tenant_id, ts, project, tokens) from program 'printf \"1,t0,2026-06-14 10:00Z,p1,5\\n2,t1,2026-06-13 11:00Z,,7\\n\"' with (format csv)",
        "copy events_june (id, tenant_id, ts, tokens, msg) from program 'printf \"1,t0,2026-06-14 10:00Z,5,zz\\n2,t9,2026-06-13 11:00Z,7,zz\\n\"' with (format csv)",
        "begin; copy events (tenant_id, ts) from program 'printf \"t0,2026-06-14 10:00Z\\n\"' with (format csv); savepoint a; copy events_june_a (id, tenant_id, ts) from program 'printf \"1,t0,2026-06-14 10:00Z\\n\"' with (format csv); rollback to a; commit",
        "copy events_june_rest (id, tenant_id, ts, cost, duration_ms) from program 'seq -f \"-%g,t2,2026-06-14,0.5,99\" 20' with (format csv); delete from events where id between -12 and -1"
      })
  void copyIntoAPartitionedTableOrALeaf_isCounted(String statement) {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 1_000, 4);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.insert(1_001, 1_500, 4);
      scenario.refresh("usage");
      String before = scenario.database().value("select count(*) from events");
      scenario.database().run(statement);
      assertThat(scenario.database().value("select count(*) from events")).isNotEqualTo(before);
      check(scenario, statement);
    }
  }

  /** Names that need quotes, another schema, a tenant that is a number, and local times. */
  @Test
  void aTableWithStrangeNamesAndLocalTimes_isCountedToo() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              """
              create schema "Odd one";
              create table "Odd one"."LLM Calls" ("Tenant" bigint not null, "At" timestamp not null, "model" varchar(20), "Cost" numeric, "Ms" smallint);
              insert into "Odd one"."LLM Calls" select i % 3, timestamp '2026-03-29 00:00' + i * interval '1 minute', case when i % 4 > 0 then 'm' || i % 4 end, i / 8.0, i % 700 from generate_series(1, 1000) i
              """);
      scenario.apply(
          """
          rollup: odd
          source: {table: Odd one.LLM Calls, tenant: Tenant, time: {column: At, zone: Europe/Berlin}}
          dimensions: [model]
          measures: {requests: count, cost: 'sum("Cost")', ms: 'distribution("Ms")', dearest: 'max("LLM Calls"."Cost")'}
          grains: {1m: keep 1095d, 1h: keep 1095d, 1d: keep 1095d}
          """);
      scenario.backfill("odd");
      assertThat(scenario.verify("odd").mismatches()).isEmpty();
      for (String statement :
          List.of(
              "update \"Odd one\".\"LLM Calls\" set \"Cost\" = 3 where \"Ms\" % 5 = 0",
              "update \"Odd one\".\"LLM Calls\" set \"At\" = \"At\" + interval '90 minutes', model = null where \"Ms\" % 7 = 0",
              "delete from \"Odd one\".\"LLM Calls\" where \"Ms\" % 3 = 0",
              "truncate \"Odd one\".\"LLM Calls\"")) {
        scenario.database().run(statement);
        assertThat(scenario.verify("odd").mismatches()).isEmpty();
        String truth =
            scenario
                .database()
                .value(
                    "select (count(*), sum(\"Cost\"), sum(\"Ms\"), max(\"Cost\"))::text from \"Odd one\".\"LLM Calls\"");
        String view =
            "select (coalesce(sum(requests), 0), sum(cost), sum(ms_sum), max(dearest))::text from tallyroll.odd_%s_fresh";
        if (!statement.startsWith("truncate")) {
          assertThat(scenario.database().value(view.formatted("1d"))).isEqualTo(truth);
          assertThat(scenario.database().value(view.formatted("1m"))).isEqualTo(truth);
        }
        scenario.refresh("odd");
        assertThat(scenario.verify("odd").mismatches()).isEmpty();
        assertThat(scenario.database().value(view.formatted("1h"))).isEqualTo(truth);
      }
    }
  }

  @Test
  void anApplyThatFails_leavesNoTriggerOnTheTable() {
    try (Scenario scenario = Scenario.withTable()) {
      // In the way of what apply makes last.
      scenario.database().run("create view tallyroll.usage_1d_fresh as select 1");
      assertThatThrownBy(() -> scenario.apply(ANY)).isInstanceOf(TallyrollException.class);
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from pg_trigger where tgrelid = 'events'::regclass"))
          .isEqualTo("0");
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from pg_class where relname like 'log\\_%'"))
          .isEqualTo("0");
      scenario.database().run("drop view tallyroll.usage_1d_fresh");
      scenario.apply(ANY);
      scenario.insert(1, 10, 1);
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").isExact()).isTrue();
    }
  }

  /** Two readers, of whom one always reads while the other one ends. */
  @Test
  void aLogThatIsReadAtAllTimes_isEmptiedAllTheSame() throws Exception {
    try (Scenario scenario = Scenario.withTable();
        ExecutorService others = Executors.newFixedThreadPool(2)) {
      scenario.apply(ANY);
      AtomicBoolean done = new AtomicBoolean();
      List<Future<?>> readers = new ArrayList<>();
      for (int i = 0; i < 2; i++) {
        int pause = i * 250;
        readers.add(
            others.submit(() -> {
              try (Connection connection = scenario.database().connect()) {
                connection.setAutoCommit(false);
                Thread.sleep(pause);
                while (!done.get()) {
                  try {
                    Sql.run(connection, "select count(*) from tallyroll.usage_1d_fresh");
                    Thread.sleep(500);
                    connection.commit();
                  } catch (SQLException e) {
                    // The log was emptied after it took its snapshot: it reads again.
                    assertThat(e.getSQLState()).isEqualTo("40001");
                    connection.rollback();
                  }
                }
              }
              return null;
            }));
      }
      String left =
          "select sum(pg_relation_size(c.oid)) from tallyroll.source s, generate_series(0, 3) n, pg_class c"
              + " where c.relname = s.log || '_' || n and n <> s.log_slot";
      long end = System.nanoTime() + Duration.ofSeconds(30).toNanos();
      boolean wasFull = false;
      try (Refresher refresher =
          new Refresher(
              scenario.database().database(),
              scenario.clock(),
              Feed.Meter.NONE,
              new Refresher.Limits(Long.MAX_VALUE, 8_192))) {
        for (int i = 0; System.nanoTime() < end; i++) {
          scenario.insert(200 * i + 1, 200 * i + 200, 5);
          refresher.refresh("usage", Refresher.WhenBusy.WAIT);
          boolean isFull = !"0".equals(scenario.database().value(left));
          if (wasFull && !isFull) {
            break;
          }
          wasFull |= isFull;
          Thread.sleep(100);
        }
      }
      done.set(true);
      for (Future<?> reader : readers) {
        reader.get();
      }
      assertThat(wasFull).isTrue();
      assertThat(scenario.database().value(left)).isEqualTo("0");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }
}
