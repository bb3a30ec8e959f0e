package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Snapshot;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** The queries that read a source. */
public final class FeedSql {
  private static final String LAST_TRANSACTION = "'" + Long.toUnsignedString(-1) + "'::xid8";

  private FeedSql() {}

  /** What is selected of a source row: tenant, dimensions, time, then the measures' inputs. */
  public static String columns(BoundRollup bound) {
    List<String> columns = new ArrayList<>(bound.keySql());
    columns.add(bound.timeSql());
    columns.addAll(bound.inputsSql());
    return String.join(", ", columns);
  }

  /** Rows of the source that meet a predicate. */
  public static Branch source(BoundRollup bound, String predicate) {
    return Branch.in(bound.table().sqlName(), predicate);
  }

  /**
   * The changes that the cursor has not seen, none of them twice; in a newer snapshot these are the
   * ones that became visible since. What was taken out comes first. Left out are changes that a
   * slice of the backfill has counted or will count, and changes of rows behind a seal, which
   * {@link #sealed} gives.
   */
  public static List<Branch> unread(Installed installed) {
    if (installed.log().isEmpty()) {
      // One branch each and not OR, which would read the whole table.
      return unreadPredicates(installed.cursor()).stream()
          .map(predicate -> source(installed.bound(), predicate))
          .toList();
    }
    String from = logName(installed);
    String time = installed.bound().timeSql();
    StringBuilder counted = new StringBuilder();
    for (Coverage.Days days : installed.coverage().uncovered()) {
      counted.append(" and not ").append(within(time, days));
    }
    for (Coverage.Counted slice : installed.counted()) {
      counted
          .append(" and not (")
          .append(within(time, slice.days()))
          .append(" and pg_visible_in_snapshot(")
          .append(BoundRollup.XID_COLUMN)
          .append(", '")
          .append(slice.seen().text())
          .append("'::pg_snapshot))");
    }
    String sealed = sealed(installed, time);
    String unread = unreadPredicate(installed.cursor());
    return List.of(
        new Branch(
            from,
            unread
                + " and "
                + ChangeLog.SIGN
                + " < 0"
                + counted
                + (sealed.isEmpty() ? "" : " and not " + sealed),
            true),
        new Branch(
            from,
            unread
                + " and "
                + ChangeLog.SIGN
                + " > 0"
                + counted
                + (sealed.isEmpty()
                    ? ""
                    : " and not (" + ChangeLog.SIGN + " > 1 and " + sealed + ")"),
            false));
  }

  /** The unread changes of rows behind a seal: what was updated or deleted there. */
  public static List<Branch> sealed(Installed installed) {
    String sealed = sealed(installed, installed.bound().timeSql());
    if (installed.log().isEmpty() || sealed.isEmpty()) {
      return List.of();
    }
    return List.of(
        Branch.in(
            logName(installed),
            unreadPredicate(installed.cursor())
                + " and "
                + ChangeLog.SIGN
                + " not in (0, 1, -3) and "
                + sealed));
  }

  /** The unread markers: ranges that must be computed anew. */
  public static List<Branch> markers(Installed installed) {
    return installed.log().isEmpty()
        ? List.of()
        : List.of(
            Branch.in(
                logName(installed),
                unreadPredicate(installed.cursor()) + " and " + isMarker(installed)));
  }

  /** Those of tables that were detached are no business of the source. */
  private static String isMarker(Installed installed) {
    String root = installed.bound().table().oid() + "::oid";
    return ChangeLog.SIGN
        + " = 0 and ("
        + ChangeLog.LEAF
        + " = "
        + root
        + " or "
        + ChangeLog.LEAF
        + " in (select relid from pg_partition_tree("
        + root
        + ")))";
  }

  /** The changes of rows in a range that the connection sees and a snapshot did not. */
  public static List<Branch> changesSince(
      Installed installed, String snapshot, long from, long to) {
    String time = installed.bound().timeSql();
    String sealed = sealed(installed, time);
    String predicate =
        since(snapshot)
            + " and "
            + time
            + " >= "
            + instant(from)
            + " and "
            + time
            + " < "
            + instant(to)
            + (sealed.isEmpty() ? "" : " and not (" + ChangeLog.SIGN + " <> 1 and " + sealed + ")");
    return List.of(
        new Branch(logName(installed), predicate + " and " + ChangeLog.SIGN + " < 0", true),
        new Branch(logName(installed), predicate + " and " + ChangeLog.SIGN + " > 0", false));
  }

