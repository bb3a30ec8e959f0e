package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * The parts of a range that are compared one by one.
 *
 * @param list the parts
 * @param oldest the time of the oldest row or bucket there is, or day to fill, whether it is kept
 *     or not
 */
record Parts(List<Part> list, long oldest) {
  /** Cuts the range into UTC days, or picks buckets of it. */
  static Parts of(Connection connection, Installed installed, VerifyRequest request, Instant now)
      throws SQLException {
    BoundRollup bound = installed.bound();
    List<Long> edges = new ArrayList<>();
    boolean hasZone = bound.rollup().source().zone() != null;
    String latest = FeedSql.instant(Times.micros(now.plus(Refresher.MOST_AHEAD)));
    addEdges(
        connection, edges, FeedSql.extent(bound, latest + (hasZone ? " at time zone 'UTC'" : "")));
    for (Grain grain : bound.rollup().grains().keySet()) {
      addEdges(
          connection, edges, "select min(bucket), max(bucket) from " + bound.grainTable(grain));
    }
    List<Leaf.Range> uncovered = installed.uncovered();
    if (edges.isEmpty() && uncovered.isEmpty()) {
      return new Parts(List.of(), Long.MAX_VALUE);
    }
    long margin = hasZone ? Times.DAY : 0;
    // History that nobody has filled is named, also where its rows are gone by now.
    uncovered.forEach(gap -> edges.addAll(List.of(gap.from(), gap.to() - 1)));
    long from = Grain.DAY.floor(edges.stream().mapToLong(Long::longValue).min().orElse(0) - margin);
    long to =
        Grain.DAY.floor(edges.stream().mapToLong(Long::longValue).max().orElse(0) + margin)
            + Times.DAY;
    long oldest = from;
    from = Math.max(from, Math.max(Long.MIN_VALUE / 2, installed.keptFromAny()));
    if (request.from() != null) {
      from = Math.max(from, Grain.DAY.floor(request.from()));
    }
    if (request.to() != null) {
      to = Math.min(to, Grain.DAY.ceil(request.to()));
    }
    List<Grain> grains = List.copyOf(bound.rollup().grains().keySet());
    List<Part> parts = new ArrayList<>();
    if (request.sample().isPresent() && from < to) {
      Random random = new Random(request.seed());
      // None twice; of a few buckets there may be fewer than were asked for.
      int wanted = request.sample().getAsInt();
      for (long i = 0; parts.size() < wanted && i < 10L * wanted; i++) {
        Grain grain = grains.get(random.nextInt(grains.size()));
        long first =
            Math.max(
                from,
                grain.ceil(
                    Math.max(Long.MIN_VALUE / 2, installed.keptFrom().getOrDefault(grain, from))));
        long last = Math.min(to, installed.openFrom(grain));
        if (first < last) {
          long start = grain.floor(first + (long) (random.nextDouble() * (last - first)));
          Part part = new Part(start, grain.end(start), List.of(grain));
          if (!parts.contains(part)) {
            parts.add(part);
          }
        }
      }
      return new Parts(parts, oldest);
    }
    List<Grain> fixed = grains.stream().filter(grain -> grain.zone().isEmpty()).toList();
    if (!fixed.isEmpty()) {
      for (long day = from; day < to; day += Times.DAY) {
        parts.add(new Part(day, day + Times.DAY, fixed));
      }
    }
    for (Grain days : grains) {
      if (days.zone().isPresent()) {
        // Days of which something lies in the range.
        long end;
        long first = Math.max(days.floor(from), installed.keptFrom().getOrDefault(days, from));
        for (long day = Math.max(first, days.ceil(Long.MIN_VALUE)); day < to; day = end) {
          end = days.end(day);
          parts.add(new Part(day, end, List.of(days)));
        }
      }
    }
    return new Parts(parts, oldest);
  }

  private static void addEdges(Connection connection, List<Long> edges, String sql)
      throws SQLException {
    Sql.list(
        connection,
        sql,
        row -> {
          for (int i = 1; i <= 2; i++) {
            OffsetDateTime edge = row.getObject(i, OffsetDateTime.class);
            if (edge != null) {
              edges.add(Times.micros(edge.toInstant()));
            }
          }
          return true;
        });
  }
}
