package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import java.io.IOException;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.ds.PGSimpleDataSource;

/** Whatever is killed, the next run ends with an exact rollup. */
class CrashTest {
  private static final String KILL =
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'tallyroll %'"
          + " and state <> 'idle' order by random() limit 1";

  @ParameterizedTest
  @ValueSource(longs = {1, 2})
  void backendsKilledAtAnyPoint_leaveARollupThatTheNextRefreshMakesExact(long seed)
      throws Exception {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 20_000, 8);
      scenario.apply(Scenario.ROLLUP);
      Random random = new Random(seed);
      int failed = 0;
      for (int round = 0; round < 12; round++) {
        scenario.insert(round * 2_000, round * 2_000 + 1_999, 8);
        boolean fills = round % 3 == 2;
        Thread work =
            Thread.ofPlatform()
                .start(() -> {
                  try {
                    if (fills) {
                      scenario.backfill("usage");
                    } else {
                      scenario.refresh("usage");
                    }
                  } catch (TallyrollException e) {
                    // Killed; that is the point.
                  }
                });
        Thread.sleep(random.nextInt(250));
        failed += "t".equals(scenario.database().value(KILL)) ? 1 : 0;
        work.join();
        assertThat(scenario.verify("usage").isExact()).isTrue();
      }
      assertThat(failed).as("backends that were killed").isPositive();
      scenario.refresh("usage");
      scenario.backfill("usage");
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.verify("usage").rows()).isEqualTo(44_000);
      assertThat(scenario.verify("usage").uncovered()).isEmpty();
      assertThat(leftovers(scenario)).isEqualTo("0");
    }
  }

  /** Tables in the schema that are neither attached nor known. */
  private static String leftovers(Scenario scenario) {
    return String.valueOf(
        scenario
            .database()
            .value(
                "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'tallyroll'"
                    + " and c.relname like 'usage\\_%\\_p________' and not c.relispartition"));
  }

  @Test
  void aJvmKilledAtAnyPoint_leavesARollupThatTheNextRunMakesExact() throws Exception {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 30_000, 8);
      scenario.apply(Scenario.ROLLUP);
      Random random = new Random(5);
      int killed = 0;
      for (int round = 0; round < 5; round++) {
        scenario.insert(round * 3_000, round * 3_000 + 2_999, 8);
        Process process = Worker.start(scenario.database());
        boolean ended = process.waitFor(400 + random.nextInt(1_200), TimeUnit.MILLISECONDS);
        process.destroyForcibly().waitFor();
        killed += ended ? 0 : 1;
        assertThat(scenario.verify("usage").isExact()).isTrue();
      }
      assertThat(killed).as("JVMs that were killed").isPositive();
      scenario.refresh("usage");
      scenario.backfill("usage");
      assertThat(scenario.verify("usage").isExact()).isTrue();
      assertThat(scenario.verify("usage").rows()).isEqualTo(45_000);
      assertThat(leftovers(scenario)).isEqualTo("0");
    }
  }

  /** Refreshes and backfills in a process of its own. */
  static final class Worker {
    private Worker() {}

    static Process start(TestDatabase database) throws IOException {
      return new ProcessBuilder(
              List.of(
                  Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                  "-cp",
                  System.getProperty("java.class.path"),
                  Worker.class.getName(),
                  database.url()))
          .redirectErrorStream(true)
          .redirectOutput(ProcessBuilder.Redirect.DISCARD)
          .start();
    }

    public static void main(String[] arguments) {
      PGSimpleDataSource source = new PGSimpleDataSource();
      java.net.URI url = java.net.URI.create(arguments[0]);
      String[] user = url.getUserInfo().split(":", 2);
      source.setURL("jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath());
      source.setUser(user[0]);
      source.setPassword(user[1]);
      var database = new dev.tallyroll.session.Database(source);
      InstantSource clock = () -> Scenario.NOW;
      try (Refresher refresher = new Refresher(database, clock)) {
        refresher.refresh("usage", Refresher.WhenBusy.WAIT);
      }
      new Backfill(database, clock).run(BackfillRequest.all("usage"), new Backfill.Progress() {});
    }
  }
}
