package dev.tallyroll.cli.output;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import org.junit.jupiter.api.Test;

/** What shows at a terminal, and in a log, of work that takes long. */
class ProgressTest {
  private final ByteArrayOutputStream written = new ByteArrayOutputStream();

  private String shown() {
    return written.toString(StandardCharsets.UTF_8);
  }

  private Progress start(boolean isTerminal, int everyMs) {
    return Progress.start(
        "backfill",
        "rows",
        1_000,
        isTerminal,
        everyMs,
        new PrintStream(written, true, StandardCharsets.UTF_8));
  }

  private void awaitShown(String text) throws InterruptedException {
    Instant end = Instant.now().plus(Duration.ofSeconds(20));
    while (!shown().contains(text)) {
      assertThat(Instant.now()).as("until %s is shown, not: %s", text, shown()).isBefore(end);
      Thread.sleep(20);
    }
  }

  @Test
  void inALog_eachLineIsWhole_withTheRowsAndTheRate() throws Exception {
    try (Progress progress = start(false, 100)) {
      progress.step(250);
      awaitShown("250/1000 rows");
      progress.step(250);
      awaitShown("500/1000 rows");
      // What stands still says so again.
      written.reset();
      awaitShown("500/1000 rows");
    }
    assertThat(shown().lines().toList())
        .isNotEmpty()
        .allSatisfy(line ->
            assertThat(line).startsWith("backfill").contains("rows/s").doesNotContain("\r"));
  }

  @Test
  void inALog_whatIsSoonDoneSaysNothing() {
    try (Progress progress = start(false, 60_000)) {
      progress.step(1_000);
    }
    assertThat(shown()).isEmpty();
  }

  @Test
  void atATerminal_oneLineIsWrittenAgainAndAgain() throws Exception {
    try (Progress progress = start(true, 20)) {
      progress.step(250);
      awaitShown("250/1000 rows");
      progress.step(750);
      awaitShown("1000/1000 rows");
    }
    assertThat(shown()).contains("\r");
    assertThat(shown().strip().lines().count()).isLessThanOrEqualTo(1 + shown().split("\r").length);
  }
}
