package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.postgres.registry.Installed;

/** What becomes of a bucket when its changes are merged with what is stored of it. */
public enum Fate {
  /** It is written as it is merged. */
  WRITTEN,
  /** No row is left: it is deleted. */
  EMPTIED,
  /** The merge does not tell what is left: it is computed anew. */
  INVALID,
  /** It was never there: its rows were put in and taken out between two refreshes. */
  NOTHING;

  /**
   * Decides it.
   *
   * @param installed the rollup
   * @param changes a table of changes, merged with what is stored of the group
   * @param group the group
   * @param isStored whether anything is
   */
  public static Fate of(Installed installed, PartialTable changes, int group, boolean isStored) {
    if (!changes.isLessened(group)) {
      return WRITTEN;
    }
    long net = changes.netRows(group);
    if (!isStored) {
      // Rows that leave what never came were not captured when they did.
      return changes.isDoubtful(group) || net < 0 ? INVALID : net > 0 ? WRITTEN : NOTHING;
    }
    int count = installed.rowCount(changes.bucket(group));
    if (count >= 0
        && Long.valueOf(0)
            .equals(changes.columns().get(count).value(group, new PartialColumn.Part.Value()))) {
      return EMPTIED;
    }
    return changes.isDoubtful(group) || (count < 0 && net < 0) ? INVALID : WRITTEN;
  }
}
