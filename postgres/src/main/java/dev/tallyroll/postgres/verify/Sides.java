package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import java.util.SortedMap;

/**
 * What the source gives of a part and what is there of it, by grain.
 *
 * @param keys the keys of all tables
 * @param expected the folded source rows
 * @param actual what is stored, with what is not merged yet
 * @param rows how many source rows were folded
 */
record Sides(
    KeySet keys,
    SortedMap<Grain, PartialTable> expected,
    SortedMap<Grain, PartialTable> actual,
    long rows) {
  /** The partials of a grain. */
  static PartialTable table(SortedMap<Grain, PartialTable> tables, Grain grain) {
    PartialTable table = tables.get(grain);
    if (table == null) {
      throw new IllegalStateException("no partials of " + grain.label());
    }
    return table;
  }
}
