package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.time.Buckets;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * A request whose names and times are looked up in the rollup that it asks. Immutable but for its
 * connection.
 */
final class Question {
  /** In the snapshot of the query. */
  final Connection connection;

  final Installed installed;
  final QueryRequest request;
  final Instant now;

  /** Whether it is asked by a role that sees neither sources nor change logs. */
  final boolean isReader;

  private final long mostRows;

  /** The measures as they are spelt. */
  final List<String> texts;

  final List<Asked> asked;

  /** The stored measures that these need. */
  final List<String> measures;

  /** The rollup with only the dimensions and measures that are asked for. */
  final BoundRollup projected;

  /** More of a condition over the rollup's tables. */
  final String filter;

  /** The same over source rows. */
  final String sourceFilter;

  final Buckets buckets;

  /**
   * Looks a request's names up.
   *
   * @throws TallyrollException if one is unknown, or the range makes no sense
   */
  Question(
      Connection connection,
      Installed installed,
      QueryRequest request,
      Instant now,
      boolean isReader,
      long mostRows)
      throws SQLException {
    this.isReader = isReader;
    this.mostRows = mostRows;
    this.connection = connection;
    this.installed = installed;
    this.request = request;
    this.now = now;
    BoundRollup bound = installed.bound();
    this.texts = request.measures().isEmpty() ? Asked.all(bound.rollup()) : request.measures();
    this.asked = texts.stream().map(text -> Asked.parse(bound.rollup(), text)).toList();
    this.measures = asked.stream().flatMap(Asked::needs).distinct().toList();
    List<String> known = bound.rollup().dimensions().stream().map(Dimension::name).toList();
    Stream.concat(
            request.by().stream(), request.where().stream().map(QueryRequest.Condition::dimension))
        .forEach(name -> dimension(known, name));
    this.projected = bound.project(request.by().stream().distinct().toList(), measures);
    this.filter = filter(bound, false);
    this.sourceFilter = filter(bound, true);
    this.buckets = buckets();
  }

  private void dimension(List<String> known, String name) {
    if (!known.contains(name)) {
      String list = known.isEmpty() ? "it has none" : "there are " + String.join(", ", known);
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME,
          "no dimension '"
              + name
              + "' in rollup '"
              + request.rollup()
              + "'"
              + Names.didYouMean(name, known)
              + " ("
              + list
              + ")");
    }
  }

  /** The conditions on tenants and dimensions, over the rollup's tables or over the source. */
  private String filter(BoundRollup bound, boolean onSource) throws SQLException {
    List<String> conditions = new ArrayList<>();
    List<String> keySql = bound.keySql();
    if (!request.tenants().isEmpty()) {
      List<String> values = new ArrayList<>();
      for (String tenant : request.tenants()) {
        values.add(value(bound.tenantType(), tenant, "--tenant"));
      }
      String column = onSource ? Sql.identifier(bound.rollup().source().tenant()) : "tenant";
      conditions.add(column + " in (" + String.join(", ", values) + ")");
    }
    List<String> names = bound.rollup().dimensions().stream().map(Dimension::name).toList();
    for (QueryRequest.Condition condition : request.where()) {
      int at = names.indexOf(condition.dimension());
      String column = onSource ? keySql.get(at + 1) : Sql.identifier(condition.dimension());
      conditions.add(
          column
              + (condition.value() == null
                  ? " is null"
                  : " = "
                      + value(
                          bound.dimensionTypes().get(at),
                          condition.value(),
                          "--where " + condition.dimension())));
    }
    return conditions.isEmpty() ? "" : " and " + String.join(" and ", conditions);
  }

  /** A value as a literal of a type, checked by PostgreSQL itself. */
  private String value(ColumnType type, String text, String option) throws SQLException {
    String literal = Sql.literal(text) + "::" + type.sqlName();
    if (type == ColumnType.TEXT) {
      return literal;
    }
    try {
      Sql.one(connection, "select " + literal, row -> row.getObject(1) != null);
      return literal;
    } catch (SQLException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          option + ": '" + text + "' is not a " + type.sqlName() + ": " + Faults.message(e),
          e);
    }
  }

  private Buckets buckets() {
    ZoneId zone = request.zone();
    long to = request.to() == null ? defaultTo(zone) : time(request.to(), "--to");
    long from = request.from() == null ? defaultFrom(to, zone) : time(request.from(), "--from");
    if (from >= to) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "the range is empty: --from "
              + Times.format(from, zone)
              + " is not before --to "
              + Times.format(to, zone));
    }
    try {
      return Buckets.of(from, to, request.every(), zone);
    } catch (IllegalArgumentException e) {
      throw new TallyrollException(
          ErrorCode.USAGE, e.getMessage() == null ? "bad range" : e.getMessage(), e);
    }
  }

  private long defaultTo(ZoneId zone) {
    return Times.micros(now.atZone(zone).toLocalDate().plusDays(1).atStartOfDay(zone).toInstant());
  }

  private static long defaultFrom(long to, ZoneId zone) {
    LocalDate end = Times.instant(to - 1).atZone(zone).toLocalDate();
    return Times.micros(end.minusDays(6).atStartOfDay(zone).toInstant());
  }

  private long time(String text, String option) {
    try {
      if (text.length() == 10) {
        return Times.micros(LocalDate.parse(text).atStartOfDay(request.zone()).toInstant());
      }
      return Times.micros(OffsetDateTime.parse(text).toInstant());
    } catch (DateTimeException | ArithmeticException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          option
              + ": '"
              + text
              + "' is neither a date, as 2026-05-01, nor an instant, as 2026-05-01T06:00:00Z",
          e);
    }
  }

  /**
   * Checks that an answer does not grow too large.
   *
   * @throws TallyrollException if it does
   */
  void checkRows(long rows) {
    if (rows > mostRows) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "the answer has more than "
              + mostRows
              + " rows: ask for a shorter range, longer buckets or fewer dimensions");
    }
  }

  /** The start of the range, in microseconds since the epoch. */
  long from() {
    return buckets.start(0);
  }

  /** Its end. */
  long to() {
    return buckets.end(buckets.count() - 1);
  }
}
