package dev.tallyroll.schema.statement;

import de.siegmar.fastcsv.reader.CsvParseException;
import de.siegmar.fastcsv.reader.CsvReader;
import de.siegmar.fastcsv.reader.CsvRecord;
import de.siegmar.fastcsv.reader.FieldMismatchStrategy;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.script.Quotes;
import dev.tallyroll.schema.script.Script;
import dev.tallyroll.schema.script.ScriptPart;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The statements that failed, from a log of PostgreSQL's: what it writes to standard error, {@code
 * csvlog} or {@code jsonlog} (PostgreSQL manual, "Error Reporting and Logging"). They never reach
 * {@code pg_stat_statements}. The log is read once, in constant memory but for the statements. For
 * one thread.
 */
public final class ServerLog {
  /** Different statements beyond these are not kept. */
  private static final int MOST_STATEMENTS = 10_000;

  /** Longer ones are cut by nobody, but hold data. */
  private static final int MOST_CHARACTERS = 1 << 20;

  private static final Pattern FAILED =
      Pattern.compile("^(?<prefix>.*?)\\b(?:ERROR|FATAL|PANIC): {2}(?<message>.*)$");

  private static final Pattern STATEMENT = Pattern.compile("^.*?\\bSTATEMENT: {2}(?<sql>.*)$");

  private static final Pattern OTHER =
      Pattern.compile(
          "^.*?\\b(?:LOG|WARNING|NOTICE|DETAIL|HINT|CONTEXT|QUERY|LOCATION|INFO|DEBUG[1-5]?): {2}.*$");

  private static final Pattern VERBOSE = Pattern.compile("^(?<state>[0-9A-Z]{5}): (?<message>.*)$");

  /** A state in the prefix, as %e puts it; numbers alone may as well be those of processes. */
  private static final Pattern STATE =
      Pattern.compile(
          "(?<![0-9A-Za-z=])((?:0A|21|22|23|25|28|2B|2D|34|3B|3D|3F|40|42|44|53|54|55|57|58|P0|XX)(?=[0-9A-Z]*[A-Z])[0-9A-Z]{3}|0A000|2[123]0[0-9]{2}|428[0-9]{2}|427[0-9]{2}|426[0-9]{2}|425[0-9]{2}|400[0-9]{2}|57014)(?![0-9A-Za-z])");

  private static final int CSV_SEVERITY = 11;
  private static final int CSV_STATE = 12;
  private static final int CSV_MESSAGE = 13;
  private static final int CSV_QUERY = 19;

  private record Known(Pattern message, String state) {}

  /** Messages of PostgreSQL in English, for logs without states. */
  private static final List<Known> KNOWN =
      List.of(
          known("no unique or exclusion constraint matching the ON CONFLICT", "42P10"),
          known("^column .* does not exist", "42703"),
          known("^relation .* does not exist", "42P01"),
          known(
              "^(function|operator|procedure) .*does not exist|^operator does not exist", "42883"),
          known("^syntax error|^zero-length delimited identifier|^unterminated quoted", "42601"),
          known("^duplicate key value violates unique", "23505"),
          known("violates foreign key constraint", "23503"),
          known("^null value in column", "23502"),
          known("violates check constraint|no partition of relation", "23514"),
          known("numeric field overflow|out of range$|^value .* is out of range", "22003"),
          known("^division by zero", "22012"),
          known("^value too long for type", "22001"),
          known("^invalid input syntax", "22P02"),
          known("^infinite recursion detected", "42P17"),
          known("^permission denied|violates row-level security", "42501"),
          known("^deadlock detected", "40P01"),
          known("^could not serialize", "40001"),
          known("^canceling statement due to lock timeout", "55P03"),
          known("^canceling statement", "57014"),
          known("^unrecognized configuration parameter", "42704"),
          known("is of type .* but expression is of type", "42804"),
          known("^current transaction is aborted", "25P02"));

  private final String file;
  private final Map<String, Seen> seen = new LinkedHashMap<>();
  private boolean isFull;
  private long broken;

  private record Seen(AppStatement first, long times) {}

  private ServerLog(String file) {
    this.file = file;
  }

  private static Known known(String message, String state) {
    return new Known(Pattern.compile(message), state);
  }

