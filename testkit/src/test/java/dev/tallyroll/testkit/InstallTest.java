package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Plan;
import dev.tallyroll.postgres.install.Planner;
import java.util.List;
import org.junit.jupiter.api.Test;

class InstallTest {
  private static final String STRUCTURE =
      """
      select string_agg(x, E'\\n' order by x) from (
        select 'column ' || attrelid::regclass || '.' || attname || ' ' || atttypid::regtype || attnotnull || atthasdef
          from pg_attribute where attrelid::regclass::text like 'events%' and attnum > 0 and not attisdropped
        union all select 'constraint ' || conrelid::regclass || '.' || conname from pg_constraint where conrelid::regclass::text like 'events%'
        union all select 'index ' || indrelid::regclass || '.' || indexrelid::regclass from pg_index where indrelid::regclass::text like 'events%'
        union all select 'trigger ' || tgrelid::regclass || '.' || tgname from pg_trigger where tgrelid::regclass::text like 'events%'
        union all select 'relation ' || oid::regclass from pg_class where relnamespace = 'tallyroll'::regnamespace
        union all select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'tallyroll'::regnamespace
      ) all_of_it (x)
      """;

  private static String faults(Scenario scenario, String from, String to) {
    assertThat(Scenario.ROLLUP).contains(from);
    try {
      new Planner(scenario.database().database())
          .plan(Scenario.definitions(Scenario.ROLLUP.replace(from, to)));
    } catch (DefinitionException e) {
      return e.getMessage();
    }
    return "";
  }

