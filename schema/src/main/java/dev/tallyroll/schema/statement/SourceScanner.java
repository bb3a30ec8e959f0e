package dev.tallyroll.schema.statement;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Finds the texts in a program: literals, templates, and those joined by {@code +}. It knows
 * comments, quotes and escapes of a language and nothing else of it. For one thread.
 */
final class SourceScanner {
  private static final String REGEX_AFTER = "(=,:[!&|?{};+-*%<>~^\n";

  private static final int MOST_NESTED = 200;

  private final Language language;
  private final String source;
  private int braces;
  private final List<Literal> literals = new ArrayList<>();
  private int at;
  private int lastOffset;
  private int lastLine = 1;

  /** The last character that was neither white nor comment nor text; a line's end at first. */
  private char before = '\n';

  private int depth;

  /** The text that is being joined. */
  private @Nullable StringBuilder joined;

  private int joinedLine;
  private boolean isTagged;

  private SourceScanner(Language language, String source) {
    this.language = language;
    this.source = source;
  }

  /** The texts of a program, in order. */
  static List<Literal> scan(Language language, String source) {
    SourceScanner scanner = new SourceScanner(language, source);
    scanner.run(source.length(), -1);
    scanner.finish();
    return scanner.literals;
  }

  /** Reads on to a place, or to the brace that closes the present one. */
  private void run(int until, int openDepth) {
    while (at < until) {
      char c = source.charAt(at);
      if (c == '\n' && language == Language.PYTHON && depth == 0) {
        finish();
      }
      if (Character.isWhitespace(c) || (c == '\\' && language == Language.PYTHON)) {
        // A backslash joins lines.
        at += c == '\\' ? 2 : 1;
      } else if (isComment(c)) {
        skipComment();
      } else if (isQuote(c)) {
        text(c);
      } else if (isPrefix()
          && (at == 0 || !Character.isJavaIdentifierPart(source.charAt(at - 1)))) {
        while (!isQuote(source.charAt(at))) {
          at++;
        }
      } else if (language == Language.TYPESCRIPT && c == '/' && isRegexNext()) {
        skipRegex();
      } else {
        if (c == '}' && depth == openDepth) {
          return;
        }
        other(c);
      }
    }
  }

  private boolean isComment(char c) {
    return language == Language.PYTHON
        ? c == '#'
        : source.startsWith("//", at) || source.startsWith("/*", at);
  }

  private void skipComment() {
    boolean isBlock = source.startsWith("/*", at) && language != Language.PYTHON;
    int end = source.indexOf(isBlock ? "*/" : "\n", isBlock ? at + 2 : at);
    at = end < 0 ? source.length() : isBlock ? end + 2 : end;
  }

  private boolean isQuote(char c) {
    return switch (language) {
      case TYPESCRIPT -> c == '"' || c == '\'' || c == '`';
      case JAVA, PYTHON, SQL -> c == '"' || c == '\'';
      case GO -> c == '"' || c == '`' || c == '\'';
    };
  }

  private boolean isRegexNext() {
    return REGEX_AFTER.indexOf(before) >= 0
        || source.substring(Math.max(0, at - 7), at).matches("(?s).*\\breturn\\s*");
  }

  private void skipRegex() {
    boolean isClass = false;
    int i = at + 1;
    while (i < source.length() && source.charAt(i) != '\n') {
      char c = source.charAt(i);
      if (c == '\\') {
        i++;
      } else if (c == '[') {
        isClass = true;
      } else if (c == ']') {
        isClass = false;
      } else if (c == '/' && !isClass) {
        break;
      }
      i++;
    }
    at = Math.min(i + 1, source.length());
    before = '/';
  }

  /** Anything else: it ends a text, unless it joins it to the next or to a value. */
  private void other(char c) {
    if (c == '(' || c == '[' || c == '{') {
      depth++;
    } else if (c == ')' || c == ']' || c == '}') {
      depth--;
    }
    StringBuilder text = joined;
    if (text != null) {
      if (c == '+' && !source.startsWith("+=", at)) {
        at++;
        before = '+';
        value(text);
        return;
      }
      finish();
    }
    before = c;
    at++;
  }

  /** After a plus: a text follows, or a value up to the next plus or the end of the expression. */
  private void value(StringBuilder text) {
    skipBlank();
    if (at >= source.length() || isQuote(source.charAt(at)) || isPrefix()) {
      return;
    }
    int inner = 0;
    while (at < source.length()) {
      char c = source.charAt(at);
      if (isComment(c)) {
        skipComment();
        continue;
      }
      if (isQuote(c)) {
        skipQuoted(c);
        continue;
      }
      if (c == '(' || c == '[' || c == '{') {
        inner++;
      } else if (c == ')' || c == ']' || c == '}') {
        if (inner == 0) {
          break;
        }
        inner--;
      } else if (inner == 0
          && (c == ','
              || c == ';'
              || c == '+'
              || (c == '\n' && language == Language.PYTHON && depth == 0))) {
        break;
      }
      at++;
    }
    text.append(Literal.HOLE);
  }

  private void skipBlank() {
    while (at < source.length()
        && (Character.isWhitespace(source.charAt(at)) || isComment(source.charAt(at)))) {
      if (isComment(source.charAt(at))) {
        skipComment();
      } else {
        at++;
      }
    }
  }

