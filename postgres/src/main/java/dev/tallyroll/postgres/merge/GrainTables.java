package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import java.util.Collection;
import java.util.SortedMap;
import java.util.TreeMap;

/** The partials of every grain of a rollup, each made from the next finer ones. */
final class GrainTables {
  private GrainTables() {}

  /**
   * Makes them. All are made before the first is written, since writing merges what is stored into
   * a table.
   *
   * @param fold partials of the grain that rows are folded into, which may be one of the result
   */
  static SortedMap<Grain, PartialTable> of(BoundRollup bound, PartialTable fold) {
    return of(bound, fold, bound.rollup().grains().keySet());
  }

  /** The same without the days of zones. */
  static SortedMap<Grain, PartialTable> ofFixed(BoundRollup bound, PartialTable fold) {
    return of(
        bound,
        fold,
        bound.rollup().grains().keySet().stream().filter(g -> g.zone().isEmpty()).toList());
  }

  private static SortedMap<Grain, PartialTable> of(
      BoundRollup bound, PartialTable fold, Collection<Grain> grains) {
    SortedMap<Grain, PartialTable> tables = new TreeMap<>();
    PartialTable finer = fold;
    PartialTable ofDays = fold;
    for (Grain grain : grains) {
      PartialTable table = fold;
      if (!grain.equals(bound.rollup().foldGrain())) {
        table = new PartialTable(fold.keys(), bound.newColumns(), fold.isOfChanges());
        (grain.zone().isPresent() ? ofDays : finer).mergeInto(table, grain::floor);
      }
      tables.put(grain, table);
      if (grain.zone().isEmpty()) {
        finer = table;
      }
      if (grain.compareTo(Grain.FIVE_MINUTES) <= 0) {
        ofDays = table;
      }
    }
    return tables;
  }
}
