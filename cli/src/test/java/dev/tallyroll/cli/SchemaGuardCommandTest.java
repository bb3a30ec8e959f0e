package dev.tallyroll.cli;

import static dev.tallyroll.cli.CommandsTest.run;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.cli.CommandsTest.Run;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A legacy table that a rollup of Tallyroll replaces: the guard's remedies are commands that mend.
 */
class SchemaGuardCommandTest {
  private static final String ROLLUP =
      """
      rollup: usage
      source: {table: public.task_usage, tenant: tenant_id, time: created_at}
      dimensions: [model]
      measures:
        requests: count
        tokens: sum(tokens)
      grains: {1h: keep 4000d, 1d: keep 4000d}
      """;

  private static final String GUARD =
      """
      guard: usage_daily
      legacy: {table: public.usage_daily, tenant: tenant_id, bucket: day}
      replacement: {rollup: usage}
      source: {table: public.task_usage, tenant: tenant_id, time: created_at}
      by: [model]
      compare:
        requests: {legacy: sum(n), source: count(*)}
        tokens: {legacy: sum(total_tokens), source: sum(tokens)}
      """;

  private static final String DROP =
      "do $$ begin perform tallyroll.assert_covered('usage_daily'); drop table public.usage_daily; end $$";

  @TempDir private Path directory = Path.of("");

  private final TestDatabase database = TestDatabase.create();
  private String guard = "";

  @BeforeEach
  void legacy() throws IOException {
    database.run(
        """
        create table task_usage (tenant_id int not null, model text, tokens int, created_at timestamptz not null);
        create table usage_daily (tenant_id int not null, day date not null, model text, n bigint, total_tokens bigint);
        insert into task_usage
        select t, 'm' || i % 3, i, timestamptz '2026-05-01 00:30Z' + i * interval '1 hour'
        from generate_series(1, 2) t, generate_series(0, 239) i;
        insert into usage_daily
        select tenant_id, (created_at at time zone 'UTC')::date, model, count(*), sum(tokens) from task_usage group by 1, 2, 3;
        """);
    String rollup = Files.writeString(directory.resolve("rollup.yaml"), ROLLUP).toString();
    guard = Files.writeString(directory.resolve("guards.yaml"), GUARD).toString();
    assertThat(run(database, "apply", "-f", rollup).code()).isZero();
    assertThat(run(database, "schema", "guard", "install", "-f", guard).err())
        .contains("do $$ begin perform tallyroll.assert_covered('usage_daily'); drop table");
  }

  @AfterEach
  void close() {
    database.close();
  }

  private Run plan(String... more) {
    List<String> arguments =
        new ArrayList<>(List.of("schema", "guard", "plan", "-f", guard, "usage_daily"));
    arguments.addAll(List.of(more));
    return run(database, arguments.toArray(String[]::new));
  }

  /** Runs what a plan says mends it. */
  private void mend(Run plan) {
    for (String line : plan.err().lines().toList()) {
      for (String command : line.split("; ")) {
        int at = command.indexOf("tallyroll.jar ");
        if (at >= 0) {
          String[] words =
              command
                  .substring(at + "tallyroll.jar ".length())
                  .replaceFirst("--database-url '[^']*' ", "")
                  .replace("'", "")
                  .split(" ");
          Run done = run(database, words);
          assertThat(done.code()).as(command + done.err()).isZero();
        }
      }
    }
  }

  private void assertRefused() {
    assertThatThrownBy(() -> database.run(DROP))
        .rootCause()
        .hasMessageContaining("is not covered by");
    assertThat(database.value("select to_regclass('usage_daily') is not null")).isEqualTo("t");
  }

  @Test
  void unrunBackfill_isRefused_andTheCommandMendsIt() {
    assertRefused();
    Run plan = plan();
    assertThat(plan.code()).isEqualTo(4);
    assertThat(plan.out()).contains("the legacy table").contains("its backfill");
    assertThat(plan.err())
        .contains("backfill usage", "refresh usage", "repair usage")
        .doesNotContain("adopt");
    mend(plan);
    assertThat(plan().code()).isZero();
    database.run(DROP);
    assertThat(
            database.value("select differences || ' ' || legacy_rows from tallyroll.guard_proof"))
        .isEqualTo("0 60");
    assertThat(run(database, "schema", "guard", "status", "--format", "csv").out())
        .contains("usage_daily,public.usage_daily,tallyroll.usage_1d,gone,,1,2");
  }

  @Test
  void backfillInPart_isRefused_alsoIfSomebodyHasWrittenTheRest() {
    assertThat(run(database, "backfill", "usage", "--from", "2026-05-06").code()).isZero();
    assertRefused();
    // By hand, equal to the source: nobody has proved it, and the next backfill would count it
    // twice.
    database.run(
        """
        insert into tallyroll.usage_1d (tenant, bucket, model, requests, tokens)
        select tenant_id, date_trunc('day', created_at, 'UTC'), model, count(*), sum(tokens) from task_usage where created_at < '2026-05-06' group by 1, 2, 3
        """);
    Run plan = plan();
    assertThat(plan.code()).isEqualTo(4);
    assertThat(plan.out()).contains("its backfill").doesNotContain("the legacy table");
  }

