package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.session.Sql;
import dev.tallyroll.postgres.wire.RowReader;
import java.sql.Connection;
import java.sql.SQLException;
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
   */
  public Carry(
      Connection connection, BoundRollup from, BoundRollup to, SortedMap<Grain, Long> keptFrom) {
    this.connection = connection;
    this.from = from;
    this.to = to;
    this.merger = new Merger(connection, to, keptFrom);
  }

  /** The installed grain that a grain of the new definition is made from, if there is one. */
  public static Optional<Grain> origin(BoundRollup from, Grain grain) {
    SortedMap<Grain, ?> grains = from.rollup().grains();
    if (grains.containsKey(grain)) {
      return Optional.of(grain);
    }
    SortedMap<Grain, ?> finer = grains.headMap(grain);
    return finer.isEmpty() ? Optional.empty() : Optional.of(finer.lastKey());
  }

  /** Carries the buckets of a range of whole days over to a grain, if there is an origin for it. */
  public void run(Grain grain, Leaf.Range range) throws SQLException {
    Optional<Grain> origin = origin(from, grain);
    if (origin.isEmpty()) {
      return;
    }
    // By the new partitions: one of them fits into memory.
    for (long start : starts(grain, origin.get(), range)) {
      long least = Math.max(range.from(), start);
      long end = Math.min(range.to(), Partitions.end(grain, start));
      PartialTable table = new PartialTable(new KeySet(), to.newColumns());
      String query =
          "select "
              + String.join(", ", columns())
              + " from "
              + from.grainTable(origin.get())
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
      merger.replace(grain, table, new PartialTable(new KeySet(), to.newColumns()));
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
