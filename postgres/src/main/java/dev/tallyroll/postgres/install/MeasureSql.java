package dev.tallyroll.postgres.install;

import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.session.Sql;
import java.util.ArrayList;
import java.util.List;

/**
 * The partials of measures in SQL: made of rows, and merged, as the fold and the merge in Java do
 * it.
 */
final class MeasureSql {
  private MeasureSql() {}

  /** The stored columns of a measure, merged over a group. */
  static List<String> merged(Measure measure, List<StoredColumn> stored, List<String> columns) {
    if (measure.kind() == Measure.Kind.LATEST) {
      String value = columns.get(0);
      String time = columns.get(1);
      String filter = " filter (where " + time + " is not null)";
      return List.of(
          "(pg_catalog.array_agg("
              + value
              + " order by "
              + time
              + " desc, "
              + value
              + " desc)"
              + filter
              + ")[1]",
          "pg_catalog.max(" + time + ")");
    }
    List<String> merged = new ArrayList<>();
    for (int i = 0; i < stored.size(); i++) {
      StoredColumn column = stored.get(i);
      String name = columns.get(i);
      merged.add(
          switch (merging(measure, column)) {
            case ADD -> "pg_catalog.sum(" + name + ")::" + column.type().sqlName();
            case LEAST -> extreme(column.type(), name, "", false);
            case GREATEST -> extreme(column.type(), name, "", true);
            case HISTOGRAM, DISTINCT -> "tallyroll.merge(" + name + ")";
          });
    }
    return merged;
  }

  /** The stored columns of a measure, made of rows. */
  static List<String> aggregates(Measure measure, ColumnType type, String value) {
    String special = "('NaN', 'Infinity', '-Infinity')";
    String finite =
        type.isMaybeNonFinite() ? " filter (where " + value + " not in " + special + ")" : "";
    List<String> sql = new ArrayList<>();
    switch (measure.kind()) {
      case COUNT -> sql.add("pg_catalog.count(" + value + ")");
      case SUM -> sql.add("pg_catalog.sum(" + value + ")" + finite);
      case MIN -> sql.add(extreme(type, value, finite, false));
      case MAX -> sql.add(extreme(type, value, finite, true));
      case LATEST -> {
        String order = value + (type == ColumnType.TEXT ? " collate \"C\"" : "");
        String filter =
            " filter (where "
                + value
                + " is not null"
                + (type.isMaybeNonFinite() ? " and " + value + " not in " + special : "")
                + ")";
        sql.add(
            "(pg_catalog.array_agg("
                + value
                + " order by ts desc, "
                + order
                + " desc)"
                + filter
                + ")[1]");
        sql.add("pg_catalog.max(ts)" + filter);
        return sql;
      }
      case DISTRIBUTION -> {
        sql.add("pg_catalog.count(" + value + ")" + finite);
        sql.add("pg_catalog.sum(" + value + ")" + finite);
        sql.add(extreme(type, value, finite, false));
        sql.add(extreme(type, value, finite, true));
        sql.add("tallyroll.histogram(" + value + "::double precision)");
      }
      case DISTINCT -> {
        sql.add("tallyroll.distinct_sketch(" + value + ")");
        return sql;
      }
    }
    if (measure.kind() != Measure.Kind.COUNT && type.isMaybeNonFinite()) {
      sql.add("nullif(pg_catalog.count(*) filter (where " + value + " in " + special + "), 0)");
    }
    return sql;
  }

  /** There is no min of booleans, and none of UUIDs before PostgreSQL 18. */
  private static String extreme(ColumnType type, String value, String finite, boolean greatest) {
    return switch (type) {
      case UUID, BOOLEAN ->
          "(pg_catalog.array_agg("
              + value
              + " order by "
              + value
              + (greatest ? " desc" : "")
              + ") filter (where "
              + value
              + " is not null))[1]";
      case TEXT -> (greatest ? "pg_catalog.max(" : "pg_catalog.min(") + value + " collate \"C\")";
      default -> (greatest ? "pg_catalog.max(" : "pg_catalog.min(") + value + ")" + finite;
    };
  }

  /**
   * The stored columns of a measure, merged of a row of the tail {@code t} and a stored one {@code
   * r}.
   */
  static List<String> merges(Measure measure, List<StoredColumn> stored) {
    List<String> names = stored.stream().map(column -> Sql.identifier(column.name())).toList();
    if (measure.kind() == Measure.Kind.LATEST) {
      String newer =
          "r."
              + names.get(1)
              + " is null or t."
              + names.get(1)
              + " > r."
              + names.get(1)
              + " or (t."
              + names.get(1)
              + " = r."
              + names.get(1)
              + " and t."
              + names.get(0)
              + " > r."
              + names.get(0)
              + ")";
      return List.of(
          "case when t."
              + names.get(1)
              + " is not null and ("
              + newer
              + ") then t."
              + names.get(0)
              + " else r."
              + names.get(0)
              + " end",
          "greatest(t." + names.get(1) + ", r." + names.get(1) + ")");
    }
    List<String> sql = new ArrayList<>();
    for (StoredColumn column : stored) {
      String name = Sql.identifier(column.name());
      String t = "t." + name;
      String r = "r." + name;
      sql.add(
          switch (merging(measure, column)) {
            case ADD -> "coalesce(" + t + " + " + r + ", " + t + ", " + r + ")";
            case LEAST -> "least(" + t + ", " + r + ")";
            case GREATEST -> "greatest(" + t + ", " + r + ")";
            case HISTOGRAM -> "tallyroll.merge_histograms(array[" + t + ", " + r + "])";
            case DISTINCT -> "tallyroll.merge_distinct(array[" + t + ", " + r + "])";
          });
    }
    return sql;
  }

  /** How two stored values of a column become one. */
  private enum Merging {
    ADD,
    LEAST,
    GREATEST,
    HISTOGRAM,
    DISTINCT
  }

  private static Merging merging(Measure measure, StoredColumn column) {
    if (column.type() == ColumnType.BYTEA) {
      return Merging.HISTOGRAM;
    }
    if (column.type() == ColumnType.VARBIT) {
      return Merging.DISTINCT;
    }
    if (column.name().endsWith("_nonfinite") && !column.name().equals(measure.name())) {
      return Merging.ADD;
    }
    return switch (measure.kind()) {
      case MIN -> Merging.LEAST;
      case MAX -> Merging.GREATEST;
      case DISTRIBUTION ->
          column.name().equals(measure.name() + "_min")
              ? Merging.LEAST
              : column.name().equals(measure.name() + "_max") ? Merging.GREATEST : Merging.ADD;
      case COUNT, SUM, LATEST, DISTINCT -> Merging.ADD;
    };
  }
}
