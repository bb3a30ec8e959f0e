package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** The markers of a change log: ranges of which rows do not tell what happened to them. */
public final class Markers {
  private Markers() {}

  /**
   * What the unread markers stand for: whole UTC days, covered, unsealed, none twice. A table whose
   * range is not known stands for all there is, of the tenants that it can hold.
   */
  public static List<Marked> unread(Connection connection, Installed installed)
      throws SQLException {
    List<Branch> markers = FeedSql.markers(installed);
    if (markers.isEmpty()) {
      return List.of();
    }
    Map<Long, Leaf> present =
        Leaf.of(connection, installed.bound().table(), installed.bound().rollup().source()).stream()
            .collect(Collectors.toMap(Leaf::oid, leaf -> leaf));
    record Marker(long leaf, Leaf.Range range, String tenants) {}
    List<Marker> found =
        Sql.list(
            connection,
            "select distinct m.leaf::bigint, coalesce(m.f, l.range_from), coalesce(m.t, l.range_to), coalesce(l.tenants, '') from ("
                + FeedSql.select(
                    markers, "tallyroll_from as f, tallyroll_to as t, tallyroll_leaf as leaf")
                + ") m left join tallyroll.leaf l on l.source = ? and l.relation = m.leaf",
            row ->
                new Marker(
                    row.getLong(1),
                    Leaf.Range.stored(row, 2).orElse(Leaf.Range.ALL),
                    row.getString(4)),
            installed.source());
    List<Marked> all = new ArrayList<>();
    for (Marker marker : found) {
      Leaf leaf = present.get(marker.leaf());
      if (leaf == null) {
        continue;
      }
      // It may have been detached and attached with other bounds since they were written down:
      // then it is about what it held and what it holds.
      boolean isOfSame = leaf.tenants().equals(marker.tenants());
      Tenants tenants = new Tenants(isOfSame ? marker.tenants() : "");
      all.add(new Marked(marker.range().days(), tenants));
      leaf.range()
          .map(range -> new Marked(range.days(), tenants))
          .filter(now -> !all.contains(now))
          .ifPresent(all::add);
    }
    List<Leaf.Range> without = new ArrayList<>();
    for (Installed.Seal seal : installed.seals()) {
      // A day that is sealed in part cannot be computed as a whole.
      without.add(seal.range().days());
    }
    for (Coverage.Days gap : installed.coverage().uncovered()) {
      without.add(new Leaf.Range(Times.micros(gap.from()), Times.micros(gap.to())));
    }
    Map<String, List<Leaf.Range>> ranges = new TreeMap<>();
    for (Marked one : all) {
      ranges
          .computeIfAbsent(one.tenants().literals(), tenants -> new ArrayList<>())
          .add(one.range());
    }
    // Those of all tenants come first, and hold the others of their days; then one for all tenants
    // of the same range.
    List<Marked> marked = new ArrayList<>();
    Map<Leaf.Range, String> ofSome = new LinkedHashMap<>();
    ranges.forEach((tenants, of) -> {
      List<Leaf.Range> left = SourceRanges.difference(SourceRanges.union(of), without);
      if (tenants.isEmpty()) {
        left.forEach(range -> marked.add(Marked.ofAll(range)));
        without.addAll(left);
      } else {
        left.forEach(range -> ofSome.merge(range, tenants, (one, other) -> one + ", " + other));
      }
    });
    ofSome.forEach((range, tenants) -> marked.add(new Marked(range, new Tenants(tenants))));
    return marked;
  }

  /**
   * The ranges of which nothing can be said before the next refresh: those of the unread markers,
   * and of tables that were added to the source or taken from it since the last one. The connection
   * has locked the source.
   */
  public static List<Leaf.Range> undecided(Connection connection, Installed installed)
      throws SQLException {
    List<Leaf.Range> ranges =
        new ArrayList<>(unread(connection, installed).stream().map(Marked::range).toList());
    if (!installed.hasOtherLeaves()) {
      return ranges;
    }
    record Known(long relation, Leaf.Range range) {}
    List<Known> known =
        Sql.list(
            connection,
            "select relation::bigint, range_from, range_to from tallyroll.leaf where source = ?",
            row -> new Known(row.getLong(1), Leaf.Range.stored(row, 2).orElse(Leaf.Range.ALL)),
            installed.source());
    List<Leaf> present =
        Leaf.of(connection, installed.bound().table(), installed.bound().rollup().source());
    for (Known leaf : known) {
      if (present.stream().noneMatch(candidate -> candidate.oid() == leaf.relation())) {
        ranges.add(leaf.range());
      }
    }
    for (Leaf leaf : present) {
      if (known.stream().noneMatch(candidate -> candidate.relation() == leaf.oid())) {
        ranges.add(leaf.range().orElse(Leaf.Range.ALL));
      }
    }
    return ranges;
  }
}
