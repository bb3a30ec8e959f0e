package dev.tallyroll.server.usage;

import de.siegmar.fastcsv.writer.CsvWriter;
import de.siegmar.fastcsv.writer.QuoteStrategies;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.server.access.Caller;
import dev.tallyroll.server.access.Needs;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.session.Sql;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.tags.Tag;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.StreamWriteFeature;
import tools.jackson.core.json.JsonFactory;

/** Answers usage, with the meaning that the command {@code query} has. */
@RestController
@Tag(name = "usage")
public final class UsageController {
  private static final int MOST_ROWS = 100_000;
  private static final JsonFactory JSON =
      JsonFactory.builder().enable(StreamWriteFeature.WRITE_BIGDECIMAL_AS_PLAIN).build();

  private final Readers readers;
  private final InstantSource clock;

  /** With connections. */
  public UsageController(Readers readers, InstantSource clock) {
    this.readers = readers;
    this.clock = clock;
  }

  /** Answers one question. */
  @GetMapping("/v1/usage/{rollup}")
  @Needs({Scope.READ, Scope.ADMIN})
  @Operation(
      operationId = "getUsage",
      summary = "Usage by tenant, dimension, zone and range; fresh by default")
  public void usage(
      HttpServletRequest request,
      HttpServletResponse response,
      @PathVariable String rollup,
      @Parameter(
              description =
                  "A measure, p95(x), avg(x), count(x), sum(x), min(x), max(x), rate(x) or a/b; repeat (default: all)")
          @RequestParam(required = false)
          @Nullable String[] measure,
      @Parameter(description = "Group by this dimension too; repeat")
          @RequestParam(required = false)
          @Nullable String[] by,
      @Parameter(description = "dim=value or 'dim is null'; repeat, all must hold")
          @RequestParam(required = false)
          @Nullable String[] where,
      @Parameter(description = "The tenant to answer for; for scope admin, others have their own")
          @RequestParam(required = false)
          @Nullable String tenant,
      @Parameter(description = "Start, a local date or an instant (default: seven days ago)")
          @RequestParam(required = false)
          @Nullable String from,
      @Parameter(description = "End, exclusive (default: the end of today)")
          @RequestParam(required = false)
          @Nullable String to,
      @Parameter(description = "1m, 5m, 1h, 1d, 1w, 1mo or all") @RequestParam(defaultValue = "1d")
          String every,
      @Parameter(description = "The zone of the calendar, as Asia/Kolkata")
          @RequestParam(defaultValue = "UTC")
          String zone,
      @Parameter(
              description = "Keep so many of 'by' by the first measure, fold the rest into (other)")
          @RequestParam(required = false)
          @Nullable Integer top,
      @Parameter(description = "A row for empty buckets too") @RequestParam(defaultValue = "false")
          boolean fill,
      @Parameter(description = "Without what no refresh has merged yet")
          @RequestParam(defaultValue = "false")
          boolean stale,
      @Parameter(description = "Answer although history is not filled yet")
          @RequestParam(defaultValue = "false")
          boolean partial,
      @Parameter(description = "The most rows of an answer, up to 100000")
          @RequestParam(defaultValue = "10000")
          int limit,
      @Parameter(description = "The 'next' of the answer before") @RequestParam(required = false)
          @Nullable String cursor)
      throws IOException {
    if (limit < 1 || limit > MOST_ROWS) {
      throw new ProblemException(Problem.BAD_REQUEST, "limit is a number from 1 to " + MOST_ROWS);
    }
    // Not as Spring would have them, which cuts a single one at its commas.
    List<String> dimensions = list(request.getParameterValues("by"));
    if (top != null && (top < 1 || dimensions.isEmpty())) {
      throw new ProblemException(
          Problem.BAD_REQUEST,
          top < 1 ? "top takes a number from 1 on" : "top needs a 'by' to choose from");
    }
    Optional<String> whose = Caller.of(request).tenantFor(tenant);
    Optional<Cursor> before = Optional.ofNullable(cursor).map(Cursor::parse);
    Instant asked = clock.instant();
    QueryResult result =
        readers.query(
            whose,
            new QueryRequest(
                rollup,
                list(request.getParameterValues("measure")),
                dimensions,
                whose.stream().toList(),
                list(request.getParameterValues("where")).stream()
                    .map(QueryRequest.Condition::parse)
                    .toList(),
                before.map(one -> one.from().toString()).orElse(from),
                before.map(one -> one.to().toString()).orElse(to),
                Every.of(every)
                    .orElseThrow(() ->
                        new ProblemException(
                            Problem.BAD_REQUEST,
                            "every is one of " + String.join(", ", Every.labels()))),
                zone(zone),
                top == null ? OptionalInt.empty() : OptionalInt.of(top),
                fill,
                stale,
                partial));
    int first = before.map(one -> place(one, result, dimensions.size())).orElse(0);
    int last = Math.min(result.rows().size(), first + limit);
    String next =
        last == result.rows().size()
            ? null
            : new Cursor(
                    result.from(),
                    result.to(),
                    last,
                    key(result.rows().get(last - 1), dimensions.size()))
                .text();
    List<List<@Nullable Object>> rows = result.rows().subList(first, last);
    if (wantsCsv(request)) {
      response.setContentType("text/csv;charset=UTF-8");
      if (next != null) {
        response.setHeader("Tallyroll-Next", next);
      }
      result.incomplete().ifPresent(what -> response.setHeader("Tallyroll-Incomplete", what));
      send(response, csv(result.columns(), rows));
    } else {
      response.setContentType("application/json");
      send(response, json(result, rows, stale ? refreshed(rollup, asked) : asked, next));
    }
  }

