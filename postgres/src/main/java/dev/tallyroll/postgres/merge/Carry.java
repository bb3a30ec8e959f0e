package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tiling;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;

/**
 * Carries stored partials from one definition of a rollup over to another, without the source:
 * buckets of a finer grain are merged into a coarser one, and keys that differ only in a dimension
 * that is there no longer are merged into one. What the old definition does not know is NULL, or
 * nothing counted. In the caller's transaction, which holds the locks of both.
 */
public final class Carry {
  private final Connection connection;
  private final Installed installed;
  private final BoundRollup from;
  private final BoundRollup to;
  private final Merger merger;

  /**
   * A carry.
   *
   * @param connection the writer's connection
   * @param from what is installed
   * @param to the rollup whose tables are filled
   * @param keptFrom of the new one: older buckets are left out
   * @param openFrom of the new one: these buckets and later ones are left out
   */
  public Carry(
      Connection connection,
      Installed from,
      BoundRollup to,
      SortedMap<Grain, Long> keptFrom,
      SortedMap<Grain, Long> openFrom) {
    this.connection = connection;
    this.installed = from;
    this.from = from.bound();
    this.to = to;
    this.merger = new Merger(connection, to, keptFrom, openFrom);
  }

  /**
   * The installed grain that a grain of the new definition is made from.
   *
   * @param grain the installed grain
   * @param since from when on it has all that is needed
   */
  public record Origin(Grain grain, long since) {}

  /** The origin of a grain of the new definition, if there is one. */
  public static Optional<Origin> origin(Installed from, Grain grain) {
    SortedMap<Grain, Keep> grains = from.bound().rollup().grains();
    if (grains.containsKey(grain)) {
      return Optional.of(new Origin(grain, keptFrom(from.keptFrom(), grain)));
    }
    if (grain.zone().isPresent()) {
      return Optional.of(finer(from.bound(), from.keptFrom(), grain))
          .filter(origin -> origin.since() < Long.MAX_VALUE);
    }
    SortedMap<Grain, Keep> finer = grains.headMap(grain);
    return finer.isEmpty()
        ? Optional.empty()
        : Optional.of(new Origin(finer.lastKey(), keptFrom(from.keptFrom(), finer.lastKey())));
  }

  /**
   * The fixed grain of which the days of a zone can be made for the longest time; never if there is
   * none.
   */
  static Origin finer(BoundRollup bound, SortedMap<Grain, Long> keptFrom, Grain days) {
    Origin best = new Origin(days, Long.MAX_VALUE);
    for (Grain grain : bound.rollup().grains().headMap(days).keySet()) {
      long since = Math.max(days.madeOfFrom(grain), days.ceil(keptFrom(keptFrom, grain)));
      if (since <= best.since() && since < Long.MAX_VALUE) {
        best = new Origin(grain, since);
      }
    }
    return best;
  }

  private static long keptFrom(SortedMap<Grain, Long> keptFrom, Grain grain) {
    return keptFrom.getOrDefault(grain, Long.MIN_VALUE);
  }

  /**
   * Carries the buckets of a range of whole UTC days over to a grain, if there is an origin for it.
   * The days of a zone at the edges of the range are in part outside: of these just what is inside
   * is carried over.
   *
   * @param isFirst whether there are no rows at all before the range
   * @throws TallyrollException if such a part of a day cannot be told
   */
  public void run(Grain grain, Leaf.Range range, boolean isFirst) throws SQLException {
    Optional<Origin> origin = origin(installed, grain);
    if (origin.isEmpty()) {
      return;
    }
    if (grain.zone().isEmpty() || !origin.get().grain().equals(grain)) {
      fill(origin.get().grain(), grain, range);
      return;
    }
    boolean isOpen = range.from() == Long.MIN_VALUE;
    long first = isFirst || isOpen ? grain.floor(range.from()) : grain.ceil(range.from());
    long last = range.to() == Long.MAX_VALUE ? range.to() : grain.floor(range.to());
    if (last < first) {
      part(grain, range);
      return;
    }
    fill(grain, grain, new Leaf.Range(first, last));
    part(grain, new Leaf.Range(range.from(), Math.max(range.from(), first)));
    part(grain, new Leaf.Range(last, range.to()));
  }

