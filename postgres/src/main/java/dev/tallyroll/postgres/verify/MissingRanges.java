package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.SourceRanges;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Ranges whose source rows are gone, of all tenants or of some. Those that touch are one. Mutable,
 * for one thread.
 */
final class MissingRanges {
  /** How many ranges are listed, and of how many tenants they are kept; the others are counted. */
  private static final int MOST_LISTED = 100;

  private final List<Leaf.Range> all = new ArrayList<>();
  private final Map<String, List<Leaf.Range>> byTenant = new LinkedHashMap<>();
  private long others;

  /** Adds a range in which no tenant has a row. */
  void add(long from, long to) {
    all.add(new Leaf.Range(from, to));
  }

  /** Adds a range in which this tenant has none. */
  void add(String tenant, long from, long to) {
    if (byTenant.size() == MOST_LISTED && !byTenant.containsKey(tenant)) {
      others++;
      return;
    }
    List<Leaf.Range> ranges = new ArrayList<>(byTenant.getOrDefault(tenant, List.of()));
    ranges.add(new Leaf.Range(from, to));
    byTenant.put(tenant, SourceRanges.union(ranges));
  }

  /** The first of them as text, those of all tenants first, and at the end how many more. */
  List<String> list() {
    List<String> list = new ArrayList<>();
    List<Leaf.Range> ofAll = SourceRanges.union(all);
    ofAll.forEach(range -> list.add(text(range)));
    byTenant.forEach((tenant, ranges) ->
        SourceRanges.difference(ranges, ofAll)
            .forEach(range -> list.add(text(range) + " of tenant " + tenant)));
    long more = others + Math.max(0, list.size() - MOST_LISTED);
    if (more == 0) {
      return list;
    }
    List<String> first = new ArrayList<>(list.subList(0, Math.min(list.size(), MOST_LISTED)));
    first.add("and " + more + " more");
    return first;
  }

  private static String text(Leaf.Range range) {
    return Times.format(range.from()) + " to " + Times.format(range.to());
  }
}
