package dev.tallyroll.cli.output;

import java.io.Console;
import java.io.PrintStream;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.DelegatingProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarConsumer;
import me.tongfei.progressbar.ProgressBarStyle;

/**
 * Progress on standard error: a bar at a terminal, elsewhere a line now and then of what takes
 * long. For one thread.
 */
public final class Progress implements AutoCloseable {
  private static final int LINE_EVERY_MS = 10_000;
  private static final int LINE_WIDTH = 120;

  private final ProgressBar bar;

  private Progress(ProgressBar bar) {
    this.bar = bar;
  }

  /**
   * Starts a bar.
   *
   * @param task what goes on
   * @param unit what is counted
   * @param most how much there is to do; less than 0 if nobody knows
   */
  public static Progress start(String task, String unit, long most) {
    boolean isTerminal = isTerminal();
    return start(task, unit, most, isTerminal, isTerminal ? 200 : LINE_EVERY_MS, System.err);
  }

  static Progress start(
      String task, String unit, long most, boolean isTerminal, int everyMs, PrintStream err) {
    return new Progress(
        new ProgressBarBuilder()
            .setTaskName(task)
            .setInitialMax(most)
            .setUnit(" " + unit, 1)
            .setStyle(ProgressBarStyle.ASCII)
            .setUpdateIntervalMillis(everyMs)
            .setConsumer(isTerminal ? new ConsoleProgressBarConsumer(err) : lines(everyMs, err))
            .showSpeed()
            // Also of what stands still, or has stepped once and before the first look.
            .continuousUpdate()
            .build());
  }

  /** For a log: nothing of what is soon done. */
  private static ProgressBarConsumer lines(int everyMs, PrintStream err) {
    long began = System.nanoTime();
    return new DelegatingProgressBarConsumer(
        line -> {
          if (System.nanoTime() - began >= everyMs * 1_000_000L) {
            err.println(line.strip());
          }
        },
        LINE_WIDTH);
  }

  /** Whether standard error is a terminal: the launcher knows, a bare jar asks Java. */
  public static boolean isTerminal() {
    String known = System.getProperty("tallyroll.terminal");
    return known == null ? isConsole() : known.equals("true");
  }

  /** From Java 22 on there is always a console, which then says whether it is a terminal. */
  @SuppressWarnings("SystemConsoleNull")
  private static boolean isConsole() {
    Console console = System.console();
    if (console == null) {
      return false;
    }
    try {
      return (boolean) Console.class.getMethod("isTerminal").invoke(console);
    } catch (NoSuchMethodException beforeJava22) {
      return true;
    } catch (ReflectiveOperationException e) {
      return false;
    }
  }

  /** Steps on. */
  public void step(long by) {
    bar.stepBy(by);
    if (bar.getMax() >= 0 && bar.getCurrent() > bar.getMax()) {
      bar.maxHint(bar.getCurrent());
    }
  }

  /** Ends the bar. */
  @Override
  public void close() {
    if (bar.getCurrent() > 0) {
      bar.maxHint(bar.getCurrent());
    }
    bar.close();
  }
}
