package dev.tallyroll.model.definition;

import java.util.Map;

/**
 * A rollup together with where its parts stand in its file, for messages.
 *
 * @param rollup the rollup
 * @param file the file's name, as the user gave it
 * @param positions where each part stands, by path: {@code source.table}, {@code dimensions.model},
 *     {@code measures.cost} (the value) or {@code measures.cost.expression}, {@code
 *     measures.cost.where}
 */
public record Definition(Rollup rollup, String file, Map<String, Position> positions) {
  /** Copies the map. */
  public Definition {
    positions = Map.copyOf(positions);
  }

  /** Where the part at {@code path} stands, or where the nearest part that holds it does. */
  public Position position(String path) {
    String at = path;
    while (true) {
      Position position = positions.get(at);
      if (position != null) {
        return position;
      }
      int dot = at.lastIndexOf('.');
      if (dot < 0) {
        return positions.getOrDefault("", Position.START);
      }
      at = at.substring(0, dot);
    }
  }

  /** A fault at the part of this path. */
  public DefinitionException.Fault fault(String path, String message) {
    return fault(path, 0, message);
  }

  /** A fault so many characters into the text of the part at this path. */
  public DefinitionException.Fault fault(String path, int offset, String message) {
    return new DefinitionException.Fault(file, position(path).plus(offset), message);
  }
}
