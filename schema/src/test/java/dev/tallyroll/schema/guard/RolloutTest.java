package dev.tallyroll.schema.guard;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/**
 * The rollout that guards are made for: legacy daily rollups, a new hourly one, and migrations that
 * run straight through to the drop, in one transaction each, whether anybody has filled the new one
 * or not.
 */
class RolloutTest {
  private static final String GUARD =
      """
      guard: usage_daily
      legacy: {table: public.usage_daily, tenant: tenant_id, bucket: day}
      replacement: {table: public.usage_hourly, tenant: tenant_id, bucket: hour}
      source: {table: public.task_usage, tenant: tenant_id, time: created_at}
      every: day
      by: [model]
      compare:
        tokens: {legacy: sum(total_tokens), source: sum(tokens)}
        cost: {tolerance: 0.01}
      backfill: node scripts/backfill.js
      """;

  /** What the migration tool runs as one transaction. */
  private static final String DROP =
      "select tallyroll.assert_covered('usage_daily'); drop table public.usage_daily;";

  private static final String BACKFILL =
      """
      insert into usage_hourly
      select tenant_id, date_trunc('hour', created_at), model, sum(tokens), sum(cost) from task_usage %s group by 1, 2, 3
      on conflict do nothing
      """;

  private final TestDatabase database = TestDatabase.create();

  @BeforeEach
  void legacy() throws SQLException {
    database.run(
        """
        create table task_usage (tenant_id int not null, model text, tokens int, cost numeric, created_at timestamptz not null);
        create table usage_daily (tenant_id int not null, day date not null, model text, total_tokens bigint, cost numeric,
          unique nulls not distinct (tenant_id, day, model));
        create table usage_hourly (tenant_id int not null, hour timestamptz not null, model text, tokens bigint, cost numeric,
          unique nulls not distinct (tenant_id, hour, model));
        """);
    install(GUARD);
  }

  @AfterEach
  void close() {
    database.close();
  }

  private void install(String guard) throws SQLException {
    try (Connection connection = database.connect()) {
      for (Guard each : GuardReader.read("guards.yaml", guard)) {
        Guards.install(connection, each, "1.2.3");
      }
    }
  }

  /** Ten days of history in source and legacy. */
  private void history() {
    database.run(
        """
        insert into task_usage
        select t, case when i % 3 = 0 then null else 'm' || i % 3 end, i, i / 7.0, timestamptz '2026-05-01 00:30Z' + i * interval '1 hour'
        from generate_series(1, 2) t, generate_series(0, 239) i;
        insert into usage_daily
        select tenant_id, (created_at at time zone 'UTC')::date, model, sum(tokens), round(sum(cost), 2) from task_usage group by 1, 2, 3;
        """);
  }

  private Guards.Plan plan() throws SQLException {
    try (Connection connection = database.connect()) {
      return Guards.plan(connection, GuardReader.read("guards.yaml", GUARD).getFirst());
    }
  }

  private void migrate() throws SQLException {
    try (Connection connection = database.connect()) {
      Sql.run(connection, DROP);
    }
  }

  /** Refuses, leaves the table, and gives the hint. */
  private String refused() {
    String[] hint = {""};
    assertThatThrownBy(this::migrate)
        .isInstanceOfSatisfying(
            PSQLException.class,
            fault -> {
              ServerErrorMessage said = Objects.requireNonNull(fault.getServerErrorMessage());
              assertThat(said.getSQLState()).isEqualTo("23001");
              hint[0] = said.getMessage() + "\n" + said.getHint();
            });
    assertThat(isDropped()).isFalse();
    assertThat(database.value("select count(*) from tallyroll.guard_proof")).isEqualTo("0");
    return hint[0];
  }

  private boolean isDropped() {
    return "t".equals(database.value("select to_regclass('public.usage_daily') is null"));
  }

  @Test
  void freshDatabase_passes_andLeavesAProof() throws SQLException {
    assertThat(plan().differences()).isEmpty();
    migrate();
    assertThat(isDropped()).isTrue();
    assertThat(
            database.value(
                "select concat_ws(' ', guard, legacy_rows, differences, version, waiver is null) from tallyroll.guard_proof"))
        .isEqualTo("usage_daily 0 0 1.2.3 t");
  }

