package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import java.util.List;
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
}
