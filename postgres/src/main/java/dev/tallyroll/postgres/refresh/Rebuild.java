package dev.tallyroll.postgres.refresh;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Marked;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.SortedMap;

/**
 * Computes whole UTC days of a rollup anew from the source, of all tenants or some, in the
 * refresh's transaction: where a marker in the change log says that rows cannot tell what happened,
 * after a TRUNCATE or an ATTACH. The days of zones follow at the end of the refresh, by a {@link
 * dev.tallyroll.postgres.merge.DayRebuild}.
 */
final class Rebuild {
  private final Connection writing;
  private final Feed feed;
  private final BoundRollup bound;
  private final SortedMap<Grain, Long> kept;
  private final SortedMap<Grain, Long> openFrom;
  private final long latest;

  Rebuild(
      Connection writing,
      Feed feed,
      Installed installed,
      SortedMap<Grain, Long> kept,
      long latest) {
    this.writing = writing;
    this.feed = feed;
    this.bound = installed.bound();
    this.kept = kept;
    this.openFrom = installed.openFrom();
    this.latest = latest;
  }

  /** Computes what is marked anew, and gives what was read. */
  Feed.Result run(Marked marked) throws SQLException {
    Leaf.Range range = marked.range();
    String bounds = marked.buckets(bound);
    for (Grain grain : bound.rollup().grains().keySet()) {
      if (grain.zone().isEmpty()) {
        Sql.run(writing, "delete from " + bound.grainTable(grain) + " where " + bounds);
      }
    }
    // What is in quarantine of this range is looked at again.
    Sql.run(
        writing,
        "delete from tallyroll.quarantine where "
            + FeedSql.entriesOf(bound, range.from(), range.to())
            + marked.tenants().andOfEntry(bound));
    Merger merger = new Merger(writing, bound, kept, openFrom);
    long keptFromAny =
        kept.values().stream().mapToLong(Long::longValue).min().orElse(Long.MIN_VALUE);
    return feed.read(
        List.of(FeedSql.source(bound, marked.rows(bound))),
        () ->
            new RowFold(
                bound,
                bound.rollup().foldGrain()::floor,
                range.from(),
                range.to(),
                latest,
                keptFromAny),
        fold -> merger.mergeFixed(fold.table()));
  }
}
