package dev.tallyroll.cli.load;

import de.siegmar.fastcsv.reader.CsvParseException;
import de.siegmar.fastcsv.reader.CsvReader;
import de.siegmar.fastcsv.reader.CsvRecord;
import de.siegmar.fastcsv.reader.CsvRecordHandler;
import de.siegmar.fastcsv.reader.FieldMismatchStrategy;
import de.siegmar.fastcsv.reader.FieldModifier;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.io.BufferedReader;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * The records of a CSV or JSON Lines file, one after the other. UTF-8, with or without a byte-order
 * mark, lines ending in LF or CRLF. In CSV an empty field is NULL and a quoted empty one an empty
 * text, as in PostgreSQL's COPY. For one thread.
 */
final class Records implements AutoCloseable {
  /**
   * One record.
   *
   * @param line the line it begins in, from 1
   * @param text what stood there, for messages and for the file of bad rows
   * @param fields the values by their names in the file; null for NULL
   * @param fault why it is none, if it cannot be read
   */
  record Entry(
      long line, String text, Map<String, @Nullable String> fields, @Nullable String fault) {}

  /** No text has this character in PostgreSQL, so it can mark what was not quoted and empty. */
  private static final String NULL = "\0";

  private static final JsonFactory JSON = JsonFactory.builder().build();

  private final Path file;
  private final BufferedReader reader;
  private final @Nullable CsvReader<CsvRecord> csv;
  private final @Nullable Iterator<CsvRecord> rows;
  private final List<String> header;
  private long line;

  private Records(Path file, BufferedReader reader, boolean json) throws IOException {
    this.file = file;
    this.reader = reader;
    if (json) {
      csv = null;
      rows = null;
      header = List.of();
      return;
    }
    FieldModifier marking =
        new FieldModifier() {
          @Override
          public String modify(
              long startingLineNumber, int fieldIdx, boolean quoted, String field) {
            return !quoted && field.isEmpty() ? NULL : field;
          }
        };
    csv =
        CsvReader.builder()
            .extraFieldStrategy(FieldMismatchStrategy.IGNORE)
            .missingFieldStrategy(FieldMismatchStrategy.IGNORE)
            .skipEmptyLines(true)
            .build(CsvRecordHandler.builder().fieldModifier(marking).build(), reader);
    rows = csv.iterator();
    header =
        rows.hasNext()
            ? rows.next().getFields().stream()
                .map(name -> name.equals(NULL) ? "" : name.strip())
                .toList()
            : List.of();
  }

  /**
   * Opens a file.
   *
   * @param json whether it is JSON Lines; CSV otherwise
   * @param meter is told how many bytes were read
   */
  static Records open(Path file, boolean json, LongConsumer meter) throws IOException {
    if (!Files.isReadable(file) || Files.isDirectory(file)) {
      throw new TallyrollException(ErrorCode.USAGE, "no file " + file + " to read");
    }
    InputStream in = new Metered(Files.newInputStream(file), meter);
    BufferedReader reader =
        new BufferedReader(
            new InputStreamReader(
                in,
                StandardCharsets.UTF_8
                    .newDecoder()
                    .onMalformedInput(CodingErrorAction.REPORT)
                    .onUnmappableCharacter(CodingErrorAction.REPORT)),
            1 << 16);
    reader.mark(1);
    try {
      if (reader.read() != 0xFEFF) {
        reader.reset();
      }
    } catch (CharacterCodingException e) {
      throw notUtf8(file, 0, e);
    }
    return new Records(file, reader, json);
  }

  private static TallyrollException notUtf8(Path file, long line, CharacterCodingException e) {
    return new TallyrollException(
        ErrorCode.USAGE,
        file + ": not UTF-8 after line " + line + "; nothing of this file is loaded",
        e);
  }

  /** Whether a file's name is that of JSON Lines. */
  static boolean isJson(Path file) {
    String name = file.toString().toLowerCase(Locale.ROOT);
    return name.endsWith(".jsonl") || name.endsWith(".ndjson") || name.endsWith(".json");
  }

  /** The names of the header; none for JSON Lines. */
  List<String> header() {
    return header;
  }

