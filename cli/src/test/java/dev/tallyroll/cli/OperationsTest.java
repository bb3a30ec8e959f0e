package dev.tallyroll.cli;

import static dev.tallyroll.cli.CommandsTest.run;
import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.cli.CommandsTest.Run;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The commands of those who run it: what they print, and the codes that scripts go by. */
class OperationsTest {
  @TempDir private Path directory = Path.of("");

  private void apply(TestDatabase database, String changes) throws IOException {
    Path file =
        Files.writeString(
            directory.resolve("rollup.yaml"),
            CommandsTest.DEFINITION.replace("changes: append", "changes: " + changes));
    assertThat(run(database, "apply", "-f", file.toString()).code()).isZero();
  }

  private static void insert(TestDatabase database, String from, int rows) {
    database.run(
        "insert into requests select 't' || i % 2, timestamptz '"
            + from
            + "' + i * interval '1 hour', 'm', i, 1 from generate_series(0, "
            + (rows - 1)
            + ") i");
  }

  private static JsonNode json(Run run) {
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isZero();
    return JsonMapper.builder().build().readTree(run.out());
  }

  @Test
  void historyThatIsNotFilled_isRefusedByQueriesUntilBackfillHasRun() throws IOException {
    try (TestDatabase database = CommandsTest.withTable()) {
      insert(database, "2026-03-01 00:00Z", 96);
      apply(database, "any");
      String[] query = {
        "query",
        "traffic",
        "--measure",
        "requests",
        "--every",
        "all",
        "--from",
        "2026-03-01",
        "--to",
        "2026-03-05",
        "--tenant",
        "t0",
        "--format",
        "csv"
      };
      Run refused = run(database, query);
      assertThat(refused.code()).isEqualTo(3);
      assertThat(refused.out()).isEmpty();
      assertThat(refused.err())
          .hasLineCount(1)
          .startsWith(
              "tallyroll: history from 2026-03-01T00:00:00Z to 2026-03-05T00:00:00Z is not filled yet; run: ")
          .contains(" --database-url 'postgresql://")
          .endsWith("' backfill traffic (or ask with --partial)\n");
      Run filled =
          run(
              database,
              "backfill",
              "traffic",
              "--from",
              "2026-03-03",
              "--jobs",
              "2",
              "--rate",
              "100000");
      assertThat(filled).isEqualTo(new Run(0, "backfilled traffic: 48 rows in 1 slice\n", ""));
      assertThat(run(database, query).err())
          .contains("history from 2026-03-01T00:00:00Z to 2026-03-03T00:00:00Z is not filled yet");
      Run partial = run(database, with(query, "--partial"));
      assertThat(partial.code()).isZero();
      assertThat(partial.out()).endsWith("t0,2026-03-01T00:00:00+00:00,24\r\n");
      assertThat(partial.err())
          .isEqualTo(
              "tallyroll: incomplete: history from 2026-03-01T00:00:00Z to 2026-03-03T00:00:00Z is not filled yet\n");
      assertThat(
              json(run(database, "status", "--format", "json")).get(0).get("uncovered").toString())
          .isEqualTo("[\"2026-03-01 to 2026-03-02\"]");
      assertThat(run(database, "backfill", "traffic").out())
          .isEqualTo("backfilled traffic: 48 rows in 1 slice\n");
      assertThat(run(database, "backfill", "traffic").out())
          .isEqualTo("backfilled traffic: 0 rows in 0 slices\n");
      assertThat(run(database, query))
          .isEqualTo(
              new Run(0, "tenant,bucket,requests\r\nt0,2026-03-01T00:00:00+00:00,48\r\n", ""));
      assertThat(run(database, "backfill", "traffik").code()).isEqualTo(2);
      assertThat(run(database, "backfill", "traffic", "--from", "March").code()).isEqualTo(2);
      assertThat(run(database, "backfill", "traffic", "--jobs", "0"))
          .isEqualTo(new Run(2, "", "tallyroll: --jobs is at least 1, not 0\n"));
      assertThat(run(database, "backfill", "traffic", "--from", "2026-03-05", "--to", "2026-03-05"))
          .isEqualTo(
              new Run(
                  2,
                  "",
                  "tallyroll: --from 2026-03-05 is not before --to 2026-03-05: there is no such day\n"));
    }
  }

