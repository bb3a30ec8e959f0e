package dev.tallyroll.cli.load;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.temporal.ChronoField;
import java.time.temporal.TemporalAccessor;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;

/**
 * Loads a file into a table by COPY, in one transaction. Values are sent as text, so PostgreSQL
 * itself decides what a column takes; time stamps without a zone are read in the given one, and
 * more than six decimals of a second are rounded.
 *
 * <p>Rows go in batches. When a batch fails it is halved until the bad row is found: then nothing
 * of the file is loaded, or, if bad rows are collected, the row goes there and the rest goes on.
 */
public final class FileLoader {
  private static final int BATCH = 5_000;

  /** ISO 8601 with a blank or a T, seconds and their fraction optional, an offset optional. */
  private static final DateTimeFormatter TIME =
      new DateTimeFormatterBuilder()
          .append(DateTimeFormatter.ISO_LOCAL_DATE)
          .appendLiteral('T')
          .append(DateTimeFormatter.ISO_LOCAL_TIME)
          .optionalStart()
          .appendPattern("[XXX][XX][X]")
          .optionalEnd()
          .toFormatter(Locale.ROOT);

  /**
   * What to load and how.
   *
   * @param table the table
   * @param map names in the table by names in the file, where they differ
   * @param ignored names in the file that are passed over
   * @param constants values of columns that the file does not have
   * @param zone the zone of time stamps without one
   * @param columnZones the zone that a column of type {@code timestamp} is in, by column
   */
  public record Request(
      SourceTable table,
      Map<String, String> map,
      List<String> ignored,
      Map<String, String> constants,
      ZoneId zone,
      Map<String, ZoneId> columnZones) {}

  /** How many rows were loaded and how many were bad. */
  public record Result(long rows, long bad) {}

  private final Connection connection;
  private final Request request;
  private final @Nullable Writer badRows;
  private long loaded;
  private long bad;

  /**
   * A loader.
   *
   * @param connection a connection that is not in a transaction
   * @param badRows takes bad rows, each with its reason; null if one bad row refuses its file
   */
  public FileLoader(Connection connection, Request request, @Nullable Writer badRows) {
    this.connection = connection;
    this.request = request;
    this.badRows = badRows;
  }

  /**
   * Loads one file, all of it or nothing.
   *
   * @param meter is told how many bytes were read
   * @throws TallyrollException with file, line and reason of the first bad row
   */
  public Result load(Path file, LongConsumer meter) throws IOException, SQLException {
    loaded = 0;
    bad = 0;
    connection.setAutoCommit(false);
    try (Records records = Records.open(file, Records.isJson(file), meter)) {
      Sql.run(connection, "set local timezone = " + Sql.literal(request.zone().getId()));
      List<Records.Entry> batch = new ArrayList<>();
      Map<String, String> columns = columns(file, records.header());
      for (Records.Entry record = records.next(); record != null; record = records.next()) {
        if (record.fault() != null) {
          if (badRows == null) {
            // The first bad row is the one to name, and it may be among those that wait.
            loadBatch(file, batch, columns);
          }
          reject(file, record, record.fault());
          continue;
        }
        batch.add(record);
        if (batch.size() == BATCH) {
          loadBatch(file, batch, columns);
          batch.clear();
        }
      }
      loadBatch(file, batch, columns);
      connection.commit();
      return new Result(loaded, bad);
    } finally {
      connection.rollback();
      connection.setAutoCommit(true);
    }
  }

