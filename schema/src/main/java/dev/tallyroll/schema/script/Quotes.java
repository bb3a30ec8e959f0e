package dev.tallyroll.schema.script;

/**
 * What stands in quotes or comments in SQL, and so is no SQL: texts, names, dollar quotes,
 * comments. Stateless.
 */
public final class Quotes {
  private Quotes() {}

  /** Whether a comment begins here. */
  public static boolean isComment(String text, int at) {
    return text.startsWith("--", at) || text.startsWith("/*", at);
  }

  /** Whether a text begins here, in single quotes or in dollar quotes. */
  public static boolean isText(String text, int at) {
    char c = text.charAt(at);
    return c == '\'' || isEscaped(text, at) || (c == '$' && endOfDollar(text, at) > at);
  }

  /**
   * The place after what is quoted or commented out here; the same place if nothing is. What is
   * never closed ends with the text.
   */
  public static int end(String text, int at) {
    char c = text.charAt(at);
    if (isComment(text, at)) {
      return c == '-' ? endOfLine(text, at) : endOfComment(text, at);
    }
    if (c == '\'') {
      return endOfText(text, at + 1, false);
    }
    if (isEscaped(text, at)) {
      return endOfText(text, at + 2, true);
    }
    if (c == '"') {
      int end = text.indexOf('"', at + 1);
      return end < 0 ? text.length() : end + 1;
    }
    return c == '$' ? endOfDollar(text, at) : at;
  }

  /** Whether {@code E'...'} begins here, in which a backslash escapes. */
  private static boolean isEscaped(String text, int at) {
    char c = text.charAt(at);
    return (c == 'e' || c == 'E')
        && at + 1 < text.length()
        && text.charAt(at + 1) == '\''
        && (at == 0 || !isNamePart(text.charAt(at - 1)));
  }

  /** A text without what stands in quotes or comments, for each of which there is a space. */
  public static String bare(String text) {
    StringBuilder bare = new StringBuilder();
    int at = 0;
    while (at < text.length()) {
      int end = end(text, at);
      bare.append(end > at ? ' ' : text.charAt(at));
      at = Math.max(end, at + 1);
    }
    return bare.toString();
  }

  /** Whether a name may begin with this. */
  public static boolean isNameStart(char c) {
    return Character.isLetter(c) || c == '_' || c >= 0x80;
  }

  /** Whether a name may have this within. */
  public static boolean isNamePart(char c) {
    return isNameStart(c) || Character.isDigit(c) || c == '$';
  }

  /** The place of the line's end. */
  static int endOfLine(String text, int from) {
    int end = text.indexOf('\n', from);
    return end < 0 ? text.length() : end;
  }

  private static int endOfComment(String text, int from) {
    int depth = 0;
    int i = from;
    while (i < text.length()) {
      if (text.startsWith("/*", i)) {
        depth++;
        i += 2;
      } else if (text.startsWith("*/", i)) {
        i += 2;
        if (--depth == 0) {
          return i;
        }
      } else {
        i++;
      }
    }
    return text.length();
  }

  /** Two quotes in a row are one, which looks like two texts that touch. */
  private static int endOfText(String text, int from, boolean hasEscapes) {
    int i = from;
    while (i < text.length()) {
      char c = text.charAt(i);
      if (hasEscapes && c == '\\') {
        i += 2;
      } else if (c != '\'') {
        i++;
      } else if (hasEscapes && i + 1 < text.length() && text.charAt(i + 1) == '\'') {
        i += 2;
      } else {
        return i + 1;
      }
    }
    return text.length();
  }

  /** The end of a text in dollar quotes; of what is none, as a parameter, the same place. */
  private static int endOfDollar(String text, int from) {
    int i = from + 1;
    while (i < text.length() && isNamePart(text.charAt(i)) && text.charAt(i) != '$') {
      i++;
    }
    boolean isQuote =
        i < text.length() && text.charAt(i) == '$' && !Character.isDigit(text.charAt(from + 1));
    if (!isQuote) {
      return from;
    }
    String quote = text.substring(from, i + 1);
    int end = text.indexOf(quote, i + 1);
    return end < 0 ? text.length() : end + quote.length();
  }
}
