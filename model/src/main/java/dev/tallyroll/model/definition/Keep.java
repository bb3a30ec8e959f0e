package dev.tallyroll.model.definition;

/**
 * How long the buckets of a grain are kept.
 *
 * @param days whole UTC days, at least one
 */
public record Keep(int days) {
  /** The most days that a definition may ask for: a hundred years. */
  public static final int MOST_DAYS = 36_525;

  /** Checks the range. */
  public Keep {
    if (days < 1 || days > MOST_DAYS) {
      throw new IllegalArgumentException("keep is 1d to " + MOST_DAYS + "d");
    }
  }

  @Override
  public String toString() {
    return days + "d";
  }
}