  /** The markers that the connection sees and a snapshot did not. */
  public static List<Branch> markersSince(Installed installed, String snapshot) {
    return List.of(Branch.in(logName(installed), since(snapshot) + " and " + isMarker(installed)));
  }

  /** The least of what a snapshot has not seen serves the index, the rest is exact. */
  private static String since(String snapshot) {
    return BoundRollup.XID_COLUMN
        + " >= pg_snapshot_xmin('"
        + snapshot
        + "') and not pg_visible_in_snapshot("
        + BoundRollup.XID_COLUMN
        + ", '"
        + snapshot
        + "')";
  }

  /** The change log under the source's own name, by which expressions may call it. */
  private static String logName(Installed installed) {
    return installed.feedName() + " as " + Sql.identifier(installed.bound().table().name());
  }

  private static String sealed(Installed installed, String time) {
    return installed.seals().isEmpty()
        ? ""
        : installed.seals().stream()
            .map(seal ->
                "("
                    + time
                    + " >= "
                    + instant(seal.range().from())
                    + " and "
                    + time
                    + " < "
                    + instant(seal.range().to())
                    + " and not pg_visible_in_snapshot("
                    + BoundRollup.XID_COLUMN
                    + ", '"
                    + seal.seen().text()
                    + "'::pg_snapshot))")
            .collect(Collectors.joining(" or ", "(", ")"));
  }

  private static String within(String time, Coverage.Days days) {
    return "("
        + time
        + " >= "
        + instant(Times.micros(days.from()))
        + " and "
        + time
        + " < "
        + instant(Times.micros(days.to()))
        + ")";
  }

  /** The predicates that together select what {@code cursor} has not seen, and no row twice. */
  private static List<String> unreadPredicates(Snapshot cursor) {
    List<String> predicates = new ArrayList<>();
    predicates.add(notBefore("'" + cursor.xmax() + "'::xid8"));
    if (!cursor.inProgress().isEmpty()) {
      predicates.add(
          BoundRollup.XID_COLUMN
              + " = any ('{"
              + String.join(",", cursor.inProgress())
              + "}'::xid8[])");
    }
    return predicates;
  }

  /**
   * That a row was written by a transaction or a later one. Where the planner has no statistics of
   * the column, or does not know which transaction, it takes a third of the table for later than
   * one, and reads all of it; of what lies between two it expects little, and uses the index.
   *
   * <p>Source: {@code DEFAULT_INEQ_SEL} and {@code DEFAULT_RANGE_INEQ_SEL} in PostgreSQL's
   * selfuncs.h.
   */
  public static String notBefore(String transaction) {
    return BoundRollup.XID_COLUMN
        + " >= "
        + transaction
        + " and "
        + BoundRollup.XID_COLUMN
        + " <= "
        + LAST_TRANSACTION;
  }

  /** The same as one, for a change log, whose partitions are small, or have an index for it. */
  private static String unreadPredicate(Snapshot cursor) {
    return "(" + String.join(" or ", unreadPredicates(cursor)) + ")";
  }

  /** Whether there is a row in any of these branches; at least one. */
  public static boolean exists(Connection connection, List<Branch> branches) throws SQLException {
    return Sql.one(
        connection, "select exists (" + select(branches, "") + ")", row -> row.getBoolean(1));
  }

  /** A query over several branches. */
  public static String select(List<Branch> branches, String selected) {
    return branches.stream()
        .map(branch -> branch.select(selected))
        .collect(Collectors.joining(" union all "));
  }

  /**
   * What tells a row of the source or its log from others in the quarantine: the columns that the
   * definition reads.
   */
  public static String key(BoundRollup bound) {
    return ChangeLog.image(bound.sourceColumns());
  }

