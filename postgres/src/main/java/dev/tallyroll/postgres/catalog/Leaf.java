package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.definition.Source;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.format.DateTimeParseException;
import java.time.temporal.ChronoField;
import java.time.temporal.TemporalAccessor;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A table of a source: the one that a definition names, or one below it at any depth. Immutable.
 *
 * @param oid its object id
 * @param schema its schema
 * @param name its name
 * @param kind as in {@code pg_class}
 * @param isRoot whether it is the one that the definition names
 * @param range the event times that it can hold, if its bounds or those above it tell
 * @param isRest whether it is the default partition of a division by time, which holds what no
 *     other one does
 * @param tenants the tenants that it can hold, as literals in SQL with commas between them, if its
 *     bounds or those above it tell; empty if it may hold any
 */
public record Leaf(
    long oid,
    String schema,
    String name,
    char kind,
    boolean isRoot,
    Optional<Range> range,
    boolean isRest,
    String tenants) {
  /**
   * A half-open range of times, in microseconds since the epoch; open ends are {@link
   * Long#MIN_VALUE} and {@link Long#MAX_VALUE}.
   */
  public record Range(long from, long to) {
    /** All times. */
    public static final Range ALL = new Range(Long.MIN_VALUE, Long.MAX_VALUE);

    /** The UTC days that it touches. */
    public Range days() {
      return new Range(
          from == Long.MIN_VALUE ? from : Grain.DAY.floor(from),
          to == Long.MAX_VALUE ? to : Grain.DAY.ceil(to));
    }

    /** The range in two columns of a row, {@code timestamptz}; empty if they are NULL. */
    public static Optional<Range> stored(ResultSet row, int column) throws SQLException {
      OffsetDateTime from = row.getObject(column, OffsetDateTime.class);
      OffsetDateTime to = row.getObject(column + 1, OffsetDateTime.class);
      return from == null || to == null
          ? Optional.empty()
          : Optional.of(
              new Range(
                  from.equals(OffsetDateTime.MIN) ? Long.MIN_VALUE : Times.micros(from.toInstant()),
                  to.equals(OffsetDateTime.MAX) ? Long.MAX_VALUE : Times.micros(to.toInstant())));
    }
  }

  /** The first column's bounds, and what follows the upper one. */
  private static final Pattern BOUNDS =
      Pattern.compile(
          "FOR VALUES FROM \\(('[^']*'|MINVALUE)(?:, .*)?\\) TO \\(('[^']*'|MAXVALUE)((?:, .*)?)\\)");

  private static final Pattern LIST = Pattern.compile("FOR VALUES IN \\((.*)\\)", Pattern.DOTALL);

  private static final Pattern LEAST = Pattern.compile("(, MINVALUE)*");

  private static final DateTimeFormatter TIME =
      new DateTimeFormatterBuilder()
          .appendPattern("uuuu-MM-dd HH:mm:ss")
          .appendFraction(ChronoField.NANO_OF_SECOND, 0, 6, true)
          .optionalStart()
          .appendPattern("X")
          .optionalEnd()
          .toFormatter(Locale.ROOT);

  /** The name to use in SQL, quoted. */
  public String sqlName() {
    return Sql.identifier(schema) + "." + Sql.identifier(name);
  }

  /**
   * All tables of a source as the connection's snapshot sees them, the source first; those that are
   * being detached not. Their ranges are known where they, or those above them, are partitions by
   * the source's time, or by it first; their tenants where they are partitions by a list of them.
   */
  public static List<Leaf> of(Connection connection, SourceTable table, Source source)
      throws SQLException {
    return of(connection, table, source.time(), source.tenant(), source.zone());
  }

  /** The same without their ranges and tenants. */
  public static List<Leaf> of(Connection connection, SourceTable table) throws SQLException {
    return of(connection, table, "", "", null);
  }

  private static List<Leaf> of(
      Connection connection, SourceTable table, String time, String tenant, @Nullable String zone)
      throws SQLException {
    record Found(Leaf leaf, long parent) {}
    List<Found> found =
        Sql.list(
            connection,
            """
            with recursive tree (oid, parent, depth) as (
              select ?::oid, null::oid, 0
              union all
              select i.inhrelid, i.inhparent, t.depth + 1 from pg_inherits i join tree t on t.oid = i.inhparent
              where not i.inhdetachpending)
            select t.oid::bigint, n.nspname, c.relname, c.relkind::text, t.parent is null, t.parent::bigint,
                   case when p.partstrat = 'r' and a.attname = ? and a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype)
                        then pg_get_expr(c.relpartbound, c.oid) end,
                   case when p.partstrat = 'l' and a.attname = ? and (l.collisdeterministic or p.partcollation[0] = 0)
                              and a.atttypid in ('text'::regtype, 'varchar'::regtype, 'uuid'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                        then pg_get_expr(c.relpartbound, c.oid) end
            from tree t join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
            left join pg_partitioned_table p on p.partrelid = t.parent
            left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
            left join pg_collation l on l.oid = p.partcollation[0]
            order by t.depth, c.relname
            """,
            row ->
                new Found(
                    new Leaf(
                        row.getLong(1),
                        row.getString(2),
                        row.getString(3),
                        row.getString(4).charAt(0),
                        row.getBoolean(5),
                        range(row.getString(7), zone),
                        "DEFAULT".equals(row.getString(7)),
                        tenants(row.getString(8))),
                    row.getLong(6)),
            table.oid(),
            time,
            tenant);
    Map<Long, Leaf> leaves = new LinkedHashMap<>();
    for (Found one : found) {
      Leaf leaf = one.leaf();
      Leaf parent = leaves.get(one.parent());
      leaves.put(leaf.oid(), parent == null ? leaf : leaf.below(parent));
    }
    return List.copyOf(leaves.values());
  }

  /** The same with what the table above says where it says nothing itself. */
  private Leaf below(Leaf parent) {
    return new Leaf(
        oid,
        schema,
        name,
        kind,
        isRoot,
        range.isPresent() ? range : parent.range,
        isRest,
        tenants.isEmpty() ? parent.tenants : tenants);
  }

  private static String tenants(@Nullable String bounds) {
    Matcher matcher = LIST.matcher(bounds == null ? "" : bounds);
    // NULL is no tenant, and would make a condition NULL; a tenant may be called so.
    return matcher.matches() && !matcher.group(1).contains("NULL") ? matcher.group(1) : "";
  }

  private static Optional<Range> range(@Nullable String bounds, @Nullable String zone) {
    Matcher matcher = BOUNDS.matcher(bounds == null ? "" : bounds);
    if (!matcher.matches()) {
      return Optional.empty();
    }
    try {
      long from = time(matcher.group(1), zone, false);
      long to = time(matcher.group(2), zone, true);
      // Rows at the upper bound itself, where other columns divide them further.
      boolean hasUpper = to < Long.MAX_VALUE && !LEAST.matcher(matcher.group(3)).matches();
      return Optional.of(new Range(from, hasUpper ? to + 1 : to));
    } catch (DateTimeParseException e) {
      // Before our era, or infinite: as good as unknown.
      return Optional.empty();
    }
  }

  private static long time(String bound, @Nullable String zone, boolean isEnd) {
    return switch (bound) {
      case "MINVALUE" -> Long.MIN_VALUE;
      case "MAXVALUE" -> Long.MAX_VALUE;
      default -> {
        TemporalAccessor time =
            TIME.parseBest(
                bound.substring(1, bound.length() - 1), OffsetDateTime::from, LocalDateTime::from);
        if (time instanceof LocalDateTime local) {
          ZonedDateTime there = local.atZone(ZoneId.of(zone == null ? "UTC" : zone));
          // A time that comes twice.
          yield Times.micros(
              (isEnd ? there.withLaterOffsetAtOverlap() : there.withEarlierOffsetAtOverlap())
                  .toInstant());
        }
        yield Times.micros(OffsetDateTime.from(time).toInstant());
      }
    };
  }
}