  @Test
  void unrunBackfill_isRefused_withTheCommandThatMends() throws SQLException {
    history();
    assertThat(refused())
        .contains(
            "guard usage_daily: public.usage_daily is not covered by public.usage_hourly: ",
            "in 20 buckets, the first of tenant 1 at 2026-05-01 00:00:00+00")
        .endsWith("\nnode scripts/backfill.js");
    assertThat(plan().remedies()).containsExactly("node scripts/backfill.js");
  }

  @Test
  void interruptedBackfill_isRefused_thoughTheTableIsNotEmpty() {
    history();
    database.run(BACKFILL.formatted("where created_at >= '2026-05-04 05:00Z'"));
    assertThat(refused()).contains("in 8 buckets", "node scripts/backfill.js");
  }

  @Test
  void forgedWatermark_provesNothing() {
    history();
    database.run(
        """
        create table backfill_progress (name text, done_to timestamptz, complete boolean);
        insert into backfill_progress values ('usage_hourly', now(), true);
        insert into usage_hourly values (1, '2026-05-01', 'm1', 1, 1);
        """);
    assertThat(refused()).contains("in 20 buckets");
  }

  @Test
  void completeBackfill_passes_inOneTransactionWithTheDrop() throws SQLException {
    history();
    database.run(BACKFILL.formatted(""));
    assertThat(plan().differences()).isEmpty();
    migrate();
    assertThat(isDropped()).isTrue();
    assertThat(
            database.value(
                "select concat_ws(' ', legacy_rows, legacy_groups, replacement_groups, source_groups, differences, legacy_hash <> '0') from tallyroll.guard_proof"))
        .isEqualTo("60 60 60 60 0 t");
  }

