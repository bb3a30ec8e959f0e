package dev.tallyroll.cli.output;

import java.io.Console;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** A progress bar on standard error at a terminal, and nothing elsewhere. For one thread. */
public final class Progress implements AutoCloseable {
  private final @Nullable ProgressBar bar;

  private Progress(@Nullable ProgressBar bar) {
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
    if (!isTerminal()) {
      return new Progress(null);
    }
    return new Progress(
        new ProgressBarBuilder()
            .setTaskName(task)
            .setInitialMax(most)
            .setUnit(" " + unit, 1)
            .setStyle(ProgressBarStyle.ASCII)
            .setUpdateIntervalMillis(200)
            .setConsumer(new ConsoleProgressBarConsumer(System.err))
            .showSpeed()
            .build());
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
    if (bar != null) {
      bar.stepBy(by);
      if (bar.getMax() >= 0 && bar.getCurrent() > bar.getMax()) {
        bar.maxHint(bar.getCurrent());
      }
    }
  }

  /** Ends the bar. */
  @Override
  public void close() {
    if (bar != null) {
      bar.maxHint(bar.getCurrent());
      bar.close();
    }
  }
}
