package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Reanchor;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.postgres.status.StatusReader;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.session.Database;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.InstantSource;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Databases that an older program has made, with work under way. */
class UpgradeTest {
  private static final InstantSource CLOCK =
      InstantSource.fixed(Instant.parse("2026-11-28T08:10:00Z"));

  private static final List<String> ROLLUPS = List.of("usage", "jobs");

  private static final String USAGE =
      """
      rollup: usage
      source: {table: public.calls, tenant: tenant_id, time: ts, changes: any}
      dimensions: [project]
      measures:
        requests: count
        errors: count where status = 'error'
        tokens: sum(tokens)
        cost: sum(cost)
        duration: distribution(duration_ms)
        users: distinct(user_id)
        last_error: latest(msg) where status = 'error'
      grains: {1m: keep 1000d, 1h: keep 2000d, 1d: %s}
      """;

  /** What the dump calls the table's oid. */
  private static final String OID = "16935";

  /** Restores the database; its table gets another oid, as after any dump. */
  private static void restore(TestDatabase test, boolean isInPlace) throws IOException {
    String dump;
    try (InputStream in = UpgradeTest.class.getResourceAsStream("/upgrade/schema-4.sql")) {
      dump = new String(Objects.requireNonNull(in).readAllBytes(), StandardCharsets.UTF_8);
    }
    test.run("drop schema tallyroll cascade");
    if (!isInPlace) {
      test.run(dump);
      return;
    }
    // The same cluster, table and transactions.
    int from = dump.indexOf("CREATE TABLE public.calls");
    int to = dump.indexOf(");", from) + 2;
    test.run(dump.substring(from, to));
    String oid = String.valueOf(test.value("select 'public.calls'::regclass::oid"));
    test.run((dump.substring(0, from) + dump.substring(to)).replace(OID, oid));
    test.run(
        "update tallyroll.rollup set system_identifier = (select system_identifier from pg_control_system())");
    while (Long.parseLong(String.valueOf(test.value("select pg_current_xact_id()"))) < 1_000) {
      // Until the transactions of the dump are of the past.
    }
  }

  private static void assertExact(TestDatabase test, String rollup, long rows) {
    VerifyReport report =
        new Verifier(test.database(), CLOCK)
            .verify(VerifyRequest.all(rollup), new Verifier.Progress() {});
    assertThat(report.mismatches()).isEmpty();
    assertThat(report.uncovered()).isEmpty();
    assertThat(report.pending()).isEmpty();
    assertThat(report.rows()).isEqualTo(rows);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aDatabaseOfVersion4_goesOnWhereItWas(boolean isInPlace) throws IOException {
    try (TestDatabase test = TestDatabase.create()) {
      restore(test, isInPlace);
      Database database = test.database();
      assertThatThrownBy(() -> new StatusReader(database).read(null))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DATABASE))
          .hasMessageContaining("version 4")
          .hasMessageContaining("apply -f FILE");
      Installer installer = new Installer(database, CLOCK);
      List<Definition> definition =
          DefinitionReader.read("usage.yaml", USAGE.formatted("keep 3000d"));
      if (!isInPlace) {
        assertThatThrownBy(() -> installer.apply(definition))
            .hasMessageContaining("reanchor usage");
        for (String rollup : ROLLUPS) {
          new Reanchor(database, CLOCK).run(rollup, false);
        }
      }
      assertThat(installer.apply(definition).getFirst().outcome())
          .isEqualTo(Installer.Outcome.UNCHANGED);
      assertThat(database.with("test", Schema::versionOf)).isEqualTo(Schema.version());
      assertThat(test.value("select keep_time::text from tallyroll.refresh where rollup = 'jobs'"))
          .isEqualTo("2026-11-28 08:05:37.958313+00");
      try (Refresher refresher = new Refresher(database, CLOCK).leavingOpen()) {
        // An open day, which the views of then do not know of.
        test.run("insert into jobs values (99, 1, '2026-11-28 08:00:00Z', 5)");
        for (String rollup : ROLLUPS) {
          refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
          new Backfill(database, CLOCK)
              .run(BackfillRequest.all(rollup), new Backfill.Progress() {});
        }
        assertExact(test, "usage", 254);
        assertExact(test, "jobs", 76);
        assertThat(test.value("select sum(n) || ' ' || sum(total) from tallyroll.jobs_1d_fresh"))
            .isEqualTo(test.value("select count(*) || ' ' || sum(amount) from jobs"));
        // What is new works on what is old.
        installer.apply(
            DefinitionReader.read(
                "usage.yaml", USAGE.formatted("{keep: 3000d, zones: [UTC, Asia/Kolkata]}")));
        test.run(
            "update calls set tokens = 1000 where id % 50 = 0; delete from calls where id = 1; insert into jobs values (100, 1, '2026-11-05', 7)");
        for (String rollup : ROLLUPS) {
          refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        }
      }
      assertExact(test, "usage", 253);
      assertExact(test, "jobs", 77);
      for (String table : List.of("usage_1d", "usage_1d_asia_kolkata", "usage_1d_fresh")) {
        assertThat(test.value("select sum(requests) || ' ' || sum(tokens) from tallyroll." + table))
            .isEqualTo(test.value("select count(*) || ' ' || sum(tokens) from calls"));
      }
    }
  }
}
