package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Installer.Outcome;
import dev.tallyroll.postgres.install.Redefinition;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.postgres.verify.VerifyReport;
import java.sql.Connection;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;

/** Giving an installed rollup another definition, while it is read, written and refreshed. */
class RedefinitionTest {
  private static final String APPEND = Scenario.ROLLUP;
  private static final String ANY = APPEND.replace("changes: append", "changes: any");

  private static Scenario filled(String rollup) {
    Scenario scenario = Scenario.withTable();
    scenario.insert(1, 600, 3);
    scenario.apply(rollup);
    scenario.backfill("usage");
    scenario.insert(601, 800, 3);
    scenario.refresh("usage");
    scenario.insert(801, 900, 3);
    return scenario;
  }

  private static String edited(String rollup, String edit) {
    String[] parts = edit.split("=>", -1);
    String after = rollup.replace(parts[0].strip(), parts[1].strip());
    assertThat(after).isNotEqualTo(rollup);
    return after;
  }

  /**
   * Verified, and equal to what the same definition makes of the source when it is installed anew.
   */
  private static void assertAsInstalledAnew(Scenario scenario, String rollup) {
    scenario.refresh("usage");
    VerifyReport report = scenario.verify("usage");
    assertThat(report.mismatches()).isEmpty();
    assertThat(report.uncovered()).isEmpty();
    scenario.apply(rollup.replace("rollup: usage", "rollup: anew"));
    scenario.backfill("anew");
    for (String grain : List.of("1m", "5m", "1h", "1d")) {
      String there =
          scenario.database().value("select to_regclass('tallyroll.usage_" + grain + "')");
      assertThat(
              scenario.database().value("select to_regclass('tallyroll.anew_" + grain + "')")
                  == null)
          .isEqualTo(there == null);
      if (there != null) {
        assertThat(contents(scenario, "usage_" + grain))
            .isEqualTo(contents(scenario, "anew_" + grain));
        assertThat(contents(scenario, "usage_" + grain + "_fresh"))
            .isEqualTo(contents(scenario, "anew_" + grain));
      }
    }
    new Drop(scenario.database().database()).run("anew");
  }

  private static String contents(Scenario scenario, String table) {
    String text =
        scenario
            .database()
            .value(
                "select string_agg((to_jsonb(r) - 'score' - 'duration_ms_sum' - 'complete')::text, E'\\n' order by (to_jsonb(r) - 'score' - 'duration_ms_sum' - 'complete')::text) from tallyroll."
                    + table
                    + " r");
    return text == null ? "" : text;
  }

