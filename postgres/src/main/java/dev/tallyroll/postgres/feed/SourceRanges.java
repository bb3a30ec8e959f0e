package dev.tallyroll.postgres.feed;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;

/** Source rows of many ranges of time, in one query. */
public final class SourceRanges {
  /** With more ranges than this the rows between them are read as well, and passed over. */
  private static final int MOST_LOOKUPS = 2_000;

  private SourceRanges() {}

  /** The same ranges in order, those that touch made one. */
  public static List<Leaf.Range> union(List<Leaf.Range> ranges) {
    List<Leaf.Range> sorted = new ArrayList<>(ranges);
    sorted.sort(Comparator.comparingLong(Leaf.Range::from));
    List<Leaf.Range> union = new ArrayList<>();
    for (Leaf.Range range : sorted) {
      if (!union.isEmpty() && range.from() <= union.getLast().to()) {
        Leaf.Range last = union.removeLast();
        union.add(new Leaf.Range(last.from(), Math.max(last.to(), range.to())));
      } else {
        union.add(range);
      }
    }
    return union;
  }

  /** What is left of ranges without others. */
  public static List<Leaf.Range> difference(List<Leaf.Range> ranges, List<Leaf.Range> without) {
    List<Leaf.Range> left = ranges;
    for (Leaf.Range hole : without) {
      List<Leaf.Range> next = new ArrayList<>();
      for (Leaf.Range range : left) {
        if (hole.to() <= range.from() || range.to() <= hole.from()) {
          next.add(range);
          continue;
        }
        if (range.from() < hole.from()) {
          next.add(new Leaf.Range(range.from(), hole.from()));
        }
        if (hole.to() < range.to()) {
          next.add(new Leaf.Range(hole.to(), range.to()));
        }
      }
      left = next;
    }
    return left;
  }

  /** That the time of a row lies in one of these ranges, in SQL. */
  public static String contains(BoundRollup bound, List<Leaf.Range> ranges) {
    return ranges.stream()
            .map(range ->
                "["
                    + FeedSql.bound(range.from())
                    + ","
                    + FeedSql.bound(range.to())
                    + (range.to() == Long.MAX_VALUE ? "]" : ")"))
            .collect(Collectors.joining(",", "'{", "}'::tstzmultirange @> "))
        + bound.timeSql();
  }

  /**
   * More of a condition: without what is not counted of ranges that no backfill has published.
   *
   * @param uncovered these ranges
   * @param countsLive whether live rows, which are those of an append table, are counted in them
   */
  public static String counted(
      Installed installed, List<Leaf.Range> uncovered, boolean countsLive) {
    return uncovered.isEmpty()
        ? ""
        : " and not ("
            + contains(installed.bound(), uncovered)
            + (countsLive ? " and " + installed.isHistorySql() : "")
            + ")";
  }

  /**
   * The rows of these ranges.
   *
   * @param reader a connection to ask the catalogs with
   * @param ranges finite ranges, at least one, in order, none of which touch
   * @param and a condition more, or nothing
   */
  public static Branch of(Connection reader, BoundRollup bound, List<Leaf.Range> ranges, String and)
      throws SQLException {
    String span = FeedSql.inRange(bound, ranges.getFirst().from(), ranges.getLast().to()) + and;
    if (ranges.size() == 1) {
      return FeedSql.source(bound, span);
    }
    if (ranges.size() > MOST_LOOKUPS
        || !bound.table().hasIndexOn(reader, bound.rollup().source().time())) {
      return FeedSql.source(bound, span + " and " + contains(bound, ranges));
    }
    // OFFSET 0 keeps the planner from joining the ranges with the whole table.
    return Branch.in(
        "(select part.* from (values "
            + ranges.stream()
                .map(range ->
                    "(" + FeedSql.instant(range.from()) + ", " + FeedSql.instant(range.to()) + ")")
                .collect(Collectors.joining(", "))
            + ") tallyroll_ranges (tallyroll_range_from, tallyroll_range_to), lateral (select tableoid, ctid, * from "
            + bound.table().sqlName()
            + " where "
            + FeedSql.inRange(bound, "tallyroll_range_from", "tallyroll_range_to")
            + " and "
            + span
            + " offset 0) part) as "
            + Sql.identifier(bound.table().name()),
        "true");
  }
}
