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
          "zone",
          "for",
          "first",
          "next",
          "case",
          "using",
          "similar",
          "having",
          "as",
          "escape",
          "distinct",
          "to");

  private static final Pattern NUMBER = Pattern.compile("[0-9]+");

  /** Fields of Python's format, and verbs of fmt and String.format. */
  private static final Pattern FORMAT_FIELD = Pattern.compile("\\{\\w*\\}");

  private static final Pattern FORMAT =
      Pattern.compile("%(\\[\\d+\\]|\\d+\\$)?[+#-]?\\d*[sdvqxtT](?![\\w])");

  private static final Pattern IN_FORMAT =
      Pattern.compile("(?<!%)%(\\[\\d+\\]|\\d+\\$)?[sdv](?![\\w%])");

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
  private boolean hasQuestionMark;
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
    // A price in a literal is no parameter.
    Matcher explicit = EXPLICIT.matcher(Quotes.bare(text));
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

  private void parameter() {
    sql.append('$').append(++most);
  }

  /** What need not be a value. */
  private void hole() {
    isComposed = true;
    parameter();
  }

  /** The place after a placeholder that begins here; the same place if none does. */
  private int placeholder(int at, boolean hasExplicit) {
    char c = text.charAt(at);
    char next = at + 1 < text.length() ? text.charAt(at + 1) : ' ';
    return switch (c) {
      case Literal.HOLE -> {
        isComposed |= !isTagged;
        parameter();
        yield at + 1;
      }
      case Literal.OPERATOR -> {
        sql.append('?');
        yield at + 1;
      }
      case '$' -> dollar(at, next);
      case '?' -> hasExplicit ? at : questionMark(at, next);
      case ':', '@' -> colon(at, c, next);
      case '#' -> next == '{' ? named(at + 2, "}", at) : at;
      case '{' -> field(at);
      case '%' -> percent(at, next);
      default -> at;
    };
  }

  /** A field of Python's format. */
  private int field(int at) {
    Matcher format = FORMAT_FIELD.matcher(text).region(at, text.length());
    if (language == Language.PYTHON && format.lookingAt()) {
      hole();
      return format.end();
    }
    return at;
  }

  private int dollar(int at, char next) {
    if (next == Literal.HOLE) {
      // The number of a parameter, put in by a builder.
      parameter();
      return at + 2;
    }
    if (next == '{' && language == Language.JAVA) {
      hole();
      int end = text.indexOf('}', at);
      return end < 0 ? text.length() : end + 1;
    }
    return language == Language.TYPESCRIPT && isNameNext(at) ? named(at + 1, "", at) : at;
  }

  private int questionMark(int at, char next) {
    if (next == '?') {
      if (language == Language.TYPESCRIPT) {
        // A name, to knex.
        hole();
      } else {
        sql.append('?');
      }
      return at + 2;
    }
    if (language == Language.JAVA && Character.isDigit(next)) {
      Matcher number = NUMBER.matcher(text).region(at + 1, text.length());
      number.lookingAt();
      sql.append('$').append(names.computeIfAbsent("?" + number.group(), key -> ++most));
      return number.end();
    }
    if (language == Language.JAVA || isValueWanted()) {
      parameter();
      hasQuestionMark = true;
      return at + 1;
    }
    return at;
  }

  private int colon(int at, char c, char next) {
    boolean isOperator =
        c == ':' ? next == ':' || next == '=' : next == '@' || next == '?' || next == '>';
    if (isOperator) {
      sql.append(c).append(next);
      return at + 2;
    }
    if (c == ':' && next == '#') {
      int end = text.indexOf('}', at);
      parameter();
      return end < 0 ? text.length() : end + 1;
    }
    if (c == ':' && language == Language.SQL && (next == '\'' || next == '"')) {
      // A variable of psql.
      if (next == '"') {
        hole();
      } else {
        parameter();
      }
      return Quotes.end(text, at + 1);
    }
    boolean isFree = at == 0 || !isJoined(text.charAt(at - 1));
    return isNameNext(at) && isFree ? named(at + 1, "", at) : at;
  }

  private int percent(int at, char next) {
    if (language == Language.PYTHON) {
      return switch (next) {
        case 's' -> {
          switch (word) {
            // The driver puts a list in, with its parentheses.
            case "in" -> sql.append("($").append(++most).append(')');
            case "values" -> hole();
            default -> parameter();
          }
          yield at + 2;
        }
        case '(' -> named(at + 2, ")s", at);
        case '%' -> {
          sql.append('%');
          yield at + 2;
        }
        default -> at;
      };
    }
    Matcher format = FORMAT.matcher(text).region(at, text.length());
    if ((language == Language.GO || language == Language.JAVA) && format.lookingAt()) {
      // What is formatted in is mostly a name.
      hole();
      return format.end();
    }
    return at;
  }

  private static boolean isJoined(char c) {
    return Quotes.isNamePart(c) || c == ':' || c == ']' || c == ')' || c == '<';
  }

  private boolean isNameNext(int at) {
    return at + 1 < text.length()
        && (Character.isLetter(text.charAt(at + 1)) || text.charAt(at + 1) == '_');
  }

  /** The place after a name and what closes it; {@code at} if there is no name. */
  private int named(int from, String closing, int at) {
    Matcher name = NAMED.matcher(text).region(from, text.length());
    if (!name.lookingAt()) {
      return at;
    }
    int number = names.computeIfAbsent(name.group(), key -> ++most);
    sql.append('$').append(number);
    int end = closing.isEmpty() ? name.end() : text.indexOf(closing, name.end());
    return end < 0 ? text.length() : end + closing.length();
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
    if (language != Language.SQL && language != Language.TYPESCRIPT && Quotes.isText(text, from)) {
      String filled = IN_FORMAT.matcher(quoted).replaceAll("1");
      isComposed |= !filled.equals(quoted);
      quoted = filled;
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
      if (inside.matches("'%?\\?%?'") && language == Language.JAVA && !hasQuestionMark) {
        inLiterals.add("?");
      }
    }
  }
}
