package dev.tallyroll.model.definition;

import dev.tallyroll.model.time.Grain;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * What differs between two definitions of the same rollup. Immutable.
 *
 * @param before the definition that is installed
 * @param after the one that is asked for
 */
public record Difference(Rollup before, Rollup after) {
  /** Whether they are the same. */
  public boolean isNone() {
    return before.text().equals(after.text());
  }

  /** Whether rows are read from elsewhere, or tenant or time are told by other columns. */
  public boolean isOfSource() {
    Source one = before.source();
    Source other = after.source();
    return !one.qualifiedTable().equals(other.qualifiedTable())
        || !one.tenant().equals(other.tenant())
        || !one.time().equals(other.time())
        || !Objects.equals(one.zone(), other.zone());
  }

  /** Whether only the way changes when it is captured how rows change. */
  public boolean isOfCapture() {
    return before.source().changes() != after.source().changes();
  }

  /** Dimensions that are new, or are another expression now. */
  public List<Dimension> newDimensions() {
    return after.dimensions().stream().filter(one -> !before.dimensions().contains(one)).toList();
  }

  /** Dimensions that are there no longer. */
  public List<Dimension> removedDimensions() {
    return before.dimensions().stream()
        .filter(one -> after.dimensions().stream().noneMatch(o -> o.name().equals(one.name())))
        .toList();
  }

  /** Measures that are new, or measure something else now. */
  public List<Measure> newMeasures() {
    return after.measures().stream().filter(one -> !before.measures().contains(one)).toList();
  }

  /** Measures that are there no longer. */
  public List<Measure> removedMeasures() {
    return before.measures().stream().filter(one -> after.measure(one.name()).isEmpty()).toList();
  }

  /** Grains that are new. */
  public List<Grain> newGrains() {
    return after.grains().keySet().stream()
        .filter(grain -> !before.grains().containsKey(grain))
        .toList();
  }

  /** Grains that are there no longer. */
  public List<Grain> removedGrains() {
    return before.grains().keySet().stream()
        .filter(grain -> !after.grains().containsKey(grain))
        .toList();
  }

  /** Whether the installed rollup has a finer grain that a new one can be merged from. */
  private boolean hasFiner(Grain grain) {
    return before.grains().keySet().stream()
        .anyMatch(finer -> !finer.equals(grain) && grain.madeOfFrom(finer) < Long.MAX_VALUE);
  }

  /** Whether it takes the rows of the source to make the one from the other. */
  public boolean needsRows() {
    return isOfSource()
        || !newDimensions().isEmpty()
        || !newMeasures().isEmpty()
        || newGrains().stream().anyMatch(grain -> !hasFiner(grain));
  }

  /** The difference for people: a line for each part, {@code +}, {@code -} or {@code ~}. */
  public List<String> lines() {
    List<String> lines = new ArrayList<>();
    Source one = before.source();
    Source other = after.source();
    changed(lines, "source.table", one.label(), other.label());
    changed(lines, "source.tenant", one.tenant(), other.tenant());
    changed(lines, "source.time", time(one), time(other));
    changed(lines, "source.changes", one.changes().label(), other.changes().label());
    changed(lines, "source.keep", keep(one), keep(other));
    for (Dimension dimension : after.dimensions()) {
      before.dimensions().stream()
          .filter(was -> was.name().equals(dimension.name()))
          .findFirst()
          .ifPresentOrElse(
              was ->
                  changed(
                      lines,
                      "dimension " + dimension.name(),
                      was.expression(),
                      dimension.expression()),
              () -> lines.add("+ dimension " + dimension.name()));
    }
    removedDimensions().forEach(dimension -> lines.add("- dimension " + dimension.name()));
    for (Measure measure : after.measures()) {
      before
          .measure(measure.name())
          .ifPresentOrElse(
              was -> changed(lines, "measure " + measure.name(), was.text(), measure.text()),
              () -> lines.add("+ measure " + measure.name() + ": " + measure.text()));
    }
    removedMeasures()
        .forEach(measure -> lines.add("- measure " + measure.name() + ": " + measure.text()));
    after
        .grains()
        .forEach((grain, keep) -> {
          Keep was = before.grains().get(grain);
          if (was == null) {
            lines.add("+ grain " + grain.label() + ": keep " + keep);
          } else {
            changed(lines, "grain " + grain.label(), "keep " + was, "keep " + keep);
          }
        });
    removedGrains().forEach(grain -> lines.add("- grain " + grain.label()));
    if (lines.isEmpty() && !isNone()) {
      lines.add("~ the order of dimensions or measures");
    }
    return lines;
  }

  private static String keep(Source source) {
    return source.keep() == null ? "for ever" : String.valueOf(source.keep());
  }

  private static String time(Source source) {
    return source.zone() == null ? source.time() : source.time() + " in " + source.zone();
  }

  private static void changed(List<String> lines, String what, String from, String to) {
    if (!from.equals(to)) {
      lines.add("~ " + what + ": " + from + " -> " + to);
    }
  }
}
