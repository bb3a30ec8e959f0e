package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.testkit.history.History;
import java.time.Duration;
import java.time.Instant;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Random histories. A dozen by default; {@code -Dtallyroll.histories=1000} runs more, and {@code
 * -Dtallyroll.seed=17} begins with another one.
 */
class HistoryTest {
  @Test
  @Timeout(36_000)
  void randomHistories_endExactAndNeverShowAWrongNumber() {
    long first = Long.getLong("tallyroll.seed", 1);
    long count = Long.getLong("tallyroll.histories", 12);
    Instant began = Instant.now();
    History.Summary all = new History.Summary(0, 0, 0, 0);
    for (long seed = first; seed < first + count; seed++) {
      all = all.plus(History.run(seed));
    }
    System.out.println(
        count
            + " histories from seed "
            + first
            + ": "
            + all
            + " in "
            + Duration.between(began, Instant.now()).toSeconds()
            + " s");
    assertThat(all.operations()).isPositive();
  }
}
