package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;

/**
 * A rollup that is installed and live, as one snapshot sees it. Immutable.
 *
 * @param bound the rollup and its source
 * @param anchor the snapshot after the capture was in place
 * @param cursor the snapshot of the last refresh
 * @param coverage which part of history is published
 * @param keptFrom for each grain the start of the oldest bucket that is complete, {@link
 *     Long#MIN_VALUE} for all
 * @param openFrom for each grain that leaves buckets open the start of the first open one, {@link
 *     Long#MAX_VALUE} for none
 * @param source the number of its source
 * @param log the source's change log; there is one if this rollup reads it
 * @param counted slices that no refresh has gone past yet
 * @param seals ranges whose source rows are gone or going
 * @param hasOtherLeaves whether tables were added to the source or taken from it that no refresh
 *     has seen
 * @param movedDays grains whose days are stored as other time zone data has them
 * @param starts from when on measures and dimensions are known that were added when the source rows
 *     of an earlier time were gone
 * @param keepTime up to which moment of the clock keep is applied
 */
public record Installed(
    BoundRollup bound,
    Snapshot anchor,
    Snapshot cursor,
    Coverage coverage,
    SortedMap<Grain, Long> keptFrom,
    SortedMap<Grain, Long> openFrom,
    long source,
    Optional<ChangeLog> log,
    List<Coverage.Counted> counted,
    List<Seal> seals,
    boolean hasOtherLeaves,
    Set<Grain> movedDays,
    Map<String, Long> starts,
    KeepTime keepTime) {
  /**
   * A range whose source rows are gone or going.
   *
   * @param range the range
   * @param seen changes that this snapshot sees were made before; later ones are behind the seal
   */
  public record Seal(Leaf.Range range, Snapshot seen) {}

  /**
   * Checks that a rollup is what it was before its lock was waited for.
   *
   * @throws SQLException with the state of a serialization failure if its definition has changed:
   *     all is to be done over
   */
  public void checkSame(Installed before) throws SQLException {
    if (!bound.rollup().text().equals(before.bound.rollup().text()) || source != before.source) {
      throw new SQLException("the definition of '" + name() + "' was changed meanwhile", "40001");
    }
  }

  /** What its changes are read from: the source itself, or its change log. */
  public String feedName() {
    return log.map(ChangeLog::sqlName).orElseGet(() -> bound.table().sqlName());
  }

  /** All that must be locked before a snapshot in which changes are read: source, and log. */
  public String feedLocks() {
    return bound.table().sqlName() + log.map(one -> ", " + one.sqlName()).orElse("");
  }

  /**
   * The index of the measure that counts all rows of a bucket, which tells when none is left; -1 if
   * there is none, or it began after the bucket.
   */
  public int rowCount(long bucket) {
    int count = bound.rowCount();
    return count >= 0
            && starts.getOrDefault(bound.rollup().measures().get(count).name(), Long.MIN_VALUE)
                > bucket
        ? -1
        : count;
  }

  /** Whether a part of a range is sealed. */
  public boolean isSealed(long from, long to) {
    return seals.stream().anyMatch(seal -> seal.range().from() < to && from < seal.range().to());
  }

  /** The name of the rollup. */
  public String name() {
    return bound.name();
  }

  /** The source rows that are history, in SQL. */
  public String isHistorySql() {
    return "("
        + BoundRollup.XID_COLUMN
        + " is null or pg_visible_in_snapshot("
        + BoundRollup.XID_COLUMN
        + ", '"
        + anchor.text()
        + "'::pg_snapshot))";
  }

  /** The start of the first bucket of a grain that is not stored since it has not ended. */
  public long openFrom(Grain grain) {
    return openFrom.getOrDefault(grain, Long.MAX_VALUE);
  }

  /** The same with other open buckets. */
  public Installed withOpenFrom(SortedMap<Grain, Long> others) {
    return new Installed(
        bound,
        anchor,
        cursor,
        coverage,
        keptFrom,
        others,
        source,
        log,
        counted,
        seals,
        hasOtherLeaves,
        movedDays,
        starts,
        keepTime);
  }

  /** The same with keep applied up to another moment. */
  public Installed withKeepTime(KeepTime other) {
    return new Installed(
        bound,
        anchor,
        cursor,
        coverage,
        keptFrom,
        openFrom,
        source,
        log,
        counted,
        seals,
        hasOtherLeaves,
        movedDays,
        starts,
        other);
  }

  /** The start of the oldest bucket that any grain keeps. */
  public long keptFromAny() {
    return keptFrom.values().stream().mapToLong(Long::longValue).min().orElse(Long.MIN_VALUE);
  }

  /** The ranges of history that are not published, in order. */
  public List<Leaf.Range> uncovered() {
    return coverage.uncovered().stream()
        .map(days -> new Leaf.Range(Times.micros(days.from()), Times.micros(days.to())))
        .toList();
  }

  /** The first part of a range that is history and not published, as a range of times. */
  public Optional<Map.Entry<Long, Long>> uncovered(long from, long to) {
    return uncovered().stream()
        .map(gap -> Map.entry(Math.max(from, gap.from()), Math.min(to, gap.to())))
        .filter(range -> range.getKey() < range.getValue())
        .findFirst();
  }
}
