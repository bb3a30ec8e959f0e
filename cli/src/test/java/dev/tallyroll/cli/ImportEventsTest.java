package dev.tallyroll.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Events that are too old for a server, loaded into its log. */
class ImportEventsTest {
  private static final String USAGE =
      """
      rollup: usage
      source: {table: tallyroll.event, tenant: tenant, time: time, changes: append, keep: 300d}
      dimensions: [model]
      measures: {requests: count, tokens: sum(input_tokens)}
      grains: {1h: keep 400d, 1d: keep 400d}
      """;

  @TempDir private Path directory = Path.of("");
  private TestDatabase database = TestDatabase.create();

  private record Ran(int code, String out, String err) {}

  private Ran run(String... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    String[] all = java.util.Arrays.copyOf(arguments, arguments.length + 2);
    all[arguments.length] = "--database-url";
    all[arguments.length + 1] = database.url();
    int code = Main.run(all, new PrintWriter(out), new PrintWriter(err));
    return new Ran(code, out.toString(), err.toString());
  }

  @BeforeEach
  void prepare() throws IOException {
    Path definition = Files.writeString(directory.resolve("usage.yaml"), USAGE);
    assertThat(run("apply", "-f", definition.toString()).code()).isZero();
    assertThat(run("tenant", "create", "acme").code()).isZero();
  }

  @AfterEach
  void end() {
    database.close();
  }

  private static String event(String id, Instant time) {
    return "{\"specversion\":\"1.0\",\"id\":\""
        + id
        + "\",\"source\":\"old\",\"type\":\"llm.call\",\"subject\":\"x\",\"time\":\""
        + time
        + "\",\"data\":{\"model\":\"m\",\"input_tokens\":7,\"region\":\"eu\"}}";
  }

  private Path file(String... lines) throws IOException {
    return Files.write(directory.resolve("events.jsonl"), List.of(lines));
  }

  private Ran load(Path file, String... more) {
    String[] all = {"import", "--table", "tallyroll.event", "--tenant", "acme", file.toString()};
    String[] with = java.util.Arrays.copyOf(all, all.length + more.length);
    System.arraycopy(more, 0, with, all.length, more.length);
    return run(with);
  }

  @Test
  void eventsOfAnyAge_areCountedOnce_evenWhereTheirKeysAreForgotten() throws IOException {
    Instant now = Instant.now();
    Path file =
        file(
            event("1", now.minus(Duration.ofDays(200))),
            event("2", now.minus(Duration.ofDays(60))),
            "",
            event("2", now.minus(Duration.ofDays(60))),
            event("3", now));
    assertThat(load(file).out())
        .isEqualTo(
            "imported 3 events of " + file + " into tallyroll.event, 1 were there already\n");
    assertThat(load(file).out()).startsWith("imported 0 events").contains("4 were there already");
    // As weeks later.
    database.run("delete from tallyroll.event_key");
    assertThat(load(file).out()).startsWith("imported 0 events");
    assertThat(run("refresh", "usage").code()).isZero();
    assertThat(
            run(
                    "query",
                    "usage",
                    "--from",
                    now.minus(Duration.ofDays(250)).toString().substring(0, 10),
                    "--every",
                    "all",
                    "--measure",
                    "requests",
                    "--measure",
                    "tokens",
                    "--format",
                    "csv")
                .out())
        .contains(",3,21");
    assertThat(run("verify", "usage").code()).isZero();
    assertThat(database.value("select string_agg(attributes->>'region', ',') from tallyroll.event"))
        .isEqualTo("eu,eu,eu");
  }

  @Test
  void badLine_isNamed_andNothingOfItsFileIsLoaded() throws IOException {
    Instant old = Instant.now().minus(Duration.ofDays(60));
    Path file = file(event("1", old), event("2", old).replace("\"id\":\"2\",", ""), "{");
    Ran ran = load(file);
    assertThat(ran.code()).isEqualTo(2);
    assertThat(ran.err())
        .isEqualTo("tallyroll: " + file + ":2: id is missing; nothing of this file is loaded\n");
    assertThat(database.value("select count(*) from tallyroll.event")).isEqualTo("0");
    Path bad = directory.resolve("bad");
    assertThat(load(file, "--skip-bad", bad.toString()).out())
        .contains("imported 1 events", "2 bad");
    assertThat(Files.readString(bad)).contains(":2: id is missing\t{", ":3: not JSON");
  }

  @Test
  void whatCannotBeTold_isRefused() throws IOException {
    Path file = file(event("1", Instant.now().minus(Duration.ofDays(350))));
    database.run(
        "insert into tallyroll.seal (source, range_from, range_to, seen, reason) select id, '-infinity', now() - interval '300 days', pg_current_snapshot(), 'test' from tallyroll.source where relation = 'tallyroll.event'::regclass");
    assertThat(load(file).err()).contains("whose events were purged").hasLineCount(1);
    assertThat(run("import", "--table", "tallyroll.event", file.toString()).err())
        .contains("--tenant");
    assertThat(
            run("import", "--table", "tallyroll.event", "--tenant", "nobody", file.toString())
                .err())
        .contains("no tenant 'nobody'");
    assertThat(load(file, "--map", "time=t").code()).isEqualTo(2);
    Path csv = Files.writeString(directory.resolve("events.csv"), "id\n1\n");
    assertThat(load(csv).err()).contains("JSON Lines");
  }
}
