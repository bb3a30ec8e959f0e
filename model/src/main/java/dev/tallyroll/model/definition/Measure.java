package dev.tallyroll.model.definition;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A measure: what is kept of the rows of a bucket.
 *
 * @param name its name, a lower-case SQL identifier
 * @param kind what is kept
 * @param expression the SQL expression over one source row that is aggregated; null for {@link
 *     Kind#COUNT} alone
 * @param where the SQL predicate that a row must meet, or null for all rows
 */
public record Measure(String name, Kind kind, @Nullable String expression, @Nullable String where) {
  /** The seven kinds of measure. As in SQL, all but {@code count} ignore NULL. */
  public enum Kind {
    /** The number of rows. */
    COUNT(""),
    /** The exact sum of integers and numerics; the sum of doubles in any order. */
    SUM("", "_nonfinite"),
    /** The least value. */
    MIN("", "_nonfinite"),
    /** The greatest value. */
    MAX("", "_nonfinite"),
    /** The value with the greatest event time. */
    LATEST("", "_at"),
    /** Count, sum, min, max and a sketch for any percentile. */
    DISTRIBUTION("_count", "_sum", "_min", "_max", "_sketch", "_nonfinite"),
    /** A sketch of the number of distinct values. */
    DISTINCT("_sketch");

    @SuppressWarnings("ImmutableEnumChecker") // made by List.of
    private final List<String> suffixes;

    Kind(String... suffixes) {
      this.suffixes = List.of(suffixes);
    }

    /** The columns of a measure of this name and kind in the rollup's tables, at most. */
    public List<String> columns(String name) {
      return suffixes.stream().map(suffix -> name + suffix).toList();
    }

    /** The name in definitions. */
    public String label() {
      return name().toLowerCase(Locale.ROOT);
    }

    /** The kind of this name, if there is one. */
    public static Optional<Kind> of(String label) {
      return Arrays.stream(values()).filter(kind -> kind.label().equals(label)).findFirst();
    }

    /** All names. */
    public static List<String> labels() {
      return Arrays.stream(values()).map(Kind::label).toList();
    }
  }

  /** Checks that only a count lacks an expression. */
  public Measure {
    if ((expression == null) != (kind == Kind.COUNT)) {
      throw new IllegalArgumentException(
          name + ": a count has no expression, any other measure has one");
    }
  }

  /** As it is written in a definition: {@code sum(cost) where status = 'ok'}. */
  public String text() {
    String head = kind == Kind.COUNT ? "count" : kind.label() + "(" + expression + ")";
    return where == null ? head : head + " where " + where;
  }
}
