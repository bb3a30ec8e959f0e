package dev.tallyroll.model.definition;

/**
 * A place in a definition file.
 *
 * @param line the line, from 1
 * @param column the column, from 1
 */
public record Position(int line, int column) implements Comparable<Position> {
  /** The start of a file. */
  public static final Position START = new Position(1, 1);

  /** The place {@code columns} further on the same line. */
  public Position plus(int columns) {
    return new Position(line, column + columns);
  }

  @Override
  public int compareTo(Position other) {
    return line != other.line
        ? Integer.compare(line, other.line)
        : Integer.compare(column, other.column);
  }
}
