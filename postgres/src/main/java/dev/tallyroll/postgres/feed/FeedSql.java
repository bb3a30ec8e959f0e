package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Snapshot;
import dev.tallyroll.postgres.session.Sql;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** The queries that read a source. */
public final class FeedSql {
  private FeedSql() {}

  /** What is selected of a source row: tenant, dimensions, time, then the measures' inputs. */
  public static String columns(BoundRollup bound) {
    List<String> columns = new ArrayList<>(bound.keySql());
    columns.add(bound.timeSql());
    columns.addAll(bound.inputsSql());
    return String.join(", ", columns);
  }

  /** The predicates that together select what {@code cursor} has not seen, and no row twice. */
  public static List<String> unreadPredicates(Snapshot cursor) {
    List<String> predicates = new ArrayList<>();
    predicates.add(BoundRollup.XID_COLUMN + " >= '" + cursor.xmax() + "'::xid8");
    if (!cursor.inProgress().isEmpty()) {
      // One per branch of UNION ALL and not OR, which would read the whole table.
      predicates.add(
          BoundRollup.XID_COLUMN
              + " = any ('{"
              + String.join(",", cursor.inProgress())
              + "}'::xid8[])");
    }
    return predicates;
  }

  /**
   * The rows that the cursor has not seen; in a newer snapshot these are the ones that became
   * visible since.
   */
  public static String unread(Installed installed, String selected, String and) {
    return unreadPredicates(installed.cursor()).stream()
        .map(predicate -> select(installed.bound(), selected, predicate + and))
        .collect(Collectors.joining(" union all "));
  }

  /** Rows of the source that meet a predicate. */
  public static String select(BoundRollup bound, String selected, String predicate) {
    return "select " + selected + " from " + bound.table().sqlName() + " where " + predicate;
  }

  /**
   * That the event time lies in a half-open range, in a form that an index on the time column
   * serves.
   */
  public static String inRange(BoundRollup bound, long from, long to) {
    String column = Sql.identifier(bound.rollup().source().time());
    String zone = bound.rollup().source().zone();
    if (zone == null) {
      return column + " >= " + instant(from) + " and " + column + " < " + instant(to);
    }
    // The local time is within a day of the instant's UTC time: wide bounds for the index, exact
    // ones for the answer.
    String day = "interval '1 day'";
    return column
        + " >= "
        + instant(from)
        + " at time zone 'UTC' - "
        + day
        + " and "
        + column
        + " < "
        + instant(to)
        + " at time zone 'UTC' + "
        + day
        + " and "
        + bound.timeSql()
        + " >= "
        + instant(from)
        + " and "
        + bound.timeSql()
        + " < "
        + instant(to);
  }

  /** A time as a literal. */
  public static String instant(long micros) {
    if (micros == Long.MIN_VALUE) {
      return "'-infinity'::timestamptz";
    }
    if (micros == Long.MAX_VALUE) {
      return "'infinity'::timestamptz";
    }
    return "'" + Times.format(micros) + "'::timestamptz";
  }
}