  private static String[] with(String[] arguments, String more) {
    String[] all = Arrays.copyOf(arguments, arguments.length + 1);
    all[arguments.length] = more;
    return all;
  }

  @Test
  void statusMaxLag_exitsWithOneAndSaysWhatIsWrong() throws IOException {
    try (TestDatabase database = CommandsTest.withTable()) {
      apply(database, "any");
      String[] status = {"status", "--format", "json", "--max-lag", "5m"};
      Run never = run(database, status);
      assertThat(never.code()).isEqualTo(1);
      assertThat(never.err()).isEqualTo("traffic was never refreshed\n");
      insert(database, "2026-03-01 00:00Z", 1);
      run(database, "refresh");
      assertThat(json(run(database, status))).hasSize(1);
      insert(database, "2026-03-01 02:00Z", 1);
      Run lags = run(database, status);
      assertThat(lags.code()).isEqualTo(1);
      assertThat(lags.err()).isEqualTo("traffic lags by 2h 0m\n");
      assertThat(run(database, "status", "--format", "json", "--max-lag", "2h").code()).isZero();
      database.run("alter table tallyroll.traffic_5m rename to gone");
      assertThat(run(database, "refresh").code()).isEqualTo(3);
      database.run("alter table tallyroll.gone rename to traffic_5m");
      assertThat(run(database, status).err())
          .contains("traffic lags by 2h 0m\n", "traffic the last refresh failed: ");
      run(database, "refresh");
      assertThat(json(run(database, status))).hasSize(1);
      database.run(
          "update tallyroll.refresh set finished_at = now() - interval '301 seconds', error_at = now() - interval '1 hour'");
      Run old = run(database, status);
      assertThat(old.code()).isEqualTo(1);
      assertThat(old.err()).startsWith("traffic was not refreshed since 20").hasLineCount(1);
      assertThat(run(database, "status", "--max-lag", "soon").code()).isEqualTo(2);
    }
  }

  @Test
  void whatCannotBeCounted_isListedShownAndReplayed() throws IOException {
    try (TestDatabase database = CommandsTest.withTable()) {
      apply(database, "any");
      assertThat(json(run(database, "quarantine", "list", "--format", "json"))).isEmpty();
      insert(database, "2026-03-01 00:00Z", 3);
      database.run(
          "insert into requests values ('t7', '2026-03-01 05:00Z', repeat('x', 600), 1, 2), ('t8', '2026-03-01 06:00Z', 'm', 2000000000, 2000000000)");
      Run refreshed = run(database, "refresh", "traffic");
      assertThat(refreshed.code()).isZero();
      assertThat(refreshed.out()).contains(": 3 rows in ").endsWith(", 2 into quarantine\n");
      JsonNode entries = json(run(database, "quarantine", "list", "traffic", "--format", "json"));
      assertThat(entries).hasSize(2);
      assertThat(entries.toString())
          .contains("longer than 512 bytes", "integer out of range (SQLSTATE 22003)");
      JsonNode one =
          json(run(database, "quarantine", "list", "--tenant", "t7", "--format", "json"));
      assertThat(one).hasSize(1);
      String id = one.get(0).get("id").asString();
      JsonNode shown = json(run(database, "quarantine", "show", id)).get(0).get("row");
      assertThat(shown.isObject()).isTrue();
      assertThat(shown.has("input_tokens")).isTrue();
      assertThat(shown.toString()).contains("xxxxxxxx");
      assertThat(run(database, "quarantine", "list", "--limit", "1", "--format", "csv").out())
          .hasLineCount(2)
          .startsWith("id,rollup,since,kind,tenant,reason\r\n");
      assertThat(run(database, "quarantine", "list", "--limit", "1").err())
          .contains("there are more than these 1");
      assertThat(run(database, "quarantine", "list", "--limit", "2").err()).isEmpty();
      assertThat(run(database, "quarantine", "replay", "traffic"))
          .isEqualTo(new Run(0, "replayed traffic: 0 rows counted, 2 entries remain\n", ""));
      database.run("update requests set model = 'm' where tenant_id = 't7'");
      run(database, "refresh");
      assertThat(json(run(database, "quarantine", "list", "--format", "json"))).hasSize(1);
      assertThat(run(database, "verify", "traffic").code()).isZero();
      Run unknown = run(database, "quarantine", "show", "987654");
      assertThat(unknown.code()).isEqualTo(2);
      assertThat(unknown.err()).contains("no entry 987654 in quarantine").hasLineCount(1);
    }
  }