  /** Carries a part of the day of a zone over, from finer buckets. */
  private void part(Grain days, Leaf.Range range) throws SQLException {
    long day = days.floor(range.from());
    boolean isStored =
        range.from() < range.to()
            && Sql.one(
                connection,
                "select exists (select from "
                    + from.grainTable(days)
                    + " where bucket = "
                    + FeedSql.instant(day)
                    + ")",
                row -> row.getBoolean(1));
    if (!isStored) {
      return;
    }
    Grain finer =
        Tiling.finer(installed.keptFrom(), days, day)
            .orElseThrow(() ->
                new TallyrollException(
                    ErrorCode.REFUSED,
                    "the source rows of a part of the day from "
                        + Times.format(day)
                        + " in "
                        + days.zone().map(ZoneId::getId).orElse("UTC")
                        + " are gone, and no finer buckets are kept of it that would tell that part; leave the zone out of 'zones' and add it again afterwards"));
    fill(finer, days, range);
  }

  /** Makes the buckets of a grain from those of a range of another one, or the same. */
  void fill(Grain origin, Grain grain, Leaf.Range range) throws SQLException {
    // A day may be in two ranges, or two partitions of the origin.
    fill(origin, grain, range, grain.zone().isPresent());
  }

  /** The same, added to what is stored already. */
  void add(Grain origin, Grain grain, Leaf.Range range) throws SQLException {
    fill(origin, grain, range, true);
  }

  private void fill(Grain origin, Grain grain, Leaf.Range range, boolean isAdded)
      throws SQLException {
    // By the new partitions: one of them fits into memory.
    for (long start : starts(grain, origin, range)) {
      long least = Math.max(range.from(), start);
      long end = Math.min(range.to(), Partitions.end(grain, start));
      PartialTable table = new PartialTable(new KeySet(), to.newColumns());
      String query =
          "select "
              + String.join(", ", columns())
              + " from "
              + from.grainTable(origin)
              + " where bucket >= "
              + FeedSql.instant(least)
              + " and bucket < "
              + FeedSql.instant(end);
      try (RowReader rows = RowReader.of(connection, query)) {
        while (rows.next()) {
          int at = rows.position();
          for (int i = 0; i < to.keyColumns().size(); i++) {
            rows.skip();
          }
          int key = table.keys().intern(rows.bytes(), at, rows.position() - at);
          table.read(table.group(key, grain.floor(rows.readInstant())), rows);
        }
      }
      if (isAdded) {
        merger.merge(grain, table);
      } else {
        merger.replace(grain, table, new PartialTable(new KeySet(), to.newColumns()));
      }
    }
  }

  private List<Long> starts(Grain grain, Grain origin, Leaf.Range range) throws SQLException {
    record Extent(Optional<Long> least, long most) {}
    Extent extent =
        Sql.one(
            connection,
            "select (extract(epoch from min(bucket)) * 1000000)::bigint, coalesce((extract(epoch from max(bucket)) * 1000000)::bigint, 0)"
                + " from "
                + from.grainTable(origin)
                + " where bucket >= "
                + FeedSql.instant(range.from())
                + " and bucket < "
                + FeedSql.instant(range.to()),
            row -> new Extent(Optional.ofNullable(row.getObject(1, Long.class)), row.getLong(2)));
    List<Long> starts = new ArrayList<>();
    if (extent.least().isPresent()) {
      long end;
      for (long start = Partitions.start(grain, extent.least().get());
          start <= extent.most();
          start = end) {
        starts.add(start);
        end = Partitions.end(grain, start);
      }
    }
    return starts;
  }

  /** The columns of the new tables out of the old ones: key, bucket, measures. */
  private List<String> columns() {
    List<String> columns = new ArrayList<>();
    columns.add("tenant");
    for (int i = 0; i < to.rollup().dimensions().size(); i++) {
      Dimension dimension = to.rollup().dimensions().get(i);
      columns.add(
          isKnown(dimension, to.dimensionTypes().get(i))
              ? Sql.identifier(dimension.name())
              : "null::" + to.dimensionTypes().get(i).sqlName());
    }
    columns.add("bucket");
    for (int i = 0; i < to.rollup().measures().size(); i++) {
      Measure measure = to.rollup().measures().get(i);
      int at = from.rollup().measures().indexOf(measure);
      boolean isKnown =
          at >= 0 && from.newColumns().get(at).stored().equals(to.newColumns().get(i).stored());
      for (StoredColumn column : to.newColumns().get(i).stored()) {
        columns.add(isKnown ? Sql.identifier(column.name()) : nothing(column));
      }
    }
    return columns;
  }

  private boolean isKnown(Dimension dimension, ColumnType type) {
    int at = from.rollup().dimensions().indexOf(dimension);
    return at >= 0 && from.dimensionTypes().get(at) == type;
  }

  /** What a column of a measure of no rows is stored as, in SQL. */
  public static String nothing(StoredColumn column) {
    String value =
        column.nullable()
            ? "null"
            : column.type() == ColumnType.BYTEA || column.type() == ColumnType.VARBIT ? "''" : "0";
    return value + "::" + column.type().sqlName();
  }
}
