package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.NavigableSet;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * When the days of zones begin, as the database remembers it: SQL reads it, and it tells when other
 * time zone data says something else. In the caller's transaction.
 */
public final class StoredDays {
  private StoredDays() {}

  /** Writes down that the days of a rollup's grain are those of this program's time zone data. */
  public static void register(Connection connection, String rollup, Grain grain)
      throws SQLException {
    if (grain.zone().isEmpty()) {
      return;
    }
    boolean isKnown =
        Sql.one(
            connection,
            "select exists (select from tallyroll.local_day where zone = ? and version = ?)",
            row -> row.getBoolean(1),
            zone(grain),
            grain.version());
    if (!isKnown) {
      Sql.update(
          connection,
          "insert into tallyroll.local_day (zone, version, starts)"
              + " select ?, ?, array_agg(to_timestamp(s / 1000000) order by s) from unnest(?::bigint[]) s"
              + " on conflict do nothing",
          zone(grain),
          grain.version(),
          connection.createArrayOf("bigint", Arrays.stream(grain.dayStarts()).boxed().toArray()));
    }
    Sql.update(
        connection,
        "update tallyroll.grain set days_version = ? where rollup = ? and grain = ?",
        grain.version(),
        rollup,
        grain.label());
  }

  private static String zone(Grain grain) {
    return grain.zone().orElseThrow().getId();
  }

  /**
   * A range in which the days of a zone are others now than when they were stored.
   *
   * @param range whole days by both
   * @param starts the new starts of stored days whose starts have moved
   */
  public record Moved(Leaf.Range range, SortedMap<Long, Long> starts) {
    /** Copies the map. */
    public Moved {
      starts = Collections.unmodifiableSortedMap(new TreeMap<>(starts));
    }
  }

  /**
   * What has moved of the days of a rollup's grain, in order.
   *
   * @param until later days are left out: none is stored
   */
  public static List<Moved> moved(Connection connection, String rollup, Grain grain, long until)
      throws SQLException {
    TreeSet<Long> before =
        new TreeSet<>(
            Sql.list(
                connection,
                "select (extract(epoch from s) * 1000000)::bigint from unnest(tallyroll.local_days(?, ?)) s",
                row -> row.getLong(1),
                rollup,
                grain.label()));
    TreeSet<Long> now = new TreeSet<>(Arrays.stream(grain.dayStarts()).boxed().toList());
    TreeSet<Long> gone = new TreeSet<>(before);
    gone.removeAll(now);
    TreeSet<Long> come = new TreeSet<>(now);
    come.removeAll(before);
    TreeSet<Long> others = new TreeSet<>(gone);
    others.addAll(come);
    List<Leaf.Range> ranges = new ArrayList<>();
    for (long start : others.headSet(until)) {
      long from =
          Math.min(neighbour(before.lower(start), start), neighbour(now.lower(start), start));
      long to =
          Math.max(neighbour(before.higher(start), start), neighbour(now.higher(start), start));
      if (!ranges.isEmpty() && from <= ranges.getLast().to()) {
        Leaf.Range last = ranges.removeLast();
        ranges.add(new Leaf.Range(last.from(), Math.max(last.to(), to)));
      } else {
        ranges.add(new Leaf.Range(from, to));
      }
    }
    return ranges.stream()
        .map(range -> new Moved(range, paired(gone.subSet(range.from(), range.to()), come)))
        .toList();
  }

  /**
   * Each start with the one that has come in its place, less than half a day away; none where a
   * whole day came or went.
   */
  private static SortedMap<Long, Long> paired(SortedSet<Long> gone, NavigableSet<Long> come) {
    SortedMap<Long, Long> pairs = new TreeMap<>();
    Set<Long> taken = new HashSet<>();
    for (long start : gone) {
      Long before = come.floor(start);
      Long after = come.ceiling(start);
      Long nearest =
          before == null || (after != null && after - start < start - before) ? after : before;
      if (nearest != null && Math.abs(nearest - start) < Times.DAY / 2 && taken.add(nearest)) {
        pairs.put(start, nearest);
      }
    }
    return pairs;
  }

  private static long neighbour(@Nullable Long day, long start) {
    return day == null ? start : day;
  }
}