  @Test
  void aSealedRange_mayLoseItsRows() throws IOException {
    try (TestDatabase database = CommandsTest.withTable()) {
      apply(database, "any");
      insert(database, "2026-03-01 00:00Z", 48);
      Run wrong = run(database, "seal", "traffic", "--before", "yesterday");
      assertThat(wrong.code()).isEqualTo(2);
      assertThat(wrong.err()).startsWith("tallyroll: --before: 'yesterday' is neither");
      assertThat(run(database, "seal", "traffic").code()).isEqualTo(2);
      assertThat(
              run(
                  database,
                  "seal",
                  "traffic",
                  "--before",
                  "2026-03-02",
                  "--purger",
                  String.valueOf(database.value("select current_user"))))
          .isEqualTo(new Run(0, "sealed traffic before 2026-03-02T00:00:00Z\n", ""));
      assertThat(run(database, "status").out()).contains("  sealed  ");
      database.run("delete from requests where ts < '2026-03-02 00:00Z'");
      run(database, "refresh");
      assertThat(
              run(
                      database,
                      "query",
                      "traffic",
                      "--measure",
                      "requests",
                      "--tenant",
                      "t0",
                      "--every",
                      "all",
                      "--from",
                      "2026-03-01",
                      "--to",
                      "2026-03-03",
                      "--format",
                      "csv")
                  .out())
          .endsWith("t0,2026-03-01T00:00:00+00:00,24\r\n");
      assertThat(json(run(database, "quarantine", "list", "--format", "json"))).isEmpty();
      Run verified = run(database, "verify", "traffic");
      assertThat(verified.code()).isZero();
      assertThat(verified.out()).contains("sealed");
    }
  }

  @Test
  void forget_asksFirst_andProvesThatNothingIsLeft() throws IOException {
    try (TestDatabase database = CommandsTest.withTable()) {
      apply(database, "any");
      insert(database, "2026-03-01 00:00Z", 20);
      Run asks = run(database, "forget", "--tenant", "t1");
      assertThat(asks.code()).isEqualTo(4);
      assertThat(asks.err()).contains("say --yes").hasLineCount(1);
      assertThat(database.value("select count(*) from requests")).isEqualTo("20");
      Run some =
          run(
              database,
              "forget",
              "traffic",
              "--tenant",
              "t1",
              "--where",
              "input_tokens < 4",
              "--yes");
      assertThat(some.code()).isZero();
      assertThat(some.out()).startsWith("forgot 2 rows of ").endsWith("left of them: 0\n");
      Run all = run(database, "forget", "--tenant", "t1", "--yes");
      assertThat(all.code()).isZero();
      assertThat(all.out())
          .startsWith("forgot 8 rows of ")
          .containsPattern(
              ", [1-9][0-9]* partials and 0 entries of the quarantine; rollups: traffic\n")
          .endsWith("left of them: 0\n");
      Run misspelt = run(database, "forget", "--tenant", "T1", "--yes");
      assertThat(misspelt.code()).isZero();
      assertThat(misspelt.out()).startsWith("forgot 0 rows of ").contains(", 0 partials and 0 ");
      assertThat(misspelt.err())
          .isEqualTo("there was nothing of tenant 'T1'; is that how the tables spell it?\n");
      assertThat(database.value("select count(*) from requests")).isEqualTo("10");
      assertThat(database.value("select count(*) from tallyroll.traffic_1m where tenant = 't1'"))
          .isEqualTo("0");
      assertThat(run(database, "verify", "traffic").code()).isZero();
      assertThat(run(database, "forget", "--tenant", "t0", "--where", "1) or (1", "--yes").code())
          .isEqualTo(2);
      assertThat(run(database, "forget", "--yes").code()).isEqualTo(2);
      assertThat(database.value("select count(*) from requests")).isEqualTo("10");
    }
  }

