package dev.tallyroll.model.partial;

import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * The values that were taken out of groups and that no equal value has replaced: a multiset for
 * each group. An update that leaves a value as it was takes it out and puts it in again, and is
 * seen here to be nothing. Mutable, for one thread.
 *
 * @param <V> values with equality
 */
final class Removed<V> {
  private final Map<Integer, Map<V, Integer>> byGroup = new HashMap<>();

  /** Takes a value out of a group. */
  void add(int group, V value) {
    byGroup.computeIfAbsent(group, none -> new HashMap<>()).merge(value, 1, Integer::sum);
  }

  /** Whether nothing was taken out of any group. */
  boolean isEmpty() {
    return byGroup.isEmpty();
  }

  /** Cancels one removal of an equal value, and says whether there was one. */
  boolean cancel(int group, V value) {
    Map<V, Integer> values = byGroup.get(group);
    if (values == null || !values.containsKey(value)) {
      return false;
    }
    values.computeIfPresent(value, (same, count) -> count == 1 ? null : count - 1);
    return true;
  }

  /** Takes out of a group all that is taken out of another column's. */
  void addAll(int group, Removed<V> from, int fromGroup) {
    Map<V, Integer> values = from.byGroup.get(fromGroup);
    if (values != null && !values.isEmpty()) {
      Map<V, Integer> into = byGroup.computeIfAbsent(group, none -> new HashMap<>());
      values.forEach((value, count) -> into.merge(value, count, Integer::sum));
    }
  }

  /** The different values that are taken out of a group. */
  Set<V> of(int group) {
    Map<V, Integer> values = byGroup.get(group);
    return values == null ? Set.of() : values.keySet();
  }

  /** About how many bytes of heap it takes. */
  long heapBytes() {
    return 160L * byGroup.size();
  }
}
