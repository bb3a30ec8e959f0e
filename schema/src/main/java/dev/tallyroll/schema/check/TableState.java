package dev.tallyroll.schema.check;

import dev.tallyroll.session.Sql;
import java.sql.Array;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * What a statement can do to a table that takes time: what it held before and after is compared.
 *
 * @param oid its number
 * @param file the number of the file that holds its rows; another one after a rewrite
 * @param parent the table of which it is a partition; null if it is none
 * @param columns the names of its columns
 * @param notNull those that may not be NULL
 * @param defaults those that have a default
 * @param indexes by number
 * @param constraints check and foreign-key constraints, and those for NOT NULL, by number
 */
record TableState(
    long oid,
    String schema,
    String name,
    long file,
    boolean isPartitioned,
    @Nullable Long parent,
    Set<String> columns,
    Set<String> notNull,
    Set<String> defaults,
    Map<Long, IndexState> indexes,
    Map<Long, ConstraintState> constraints) {
  /**
   * An index.
   *
   * @param file the number of the file that holds it
   * @param key {@code p}, {@code u} or {@code x} if a constraint is made of it; null without one
   * @param sql what makes it
   * @param deferral the SQL that lets its constraint be checked later; null if it cannot
   */
  record IndexState(
      long table,
      String name,
      long file,
      boolean isPartitioned,
      @Nullable String key,
      String sql,
      @Nullable String deferral) {}

  /**
   * A constraint.
   *
   * @param kind {@code c} for check, {@code f} for a foreign key, {@code n} for NOT NULL
   * @param isValid whether all rows were checked
   * @param sql what it says
   * @param columns of which columns it is made
   */
  record ConstraintState(
      long table, String name, String kind, boolean isValid, String sql, Set<String> columns) {}

  /** The name with its schema, for people. */
  String qualified() {
    return schema + "." + name;
  }

  /** The name with its schema, for SQL. */
  String sql() {
    return printed(schema) + "." + printed(name);
  }

  static String printed(String name) {
    return name.matches("[a-z_][a-z0-9_]*") ? name : Sql.identifier(name);
  }

  /** The numbers of all tables but temporary ones and PostgreSQL's own. */
  static Set<Long> oids(Connection connection) throws SQLException {
    return new HashSet<>(
        Sql.list(
            connection, Sql.resource("schema/check/oids.sql", Map.of()), row -> row.getLong(1)));
  }

  /** Reads all tables but temporary ones and PostgreSQL's own. */
  static Map<Long, TableState> all(Connection connection) throws SQLException {
    return read(connection, null);
  }

  /** Reads some of them. */
  static Map<Long, TableState> some(Connection connection, Collection<Long> oids)
      throws SQLException {
    return read(connection, connection.createArrayOf("oid", oids.toArray()));
  }

  private static Map<Long, TableState> read(Connection connection, @Nullable Array oids)
      throws SQLException {
    Map<Long, Map<Long, IndexState>> indexes = new HashMap<>();
    list(
        connection,
        "indexes",
        oids,
        row -> {
          IndexState index =
              new IndexState(
                  row.getLong(2),
                  row.getString(3),
                  row.getLong(4),
                  row.getBoolean(5),
                  row.getString(6),
                  row.getString(7),
                  row.getString(8));
          indexes.computeIfAbsent(index.table(), key -> new HashMap<>()).put(row.getLong(1), index);
          return index;
        });
    Map<Long, Map<Long, ConstraintState>> constraints = new HashMap<>();
    list(
        connection,
        "constraints",
        oids,
        row -> {
          ConstraintState constraint =
              new ConstraintState(
                  row.getLong(2),
                  row.getString(3),
                  row.getString(4),
                  row.getBoolean(5),
                  row.getString(6),
                  texts(row, 7));
          constraints
              .computeIfAbsent(constraint.table(), key -> new HashMap<>())
              .put(row.getLong(1), constraint);
          return constraint;
        });
    return list(
            connection,
            "tables",
            oids,
            row -> {
              long parent = row.getLong(6);
              return new TableState(
                  row.getLong(1),
                  row.getString(2),
                  row.getString(3),
                  row.getLong(4),
                  row.getBoolean(5),
                  row.wasNull() || parent == 0 ? null : parent,
                  texts(row, 7),
                  texts(row, 8),
                  texts(row, 9),
                  indexes.getOrDefault(row.getLong(1), Map.of()),
                  constraints.getOrDefault(row.getLong(1), Map.of()));
            })
        .stream()
        .collect(Collectors.toMap(TableState::oid, Function.identity()));
  }

  private static <T> List<T> list(
      Connection connection, String query, @Nullable Array oids, Sql.Row<T> row)
      throws SQLException {
    return Sql.list(
        connection, Sql.resource("schema/check/" + query + ".sql", Map.of()), row, oids, oids);
  }

  private static Set<String> texts(ResultSet row, int column) throws SQLException {
    return new HashSet<>(Arrays.asList((String[]) row.getArray(column).getArray()));
  }
}
