package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tiling;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;

/**
 * Merges partials of changes into a rollup's tables, in the caller's transaction, which holds the
 * rollup's lock.
 *
 * <p>Counts, sums and bins are merged with their sign. Where a row that was taken out may have held
 * the least, greatest or latest value, or one of the distinct ones, the bucket is <em>invalid</em>:
 * of the finest grain it is computed anew from the source, of a coarser one from the next finer
 * grain, whose buckets are right by then, or from the source where the finer one does not reach. A
 * bucket that has no row left is deleted.
 */
public final class ChangeMerger {
  /** Computes groups from the rows of the source. */
  @FunctionalInterface
  public interface Source {
    /** The groups that have rows. */
    PartialTable groups(Grain grain, PartialTable wanted) throws SQLException;
  }

  /** Longer than any day of a zone. */
  private static final Duration MOST_DAY = Duration.ofDays(2);

  private final Connection connection;
  private final Installed installed;
  private final BoundRollup bound;
  private final SortedMap<Grain, Long> keptFrom;
  private final Source source;
  private final Merger merger;

  /** Days of zones that are computed from the source when all changes are merged. */
  private final SortedMap<Grain, PartialTable> waiting = new TreeMap<>();

  /**
   * A merger of changes.
   *
   * @param connection the writer's connection, under the rollup's lock
   * @param installed the rollup as of the connection's snapshot
   * @param keptFrom for each grain the oldest bucket to keep; older ones are left out
   * @param source reads the source in the same snapshot
   */
  public ChangeMerger(
      Connection connection, Installed installed, SortedMap<Grain, Long> keptFrom, Source source) {
    this.connection = connection;
    this.installed = installed;
    this.bound = installed.bound();
    this.keptFrom = keptFrom;
    this.source = source;
    this.merger = new Merger(connection, bound, keptFrom, installed.openFrom());
  }

  /**
   * Merges changes of the grain that rows are folded into, into all grains. The table is used up.
   */
  public void merge(PartialTable fold) throws SQLException {
    KeyOrder order = new KeyOrder(fold.keys(), bound.keyTypes());
    for (Map.Entry<Grain, PartialTable> grain : GrainTables.of(bound, fold).entrySet()) {
      write(grain.getKey(), grain.getValue(), order);
    }
  }

  /**
   * Ends a merge of several tables. Changes are cut between UTC days if they do not fit into
   * memory, which may be within a day of a zone: what must be computed of such a day from the
   * source, where all the changes are in already, waits for the last of them.
   */
  public void end() throws SQLException {
    for (Map.Entry<Grain, PartialTable> days : waiting.entrySet()) {
      replace(days.getKey(), days.getValue(), source.groups(days.getKey(), days.getValue()));
    }
    waiting.clear();
  }

  /** What is to become of the groups of a table. */
  private static final class Plan {
    private final List<Integer> written = new ArrayList<>();
    private final List<Integer> emptied = new ArrayList<>();
    private final List<Integer> invalid = new ArrayList<>();
  }

  private void write(Grain grain, PartialTable table, KeyOrder order) throws SQLException {
    Map<Long, int[]> groups = merger.byPartition(grain, table);
    Set<String> attached = Partitions.attached(connection, bound, grain);
    Plan plan = new Plan();
    int[] existing = {};
    for (Map.Entry<Long, int[]> partition : groups.entrySet()) {
      order.sort(table, partition.getValue());
      if (attached.contains(Partitions.name(bound, grain, partition.getKey()))) {
        int length = existing.length;
        existing = Arrays.copyOf(existing, length + partition.getValue().length);
        System.arraycopy(partition.getValue(), 0, existing, length, partition.getValue().length);
      } else {
        Plan here = new Plan();
        for (int group : partition.getValue()) {
          decide(table, group, false, here);
        }
        plan.invalid.addAll(here.invalid);
        if (!here.written.isEmpty()) {
          merger.load(grain, partition.getKey(), table, ints(here.written));
        }
      }
    }
    if (existing.length > 0) {
      BitSet stored = merger.mergeStored(grain, table, existing, order);
      for (int group : existing) {
        decide(table, group, stored.get(group), plan);
      }
    }
    if (!plan.written.isEmpty()) {
      merger.upsert(grain, table, ints(plan.written));
    }
    if (!plan.emptied.isEmpty()) {
      merger.delete(grain, table, ints(plan.emptied));
    }
    if (!plan.invalid.isEmpty()) {
      rederive(grain, table, plan.invalid);
    }
  }

  private void decide(PartialTable table, int group, boolean isStored, Plan plan) {
    switch (Fate.of(installed, table, group, isStored)) {
      case WRITTEN -> plan.written.add(group);
      case EMPTIED -> plan.emptied.add(group);
      case INVALID -> plan.invalid.add(group);
      case NOTHING -> {}
    }
  }

  private static int[] ints(List<Integer> list) {
    return list.stream().mapToInt(Integer::intValue).toArray();
  }

