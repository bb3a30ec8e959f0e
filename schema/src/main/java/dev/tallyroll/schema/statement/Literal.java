package dev.tallyroll.schema.statement;

/**
 * A text in a program, with what is joined to it.
 *
 * @param line in which it begins, from 1
 * @param text with {@link #HOLE} for each part that is known only at run time
 * @param isTagged whether it is a template that a function gets in parts, so that what is put in
 *     are parameters
 */
record Literal(int line, String text, boolean isTagged) {
  /** Stands for a part that is known only at run time. */
  static final char HOLE = '\u0001';

  /** Stands for a question mark that is an operator for certain. */
  static final char OPERATOR = '\u0002';
}
