package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.capture.Leaves;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.aggregator.ArgumentsAccessor;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * {@code changes: any} over partitioned tables and tables that others alter, and what writers
 * notice of it.
 */
class LeavesTest {
  private static final String ANY = Scenario.ROLLUP.replace("changes: append", "changes: any");

  private static Scenario filled() {
    Scenario scenario = Scenario.withPartitionedTable();
    scenario.insert(1, 1_000, 20);
    scenario.apply(ANY);
    scenario.backfill("usage");
    scenario.insert(1_001, 2_000, 20);
    scenario.refresh("usage");
    assertExact(scenario);
    return scenario;
  }

  private static void assertExact(Scenario scenario) {
    assertThat(scenario.verify("usage").mismatches()).isEmpty();
    assertThat(scenario.verify("usage").uncovered()).isEmpty();
  }

  private static void assertCounts(Scenario scenario, String rows) {
    assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
        .isEqualTo(scenario.database().value(rows));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "update events_may set tokens = 1",
        "delete from events_june where id % 2 = 0",
        "insert into events_june_a (id, tenant_id, ts) overriding system value values (1, 't0', '2026-06-10')",
        "delete from only events_june_rest",
        "update events set ts = ts - interval '12 days', tenant_id = 't2' where id % 3 = 0",
        "truncate events_may",
        "truncate events_june_a",
        "truncate events_june",
        "set session_replication_role = replica; delete from events where id % 7 = 0"
      })
  void changesOfATableBelow_areCounted(String statement) {
    try (Scenario scenario = filled()) {
      scenario.database().run(statement);
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  @Test
  void aPartitionCreatedLater_isCapturedWhoeverWritesIt() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "create table events_april partition of events for values from ('2026-04-01') to ('2026-05-01');"
                  + "insert into events (tenant_id, ts) values ('t0', '2026-04-03'); insert into events_april (id, tenant_id, ts) overriding system value values (7, 't1', '2026-04-04')");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
      scenario
          .database()
          .run(
              "update events_april set tokens = 5; insert into events_april (id, tenant_id, ts) overriding system value values (8, 't1', '2026-04-04')");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  @Test
  void rowsOfAnAttachedTable_areCounted() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "create table events_april (like events); insert into events_april (id, tenant_id, ts, tokens) select i, 't' || i % 3, '2026-04-10', i from generate_series(1, 100) i;"
                  + "alter table events attach partition events_april for values from ('2026-04-01') to ('2026-05-01')");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
      scenario.database().run("delete from events_april where id > 50");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /**
   * Applying a second rollup gives the attached table its triggers; the first one must still learn
   * of its rows.
   */
  @Test
  void rowsOfAnAttachedTable_areCountedByTheFirstRollupToo() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "create table events_april (like events); insert into events_april (id, tenant_id, ts, tokens) select i, 't' || i % 3, '2026-04-10', i from generate_series(1, 100) i;"
                  + "alter table events attach partition events_april for values from ('2026-04-01') to ('2026-05-01')");
      scenario.apply(ANY.replace("rollup: usage", "rollup: second"));
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** Another rollup's refresh seals what is gone before this one has read what was deleted. */
  @Test
  void aBucketThatIsSealedBeforeItsChangesAreRead_isShownAsItIsStoredAndNotComplete() {
    try (Scenario scenario = filled()) {
      scenario.apply(ANY.replace("rollup: usage", "rollup: second"));
      scenario.backfill("second");
      scenario.refresh("usage");
      scenario.refresh("second");
      String before = scenario.database().value("select sum(requests) from tallyroll.usage_1d");
      scenario.database().run("delete from events_may where id % 2 = 0; drop table events_may");
      scenario.refresh("second");
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d_fresh"))
          .isEqualTo(before);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select bool_and(complete) from tallyroll.usage_1d_fresh where bucket < '2026-06-01'"))
          .isEqualTo("f");
    }
  }

  /** Case 7 of the field: a refresh over a range whose raw rows are gone erases the rollup. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "drop table events_may",
        "alter table events detach partition events_may",
        "alter table events detach partition events_may; insert into events_may select * from events_may; delete from events_may where id % 2 = 0"
      })
  void rowsOfATableThatIsDroppedOrDetached_stayCounted(String statement) {
    try (Scenario scenario = filled()) {
      String before = scenario.contents("usage_1m");
      scenario.database().run(statement);
      scenario.refresh("usage");
      assertThat(scenario.contents("usage_1m")).isEqualTo(before);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.verify("usage").sealed())
          .singleElement()
          .asString()
          .endsWith(" to 2026-06-01T00:00:00Z");
      // Others go on.
      scenario.database().run("update events set tokens = 9 where id % 2 = 0");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.repair("usage").buckets()).isZero();
    }
  }

  @Test
  void aTriggerThatIsSwitchedOff_isSwitchedOnAgainAndWhatItMissedIsCounted() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "alter table events_may disable trigger all; delete from events_may where id % 2 = 0");
      assertThat(scenario.verify("usage").isExact()).isFalse();
      scenario.refresh("usage");
      assertExact(scenario);
      scenario.database().run("delete from events_may where id % 3 = 0");
      scenario.refresh("usage");
      assertExact(scenario);
    }
  }

  @Test
  void whatIsNotCaptured_isShown() {
    try (Scenario scenario = filled()) {
      assertThat(scenario.status("usage").uncaptured()).isEmpty();
      scenario.database().run("alter table events_may disable trigger all");
      assertThat(scenario.status("usage").uncaptured())
          .singleElement()
          .asString()
          .contains("events_may", "refresh usage");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").uncaptured()).isEmpty();
      // As they are made by who does not own the table.
      scenario
          .database()
          .run(
              "do $$ declare t name; begin for t in select tgname from pg_trigger where tgrelid = 'events_may'::regclass and tgname like 'tallyroll%' loop"
                  + " execute format('alter table events_may enable trigger %I', t); end loop; end $$");
      String passive = scenario.status("usage").uncaptured().getFirst();
      assertThat(passive).contains("session_replication_role");
      scenario.database().run(passive.substring(passive.indexOf("ALTER TABLE")));
      assertThat(scenario.status("usage").uncaptured()).isEmpty();
      scenario
          .database()
          .run(
              "create subscription nowhere connection 'dbname=nowhere' publication p with (connect = false);"
                  + " insert into pg_subscription_rel values ((select oid from pg_subscription where subname = 'nowhere'), 'events_may'::regclass, 'r', null)");
      assertThat(scenario.status("usage").uncaptured())
          .singleElement()
          .asString()
          .contains("subscription", "verify usage");
      scenario
          .database()
          .run("alter subscription nowhere set (slot_name = none); drop subscription nowhere");
    }
  }

  @Test
  void rowsThatAForeignKeyDeletes_areTakenOut() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "create table projects (name text primary key); insert into projects values ('p0'), ('p1'), ('p2'), ('p3')");
      scenario
          .database()
          .run(
              "alter table events add foreign key (project) references projects on delete cascade on update cascade");
      scenario.insert(1, 500, 3);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario
          .database()
          .run(
              "delete from projects where name = 'p1'; update projects set name = 'other' where name = 'p2'");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  @Test
  void writersNeedNoRightsAndNeverFailOfAnExpression() throws SQLException {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(ANY.replace("count\n", "count\n  share: sum(1 / tokens)\n"));
      scenario
          .database()
          .run(
              "drop role if exists plain_writer; create role plain_writer login password 'w'; grant insert, select, update, delete on events to plain_writer");
      try (Connection writer = scenario.database().connect("plain_writer", "w")) {
        Sql.run(
            writer,
            "insert into events (tenant_id, ts, tokens) values ('t0', '2026-06-14', 0), ('t0', '2026-06-14', 2)");
        Sql.run(writer, "update events set tokens = 0 where tokens = 2");
        Sql.run(
            writer,
            "update events set tokens = 4 where tokens = 0 and ctid = (select min(ctid) from events)");
        assertThatThrownBy(() -> Sql.run(writer, "select * from tallyroll.source"))
            .hasMessageContaining("permission denied");
      }
      scenario.refresh("usage");
      assertExact(scenario);
      assertThat(scenario.status("usage").quarantinedRows()).isEqualTo(1);
      scenario.database().run("delete from events");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").quarantinedRows()).isZero();
      assertExact(scenario);
      scenario.database().run("drop owned by plain_writer; drop role plain_writer");
    }
  }

  /** A transaction that began to read before apply, and writes after it. */
  @Test
  void aWriterWithASnapshotFromBeforeTheLog_isCapturedToo() throws SQLException {
    try (Scenario scenario = Scenario.withTable();
        Connection writer = scenario.database().connect()) {
      writer.setAutoCommit(false);
      writer.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      Sql.run(writer, "select 1 from pg_class limit 1");
      scenario.apply(ANY);
      Sql.run(writer, Scenario.insertSql(1, 10, 1));
      writer.commit();
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** {@code found} is a variable of every PL/pgSQL function. */
  @Test
  void columnsNamedLikeVariables_areNoneOfTheTriggers() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "create table odd (tenant_id text not null, ts timestamptz not null, found boolean, slot int, root int, tg_op text, range_from timestamptz, a text)");
      scenario.apply(
          """
          rollup: odd
          source: {table: public.odd, tenant: tenant_id, time: ts}
          dimensions: [found, tg_op, a]
          measures: {n: count, s: max(slot), r: min(root), latest: latest(range_from)}
          grains: {1m: keep 90d, 1d: keep 1095d}
          """);
      scenario
          .database()
          .run(
              "insert into odd select 't', now() - i * interval '1 minute', i % 2 = 0, i, i, 'x', now(), 'a' from generate_series(1, 50) i;"
                  + "update odd set found = true, slot = 3 where slot > 10; delete from odd where slot = 3 and root % 3 = 0");
      assertThat(scenario.verify("odd").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(n) from tallyroll.odd_1d_fresh"))
          .isEqualTo(scenario.database().value("select count(*) from odd"));
      scenario.refresh("odd");
      assertThat(scenario.verify("odd").mismatches()).isEmpty();
    }
  }

  /** Partitions of months to come are made over again; what never held a row needs no seal. */
  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void anEmptyTableThatMakesRoomForAnother_sealsNothing(String changes) {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 300, 5);
      scenario
          .database()
          .run(
              "create table events_july partition of events for values from ('2026-07-01') to ('2026-08-01')");
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: " + changes));
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "alter table events detach partition events_july;"
                  + "create table events_july_b partition of events for values from ('2026-07-01') to ('2026-08-01')");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select count(*) from tallyroll.seal")).isEqualTo("0");
      scenario.setClock(Instant.parse("2026-07-02T12:00:00Z"));
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) values ('t0', '2026-07-02 10:00Z', 3), ('t0', '2026-07-02 11:00Z', 5)");
      scenario.refresh("usage");
      if (changes.equals("any")) {
        scenario.database().run("update events set tokens = 4 where ts = '2026-07-02 10:00Z'");
        scenario.refresh("usage");
      }
      assertThat(scenario.verify("usage").isComplete()).isTrue();
      // One that has counted rows is sealed as ever.
      scenario.database().run("drop table events_july_b");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select count(*) from tallyroll.seal")).isEqualTo("1");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select sum(requests) from tallyroll.usage_1d where bucket = '2026-07-02'"))
          .isEqualTo("2");
    }
  }

  /** Nor does one that held rows which no refresh has read yet lose them. */
  @Test
  void aTableWhoseRowsNobodyHasReadYet_isSealedWhenItIsDropped() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "create table events_april partition of events for values from ('2026-04-01') to ('2026-05-01')");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts) values ('t0', '2026-04-03'); drop table events_april");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select count(*) from tallyroll.seal")).isEqualTo("1");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select sum(requests) from tallyroll.usage_1d where bucket < '2026-05-01'"))
          .isEqualTo("1");
    }
  }

  /** What was deleted from a new partition before it had its triggers is not there to be found. */
  @Test
  void rowsDeletedFromANewPartitionUnseen_areNotCounted() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "create table events_april partition of events for values from ('2026-04-01') to ('2026-05-01');"
                  + "insert into events (tenant_id, ts) values ('t0', '2026-04-03'), ('t0', '2026-04-05'); delete from events_april");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  @Test
  void aTableDetachedChangedAndAttachedAgain_isComputedAnew() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "alter table events detach partition events_may; delete from events_may where id % 2 = 0;"
                  + "alter table events attach partition events_may for values from ('2026-05-01') to ('2026-06-01')");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** A change that no refresh had read when its table went: it was made before the seal. */
  @Test
  void changesFromBeforeATableWasDropped_stillCount() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run("insert into events (tenant_id, ts, tokens) values ('t0', '2026-05-30', 5)");
      scenario.database().run("update events set tokens = tokens + 1 where ts < '2026-06-01'");
      String rows = scenario.database().value("select count(*) from events");
      String tokens = scenario.database().value("select sum(tokens) from events");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo(rows);
      assertThat(scenario.database().value("select sum(tokens) from tallyroll.usage_1d"))
          .isEqualTo(tokens);
    }
  }

  /** One tenant's table of a day goes: the day of the others is not sealed. */
  @Test
  void aDroppedTableWithSiblings_sealsNothing() {
    try (Scenario scenario = filled()) {
      scenario.database().run("drop table events_june_a");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").seals()).isEmpty();
      scenario.database().run("update events set tokens = 1 where tenant_id = 't2'");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").quarantinedRows()).isZero();
    }
  }

  private static final String TWO_MEASURES =
      ANY.replace("measures:\n", "measures:\n  more: max(id)\n");

  private static final String COLUMNS =
      "(id bigint generated always as identity, tenant_id text not null, ts %s not null, project text, model text, status text,"
          + " user_id text, tokens integer, big bigint, cost numeric, score double precision, duration_ms double precision, msg text)";

  /** Another default partition may hold rows of any time, and mostly holds none. */
  @Test
  void aDroppedTableBesideADefaultOne_staysCounted() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "create table events_other partition of events default; insert into events (tenant_id, ts) values ('t1', '2026-04-01')");
      scenario.refresh("usage");
      String rows = "select " + scenario.database().value("select count(*) from events");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").seals()).hasSize(1);
      // A late row of the days that are gone, changed and taken out again.
      scenario
          .database()
          .run("insert into events (tenant_id, ts, tokens) values ('t0', '2026-05-20 12:00', 5)");
      scenario.refresh("usage");
      scenario.database().run("delete from events where ts = '2026-05-20 12:00'");
      scenario.refresh("usage");
      assertCounts(scenario, rows + " + 1");
      scenario.database().run("truncate events_other");
      scenario.refresh("usage");
      assertCounts(scenario, rows);
      scenario.change(TWO_MEASURES, true);
      assertCounts(scenario, rows);
    }
  }

  /** A default partition of something else than time may hold rows of the same time. */
  @Test
  void aDroppedTableBesideOthersOfAllTimes_sealsNothing() {
    try (Scenario scenario = new Scenario()) {
      scenario
          .database()
          .run(
              "create table events "
                  + COLUMNS.formatted("timestamptz")
                  + " partition by list (tenant_id); create table events_rest partition of events default;"
                  + "create table events_t0 partition of events for values in ('t0') partition by range (ts);"
                  + "create table events_t0_may partition of events_t0 for values from ('2026-05-01') to ('2026-06-01');"
                  + "create table events_t0_june partition of events_t0 for values from ('2026-06-01') to ('2026-07-01')");
      scenario.insert(1, 1_000, 30);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      String rows = "select " + scenario.database().value("select count(*) from events");
      scenario.database().run("drop table events_t0_may");
      scenario.refresh("usage");
      assertCounts(scenario, rows);
      assertThat(scenario.status("usage").seals()).isEmpty();
      scenario.database().run("update events set tokens = 1 where tenant_id = 't1'");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").quarantinedRows()).isZero();
      assertCounts(scenario, rows);
      assertThat(scenario.verify("usage").sourceMissing())
          .isNotEmpty()
          .allMatch(range -> range.contains("tenant t0"));
    }
  }

  private static String ofTenants(Scenario scenario) {
    return String.valueOf(
        scenario
            .database()
            .value(
                "select string_agg(tenant || ' ' || n || ' ' || t, ', ' order by tenant) from (select tenant, sum(requests) n, sum(tokens) t from tallyroll.usage_1d group by 1) r"));
  }

  /** The bounds of a table of tenants tell whose rows it held, or nothing is told by them. */
  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "text; truncate events_a",
        "varchar(9); truncate events_a",
        "character(9); truncate events_a",
        "text; truncate events_b",
        "text; truncate events_a; alter table events detach partition events_a; alter table events attach partition events_a for values in ('n')",
        "text; alter table events detach partition events_a; delete from events_a; alter table events attach partition events_a for values in ('a')"
      })
  void aTableOfTenantsThatIsEmptied_countsNothing(ArgumentsAccessor arguments) {
    try (Scenario scenario = new Scenario()) {
      scenario
          .database()
          .run(
              ("create table events "
                  + COLUMNS
                      .formatted("timestamptz")
                      .replace("tenant_id text", "tenant_id %s")
                      .formatted(arguments.getString(0))
                  + " partition by list (tenant_id);"
                  + "create table events_a partition of events for values in ('a');"
                  + "create table events_b partition of events for values in ('b', null)"));
      scenario.apply(ANY);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) select t, timestamptz '2026-06-14' - i * interval '1 hour', i from generate_series(1, 30) i, unnest(array['a', 'b']) t");
      scenario.refresh("usage");
      assertCounts(scenario, "select count(*) from events");
      for (int i = 1; i < arguments.size(); i++) {
        scenario.database().run(String.valueOf(arguments.getString(i)));
      }
      scenario.refresh("usage");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
      scenario.database().run("insert into events (tenant_id, ts) values ('b', '2026-06-14')");
      scenario.refresh("usage");
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** A tenant leaves, and its table goes; what happens to other tables is none of its business. */
  @ParameterizedTest
  @CsvSource({"text, 't'", "integer, ''", "uuid, '00000000-0000-0000-0000-00000000000'"})
  void aDroppedTableOfATenant_staysCounted_whateverBecomesOfOthers(String type, String tenant) {
    try (Scenario scenario = new Scenario()) {
      String zones =
          ANY.replace("1d: keep 1095d", "1d: {keep: 1095d, zones: [UTC, Asia/Kolkata]}")
              .replace("1m: keep 37d, 5m: keep 90d, 1h: keep 210d, ", "");
      scenario
          .database()
          .run(
              ("create table events "
                      + COLUMNS.formatted("timestamptz").replace("tenant_id text", "tenant_id %1$s")
                      + " partition by list (tenant_id);"
                      + "create table events_a partition of events for values in ('%2$s0');"
                      + "create table events_b partition of events for values in ('%2$s1', '%2$s2')")
                  .formatted(type, tenant));
      String rows =
          "insert into %s (%s tenant_id, ts, tokens) select %s ('%s' || i %% 3)::%s, timestamptz '2026-06-14' - i * interval '1 hour', i from generate_series(1, 300) i";
      scenario.database().run(rows.formatted("events", "", "", tenant, type));
      scenario.apply(zones);
      scenario.backfill("usage");
      scenario.refresh("usage");
      String before = ofTenants(scenario);
      assertThat(before).startsWith(tenant + "0 100 ");
      String first = before.substring(0, before.indexOf(','));

      scenario.database().run("drop table events_a");
      scenario.refresh("usage");
      assertThat(ofTenants(scenario)).isEqualTo(before);
      scenario.database().run("truncate events_b");
      scenario.refresh("usage");
      assertThat(ofTenants(scenario)).isEqualTo(first);
      // A new tenant brings its past.
      scenario
          .database()
          .run(
              "create table events_c (like events);"
                  + rows.formatted("events_c", "id,", "i,", tenant, type)
                  + " where i % 3 = 1; drop table events_b; alter table events attach partition events_c for values in ('"
                  + tenant
                  + "1')");
      scenario.refresh("usage");
      assertThat(ofTenants(scenario)).startsWith(first + ", " + tenant + "1 100 ");
      scenario.database().run("delete from events where tokens = 1");
      // What is computed anew of the day for a query is none of its business either.
      assertThat(
              scenario
                  .query(
                      QueryRequest.of("usage")
                          .measuring("requests")
                          .range("2026-06-01", "2026-06-15"))
                  .rows()
                  .stream()
                  .filter(row -> String.valueOf(row.getFirst()).equals(tenant + "0"))
                  .mapToLong(row -> Long.parseLong(String.valueOf(row.get(2))))
                  .sum())
          .isEqualTo(100);
      scenario.refresh("usage");
      assertThat(ofTenants(scenario)).startsWith(first + ", " + tenant + "1 99 ");
      assertThat(
              scenario
                  .database()
                  .value("select sum(requests) from tallyroll.usage_1d_asia_kolkata"))
          .isEqualTo("199");
      VerifyReport report = scenario.verify("usage");
      assertThat(report.mismatches())
          .allMatch(mismatch -> mismatch.column().equals("(source missing)"));
      assertThat(report.sourceMissing())
          .isNotEmpty()
          .allMatch(range -> range.contains("tenant " + tenant + "0"));
    }
  }

  /** Bounds of times without a zone, and of several columns, tell the range of a table too. */
  @ParameterizedTest
  @CsvSource({
    "timestamp, '{column: ts, zone: Asia/Kolkata}', ts, , 2026-05-31T18:30:00Z",
    "timestamptz, ts, 'ts, id', ', minvalue', 2026-06-01T00:00:00Z",
    "timestamptz, ts, 'ts, id', ', 5', 2026-06-01T00:00:00.000001Z"
  })
  void aTablesBounds_areThoseOfItsSeal(
      String type, String time, String by, @Nullable String more, String end) {
    try (Scenario scenario = new Scenario()) {
      scenario
          .database()
          .run(
              "create table events "
                  + COLUMNS.formatted(type)
                  + " partition by range ("
                  + by
                  + "); create table events_may partition of events for values from ('2026-05-01'"
                  + Objects.toString(more, "")
                  + ") to ('2026-06-01'"
                  + Objects.toString(more, "")
                  + "); create table events_june partition of events for values from ('2026-06-01'"
                  + Objects.toString(more, "")
                  + ") to ('2026-07-01'"
                  + Objects.toString(more, "")
                  + ")");
      scenario.insert(1, 1_000, 15);
      scenario.apply(ANY.replace("time: ts", "time: " + time));
      scenario.backfill("usage");
      scenario.refresh("usage");
      String rows = "select " + scenario.database().value("select count(*) from events");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").seals()).hasSize(1);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select (extract(epoch from range_to) * 1000000)::bigint from tallyroll.seal"))
          .isEqualTo(Long.toString(Times.micros(Instant.parse(end))));
      assertCounts(scenario, rows);
    }
  }

  @Test
  void aDroppedTableOfAnAppendOnlySource_staysCounted_inAnotherDefinitionToo() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario
          .database()
          .run(
              "create table events_april partition of events for values from ('2026-04-01') to ('2026-05-01')");
      scenario.insert(1, 1_000, 20);
      scenario.apply(Scenario.ROLLUP);
      scenario.backfill("usage");
      scenario.database().run("insert into events (tenant_id, ts) values ('t1', '2026-04-03')");
      scenario.refresh("usage");
      String rows = "select " + scenario.database().value("select count(*) from events");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").seals()).hasSize(1);
      scenario.change(TWO_MEASURES.replace("changes: any", "changes: append"), true);
      assertCounts(scenario, rows);
    }
  }

  @Test
  void aPartOfAnotherTable_isRefused() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      assertThatThrownBy(() -> scenario.apply(ANY.replace("public.events", "public.events_may")))
          .hasMessageContaining("is a part of events");
    }
  }

  @Test
  void aColumnThatARollupReads_canNeitherBeDroppedNorChangeItsType() {
    try (Scenario scenario = filled()) {
      assertThatThrownBy(() -> scenario.database().run("alter table events drop column tokens"))
          .hasMessageContaining("view tallyroll.log_");
      assertThatThrownBy(
              () -> scenario.database().run("alter table events alter column tokens type bigint"))
          .hasMessageContaining("used by a view");
      scenario
          .database()
          .run("alter table events add column more text; alter table events drop column more");
      scenario.insert(5_000, 5_100, 3);
      scenario.refresh("usage");
      assertExact(scenario);
    }
  }

  /** A second rollup that reads more columns, made while a writer has an open transaction. */
  @Test
  void aSecondRollupOnTheSameSource_missesNothing() throws Exception {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(
          """
          rollup: few
          source: {table: public.events, tenant: tenant_id, time: ts}
          measures: {requests: count}
          grains: {1h: keep 1095d}
          """);
      scenario.insert(1, 500, 3);
      try (Connection writer = scenario.database().connect()) {
        writer.setAutoCommit(false);
        Sql.run(writer, Scenario.insertSql(501, 600, 3));
        Thread later =
            Thread.ofVirtual()
                .start(() -> {
                  try {
                    Thread.sleep(3_000);
                    writer.commit();
                  } catch (SQLException | InterruptedException e) {
                    throw new IllegalStateException(e);
                  }
                });
        scenario.apply(ANY);
        later.join();
      }
      scenario.insert(601, 700, 3);
      scenario.backfill("usage");
      for (String rollup : List.of("few", "usage")) {
        scenario.refresh(rollup);
        assertThat(scenario.verify(rollup).mismatches()).isEmpty();
      }
      scenario.database().run("delete from events where id % 2 = 0");
      for (String rollup : List.of("few", "usage")) {
        scenario.refresh(rollup);
        assertThat(scenario.verify(rollup).mismatches()).isEmpty();
      }
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from pg_class where relname like 'log\\_%' and relkind = 'p'"))
          .isEqualTo("1");
    }
  }

  /** The refresh in between sealed what it held; that it is back is no less true. */
  @Test
  void aTableThatWasSealedWhenItWent_isComputedAnewWhenItIsBack() {
    try (Scenario scenario = filled()) {
      scenario.database().run("alter table events detach partition events_may");
      String counted = scenario.database().value("select sum(requests) from tallyroll.usage_1d");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "insert into events_may select * from events_may; update events_may set tokens = 1 where id % 3 = 0");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo(counted);
      scenario
          .database()
          .run(
              "alter table events attach partition events_may for values from ('2026-05-01') to ('2026-06-01')");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select count(*) from tallyroll.seal")).isEqualTo("0");
      scenario.database().run("update events set tokens = 2 where id % 3 = 0");
      scenario.refresh("usage");
      assertThat(scenario.database().value("select count(*) from tallyroll.quarantine"))
          .isEqualTo("0");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** What a table can hold is what it holds now, and what it held when that was written down. */
  @Test
  void aTableAttachedAgainWithOtherBounds_isComputedAnewByThem() {
    try (Scenario scenario = filled()) {
      scenario
          .database()
          .run(
              "alter table events detach partition events_may; alter table events attach partition events_may for values from ('2026-05-15') to ('2026-06-01')");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "alter table events detach partition events_may; insert into events_may (id, tenant_id, ts) values (-1, 't0', '2026-05-03');"
                  + "alter table events attach partition events_may for values from ('2026-05-01') to ('2026-06-01')");
      scenario.refresh("usage");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
      scenario.database().run("truncate events_may");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /**
   * A refresh that cannot lock a new table reads its rows all the same where it computes anew what
   * another one held. What is deleted from it before it is captured must be looked for.
   */
  @Test
  void rowsDeletedFromANewTableThatCouldNotBeLocked_areNotCounted() throws SQLException {
    try (Scenario scenario = Scenario.withTablePerTenant()) {
      scenario.insert(1, 300, 5);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "create table events_new partition of events for values in ('new');"
                  + "insert into events (tenant_id, ts) values ('new', '2026-06-10 08:00Z'), ('new', '2026-06-12 08:00Z')");
      try (Connection writer = scenario.database().connect()) {
        writer.setAutoCommit(false);
        writer
            .createStatement()
            .execute("insert into events (tenant_id, ts) values ('new', '2026-06-12 09:00Z')");
        scenario.database().run("truncate events_rest");
        scenario.refresh("usage");
        assertThat(scenario.status("usage").awaited()).singleElement().asString().contains("new");
        // Nothing differs of what is computed anew anyhow.
        assertThat(scenario.repair("usage").buckets()).isZero();
        scenario.database().run("delete from events_new where ts < '2026-06-11'");
        writer.commit();
      }
      scenario.refresh("usage");
      scenario.refresh("usage");
      assertThat(scenario.status("usage").awaited()).isEmpty();
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** The new tenant's rows are in it before the next refresh. */
  @Test
  void aTableThatComesBackAsAnotherTenants_bringsTheirRows() {
    try (Scenario scenario = new Scenario()) {
      scenario
          .database()
          .run(
              "create table events "
                  + COLUMNS.formatted("timestamptz")
                  + " partition by list (tenant_id); create table events_a partition of events for values in ('a');"
                  + "create table events_b partition of events for values in ('b')");
      scenario.apply(ANY);
      scenario
          .database()
          .run(
              "insert into events (tenant_id, ts, tokens) select t, timestamptz '2026-06-14' - i * interval '1 hour', i from generate_series(1, 30) i, unnest(array['a', 'b']) t");
      scenario.refresh("usage");
      scenario
          .database()
          .run(
              "alter table events detach partition events_a; truncate events_a; insert into events_a (id, tenant_id, ts, tokens) values (99, 'n', '2026-06-13', 5);"
                  + "alter table events attach partition events_a for values in ('n')");
      scenario.refresh("usage");
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
    }
  }

  /** Who writes an archive is nobody who changes the source. */
  @Test
  void writesToADetachedTable_areNoBusinessOfReaders() {
    try (Scenario scenario = filled()) {
      scenario.database().run("alter table events detach partition events_may");
      scenario.refresh("usage");
      scenario.database().run("delete from events_may where id % 2 = 0");
      assertThat(scenario.query(QueryRequest.of("usage").measuring("requests")).incomplete())
          .isEmpty();
      assertThat(
              scenario
                  .database()
                  .value(
                      "select bool_and(complete) from tallyroll.usage_1d_fresh where bucket > '2026-06-02'"))
          .isEqualTo("t");
    }
  }

  /** The usual migration to partitions: the old table becomes one of them. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "alter table events rename to events_old; alter table events_old alter column id drop identity; create table events (like events_old including defaults) partition by range (ts); alter table events attach partition events_old for values from (minvalue) to ('2026-07-01')",
        "create table more () inherits (events)"
      })
  void aSourceWhoseChangesAreNotAllCapturedAnyMore_isRefusedUntilTheyAre(String migration) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.apply(ANY);
      scenario.insert(1, 100, 4);
      scenario.refresh("usage");
      scenario.database().run(migration);
      assertThatThrownBy(() -> scenario.refresh("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("not all changes are captured any more");
      assertThat(scenario.status("usage").isFailing()).isTrue();
    }
  }

  /** A MERGE that moves rows fires the triggers only of the actions that it names. */
  @Test
  void aMergeThatMovesRowsBetweenTables_isCapturedIfItNamesAllActions() {
    try (Scenario scenario = filled()) {
      String merge =
          "merge into events e using (select id, ts from events where ts < '2026-05-25') s on e.id = s.id %s when matched then update set ts = e.ts + interval '10 days' %s";
      scenario
          .database()
          .run(
              merge.formatted(
                  "when matched and false then delete",
                  "when not matched and false then insert default values"));
      scenario.refresh("usage");
      assertExact(scenario);
      assertCounts(scenario, "select count(*) from events");
      scenario
          .database()
          .run(
              "merge into events e using (select id from events where ts between '2026-05-26' and '2026-05-27') s on e.id = s.id when matched then update set ts = e.ts + interval '12 days'");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isNotEmpty();
    }
  }

  /** A day begins for all rollups of a source at once: none fails for another. */
  @Test
  void aNewTable_thatAnotherRefreshHasFoundSinceTheSnapshot_isNoFault() throws Exception {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.apply(Scenario.ROLLUP);
      scenario.apply(Scenario.ROLLUP.replace("rollup: usage", "rollup: second"));
      TestDatabase database = scenario.database();
      database.run(
          "create table events_july partition of events for values from ('2026-07-01') to ('2026-08-01')");
      try (Connection connection = database.database().open("refresh")) {
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        connection.setAutoCommit(false);
        Installed installed = Registry.get(connection, "usage");
        scenario.refresh("second");
        assertThat(Leaves.sealVanished(connection, connection, database.database(), installed))
            .isEmpty();
        connection.commit();
      }
      scenario.refresh("usage");
      assertThat(database.value("select count(*) from tallyroll.leaf where name like '%july%'"))
          .isEqualTo("1");
    }
  }

  /**
   * Two connections of a refresh, and an ALTER TABLE between them: no server sees that as a
   * deadlock.
   */
  @Test
  void alterTableOfAPartition_thatWaitsForARefresh_doesNotHoldItUp() throws Exception {
    try (Scenario scenario = Scenario.withPartitionedTable();
        ExecutorService pool = Executors.newSingleThreadExecutor()) {
      scenario.apply(Scenario.ROLLUP);
      TestDatabase database = scenario.database();
      String leaf =
          String.valueOf(
              database.value(
                  "select inhrelid::regclass from pg_inherits where inhparent = 'events'::regclass limit 1"));
      try (Connection writing = database.database().open("refresh");
          Connection reading = database.database().open("refresh")) {
        writing.setAutoCommit(false);
        reading.setAutoCommit(false);
        Installed installed = Registry.get(writing, "usage");
        Sql.run(writing, "set local lock_timeout = '3s'");
        Sql.run(reading, "lock table events in access share mode");
        Future<?> altering =
            pool.submit(() -> database.run("alter table " + leaf + " disable row level security"));
        Instant end = Instant.now().plusSeconds(60);
        while (!"t"
            .equals(database.value("select exists (select from pg_locks where not granted)"))) {
          assertThat(Instant.now()).as("it waits by then").isBefore(end);
          Thread.sleep(20);
        }
        assertThat(Leaves.sealVanished(writing, reading, database.database(), installed)).isEmpty();
        assertThat(altering.isDone()).isFalse();
        reading.commit();
        altering.get();
        writing.commit();
      }
    }
  }
}
