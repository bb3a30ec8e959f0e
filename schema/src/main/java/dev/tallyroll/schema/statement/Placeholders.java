package dev.tallyroll.schema.statement;

import dev.tallyroll.schema.script.Quotes;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Turns the placeholders of all drivers into those of PostgreSQL: {@code ?}, {@code :name}, {@code
 * @name}, {@code %s}, {@code %(name)s}, {@code #{name}}. Those that stand inside a literal are no
 * parameters to any server. For one thread.
 */
final class Placeholders {
  private static final Pattern EXPLICIT = Pattern.compile("\\$([1-9][0-9]{0,4})(?![0-9])");

  /** After these a value is wanted, so that a question mark is none of the operators of jsonb. */
  private static final Set<String> BEFORE_VALUE =
      Set.of(
          "values",
          "limit",
          "offset",
          "in",
          "like",
          "ilike",
          "and",
          "or",
          "not",
          "between",
          "then",
          "else",
          "when",
          "set",
          "any",
          "all",
          "is",
          "select",
          "returning",
          "by",
          "from",
          "where",
          "interval",
          "default",
          "on",
          "having",
          "as",
          "escape",
          "distinct",
          "to");

  private static final Pattern NAMED = Pattern.compile("[A-Za-z_][A-Za-z0-9_.]*");

  /** A placeholder in the literal of an interval, where nobody means the text. */
  private static final Pattern IN_INTERVAL =
      Pattern.compile(
          "(\\$[0-9]+|\\?|:[a-z_]\\w*|@[a-z_]\\w*|#\\{\\w+\\})", Pattern.CASE_INSENSITIVE);

  private final Language language;
  private final String text;
  private final boolean isTagged;
  private final StringBuilder sql = new StringBuilder();
  private final Map<String, Integer> names = new HashMap<>();
  private final List<String> literals = new ArrayList<>();
  private final List<String> inLiterals = new ArrayList<>();
  private int most;
  private boolean isComposed;
  private String word = "";
  private char before = ' ';

  /**
   * A statement with placeholders of PostgreSQL.
   *
   * @param isComposed whether something is put in that need not be a value
   * @param inLiterals placeholders inside of literals
   */
  record Normalised(String sql, boolean isComposed, List<String> inLiterals) {}

  private Placeholders(Language language, Literal literal) {
    this.language = language;
    this.text = literal.text();
    this.isTagged = literal.isTagged();
  }

  /** Normalises a text that is SQL. */
  static Normalised normalise(Language language, Literal literal) {
    return new Placeholders(language, literal).run();
  }

  private Normalised run() {
    Matcher explicit = EXPLICIT.matcher(text);
    while (explicit.find()) {
      most = Math.max(most, Integer.parseInt(explicit.group(1)));
    }
    boolean hasExplicit = most > 0;
    int at = 0;
    while (at < text.length()) {
      char c = text.charAt(at);
      int end = c == Literal.HOLE ? at : Quotes.end(text, at);
      if (end > at) {
        quoted(at, end);
        at = end;
        continue;
      }
      int next = placeholder(at, hasExplicit);
      if (next > at) {
        before = '0';
        word = "";
        at = next;
      } else if (Quotes.isNameStart(c) || Character.isDigit(c)) {
        int from = at;
        while (at < text.length()
            && text.charAt(at) != Literal.HOLE
            && Quotes.isNamePart(text.charAt(at))) {
          at++;
        }
        word = text.substring(from, at).toLowerCase(Locale.ROOT);
        before = 'a';
        sql.append(text, from, at);
      } else {
        if (!Character.isWhitespace(c)) {
          before = c;
          word = "";
        }
        sql.append(c);
        at++;
      }
    }
    inLiterals();
    return new Normalised(sql.toString().strip(), isComposed, inLiterals);
  }

  /** The place after a placeholder that begins here; the same place if none does. */
  private int placeholder(int at, boolean hasExplicit) {
    char c = text.charAt(at);
    char next = at + 1 < text.length() ? text.charAt(at + 1) : ' ';
    if (c == Literal.HOLE) {
      isComposed |= !isTagged;
      sql.append('$').append(++most);
      return at + 1;
    }
    if (c == '?' && !hasExplicit && language != Language.GO) {
      if (next == '?') {
        sql.append('?');
        return at + 2;
      }
      if (isValueWanted()) {
        sql.append('$').append(++most);
        return at + 1;
      }
    }
    if (c == ':' && (next == ':' || next == '=')) {
      sql.append(c).append(next);
      return at + 2;
    }
    if ((c == ':' || c == '@') && isNameNext(at) && (at == 0 || !isJoined(text.charAt(at - 1)))) {
      return named(at + 1, 0);
    }
    if (c == '#' && next == '{') {
      return named(at + 2, 1);
    }
    if (c == '%') {
      return percent(at);
    }
    return at;
  }

  private int percent(int at) {
    char next = at + 1 < text.length() ? text.charAt(at + 1) : ' ';
    if (language == Language.PYTHON) {
      if (next == 's') {
        sql.append('$').append(++most);
        return at + 2;
      }
      if (next == '(') {
        return named(at + 2, 2);
      }
      if (next == '%') {
        sql.append('%');
        return at + 2;
      }
    } else if ((language == Language.GO || language == Language.JAVA)
        && "sdvq".indexOf(next) >= 0
        && !Quotes.isNamePart(at + 2 < text.length() ? text.charAt(at + 2) : ' ')) {
      // What is formatted in is mostly a name.
      isComposed = true;
      sql.append('$').append(++most);
      return at + 2;
    }
    return at;
  }

  private static boolean isJoined(char c) {
    return Quotes.isNamePart(c) || c == ':' || c == ']' || c == ')';
  }

  private boolean isNameNext(int at) {
    return at + 1 < text.length()
        && (Character.isLetter(text.charAt(at + 1)) || text.charAt(at + 1) == '_');
  }

  /** The place after a name, and what closes it. */
  private int named(int from, int closing) {
    Matcher name = NAMED.matcher(text).region(from, text.length());
    if (!name.lookingAt()) {
      return from - 1 - (closing > 0 ? 1 : 0);
    }
    int number = names.computeIfAbsent(name.group(), key -> ++most);
    sql.append('$').append(number);
    return Math.min(name.end() + closing, text.length());
  }

  private boolean isValueWanted() {
    return before == 'a'
        ? BEFORE_VALUE.contains(word)
        : before != ')' && before != '0' && before != '\'' && before != '"' && before != ']';
  }

  private void quoted(int from, int end) {
    String quoted = text.substring(from, end);
    if (Quotes.isComment(text, from)) {
      sql.append(' ');
      return;
    }
    if (quoted.indexOf(Literal.HOLE) >= 0) {
      if (isTagged && Quotes.isText(text, from)) {
        inLiterals.add("${...}");
      }
      isComposed = true;
      quoted = quoted.replace(Literal.HOLE, '1');
    } else if (Quotes.isText(text, from)) {
      literals.add((word.equals("interval") ? "i" : "t") + quoted);
    }
    if (language == Language.PYTHON) {
      quoted = quoted.replace("%%", "%");
    }
    sql.append(quoted);
    before = '\'';
    word = "";
  }

  private void inLiterals() {
    String outside = sql.toString();
    for (String literal : literals) {
      String inside = literal.substring(1);
      if (literal.charAt(0) == 'i') {
        Matcher matcher = IN_INTERVAL.matcher(inside);
        if (matcher.find()) {
          inLiterals.add(matcher.group());
        } else if (inside.contains("%s")) {
          // The drivers of Python put it into the text, which works for numbers.
          isComposed = true;
        }
        continue;
      }
      Matcher matcher = EXPLICIT.matcher(inside);
      while (matcher.find()) {
        String rest = outside.replace(inside, "");
        boolean isElsewhere = rest.contains(matcher.group());
        int number = Integer.parseInt(matcher.group(1));
        // A price in a text is none: the one before it has to be there.
        boolean isNext =
            number > 1
                ? rest.contains("$" + (number - 1))
                : language != Language.SQL || rest.contains("$");
        if (!isElsewhere && isNext && !inside.startsWith("$")) {
          inLiterals.add(matcher.group());
        }
      }
      if (inside.matches("'%?\\?%?'") && language == Language.JAVA) {
        inLiterals.add("?");
      }
    }
  }
}
