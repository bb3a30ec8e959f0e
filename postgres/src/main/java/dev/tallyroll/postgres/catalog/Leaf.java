package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.format.DateTimeParseException;
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
 */
public record Leaf(
    long oid, String schema, String name, char kind, boolean isRoot, Optional<Range> range) {
  /**
   * A half-open range of times, in microseconds since the epoch; open ends are {@link
   * Long#MIN_VALUE} and {@link Long#MAX_VALUE}.
   */
  public record Range(long from, long to) {}

  private static final Pattern BOUNDS =
      Pattern.compile("FOR VALUES FROM \\(('[^']*'|MINVALUE)\\) TO \\(('[^']*'|MAXVALUE)\\)");
  private static final DateTimeFormatter INSTANT =
      new DateTimeFormatterBuilder()
          .appendPattern("uuuu-MM-dd HH:mm:ss")
          .appendFraction(java.time.temporal.ChronoField.NANO_OF_SECOND, 0, 6, true)
          .appendPattern("X")
          .toFormatter(Locale.ROOT);

  /** The name to use in SQL, quoted. */
  public String sqlName() {
    return Sql.identifier(schema) + "." + Sql.identifier(name);
  }

  /**
   * All tables of a source as the connection's snapshot sees them, the source first; those that are
   * being detached not.
   */
  public static List<Leaf> of(Connection connection, SourceTable table, String timeColumn)
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
                   case when p.partnatts = 1 and p.partstrat = 'r' and a.attname = ? and a.atttypid = 'timestamptz'::regtype
                        then pg_get_expr(c.relpartbound, c.oid) end
            from tree t join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
            left join pg_partitioned_table p on p.partrelid = t.parent
            left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
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
                        range(row.getString(7))),
                    row.getLong(6)),
            table.oid(),
            timeColumn);
    Map<Long, Leaf> leaves = new LinkedHashMap<>();
    for (Found one : found) {
      Leaf leaf = one.leaf();
      Leaf parent = leaves.get(one.parent());
      leaves.put(
          leaf.oid(),
          leaf.range().isPresent() || parent == null
              ? leaf
              : new Leaf(
                  leaf.oid(),
                  leaf.schema(),
                  leaf.name(),
                  leaf.kind(),
                  leaf.isRoot(),
                  parent.range()));
    }
    return List.copyOf(leaves.values());
  }

  private static Optional<Range> range(@Nullable String bounds) {
    Matcher matcher = BOUNDS.matcher(bounds == null ? "" : bounds);
    if (!matcher.matches()) {
      return Optional.empty();
    }
    try {
      return Optional.of(new Range(time(matcher.group(1)), time(matcher.group(2))));
    } catch (DateTimeParseException e) {
      // Before our era, or infinite: as good as unknown.
      return Optional.empty();
    }
  }

  private static long time(String bound) {
    return switch (bound) {
      case "MINVALUE" -> Long.MIN_VALUE;
      case "MAXVALUE" -> Long.MAX_VALUE;
      default ->
          Times.micros(
              OffsetDateTime.parse(bound.substring(1, bound.length() - 1), INSTANT).toInstant());
    };
  }
}