  /** When a rollup was refreshed, of which only what is merged was asked for. */
  private Instant refreshed(String rollup, Instant otherwise) {
    return readers
        .<Optional<OffsetDateTime>>readNames(connection ->
            Sql.first(
                    connection,
                    "select finished_at from tallyroll.refresh where rollup = ?",
                    row -> Optional.ofNullable(row.getObject(1, OffsetDateTime.class)),
                    rollup)
                .flatMap(one -> one))
        .map(OffsetDateTime::toInstant)
        .orElse(otherwise);
  }

  private static List<String> list(@Nullable String @Nullable [] values) {
    List<String> list = new ArrayList<>();
    if (values != null) {
      for (String value : values) {
        if (value != null) {
          list.add(value);
        }
      }
    }
    return list;
  }

  private static ZoneId zone(String name) {
    try {
      return ZoneId.of(name);
    } catch (DateTimeException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "zone: there is no such time zone" + Names.didYouMean(name, ZoneId.getAvailableZoneIds()),
          e);
    }
  }

  /** Where the next page begins: behind the row with the key, else where that row was. */
  private static int place(Cursor cursor, QueryResult result, int dimensions) {
    for (int i = 0; i < result.rows().size(); i++) {
      if (key(result.rows().get(i), dimensions).equals(cursor.key())) {
        return i + 1;
      }
    }
    return Math.min(Math.max(cursor.place(), 0), result.rows().size());
  }

  private static List<@Nullable String> key(List<@Nullable Object> row, int dimensions) {
    List<@Nullable String> key = new ArrayList<>();
    for (Object one : row.subList(0, Math.min(row.size(), 2 + dimensions))) {
      key.add(one == null ? null : one.toString());
    }
    return key;
  }

  private static boolean wantsCsv(HttpServletRequest request) {
    String accept = Objects.requireNonNullElse(request.getHeader("Accept"), "");
    return accept.contains("text/csv") && !accept.contains("application/json");
  }

  private static byte[] json(
      QueryResult result, List<List<@Nullable Object>> rows, Instant asOf, @Nullable String next) {
    java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
    try (JsonGenerator json = JSON.createGenerator(ObjectWriteContext.empty(), out)) {
      json.writeStartObject();
      json.writeName("data");
      json.writeStartArray();
      for (List<@Nullable Object> row : rows) {
        json.writeStartObject();
        for (int i = 0; i < row.size(); i++) {
          json.writeName(result.columns().get(i));
          switch (row.get(i)) {
            case null -> json.writeNull();
            case BigDecimal decimal -> json.writeNumber(decimal);
            case Double real -> json.writeNumber(real);
            case Number number -> json.writeNumber(number.longValue());
            case Boolean is -> json.writeBoolean(is);
            case Object other -> json.writeString(other.toString());
          }
        }
        json.writeEndObject();
      }
      json.writeEndArray();
      json.writeStringProperty("as_of", asOf.truncatedTo(ChronoUnit.MILLIS).toString());
      json.writeName("complete");
      json.writeBoolean(result.incomplete().isEmpty());
      if (result.incomplete().isPresent()) {
        json.writeStringProperty("incomplete", result.incomplete().get());
      }
      json.writeName("next");
      if (next == null) {
        json.writeNull();
      } else {
        json.writeString(next);
      }
      json.writeEndObject();
    }
    return out.toByteArray();
  }

  private static byte[] csv(List<String> columns, List<List<@Nullable Object>> rows)
      throws IOException {
    StringWriter text = new StringWriter();
    try (CsvWriter csv = CsvWriter.builder().quoteStrategy(QuoteStrategies.EMPTY).build(text)) {
      csv.writeRecord(columns);
      for (List<@Nullable Object> row : rows) {
        csv.writeRecord(
            row.stream()
                .map(value ->
                    value == null
                        ? null
                        : value instanceof BigDecimal decimal
                            ? decimal.toPlainString()
                            : value.toString())
                .toArray(String[]::new));
      }
    }
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }

  private static void send(HttpServletResponse response, byte[] body) throws IOException {
    response.setContentLength(body.length);
    response.getOutputStream().write(body);
  }
}
