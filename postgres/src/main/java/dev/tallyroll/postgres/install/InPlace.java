package dev.tallyroll.postgres.install;

import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Marked;
import dev.tallyroll.postgres.merge.Carry;
import dev.tallyroll.postgres.merge.DayRebuild;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * The changes of a definition that the stored partials tell: done at once, in the transaction of a
 * refresh.
 */
final class InPlace {
  private InPlace() {}

  /** Does what the stored partials tell, under the rollup's lock and right after its refresh. */
  static void run(
      Connection writing,
      Connection reading,
      Installed now,
      BoundRollup asked,
      Difference difference,
      long latest)
      throws SQLException {
    BoundRollup old = now.bound();
    if (difference.isOfCapture()) {
      switchCapture(writing, reading, now, asked, latest);
    }
    SortedMap<Grain, Long> kept = new TreeMap<>();
    for (Grain grain : asked.rollup().grains().keySet()) {
      kept.put(grain, Carry.origin(now, grain).map(Carry.Origin::since).orElse(Long.MIN_VALUE));
    }
    RollupSql sql =
        new RollupSql(asked, Installer.refreshers(writing), Installer.logAfter(writing, asked));
    Published published = new Published(writing, asked, sql);
    boolean isRekeyed = !difference.removedDimensions().isEmpty();
    BoundRollup beside = asked.named(Registry.beside(asked.name()));
    Leaf.Range always = new Leaf.Range(Long.MIN_VALUE, Long.MAX_VALUE);
    if (isRekeyed) {
      for (String statement : new RollupSql(beside, Installer.refreshers(writing), null).tables()) {
        Sql.run(writing, statement);
      }
      for (Grain grain : asked.rollup().grains().keySet()) {
        new Carry(writing, now, beside, kept, new TreeMap<>()).run(grain, always, true);
      }
    } else {
      for (Grain grain : difference.newGrains()) {
        for (String statement : sql.table(grain)) {
          Sql.run(writing, statement);
        }
        new Carry(writing, now, asked, kept, new TreeMap<>()).run(grain, always, true);
      }
    }
    // Readers wait from here on.
    ReaderLock.take(writing, old);
    published.around(() -> {
      for (Grain grain : asked.rollup().grains().keySet()) {
        boolean isThere = !difference.newGrains().contains(grain);
        if (isRekeyed) {
          new Swap(writing, beside, asked, sql, published).run(grain, isThere);
        } else if (isThere) {
          published.alter(grain);
        }
      }
      if (isRekeyed) {
        Sql.run(writing, "drop table " + beside.lockName());
      }
      dropGrains(writing, now, difference, published);
    });
    for (Grain grain : difference.newGrains()) {
      Registry.addGrain(writing, asked.name(), grain, kept.getOrDefault(grain, Long.MIN_VALUE));
    }
    Sql.update(
        writing,
        "update tallyroll.rollup set definition = ?, definition_hash = ?, types = ?, columns = ?, changes = ? where name = ?",
        asked.rollup().text(),
        Installer.hash(asked.rollup().text()),
        writing.createArrayOf("text", Registry.types(asked)),
        writing.createArrayOf("text", asked.sourceColumns().toArray()),
        asked.rollup().source().changes().label(),
        asked.name());
    // Its views know of open buckets now, if they were made before there were any.
    Sql.update(
        writing,
        "update tallyroll.grain set open_from = 'infinity' where rollup = ? and open_from is null",
        asked.name());
    Sql.update(
        writing,
        "delete from tallyroll.start where rollup = ? and name <> all (?)",
        asked.name(),
        writing.createArrayOf("text", names(asked)));
  }

  /** What of a definition may be known only from some time on. */
  static String[] names(BoundRollup bound) {
    return Stream.of(
            bound.rollup().dimensions().stream().map(Dimension::name),
            bound.rollup().measures().stream().map(Measure::name),
            // Of a distribution a part may be unknown.
            bound.storedColumns().stream().map(StoredColumn::name))
        .flatMap(names -> names)
        .toArray(String[]::new);
  }

  static void dropGrains(
      Connection writing, Installed now, Difference difference, Published published)
      throws SQLException {
    RollupSql old = new RollupSql(now.bound(), "", null);
    for (Grain grain : difference.removedGrains()) {
      published.drop("drop view " + old.freshName(grain), old.freshName(grain));
      Sql.run(writing, "drop function " + old.tailName(grain) + "()");
      String table = now.bound().grainTable(grain);
      published.drop("drop table " + table, table);
      Sql.update(
          writing,
          "delete from tallyroll.grain where rollup = ? and grain = ?",
          now.name(),
          grain.label());
    }
  }

  /**
   * Right after a refresh the rollup equals its source in this snapshot, so that the other capture
   * goes on from here. Only days that are not filled yet differ: an append table's live rows are
   * merged into them, a changing table's wait for the slice.
   */
  private static void switchCapture(
      Connection writing, Connection reading, Installed now, BoundRollup asked, long latest)
      throws SQLException {
    if (asked.isChanging()) {
      deleteUncovered(writing, reading, now, latest);
    }
    Sql.update(writing, "update tallyroll.rollup set anchor = cursor where name = ?", now.name());
  }

  /**
   * Deletes what live rows have brought into days that are not filled yet, and the entries of the
   * quarantine that are of such rows: the backfill will read them.
   */
  static void deleteUncovered(
      Connection connection, Connection reading, Installed installed, long latest)
      throws SQLException {
    for (Coverage.Days days : installed.coverage().uncovered()) {
      long from = Times.micros(days.from());
      long to = Times.micros(days.to());
      for (Grain grain : installed.bound().rollup().grains().keySet()) {
        if (grain.zone().isEmpty()) {
          Sql.run(
              connection,
              "delete from "
                  + installed.bound().grainTable(grain)
                  + " where bucket >= "
                  + FeedSql.instant(from)
                  + " and bucket < "
                  + FeedSql.instant(to));
        }
      }
      Sql.run(
          connection,
          "delete from tallyroll.quarantine where "
              + FeedSql.entriesOf(installed.bound(), from, to));
    }
    DayRebuild days =
        new DayRebuild(connection, reading, installed, installed.keptFrom(), false, latest);
    for (Leaf.Range range : installed.uncovered()) {
      days.run(Marked.ofAll(range), List.of());
    }
  }
}