  private static void assertNothingIsLeft(Scenario scenario) {
    assertThat(
            scenario
                .database()
                .value(
                    "select string_agg(relname, ', ') from pg_class where relname like '%~%' and relpersistence <> 't'"))
        .isNull();
    assertThat(
            scenario
                .database()
                .value("select string_agg(proname, ', ') from pg_proc where proname like '%~%'"))
        .isNull();
    assertThat(
            scenario
                .database()
                .value(
                    "select string_agg(conname, ', ') from pg_constraint where conname = 'tallyroll_bounds'"))
        .isNull();
    assertThat(scenario.database().value("select string_agg(name, ', ') from tallyroll.rollup"))
        .isEqualTo("usage");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "users:       distinct(user_id) => users: distinct(user_id)\n  most: max(big)",
        "tokens:      sum(tokens) => tokens: sum(tokens) where status = 'ok'",
        "cost:        sum(cost) => cost: sum(big)",
        "dimensions: [project, model] => dimensions: [project, model, status]",
        "dimensions: [project, model] => dimensions: [status, model]",
        "dimensions: [project, model] => dimensions: [{project: \"upper(project)\"}, model]",
        "5m: keep 90d, 1h: keep 210d => 5m: keep 91d, 1h: keep 300d"
      })
  void aDefinitionThatNeedsTheRows_isBuiltBesideAndSwapped(String edit) {
    for (String rollup : List.of(APPEND, ANY)) {
      try (Scenario scenario = filled(rollup)) {
        String after = edited(rollup, edit);
        scenario.change(after, false);
        assertNothingIsLeft(scenario);
        scenario.insert(901, 950, 3);
        assertAsInstalledAnew(scenario, after);
      }
    }
  }

  @Test
  void aGrainThatComesWithANewMeasure_leavesNothingOfTheSwap() {
    String before = edited(ANY, "5m: keep 90d, => ");
    try (Scenario scenario = filled(before)) {
      scenario.change(
          edited(
              ANY, "users:       distinct(user_id) => users: distinct(user_id)\n  most: max(big)"),
          false);
      assertNothingIsLeft(scenario);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "errors:      count where status = 'error' => ",
        "duration_ms: distribution(duration_ms) => ",
        "dimensions: [project, model] => dimensions: [model]",
        "dimensions: [project, model] => dimensions: []",
        "dimensions: [project, model] => dimensions: [model, project]",
        "1h: keep 210d,  => ",
        "1m: keep 37d, 5m: keep 90d => 1m: keep 37d",
        "1d: keep 1095d => 1d: keep 2000d"
      })
  void whatTheStoredPartialsTell_isDoneAtOnce(String edit) {
    for (String rollup : List.of(APPEND, ANY)) {
      try (Scenario scenario = filled(rollup)) {
        String after = edited(rollup, edit);
        assertThat(scenario.change(after, false)).isEqualTo(Outcome.CHANGED);
        assertNothingIsLeft(scenario);
        scenario.insert(901, 950, 3);
        assertAsInstalledAnew(scenario, after);
        // And back, which takes rows where a measure or a dimension comes.
        scenario.change(rollup, false);
        assertNothingIsLeft(scenario);
        assertAsInstalledAnew(scenario, rollup);
      }
    }
  }

  @Test
  void aLongerKeep_saysFromWhenItHolds() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 20);
      scenario.apply(ANY.replace("1m: keep 37d", "1m: keep 5d"));
      scenario.backfill("usage");
      scenario.refresh("usage");
      assertThat(
              scenario.apply(ANY.replace("1m: keep 37d", "1m: keep 10d")).getFirst().difference())
          .containsExactly(
              "~ grain 1m: keep 5d -> keep 10d",
              "grain 1m goes back to 2026-06-10T00:00:00Z, and 10d from 2026-06-20T00:00:00Z on");
      // One that is shorter holds at once.
      assertThat(scenario.apply(ANY.replace("1m: keep 37d", "1m: keep 4d")).getFirst().difference())
          .containsExactly("~ grain 1m: keep 10d -> keep 4d");
    }
  }

  @ParameterizedTest
  @CsvSource({"append, any", "any, append"})
  void theOtherCapture_takesOverWithoutAGap(String from, String to) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 600, 3);
      String before = APPEND.replace("changes: append", "changes: " + from);
      String after = APPEND.replace("changes: append", "changes: " + to);
      scenario.apply(before);
      // Not filled yet: live rows of these days are merged by one capture and not by the other.
      scenario.insert(601, 700, 3);
      scenario.refresh("usage");
      scenario.insert(701, 800, 3);
      assertThat(scenario.change(after, false)).isEqualTo(Outcome.CHANGED);
      scenario.insert(801, 900, 3);
      scenario.refresh("usage");
      scenario.backfill("usage");
      if (to.equals("any")) {
        scenario
            .database()
            .run(
                "update events set tokens = tokens + 1 where id % 5 = 0; delete from events where id % 7 = 0");
      } else {
        assertThatThrownBy(() -> scenario.database().run("delete from events"))
            .hasMessageContaining("append-only");
      }
      assertAsInstalledAnew(scenario, after);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from pg_attribute where attname = 'tallyroll_xid' and attrelid = 'events'::regclass"))
          .isEqualTo(to.equals("any") ? "0" : "1");
      assertThat(
              scenario
                  .database()
                  .value("select count(*) from tallyroll.source where log is not null"))
          .isEqualTo(to.equals("any") ? "1" : "0");
      assertNothingIsLeft(scenario);
    }
  }

  @Test
  void viewsAndGrantsOfOthers_outliveAChange() {
    try (Scenario scenario = filled(ANY)) {
      scenario.database().makeRole("tallyroll_test_reader", "nologin");
      scenario
          .database()
          .run(
              "grant usage on schema tallyroll to tallyroll_test_reader;"
                  + "grant select on tallyroll.usage_1d, tallyroll.usage_1d_fresh to tallyroll_test_reader;"
                  + "grant execute on function tallyroll.usage_1d_tail() to tallyroll_test_reader;"
                  + "create view spend as select tenant, bucket, sum(cost) as cost from tallyroll.usage_1d group by 1, 2;"
                  + "create view spend_now as select tenant, bucket, requests, complete from tallyroll.usage_1d_fresh");
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      assertThat(scenario.change(after, false)).isEqualTo(Outcome.BUILDING);
      assertThat(scenario.database().value("select sum(requests) from spend_now")).isEqualTo("900");
      assertThat(scenario.database().value("select round(sum(cost), 3) from spend"))
          .isEqualTo(scenario.database().value("select round(sum(cost), 3) from events"));
      assertThat(
              scenario
                  .database()
                  .value(
                      "select has_table_privilege('tallyroll_test_reader', 'tallyroll.usage_1d', 'select')"
                          + " and has_table_privilege('tallyroll_test_reader', 'tallyroll.usage_1d_fresh', 'select')"
                          + " and has_function_privilege('tallyroll_test_reader', 'tallyroll.usage_1d_tail()', 'execute')"))
          .isEqualTo("t");
      // What stands on a column keeps it from going, and says so.
      assertThatThrownBy(() -> scenario.change(edited(after, "cost: sum(cost) => "), false))
          .isInstanceOf(TallyrollException.class)
          .hasMessageContaining("cost")
          .hasMessageContaining("view spend");
      // Of what has to be built before anything is, and not after hours.
      for (String edit :
          List.of(
              "cost: sum(cost) => ",
              "cost: sum(cost) => cost: max(tokens)",
              ", 1d: keep 1095d => ")) {
        String built = edited(edited(after, edit), "most: max(big) => most: min(big)");
        assertThatThrownBy(() -> scenario.apply(built))
            .as(edit)
            .isInstanceOf(TallyrollException.class)
            .hasMessageContaining(
                "cannot be removed, since something of yours stands on it (view spend");
        assertThat(scenario.database().value("select string_agg(name, ', ') from tallyroll.rollup"))
            .isEqualTo("usage");
      }
      assertAsInstalledAnew(scenario, after);
      scenario.database().run("drop view spend, spend_now");
      assertThat(scenario.change(edited(after, "cost: sum(cost) => "), false))
          .isEqualTo(Outcome.CHANGED);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select has_table_privilege('tallyroll_test_reader', 'tallyroll.usage_1d_fresh', 'select')"))
          .isEqualTo("t");
      assertNothingIsLeft(scenario);
    }
  }

  /** Queries of seconds follow each other: a change waits for its moment, and lets them go on. */
  @Test
  void aReaderOfSeconds_holdsUpAChange_andDoesNotMakeItFail() throws Exception {
    try (Scenario scenario = filled(ANY);
        ExecutorService threads = Executors.newSingleThreadExecutor();
        Connection reader = scenario.database().connect()) {
      reader.setAutoCommit(false);
      reader.createStatement().execute("select count(*) from tallyroll.usage_1d_fresh");
      String after = edited(ANY, "1h: keep 210d => 1h: keep 300d");
      Future<Outcome> changed = threads.submit(() -> scenario.change(after, false));
      // Longer than eight attempts of up to a second.
      assertThatThrownBy(() -> changed.get(9, TimeUnit.SECONDS))
          .isInstanceOf(TimeoutException.class);
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d_fresh"))
          .isEqualTo("900");
      reader.rollback();
      assertThat(changed.get(20, TimeUnit.SECONDS)).isEqualTo(Outcome.CHANGED);
      assertAsInstalledAnew(scenario, after);
    }
  }

  @Test
  void aReaderThatDoesNotEnd_isNamed_andNothingIsChanged() throws Exception {
    try (Scenario scenario = filled(ANY);
        Connection reader = scenario.database().connect()) {
      reader.setAutoCommit(false);
      reader.createStatement().execute("select count(*) from tallyroll.usage_1d_fresh");
      int process = reader.unwrap(PGConnection.class).getBackendPID();
      assertThatThrownBy(
              () -> scenario.change(edited(ANY, "1h: keep 210d => 1h: keep 300d"), false))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DATABASE))
          .hasMessageContaining("nothing is changed")
          .hasMessageContaining("process " + process + " of ");
      reader.rollback();
      assertAsInstalledAnew(scenario, ANY);
    }
  }

  @Test
  void aChangeThatWasKilled_isGoneOnWith_orGivenUp() {
    for (String rollup : List.of(APPEND, ANY)) {
      try (Scenario scenario = filled(rollup)) {
        String after =
            edited(rollup, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
        assertThat(scenario.apply(after).getFirst().outcome()).isEqualTo(Outcome.BUILDING);
        // The old one goes on, the new one is refreshed like any other.
        scenario.insert(901, 950, 3);
        scenario.refresh("usage");
        scenario.refresh("usage~");
        assertThat(scenario.verify("usage").mismatches()).isEmpty();
        assertThat(scenario.apply(after).getFirst().outcome()).isEqualTo(Outcome.BUILDING);
        scenario.finish("usage");
        scenario.finish("usage");
        assertNothingIsLeft(scenario);
        assertAsInstalledAnew(scenario, after);
        assertThat(
                scenario
                    .apply(rollup.replace("1d: keep 1095d", "1d: keep 90d"))
                    .getFirst()
                    .outcome())
            .isEqualTo(Outcome.CHANGED);
        assertThat(scenario.apply(after).getFirst().outcome()).isEqualTo(Outcome.BUILDING);
        scenario.backfill("usage~");
        scenario.apply(rollup.replace("1d: keep 1095d", "1d: keep 90d"));
        assertNothingIsLeft(scenario);
        scenario.apply(after);
        new Drop(scenario.database().database()).run("usage");
        assertThat(scenario.database().value("select count(*) from tallyroll.rollup"))
            .isEqualTo("0");
      }
    }
  }

  @Test
  void rowsThatAreGone_areSaid_andWhatIsNewBeginsAfterThem() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 900, 20);
      scenario.apply(ANY);
      scenario.backfill("usage");
      String before = contents(scenario, "usage_1d");
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      assertThat(contents(scenario, "usage_1d")).isEqualTo(before);
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      assertThatThrownBy(() -> scenario.change(after, false))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("before 2026-06-01T00:00:00Z are gone")
          .hasMessageContaining("most: max(big)")
          .hasMessageContaining("--start-now");
      assertNothingIsLeft(scenario);
      scenario.change(after, true);
      assertNothingIsLeft(scenario);
      // Late rows behind the seal still count, in the new measure too.
      scenario
          .database()
          .run(
              "create table events_may partition of events for values from ('2026-05-01') to ('2026-06-01'); insert into events (tenant_id, ts, big) values ('t0', '2026-05-30', 7)");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("901");
      assertThat(
              scenario
                  .database()
                  .value("select max(most) from tallyroll.usage_1d where bucket < '2026-06-01'"))
          .isEqualTo("7");
      assertThat(scenario.database().value("select max(most) from tallyroll.usage_1d"))
          .isEqualTo(scenario.database().value("select max(big) from events"));
      QueryRequest all =
          QueryRequest.of("usage").measuring("most").range("2026-05-20", "2026-06-15");
      assertThatThrownBy(() -> scenario.query(all))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_COVERED))
          .hasMessageContaining("known from 2026-06-01T00:00:00Z on");
      // What is stored tells what a dimension less is, also of that time.
      String fewer = edited(after, "dimensions: [project, model] => dimensions: [model]");
      assertThat(scenario.change(fewer, false)).isEqualTo(Outcome.CHANGED);
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("901");
      // And a grain is made from finer ones, as far as they reach.
      scenario.change(edited(fewer, "1h: keep 210d,  => "), false);
      assertThat(scenario.change(fewer, false)).isEqualTo(Outcome.CHANGED);
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1h"))
          .isEqualTo("901");
    }
  }

  /** A tenant's table was dropped: no seal, no day before the first row tells of that. */
  @Test
  void rowsOfATenantThatAreGone_areNotLostInSilence() {
    try (Scenario scenario = Scenario.withTablePerTenant()) {
      scenario.insert(1, 600, 3);
      scenario.apply(ANY);
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario.database().run("drop table events_t0");
      scenario.refresh("usage");
      String before = contents(scenario, "usage_1d");
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      assertThatThrownBy(() -> scenario.change(after, false))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("rows of tenant 't0' from 2026-06-12T")
          .hasMessageContaining("--accept-loss")
          .hasMessageContaining("drop usage~");
      assertThat(contents(scenario, "usage_1d")).isEqualTo(before);
      // What the stored partials tell is done all the same.
      new Drop(scenario.database().database()).run("usage~");
      scenario.change(edited(ANY, "1h: keep 210d,  => "), false);
      assertThat(contents(scenario, "usage_1d")).isEqualTo(before);

      scenario.apply(after);
      new Redefinition(scenario.database().database(), scenario.clock())
          .acceptingLoss()
          .finish("usage", 1, 0, new Backfill.Progress() {});
      assertAsInstalledAnew(scenario, after);
      assertNothingIsLeft(scenario);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        // Of what is gone only the days of a zone are kept; nothing else is kept at all.
        "1h: keep 2d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}; 1h: keep 2d, 1d: {keep: 1095d, zones: [Asia/Kolkata]}",
        "1d: {keep: 1095d, zones: [Asia/Kolkata]}; 1d: {keep: 1095d, zones: [Asia/Kolkata]}",
        "1m: keep 37d; 1h: keep 210d",
        "1h: keep 210d; 5m: keep 90d"
      })
  void rowsOfATenantThatAreGone_areMissedInAnyGrain(String before, String after) {
    try (Scenario scenario = Scenario.withTablePerTenant()) {
      String all = "1m: keep 37d, 5m: keep 90d, 1h: keep 210d, 1d: keep 1095d";
      scenario.insert(1, 300, 20);
      scenario.apply(edited(ANY, all + " => " + before));
      scenario.backfill("usage");
      scenario.database().run("drop table events_t0");
      scenario.refresh("usage");
      String other =
          edited(
              edited(ANY, all + " => " + after),
              "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      assertThatThrownBy(() -> scenario.change(other, false))
          .hasMessageContaining("tenant 't0'")
          .hasMessageContaining("--accept-loss");
    }
  }

  /** Rows that are deleted while it is built are no loss. */
  @Test
  void rowsThatAreDeletedWhileItIsBuilt_areNotMissed() {
    try (Scenario scenario = filled(ANY)) {
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      scenario.apply(after);
      scenario.database().run("delete from events where tenant_id = 't1'");
      scenario.finish("usage");
      assertAsInstalledAnew(scenario, after);
    }
  }

  /** They are older than anything that was counted, and both definitions count them. */
  @Test
  void rowsThatComeLateBehindASealWhileItIsBuilt_areNotTakenForRowsThatWent() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run("insert into events (tenant_id, ts) values ('t0', '2026-06-03 10:00Z')");
      scenario.insert(1, 600, 3);
      scenario.apply(ANY);
      scenario.backfill("usage");
      new Seals(scenario.database().database(), scenario.clock())
          .seal("usage", Instant.parse("2026-06-04T00:00:00Z"), List.of());
      scenario.database().run("delete from events where ts < '2026-06-04'");
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      new Installer(scenario.database().database(), scenario.clock())
          .apply(Scenario.definitions(after), true);
      scenario
          .database()
          .run("insert into events (tenant_id, ts) values ('t0', '2026-06-01 10:00Z')");
      scenario.finish("usage");
      assertNothingIsLeft(scenario);
      scenario.refresh("usage");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select string_agg(bucket::date || ' ' || requests, ', ' order by bucket) from tallyroll.usage_1d where bucket < '2026-06-04'"))
          .isEqualTo("2026-06-01 1, 2026-06-03 1");
    }
  }

  /** Whether anything was counted of the time of the rows that went, or they were poison alone. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void poisonWhoseRowIsGone_staysInQuarantine_once(boolean isSomethingCounted) {
    String poison =
        "insert into events (tenant_id, ts, project) values ('t0', '%s', repeat('x', 600))";
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 600, 3);
      scenario.database().run(poison.formatted("2026-06-02 10:00Z"));
      if (isSomethingCounted) {
        scenario
            .database()
            .run("insert into events (tenant_id, ts) values ('t0', '2026-06-01 10:00Z')");
      }
      scenario.apply(ANY);
      scenario.backfill("usage");
      new Seals(scenario.database().database(), scenario.clock())
          .seal("usage", Instant.parse("2026-06-04T00:00:00Z"), List.of());
      scenario.database().run("delete from events where ts < '2026-06-04'");
      scenario.refresh("usage");
      String times =
          "select string_agg(source_row ->> 'ts', ', ' order by 1) from (select source_row from tallyroll.quarantine where rollup = 'usage' and kind = 'row' order by source_row ->> 'ts') q";
      assertThat(scenario.database().value(times)).isEqualTo("2026-06-02T10:00:00+00:00");
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      new Installer(scenario.database().database(), scenario.clock())
          .apply(Scenario.definitions(after), true);
      // Both definitions read it.
      scenario.database().run(poison.formatted("2026-06-03 10:00Z"));
      scenario.finish("usage");
      scenario.refresh("usage");
      assertThat(scenario.database().value(times))
          .isEqualTo("2026-06-02T10:00:00+00:00, 2026-06-03T10:00:00+00:00");
    }
  }

  @Test
  void rowsThatGoWhileItIsBuilt_keepTheOldDefinition() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 600, 20);
      scenario.apply(ANY);
      scenario.backfill("usage");
      String before = contents(scenario, "usage_1d");
      String after = edited(ANY, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      assertThat(scenario.apply(after).getFirst().outcome()).isEqualTo(Outcome.BUILDING);
      scenario.database().run("drop table events_may");
      scenario.refresh("usage");
      assertThatThrownBy(() -> scenario.finish("usage"))
          .hasMessageContaining("went while its new definition was built")
          .hasMessageContaining("drop usage~");
      scenario.refresh("usage");
      assertThat(contents(scenario, "usage_1d")).isEqualTo(before);
      new Drop(scenario.database().database()).run("usage~");
      assertNothingIsLeft(scenario);
      scenario.change(after, true);
      assertThat(
              scenario
                  .database()
                  .value(
                      "select bool_or(complete) from tallyroll.usage_1d_fresh where bucket < '2026-06-01'"))
          .isEqualTo("f");
      assertThat(
              scenario
                  .database()
                  .value(
                      "select bool_and(complete) from tallyroll.usage_1d_fresh where bucket >= '2026-06-01'"))
          .isEqualTo("t");
      // What began late is still known to have begun late after the next change.
      scenario.change(edited(after, "5m: keep 90d, 1h: keep 210d => 5m: keep 90d"), true);
      scenario.change(
          edited(
              after,
              "duration_ms: distribution(duration_ms) => duration_ms: distribution(duration_ms)\n  more: max(id)"),
          true);
      assertThat(
              scenario
                  .database()
                  .value("select string_agg(name, ',' order by name) from tallyroll.start"))
          .isEqualTo("more,most");
    }
  }

  @Test
  void anotherChangeThanTheOneBegun_keepsItsCapture() {
    try (Scenario scenario = filled(APPEND)) {
      String one = edited(APPEND, "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)");
      assertThat(scenario.apply(one).getFirst().outcome()).isEqualTo(Outcome.BUILDING);
      String other = one.replace("changes: append", "changes: any").replace("most:", "greatest:");
      assertThat(scenario.apply(other).getFirst().outcome()).isEqualTo(Outcome.BUILDING);
      scenario.insert(901, 950, 3);
      scenario.finish("usage");
      assertNothingIsLeft(scenario);
      scenario.database().run("delete from events where id % 5 = 0");
      assertAsInstalledAnew(scenario, other);
    }
  }

  @Test
  void aReaderWithAnOlderSnapshot_isToldAndNotDeceived() throws Exception {
    try (Scenario scenario = filled(ANY);
        java.sql.Connection reader = scenario.database().connect()) {
      reader.setTransactionIsolation(java.sql.Connection.TRANSACTION_REPEATABLE_READ);
      reader.setAutoCommit(false);
      reader.createStatement().executeQuery("select count(*) from events").close();
      scenario.change(edited(ANY, "dimensions: [project, model] => dimensions: [model]"), false);
      assertThatThrownBy(
              () -> reader.createStatement().executeQuery("select * from tallyroll.usage_1d_fresh"))
          .hasMessageContaining("was changed since this transaction began");
      reader.rollback();
      reader.createStatement().executeQuery("select * from tallyroll.usage_1d_fresh").close();
    }
  }

  /** Readers, writers and refreshers go on, and no reader ever sees a number that is not true. */
  @Test
  void aChangeUnderTraffic_isNeverSeenHalf() throws Exception {
    try (Scenario scenario = filled(ANY);
        ExecutorService pool = Executors.newFixedThreadPool(4)) {
      AtomicBoolean done = new AtomicBoolean();
      List<Future<?>> all = new ArrayList<>();
      all.add(
          pool.submit(() -> {
            for (int i = 2_000; !done.get(); i += 10) {
              scenario.insert(i, i + 9, 3);
              scenario
                  .database()
                  .run("update events set big = big + 1 where id = " + (1 + i % 900));
              // A rate at which the others get on.
              Thread.sleep(20);
            }
            return null;
          }));
      all.add(
          pool.submit(() -> {
            try (Refresher refresher =
                new Refresher(scenario.database().database(), scenario.clock())) {
              while (!done.get()) {
                for (String name : Refresher.names(scenario.database().database())) {
                  try {
                    refresher.refresh(name, Refresher.WhenBusy.SKIP);
                  } catch (TallyrollException e) {
                    assertThat(e.code()).isEqualTo(ErrorCode.UNKNOWN_NAME);
                  }
                }
              }
            }
            return null;
          }));
      all.add(
          pool.submit(() -> {
            while (!done.get()) {
              assertThat(
                      scenario
                          .database()
                          .value(
                              "select (select sum(requests) from tallyroll.usage_1d_fresh) - (select count(*) from events)"))
                  .isEqualTo("0");
            }
            return null;
          }));
      all.add(
          pool.submit(() -> {
            long last = 0;
            while (!done.get()) {
              long now = 0;
              for (List<@Nullable String> row :
                  Oracle.rows(
                      scenario.query(
                          QueryRequest.of("usage")
                              .measuring("requests")
                              .range("2026-05-01", "2026-06-16")
                              .every(Every.ALL, ZoneOffset.UTC)))) {
                now += Long.parseLong(String.valueOf(row.get(2)));
              }
              assertThat(now).isGreaterThanOrEqualTo(Math.max(last, 900));
              last = now;
            }
            return null;
          }));
      Map<String, String> edits =
          Map.of(
              "a",
              "cost:        sum(cost) => cost: sum(cost)\n  most: max(big)",
              "b",
              "dimensions: [project, model] => dimensions: [model]",
              "c",
              "dimensions: [project, model] => dimensions: [project, model, status]");
      String rollup = ANY;
      try {
        for (String edit : edits.values()) {
          rollup = edited(ANY, edit);
          scenario.change(rollup, false);
        }
      } finally {
        done.set(true);
      }
      for (Future<?> one : all) {
        one.get();
      }
      assertNothingIsLeft(scenario);
      assertAsInstalledAnew(scenario, rollup);
    }
  }
}
