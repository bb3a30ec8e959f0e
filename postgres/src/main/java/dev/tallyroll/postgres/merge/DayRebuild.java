package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Marked;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.StoredDays;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Computes whole days of zones anew, in the caller's transaction, which holds the rollup's lock and
 * has brought all fixed grains up to date. For one thread.
 *
 * <p>A day of a zone begins and ends within UTC days, so where a range of UTC days is computed
 * anew, the days at its edges are in part outside of it. They are made of what is stored of a finer
 * grain, which is right whatever has become of the source; only where none is kept any more, from
 * the source; and a day that is sealed in part, and of which no finer buckets are kept, stays as it
 * is and goes to quarantine.
 */
public final class DayRebuild {
  private static final String CHANGED =
      "rows of a part of this day were taken out or put in as a whole, and the rest of it is sealed: what is stored is of before";

  private static final String MOVED =
      "by other time zone data this day begins at another time, and it is sealed: what is stored is the day that began when it was stored";

  private final Connection writing;
  private final Connection reading;
  private final Installed installed;
  private final BoundRollup bound;
  private final SortedMap<Grain, Long> kept;
  private final boolean countsLive;
  private final long latest;

  /**
   * For a rollup.
   *
   * @param writing the writer's connection
   * @param reading where source rows are read, in the same snapshot; has locked the source before
   * @param installed the rollup
   * @param kept for each grain the oldest bucket to keep
   * @param countsLive whether live rows count in days that are not filled yet
   * @param latest the latest event time that is believed
   */
  public DayRebuild(
      Connection writing,
      Connection reading,
      Installed installed,
      SortedMap<Grain, Long> kept,
      boolean countsLive,
      long latest) {
    this.writing = writing;
    this.reading = reading;
    this.installed = installed;
    this.bound = installed.bound();
    this.kept = kept;
    this.countsLive = countsLive;
    this.latest = latest;
  }

  /**
   * Computes the days of all zones that touch what is marked.
   *
   * @param marked any range
   * @param again that of which the entries in quarantine are looked at again, and so are no reason
   *     to leave a row out
   */
  public void run(Marked marked, List<Marked> again) throws SQLException {
    for (Grain grain : bound.rollup().grains().keySet()) {
      if (grain.zone().isPresent()) {
        run(grain, marked, again, CHANGED);
      }
    }
  }

  /**
   * Gives the stored days of a zone whose starts have moved their new ones, before anything is
   * merged into these: what lies between an old start and the new one stays with the day that it
   * was counted in, unless the days can be computed anew.
   */
  public void move(Grain days, StoredDays.Moved moved) throws SQLException {
    // A partition is never missing but for the first day of a year.
    List<Map.Entry<Long, Long>> starts =
        moved.starts().entrySet().stream()
            .filter(start ->
                Partitions.start(days, start.getKey()) == Partitions.start(days, start.getValue()))
            .toList();
    Sql.update(
        writing,
        "update "
            + bound.grainTable(days)
            + " set bucket = 'epoch'::timestamptz + now * interval '1 microsecond'"
            + " from unnest(?::bigint[], ?::bigint[]) moved (before, now)"
            + " where bucket = 'epoch'::timestamptz + before * interval '1 microsecond'",
        writing.createArrayOf("bigint", starts.stream().map(Map.Entry::getKey).toArray()),
        writing.createArrayOf("bigint", starts.stream().map(Map.Entry::getValue).toArray()));
  }

  /** Computes the days of a zone anew whose starts have moved, once all is merged. */
  public void run(Grain days, StoredDays.Moved moved) throws SQLException {
    run(days, Marked.ofAll(moved.range()), List.of(), MOVED);
  }

  /** Computes the days of one zone that touch what is marked. */
  private void run(Grain days, Marked marked, List<Marked> again, String otherwise)
      throws SQLException {
    Leaf.Range range = marked.range();
    long from = Math.max(days.floor(range.from()), keptFrom(days));
    long to = range.to() == Long.MAX_VALUE ? Long.MAX_VALUE : days.ceil(range.to());
    if (from >= to) {
      return;
    }
    Carry.Origin origin = Carry.finer(bound, kept, days);
    long since = Math.clamp(origin.since(), from, to);
    if (from < since) {
      Leaf.Range old = new Leaf.Range(from, since);
      List<Leaf.Range> told =
          SourceRanges.difference(
              List.of(old),
              installed.seals().stream().map(seal -> whole(days, seal.range())).toList());
      for (Leaf.Range lost : SourceRanges.difference(List.of(old), told)) {
        quarantine(days, new Marked(lost, marked.tenants()), otherwise);
      }
      for (Leaf.Range part : told) {
        Marked these = new Marked(part, marked.tenants());
        delete(days, these);
        fold(days, these, again);
      }
    }
    if (since < to) {
      Leaf.Range rest = new Leaf.Range(since, to);
      delete(days, Marked.ofAll(rest));
      new Carry(writing, installed, bound, kept, installed.openFrom())
          .fill(origin.grain(), days, rest);
    }
  }

  private static Leaf.Range whole(Grain days, Leaf.Range range) {
    return new Leaf.Range(
        days.floor(range.from()),
        range.to() == Long.MAX_VALUE ? Long.MAX_VALUE : days.ceil(range.to()));
  }

  private long keptFrom(Grain days) {
    return Math.max(days.ceil(Long.MIN_VALUE), kept.getOrDefault(days, Long.MIN_VALUE));
  }

  private void delete(Grain days, Marked marked) throws SQLException {
    Sql.run(writing, "delete from " + bound.grainTable(days) + " where " + marked.buckets(bound));
  }

  /** Merges what the source has of a range. */
  private void fold(Grain days, Marked marked, List<Marked> again) throws SQLException {
    Leaf.Range range = marked.range();
    String predicate =
        marked.rows(bound) + SourceRanges.counted(installed, installed.uncovered(), countsLive);
    String known = FeedSql.notQuarantined(reading, bound);
    List<Branch> branches = new ArrayList<>();
    if (again.isEmpty()) {
      branches.add(FeedSql.source(bound, predicate + known));
    } else {
      String inside = Marked.contains(bound, again);
      branches.add(FeedSql.source(bound, predicate + " and " + inside));
      branches.add(FeedSql.source(bound, predicate + " and not " + inside + known));
    }
    Merger merger = new Merger(writing, bound, kept, installed.openFrom());
    new Feed(reading, null, bound, latest, Feed.Meter.NONE, Feed.defaultHeapBudget())
        .read(
            branches,
            () -> new RowFold(bound, days::floor, range.from(), range.to(), latest, Long.MIN_VALUE),
            fold -> merger.merge(days, fold.table()));
  }

  /** Notes the stored days of a range, which can be computed from nothing any more. */
  private void quarantine(Grain days, Marked marked, String reason) throws SQLException {
    String key =
        IntStream.range(0, bound.keys())
            .mapToObj(i -> bound.keyColumns().get(i) + "::text")
            .collect(Collectors.joining(", ", "array[", "]"));
    Sql.run(
        writing,
        "insert into tallyroll.quarantine (rollup, kind, reason, tenant, source_row) select "
            + Sql.literal(bound.name())
            + ", 'bucket', "
            + Sql.literal(reason)
            + ", tenant::text, jsonb_build_object('grain', "
            + Sql.literal(days.label())
            + ", 'bucket', to_char(bucket at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'key', "
            + key
            + ") from "
            + bound.grainTable(days)
            + " where "
            + marked.buckets(bound));
  }
}