  @Test
  void aDatabaseOfAnotherCluster_isTakenOverByReanchor() throws IOException {
    try (TestDatabase database = CommandsTest.withTable()) {
      insert(database, "2026-03-01 00:00Z", 20);
      apply(database, "any");
      run(database, "backfill", "traffic");
      assertThat(run(database, "reanchor", "traffic"))
          .isEqualTo(new Run(0, "traffic is of this cluster: nothing to do\n", ""));
      String moved = "update tallyroll.rollup set system_identifier = 1";
      database.run(moved);
      Run refused = run(database, "refresh", "traffic");
      assertThat(refused.code()).isEqualTo(4);
      assertThat(refused.err()).contains(" reanchor traffic");
      assertThat(run(database, "reanchor", "traffic", "--after-upgrade"))
          .isEqualTo(new Run(0, "reanchored traffic\n", ""));
      insert(database, "2026-03-02 00:00Z", 10);
      database.run(moved);
      Run reanchored = run(database, "reanchor", "traffic");
      assertThat(reanchored.code()).isZero();
      assertThat(reanchored.out()).startsWith("reanchored traffic\n").contains("exact");
      assertThat(reanchored.err()).isEmpty();
      insert(database, "2026-03-03 00:00Z", 10);
      assertThat(run(database, "refresh", "traffic").out()).contains(": 10 rows in ");
      assertThat(database.value("select sum(requests) from tallyroll.traffic_1d")).isEqualTo("40");
      // What was written before it was taken over is not told apart, but found.
      database.run("update tallyroll.traffic_1d set requests = requests + 1");
      database.run(moved);
      Run differs = run(database, "reanchor", "traffic");
      assertThat(differs.code()).isEqualTo(1);
      assertThat(differs.err()).contains(" verify traffic", " repair traffic");
      assertThat(run(database, "reanchor", "traffik").code()).isEqualTo(2);
    }
  }

  private static void until(BooleanSupplier isSo) throws InterruptedException {
    long end = System.nanoTime() + Duration.ofSeconds(30).toNanos();
    while (!isSo.getAsBoolean()) {
      assertThat(System.nanoTime()).isLessThan(end);
      Thread.sleep(20);
    }
  }

  /**
   * As a service manager stops it: what runs comes to its end, and another one may go on at once.
   */
  @Test
  void aWatchThatIsTerminated_leavesItsRollupsToOthers() throws Exception {
    try (TestDatabase database = CommandsTest.withTable()) {
      apply(database, "any");
      Path err = directory.resolve("err.txt");
      Path out = directory.resolve("out.txt");
      Process watch =
          new ProcessBuilder(
                  List.of(
                      Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                      "-cp",
                      System.getProperty("java.class.path"),
                      "dev.tallyroll.cli.Main",
                      "refresh",
                      "--watch",
                      "100ms",
                      "--database-url",
                      database.url()))
              .redirectError(err.toFile())
              .redirectOutput(out.toFile())
              .start();
      try {
        String counted = "select coalesce(sum(requests), 0) from tallyroll.traffic_1m";
        insert(database, "2026-03-01 00:00Z", 20);
        until(() -> "20".equals(database.value(counted)));
        insert(database, "2026-03-02 00:00Z", 10);
        until(() -> "30".equals(database.value(counted)));
        assertThat(database.value("select served_by from tallyroll.refresh"))
            .contains(":" + watch.pid() + ":");
        // SIGTERM.
        watch.destroy();
        // Containers are killed after ten.
        assertThat(watch.waitFor(8, TimeUnit.SECONDS)).isTrue();
        assertThat(watch.exitValue()).isEqualTo(128 + 15);
      } finally {
        watch.destroyForcibly().waitFor();
      }
      assertThat(err).hasContent("refreshing all rollups every 100ms until Ctrl-C");
      assertThat(out).isEmptyFile();
      assertThat(database.value("select served_by from tallyroll.refresh")).isNull();
      assertThat(
              database.value(
                  "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'tallyroll %'"))
          .isEqualTo("0");
      assertThat(run(database, "verify", "traffic").code()).isZero();
    }
  }
}
