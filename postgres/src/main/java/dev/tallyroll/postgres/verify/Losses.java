package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Which buckets of a part have lost their source rows: something of a tenant is stored, and the
 * source has no row of that tenant in the whole bucket. Rows in quarantine are in no bucket, and do
 * not count as rows here either. For one thread.
 *
 * <p>A coarser bucket of the tenant that holds such a one is lost with it, though it has rows left:
 * of a day whose first half was purged, the day's bucket would be computed from the second half.
 */
final class Losses {
  /**
   * A range in which a tenant has lost its rows, and no row is left.
   *
   * @param key any key of the tenant
   * @param from the start of the first bucket that is lost
   * @param to the end of the last one
   */
  record Range(int key, long from, long to) {}

  /** Nothing is lost. */
  static final Losses NONE =
      new Losses(
          new KeySet(),
          Collections.emptySortedMap(),
          Collections.emptySortedMap(),
          Collections.emptySortedMap());

  /** The number of each key's tenant. */
  private final int[] tenantOf;

  /** The tenants and buckets that are lost, as groups without a measure. */
  private final SortedMap<Grain, PartialTable> lost = new TreeMap<>();

  /** The buckets in which no row is left, once for each tenant. */
  private final List<Range> buckets = new ArrayList<>();

  private final SortedMap<Grain, PartialTable> expected;

  /**
   * Looks for them.
   *
   * @param keys the keys of all tables
   * @param expected what the source rows give, by grain
   * @param actual what is stored, of the same grains, with what is not merged yet
   * @param keptFrom for each grain the oldest bucket that is kept
   */
  Losses(
      KeySet keys,
      SortedMap<Grain, PartialTable> expected,
      SortedMap<Grain, PartialTable> actual,
      SortedMap<Grain, Long> keptFrom) {
    this.expected = expected;
    KeySet tenants = new KeySet();
    tenantOf = new int[keys.size()];
    for (int key = 0; key < tenantOf.length; key++) {
      tenantOf[key] = BoundRollup.internTenant(tenants, keys, key);
    }
    PartialTable finer = new PartialTable(tenants, List.of());
    for (Map.Entry<Grain, PartialTable> stored : actual.entrySet()) {
      Grain grain = stored.getKey();
      PartialTable table = stored.getValue();
      PartialTable source = Objects.requireNonNull(expected.get(grain));
      PartialTable rows = new PartialTable(tenants, List.of());
      for (int group = 0; group < source.size(); group++) {
        rows.group(tenantOf[source.key(group)], source.bucket(group));
      }
      PartialTable here = new PartialTable(tenants, List.of());
      long kept = keptFrom.getOrDefault(grain, Long.MIN_VALUE);
      for (int group = 0; group < table.size(); group++) {
        int tenant = tenantOf[table.key(group)];
        long bucket = table.bucket(group);
        if (bucket >= kept && rows.find(tenant, bucket) < 0 && here.find(tenant, bucket) < 0) {
          here.group(tenant, bucket);
          buckets.add(new Range(table.key(group), bucket, grain.end(bucket)));
        }
      }
      finer.mergeInto(here, grain::floor);
      lost.put(grain, here);
      finer = here;
    }
  }

  /** Whether nothing is lost. */
  boolean isEmpty() {
    return buckets.isEmpty();
  }

  /** Whether a stored bucket that differs from its source is lost, or holds one that is. */
  boolean contain(Grain grain, int key, long bucket) {
    PartialTable here = lost.get(grain);
    return here != null && here.find(tenantOf[key], bucket) >= 0;
  }

  /** The ranges that are lost, if there are any, by tenant and in order. */
  List<Range> ranges() {
    Map<Integer, TreeSet<Long>> left = new HashMap<>();
    buckets.forEach(bucket -> left.put(tenantOf[bucket.key()], new TreeSet<>()));
    PartialTable finest = expected.values().iterator().next();
    for (int group = 0; group < finest.size(); group++) {
      TreeSet<Long> rows = left.get(tenantOf[finest.key(group)]);
      if (rows != null) {
        rows.add(finest.bucket(group));
      }
    }
    List<Range> sorted = new ArrayList<>(buckets);
    sorted.sort(
        Comparator.<Range>comparingInt(bucket -> tenantOf[bucket.key()])
            .thenComparingLong(Range::from));
    List<Range> ranges = new ArrayList<>();
    for (Range next : sorted) {
      int tenant = tenantOf[next.key()];
      if (!ranges.isEmpty() && tenantOf[ranges.getLast().key()] == tenant) {
        Range last = ranges.getLast();
        Long row = left.getOrDefault(tenant, new TreeSet<>()).ceiling(last.to());
        if (row == null || row >= next.from()) {
          ranges.removeLast();
          ranges.add(new Range(last.key(), last.from(), Math.max(last.to(), next.to())));
          continue;
        }
      }
      ranges.add(next);
    }
    return ranges;
  }
}
