package dev.tallyroll.postgres.install;

import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Sql;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** The fresh view of a grain: what is stored, merged with the tail. */
final class FreshViewSql {
  /** The name of the last column of a fresh view: whether the history of its bucket is filled. */
  static final String COMPLETE = "complete";

  /**
   * The name of a column that the fresh views of a rollup have once buckets were adopted, unless
   * something of the definition is called so: whether this bucket was.
   */
  static final String ADOPTED = "adopted";

  /** A column of the tail: whether a row stands for the stored one, and is not added to it. */
  static final String REPLACES = "tallyroll_replaces";

  /**
   * A column of the tail: from how many rows of the source or the log a row is made. Less than none
   * where something was taken out of a sealed bucket, which is shown as it is stored: -1 in its own
   * grain, -2 in finer ones.
   */
  static final String ROWS = "tallyroll_rows";

  private final BoundRollup bound;
  private final boolean isChanging;
  private final List<String> columns;

  /**
   * The views of a rollup.
   *
   * @param isChanging whether it reads a change log
   * @param columns the names of its tables' columns
   */
  FreshViewSql(BoundRollup bound, boolean isChanging, List<String> columns) {
    this.bound = bound;
    this.isChanging = isChanging;
    this.columns = columns;
  }

  /**
   * The statement that makes the view of a grain, or replaces it.
   *
   * @param name its qualified name
   * @param tail that of the grain's tail function
   * @param first names of columns that come first in this order, as a view has them that is
   *     replaced
   * @param marksAdopted whether it has {@link #ADOPTED}
   */
  String view(Grain grain, String name, String tail, List<String> first, boolean marksAdopted) {
    String same =
        "t.tenant = r.tenant and t.bucket = r.bucket"
            + bound.rollup().dimensions().stream()
                .map(dimension -> Sql.identifier(dimension.name()))
                .map(d -> " and t." + d + " is not distinct from r." + d)
                .collect(Collectors.joining());
    String covered =
        "not ((select tallyroll."
            + (grain.zone().isEmpty() ? "uncovered(" : "uncovered_days(")
            + Sql.literal(bound.name())
            + (grain.zone().isEmpty() ? "" : ", " + Sql.literal(grain.label()))
            + ")) @> %1$s.bucket) and %1$s.bucket >= (select tallyroll.known_from("
            + Sql.literal(bound.name())
            + "))"
            + (!isChanging
                ? ""
                : " and (select tallyroll.is_current(" + Sql.literal(bound.name()) + "))");
    List<String> names = new ArrayList<>(columns);
    Map<String, String> said = new LinkedHashMap<>();
    said.put(COMPLETE, covered);
    if (marksAdopted && !names.contains(ADOPTED)) {
      said.put(
          ADOPTED, "(select tallyroll.adopted(" + Sql.literal(bound.name()) + ")) @> %1$s.bucket");
    }
    names.addAll(said.keySet());
    Map<String, String> merged = new HashMap<>();
    for (int i = 0; i < bound.rollup().measures().size(); i++) {
      List<StoredColumn> stored = bound.newColumns().get(i).stored();
      List<String> sql = MeasureSql.merges(bound.rollup().measures().get(i), stored);
      for (int j = 0; j < stored.size(); j++) {
        String column = Sql.identifier(stored.get(j).name());
        merged.put(
            stored.get(j).name(),
            // What was computed anew from the source stands for the stored row.
            (!isChanging
                    ? sql.get(j)
                    : "case when t."
                        + REPLACES
                        + " then t."
                        + column
                        + " else "
                        + sql.get(j)
                        + " end")
                + " as "
                + column);
      }
    }
    names.sort(
        Comparator.comparingInt(
            column -> first.contains(column) ? first.indexOf(column) : first.size()));
    List<String> plain = new ArrayList<>();
    List<String> both = new ArrayList<>();
    for (String column : names) {
      String quoted = Sql.identifier(column);
      String says = said.get(column);
      plain.add(says == null ? "r." + quoted : says.formatted("r") + " as " + quoted);
      both.add(
          says == null
              ? merged.getOrDefault(column, "t." + quoted)
              : says.formatted("t")
                  + (isChanging && column.equals(COMPLETE) ? " and t." + ROWS + " >= 0" : "")
                  + " as "
                  + quoted);
    }
    return "create or replace view "
        + name
        + " with (security_invoker = true) as\nwith tail as materialized (select * from "
        + tail
        + "())\nselect "
        + String.join(",\n  ", plain)
        + "\nfrom "
        + bound.grainTable(grain)
        + " r\nwhere not exists (select from tail t where "
        + same
        + ")\nunion all\nselect "
        + String.join(",\n  ", both)
        + "\nfrom tail t left join "
        + bound.grainTable(grain)
        + " r on "
        + same
        + (!isChanging
            ? ""
            : "\nwhere not (t."
                + REPLACES
                + " and t."
                + ROWS
                + " = 0) and not (t."
                + ROWS
                + " = -1 and r.tenant is null)");
  }
}
