package dev.tallyroll.postgres.adopt;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.merge.Carry;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.zone.ZoneOffsetTransition;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What of a table becomes what of a rollup, in SQL: its rows as stored partials, what makes a row
 * unfit, and what all rows add up to. Nothing here reads a row. Immutable.
 */
final class Mapping {
  /** Narrowest first. */
  private static final List<String> INTEGERS = List.of("smallint", "integer", "bigint");

  private static final Set<String> FRACTIONS = Set.of("numeric", "double precision", "real");
  private static final String TIMESTAMPTZ = "timestamp with time zone";
  private static final String MEND = "correct it, or leave the row out by a view";

  private final BoundRollup bound;
  private final SourceTable table;
  private final Grain grain;
  private final Map<String, String> mapped;
  private final @Nullable ZoneId zone;
  private final String bucket;
  private final List<String> selected = new ArrayList<>();
  private final List<Check> checks = new ArrayList<>();
  private final List<Total> totals = new ArrayList<>();
  private final List<String> unknown = new ArrayList<>();
  private final List<String> named = new ArrayList<>();

  /**
   * Makes rows unfit.
   *
   * @param condition holds for such a row; fails for none
   * @param name what of the rollup it is about
   * @param column the column that it comes from, quoted
   * @param why what is wrong with its value, and how to mend it
   */
  record Check(String condition, String name, String column, String why) {}

  /**
   * What all rows add up to.
   *
   * @param name the column of the rollup's tables
   * @param column the column that it comes from
   * @param aggregate {@code sum}, {@code min} or {@code max}
   * @param type the type that is stored
   * @param ofTable the aggregate over the table
   * @param ofRollup the same over a table of the rollup
   * @param magnitude the sum of the absolute values over the table
   */
  record Total(
      String name,
      String column,
      String aggregate,
      ColumnType type,
      String ofTable,
      String ofRollup,
      String magnitude) {}

  /**
   * Checks the names and types of what is asked for.
   *
   * @throws TallyrollException if one is wrong
   */
  Mapping(
      Connection connection,
      BoundRollup bound,
      SourceTable table,
      Grain grain,
      AdoptRequest request)
      throws SQLException {
    this.bound = bound;
    this.table = table;
    this.grain = grain;
    this.mapped = request.mapped();
    this.zone = request.zone();
    checkNames();
    this.bucket = bucketSql();
    addBucketChecks();
    addTenant(connection, request.tenant());
    for (int i = 0; i < bound.rollup().dimensions().size(); i++) {
      addDimension(bound.rollup().dimensions().get(i), bound.dimensionTypes().get(i));
    }
    selected.add(bucket);
    for (int i = 0; i < bound.rollup().measures().size(); i++) {
      addMeasure(bound.rollup().measures().get(i), bound.newColumns().get(i).stored());
    }
    if (totals.isEmpty()) {
      throw usage(
          "no measure is mapped, so that there is nothing to take over; say which column has it, as --map "
              + (mappable().isEmpty() ? "requests" : mappable().getFirst())
              + "=COLUMN");
    }
  }

  /** The instant of a row's bucket. */
  String bucket() {
    return bucket;
  }

  /** Tenant, dimensions, bucket, then the stored columns of all measures, each of its type. */
  String selected() {
    return String.join(", ", selected);
  }

  /** What makes rows unfit, those of a range of time with what is wrong with its local times. */
  List<Check> checks(long from, long to) {
    List<Check> all = new ArrayList<>(checks);
    if (zone != null) {
      addLocalChecks(zone, from, to, all);
    }
    return all;
  }

  /** What the mapped columns add up to. */
  List<Total> totals() {
    return totals;
  }

  /** Dimensions, measures and columns of measures that the table does not tell. */
  List<String> unknown() {
    return unknown;
  }

  /** What tells a row from others, for people, in SQL. */
  String nameOfRow() {
    return named.isEmpty() ? "''" : "concat_ws(', ', " + String.join(", ", named) + ")";
  }

  private static TallyrollException usage(String message) {
    return new TallyrollException(ErrorCode.USAGE, message);
  }

  private List<String> dimensions() {
    return bound.rollup().dimensions().stream().map(Dimension::name).toList();
  }

  /** The columns of measures that can be taken over. */
  private List<String> mappable() {
    List<String> names = new ArrayList<>();
    for (Measure measure : bound.rollup().measures()) {
      names.addAll(mappable(measure));
    }
    return names;
  }

  private static List<String> mappable(Measure measure) {
    return switch (measure.kind()) {
      case COUNT, SUM, MIN, MAX -> List.of(measure.name());
      case DISTRIBUTION ->
          Stream.of("_count", "_sum", "_min", "_max").map(part -> measure.name() + part).toList();
      case LATEST, DISTINCT -> List.of();
    };
  }

