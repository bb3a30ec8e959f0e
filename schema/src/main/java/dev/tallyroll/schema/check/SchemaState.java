package dev.tallyroll.schema.check;

import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * All that migrations leave in a database: objects by name with what defines them, whatever their
 * numbers and the order of columns, and the rows that they have inserted.
 *
 * @param objects what is said of each
 */
record SchemaState(Map<String, String> objects) {
  private static final String ROWS = "rows of ";
  private static final String ORDER = "order of columns of ";

  /** Instead of rows that are not the same each time. */
  private static final String RANDOM = "random";

  /** Rows of a table beyond these are counted only. */
  private static final int MOST_ROWS = 100_000;

  /**
   * A difference.
   *
   * @param object what differs, as {@code index public.a_b_idx}
   * @param evidence how
   */
  record Difference(String object, String evidence) {
    /** Whether only the columns of a table stand in another order. */
    boolean isOrder() {
      return object.startsWith(ORDER);
    }
  }

  /** Reads it. */
  static SchemaState read(Connection connection) throws SQLException {
    Map<String, String> objects = new TreeMap<>();
    Sql.run(connection, "set search_path = pg_catalog");
    try {
      Sql.list(
          connection,
          Sql.resource("schema/check/state.sql", Map.of()),
          row ->
              objects.merge(
                  row.getString(1),
                  Objects.requireNonNullElse(row.getString(2), ""),
                  (one, other) -> one + "\n" + other));
      for (String table :
          Sql.<String>list(
              connection,
              "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r'"
                  + " and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema')"
                  + " and pg_relation_size(c.oid) > 0 order by 1",
              row -> row.getString(1))) {
        String rows = rows(connection, table);
        if (!rows.equals("0")) {
          objects.put(ROWS + table, rows);
        }
      }
    } finally {
      Sql.run(connection, "reset search_path");
    }
    return new SchemaState(objects);
  }

  /** What is made up for each run, as the time or a uuid by default, cannot be compared. */
  private static String rows(Connection connection, String table) throws SQLException {
    List<String> volatiles =
        Sql.list(
            connection,
            "select a.attname from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
                + " where a.attrelid = ?::regclass and pg_get_expr(d.adbin, d.adrelid) ~* 'now\\(\\)|current_|_timestamp|uuid|random'",
            row -> row.getString(1),
            table);
    String bare =
        volatiles.isEmpty()
            ? "to_jsonb(t)"
            : "to_jsonb(t) - array["
                + String.join(", ", volatiles.stream().map(Sql::literal).toList())
                + "]";
    return Sql.one(
        connection,
        "select count(*) || ' ' || md5(string_agg(r, ',' order by r)) from (select ("
            + bare
            + ")::text as r from "
            + table
            + " t limit "
            + MOST_ROWS
            + ") x",
        row -> Objects.requireNonNullElse(row.getString(1), "0"));
  }

  /**
   * What two runs of the same have in common: what they make up for themselves, as random values in
   * rows, cannot be compared with anything.
   */
  SchemaState without(SchemaState again) {
    Map<String, String> same = new TreeMap<>(objects);
    same.replaceAll((object, is) ->
        object.startsWith(ROWS) && !is.equals(again.objects.get(object)) ? RANDOM : is);
    return new SchemaState(same);
  }

  /** Whether the rows of some table differ, but not their number. */
  boolean mayBeRandom(SchemaState other) {
    return objects.entrySet().stream()
        .anyMatch(entry ->
            entry.getKey().startsWith(ROWS)
                && other.objects.get(entry.getKey()) instanceof String rows
                && !rows.equals(entry.getValue())
                && count(rows).equals(count(entry.getValue())));
  }

  private static String count(String rows) {
    return rows.substring(0, Math.max(0, rows.indexOf(' ')));
  }

  /** What differs in another state, which is called so. */
  List<Difference> differences(String name, SchemaState other, String otherName) {
    List<Difference> differences = new ArrayList<>();
    TreeSet<String> all = new TreeSet<>(objects.keySet());
    all.addAll(other.objects.keySet());
    for (String object : all) {
      String here = objects.get(object);
      String there = other.objects.get(object);
      boolean isOtherSet =
          object.startsWith(ORDER)
              && !(here != null && there != null && sorted(here).equals(sorted(there)));
      if (RANDOM.equals(here) || isOtherSet) {
        // Columns that are missing are told by themselves.
        continue;
      }
      if (here == null || there == null) {
        differences.add(
            new Difference(object, "only " + (here == null ? otherName : name) + " has it"));
      } else if (!here.equals(there)) {
        differences.add(
            new Difference(
                object, name + ": " + shown(here) + "; " + otherName + ": " + shown(there)));
      }
    }
    return differences;
  }

  private static List<String> sorted(String columns) {
    return Arrays.stream(columns.split(", ")).sorted().toList();
  }

  private static String shown(String definition) {
    String line = definition.replaceAll("\\s+", " ").strip();
    return line.length() > 200 ? line.substring(0, 197) + "..." : line;
  }
}