  /**
   * Reads a log.
   *
   * @throws TallyrollException if it cannot be read, or is no log of PostgreSQL's
   */
  public static Statements read(Path path) {
    if (!Files.isReadable(path) || Files.isDirectory(path)) {
      throw new TallyrollException(ErrorCode.USAGE, "no log " + path + " to read");
    }
    ServerLog log = new ServerLog(path.toString().replace('\\', '/'));
    try {
      String head = head(path);
      if (head.startsWith("{")) {
        log.json(path);
      } else if (isCsv(head)) {
        log.csv(path);
      } else {
        log.text(path);
      }
    } catch (IOException e) {
      throw new TallyrollException(ErrorCode.USAGE, path + " cannot be read: " + e.getMessage(), e);
    }
    List<String> notes = new ArrayList<>();
    if (log.broken > 0) {
      notes.add(path + ": passed over " + log.broken + " broken lines");
    }
    if (log.seen.isEmpty()) {
      notes.add(path + ": no failure with its statement is in it");
    }
    if (log.isFull) {
      notes.add(
          path + ": only the first " + MOST_STATEMENTS + " different statements were looked at");
    }
    return new Statements(
        log.seen.values().stream()
            .map(each ->
                new AppStatement(
                    each.first().place(),
                    each.first().sql(),
                    AppStatement.Form.WHOLE,
                    each.first().inLiterals(),
                    each.first().logged(),
                    each.times()))
            .toList(),
        notes);
  }

  /** Whether a record of csvlog begins a text; prefixes with commas are no such records. */
  private static boolean isCsv(String head) {
    try (CsvReader<CsvRecord> csv =
        CsvReader.builder()
            .extraFieldStrategy(FieldMismatchStrategy.IGNORE)
            .missingFieldStrategy(FieldMismatchStrategy.IGNORE)
            .ofCsvRecord(head)) {
      for (CsvRecord first : csv) {
        return first.getFieldCount() > CSV_QUERY
            && first.getField(CSV_STATE).matches("[0-9A-Z]{5}");
      }
      return false;
    } catch (CsvParseException | IOException e) {
      return false;
    }
  }

  private static String head(Path path) throws IOException {
    try (BufferedReader reader = reader(path)) {
      char[] head = new char[4096];
      int read = reader.read(head);
      String text = new String(head, 0, Math.max(read, 0));
      if (text.indexOf('\0') >= 0) {
        throw new TallyrollException(ErrorCode.USAGE, path + ": is not text");
      }
      return text.stripLeading();
    }
  }

  /** Logs hold what clients have sent: what is not UTF-8 is replaced. */
  private static BufferedReader reader(Path path) throws IOException {
    return new BufferedReader(
        new InputStreamReader(
            Files.newInputStream(path),
            StandardCharsets.UTF_8
                .newDecoder()
                .onMalformedInput(CodingErrorAction.REPLACE)
                .onUnmappableCharacter(CodingErrorAction.REPLACE)));
  }

  private void json(Path path) throws IOException {
    JsonMapper json = JsonMapper.builder().build();
    try (BufferedReader reader = reader(path)) {
      String line;
      for (int number = 1; (line = reader.readLine()) != null; number++) {
        if (line.isBlank()) {
          continue;
        }
        try {
          JsonNode entry = json.readTree(line);
          if (isFailure(
              entry.path("error_severity").asString(""), entry.path("state_code").asString(""))) {
            add(
                number,
                entry.path("state_code").asString(""),
                entry.path("message").asString(""),
                entry.path("statement").asString(""));
          }
        } catch (JacksonException e) {
          // The last line of a log that is being written.
          broken++;
        }
      }
    }
  }

  /** Severities are in the server's language, states are not: classes 00 and 01 are no failures. */
  private static boolean isFailure(String severity, String stateOf) {
    return stateOf.matches("(?!0[01])[0-9A-Z]{5}")
        || severity.equals("ERROR")
        || severity.equals("FATAL")
        || severity.equals("PANIC");
  }

  private void csv(Path path) throws IOException {
    try (CsvReader<CsvRecord> csv =
        CsvReader.builder()
            .extraFieldStrategy(FieldMismatchStrategy.IGNORE)
            .missingFieldStrategy(FieldMismatchStrategy.IGNORE)
            .ofCsvRecord(reader(path))) {
      for (CsvRecord entry : csv) {
        if (entry.getFieldCount() > CSV_QUERY
            && isFailure(entry.getField(CSV_SEVERITY), entry.getField(CSV_STATE))) {
          add(
              (int) entry.getStartingLineNumber(),
              entry.getField(CSV_STATE),
              entry.getField(CSV_MESSAGE),
              entry.getField(CSV_QUERY));
        }
      }
    } catch (CsvParseException e) {
      // The last record of a log that is being written.
      broken++;
    }
  }

