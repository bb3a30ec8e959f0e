package dev.tallyroll.postgres.install;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What applying one definition would do. Immutable.
 *
 * @param rollup the rollup's name
 * @param source the source table
 * @param change what there is to do
 * @param statements the SQL that would run, in order
 * @param adds what is added to the source table
 * @param breaks what that may break
 * @param warnings what is worth knowing, such as a missing index
 * @param difference what differs from the installed definition, a line for each part
 * @param monthBytes the estimated size of a month of each grain in bytes; empty without rows to
 *     judge by
 * @param sampledRows from how many rows that was estimated
 * @param localDays for how many days back local days can be answered, by zone and class of offset
 */
public record Plan(
    String rollup,
    String source,
    Change change,
    List<String> statements,
    List<String> adds,
    List<String> breaks,
    List<String> warnings,
    List<String> difference,
    Map<String, Long> monthBytes,
    long sampledRows,
    Map<String, Integer> localDays) {
  /** What there is to do. */
  public enum Change {
    /** The rollup is not there. */
    CREATE,
    /** It is there, exactly so. */
    NONE,
    /** It is there with another definition. */
    CHANGE
  }

  /** Copies the collections. */
  public Plan {
    statements = List.copyOf(statements);
    adds = List.copyOf(adds);
    breaks = List.copyOf(breaks);
    warnings = List.copyOf(warnings);
    difference = List.copyOf(difference);
    localDays = Collections.unmodifiableMap(new LinkedHashMap<>(localDays));
    monthBytes = Collections.unmodifiableMap(new LinkedHashMap<>(monthBytes));
  }
}