  @Test
  void mistakesAgainstTheTable_areReportedWithPlaceAndRemedy() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "alter table events add column note json, add column maybe timestamptz, add column local timestamp not null default now()");
      assertThat(faults(scenario, "sum(tokens)", "sum(token)"))
          .isEqualTo(
              "rollup.yaml:7:20: no column 'token' in public.events; did you mean 'tokens'?");
      assertThat(faults(scenario, "sum(tokens)", "sum(msg)"))
          .isEqualTo(
              "rollup.yaml:7:20: a text cannot be used in sum: it needs a number; cast it, as sum((msg)::numeric)");
      assertThat(faults(scenario, "sum(tokens)", "max(note)"))
          .contains("a json cannot be used in max: cast it, as max((note)::text)");
      assertThat(faults(scenario, "sum(tokens)", "sum(tokens +)"))
          .startsWith("rollup.yaml:7:")
          .contains("syntax error");
      assertThat(faults(scenario, "sum(tokens)", "sum(sum(tokens))"))
          .contains("aggregate functions are not allowed in a definition");
      assertThat(faults(scenario, "sum(tokens)", "sum(rank() over ())"))
          .contains("window functions are not allowed in a definition");
      assertThat(faults(scenario, "sum(tokens)", "sum((select 1))"))
          .contains("cannot use subquery in a definition");
      assertThat(faults(scenario, "sum(tokens)", "sum(generate_series(1, 2))"))
          .contains("set-returning functions are not allowed in a definition");
      assertThat(faults(scenario, "sum(tokens)", "sum(random())"))
          .contains("the expression is not immutable");
      assertThat(faults(scenario, "sum(tokens)", "sum(tokens) where ts > now()"))
          .contains("the expression is not immutable");
      assertThat(faults(scenario, "sum(tokens)", "sum(tokens) where tokens"))
          .contains("'where' takes a condition; this is integer");
      assertThat(faults(scenario, "[project, model]", "[project, modle]"))
          .isEqualTo("rollup.yaml:3:23: no column 'modle' in public.events; did you mean 'model'?");
      assertThat(faults(scenario, "[project, model]", "[project, duration_ms]"))
          .contains("a dimension is text, varchar, uuid,")
          .endsWith("duration_ms is double precision");
      assertThat(faults(scenario, "public.events", "public.evnts"))
          .contains("no table public.evnts; did you mean 'public.events'?");
      assertThat(faults(scenario, "tenant: tenant_id", "tenant: project"))
          .contains(
              "project may be NULL; fill it, then run: ALTER TABLE \"public\".\"events\" ALTER COLUMN \"project\" SET NOT NULL;");
      assertThat(faults(scenario, "tenant: tenant_id", "tenant: cost"))
          .contains("a tenant is uuid, text");
      assertThat(faults(scenario, "time: ts", "time: maybe")).contains("maybe may be NULL");
      assertThat(faults(scenario, "time: ts", "time: local"))
          .contains(
              "local has no time zone; name the one it is in, as time: {column: local, zone: UTC}");
      assertThat(faults(scenario, "time: ts", "time: {column: ts, zone: UTC}"))
          .contains("ts is a timestamptz, which needs no zone");
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from pg_class where relname like 'tallyroll%'"))
          .isEqualTo("0");
    }
  }

  @Test
  void applyTwice_changesNothing() {
    try (Scenario scenario = Scenario.withRollup()) {
      String before = scenario.database().value(STRUCTURE);
      assertThat(scenario.apply(Scenario.ROLLUP).getFirst().outcome())
          .isEqualTo(Installer.Outcome.UNCHANGED);
      assertThat(scenario.database().value(STRUCTURE)).isEqualTo(before);
    }
  }

  @Test
  void drop_leavesTheDatabaseAsItWas() {
    for (boolean partitioned : new boolean[] {false, true}) {
      try (Scenario scenario =
          partitioned ? Scenario.withPartitionedTable() : Scenario.withTable()) {
        String before = scenario.database().value(STRUCTURE);
        scenario.insert(1, 500, 10);
        scenario.apply(
            Scenario.ROLLUP + "---\n" + Scenario.ROLLUP.replace("rollup: usage", "rollup: second"));
        scenario.backfill("usage");
        Drop drop = new Drop(scenario.database().database());
        drop.run("usage");
        assertThat(
                scenario
                    .database()
                    .value(
                        "select count(*) from information_schema.columns where table_name = 'events' and column_name = 'tallyroll_xid'"))
            .isEqualTo("1");
        scenario.backfill("second");
        assertThat(scenario.verify("second").isExact()).isTrue();
        assertThat(drop.removal("second").objects())
            .last()
            .asString()
            .contains("column tallyroll_xid");
        drop.run("second");
        assertThat(scenario.database().value(STRUCTURE)).isEqualTo(before);
        assertThat(scenario.database().value("select count(*) from tallyroll.source"))
            .isEqualTo("0");
        scenario.database().run("update events set msg = 'x'; delete from events; truncate events");
      }
    }
  }

  @Test
  void anOlderSchema_isNamedWithItsRemedy() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario
          .database()
          .run(
              "delete from tallyroll.schema_version where version = (select max(version) from tallyroll.schema_version)");
      assertThatThrownBy(() -> scenario.refresh("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.DATABASE);
                assertThat(e).hasMessageContaining("brings it up to date");
              });
    }
  }

  @Test
  void theSource_refusesEverythingButInserts() {
    for (Scenario made : List.of(Scenario.withTable(), Scenario.withPartitionedTable())) {
      try (Scenario scenario = made) {
        scenario.apply(Scenario.ROLLUP);
        scenario.insert(1, 10, 1);
        for (String sql :
            List.of(
                "update events set tokens = 1",
                "delete from events",
                "truncate events",
                "insert into events (tenant_id, ts, tallyroll_xid) values ('t0', '2026-06-15', '42')",
                "insert into events (tenant_id, ts, tallyroll_xid) values ('t0', '2026-06-15', null)")) {
          assertThatThrownBy(() -> scenario.database().run(sql))
              .as(sql)
              .isInstanceOf(IllegalStateException.class);
        }
        // An upsert that meets no conflict is an insert.
        scenario
            .database()
            .run(
                "insert into events (tenant_id, ts) values ('t0', '2026-06-15') on conflict do nothing");
        scenario.refresh("usage");
        assertThat(scenario.verify("usage").isExact()).isTrue();
        assertThat(scenario.verify("usage").rows()).isEqualTo(11);
      }
    }
  }

  /**
   * The second rollup on a table must not take the rows since the first for history that has no
   * transaction.
   */
  @Test
  void aSecondRollup_findsAllRowsOfTheTable() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 1_000, 20);
      scenario.apply(Scenario.ROLLUP);
      scenario.insert(1_001, 2_000, 20);
      scenario.apply(Scenario.ROLLUP.replace("rollup: usage", "rollup: second"));
      scenario.insert(2_001, 3_000, 20);
      for (String rollup : List.of("usage", "second")) {
        scenario.refresh(rollup);
        assertThat(scenario.verify(rollup).uncovered()).isNotEmpty();
        Backfill.Result result = scenario.backfill(rollup);
        assertThat(result.rows()).isEqualTo(rollup.equals("usage") ? 1_000 : 2_000);
        assertThat(scenario.verify(rollup).isExact()).isTrue();
        assertThat(scenario.verify(rollup).rows()).isEqualTo(3_000);
        assertThat(scenario.verify(rollup).uncovered()).isEmpty();
      }
    }
  }

  @Test
  void anEmptyTable_isCoveredFromTheStart() {
    try (Scenario scenario = Scenario.withTable()) {
      assertThat(scenario.apply(Scenario.ROLLUP).getFirst().uncovered()).isEmpty();
    }
  }

  @Test
  void plan_changesNothingAndTellsWhatItWouldDo() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 3_000, 10);
      String before = scenario.database().value(STRUCTURE);
      Plan plan =
          new Planner(scenario.database().database())
              .plan(Scenario.definitions(Scenario.ROLLUP))
              .getFirst();
      assertThat(scenario.database().value(STRUCTURE)).isEqualTo(before);
      assertThat(plan.statements())
          .anyMatch(sql -> sql.startsWith("create table tallyroll.\"usage_1m\""));
      assertThat(plan.adds()).anyMatch(sql -> sql.contains("add column tallyroll_xid"));
      assertThat(plan.breaks())
          .anyMatch(line -> line.contains("COPY and INSERT without a column list"));
      assertThat(plan.warnings()).isEmpty();
      assertThat(plan.monthBytes()).containsOnlyKeys("1m", "5m", "1h", "1d");
      scenario.database().run("drop index events_ts_idx");
      assertThat(
              new Planner(scenario.database().database())
                  .plan(Scenario.definitions(Scenario.ROLLUP))
                  .getFirst()
                  .warnings())
          .anyMatch(line -> line.contains("no index of public.events begins with ts"));
    }
  }

  @Test
  void aTimestampWithItsZone_isReadInThatZone() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "create table local (t int not null, at timestamp not null, n int); create index on local (at);"
                  + "insert into local select i % 2, timestamp '2026-03-28 20:00' + i * interval '7 minutes', i from generate_series(1, 300) i");
      scenario.apply(
          """
          rollup: local
          source: {table: public.local, tenant: t, time: {column: at, zone: Europe/Berlin}, changes: append}
          measures: {n: count, total: sum(n)}
          grains: {5m: keep 365d, 1h: keep 365d}
          """);
      scenario
          .database()
          .run(
              "insert into local select i % 2, timestamp '2026-03-28 20:00' + i * interval '7 minutes', i from generate_series(301, 600) i");
      scenario.backfill("local");
      scenario.refresh("local");
      assertThat(scenario.verify("local").isExact()).isTrue();
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from (select t::int, date_trunc('hour', at at time zone 'Europe/Berlin'), count(*), sum(n) from local group by 1, 2"
                          + " except select tenant, bucket, n, total from tallyroll.local_1h) x"))
          .isEqualTo("0");
    }
  }

  /** Whoever writes a keep into a definition has rows of the table deleted. */
  @Test
  void plan_saysThatRowsOfTheSourceWillBeDeleted() {
    try (Scenario scenario = Scenario.withRollup()) {
      Planner planner = new Planner(scenario.database().database());
      String kept = Scenario.ROLLUP.replace("changes: append", "changes: append, keep: 30d");
      assertThat(planner.plan(Scenario.definitions(Scenario.ROLLUP)).getFirst().breaks()).isEmpty();
      assertThat(planner.plan(Scenario.definitions(kept)).getFirst().breaks())
          .containsExactly(
              "rows of public.events that are older than 30 days are deleted from it for good once they are counted");
      assertThat(
              planner
                  .plan(Scenario.definitions(kept.replace("rollup: usage", "rollup: second")))
                  .getFirst()
                  .breaks())
          .anyMatch(line ->
              line.endsWith(
                  "unless the definition of usage, over the same table, names a longer time"));
    }
  }

  /** Otherwise it would be read anew as a whole, and tenants that are gone would be lost. */
  @Test
  void aSchemaThatIsNotWrittenDown_isNoOtherSource() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 100, 5);
      scenario.apply(Scenario.ROLLUP);
      scenario.backfill("usage");
      assertThat(
              scenario
                  .apply(Scenario.ROLLUP.replace("table: public.events", "table: events"))
                  .getFirst()
                  .outcome())
          .isEqualTo(Installer.Outcome.CHANGED);
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("100");
    }
  }

  /** PostgreSQL cuts names at 63 bytes. */
  @Test
  void partitionsWhoseNamesBeginAlike_haveAnIndexEach() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario
          .database()
          .run(
              "alter table events_june_a rename to events_of_the_month_of_june_and_of_the_tenants_zero_and_one_a;"
                  + "alter table events_june_rest rename to events_of_the_month_of_june_and_of_the_tenants_zero_and_one_b");
      scenario.apply(Scenario.ROLLUP);
      scenario.apply(Scenario.ROLLUP);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) || ' ' || bool_and(i.indisvalid) from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
                          + " where a.attname = 'tallyroll_xid' and i.indrelid in (select relid from pg_partition_tree('events'))"))
          .isEqualTo("5 true");
      scenario.insert(1, 100, 20);
      assertThat(scenario.refresh("usage").rows()).isEqualTo(100);
      new Drop(scenario.database().database()).run("usage");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from pg_class where relname like '%tallyroll_xid' and relnamespace = 'public'::regnamespace"))
          .isEqualTo("0");
    }
  }
}