  private void checkNames() {
    List<String> names =
        Stream.of(Stream.of("bucket", "tenant"), dimensions().stream(), mappable().stream())
            .flatMap(all -> all)
            .toList();
    for (Map.Entry<String, String> one : mapped.entrySet()) {
      String option = "--map " + one.getKey() + "=" + one.getValue() + ": ";
      bound
          .rollup()
          .measure(one.getKey())
          .filter(measure -> !mappable(measure).contains(measure.name()))
          .ifPresent(measure -> {
            throw usage(
                option
                    + (measure.kind() == Measure.Kind.DISTRIBUTION
                        ? "'"
                            + measure.name()
                            + "' is a distribution; map its parts "
                            + String.join(", ", mappable(measure))
                        : "a "
                            + measure.kind().label()
                            + " measure cannot be taken over; leave it out, and it is known from the end of what is taken over on"));
          });
      if (!names.contains(one.getKey())) {
        throw new TallyrollException(
            ErrorCode.UNKNOWN_NAME,
            option
                + "rollup '"
                + bound.name()
                + "' has no '"
                + one.getKey()
                + "' to take over"
                + Names.didYouMean(one.getKey(), names)
                + " (there are "
                + String.join(", ", names)
                + ")");
      }
      if (table.column(one.getValue()).isEmpty()) {
        throw new TallyrollException(
            ErrorCode.UNKNOWN_NAME,
            option
                + "no column '"
                + one.getValue()
                + "' in "
                + table.label()
                + Names.didYouMean(one.getValue(), table.columnNames()));
      }
    }
    if (!mapped.containsKey("bucket")) {
      throw usage(
          "say which column of "
              + table.label()
              + " is the start of a row's time, as --map bucket=COLUMN");
    }
  }

  private SourceTable.Column column(String ours) {
    return table.column(mapped.getOrDefault(ours, "")).orElseThrow();
  }

  private String quoted(String ours) {
    return Sql.identifier(mapped.getOrDefault(ours, ""));
  }

  private TallyrollException unfit(String ours, String wanted) {
    return usage(
        "--map "
            + ours
            + "="
            + mapped.get(ours)
            + ": "
            + table.label()
            + "."
            + mapped.get(ours)
            + " is of type "
            + column(ours).type()
            + ", and "
            + ours
            + " needs "
            + wanted
            + "; make a view that casts it, and take that");
  }

  private String bucketSql() {
    String type = column("bucket").type();
    return switch (type) {
      case TIMESTAMPTZ -> {
        if (zone != null) {
          throw usage(
              "--zone: "
                  + table.label()
                  + "."
                  + mapped.get("bucket")
                  + " is of type timestamp with time zone, so its zone is known; leave --zone out");
        }
        yield quoted("bucket");
      }
      case "timestamp without time zone", "date" -> {
        if (zone == null) {
          throw usage(
              table.label()
                  + "."
                  + mapped.get("bucket")
                  + " is of type "
                  + type
                  + ": say in which zone its times are, as --zone UTC");
        }
        if (!ZoneId.getAvailableZoneIds().contains(zone.getId())) {
          // An offset alone PostgreSQL would read with the other sign.
          throw usage(
              "--zone "
                  + zone.getId()
                  + ": name a zone of the time zone database, as UTC or Europe/Berlin");
        }
        yield "("
            + quoted("bucket")
            + "::timestamp at time zone "
            + Sql.literal(zone.getId())
            + ")";
      }
      default -> throw unfit("bucket", "a timestamp or a date");
    };
  }

  private void check(String condition, String ours, String why) {
    checks.add(new Check(condition, ours, quoted(ours), why));
  }

  private void addBucketChecks() {
    check(bucket + " is null", "bucket", "its time is not known; " + MEND);
    check("not isfinite(" + bucket + ")", "bucket", "a bucket has a beginning; " + MEND);
    check(
        "date_bin('"
            + grain.width().toSeconds()
            + " seconds', "
            + bucket
            + ", 'epoch'::timestamptz) <> "
            + bucket,
        "bucket",
        "that is not the start of a UTC bucket of "
            + grain.label()
            + "; name the right --grain"
            + (zone == null ? "" : " and --zone")
            + ", or merge the rows by such buckets in a view; days of another zone than UTC cannot be taken over");
  }