  /** The last failure, until its statement has come. */
  private @Nullable String failure;

  private String state = "";
  private int failureLine;
  private @Nullable StringBuilder statement;

  private void text(Path path) throws IOException {
    try (BufferedReader reader = reader(path)) {
      String line;
      for (int number = 1; (line = reader.readLine()) != null; number++) {
        StringBuilder open = statement;
        if (line.startsWith("\t")) {
          if (open != null && open.length() < MOST_CHARACTERS) {
            open.append('\n').append(line, 1, line.length());
          }
          continue;
        }
        Matcher said = STATEMENT.matcher(line);
        if (said.matches() && failure != null) {
          statement = new StringBuilder(said.group("sql"));
          continue;
        }
        close();
        Matcher failed = FAILED.matcher(line);
        if (failed.matches()) {
          failure(failed, number);
        } else if (!OTHER.matcher(line).matches()) {
          failure = null;
        }
      }
    }
    close();
  }

  private void failure(Matcher failed, int line) {
    String message = failed.group("message");
    Matcher verbose = VERBOSE.matcher(message);
    Matcher prefixed = STATE.matcher(failed.group("prefix"));
    if (verbose.matches()) {
      state = verbose.group("state");
      message = verbose.group("message");
    } else {
      state = prefixed.find() ? prefixed.group(1) : "";
    }
    failure = message;
    failureLine = line;
  }

  private void close() {
    StringBuilder said = statement;
    String message = failure;
    if (said != null && message != null) {
      add(failureLine, state, message, said.toString());
      failure = null;
    }
    statement = null;
  }

  private void add(int line, String stateOf, String message, String sql) {
    if (sql.isBlank() || sql.length() > MOST_CHARACTERS) {
      return;
    }
    String known = state(message).isEmpty() ? stateOf : state(message);
    List<ScriptPart> parts = Script.parts(sql);
    // Which of several failed is not said; none of them is looked at by itself.
    one(line, known, message, parts.size() == 1 ? parts.getFirst().text() : sql);
  }

  private void one(int line, String known, String message, String sql) {
    String key = known + " " + shape(sql);
    Seen before = seen.get(key);
    if (before != null) {
      seen.put(key, new Seen(before.first(), before.times() + 1));
    } else if (seen.size() >= MOST_STATEMENTS) {
      isFull = true;
    } else {
      seen.put(
          key,
          new Seen(
              new AppStatement(
                  new Place(file, line),
                  sql.strip().replaceFirst(";\\s*$", ""),
                  AppStatement.Form.WHOLE,
                  List.of(),
                  new AppStatement.Logged(known, message),
                  1),
              1));
    }
  }

  private static String state(String message) {
    return KNOWN.stream()
        .filter(known -> known.message().matcher(message).find())
        .map(Known::state)
        .findFirst()
        .orElse("");
  }

  /** A statement without its values: a log has one with each. */
  static String shape(String sql) {
    StringBuilder shape = new StringBuilder();
    int at = 0;
    while (at < sql.length()) {
      int end = Quotes.end(sql, at);
      char c = sql.charAt(at);
      if (end > at) {
        shape.append(Quotes.isText(sql, at) ? "?" : sql.substring(at, end));
        at = end;
      } else if (Character.isDigit(c)) {
        while (at < sql.length()
            && (Character.isLetterOrDigit(sql.charAt(at)) || sql.charAt(at) == '.')) {
          at++;
        }
        shape.append('?');
      } else if (Quotes.isNameStart(c)) {
        int from = at;
        while (at < sql.length() && Quotes.isNamePart(sql.charAt(at))) {
          at++;
        }
        shape.append(sql, from, at);
      } else {
        boolean isSpace = Character.isWhitespace(c);
        if (!isSpace || shape.isEmpty() || shape.charAt(shape.length() - 1) != ' ') {
          shape.append(isSpace ? ' ' : c);
        }
        at++;
      }
    }
    // Lists of values differ by their length only.
    return shape
        .toString()
        .strip()
        .replaceAll("\\?(\\s*,\\s*\\?)+", "?")
        .replaceAll("(\\(\\?\\)\\s*,\\s*)+\\(\\?\\)", "(?)");
  }
}
