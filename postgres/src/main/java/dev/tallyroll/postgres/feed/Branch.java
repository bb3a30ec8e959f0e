package dev.tallyroll.postgres.feed;

/**
 * Rows that a feed reads: a part of a source or of its change log. Immutable.
 *
 * @param from what follows FROM, under the source's own name
 * @param predicate what the rows meet
 * @param isOut whether the rows were taken out of the source, and not put into it
 */
public record Branch(String from, String predicate, boolean isOut) {
  /** Rows that were put in. */
  public static Branch in(String from, String predicate) {
    return new Branch(from, predicate, false);
  }

  /** The same, with one more condition. */
  public Branch and(String condition) {
    return new Branch(from, predicate + condition, isOut);
  }

  /** A query for the rows. */
  public String select(String selected) {
    return "select " + selected + " from " + from + " where " + predicate;
  }
}
