package dev.tallyroll.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class CommandsTest {
  static final String DEFINITION =
      """
      rollup: traffic
      source: {table: public.requests, tenant: tenant_id, time: ts, changes: append}
      dimensions: [model]
      measures:
        requests: count
        tokens:   sum(input_tokens + output_tokens)
        input:    distribution(input_tokens)
      grains: {1m: keep 3000d, 5m: keep 3000d, 1h: keep 3000d, 1d: keep 3000d}
      """;

  @TempDir private Path directory = Path.of("");

  record Run(int code, String out, String err) {}

  static Run run(TestDatabase database, String... arguments) {
    List<String> all = new ArrayList<>(List.of(arguments));
    all.add("--database-url");
    all.add(database.url());
    return run(all.toArray(String[]::new));
  }

  static Run run(String... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    int code = Main.run(arguments, new PrintWriter(out), new PrintWriter(err));
    return new Run(code, out.toString(), err.toString());
  }

  private Path file(String name, String text) throws IOException {
    return Files.writeString(directory.resolve(name), text);
  }

  static TestDatabase withTable() {
    TestDatabase database = TestDatabase.create();
    database.run(
        "create table requests (tenant_id text not null, ts timestamptz not null, model text, input_tokens int, output_tokens int); create index on requests (ts)");
    return database;
  }

  @Test
  void fromDefinitionToProof_everyCommandDoesItsPart() throws IOException {
    try (TestDatabase database = withTable()) {
      Path definition = file("rollup.yaml", DEFINITION);
      Path csv =
          file(
              "a.csv",
              "\uFEFFTIMESTAMP,ContextTokens,GeneratedTokens,m\r\n2026-03-01 10:00:00.9799996,100,10,x\r\n2026-03-01 10:30:00,300,30,\r\n2026-03-02T00:15:00+05:30,50,5,\"\"\r\n");
      Path json =
          file(
              "b.jsonl",
              "{\"ts\": \"2026-03-02T12:00:00Z\", \"input_tokens\": 7, \"output_tokens\": 1, \"model\": \"y\"}\n\n{\"ts\": \"2026-03-02T12:00:30Z\", \"input_tokens\": 9}\n");
      assertThat(run(database, "plan", "-f", definition.toString()).out())
          .contains("add column tallyroll_xid")
          .containsSubsequence(
              "create table",
              "rollup traffic over public.requests: to be installed",
              "which means");
      Run applied = run(database, "apply", "-f", definition.toString());
      assertThat(applied.code()).isZero();
      assertThat(applied.out()).isEqualTo("rollup traffic: installed\n");
      assertThat(applied.err())
          .contains("everything is covered")
          .contains("refresh traffic --watch 1s")
          .doesNotContain("{tallyroll}");
      Run imported =
          run(
              database,
              "import",
              "--table",
              "public.requests",
              "--tenant",
              "acme",
              "--map",
              "ts=TIMESTAMP",
              "--map",
              "input_tokens=ContextTokens",
              "--map",
              "output_tokens=GeneratedTokens",
              "--map",
              "model=m",
              csv.toString(),
              json.toString());
      assertThat(imported.err()).isEmpty();
      assertThat(imported.out()).contains("imported 3 rows of ").contains("imported 2 rows of ");
      assertThat(
              database.value(
                  "select string_agg(ts::text || coalesce(model, '-'), ',' order by ts) from (select ts at time zone 'UTC' as ts, model from requests) r"))
          .isEqualTo(
              "2026-03-01 10:00:00.98x,2026-03-01 10:30:00-,2026-03-01 18:45:00,2026-03-02 12:00:00y,2026-03-02 12:00:30-");
      assertThat(run(database, "refresh").out()).startsWith("refreshed traffic: 5 rows in ");
      Run query =
          run(
              database,
              "query",
              "traffic",
              "--measure",
              "requests",
              "--measure",
              "p95(input)",
              "--by",
              "model",
              "--from",
              "2026-03-01",
              "--to",
              "2026-03-03",
              "--zone",
              "Asia/Kolkata",
              "--tenant",
              "acme",
              "--format",
              "json");
      JsonNode rows = JsonMapper.builder().build().readTree(query.out());
      assertThat(rows).hasSize(5);
      assertThat(rows.get(0).propertyNames())
          .containsExactly("tenant", "bucket", "model", "requests", "p95(input)");
      assertThat(rows.get(0).get("bucket").asString()).isEqualTo("2026-03-01T00:00:00+05:30");
      assertThat(rows.get(1).get("model").isNull()).isTrue();
      assertThat(rows.get(1).get("p95(input)").asDouble()).isEqualTo(300.0);
      assertThat(
              run(
                      database,
                      "query",
                      "traffic",
                      "--from",
                      "2015-01-01",
                      "--to",
                      "2015-01-02",
                      "--format",
                      "json")
                  .code())
          .isEqualTo(3);
      assertThat(
              run(
                      database,
                      "query",
                      "traffic",
                      "--from",
                      "2026-02-01",
                      "--to",
                      "2026-02-02",
                      "--format",
                      "json")
                  .out())
          .isEqualTo("[]\n");
      assertThat(
              run(
                      database,
                      "query",
                      "traffic",
                      "--from",
                      "2026-03-01",
                      "--to",
                      "2026-03-02",
                      "--measure",
                      "tokens",
                      "--format",
                      "csv")
                  .out())
          .isEqualTo("tenant,bucket,tokens\r\nacme,2026-03-01T00:00:00+00:00,495\r\n");
      assertThat(run(database, "verify", "traffic").code()).isZero();
      database.run("update tallyroll.traffic_1h set tokens = 1");
      Run found = run(database, "verify", "traffic", "--format", "json");
      assertThat(found.code()).isEqualTo(1);
      assertThat(found.err()).contains("differ from their source rows").contains("repair traffic");
      JsonNode report = JsonMapper.builder().build().readTree(found.out()).get(0);
      assertThat(report.get("exact").asBoolean()).isFalse();
      assertThat(report.get("differing").asLong()).isEqualTo(5);
      assertThat(report.get("differences").get(0).get("stored").asLong()).isEqualTo(1);
      assertThat(run(database, "repair", "traffic").out())
          .isEqualTo("repaired traffic: 5 buckets\n");
      assertThat(run(database, "verify", "traffic").out()).startsWith("verify traffic: exact: ");
      JsonNode status =
          JsonMapper.builder()
              .build()
              .readTree(run(database, "status", "--format", "json").out())
              .get(0);
      assertThat(status.get("unread_rows").asLong()).isZero();
      assertThat(status.get("grains").get("1d").get("oldest_bucket").asString())
          .isEqualTo("2026-03-01T00:00:00Z");
      assertThat(run(database, "drop", "traffic", "--dry-run").out())
          .contains("would remove rollup traffic:");
      Run dropped = run(database, "drop", "traffic");
      assertThat(dropped.out()).endsWith("dropped traffic\n");
      assertThat(dropped.err())
          .contains("the schema tallyroll stays", "drop schema tallyroll cascade")
          .hasLineCount(1);
      assertThat(run(database, "drop", "traffic").code()).isEqualTo(2);
    }
  }

  /** Case 27: verify --complete stands between a migration and the drop of what it replaces. */
  @Test
  void theGateBeforeALegacyTableGoes_opensOnlyForAProofOfAll() throws IOException {
    try (TestDatabase database = withTable()) {
      String[] gate = {"verify", "traffic", "--complete"};
      Path definition = file("rollup.yaml", DEFINITION);
      assertThat(run(database, "apply", "-f", definition.toString()).code()).isZero();
      Run empty = run(database, gate);
      assertThat(empty.code()).isEqualTo(1);
      assertThat(empty.out()).isEqualTo("verify traffic: nothing to compare\n");
      assertThat(empty.err())
          .startsWith("not complete: nothing to verify: ")
          .contains(" adopt traffic --from TABLE");
      assertThat(run(database, "verify", "traffic").code()).isZero();
      assertThat(run(database, "drop", "traffic").code()).isZero();
      database.run(
          "insert into requests select 'acme', timestamptz '2026-03-01Z' + i * interval '1 hour', 'x', 1, 2 from generate_series(0, 47) i");
      assertThat(run(database, "apply", "-f", definition.toString()).code()).isZero();
      Run unfilled = run(database, gate);
      assertThat(unfilled.code()).isEqualTo(1);
      assertThat(unfilled.out())
          .isEqualTo(
              "verify traffic: nothing to compare; from 2026-03-01T00:00:00Z to 2026-03-03T00:00:00Z; not verified because not filled yet: 2026-03-01T00:00:00Z to 2026-03-03T00:00:00Z\n");
      assertThat(unfilled.err()).hasLineCount(1).contains("run: ").contains(" backfill traffic");
      // A cluster of the same dump: what is not filled is not said to be exact.
      database.run("update tallyroll.rollup set system_identifier = 1");
      Run reanchored = run(database, "reanchor", "traffic");
      assertThat(reanchored.code()).isZero();
      assertThat(reanchored.out()).contains("nothing to compare").doesNotContain("exact");
      assertThat(run(database, "backfill", "traffic", "--from", "2026-03-02").code()).isZero();
      Run interrupted = run(database, with(gate, "--format", "json"));
      assertThat(interrupted.code()).isEqualTo(1);
      assertThat(interrupted.err()).contains("verify traffic: exact only in part: ");
      JsonNode report = JsonMapper.builder().build().readTree(interrupted.out()).get(0);
      assertThat(report.get("exact").asBoolean()).isTrue();
      assertThat(report.get("complete").asBoolean()).isFalse();
      assertThat(report.get("uncovered").get(0).asString())
          .isEqualTo("2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z");
      assertThat(run(database, with(gate, "--from", "2026-03-02")).code()).isZero();
      assertThat(run(database, with(gate, "--to", "2026-03-02")).code()).isEqualTo(1);
      assertThat(run(database, "backfill", "traffic").code()).isZero();
      Run complete = run(database, gate);
      assertThat(complete.err()).isEmpty();
      assertThat(complete.code()).isZero();
      assertThat(complete.out()).startsWith("verify traffic: exact: ");
      assertThat(run(database, with(gate, "--tenant", "acme")).code()).isZero();
      assertThat(run(database, with(gate, "--tenant", "acne")).code()).isEqualTo(1);
      assertThat(run(database, with(gate, "--sample", "3")).code()).isEqualTo(2);
      database.run(
          "alter table requests disable trigger all; delete from requests where ts < '2026-03-01 12:00Z'; alter table requests enable trigger all");
      Run missing = run(database, gate);
      assertThat(missing.code()).isEqualTo(1);
      assertThat(missing.out())
          .contains("source missing: 2026-03-01T00:00:00Z to 2026-03-01T12:00:00Z of tenant acme");
      assertThat(missing.err())
          .contains("seal traffic --before TIME")
          .contains("not complete: source missing")
          .doesNotContain("mend it with");
      assertThat(run(database, "repair", "traffic").code()).isEqualTo(4);
      assertThat(run(database, "repair", "traffic", "--accept-loss").code()).isZero();
      assertThat(run(database, gate).code()).isZero();
    }
  }

  @Test
  void legacyBuckets_areTakenOver_andShownAsThat() throws IOException {
    try (TestDatabase database = withTable()) {
      Path definition = file("rollup.yaml", DEFINITION);
      assertThat(run(database, "apply", "-f", definition.toString()).code()).isZero();
      database.run(
          "insert into requests values ('acme', '2026-03-01T10:00:00Z', 'x', 1, 2);"
              + "create table old_hours as select timestamp '2026-02-01' + i * interval '1 hour' as hour_start, i % 3 as n, 10 * (i % 3) as tok from generate_series(0, 1000) i");
      String[] adopt = {
        "adopt", "traffic", "--from", "old_hours", "--grain", "1h", "--map", "bucket=hour_start",
            "--tenant", "acme",
        "--map", "requests=n", "--map", "tokens=tok", "--map", "input_count=n", "--map",
            "input_sum=tok", "--zone", "UTC"
      };
      Run dry = run(database, with(adopt, "--dry-run"));
      assertThat(dry.err()).isEmpty();
      assertThat(dry.code()).isZero();
      assertThat(dry.out())
          .startsWith(
              """
              would adopt traffic: 672 rows of 1h of public.old_hours from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z
              would leave 329 rows from the end on: public.requests has rows of its own from 2026-03-01T10:00:00Z on, and of 2026-03-01 nothing else counts
              """)
          .contains("input_sketch")
          .contains("(not known)");
      assertThat(database.value("select count(*) from tallyroll.traffic_1h")).isEqualTo("0");
      Run adopted = run(database, with(adopt, "--format", "json"));
      assertThat(adopted.code()).isZero();
      JsonNode sums = JsonMapper.builder().build().readTree(adopted.out());
      assertThat(sums.get(0).get("measure").asString()).isEqualTo("requests");
      assertThat(sums.get(0).get("value").asLong()).isEqualTo(672);
      assertThat(sums.get(1).get("value").asLong()).isEqualTo(6720);
      Run again = run(database, adopt);
      assertThat(again.code()).isEqualTo(4);
      assertThat(again.err()).startsWith("tallyroll: already adopted: ").hasLineCount(1);
      assertThat(
              run(
                      database,
                      "query",
                      "traffic",
                      "--measure",
                      "requests",
                      "--measure",
                      "avg(input)",
                      "--every",
                      "1mo",
                      "--from",
                      "2026-02-01",
                      "--to",
                      "2026-03-01",
                      "--format",
                      "csv")
                  .out())
          .isEqualTo(
              "tenant,bucket,requests,avg(input)\r\nacme,2026-02-01T00:00:00+00:00,672,10\r\n");
      Run unknown =
          run(
              database,
              "query",
              "traffic",
              "--measure",
              "p95(input)",
              "--from",
              "2026-02-01",
              "--to",
              "2026-03-01");
      assertThat(unknown.code()).isEqualTo(3);
      assertThat(unknown.err()).contains("'p95(input)' is known from 2026-03-01T00:00:00Z on");
      Run verify = run(database, "verify", "traffic");
      assertThat(verify.code()).isZero();
      assertThat(verify.out())
          .contains("adopted and not verified: 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z");
      Run incomplete = run(database, "verify", "traffic", "--complete");
      assertThat(incomplete.code()).isEqualTo(1);
      assertThat(incomplete.err()).startsWith("not complete: adopted: ").hasLineCount(1);
      assertThat(run(database, "status", "traffic").out())
          .contains(
              "adopted       2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z from public.old_hours, 672 rows of 1h, on ");
      JsonNode status =
          JsonMapper.builder()
              .build()
              .readTree(run(database, "status", "--format", "json").out())
              .get(0);
      assertThat(status.get("adopted").get(0).get("table").asString())
          .isEqualTo("public.old_hours");
      Run late =
          run(
              database,
              with(adopt, "--since", "2026-02-10", "--before", "2026-03-02", "--dry-run"));
      assertThat(late.code()).isEqualTo(4);
      assertThat(late.err()).contains("refused: already adopted");
      assertThat(run(database, with(adopt, "--before", "2026-02-10T05:00:00Z")).err())
          .contains("is not the start of a UTC day");
      assertThat(run(database, with(adopt, "--map", "requests=tok")).err())
          .contains("--map requests stands twice");
      assertThat(
              run(
                      database,
                      "adopt",
                      "traffic",
                      "--from",
                      "old_hours",
                      "--grain",
                      "1h",
                      "--map",
                      "n")
                  .err())
          .contains("as --map requests=n");
    }
  }

  @Test
  void aClockThatHasJumped_isSaid_untilSomebodySaysThatItIsRight() throws IOException {
    try (TestDatabase database = withTable()) {
      Path definition = file("rollup.yaml", DEFINITION.replace("3000d", "10d"));
      Run applied = run(database, "apply", "-f", definition.toString());
      assertThat(applied.code()).as(applied.err()).isZero();
      database.run(
          "insert into requests values ('acme', now() - interval '17 days 12 hours', 'x', 1, 2)");
      database.run("update tallyroll.refresh set keep_time = now() - interval '9 days'");
      Run refreshed = run(database, "refresh");
      assertThat(refreshed.code()).isZero();
      assertThat(refreshed.out()).startsWith("refreshed traffic: 1 rows in ").hasLineCount(1);
      assertThat(refreshed.err())
          .startsWith("traffic drops nothing that is no longer kept: the clock went from ")
          .contains(" refresh traffic --clock-is-right")
          .doesNotContain("{tallyroll}")
          .hasLineCount(1);
      String before =
          database.value("select string_agg(kept_from::text, ' ') from tallyroll.grain");
      Run status = run(database, "status", "traffic", "--max-lag", "1h");
      assertThat(status.code()).isEqualTo(1);
      assertThat(status.err())
          .startsWith("traffic drops nothing that is no longer kept: the clock went from ")
          .contains(" refresh traffic --clock-is-right")
          .doesNotContain("{tallyroll}")
          .hasLineCount(1);
      assertThat(status.out())
          .contains("  keep          held: the clock went from ")
          .doesNotContain("{tallyroll}");
      JsonNode json =
          JsonMapper.builder()
              .build()
              .readTree(run(database, "status", "--format", "json").out())
              .get(0);
      assertThat(json.get("held").asString())
          .startsWith("the clock went from ")
          .contains(" refresh traffic --clock-is-right");
      assertThat(json.get("keep_time").asString()).isNotEmpty();
      assertThat(run(database, "refresh", "traffic", "--clock-is-right", "--watch", "1s").code())
          .isEqualTo(2);
      assertThat(database.value("select string_agg(kept_from::text, ' ') from tallyroll.grain"))
          .isEqualTo(before);
      Run right = run(database, "refresh", "traffic", "--clock-is-right");
      assertThat(right.code()).isZero();
      assertThat(right.err()).isEmpty();
      assertThat(right.out()).contains(", dropped ");
      Run after = run(database, "status", "traffic", "--max-lag", "1h");
      assertThat(after.code()).isZero();
      assertThat(after.out()).doesNotContain("  keep  ");
      assertThat(
              JsonMapper.builder()
                  .build()
                  .readTree(run(database, "status", "--format", "json").out())
                  .get(0)
                  .get("held")
                  .isNull())
          .isTrue();
    }
  }

  private static String[] with(String[] arguments, String... more) {
    List<String> all = new ArrayList<>(List.of(arguments));
    all.addAll(List.of(more));
    return all.toArray(String[]::new);
  }

  @Test
  void aBadRow_isNamedAndNothingOfItsFileIsLoaded() throws IOException {
    try (TestDatabase database = withTable()) {
      StringBuilder text = new StringBuilder("tenant_id,ts,input_tokens\n");
      for (int i = 2; i <= 12_000; i++) {
        text.append("a,2026-03-01 10:00:00,")
            .append(i == 7_777 ? "many" : i == 9_000 ? "1,2" : Integer.toString(i))
            .append('\n');
      }
      Path csv = file("bad.csv", text.toString());
      Run refused = run(database, "import", "--table", "public.requests", csv.toString());
      assertThat(refused.code()).isEqualTo(2);
      assertThat(refused.err())
          .contains("bad.csv:7777: invalid input syntax for type integer: \"many\"")
          .contains("nothing of this file is loaded");
      assertThat(database.value("select count(*) from requests")).isEqualTo("0");
      Path bad = directory.resolve("rejected.txt");
      assertThat(
              run(
                      database,
                      "import",
                      "--table",
                      "public.requests",
                      "--skip-bad",
                      bad.toString(),
                      csv.toString())
                  .out())
          .contains("imported 11997 rows")
          .contains("2 bad rows");
      assertThat(Files.readString(bad))
          .contains("bad.csv:7777: ")
          .contains("bad.csv:9000: 4 fields where the header has 3");
      assertThat(
              run(database, "import", "--table", "public.requests", "--tenant", "x", csv.toString())
                  .err())
          .contains("name it with --tenant-column");
      Path other = file("other.csv", "tenant_id,ts,input_token\na,2026-01-01,1\n");
      assertThat(run(database, "import", "--table", "public.requests", other.toString()).err())
          .contains("column 'input_token' is not in public.requests; did you mean 'input_tokens'?");
    }
  }

  /** No stack trace, no line of the driver's, and never the code that says that a check failed. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "http://x/y | is written as postgresql://",
        "postgresql:// | is written as postgresql://",
        "postgresql:///shop?host=/tmp | is written as postgresql://",
        "postgresql://u:s%ZZ@127.0.0.1/shop | a % is written as %25",
        "postgresql://u:secret@127.0.0.1:abc/shop | has a port from 1 to 65535",
        "postgresql://u:secret@one,two:70000/shop | has a port from 1 to 65535",
        "postgresql://u:secret@[::1]:0/shop | has a port from 1 to 65535",
      })
  void aWrongDatabaseUrl_isOneLineWithExitCodeTwo(String url, String said) {
    Run run = run("status", "--database-url", url);
    assertThat(run.code()).isEqualTo(2);
    assertThat(run.err()).contains(said).doesNotContain("secret", "s%ZZ");
    assertThat(run.err().lines()).hasSize(1);
  }

  @Test
  void whatCannotBeConnectedTo_isNamed() {
    Run run = run("status", "--database-url", "postgresql://u:secret@127.0.0.1:1/shop");
    assertThat(run.code()).isEqualTo(3);
    assertThat(run.err())
        .startsWith("tallyroll: no connection to 127.0.0.1:1/shop: ")
        .doesNotContain("secret");
    assertThat(run.err().lines()).hasSize(1);
  }

  @Test
  void wrongValuesAndCommands_areToldInTheUsersWords() throws IOException {
    try (TestDatabase database = withTable()) {
      assertThat(run(database, "qurey", "ev").err())
          .startsWith("tallyroll: no command 'qurey'; did you mean 'query'?");
      assertThat(run(database, "backfill", "ev", "--from", "2026-13-01").err())
          .contains("'2026-13-01' is not a date, as 2026-05-01");
      assertThat(run(database, "backfill", "ev", "--jobs", "two").err())
          .contains("'two' is not a whole number");
      assertThat(run(database, "quarantine", "show", "abc").err())
          .contains("'abc' is not a whole number");
      assertThat(run(database, "verify", "ev", "--sample", "0").err())
          .contains("--sample is at least 1, not 0");
      assertThat(run(database, "verify", "ev", "--from", "2026-05-02", "--to", "2026-05-02").err())
          .contains("--from (2026-05-02) must lie before --to (2026-05-02)");
      assertThat(run("status", "--port", "99999").err())
          .contains("--port is a number from 1 to 65535, not 99999");
      assertThat(run(database, "plan", "-f", directory.toString()).err())
          .contains("no file " + directory + " to read");
      Path binary = Files.write(directory.resolve("b.yaml"), new byte[] {(byte) 0xff, 0, 1});
      assertThat(run(database, "plan", "-f", binary.toString()).err())
          .contains(binary + ": is not text in UTF-8");
    }
  }

  /** Of one that is in trouble that is said, and all about the others. */
  @Test
  void aRollupWithoutItsSource_hidesNoOther() throws IOException {
    try (TestDatabase database = withTable()) {
      database.run("create table copied (like requests including all)");
      assertThat(
              run(
                      database,
                      "apply",
                      "-f",
                      file(
                              "lost.yaml",
                              DEFINITION
                                  .replace("rollup: traffic", "rollup: lost")
                                  .replace("public.requests", "public.copied"))
                          .toString())
                  .code())
          .isZero();
      assertThat(run(database, "apply", "-f", file("r.yaml", DEFINITION).toString()).code())
          .isZero();
      database.run("drop table copied cascade");
      Run status = run(database, "status");
      assertThat(status.out()).contains("rollup traffic over public.requests");
      assertThat(status.err()).contains("tallyroll: nothing can be said of lost: ");
      assertThat(status.code()).isNotZero();
      assertThat(run(database, "status", "--format", "json").out())
          .contains("\"rollup\":\"lost\"", "\"rollup\":\"traffic\"");
      Run refresh = run(database, "refresh");
      assertThat(refresh.out()).contains("refreshed traffic: ");
      assertThat(refresh.err()).contains("tallyroll: lost: ");
      assertThat(refresh.code()).isEqualTo(status.code());
      assertThat(run(database, "drop", "lost").code()).isZero();
      assertThat(run(database, "refresh").code()).isZero();
    }
  }

  @Test
  void aRollupOnWhichSomethingStands_isNotDropped() throws IOException {
    try (TestDatabase database = withTable()) {
      run(database, "apply", "-f", file("r.yaml", DEFINITION).toString());
      database.run("create view mine as select * from tallyroll.traffic_1d_fresh");
      for (String[] drop : new String[][] {{"drop", "traffic"}, {"drop", "traffic", "--dry-run"}}) {
        Run run = run(database, drop);
        assertThat(run.code()).isEqualTo(4);
        assertThat(run.out()).isEmpty();
        assertThat(run.err())
            .contains("something of yours stands on it (view mine); drop that first");
      }
      database.run("drop view mine");
      assertThat(run(database, "drop", "traffic").code()).isZero();
    }
  }

  @Test
  void mistakes_areOneLineWithExitCodeTwo() throws IOException {
    try (TestDatabase database = withTable()) {
      assertThat(run(database, "query", "nothing"))
          .isEqualTo(
              new Run(
                  2,
                  "",
                  "tallyroll: no rollup 'nothing' (there are none; apply a definition first)\n"));
      assertThat(run(database, "quary", "x").code()).isEqualTo(2);
      Run plan =
          run(
              database,
              "plan",
              "-f",
              file("r.yaml", DEFINITION.replace("sum(", "summ(")).toString());
      assertThat(plan.code()).isEqualTo(2);
      assertThat(plan.err())
          .contains("r.yaml:6:13: a measure is one of count, sum,")
          .doesNotContain("\tat ");
      assertThat(run("status", "--database-url", "postgresql://nobody:x@127.0.0.1:1/none").code())
          .isEqualTo(3);
      assertThat(run("status", "--database-url", "nonsense").err())
          .contains("--database-url (or TALLYROLL_DATABASE_URL) is written as postgresql://");
      assertThat(run("--version").out()).startsWith("tallyroll ").hasLineCount(1);
      assertThat(run(database, "query", "x", "--every", "2d").err())
          .contains("--every is one of 1m, 5m, 1h, 1d, 1w, 1mo, all");
    }
  }

  @Test
  void planGrants_printsRunnableSqlWithItsReasons() throws IOException {
    try (TestDatabase database = withTable()) {
      database.run("drop schema tallyroll cascade");
      String role = "r" + ProcessHandle.current().pid() + "_";
      List<String> plan =
          List.of(
              "plan",
              "--grants",
              "-f",
              file("rollup.yaml", DEFINITION).toString(),
              "--installer",
              role + "i",
              "--refresher",
              role + "f",
              "--reader",
              role + "r");
      Run text = run(database, plan.toArray(String[]::new));
      assertThat(text.code()).isZero();
      assertThat(text.out())
          .startsWith("-- before apply, as an administrator" + System.lineSeparator())
          .contains("create schema tallyroll authorization \"" + role + "i\";")
          .contains("-- after apply, as " + role + "i");
      // As printed, by psql or here: comments and statements.
      int after = text.out().indexOf("-- after apply");
      database.run(text.out().substring(0, after));
      try {
        Run json =
            run(
                database,
                Stream.concat(plan.stream(), Stream.of("--format", "json")).toArray(String[]::new));
        JsonNode left = JsonMapper.builder().build().readTree(json.out());
        assertThat(left).isNotEmpty();
        for (JsonNode grant : left) {
          assertThat(grant.get("when").asString()).isEqualTo("after_apply");
          assertThat(grant.get("run_by").asString()).isEqualTo(role + "i");
          assertThat(grant.get("role").asString()).isEqualTo(role + "r");
        }
        Run other =
            run(
                database,
                "plan",
                "--grants",
                "-f",
                file("rollup.yaml", DEFINITION).toString(),
                "--installer",
                "somebody");
        assertThat(other.code()).isEqualTo(2);
        assertThat(other.err()).contains("the schema tallyroll belongs to the role " + role + "i");
      } finally {
        for (String one : List.of("r", "f", "i")) {
          database.run("drop owned by " + role + one + " cascade; drop role " + role + one);
        }
      }
    }
  }
}
