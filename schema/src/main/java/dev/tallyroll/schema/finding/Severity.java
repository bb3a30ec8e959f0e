package dev.tallyroll.schema.finding;

import java.util.Locale;

/** How bad a finding is; the worst first. */
public enum Severity {
  /** Rows of one tenant can reach another, or the database does not do what it says. */
  ERROR,
  /** It will go wrong when something else happens. */
  WARNING,
  /** Worth knowing. */
  NOTE;

  /** Whether this is as bad as the other, or worse. */
  public boolean isAtLeast(Severity other) {
    return compareTo(other) <= 0;
  }

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
