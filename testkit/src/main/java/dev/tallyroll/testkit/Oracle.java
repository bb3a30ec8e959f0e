package dev.tallyroll.testkit;

import dev.tallyroll.postgres.query.QueryResult;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The right answers, by plain SQL over the raw rows; shares no code with the engine. */
public final class Oracle {
  private Oracle() {}

  /** All rows of a query as texts; numbers in plain form without trailing zeros. */
  public static List<List<@Nullable String>> rows(TestDatabase database, String sql) {
    try (Connection connection = database.connect()) {
      return rows(connection, sql);
    } catch (SQLException e) {
      throw new IllegalStateException(e.getMessage() + " in " + sql, e);
    }
  }

  /** The same on a connection. */
  public static List<List<@Nullable String>> rows(Connection connection, String sql) {
    try (Statement statement = connection.createStatement();
        ResultSet result = statement.executeQuery(sql)) {
      List<List<@Nullable String>> rows = new ArrayList<>();
      int columns = result.getMetaData().getColumnCount();
      while (result.next()) {
        List<@Nullable String> row = new ArrayList<>();
        for (int i = 1; i <= columns; i++) {
          Object value = result.getObject(i);
          row.add(text(value));
        }
        rows.add(row);
      }
      return rows;
    } catch (SQLException e) {
      throw new IllegalStateException(e.getMessage() + " in " + sql, e);
    }
  }

  /** The rows of an answer in the same form. */
  public static List<List<@Nullable String>> rows(QueryResult result) {
    List<List<@Nullable String>> rows = new ArrayList<>();
    for (List<@Nullable Object> row : result.rows()) {
      List<@Nullable String> texts = new ArrayList<>();
      row.forEach(value -> texts.add(text(value)));
      rows.add(texts);
    }
    return rows;
  }

  private static @Nullable String text(@Nullable Object value) {
    return switch (value) {
      case null -> null;
      case BigDecimal decimal -> plain(decimal);
      case Double real -> plain(BigDecimal.valueOf(real));
      case Number number -> number.toString();
      default -> value.toString();
    };
  }

  private static String plain(BigDecimal decimal) {
    return decimal.signum() == 0 ? "0" : decimal.stripTrailingZeros().toPlainString();
  }
}
