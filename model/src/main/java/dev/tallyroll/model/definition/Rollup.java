package dev.tallyroll.model.definition;

import dev.tallyroll.model.time.Grain;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * A rollup, as a definition declares it. Immutable.
 *
 * @param name its name
 * @param source the table it is kept over
 * @param dimensions what rows are grouped by, in the order of the definition
 * @param measures what is kept, in the order of the definition
 * @param grains the grains with how long each is kept, finest first; at least one
 */
public record Rollup(
    String name,
    Source source,
    List<Dimension> dimensions,
    List<Measure> measures,
    SortedMap<Grain, Keep> grains) {
  /** Copies the collections. */
  public Rollup {
    dimensions = List.copyOf(dimensions);
    measures = List.copyOf(measures);
    grains = Collections.unmodifiableSortedMap(new TreeMap<>(grains));
    if (grains.isEmpty()) {
      throw new IllegalArgumentException("a rollup has at least one grain");
    }
  }

  /** The same under another name. */
  public Rollup named(String other) {
    return new Rollup(other, source, dimensions, measures, grains);
  }

  /** The finest grain. */
  public Grain finest() {
    return grains.firstKey();
  }

  /** The measure of this name, if there is one. */
  public Optional<Measure> measure(String measure) {
    return measures.stream().filter(candidate -> candidate.name().equals(measure)).findFirst();
  }

  /**
   * The definition in its canonical form: YAML that reads back to an equal rollup, the same text
   * for equal rollups.
   */
  public String text() {
    StringBuilder text = new StringBuilder();
    text.append("rollup: ")
        .append(name)
        .append("\nsource:\n  table: ")
        .append(quoted(source.label()));
    text.append("\n  tenant: ").append(quoted(source.tenant()));
    if (source.zone() == null) {
      text.append("\n  time: ").append(quoted(source.time()));
    } else {
      text.append("\n  time: {column: ").append(quoted(source.time())).append(", zone: ");
      text.append(quoted(source.zone())).append('}');
    }
    text.append("\n  changes: ").append(source.changes().label());
    if (source.keep() != null) {
      text.append("\n  keep: ").append(source.keep());
    }
    text.append("\ndimensions:").append(dimensions.isEmpty() ? " []" : "");
    for (Dimension dimension : dimensions) {
      text.append("\n  - ");
      text.append(
          dimension.column()
              ? quoted(dimension.name())
              : "{" + dimension.name() + ": " + quoted(dimension.expression()) + "}");
    }
    text.append("\nmeasures:");
    for (Measure measure : measures) {
      text.append("\n  ").append(measure.name()).append(": ").append(quoted(measure.text()));
    }
    text.append("\ngrains:\n  ");
    text.append(
        grains.entrySet().stream()
            .map((Map.Entry<Grain, Keep> grain) ->
                grain.getKey().label() + ": keep " + grain.getValue())
            .collect(Collectors.joining("\n  ")));
    return text.append('\n').toString();
  }

  /** A double-quoted YAML scalar. */
  private static String quoted(String value) {
    StringBuilder text = new StringBuilder("\"");
    value
        .chars()
        .forEach(c -> {
          switch (c) {
            case '"' -> text.append("\\\"");
            case '\\' -> text.append("\\\\");
            case '\n' -> text.append("\\n");
            case '\t' -> text.append("\\t");
            default -> {
              if (c < 0x20 || c == 0x7f) {
                text.append(String.format("\\x%02x", c));
              } else {
                text.append((char) c);
              }
            }
          }
        });
    return text.append('"').toString();
  }
}
