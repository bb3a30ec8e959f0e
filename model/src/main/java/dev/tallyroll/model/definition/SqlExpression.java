package dev.tallyroll.model.definition;

import java.util.OptionalInt;

/**
 * Scans the text of one SQL expression far enough to know that it is one expression, as
 * PostgreSQL's lexer would split it: quotes, dollar quotes, comments and brackets. What the
 * expression means is PostgreSQL's to say.
 *
 * <p>Source: PostgreSQL's manual, "Lexical Structure".
 */
public final class SqlExpression {
  private final String text;
  private int at;
  private int depth;

  private SqlExpression(String text) {
    this.text = text;
  }

  /**
   * What keeps a text from being one expression.
   *
   * @param offset its place in the text, from 0
   * @param message what is wrong
   */
  public record Fault(int offset, String message) {}

  /** What keeps {@code text} from being one expression, or null. */
  public static @org.jspecify.annotations.Nullable Fault check(String text) {
    SqlExpression scan = new SqlExpression(text);
    if (text.isBlank()) {
      return new Fault(0, "the expression is empty");
    }
    while (scan.at < text.length()) {
      int start = scan.at;
      char c = text.charAt(start);
      if (c == ';') {
        return new Fault(start, "an expression must not contain ';'");
      }
      if (c == '$' && start + 1 < text.length() && Character.isDigit(text.charAt(start + 1))) {
        return new Fault(start, "an expression must not contain parameters such as $1");
      }
      if (c == '?' && scan.depth == 0 && text.length() == 1) {
        return new Fault(start, "an expression must not contain parameters such as ?");
      }
      if (c == ',' && scan.depth == 0) {
        return new Fault(start, "one expression is expected here, not a list");
      }
      if ((c == ')' || c == ']') && scan.depth == 0) {
        return new Fault(start, "'" + c + "' without its opening bracket");
      }
      if (text.startsWith("--", start) || text.startsWith("/*", start)) {
        return new Fault(start, "an expression must not contain a comment");
      }
      if (!scan.step()) {
        return new Fault(
            start,
            "the quote that opens here is not closed; is the value cut by YAML? put it in quotes");
      }
    }
    if (scan.depth > 0) {
      return new Fault(
          text.length(),
          "an opening bracket is not closed; is the value cut by YAML? put it in quotes");
    }
    return null;
  }

  /** The index of the bracket that closes the one at {@code open}, if there is one. */
  static OptionalInt closing(String text, int open) {
    SqlExpression scan = new SqlExpression(text);
    scan.at = open;
    while (scan.at < text.length()) {
      int before = scan.at;
      if (!scan.step()) {
        return OptionalInt.empty();
      }
      if (scan.depth == 0) {
        return OptionalInt.of(before);
      }
    }
    return OptionalInt.empty();
  }

  /** Steps over one character, or over a whole quoted part; false if that part has no end. */
  private boolean step() {
    char c = text.charAt(at);
    return switch (c) {
      case '(', '[' -> stepOne(1);
      case ')', ']' -> stepOne(-1);
      case '\'' -> stepQuoted('\'', isEscapeString());
      case '"' -> stepQuoted('"', false);
      case '$' -> stepDollarQuoted();
      default -> stepOne(0);
    };
  }

  private boolean stepOne(int deeper) {
    depth += deeper;
    at++;
    return true;
  }

  /** Whether the quote here opens an E'' string, in which a backslash escapes. */
  private boolean isEscapeString() {
    return at > 0
        && (text.charAt(at - 1) == 'E' || text.charAt(at - 1) == 'e')
        && (at < 2 || !Character.isJavaIdentifierPart(text.charAt(at - 2)));
  }

  private boolean stepQuoted(char quote, boolean escapes) {
    at++;
    while (at < text.length()) {
      char c = text.charAt(at);
      if (escapes && c == '\\') {
        at += 2;
      } else if (c != quote) {
        at++;
      } else if (at + 1 < text.length() && text.charAt(at + 1) == quote) {
        at += 2;
      } else {
        at++;
        return true;
      }
    }
    return false;
  }

  private boolean stepDollarQuoted() {
    if (at > 0 && Character.isJavaIdentifierPart(text.charAt(at - 1))) {
      at++;
      return true;
    }
    int end = at + 1;
    while (end < text.length()
        && text.charAt(end) != '$'
        && Character.isJavaIdentifierPart(text.charAt(end))) {
      end++;
    }
    if (end >= text.length() || text.charAt(end) != '$') {
      at++;
      return true;
    }
    String tag = text.substring(at, end + 1);
    int close = text.indexOf(tag, end + 1);
    if (close < 0) {
      return false;
    }
    at = close + tag.length();
    return true;
  }
}
