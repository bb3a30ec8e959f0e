package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * Computes groups anew from the rows of the source, in the reader's snapshot. What is in quarantine
 * is left out. For one thread.
 */
public final class Recompute {
  private static final int MOST_TENANTS = 500;

  private final Connection reader;
  private final BoundRollup bound;
  private final String counted;
  private final long latest;

  /**
   * For a rollup's source.
   *
   * @param reader where source rows are read, in a transaction of one snapshot that has locked the
   *     source before
   * @param installed the rollup
   * @param uncovered ranges of history that are not published; of an append table live rows count
   *     in them nevertheless
   * @param latest the latest event time that is believed
   */
  public Recompute(
      Connection reader, Installed installed, List<Leaf.Range> uncovered, long latest) {
    this.reader = reader;
    this.bound = installed.bound();
    this.counted = SourceRanges.counted(installed, uncovered, installed.log().isEmpty());
    this.latest = latest;
  }

  /**
   * The groups as the source's rows give them; those without a row are missing in the result.
   *
   * @param grain the grain of their buckets
   * @param wanted the groups; its keys are shared by the result
   */
  public PartialTable groups(Grain grain, PartialTable wanted) throws SQLException {
    PartialTable result = new PartialTable(wanted.keys(), bound.newColumns());
    Feed feed = new Feed(reader, null, bound, latest, Feed.Meter.NONE, Long.MAX_VALUE);
    feed.read(
        List.of(branch(grain, wanted)),
        () -> RowFold.ofGroups(bound, grain::floor, latest, wanted),
        fold -> fold.table().mergeInto(result, bucket -> bucket));
    return result;
  }

  private Branch branch(Grain grain, PartialTable wanted) throws SQLException {
    TreeSet<Long> buckets = new TreeSet<>();
    Set<String> tenants = new LinkedHashSet<>();
    for (int group = 0; group < wanted.size(); group++) {
      buckets.add(wanted.bucket(group));
      if (tenants.size() <= MOST_TENANTS) {
        Object tenant = bound.decodeKey(wanted.keys(), wanted.key(group)).getFirst();
        tenants.add(Sql.literal(String.valueOf(tenant)) + "::" + bound.tenantType().sqlName());
      }
    }
    String and = counted + FeedSql.notQuarantined(reader, bound);
    if (tenants.size() <= MOST_TENANTS) {
      and +=
          " and "
              + Sql.identifier(bound.rollup().source().tenant())
              + " in ("
              + String.join(", ", tenants)
              + ")";
    }
    List<Leaf.Range> ranges =
        SourceRanges.union(
            buckets.stream().map(bucket -> new Leaf.Range(bucket, grain.end(bucket))).toList());
    return SourceRanges.of(reader, bound, ranges, and);
  }
}
