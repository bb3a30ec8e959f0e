package dev.tallyroll.schema.statement;

import dev.tallyroll.schema.finding.Place;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A statement of an application.
 *
 * @param place where it stands
 * @param sql with its parameters as {@code $1}, {@code $2}, ...
 * @param form how much of it is known
 * @param inLiterals placeholders that stand inside a literal, as they were written
 * @param logged what the server has said of it, if it comes from a log or a recording
 * @param times how often it was seen
 */
public record AppStatement(
    Place place,
    String sql,
    Form form,
    List<String> inLiterals,
    @Nullable Logged logged,
    long times) {
  private static final int MOST_SHOWN = 80;

  /** How much of a statement is known before it is run. */
  public enum Form {
    /** All of it. */
    WHOLE,
    /** It is taken from a program's text, in which the beginning of a statement looks like one. */
    LITERAL,
    /** A template whose parts are parameters, or templates themselves. */
    TEMPLATE,
    /** Parts of it are put in at run time that may be anything. */
    COMPOSED,
    /** It may as well be a sentence. */
    PHRASE
  }

  /**
   * What a server has said of a statement that failed.
   *
   * @param state the SQLSTATE; empty if the log does not have it
   * @param message without its severity
   */
  public record Logged(String state, String message) {}

  /** Copies. */
  public AppStatement {
    inLiterals = List.copyOf(inLiterals);
  }

  /**
   * What it is called by, however the lines of its file move: its beginning, on one line, and if
   * that is not all a digest of the whole.
   */
  String head() {
    String line = sql.replaceAll("\\s+", " ").strip();
    return line.length() <= MOST_SHOWN
        ? line
        : line.substring(0, MOST_SHOWN - 3) + "... #" + Integer.toHexString(line.hashCode());
  }
}
