package dev.tallyroll.schema.guard;

import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What must be covered by what, as a definition says it.
 *
 * @param name its name, {@code [a-z_][a-z0-9_]{0,39}}
 * @param legacy the table that is to go
 * @param replacement what replaces it
 * @param source the raw rows of both, if they are named
 * @param every the width of a bucket of the comparison
 * @param zone the zone in which buckets begin, and of times without one
 * @param by dimensions that are compared one by one
 * @param measures what is compared
 * @param excess whether the replacement may have more
 * @param backfill the command that fills the replacement from the source; null if it is not said
 * @param text the definition itself
 * @param where the file and line, for messages
 */
public record Guard(
    String name,
    Side legacy,
    Replacement replacement,
    Optional<Side> source,
    Every every,
    String zone,
    List<Dimension> by,
    List<Compared> measures,
    boolean excess,
    @Nullable String backfill,
    String text,
    String where) {
  /** The width of a bucket. */
  public enum Every {
    /** An hour. */
    HOUR,
    /** A day of the zone. */
    DAY,
    /** A week that begins on a Monday of the zone. */
    WEEK,
    /** A month of the zone. */
    MONTH;

    /** The word of PostgreSQL's {@code date_trunc}. */
    String field() {
      return name().toLowerCase(java.util.Locale.ROOT);
    }
  }

  /**
   * A table.
   *
   * @param table with its schema, as SQL
   * @param tenant the column of the tenant; null if the table has none
   * @param time the column of the bucket or the time
   */
  public record Side(String table, @Nullable String tenant, String time) {}

  /** What replaces a legacy table. */
  public sealed interface Replacement {
    /** A table of the user's. */
    record Table(Side side) implements Replacement {}

    /**
     * A rollup of Tallyroll.
     *
     * @param name its name
     * @param grain the grain that is compared, as {@code 1d}
     */
    record OfRollup(String name, String grain) implements Replacement {}
  }

  /**
   * A dimension, with its SQL on each side.
   *
   * @param name its name
   */
  public record Dimension(String name, String legacy, String replacement, String source) {}

  /**
   * A measure, with the SQL of its aggregate on each side.
   *
   * @param source null if it is not compared with the source
   * @param absolute by how much it may differ
   * @param relative by which part of the expected value it may differ
   */
  public record Compared(
      String name,
      String legacy,
      String replacement,
      @Nullable String source,
      String absolute,
      String relative) {}

  /** Copies. */
  public Guard {
    by = List.copyOf(by);
    measures = List.copyOf(measures);
  }

  /** The table that is compared, as SQL. */
  String replacementTable() {
    return switch (replacement) {
      case Replacement.Table(Side side) -> side.table();
      case Replacement.OfRollup(String rollup, String grain) -> "tallyroll." + rollup + "_" + grain;
    };
  }

  /** Its columns of tenant and bucket. */
  Side replacementSide() {
    return switch (replacement) {
      case Replacement.Table(Side side) -> side;
      case Replacement.OfRollup ignored -> new Side(replacementTable(), "tenant", "bucket");
    };
  }
}
