package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.merge.Carry;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A rollup with the new definition, which is built beside the old one while that answers. */
final class Beside {
  private Beside() {}

  /** Begins to build beside, in the snapshot of the old one's refresh. */
  static void build(
      Connection writing,
      Connection reading,
      Installed now,
      BoundRollup asked,
      Difference difference,
      boolean startNow)
      throws SQLException {
    BoundRollup beside = asked.named(Registry.beside(asked.name()));
    List<Leaf.Range> gone = gone(reading, now);
    List<Leaf.Range> lost = held(writing, now, gone);
    boolean isNew =
        difference.isOfSource()
            || !difference.newDimensions().isEmpty()
            || !difference.newMeasures().isEmpty()
            || hasOtherTypes(now.bound(), asked);
    if (isNew && !lost.isEmpty() && !startNow) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "the source rows of '"
              + asked.name()
              + "' before "
              + Times.format(lost.getLast().to())
              + " are gone, and what is new cannot be computed for that time ("
              + String.join("; ", difference.lines())
              + "); to keep what is stored of it and let the new begin then: {tallyroll} apply --start-now -f FILE");
    }
    new Published(writing, asked, new RollupSql(asked, "", null))
        .checkThatNothingStandsOn(difference.removedGrains());
    for (String statement : new RollupSql(beside, Installer.refreshers(writing), null).tables()) {
      Sql.run(writing, statement);
    }
    String snapshot =
        Sql.one(writing, "select pg_current_snapshot()::text", row -> row.getString(1));
    Optional<Coverage.Days> history = Creation.history(reading, beside);
    // A clock that is not believed here is not to be believed there.
    Creation.register(writing, beside, asked.rollup().text(), snapshot, history, now.keepTime());
    Creation.quarantineOutside(writing, beside, history);
    // Also where the old one holds nothing: what comes there late, both count.
    Sql.run(
        writing,
        "update tallyroll.rollup set carried = "
            + ranges(gone)
            + " where name = "
            + Sql.literal(beside.name()));
    if (!lost.isEmpty()) {
      carry(writing, now, beside, lost, history);
      start(writing, beside, difference, lost.getLast().to());
    }
    // What was taken over stays marked, whether its buckets are still kept or not.
    Sql.update(
        writing,
        "insert into tallyroll.adopted (rollup, range_from, range_to, origin, grain, rows, mapped, adopted_at, adopted_by)"
            + " select ?, range_from, range_to, origin, grain, rows, mapped, adopted_at, adopted_by from tallyroll.adopted where rollup = ?",
        beside.name(),
        now.name());
  }

  /** Whether something of the definition is stored as another type now. */
  static boolean hasOtherTypes(BoundRollup old, BoundRollup asked) {
    for (int i = 0; i < asked.rollup().measures().size(); i++) {
      int at = old.rollup().measures().indexOf(asked.rollup().measures().get(i));
      if (at >= 0
          && !old.newColumns().get(at).stored().equals(asked.newColumns().get(i).stored())) {
        return true;
      }
    }
    for (int i = 0; i < asked.rollup().dimensions().size(); i++) {
      int at = old.rollup().dimensions().indexOf(asked.rollup().dimensions().get(i));
      if (at >= 0 && old.dimensionTypes().get(at) != asked.dimensionTypes().get(i)) {
        return true;
      }
    }
    return false;
  }

  /** The whole days before the source's first row, and those behind seals. */
  static List<Leaf.Range> gone(Connection reading, Installed now) throws SQLException {
    List<Leaf.Range> gone = new ArrayList<>();
    // Without a row in the source, a rollup that is not empty has lost all.
    gone.add(
        new Leaf.Range(
            Long.MIN_VALUE,
            Creation.history(reading, now.bound())
                .map(days -> Times.micros(days.from()))
                .orElse(Long.MAX_VALUE)));
    now.seals().forEach(seal -> gone.add(seal.range().days()));
    return SourceRanges.union(gone);
  }

  /** What the rollup holds buckets of, of days of which the source no longer has all rows. */
  static List<Leaf.Range> held(Connection writing, Installed now, List<Leaf.Range> gone)
      throws SQLException {
    BoundRollup bound = now.bound();
    long first = Long.MAX_VALUE;
    long last = Long.MIN_VALUE;
    for (Grain grain : bound.rollup().grains().keySet()) {
      record Extent(Optional<Long> from, Optional<Long> to) {}
      Extent extent =
          Sql.one(
              writing,
              "select (extract(epoch from min(bucket)) * 1000000)::bigint, (extract(epoch from max(bucket)) * 1000000)::bigint from "
                  + bound.grainTable(grain),
              row ->
                  new Extent(
                      Optional.ofNullable(row.getObject(1, Long.class)),
                      Optional.ofNullable(row.getObject(2, Long.class))));
      // The day of a zone begins before the first row, and ends after the last one.
      boolean isFixed = grain.zone().isEmpty();
      first =
          Math.min(
              first,
              extent.from().map(from -> isFixed ? from : Grain.DAY.ceil(from)).orElse(first));
      last =
          Math.max(
              last,
              extent
                  .to()
                  .map(grain::end)
                  .map(to -> isFixed ? to : Grain.DAY.floor(to))
                  .orElse(last));
    }
    if (first > last) {
      return List.of();
    }
    Leaf.Range extent = new Leaf.Range(first, last).days();
    return gone.stream()
        .map(range ->
            new Leaf.Range(
                Math.max(extent.from(), range.from()), Math.min(extent.to(), range.to())))
        .filter(range -> range.from() < range.to())
        .toList();
  }

  private static void carry(
      Connection writing,
      Installed now,
      BoundRollup beside,
      List<Leaf.Range> lost,
      Optional<Coverage.Days> history)
      throws SQLException {
    SortedMap<Grain, Long> kept = new TreeMap<>();
    for (Grain grain : beside.rollup().grains().keySet()) {
      // After what is carried, the source tells all.
      long from =
          Math.min(
              grain.ceil(lost.getLast().to()),
              Carry.origin(now, grain).map(Carry.Origin::since).orElse(Long.MAX_VALUE));
      kept.put(grain, from);
      Sql.update(
          writing,
          "update tallyroll.grain set kept_from = greatest(kept_from, "
              + FeedSql.instant(from)
              + ") where rollup = ? and grain = ?",
          beside.name(),
          grain.label());
    }
    Carry carry = new Carry(writing, now, beside, kept, new TreeMap<>());
    long first = history.map(days -> Times.micros(days.from())).orElse(Long.MAX_VALUE);
    for (Leaf.Range range : lost) {
      for (Grain grain : beside.rollup().grains().keySet()) {
        carry.run(grain, range, range.equals(lost.getFirst()) && first >= range.from());
      }
      // Nothing is to be read of these days.
      Sql.update(
          writing,
          "insert into tallyroll.slice (rollup, day_from, day_to, rows) select ?, greatest(?, history_from), least(?, history_to), 0"
              + " from tallyroll.rollup where name = ? and history_from < ? and ? < history_to",
          beside.name(),
          Times.day(range.from()),
          Times.day(range.to()),
          beside.name(),
          Times.day(range.to()),
          Times.day(range.from()));
    }
  }

  static String ranges(List<Leaf.Range> ranges) {
    return ranges.stream()
        .map(range ->
            "tstzrange(" + FeedSql.instant(range.from()) + ", " + FeedSql.instant(range.to()) + ")")
        .collect(Collectors.joining(", ", "tstzmultirange(", ")"));
  }

  private static void start(
      Connection writing, BoundRollup beside, Difference difference, long since)
      throws SQLException {
    for (String name :
        Stream.concat(
                difference.newDimensions().stream().map(Dimension::name),
                difference.newMeasures().stream().map(Measure::name))
            .toList()) {
      Sql.update(
          writing,
          "insert into tallyroll.start (rollup, name, since) values (?, ?, "
              + FeedSql.instant(since)
              + ")",
          beside.name(),
          name);
    }
    // Those of what is no longer there begin nowhere.
    Sql.update(
        writing,
        "insert into tallyroll.start (rollup, name, since) select ?, name, since from tallyroll.start"
            + " where rollup = ? and name = any (?) on conflict do nothing",
        beside.name(),
        difference.after().name(),
        writing.createArrayOf("text", InPlace.names(beside)));
  }
}
