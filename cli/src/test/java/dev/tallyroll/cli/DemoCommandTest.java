package dev.tallyroll.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The demo: sample tenants that send to a server what they did. */
class DemoCommandTest {
  @TempDir private Path directory = Path.of("");

  private Ran run(String... command) {
    return Ran.with(List.of("--data-dir", directory.toString()), command);
  }

  @Test
  void demo_sendsRealRequests_once_andProvesWhatItShows() {
    Ran first = run("demo", "--once", "--days", "2");
    assertThat(first.code()).as(first.out() + first.err()).isZero();
    assertThat(first.out())
        .contains("listening on http://127.0.0.1:", "acme by model")
        .containsPattern("sent [1-9]\\d* events of 2 days")
        .containsPattern("verify llm_usage: exact: [1-9]")
        .containsPattern("verify activity: exact: [1-9]")
        .containsPattern("verify llm_cost: exact: [1-9]");
    LocalDate today = LocalDate.ofInstant(Instant.now(), ZoneOffset.UTC);
    String[] yesterday = {
      "query",
      "llm_usage",
      "--measure",
      "requests",
      "--every",
      "all",
      "--format",
      "csv",
      "--from",
      today.minusDays(1).toString(),
      "--to",
      today.toString()
    };
    String before = run(yesterday).out();
    assertThat(before).contains("acme", "umbrella");
    // Again: what is there is not sent again; and if it were, it would not be counted again.
    Ran again = run("demo", "--once", "--days", "2");
    assertThat(again.code()).as(again.out() + again.err()).isZero();
    assertThat(run(yesterday).out()).isEqualTo(before);
    assertThat(run("quarantine", "events", "--format", "csv").out()).hasLineCount(1);
    assertThat(run("key", "list", "--format", "json").out().split("\"revoked_at\":\"").length - 1)
        .as("the keys of tenants end with the demo")
        .isEqualTo(12);
  }

  @Test
  void wrongOptions_areNamed() {
    assertThat(run("demo", "--days", "35").code()).isEqualTo(2);
    Ran ran = run("demo", "--once", "--database-url", "postgresql://x@127.0.0.1:1/y");
    assertThat(ran.code()).isEqualTo(2);
    assertThat(ran.err()).contains("leave out --database-url").hasLineCount(1);
  }
}