  /** The same of an entry of the quarantine, which may hold more. */
  public static String keyOfEntry(BoundRollup bound) {
    return "(select jsonb_object_agg(tallyroll_k, source_row->tallyroll_k) from unnest(array["
        + bound.sourceColumns().stream().map(Sql::literal).collect(Collectors.joining(", "))
        + "]::text[]) tallyroll_k)";
  }

  /** A source row as quarantine keeps it: of a changing source just what the definition reads. */
  public static String image(BoundRollup bound) {
    return bound.isChanging()
        ? ChangeLog.image(bound.sourceColumns())
        : "(to_jsonb("
            + Sql.identifier(bound.table().name())
            + ".*) - '"
            + BoundRollup.XID_COLUMN
            + "')";
  }

  /**
   * A condition that leaves out what is in quarantine, which is in no bucket, also when its reason
   * is gone by now, as a time that lay ahead. Empty if nothing is.
   */
  public static String notQuarantined(Connection connection, BoundRollup bound)
      throws SQLException {
    String of = "tallyroll.quarantine where kind = 'row' and rollup = " + Sql.literal(bound.name());
    return Sql.one(connection, "select exists (select from " + of + ")", row -> row.getBoolean(1))
        ? " and " + key(bound) + " not in (select " + keyOfEntry(bound) + " from " + of + ")"
        : "";
  }

  /**
   * The entries of the quarantine whose rows have an event time in a half-open range, as a
   * condition over its table.
   */
  public static String entriesOf(BoundRollup bound, long from, long to) {
    String column = Sql.literal(bound.rollup().source().time());
    String time = "(source_row->>" + column + ")";
    String zone = bound.rollup().source().zone();
    // CASE, since other entries have no such time to cast.
    return "rollup = "
        + Sql.literal(bound.name())
        + " and case when kind <> 'bucket' and jsonb_exists(source_row, "
        + column
        + ") then "
        + (zone == null
            ? time + "::timestamptz"
            : "(" + time + "::timestamp at time zone " + Sql.literal(zone) + ")")
        + " between "
        + instant(from)
        + " and "
        + instant(to == Long.MAX_VALUE ? to : to - 1)
        + " else false end";
  }

  /**
   * That the event time lies in a half-open range, in a form that an index on the time column
   * serves.
   */
  public static String inRange(BoundRollup bound, long from, long to) {
    return inRange(bound, instant(from), instant(to));
  }

  /** The same between two instants in SQL. */
  public static String inRange(BoundRollup bound, String from, String to) {
    String column = Sql.identifier(bound.rollup().source().time());
    String time = bound.timeSql();
    String exact = time + " >= " + from + " and " + time + " < " + to;
    if (bound.rollup().source().zone() == null) {
      return exact;
    }
    // The local time is within a day of the instant's UTC time: wide bounds for the index, exact
    // ones for the answer.
    String day = "interval '1 day'";
    return column
        + " >= ("
        + from
        + ") at time zone 'UTC' - "
        + day
        + " and "
        + column
        + " < ("
        + to
        + ") at time zone 'UTC' + "
        + day
        + " and "
        + exact;
  }

  /**
   * A query for the least and the greatest event time of a source, both NULL if it has no rows; a
   * time without a zone is read as one of UTC, which is within a day of what it stands for.
   *
   * @param before rows of this time and later are left out, in the type of the time column
   */
  public static String extent(BoundRollup bound, String before) {
    String column = Sql.identifier(bound.rollup().source().time());
    String zone = bound.rollup().source().zone() == null ? "" : " at time zone 'UTC'";
    return "select min("
        + column
        + ")"
        + zone
        + ", max("
        + column
        + ")"
        + zone
        + " from "
        + bound.table().sqlName()
        + " where "
        + column
        + " > '-infinity' and "
        + column
        + " < "
        + before;
  }

  /** A time as a literal. */
  public static String instant(long micros) {
    return "'" + bound(micros) + "'::timestamptz";
  }

  /** A time as it stands in a literal. */
  static String bound(long micros) {
    if (micros == Long.MIN_VALUE) {
      return "-infinity";
    }
    return micros == Long.MAX_VALUE ? "infinity" : Times.format(micros);
  }
}