  /** Local times that do not exist, or twice, when the clock is set. */
  private void addLocalChecks(ZoneId local, long from, long to, List<Check> all) {
    List<String> ambiguous = new ArrayList<>();
    List<String> missing = new ArrayList<>();
    ZoneOffsetTransition next = local.getRules().nextTransition(Times.instant(from - Times.DAY));
    while (next != null && next.getInstant().isBefore(Times.instant(to + Times.DAY))) {
      LocalDateTime before = next.getDateTimeBefore();
      LocalDateTime after = next.getDateTimeAfter();
      (next.isGap() ? missing : ambiguous)
          .add(
              quoted("bucket")
                  + " >= timestamp '"
                  + (next.isGap() ? before : after)
                  + "' and "
                  + quoted("bucket")
                  + " < timestamp '"
                  + (next.isGap() ? after : before)
                  + "'");
      next = local.getRules().nextTransition(next.getInstant());
    }
    if (!ambiguous.isEmpty()) {
      all.add(
          new Check(
              "(" + String.join(" or ", ambiguous) + ")",
              "bucket",
              quoted("bucket"),
              "this local time comes twice in "
                  + local.getId()
                  + "; split the row in a view that has instants"));
    }
    if (!missing.isEmpty()) {
      all.add(
          new Check(
              "(" + String.join(" or ", missing) + ")",
              "bucket",
              quoted("bucket"),
              "there is no such local time in " + local.getId() + "; " + MEND));
    }
  }

  private void addTenant(Connection connection, @Nullable String tenant) throws SQLException {
    if (tenant == null) {
      if (!mapped.containsKey("tenant")) {
        throw usage(
            "say which column of "
                + table.label()
                + " is the tenant, as --map tenant=COLUMN, or the tenant of all its rows, as --tenant acme");
      }
      check(quoted("tenant") + " is null", "tenant", "every row has a tenant; " + MEND);
      selected.add(key("tenant", bound.tenantType()));
      named.add("'tenant=' || " + quoted("tenant") + "::text");
      return;
    }
    if (mapped.containsKey("tenant")) {
      throw usage("either --tenant or --map tenant=" + mapped.get("tenant") + ", not both");
    }
    String literal = Sql.literal(tenant) + "::" + bound.tenantType().sqlName();
    try {
      Sql.one(connection, "select " + literal + " is null", row -> row.getBoolean(1));
    } catch (SQLException e) {
      throw usage(
          "--tenant: '"
              + tenant
              + "' is not a "
              + bound.tenantType().sqlName()
              + ": "
              + Faults.message(e));
    }
    selected.add(literal);
  }

  private void addDimension(Dimension dimension, ColumnType type) {
    if (!mapped.containsKey(dimension.name())) {
      unknown.add(dimension.name());
      selected.add("null::" + type.sqlName());
      return;
    }
    selected.add(key(dimension.name(), type));
    named.add(
        Sql.literal(dimension.name() + "=")
            + " || coalesce("
            + quoted(dimension.name())
            + "::text, 'NULL')");
  }

  /** A tenant or dimension of its type. */
  private String key(String ours, ColumnType type) {
    if (type == ColumnType.TEXT) {
      String text = quoted(ours) + "::text";
      check(
          "octet_length(" + text + ") > " + BoundRollup.MOST_KEY_BYTES,
          ours,
          "that is longer than " + BoundRollup.MOST_KEY_BYTES + " bytes; shorten it in a view");
      return text;
    }
    return plain(ours, type);
  }

  /** A value of a type whose values are compared, and not only added up. */
  private String plain(String ours, ColumnType type) {
    if (type.isNumber()) {
      return number(ours, type);
    }
    if (type == ColumnType.TEXT) {
      return quoted(ours) + "::text";
    }
    if (column(ours).type().equals(type.sqlName())) {
      return quoted(ours);
    }
    throw unfit(ours, type.sqlName());
  }

  /** A number as one of another type, without losing anything of it. */
  private String number(String ours, ColumnType type) {
    String theirs = column(ours).type();
    String name = quoted(ours);
    boolean isFraction = FRACTIONS.contains(theirs);
    if (!isFraction && !INTEGERS.contains(theirs)) {
      throw unfit(ours, "a number");
    }
    if (isFraction) {
      check(
          name + " in ('NaN', 'Infinity', '-Infinity')",
          ours,
          "that is no number that can be added up; " + MEND);
    }
    return switch (type) {
      case SMALLINT, INTEGER, BIGINT -> {
        if (isFraction) {
          check(
              name + " <> trunc(" + name + ")",
              ours,
              "that is no whole number, and " + ours + " is of whole numbers; " + MEND);
        }
        if (isFraction || INTEGERS.indexOf(theirs) > INTEGERS.indexOf(type.sqlName())) {
          long most =
              type == ColumnType.SMALLINT
                  ? Short.MAX_VALUE
                  : type == ColumnType.INTEGER ? Integer.MAX_VALUE : Long.MAX_VALUE;
          check(
              "abs(" + name + "::numeric) > " + most,
              ours,
              "that is too much for a " + type.sqlName() + "; " + MEND);
        }
        yield name + "::" + type.sqlName();
      }
      case DOUBLE -> {
        if (theirs.equals("numeric")) {
          check(
              "abs(" + name + ") > 1.7e308",
              ours,
              "that is too much for a double precision; " + MEND);
        }
        yield name + "::double precision";
      }
      // As it is printed: a cast would round it to 15 digits, of a real to 6.
      case NUMERIC ->
          isFraction && !theirs.equals("numeric") ? name + "::text::numeric" : name + "::numeric";
      case TEXT, UUID, BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ, BYTEA, VARBIT ->
          throw unfit(ours, type.sqlName());
    };
  }

