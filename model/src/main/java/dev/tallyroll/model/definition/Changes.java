package dev.tallyroll.model.definition;

import java.util.Locale;

/** How the rows of a source may change, which decides how its changes are captured. */
public enum Changes {
  /** Rows may be inserted, updated and deleted. */
  ANY,
  /** The table is made to be only appended to. */
  APPEND;

  /** The name in definitions. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
