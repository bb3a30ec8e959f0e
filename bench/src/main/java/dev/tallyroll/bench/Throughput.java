package dev.tallyroll.bench;

import dev.tallyroll.session.Database;
import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.IntFunction;

/** How much eight sessions write that write as fast as they can. */
final class Throughput {
  private static final int SESSIONS = 8;

  private Throughput() {}

  /**
   * Lets the sessions write.
   *
   * @param statement of a session, by its number; each of its runs is a transaction
   * @param rows of each statement
   * @param time how long
   * @return rows a second
   * @throws Exception what any statement throws, a deadlock for one
   */
  static double of(Database database, IntFunction<String> statement, int rows, Duration time)
      throws Exception {
    AtomicBoolean done = new AtomicBoolean();
    AtomicLong written = new AtomicLong();
    try (ExecutorService pool = Executors.newFixedThreadPool(SESSIONS)) {
      List<Future<?>> all = new ArrayList<>();
      long began = System.nanoTime();
      for (int session = 0; session < SESSIONS; session++) {
        String sql = statement.apply(session);
        all.add(
            pool.submit(() -> {
              try (Connection connection = database.open("bench");
                  var prepared = connection.prepareStatement(sql)) {
                while (!done.get()) {
                  prepared.executeUpdate();
                  written.addAndGet(rows);
                }
              }
              return null;
            }));
      }
      Thread.sleep(time);
      done.set(true);
      for (Future<?> one : all) {
        one.get();
      }
      return written.get() / ((System.nanoTime() - began) / 1e9);
    }
  }

  static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }

  /** The median of the rounds' ratios, each of which ran side by side. */
  static double ratio(double[] values, double[] against) {
    double[] ratios = new double[values.length];
    Arrays.setAll(ratios, i -> values[i] / against[i]);
    return median(ratios);
  }

  /** Prints a line of a table. */
  static void print(String what, double rate, double ratio) {
    System.out.printf(Locale.ROOT, "| %s | %,.0f rows/s | %.0f %% |%n", what, rate, 100 * ratio);
  }
}
