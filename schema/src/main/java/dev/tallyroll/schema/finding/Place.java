package dev.tallyroll.schema.finding;

/**
 * Where something stands.
 *
 * @param file its path, as it was given
 * @param line in it, from 1
 */
public record Place(String file, int line) {
  @Override
  public String toString() {
    return file + ":" + line;
  }
}