  @Test
  void purgedSource_isRefused_andTheHintMendsIt() throws SQLException {
    history();
    database.run("delete from task_usage where created_at < '2026-05-06'");
    database.run(BACKFILL.formatted(""));
    String hint = refused();
    assertThat(hint)
        .contains("of 10 buckets the source has not enough any more")
        .doesNotContain("node");
    // All of the hint but its first line, which is the message, and comments.
    String mend = hint.substring(hint.indexOf('\n') + 1);
    try (Connection connection = database.connect()) {
      Sql.run(connection, mend);
    }
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void purgedSourceAndBucketInPart_areMendedByTheHint() throws SQLException {
    history();
    database.run(BACKFILL.formatted("where created_at > '2026-05-01 12:00Z'"));
    database.run("delete from task_usage where created_at < '2026-05-04'");
    String hint = refused();
    assertThat(hint).contains("of 2 buckets the source has not enough any more");
    try (Connection connection = database.connect()) {
      Sql.run(connection, hint.substring(hint.indexOf('\n') + 1));
    }
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void emptySourceWithLegacyHistory_isRefused() {
    history();
    database.run("truncate task_usage");
    assertThat(refused()).contains("of 20 buckets the source has not enough any more");
  }

  @Test
  void emptyLegacyOverASourceThatIsNotFilledIn_isRefused() {
    history();
    database.run("truncate usage_daily");
    assertThat(refused())
        .contains("presence: 1 expected (the source), 0 found", "node scripts/backfill.js");
  }

  @Test
  void sourcePurgedWithinABucket_isNoDifference() throws SQLException {
    history();
    database.run(BACKFILL.formatted(""));
    database.run("delete from task_usage where created_at < '2026-05-03 07:00Z'");
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void doubleCounting_isRefused_unlessMoreIsAllowed_orTheDayIsNotOver() throws SQLException {
    history();
    database.run(BACKFILL.formatted(""));
    database.run(
        "update usage_hourly set tokens = tokens * 2 where hour = '2026-05-02 05:00Z' and tenant_id = 2");
    assertThat(refused())
        .contains("in 1 bucket,", "tokens: 292 expected (the legacy table), 321 found");
    install(GUARD + "excess: allowed\n");
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void today_mayGrowOn() throws SQLException {
    database.run(
        """
        insert into usage_daily values (1, (now() at time zone 'UTC')::date, 'm', 5, 1);
        insert into usage_hourly values (1, date_trunc('day', now(), 'UTC'), 'm', 7, 1.5);
        insert into task_usage values (1, 'm', 7, 1.5, date_trunc('day', now(), 'UTC'));
        """);
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void waiver_isNamedAndDated_andIsShown() throws SQLException {
    history();
    try (Connection connection = database.connect()) {
      assertThatThrownBy(() ->
              Guards.waive(
                  connection,
                  "usage_dayly",
                  "a",
                  "b",
                  java.time.Instant.parse("2999-01-01T00:00:00Z")))
          .hasMessageContaining("did you mean 'usage_daily'?");
      Guards.waive(
          connection,
          "usage_daily",
          "ada",
          "history of 2026 is not needed",
          java.time.Instant.parse("2999-01-01T00:00:00Z"));
      Sql.run(connection, DROP);
      assertThat((Object) connection.getWarnings()).isNull();
    }
    assertThat(isDropped()).isTrue();
    assertThat(
            database.value(
                "select p.differences > 0 and w.granted_by = 'ada' from tallyroll.guard_proof p join tallyroll.guard_waiver w on w.id = p.waiver"))
        .isEqualTo("t");
  }

  @Test
  void waiverThatIsOver_isNone() {
    history();
    database.run(
        "insert into tallyroll.guard_waiver (guard, granted_by, reason, granted_at, until) values ('usage_daily', 'a', 'b', '2026-01-01', '2026-01-02')");
    refused();
  }

  @Test
  void writerMeanwhile_waitsForTheDrop() throws Exception {
    history();
    database.run(BACKFILL.formatted(""));
    try (Connection migration = database.connect();
        Connection writer = database.connect()) {
      migration.setAutoCommit(false);
      Sql.run(migration, "select tallyroll.assert_covered('usage_daily')");
      Sql.run(writer, "set lock_timeout = '200ms'");
      for (String write :
          List.of(
              "insert into usage_daily values (9, '2026-05-01', 'm', 1, 1)",
              "delete from usage_hourly")) {
        assertThatThrownBy(() -> Sql.run(writer, write)).hasMessageContaining("lock timeout");
      }
      Sql.run(writer, "select * from usage_daily");
      Sql.run(migration, "drop table usage_daily");
      migration.commit();
    }
  }

  @Test
  void repeatableRead_isRefused_sinceItMayNotSeeWhatWasCommitted() throws SQLException {
    try (Connection connection = database.connect()) {
      connection.setAutoCommit(false);
      Sql.run(connection, "set transaction isolation level repeatable read");
      assertThatThrownBy(() -> Sql.run(connection, DROP)).hasMessageContaining("repeatable read");
    }
  }

  @Test
  void hiddenRows_proveNothing() throws SQLException {
    history();
    database.run(
        """
        create role guard_migrator login password 'guard';
        alter table usage_daily owner to guard_migrator;
        alter table usage_hourly owner to guard_migrator;
        alter table usage_daily enable row level security;
        alter table usage_daily force row level security;
        create policy own on usage_daily using (tenant_id = 0);
        grant select on task_usage to guard_migrator;
        grant usage on schema tallyroll to guard_migrator;
        grant all on all tables in schema tallyroll to guard_migrator;
        truncate task_usage;
        """);
    try (Connection connection = database.connect("guard_migrator", "guard")) {
      assertThatThrownBy(() -> Sql.run(connection, DROP))
          .hasMessageContaining("the role guard_migrator sees only some rows");
      assertThatThrownBy(() -> Guards.plan(connection, GuardReader.read("g", GUARD).getFirst()))
          .hasMessageContaining("nothing can be proved");
      database.run(
          "create policy guard_reads on usage_daily for select to guard_migrator using (true)");
      assertThatThrownBy(() -> Sql.run(connection, DROP)).hasMessageContaining("is not covered");
    } finally {
      database.run("drop owned by guard_migrator cascade; drop role guard_migrator");
    }
  }

  @Test
  void emittedMigration_isWholeByItself_andReplaysOnAFreshDatabase() throws SQLException {
    String migration;
    try (Connection connection = database.connect()) {
      migration =
          Guards.emit(connection, GuardReader.read("guards.yaml", GUARD).getFirst(), "1.2.3");
    }
    try (TestDatabase fresh = TestDatabase.create();
        Connection connection = fresh.connect()) {
      Sql.run(connection, "drop schema if exists tallyroll cascade");
      Sql.run(
          connection,
          "create table task_usage (tenant_id int, model text, tokens int, cost numeric, created_at timestamptz);"
              + " create table usage_daily (tenant_id int, day date, model text, total_tokens bigint, cost numeric);"
              + " create table usage_hourly (tenant_id int, hour timestamptz, model text, tokens bigint, cost numeric)");
      Sql.run(connection, migration);
      Sql.run(connection, migration);
      Sql.run(connection, DROP);
      assertThat(fresh.value("select count(*) from tallyroll.guard_proof")).isEqualTo("1");
      assertThat(Guards.status(connection).getFirst().differences()).isNull();
    }
  }

  @Test
  void guardThatIsNotInstalled_isRefused() throws SQLException {
    try (Connection connection = database.connect()) {
      assertThatThrownBy(() -> Sql.run(connection, "select tallyroll.assert_covered('other')"))
          .hasMessageContaining("there is no guard other");
    }
  }

  @Test
  void status_tellsHowItStands() throws SQLException {
    history();
    try (Connection connection = database.connect()) {
      assertThat(Guards.status(connection))
          .singleElement()
          .satisfies(status -> {
            assertThat(status.differences()).isPositive();
            assertThat(status.proofs()).isZero();
          });
    }
  }

  /** A guard over one measure, for tables {@code d} and {@code h} without a source. */
  private void small(String more, String rows) throws SQLException {
    database.run(
        "create table d (tenant_id text, day date, model text, tokens numeric); create table h (tenant_id text, hour timestamptz, model text, tokens numeric); "
            + rows);
    install(
        """
        guard: small
        legacy: {table: public.d, tenant: tenant_id, bucket: day}
        replacement: {table: public.h, tenant: tenant_id, bucket: hour}
        by: [model]
        compare: {tokens: {}}
        """
            + more);
  }

  private String hint(String guard) {
    String[] hint = {""};
    assertThatThrownBy(
            () -> {
              try (Connection connection = database.connect()) {
                Sql.run(connection, "select tallyroll.assert_covered('" + guard + "')");
              }
            })
        .isInstanceOfSatisfying(
            PSQLException.class,
            fault ->
                hint[0] =
                    String.valueOf(
                        Objects.requireNonNull(fault.getServerErrorMessage()).getHint()));
    return hint[0];
  }

  private void passes(String guard) throws SQLException {
    try (Connection connection = database.connect()) {
      Sql.run(connection, "select tallyroll.assert_covered('" + guard + "')");
    }
  }

  @Test
  void copy_touchesOnlyGroupsThatDiffer() throws SQLException {
    small(
        "",
        "insert into d values ('a', '2026-05-01', 'm1', 10), (null, '2026-05-01', null, 5);"
            + " insert into h values ('a', '2026-05-01 12:00Z', 'm1', 5), ('a', '2026-05-01 12:00Z', 'm2', 100), ('', '2026-05-01 12:00Z', 'm3', 7)");
    install(
        """
        guard: small
        legacy: {table: public.d, tenant: tenant_id, bucket: day}
        replacement: {table: public.h, tenant: tenant_id, bucket: hour}
        by: [model]
        excess: allowed
        compare: {tokens: {}}
        """);
    database.run(hint("small"));
    passes("small");
    assertThat(
            database.value(
                "select string_agg(concat_ws('|', tenant_id, model, tokens), ' ' order by tokens) from h"))
        .isEqualTo("5 |m3|7 a|m1|10 a|m2|100");
  }

  @Test
  void copy_leavesWhatHasMoreColumns_toPeople() throws SQLException {
    small(
        "",
        "alter table h add column p95 numeric; insert into d values ('a', '2026-05-01', 'm1', 10), ('a', '2026-05-02', 'm1', 20);"
            + " insert into h values ('a', '2026-05-01 12:00Z', 'm1', 5, 1.5)");
    String hint = hint("small");
    assertThat(hint)
        .contains("left to you: the replacement has more columns (p95)")
        .doesNotContain("delete");
    database.run(hint);
    assertThat(
            database.value(
                "select string_agg(concat_ws('|', tokens, p95), ' ' order by tokens) from h"))
        .isEqualTo("5|1.5 20");
  }

  @Test
  void copy_writesDaysOfTheZone() throws SQLException {
    small(
        "zone: America/New_York\n",
        "insert into d values ('a', '2026-05-01', 'm1', 10), ('a', '2026-05-02', 'm1', 20)");
    try (Connection connection = database.connect()) {
      Sql.run(connection, "set timezone = 'Asia/Tokyo'");
      Sql.run(connection, hint("small"));
    }
    passes("small");
    assertThat(database.value("select min(hour) at time zone 'UTC' from h"))
        .isEqualTo("2026-05-01 04:00:00");
  }

  @Test
  void groupThatIsNotThere_isMissing_whateverItsNumber() throws SQLException {
    small(
        "excess: allowed\n",
        "insert into d values ('a', '2026-05-01', 'refund', -500), ('a', '2026-05-01', 'free', 0), ('a', '2026-05-01', 'unknown', null),"
            + " ('a', (now() at time zone 'UTC')::date, 'today', -1), ('a', '2026-05-01', 'nan', 3);"
            + " insert into h values ('a', '2026-05-01', 'nan', 'NaN')");
    try (Connection connection = database.connect()) {
      assertThat(Guards.status(connection))
          .filteredOn(status -> status.name().equals("small"))
          .singleElement()
          // Four that are not there, with their two numbers that are not 0, and what is no number.
          .satisfies(status -> assertThat(status.differences()).isEqualTo(4 + 2 + 1));
    }
    database.run(hint("small"));
    passes("small");
  }

  @Test
  void extraGroup_isNoMatch_unlessMoreIsAllowed() throws SQLException {
    small(
        "",
        "insert into d values ('a', '2026-05-01', 'm', 1); insert into h values ('a', '2026-05-01', 'm', 1), ('b', '2026-05-01', 'm', 1)");
    hint("small");
    database.run("delete from h where tenant_id = 'b'");
    passes("small");
  }

  @Test
  void nullBucketAndInfinity_areCompared() throws SQLException {
    small(
        "",
        "insert into d values ('a', null, 'm', 'Infinity'), ('b', null, 'm', 2); insert into h values ('a', null, 'm', 'Infinity')");
    try (Connection connection = database.connect()) {
      assertThat(Guards.status(connection))
          .filteredOn(status -> status.name().equals("small"))
          .singleElement()
          .satisfies(status -> assertThat(status.differences()).isEqualTo(2));
    }
    database.run(hint("small"));
    passes("small");
  }

  @Test
  void renamedLegacyTable_isNotTakenForGone() throws SQLException {
    small(
        "",
        "insert into d values ('a', '2026-05-01', 'm', 1); alter table d rename to d_old; alter table d_old rename to d");
    database.run("alter table d rename to d_old");
    assertThat(hint("small")).contains("name it so");
    database.run("drop table d_old");
    passes("small");
  }

  @Test
  void viewsOfWhatIsToGo_areNoReplacement() {
    database.run(
        "create table d (tenant_id text, day date, tokens numeric); create view v as select * from d");
    for (String replacement : List.of("public.v", "public.d")) {
      assertThatThrownBy(() ->
              install(
                  "guard: g\nlegacy: {table: public.d, bucket: day}\nreplacement: {table: %s, bucket: day}\ncompare: {tokens: {}}\n"
                      .formatted(replacement)))
          .hasMessageMatching(".*(there is no table public.v|are the same table).*");
    }
  }

  @Test
  void tenantOnOneSideOnly_isRefused() {
    assertThatThrownBy(() ->
            install(
                GUARD.replace(
                    "legacy: {table: public.usage_daily, tenant: tenant_id,",
                    "legacy: {table: public.usage_daily,")))
        .hasMessageContaining("on all sides, or on none");
  }

  @Test
  void freshDatabase_needsNoReplacementYet() throws SQLException {
    database.run("drop table usage_hourly");
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void rowsOfToday_ofTheSource_areNotAtStake() throws SQLException {
    history();
    database.run(BACKFILL.formatted(""));
    database.run("insert into task_usage values (1, 'm1', 5, 1, now())");
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void lateRow_thatTheReplacementHasFromTheSource_isNoExcess() throws SQLException {
    history();
    database.run("insert into task_usage values (1, 'm1', 5, 1, '2026-05-03 10:00Z')");
    database.run(BACKFILL.formatted(""));
    install(GUARD.replace("cost: {tolerance: 0.01}", "cost: {tolerance: 0.01, source: sum(cost)}"));
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void tenantsWhoseRetentionDiffers_arePurgedInPartEach() throws SQLException {
    history();
    database.run(BACKFILL.formatted(""));
    database.run("delete from task_usage where tenant_id = 2 and created_at < '2026-05-04 07:00Z'");
    migrate();
    assertThat(isDropped()).isTrue();
  }

  @Test
  void sourcePurgedWithinABucket_isCopied_notFilledInAgain() throws SQLException {
    history();
    database.run("delete from task_usage where created_at < '2026-05-04 07:00Z'");
    database.run(BACKFILL.formatted(""));
    String hint = refused();
    assertThat(hint).doesNotContain("node");
    database.run(hint.substring(hint.indexOf('\n') + 1));
    migrate();
    assertThat(isDropped()).isTrue();
  }
}
