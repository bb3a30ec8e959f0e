package dev.tallyroll.cli;

import java.time.Duration;
import java.util.Locale;

/** Sizes and durations for people. */
final class Sizes {
  private static final String[] UNITS = {"B", "kB", "MB", "GB", "TB"};

  private Sizes() {}

  /** As 12.3 MB. */
  static String text(long bytes) {
    double size = bytes;
    int unit = 0;
    while (size >= 1_000 && unit < UNITS.length - 1) {
      size /= 1_000;
      unit++;
    }
    return String.format(Locale.ROOT, unit == 0 ? "%.0f %s" : "%.1f %s", size, UNITS[unit]);
  }

  /** As 3d 4h, 5m 20s, 1.25s. */
  static String text(Duration duration) {
    long seconds = duration.toSeconds();
    if (seconds >= 86_400) {
      return seconds / 86_400 + "d " + seconds % 86_400 / 3_600 + "h";
    }
    if (seconds >= 3_600) {
      return seconds / 3_600 + "h " + seconds % 3_600 / 60 + "m";
    }
    if (seconds >= 60) {
      return seconds / 60 + "m " + seconds % 60 + "s";
    }
    return String.format(Locale.ROOT, "%.3fs", duration.toMillis() / 1_000.0);
  }
}
