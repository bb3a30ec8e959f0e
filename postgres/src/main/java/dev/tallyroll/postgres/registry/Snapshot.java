package dev.tallyroll.postgres.registry;

import java.util.ArrayList;
import java.util.List;

/**
 * A snapshot of PostgreSQL, as {@code pg_snapshot} prints it: transactions below {@code xmin} are
 * visible, those at or above {@code xmax} are not, and of those between the ones in progress are
 * not. Immutable.
 *
 * @param text {@code xmin:xmax:xip,xip,...}
 * @param xmax the first transaction that had not begun
 * @param inProgress those that were in progress
 */
public record Snapshot(String text, String xmax, List<String> inProgress) {
  /** Copies the list. */
  public Snapshot {
    inProgress = List.copyOf(inProgress);
  }

  /** Reads the text of a {@code pg_snapshot}. */
  public static Snapshot parse(String text) {
    String[] parts = text.split(":", -1);
    if (parts.length != 3) {
      throw new IllegalArgumentException("not a snapshot: " + text);
    }
    List<String> inProgress = new ArrayList<>();
    for (String xid : parts[2].split(",", -1)) {
      if (!xid.isEmpty()) {
        inProgress.add(xid);
      }
    }
    return new Snapshot(text, parts[1], inProgress);
  }
}
