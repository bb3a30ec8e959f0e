package dev.tallyroll.session;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Short forms for JDBC, and quoting. */
public final class Sql {
  /** Reads one row of a result. */
  @FunctionalInterface
  public interface Row<T> {
    /** The value of the row that the result stands on. */
    T read(ResultSet result) throws SQLException;
  }

  private Sql() {}

  /** A name as a quoted identifier. */
  public static String identifier(String name) {
    return "\"" + name.replace("\"", "\"\"") + "\"";
  }

  /** A text as a literal that reads the same whatever {@code standard_conforming_strings} is. */
  public static String literal(String text) {
    String quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'";
    return text.indexOf('\\') < 0 ? quoted : " E" + quoted;
  }

  /** Runs statements without a result; several may be separated by semicolons. */
  public static void run(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  /** Runs one statement with parameters and gives the number of rows that it changed. */
  public static int update(Connection connection, String sql, @Nullable Object... parameters)
      throws SQLException {
    try (PreparedStatement statement = prepare(connection, sql, parameters)) {
      return statement.executeUpdate();
    }
  }

  /**
   * All rows of a query. Before it may stand statements without a result, separated by semicolons:
   * they take no round trip of their own.
   */
  public static <T> List<T> list(
      Connection connection, String sql, Row<T> row, @Nullable Object... parameters)
      throws SQLException {
    try (PreparedStatement statement = prepare(connection, sql, parameters)) {
      boolean isQuery = statement.execute();
      while (!isQuery && statement.getUpdateCount() >= 0) {
        isQuery = statement.getMoreResults();
      }
      if (!isQuery) {
        throw new SQLException("no query: " + sql);
      }
      try (ResultSet result = statement.getResultSet()) {
        List<T> rows = new ArrayList<>();
        while (result.next()) {
          rows.add(row.read(result));
        }
        return rows;
      }
    }
  }

  /** The first row of a query, if there is one. */
  public static <T> Optional<T> first(
      Connection connection, String sql, Row<T> row, @Nullable Object... parameters)
      throws SQLException {
    return list(connection, sql, row, parameters).stream().findFirst();
  }

  /** The one row of a query that always has one. */
  public static <T> T one(
      Connection connection, String sql, Row<T> row, @Nullable Object... parameters)
      throws SQLException {
    return first(connection, sql, row, parameters)
        .orElseThrow(() -> new SQLException("no row where one was expected: " + sql));
  }

  private static PreparedStatement prepare(
      Connection connection, String sql, @Nullable Object... parameters) throws SQLException {
    PreparedStatement statement = connection.prepareStatement(sql);
    for (int i = 0; i < parameters.length; i++) {
      statement.setObject(i + 1, parameters[i]);
    }
    return statement;
  }

  /**
   * A statement from a resource file below {@code /sql}, with {@code {name}} replaced by the
   * values.
   *
   * @param path as {@code install/policies.sql}
   */
  public static String resource(String path, Map<String, String> values) {
    try (InputStream in = Sql.class.getResourceAsStream("/sql/" + path)) {
      if (in == null) {
        throw new IllegalStateException("no resource /sql/" + path);
      }
      String text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
      for (Map.Entry<String, String> value : values.entrySet()) {
        text = text.replace("{" + value.getKey() + "}", value.getValue());
      }
      return text;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
