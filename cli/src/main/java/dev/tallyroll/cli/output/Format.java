package dev.tallyroll.cli.output;

import java.util.Locale;

/** How results are printed. */
public enum Format {
  /** Aligned columns for people. */
  TABLE,
  /** One JSON array of flat objects, or one object. */
  JSON,
  /** Comma-separated values with a header (RFC 4180). */
  CSV;

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
