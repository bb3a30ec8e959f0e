package dev.tallyroll.schema.catalog;

import java.util.ArrayList;
import java.util.List;

/**
 * The SQL of an index, taken apart, so that another like it can be made.
 *
 * @param parts what it is over, each with its collation, operator class and order
 * @param include {@code " INCLUDE (...)"} or nothing
 * @param rest what stands after that, as {@code " WHERE (...)"}, without NULLS NOT DISTINCT
 */
public record IndexDefinition(List<String> parts, String include, String rest) {
  private static final String INCLUDE = " INCLUDE (";
  private static final String NULLS = " NULLS NOT DISTINCT";

  /** Copies. */
  public IndexDefinition {
    parts = List.copyOf(parts);
  }

  /**
   * Takes the SQL of an index apart.
   *
   * @param sql as {@code pg_get_indexdef} prints it
   */
  static IndexDefinition parse(String sql) {
    int from = sql.indexOf('(', sql.indexOf(" USING ")) + 1;
    int end = closing(sql, from);
    String tail = sql.substring(end);
    String include = "";
    if (tail.startsWith(INCLUDE)) {
      include = tail.substring(0, closing(tail, INCLUDE.length()));
      tail = tail.substring(include.length());
    }
    if (tail.startsWith(NULLS)) {
      tail = tail.substring(NULLS.length());
    }
    return new IndexDefinition(split(sql.substring(from, end - 1)), include, tail);
  }

  /** The place after the parenthesis that closes what was open at {@code from}. */
  public static int closing(String sql, int from) {
    return Math.min(find(sql, from, ')') + 1, sql.length());
  }

  /** The next such character outside of quotes and inner parentheses; the end if there is none. */
  private static int find(String sql, int from, char wanted) {
    int depth = 0;
    char quote = 0;
    for (int at = from; at < sql.length(); at++) {
      char c = sql.charAt(at);
      if (quote != 0) {
        quote = c == quote ? 0 : quote;
      } else if (c == wanted && depth == 0) {
        return at;
      } else if (c == '\'' || c == '"') {
        quote = c;
      } else if (c == '(') {
        depth++;
      } else if (c == ')') {
        depth--;
      }
    }
    return sql.length();
  }

  private static List<String> split(String list) {
    List<String> parts = new ArrayList<>();
    int begin = 0;
    while (begin <= list.length()) {
      int end = find(list, begin, ',');
      parts.add(list.substring(begin, end).strip());
      begin = end + 1;
    }
    return parts;
  }
}