  /** The table's columns by the file's names. */
  private Map<String, String> columns(Path file, List<String> names) {
    Map<String, String> columns = new LinkedHashMap<>();
    for (String name : names) {
      if (request.ignored().contains(name)) {
        continue;
      }
      String column = request.map().getOrDefault(name, name);
      if (request.table().column(column).isEmpty()) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            file
                + ": column '"
                + name
                + "' is not in "
                + request.table().label()
                + Names.didYouMean(column, request.table().columnNames())
                + "; name it with --map OURS="
                + name
                + " or leave it out with --ignore "
                + name);
      }
      if (request.constants().containsKey(column)) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            file
                + ": column '"
                + name
                + "' would fill "
                + column
                + ", which --tenant fills already; leave one out (--ignore "
                + name
                + ")");
      }
      String other = columns.putIfAbsent(name, column);
      if (other != null) {
        throw new TallyrollException(
            ErrorCode.USAGE, file + ": column '" + name + "' stands twice in the header");
      }
    }
    return columns;
  }

  private void loadBatch(Path file, List<Records.Entry> batch, Map<String, String> csvColumns)
      throws SQLException, IOException {
    if (batch.isEmpty()) {
      return;
    }
    Map<String, String> columns =
        csvColumns.isEmpty() ? columns(file, Records.names(batch)) : csvColumns;
    Savepoint before = connection.setSavepoint();
    try {
      copy(batch, columns);
      connection.releaseSavepoint(before);
      loaded += batch.size();
    } catch (SQLException | DateTimeException e) {
      connection.rollback(before);
      if (e instanceof SQLException fault && !isRowsFault(fault)) {
        throw fault;
      }
      if (batch.size() == 1) {
        reject(
            file,
            batch.getFirst(),
            e instanceof SQLException fault
                ? Faults.message(fault)
                : String.valueOf(e.getMessage()));
        return;
      }
      int half = batch.size() / 2;
      loadBatch(file, batch.subList(0, half), columns);
      loadBatch(file, batch.subList(half, batch.size()), columns);
    }
  }

  /**
   * Bad values (class 22), broken constraints (23), and what triggers raise (P0) are a row's fault.
   */
  private static boolean isRowsFault(SQLException fault) {
    String state = Faults.state(fault);
    return state.startsWith("22")
        || state.startsWith("23")
        || state.startsWith("P0")
        || state.startsWith("42501");
  }

  private void reject(Path file, Records.Entry record, String reason) throws IOException {
    if (badRows == null) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          file + ":" + record.line() + ": " + reason + "; nothing of this file is loaded");
    }
    bad++;
    badRows.write(file + ":" + record.line() + ": " + reason + "\t" + record.text() + "\n");
  }

  private void copy(List<Records.Entry> batch, Map<String, String> columns)
      throws SQLException, IOException {
    List<String> targets = new ArrayList<>(columns.values());
    targets.addAll(request.constants().keySet());
    StringBuilder text = new StringBuilder();
    for (Records.Entry record : batch) {
      boolean first = true;
      for (Map.Entry<String, String> column : columns.entrySet()) {
        text.append(first ? "" : "\t");
        first = false;
        append(text, value(column.getValue(), record.fields().get(column.getKey())));
      }
      for (String constant : request.constants().values()) {
        text.append(first ? "" : "\t");
        first = false;
        append(text, constant);
      }
      text.append('\n');
    }
    String sql =
        "copy "
            + request.table().sqlName()
            + " ("
            + String.join(", ", targets.stream().map(Sql::identifier).toList())
            + ") from stdin";
    connection
        .unwrap(PGConnection.class)
        .getCopyAPI()
        .copyIn(sql, new ByteArrayInputStream(text.toString().getBytes(StandardCharsets.UTF_8)));
  }

  /** A value in COPY's text format. */
  private static void append(StringBuilder text, @Nullable String value) {
    if (value == null) {
      text.append("\\N");
      return;
    }
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      switch (c) {
        case '\\' -> text.append("\\\\");
        case '\t' -> text.append("\\t");
        case '\n' -> text.append("\\n");
        case '\r' -> text.append("\\r");
        default -> text.append(c);
      }
    }
  }

  /**
   * A column of type {@code timestamp} would drop an offset without a word; such a value is brought
   * into the column's zone here. Everything else is PostgreSQL's to read.
   */
  private @Nullable String value(String column, @Nullable String value) {
    boolean local =
        request
            .table()
            .column(column)
            .filter(found -> found.type().equals(ColumnType.TIMESTAMP.sqlName()))
            .isPresent();
    if (!local || value == null) {
      return value;
    }
    ZoneId target = request.columnZones().getOrDefault(column, ZoneOffset.UTC);
    String iso = value.strip().replaceFirst("^(\\d{4}-\\d{2}-\\d{2}) +", "$1T");
    TemporalAccessor parsed;
    try {
      parsed = TIME.parse(iso);
    } catch (DateTimeException e) {
      // Some other form that PostgreSQL may know; it is taken as it is.
      return value;
    }
    LocalDateTime result =
        parsed.isSupported(ChronoField.OFFSET_SECONDS)
            ? OffsetDateTime.from(parsed).atZoneSameInstant(target).toLocalDateTime()
            : LocalDateTime.from(parsed)
                .atZone(request.zone())
                .withZoneSameInstant(target)
                .toLocalDateTime();
    return result.toString();
  }
}
