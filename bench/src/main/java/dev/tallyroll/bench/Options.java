package dev.tallyroll.bench;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;

/**
 * What to run and how long.
 *
 * @param workloads their names, in order
 * @param directory where the server keeps its data
 * @param rows how many events the loads have
 * @param minutes how long {@code steady} runs, or how many minutes {@code hot}; empty for 60 and 10
 * @param rate how many rows {@code steady} changes in a second
 * @param lag how long {@code lag} runs with each capture
 */
record Options(
    List<String> workloads, Path directory, int rows, OptionalInt minutes, int rate, Duration lag) {
  private static final List<String> BY_DEFAULT = List.of("dense", "sparse", "month", "writers");

  /**
   * Reads {@code [--option value]... [workload...]}, in any order.
   *
   * @throws IllegalArgumentException if it cannot be understood, in one line
   */
  static Options of(String[] arguments) {
    List<String> workloads = new ArrayList<>();
    Path directory = Path.of("target", "bench-data");
    int rows = 5_000_000;
    OptionalInt minutes = OptionalInt.empty();
    int rate = 400;
    int seconds = 120;
    for (int at = 0; at < arguments.length; at++) {
      String name = arguments[at];
      if (!name.startsWith("--")) {
        workloads.add(name);
        continue;
      }
      if (++at == arguments.length) {
        throw new IllegalArgumentException(name + " needs a value");
      }
      String value = arguments[at];
      switch (name) {
        case "--rows" -> rows = number(name, value);
        case "--data-dir" -> directory = Path.of(value);
        case "--minutes" -> minutes = OptionalInt.of(number(name, value));
        case "--rate" -> rate = number(name, value);
        case "--seconds" -> seconds = number(name, value);
        default ->
            throw new IllegalArgumentException(
                "no option "
                    + name
                    + "; there are --rows, --data-dir, --minutes, --rate and --seconds");
      }
    }
    return new Options(
        workloads.isEmpty() ? BY_DEFAULT : List.copyOf(workloads),
        directory,
        rows,
        minutes,
        rate,
        Duration.ofSeconds(seconds));
  }

  private static int number(String option, String value) {
    try {
      int number = Integer.parseInt(value);
      if (number > 0) {
        return number;
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw new IllegalArgumentException(option + " takes a number above 0, not '" + value + "'");
  }
}