  /** Whether a text with a prefix begins here, as f"..." in Python. */
  private boolean isPrefix() {
    if (language != Language.PYTHON) {
      return false;
    }
    int i = at;
    while (i < source.length() && "rRbBfFuU".indexOf(source.charAt(i)) >= 0 && i - at < 3) {
      i++;
    }
    return i > at && i < source.length() && isQuote(source.charAt(i));
  }

  private void skipQuoted(char quote) {
    StringBuilder nothing = new StringBuilder();
    read(quote, nothing, false, false);
  }

  private void text(char quote) {
    int line = line(at);
    String prefix = prefix();
    boolean tagged =
        quote == '`'
            && language == Language.TYPESCRIPT
            && at > 0
            && (Character.isJavaIdentifierPart(source.charAt(at - 1))
                || source.charAt(at - 1) == '>'
                || source.charAt(at - 1) == ')');
    StringBuilder text = joined;
    boolean isNext =
        text != null && (before == '+' || (language == Language.PYTHON && before == '"'));
    if (text == null || !isNext) {
      finish();
      text = new StringBuilder();
      joined = text;
      joinedLine = line;
      isTagged = tagged;
      if (before == '+') {
        text.append(Literal.HOLE);
      }
    }
    boolean isKept = read(quote, text, prefix.contains("r"), prefix.contains("f"));
    if (!isKept) {
      joined = null;
    }
    before = '"';
  }

  /** The letters right before a quote in Python. */
  private String prefix() {
    if (language != Language.PYTHON) {
      return "";
    }
    int from = at;
    while (from > 0 && "rRbBfFuU".indexOf(source.charAt(from - 1)) >= 0) {
      from--;
    }
    boolean isWord = from > 0 && Character.isJavaIdentifierPart(source.charAt(from - 1));
    return isWord ? "" : source.substring(from, at).toLowerCase(java.util.Locale.ROOT);
  }

  /** Reads a text up to its closing quote; false if it is none: a quote that is never closed. */
  private boolean read(char quote, StringBuilder text, boolean isRaw, boolean isFormatted) {
    boolean isTriple =
        ((language == Language.JAVA && quote == '"') || language == Language.PYTHON)
            && source.startsWith(String.valueOf(quote).repeat(3), at);
    boolean isTemplate = quote == '`' && language == Language.TYPESCRIPT;
    boolean isPlain = isRaw || (quote == '`' && language == Language.GO);
    int opened = at;
    at += isTriple ? 3 : 1;
    while (at < source.length()) {
      char c = source.charAt(at);
      if (c == '\\' && !isPlain) {
        escape(text);
      } else if (isTriple ? source.startsWith(String.valueOf(quote).repeat(3), at) : c == quote) {
        at += isTriple ? 3 : 1;
        return true;
      } else if (c == '\n' && !isTriple && quote != '`') {
        at = opened + 1;
        return false;
      } else if (isTemplate && source.startsWith("${", at)) {
        at += 2;
        skipBraces();
        text.append(Literal.HOLE);
      } else if (isFormatted && c == '{' && !source.startsWith("{{", at)) {
        at++;
        skipBraces();
        text.append(Literal.HOLE);
      } else {
        if (isFormatted && (c == '{' || c == '}')) {
          at++;
        }
        text.append(c);
        at++;
      }
    }
    return true;
  }

  private void escape(StringBuilder text) {
    char next = at + 1 < source.length() ? source.charAt(at + 1) : ' ';
    at += 2;
    switch (next) {
      case 'n' -> text.append('\n');
      case 't' -> text.append('\t');
      case 'r', '\n' -> {}
      case 's' -> text.append(language == Language.JAVA ? ' ' : 's');
      case 'u' -> unicode(text);
      // How knex and Hibernate write the operators of jsonb.
      case '\\' -> {
        boolean isOperator = at < source.length() && source.charAt(at) == '?';
        text.append(isOperator ? Literal.OPERATOR : '\\');
        at += isOperator ? 1 : 0;
      }
      default -> text.append(next);
    }
  }

  private void unicode(StringBuilder text) {
    String digits = source.substring(at, Math.min(at + 4, source.length()));
    if (digits.matches("[0-9A-Fa-f]{4}")) {
      text.append((char) Integer.parseInt(digits, 16));
      at += 4;
    }
  }

  /** Up to the brace that closes an opened one. */
  private void skipBraces() {
    if (++braces > MOST_NESTED) {
      // Nobody writes that; what is generated so is no source.
      at = source.length();
      return;
    }
    int open = 1;
    while (at < source.length()) {
      char c = source.charAt(at);
      if (c == '"' || c == '\'' || c == '`') {
        StringBuilder inner = new StringBuilder();
        read(c, inner, false, false);
        continue;
      }
      at++;
      if (c == '{') {
        open++;
      } else if (c == '}' && --open == 0) {
        braces--;
        return;
      }
    }
  }

  private void finish() {
    StringBuilder text = joined;
    if (text != null) {
      literals.add(new Literal(joinedLine, text.toString(), isTagged));
    }
    joined = null;
  }

  private int line(int offset) {
    for (; lastOffset < offset; lastOffset++) {
      if (source.charAt(lastOffset) == '\n') {
        lastLine++;
      }
    }
    return lastLine;
  }
}
