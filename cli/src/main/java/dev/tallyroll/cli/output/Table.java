package dev.tallyroll.cli.output;

import de.siegmar.fastcsv.writer.CsvWriter;
import de.siegmar.fastcsv.writer.QuoteStrategies;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.StreamWriteFeature;
import tools.jackson.core.json.JsonFactory;

/**
 * Rows under names, printed in any {@link Format}. Values are numbers, booleans, texts, lists, maps
 * null or {@link Json}.
 */
public final class Table {
  private static final JsonFactory JSON =
      JsonFactory.builder().enable(StreamWriteFeature.WRITE_BIGDECIMAL_AS_PLAIN).build();

  /**
   * A value that is JSON already: part of the document in {@link Format#JSON}, text elsewhere.
   *
   * @param text one JSON value
   */
  public record Json(String text) {
    @Override
    public String toString() {
      return text;
    }
  }

  private final List<String> columns;
  private final List<List<@Nullable Object>> rows = new ArrayList<>();

  /** A table without rows. */
  public Table(List<String> columns) {
    this.columns = List.copyOf(columns);
  }

  /** The names of the columns. */
  public List<String> columns() {
    return columns;
  }

  /** Adds a row with a value for each column. */
  public Table add(List<@Nullable Object> row) {
    rows.add(row);
    return this;
  }

  /** Prints it. */
  public void print(PrintWriter out, Format format) {
    switch (format) {
      case TABLE -> printAligned(out);
      case JSON -> printJson(out);
      case CSV -> printCsv(out);
    }
    out.flush();
  }

  private void printAligned(PrintWriter out) {
    int[] widths = new int[columns.size()];
    boolean[] numeric = new boolean[columns.size()];
    for (int i = 0; i < widths.length; i++) {
      widths[i] = columns.get(i).length();
      int column = i;
      numeric[i] =
          rows.stream().anyMatch(row -> row.get(column) instanceof Number)
              && rows.stream()
                  .allMatch(row -> row.get(column) == null || row.get(column) instanceof Number);
    }
    for (List<@Nullable Object> row : rows) {
      for (int i = 0; i < widths.length; i++) {
        String text = text(row.get(i));
        widths[i] = Math.max(widths[i], text.codePointCount(0, text.length()));
      }
    }
    out.println(
        line(columns.stream().map(column -> (@Nullable Object) column).toList(), widths, numeric));
    for (List<@Nullable Object> row : rows) {
      out.println(line(row, widths, numeric));
    }
  }

  private static String line(
      List<? extends @Nullable Object> cells, int[] widths, boolean[] numeric) {
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < widths.length; i++) {
      String text = text(cells.get(i));
      String padding = " ".repeat(widths[i] - text.codePointCount(0, text.length()));
      line.append(i == 0 ? "" : "  ").append(numeric[i] ? padding + text : text + padding);
    }
    return line.toString().stripTrailing();
  }

  private static String text(@Nullable Object value) {
    return switch (value) {
      case null -> "-";
      // A quotient has more digits than anybody reads; money has six decimals.
      case BigDecimal decimal ->
          decimal.scale() > 9 ? readable(decimal.doubleValue()) : decimal.toPlainString();
      case Double real -> readable(real);
      case Collection<?> list ->
          list.isEmpty() ? "-" : String.join(", ", list.stream().map(Object::toString).toList());
      default -> value.toString().replaceAll("\\p{Cntrl}", " ");
    };
  }

  /** Six significant digits for the eye; JSON and CSV have all. */
  private static String readable(double value) {
    if (!Double.isFinite(value)) {
      return Double.toString(value);
    }
    return new BigDecimal(value).round(new MathContext(6)).stripTrailingZeros().toPlainString();
  }

  private void printJson(PrintWriter out) {
    // Written aside, so that the generator does not close the stream.
    StringWriter text = new StringWriter();
    try (JsonGenerator json = JSON.createGenerator(ObjectWriteContext.empty(), text)) {
      json.writeStartArray();
      for (List<@Nullable Object> row : rows) {
        json.writeStartObject();
        for (int i = 0; i < columns.size(); i++) {
          json.writeName(columns.get(i));
          write(json, row.get(i));
        }
        json.writeEndObject();
      }
      json.writeEndArray();
    }
    out.println(text);
  }

  private static void write(JsonGenerator json, @Nullable Object value) {
    switch (value) {
      case null -> json.writeNull();
      case BigDecimal decimal -> json.writeNumber(decimal);
      case Double real -> json.writeNumber(real);
      case Number number -> json.writeNumber(number.longValue());
      case Boolean truth -> json.writeBoolean(truth);
      case Map<?, ?> map -> {
        json.writeStartObject();
        map.forEach((name, inner) -> {
          json.writeName(String.valueOf(name));
          write(json, inner);
        });
        json.writeEndObject();
      }
      case Collection<?> list -> {
        json.writeStartArray();
        list.forEach(inner -> write(json, inner));
        json.writeEndArray();
      }
      case Json raw -> json.writeRawValue(raw.text());
      default -> json.writeString(value.toString());
    }
  }

  private void printCsv(PrintWriter out) {
    StringWriter text = new StringWriter();
    try (CsvWriter csv = CsvWriter.builder().quoteStrategy(QuoteStrategies.EMPTY).build(text)) {
      csv.writeRecord(columns);
      for (List<@Nullable Object> row : rows) {
        csv.writeRecord(row.stream().map(Table::csv).toArray(String[]::new));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    out.print(text);
  }

  /** NULL is an empty field, an empty text a quoted one. */
  private static @Nullable String csv(@Nullable Object value) {
    return switch (value) {
      case null -> null;
      case BigDecimal decimal -> decimal.toPlainString();
      case Collection<?> list -> String.join("; ", list.stream().map(Object::toString).toList());
      default -> value.toString();
    };
  }
}
