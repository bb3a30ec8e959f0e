package dev.tallyroll.postgres.query;

import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tile;
import dev.tallyroll.model.time.Tiling;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.feed.Tenants;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.NavigableSet;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;

/**
 * The changes that no refresh has merged yet, as a question sees them: what was put in is added to
 * what is stored, and where something was taken out the source is read instead.
 */
final class Unmerged {
  private final Question question;
  private final Connection connection;
  private final Installed installed;
  private final BoundRollup projected;

  Unmerged(Question question) {
    this.question = question;
    this.connection = question.connection;
    this.installed = question.installed;
    this.projected = question.projected;
  }

  /**
   * What is to be done about changes that are not merged.
   *
   * @param tenants of whom rows were taken out
   * @param tiles what is read of these tenants: all but the buckets in which such rows were
   * @param recomputed the ranges of these buckets: they are read from the source
   * @param asOf what to say where that cannot be done, so that the answer is as of the last refresh
   */
  record Changes(
      Set<String> tenants,
      Map<Grain, List<Tile>> tiles,
      List<Leaf.Range> recomputed,
      Optional<String> asOf) {
    static final Changes NONE = new Changes(Set.of(), Map.of(), List.of(), Optional.empty());
  }

  /**
   * Finds the buckets from which rows were taken out since the last refresh, and cuts the tiles
   * into finer ones around them. What is stored of other tenants is right, and may be all there is.
   */
  Changes find(Map<Grain, List<Tile>> tiles) throws SQLException {
    if (!SourceVisibility.ofCurrent(connection, installed.bound().table())) {
      return asOf("row-level security may hide from this role what was written");
    }
    if (installed.log().isEmpty()) {
      return Changes.NONE;
    }
    if (installed.hasOtherLeaves()) {
      return asOf("a table was attached to the source or taken from it");
    }
    if (FeedSql.exists(connection, FeedSql.markers(installed))) {
      return asOf("the source was truncated or attached to");
    }
    Grain finest = projected.rollup().foldGrain();
    List<Branch> out =
        FeedSql.unread(installed).stream()
            .filter(Branch::isOut)
            .map(branch ->
                branch.and(
                    question.sourceFilter
                        + " and "
                        + FeedSql.inRange(projected, question.from(), question.to())))
            .toList();
    record Out(Set<String> tenants, TreeSet<Long> buckets) {}
    Out taken =
        Sql.one(
            connection,
            "select coalesce(array_agg(distinct tenant::text), '{}'), coalesce(array_agg(distinct (extract(epoch from date_bin('"
                + finest.width().toSeconds()
                + " seconds', t, 'epoch'::timestamptz)) * 1000000)::bigint), '{}') from ("
                + FeedSql.select(
                    out,
                    projected.keySql().getFirst() + " as tenant, " + projected.timeSql() + " as t")
                + ") times",
            row ->
                new Out(
                    new TreeSet<>(List.of((String[]) row.getArray(1).getArray())),
                    new TreeSet<>(List.of((Long[]) row.getArray(2).getArray()))));
    TreeSet<Long> affected = taken.buckets();
    if (affected.isEmpty()) {
      return Changes.NONE;
    }
    Map<Grain, List<Tile>> around = new TreeMap<>();
    List<Leaf.Range> ranges = new ArrayList<>();
    tiles.values().forEach(list -> list.forEach(tile -> cut(tile, affected, around, ranges)));
    around.values().forEach(list -> list.sort(Comparator.comparingLong(Tile::start)));
    if (ranges.stream().anyMatch(range -> installed.isSealed(range.from(), range.to()))) {
      return asOf("rows were updated or deleted in a bucket that is sealed in part");
    }
    return new Changes(taken.tenants(), around, SourceRanges.union(ranges), Optional.empty());
  }

  private Changes asOf(String reason) throws SQLException {
    String last =
        Sql.one(
            connection,
            "select coalesce(to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'the installation')"
                + " from tallyroll.refresh where rollup = ?",
            row -> row.getString(1),
            question.request.rollup());
    return new Changes(
        Set.of(),
        Map.of(),
        List.of(),
        Optional.of("as of " + last + ", the last refresh: " + reason + " since"));
  }

  private void cut(
      Tile tile,
      NavigableSet<Long> affected,
      Map<Grain, List<Tile>> tiles,
      List<Leaf.Range> ranges) {
    Long first = affected.ceiling(tile.start());
    if (first == null || first >= tile.end()) {
      tiles.computeIfAbsent(tile.grain(), grain -> new ArrayList<>()).add(tile);
      return;
    }
    if (tile.end() > tile.grain().end(tile.start())) {
      long end;
      for (long start = tile.start(); start < tile.end(); start = end) {
        end = tile.grain().end(start);
        cut(new Tile(tile.grain(), start, end), affected, tiles, ranges);
      }
      return;
    }
    Optional<Grain> finer = Tiling.finer(installed.keptFrom(), tile.grain(), tile.start());
    if (finer.isPresent()) {
      cut(new Tile(finer.get(), tile.start(), tile.end()), affected, tiles, ranges);
    } else {
      ranges.add(new Leaf.Range(tile.start(), tile.end()));
    }
  }

  /** Adds the rows that are committed and not merged, and what is recomputed. */
  void read(Changes changes, PartialTable table) throws SQLException {
    List<Leaf.Range> recomputed = changes.recomputed();
    String ofTenants =
        recomputed.isEmpty() ? "" : Tenants.of(changes.tenants()).andOfRow(projected);
    long latest = Times.micros(question.now.plus(Refresher.MOST_AHEAD));
    String range =
        question.sourceFilter
            + " and "
            + FeedSql.inRange(projected, question.from(), question.to());
    String elsewhere =
        recomputed.isEmpty()
            ? ""
            : " and not (" + SourceRanges.contains(projected, recomputed) + ofTenants + ")";
    Feed feed =
        new Feed(connection, null, projected, latest, Feed.Meter.NONE, Long.MAX_VALUE)
            .readingOnce();
    List<Branch> branches =
        FeedSql.unread(installed).stream()
            .filter(branch -> !branch.isOut())
            .map(branch -> branch.and(range + elsewhere))
            .collect(Collectors.toCollection(ArrayList::new));
    if (!recomputed.isEmpty()) {
      branches.add(
          SourceRanges.of(
              connection,
              projected,
              recomputed,
              question.sourceFilter + ofTenants + FeedSql.notQuarantined(connection, projected)));
    }
    feed.read(
        branches,
        () ->
            new RowFold(
                projected,
                question.buckets::indexOf,
                question.from(),
                question.to(),
                latest,
                installed.keptFromAny()),
        fold -> fold.table().mergeInto(table, bucket -> bucket));
  }
}