  private void addMeasure(Measure measure, List<StoredColumn> stored) {
    List<String> parts = mappable(measure);
    List<String> there = parts.stream().filter(mapped::containsKey).toList();
    if (there.isEmpty()) {
      unknown.add(measure.name());
      stored.forEach(column -> selected.add(Carry.nothing(column)));
      return;
    }
    String count =
        switch (measure.kind()) {
          case COUNT, DISTRIBUTION -> parts.getFirst();
          case SUM, MIN, MAX, LATEST, DISTINCT -> "";
        };
    if (!count.isEmpty() && !mapped.containsKey(count)) {
      throw usage(
          "map "
              + count
              + " too: of how many values a distribution is must be known, or the rest of it says nothing");
    }
    boolean isDistribution = measure.kind() == Measure.Kind.DISTRIBUTION;
    for (StoredColumn column : stored) {
      String name = column.name();
      if (!mapped.containsKey(name)) {
        if (isDistribution && !name.equals(measure.name() + "_nonfinite")) {
          unknown.add(name);
        }
        selected.add(Carry.nothing(column));
        continue;
      }
      String value = name.equals(count) ? count(count) : plain(name, column.type());
      if (isDistribution && !name.equals(count)) {
        addPartChecks(name, count, name.equals(parts.get(1)));
        // What stands beside no values, often a 0, is not one of them.
        value = "case when " + quoted(count) + " > 0 then " + value + " end";
      }
      selected.add(value);
      addTotal(measure, column, value);
    }
    if (there.contains(measure.name() + "_min") && there.contains(measure.name() + "_max")) {
      check(
          quoted(count)
              + " > 0 and "
              + quoted(measure.name() + "_min")
              + " > "
              + quoted(measure.name() + "_max"),
          measure.name() + "_min",
          "that is more than " + measure.name() + "_max of the same row; " + MEND);
    }
  }

  private String count(String ours) {
    check(quoted(ours) + " is null", ours, "a count is a number, 0 of nothing; " + MEND);
    String value = number(ours, ColumnType.BIGINT);
    check(quoted(ours) + " < 0", ours, "a count is never negative; " + MEND);
    return value;
  }

  private void addPartChecks(String ours, String count, boolean isSum) {
    check(
        quoted(count) + " > 0 and " + quoted(ours) + " is null",
        ours,
        "but " + count + " of the same row is not 0; " + MEND);
    if (isSum) {
      check(
          quoted(count) + " = 0 and " + quoted(ours) + " <> 0",
          ours,
          "but " + count + " of the same row is 0; " + MEND);
    }
  }

  private void addTotal(Measure measure, StoredColumn column, String value) {
    String aggregate =
        switch (measure.kind()) {
          case MIN -> "min";
          case MAX -> "max";
          case DISTRIBUTION ->
              column.name().endsWith("_min")
                  ? "min"
                  : column.name().endsWith("_max") ? "max" : "sum";
          case COUNT, SUM, LATEST, DISTINCT -> "sum";
        };
    totals.add(
        new Total(
            column.name(),
            mapped.getOrDefault(column.name(), ""),
            aggregate,
            column.type(),
            aggregate(aggregate, column.type(), value),
            aggregate(aggregate, column.type(), Sql.identifier(column.name())),
            aggregate.equals("sum") ? "sum(abs((" + value + ")::numeric))" : "null::numeric"));
  }

  private static String aggregate(String aggregate, ColumnType type, String value) {
    if (aggregate.equals("sum")) {
      return type == ColumnType.DOUBLE ? "sum(" + value + ")" : "sum((" + value + ")::numeric)";
    }
    if (type.isNumber()) {
      return aggregate + "(" + value + ")" + (type == ColumnType.DOUBLE ? "" : "::numeric");
    }
    // There is no min of booleans, and none of UUIDs before PostgreSQL 18; as text their order, and
    // that of times in ISO format, is the same.
    return aggregate + "((" + value + ")::text collate \"C\")";
  }

  /** The rows of a half-open range, as a condition. */
  String inRange(long from, long to) {
    return bucket + " >= " + FeedSql.instant(from) + " and " + bucket + " < " + FeedSql.instant(to);
  }
}
