package dev.tallyroll.schema.check;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/** The locks on tables that statements take who write or change them, the weakest first. */
enum LockMode {
  /** INSERT, UPDATE, DELETE. */
  ROW_EXCLUSIVE,
  /** Keeps only others of its kind out: VALIDATE CONSTRAINT, concurrent builds. */
  SHARE_UPDATE_EXCLUSIVE,
  /** Keeps writers out: CREATE INDEX. */
  SHARE,
  /** Keeps writers out: foreign keys, triggers. */
  SHARE_ROW_EXCLUSIVE,
  /** Keeps writers out: REFRESH MATERIALIZED VIEW CONCURRENTLY. */
  EXCLUSIVE,
  /** Keeps readers out as well. */
  ACCESS_EXCLUSIVE;

  /** The mode as {@code pg_locks} names it, as {@code ShareRowExclusiveLock}. */
  static Optional<LockMode> of(String name) {
    return Arrays.stream(values())
        .filter(mode ->
            name.equalsIgnoreCase(mode.name().replace("_", "").toLowerCase(Locale.ROOT) + "lock"))
        .findFirst();
  }

  /** The stronger one of both. */
  LockMode stronger(LockMode other) {
    return compareTo(other) >= 0 ? this : other;
  }

  /** Whether writers wait for it. */
  boolean blocksWriters() {
    return compareTo(SHARE) >= 0;
  }

  @Override
  public String toString() {
    return name().replace('_', ' ');
  }
}
