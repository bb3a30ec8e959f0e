package dev.tallyroll.schema.script;

import dev.tallyroll.schema.script.ScriptPart.CopyData;
import dev.tallyroll.schema.script.ScriptPart.PsqlCommand;
import dev.tallyroll.schema.script.ScriptPart.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

/**
 * Cuts a script into statements where psql does.
 *
 * <p>A semicolon ends a statement, unless it stands in a quoted text ({@code '...'}, {@code
 * E'...\'...'}, {@code $tag$...$tag$}), in a quoted name, in a comment (those with {@code /*}
 * nest), in parentheses (CREATE RULE has several statements there), or in the body of a function
 * that is written as BEGIN ATOMIC ... END, in which CASE ends with END too. The rules are those of
 * PostgreSQL's {@code psqlscan.l}, with {@code standard_conforming_strings} on. Whether a statement
 * is right is the server's business. For one thread.
 */
public final class Script {
  private static final Pattern COPY =
      Pattern.compile("copy\\b.*\\bfrom\\s+stdin\\b.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE);

  /** How many words at the head of a statement are remembered: CREATE OR REPLACE FUNCTION. */
  private static final int HEAD = 4;

  private final String text;
  private final List<ScriptPart> parts = new ArrayList<>();
  private int at;

  /** Where the statement begins that is being read; -1 between two. */
  private int begin = -1;

  private int parentheses;
  private int blocks;
  private final List<String> head = new ArrayList<>();

  private Script(String text) {
    this.text = text;
  }

  /** The parts of a script; what stands at its end without a semicolon is one, too. */
  public static List<ScriptPart> parts(String text) {
    return new Script(text.startsWith("\uFEFF") ? text.substring(1) : text).read();
  }

  private List<ScriptPart> read() {
    while (at < text.length()) {
      char c = text.charAt(at);
      if (Character.isWhitespace(c)) {
        at++;
      } else if (Quotes.isComment(text, at)) {
        at = Quotes.end(text, at);
      } else if (c == ';' && parentheses == 0 && blocks == 0) {
        end(at);
        at++;
      } else if (c == '\\') {
        command();
      } else {
        if (begin < 0) {
          begin = at;
        }
        token(c);
      }
    }
    end(text.length());
    return parts;
  }

  private void token(char c) {
    int end = Quotes.end(text, at);
    if (end > at) {
      at = end;
    } else if (c == '$') {
      // A parameter.
      at++;
    } else if (Quotes.isNameStart(c)) {
      word();
    } else if (Character.isDigit(c)) {
      // 1e5 and 0x1F hold letters that begin no word.
      while (at < text.length() && Quotes.isNamePart(text.charAt(at))) {
        at++;
      }
    } else {
      if (c == '(') {
        parentheses++;
      } else if (c == ')' && parentheses > 0) {
        parentheses--;
      }
      at++;
    }
  }

  private void word() {
    int from = at;
    while (at < text.length() && Quotes.isNamePart(text.charAt(at))) {
      at++;
    }
    String word = text.substring(from, at).toLowerCase(Locale.ROOT);
    if (head.size() < HEAD) {
      head.add(word);
    }
    if (parentheses == 0 && isRoutine()) {
      if (word.equals("begin") || (word.equals("case") && blocks > 0)) {
        blocks++;
      } else if (word.equals("end") && blocks > 0) {
        blocks--;
      }
    }
  }

  private boolean isRoutine() {
    int what = head.size() > 2 && head.get(1).equals("or") && head.get(2).equals("replace") ? 3 : 1;
    return head.getFirst().equals("create")
        && head.size() > what
        && (head.get(what).equals("function") || head.get(what).equals("procedure"));
  }

  /** A command ends with its line. Within a statement it ends that, too, as {@code \g} does. */
  private void command() {
    int from = at;
    end(from);
    at = Quotes.endOfLine(text, from);
    parts.add(new PsqlCommand(line(from), text.substring(from, at).strip()));
  }

  private void end(int until) {
    if (begin >= 0) {
      int line = line(begin);
      String statement = text.substring(begin, until).stripTrailing();
      if (COPY.matcher(statement).matches() && until < text.length()) {
        copy(line, statement, until + 1);
      } else {
        parts.add(new Statement(line, statement));
      }
    }
    begin = -1;
    parentheses = 0;
    blocks = 0;
    head.clear();
  }

  private void copy(int line, String statement, int afterSemicolon) {
    int from = Math.min(Quotes.endOfLine(text, afterSemicolon) + 1, text.length());
    int next = from;
    while (next < text.length()) {
      int end = Quotes.endOfLine(text, next);
      if (text.substring(next, end).stripTrailing().equals("\\.")) {
        parts.add(new CopyData(line, statement, text.substring(from, next)));
        // The caller steps over the semicolon.
        at = end - 1;
        return;
      }
      next = end + 1;
    }
    parts.add(new CopyData(line, statement, text.substring(from)));
    at = text.length();
  }

  private int lastOffset;
  private int lastLine = 1;

  /** Lines are counted on from the last place, since places come in order. */
  private int line(int offset) {
    for (; lastOffset < offset; lastOffset++) {
      if (text.charAt(lastOffset) == '\n') {
        lastLine++;
      }
    }
    return lastLine;
  }
}
