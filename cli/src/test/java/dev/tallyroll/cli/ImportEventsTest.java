package dev.tallyroll.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.events.EventImport;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
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

  private Ran run(String... command) {
    return Ran.with(List.of("--database-url", database.url()), command);
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
    return Ran.with(
        List.of("--database-url", database.url()),
        Stream.concat(
                Stream.of(
                    "import", "--table", "tallyroll.event", "--tenant", "acme", file.toString()),
                Stream.of(more))
            .toArray(String[]::new));
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
    Path untimed = file(event("1", Instant.now()).replaceFirst("\"time\":\"[^\"]*\",", ""));
    assertThat(load(untimed).err()).contains(":1: time is missing").hasLineCount(1);
    Path binary = Files.write(directory.resolve("binary.jsonl"), new byte[] {'{', (byte) 0xff});
    assertThat(load(binary).err()).contains("not UTF-8").hasLineCount(1);
    assertThat(
            run("import", "--table", "tallyroll.api_key", "--tenant", "acme", file.toString())
                .err())
        .contains("tallyroll.api_key is Tallyroll's own");
    Path csv = Files.writeString(directory.resolve("events.csv"), "id\n1\n");
    assertThat(load(csv).err()).contains("JSON Lines");
  }

  @Test
  void manyEventsOfManyDays_goInBatches() throws IOException {
    Instant now = Instant.now();
    String[] lines = new String[5_100];
    for (int i = 0; i < lines.length; i++) {
      lines[i] = event("e" + i, now.minus(Duration.ofDays(40 + i % 7)));
    }
    assertThat(load(file(lines)).out()).startsWith("imported 5100 events");
    database.run("delete from tallyroll.event_key");
    assertThat(load(file(lines)).out()).startsWith("imported 0 events");
    assertThat(database.value("select count(*) from tallyroll.event")).isEqualTo("5100");
  }

  @Test
  void whatIsPurgedMeanwhile_isNotTaken_andClaimsNoKey() throws Exception {
    long time = Times.micros(Instant.now().minus(Duration.ofDays(60)));
    Event old = new Event("old", "1", time, "t", "x", Map.of(), null);
    try (EventImport events = new EventImport(database.database(), "acme")) {
      assertThat(events.append(List.of(old), time)).isEqualTo(1);
      database.run(
          "insert into tallyroll.seal (source, range_from, range_to, seen, reason) select id, '-infinity', now() - interval '50 days', pg_current_snapshot(), 'test' from tallyroll.source where relation = 'tallyroll.event'::regclass;"
              + " do $$ begin execute (select format('drop table %s', inhrelid::regclass) from pg_inherits where inhparent = 'tallyroll.event'::regclass order by inhrelid::regclass::text limit 1); end $$; delete from tallyroll.event_key");
      // Of the same day, and the same event: its row and its key are gone.
      assertThat(events.append(List.of(old), time)).isZero();
      assertThat(database.value("select count(*) from tallyroll.event_key")).isEqualTo("0");
    }
  }

  @Test
  void eventsThatArePurgedSoon_areToldOf() throws IOException {
    Ran ran = load(file(event("1", Instant.now().minus(Duration.ofDays(310)))));
    assertThat(ran.out()).startsWith("imported 1 events");
    assertThat(ran.err()).contains("older than the 300 days").hasLineCount(1);
  }
}