  /** The next record, or null at the end. */
  @Nullable Entry next() throws IOException {
    try {
      return rows == null ? nextJson() : nextCsv(rows);
    } catch (CsvParseException | UncheckedIOException e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      throw new TallyrollException(
          ErrorCode.USAGE,
          file
              + ": not CSV after line "
              + line
              + ": "
              + cause.getMessage()
              + " (the file must be UTF-8, quotes closed)",
          e);
    }
  }

  private @Nullable Entry nextCsv(Iterator<CsvRecord> from) {
    if (!from.hasNext()) {
      return null;
    }
    CsvRecord row = from.next();
    line = row.getStartingLineNumber();
    List<String> values = row.getFields();
    String text = String.join(",", values.stream().map(Records::quoted).toList());
    if (values.size() != header.size()) {
      return new Entry(
          line, text, Map.of(), values.size() + " fields where the header has " + header.size());
    }
    Map<String, @Nullable String> fields = new LinkedHashMap<>();
    for (int i = 0; i < values.size(); i++) {
      fields.put(header.get(i), values.get(i).equals(NULL) ? null : values.get(i));
    }
    return new Entry(line, text, fields, null);
  }

  private static String quoted(String value) {
    if (value.equals(NULL)) {
      return "";
    }
    boolean plain =
        !value.isEmpty()
            && value.chars().noneMatch(c -> c == ',' || c == '"' || c == '\n' || c == '\r');
    return plain ? value : "\"" + value.replace("\"", "\"\"") + "\"";
  }

  private @Nullable Entry nextJson() throws IOException {
    String text = nextLine();
    return text == null ? null : json(text);
  }

  /** The next line of JSON Lines that is not blank, or null at the end. */
  @Nullable String nextLine() throws IOException {
    while (true) {
      String text;
      try {
        text = reader.readLine();
      } catch (CharacterCodingException e) {
        throw notUtf8(file, line, e);
      }
      if (text == null) {
        return null;
      }
      line++;
      if (!text.isBlank()) {
        return text;
      }
    }
  }

  /** The line that was read last, from 1. */
  long line() {
    return line;
  }

  private Entry json(String text) {
    Map<String, @Nullable String> fields = new LinkedHashMap<>();
    try (JsonParser parser = JSON.createParser(ObjectReadContext.empty(), text)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        return new Entry(line, text, Map.of(), "not a JSON object");
      }
      while (parser.nextToken() != JsonToken.END_OBJECT) {
        String name = parser.currentName();
        fields.put(name, value(parser, parser.nextToken()));
      }
      return parser.nextToken() == null
          ? new Entry(line, text, fields, null)
          : new Entry(line, text, Map.of(), "more than one JSON value");
    } catch (JacksonException e) {
      return new Entry(line, text, Map.of(), "not JSON: " + e.getOriginalMessage());
    }
  }

  private static @Nullable String value(JsonParser parser, JsonToken token) {
    return switch (token) {
      case VALUE_NULL -> null;
      case START_OBJECT, START_ARRAY -> {
        StringWriter nested = new StringWriter();
        try (JsonGenerator generator = JSON.createGenerator(ObjectWriteContext.empty(), nested)) {
          generator.copyCurrentStructure(parser);
        }
        yield nested.toString();
      }
      default -> parser.getString();
    };
  }

  @Override
  public void close() throws IOException {
    if (csv != null) {
      csv.close();
    }
    reader.close();
  }

  private static final class Metered extends FilterInputStream {
    private final LongConsumer meter;

    Metered(InputStream in, LongConsumer meter) {
      super(in);
      this.meter = meter;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      int read = super.read(bytes, offset, length);
      if (read > 0) {
        meter.accept(read);
      }
      return read;
    }
  }

  /** All names of a list of records, for JSON Lines, whose records name their fields themselves. */
  static List<String> names(List<Entry> records) {
    List<String> names = new ArrayList<>();
    for (Entry record : records) {
      for (String name : record.fields().keySet()) {
        if (!names.contains(name)) {
          names.add(name);
        }
      }
    }
    return names;
  }
}
