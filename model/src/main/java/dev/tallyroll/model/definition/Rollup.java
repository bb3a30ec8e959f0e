package dev.tallyroll.model.definition;

import dev.tallyroll.model.time.Grain;
import java.time.ZoneId;
import java.util.Collections;
import java.util.LinkedHashMap;
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
 * @param grains the grains with how long each is kept, finest first, the days of zones last; at
 *     least one
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

  /**
   * The grain that rows are folded into first: the finest, or a finer one that is not stored, where
   * the days of a zone could not be made of the finest.
   */
  public Grain foldGrain() {
    boolean hasZones = grains.lastKey().zone().isPresent();
    return hasZones && finest().compareTo(Grain.FIVE_MINUTES) > 0 ? Grain.FIVE_MINUTES : finest();
  }

  /**
   * For how many days back local days can be answered, by the offsets that a zone has: a zone whose
   * days are kept, by name; then zones of whole hours, and all others. Zones that cannot be asked
   * for by the day at all have 0.
   */
  public Map<String, Integer> localDaysReach() {
    Map<String, Integer> reach = new LinkedHashMap<>();
    int hours = keptAtMost(Grain.HOUR);
    int quarters = keptAtMost(Grain.FIVE_MINUTES);
    reach.put("UTC", keptAtMost(Grain.DAY));
    grains.forEach((grain, keep) ->
        grain
            .zone()
            .ifPresent(zone ->
                reach.put(
                    zone.getId(),
                    Math.max(
                        keep.days(),
                        grain.madeOfFrom(Grain.HOUR) < Long.MAX_VALUE ? hours : quarters))));
    reach.put("offsets of whole hours", hours);
    reach.put("offsets of half and quarter hours", quarters);
    return reach;
  }

  /** The longest keep of a fixed grain that is not coarser than another. */
  private int keptAtMost(Grain coarsest) {
    return grains.entrySet().stream()
        .filter(grain -> grain.getKey().zone().isEmpty())
        .filter(grain -> grain.getKey().compareTo(coarsest) <= 0)
        .mapToInt(grain -> grain.getValue().days())
        .max()
        .orElse(0);
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
    text.append("\ngrains:");
    grains.forEach((grain, keep) -> {
      if (!isDay(grain)) {
        text.append("\n  ").append(grain.label()).append(": keep ").append(keep);
      }
    });
    List<Grain> days = grains.keySet().stream().filter(Rollup::isDay).toList();
    if (days.equals(List.of(Grain.DAY))) {
      text.append("\n  1d: keep ").append(grains.get(Grain.DAY));
    } else if (!days.isEmpty()) {
      // One keep for all of them.
      text.append("\n  1d: {keep: ").append(grains.get(days.getFirst())).append(", zones: [");
      text.append(
          days.stream()
              .map(day -> quoted(day.zone().map(ZoneId::getId).orElse("UTC")))
              .collect(Collectors.joining(", ")));
      text.append("]}");
    }
    return text.append('\n').toString();
  }

  private static boolean isDay(Grain grain) {
    return grain.equals(Grain.DAY) || grain.zone().isPresent();
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