  @Test
  void monthOfWhichADayIsFilled_isNotCovered() throws IOException {
    Files.writeString(Path.of(guard), GUARD + "every: month\n");
    assertThat(run(database, "schema", "guard", "install", "-f", guard).code()).isZero();
    assertThat(run(database, "backfill", "usage", "--to", "2026-05-02").code()).isZero();
    database.run(
        """
        insert into tallyroll.usage_1d (tenant, bucket, model, requests, tokens)
        select tenant_id, date_trunc('day', created_at, 'UTC'), model, count(*), sum(tokens) from task_usage where created_at >= '2026-05-02' group by 1, 2, 3
        """);
    Run plan = plan();
    assertThat(plan.code()).isEqualTo(4);
    assertThat(plan.out()).contains("its backfill");
  }

  @Test
  void weekThatBeginsBeforeTheHistory_isCovered() throws IOException {
    Files.writeString(Path.of(guard), GUARD + "every: week\n");
    assertThat(run(database, "backfill", "usage").code()).isZero();
    assertThat(plan().err()).contains(": covered");
  }

  @Test
  void purgedSource_isRefused_andAdoptMendsIt() {
    // Before anything was captured or filled in, as a purge that nobody had told Tallyroll of.
    database.run(
        "alter table task_usage disable trigger user; delete from task_usage where created_at < '2026-05-06'; alter table task_usage enable trigger user");
    assertRefused();
    Run plan = plan();
    assertThat(plan.err())
        .contains(
            "adopt usage --from 'public.usage_daily' --grain 1d --map bucket=day --map tenant=tenant_id --map model=model --map requests=n --map tokens=total_tokens --zone UTC");
    mend(plan);
    assertThat(plan().err()).contains(": covered");
    database.run(DROP);
    assertThat(database.value("select sum(tokens) from tallyroll.usage_1d"))
        .isEqualTo(String.valueOf(2 * 239 * 240 / 2));
  }

  @Test
  void emitted_isAMigration() throws IOException {
    Path file = directory.resolve("3_guard.sql");
    assertThat(
            run(database, "schema", "guard", "install", "-f", guard, "--emit", file.toString())
                .code())
        .isZero();
    assertThat(Files.readString(file))
        .contains("create or replace function tallyroll.assert_covered");
    // A fresh database has neither rollups nor Tallyroll's schema when its migrations run.
    try (TestDatabase fresh = TestDatabase.create()) {
      fresh.run("drop schema tallyroll cascade");
      fresh.run(
          "create table task_usage (tenant_id int, model text, tokens int, created_at timestamptz);"
              + " create table usage_daily (tenant_id int, day date, model text, n bigint, total_tokens bigint)");
      fresh.run(Files.readString(file));
      fresh.run(DROP);
      assertThat(fresh.value("select count(*) from tallyroll.guard_proof")).isEqualTo("1");
    }
  }

  @Test
  void waiver_letsItPass_andBadOnesAreRefused() {
    Run bad =
        run(
            database,
            "schema",
            "guard",
            "waive",
            "usage_daily",
            "--by",
            "ada",
            "--reason",
            "old",
            "--until",
            "2020-01-01");
    assertThat(bad.code()).isEqualTo(2);
    assertThat(bad.err()).contains("is over");
    assertThat(
            run(
                    database,
                    "schema",
                    "guard",
                    "waive",
                    "usage",
                    "--by",
                    "ada",
                    "--reason",
                    "old",
                    "--until",
                    "2999-01-01")
                .code())
        .isEqualTo(2);
    assertThat(
            run(
                    database,
                    "schema",
                    "guard",
                    "waive",
                    "usage_daily",
                    "--by",
                    "ada",
                    "--reason",
                    "old",
                    "--until",
                    "2999-01-01")
                .code())
        .isZero();
    assertThat(run(database, "schema", "guard", "status").out())
        .contains("ada until 2999-01-01T00:00:00Z: old");
    database.run(DROP);
  }

  @Test
  void badDefinition_isToldByItsLine() throws IOException {
    for (String[] each :
        new String[][] {
          {
            GUARD.replace("bucket: day", "bucket: dai"),
            "there is no table public.usage_daily with a column dai"
          },
          {GUARD.replace("public.usage_daily", "usage_daily"), "a table is named with its schema"},
          {GUARD.replace("compare:", "campare:"), "did you mean 'compare'?"},
          {GUARD.replace("sum(n)", "sum(nn)"), "column \"nn\" does not exist"},
          {GUARD + "every: year\n", "hour, day, week or month"},
          {GUARD + "zone: Mars\n", "unknown time zone 'Mars'"}
        }) {
      Files.writeString(Path.of(guard), each[0]);
      Run run = plan();
      assertThat(run.code()).isEqualTo(2);
      assertThat(run.err()).contains("guards.yaml:").contains(each[1]);
      assertThat(run.err().lines()).hasSize(1);
    }
  }
}