  private void rederive(Grain grain, PartialTable table, List<Integer> invalid)
      throws SQLException {
    SortedMap<Grain, PartialTable> fromFiner = new TreeMap<>();
    PartialTable fromSource = new PartialTable(table.keys(), bound.newColumns());
    List<Integer> lost = new ArrayList<>();
    for (int group : invalid) {
      long bucket = table.bucket(group);
      Optional<Grain> finer = Tiling.finer(keptFrom, grain, bucket);
      if (finer.isPresent()) {
        fromFiner
            .computeIfAbsent(finer.get(), any -> new PartialTable(table.keys(), bound.newColumns()))
            .group(table.key(group), bucket);
      } else if (installed.isSealed(bucket, grain.end(bucket))) {
        lost.add(group);
      } else if (grain.zone().isPresent()) {
        await(grain, table, group);
      } else {
        fromSource.group(table.key(group), bucket);
      }
    }
    for (Map.Entry<Grain, PartialTable> finer : fromFiner.entrySet()) {
      replace(grain, finer.getValue(), stored(finer.getKey(), finer.getValue(), grain));
    }
    if (fromSource.size() > 0) {
      replace(grain, fromSource, source.groups(grain, fromSource));
    }
    if (!lost.isEmpty()) {
      merger.upsert(grain, table, ints(lost));
      for (int group : lost) {
        quarantine(grain, table, group);
      }
    }
  }

  private void await(Grain grain, PartialTable table, int group) {
    PartialTable days =
        waiting.computeIfAbsent(grain, any -> new PartialTable(new KeySet(), bound.newColumns()));
    byte[] key = table.keys().bytes(table.key(group));
    days.group(days.keys().intern(key, 0, key.length), table.bucket(group));
  }

  private void replace(Grain grain, PartialTable wanted, PartialTable found) throws SQLException {
    PartialTable gone = new PartialTable(wanted.keys(), bound.newColumns());
    for (int group = 0; group < wanted.size(); group++) {
      if (found.find(wanted.key(group), wanted.bucket(group)) < 0) {
        gone.group(wanted.key(group), wanted.bucket(group));
      }
    }
    merger.replace(grain, found, gone);
  }

  /** Groups of a coarser grain, merged from the stored buckets of a finer one. */
  private PartialTable stored(Grain finer, PartialTable wanted, Grain grain) throws SQLException {
    PartialTable found = new PartialTable(wanted.keys(), bound.newColumns());
    int[] groups = new int[wanted.size()];
    Arrays.setAll(groups, group -> group);
    KeyOrder order = new KeyOrder(wanted.keys(), bound.keyTypes());
    order.sort(wanted, groups);
    Set<Long> patterns = new TreeSet<>();
    String stage = merger.stageKeys(grain, wanted, groups, order, patterns);
    Sql.run(connection, "analyze " + stage);
    String columns = String.join(", ", bound.measureColumns());
    long least = Arrays.stream(groups).mapToLong(wanted::bucket).min().orElse(0);
    long most = grain.end(Arrays.stream(groups).mapToLong(wanted::bucket).max().orElse(0));
    for (long pattern : patterns) {
      String query =
          "select k.id, f.bucket"
              + bound.measureColumns().stream()
                  .map(column -> ", f." + column)
                  .collect(Collectors.joining())
              + " from "
              + stage
              + " k, lateral (select bucket, "
              + columns
              + " from "
              + bound.grainTable(finer)
              + " p where p.bucket >= k.bucket and p.bucket < k.bucket + interval '"
              + (grain.zone().isPresent() ? MOST_DAY : grain.width()).toSeconds()
              + " seconds' and p.bucket >= "
              + FeedSql.instant(least)
              + " and p.bucket < "
              + FeedSql.instant(most)
              + " and "
              + merger.sameKey(pattern)
              + " offset 0) f";
      try (RowReader rows = RowReader.of(connection, query)) {
        while (rows.next()) {
          int group = rows.readInt();
          if (grain.floor(rows.readInstant()) != wanted.bucket(group)) {
            // Of the next day, after one that is shorter than the longest.
            rows.skipRow();
            continue;
          }
          found.read(found.group(wanted.key(group), wanted.bucket(group)), rows);
        }
      }
    }
    Sql.run(connection, "truncate " + stage);
    return found;
  }

  /** Notes a bucket that can be computed from nothing any more. */
  private void quarantine(Grain grain, PartialTable table, int group) throws SQLException {
    List<Object> key = new ArrayList<>();
    bound
        .decodeKey(table.keys(), table.key(group))
        .forEach(field -> key.add(String.valueOf(field)));
    Sql.update(
        connection,
        "insert into tallyroll.quarantine (rollup, kind, reason, tenant, source_row)"
            + " values (?, 'bucket', ?, ?, jsonb_build_object('grain', ?, 'bucket', ?, 'key', ?::text[]))",
        bound.name(),
        "a row was updated or deleted, and neither a finer grain nor the source has this bucket's rows any more:"
            + " minima, maxima, latest values and distinct counts still include it",
        String.valueOf(key.getFirst()),
        grain.label(),
        Times.format(table.bucket(group)),
        connection.createArrayOf("text", key.toArray()));
  }
}
