package dev.tallyroll.postgres.install;

import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.FieldWriter;
import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.partial.Scalar;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * Estimates what a month of each grain will take, from a sample of the source's pages.
 *
 * <p>The number of groups of all rows is estimated from those of the sample by the guaranteed-error
 * estimator: groups seen once stand for sqrt(1/f) groups, the others for themselves, f being the
 * sampled part (Charikar, Chaudhuri, Motwani, Narasayya, "Towards estimation error guarantees for
 * distinct values", PODS 2000). Good to a small factor.
 *
 * @param monthBytes bytes of a month by grain, finest first; empty if there is too little to judge
 *     by
 * @param sampled from how many rows
 */
record SizeEstimate(Map<String, Long> monthBytes, long sampled) {
  private static final long MOST_SAMPLED = 200_000;
  private static final long LEAST_SAMPLED = 100;

  /**
   * Bytes of a row beside its fields: tuple header, item pointer, and its entry in the key's index.
   */
  private static final int ROW_OVERHEAD = 28 + 16;

  private static final String ROWS = "tallyroll_rows";

  /** Reads a sample in the caller's transaction. */
  static SizeEstimate of(Connection connection, BoundRollup bound) throws SQLException {
    double rows =
        Sql.one(
            connection,
            "select coalesce(sum(greatest(c.reltuples, 0)), 0)::float8 from pg_class c where c.oid = ?::oid or c.oid in"
                + " (select relid from pg_partition_tree(?::oid::regclass) where isleaf)",
            row -> row.getDouble(1),
            bound.table().oid(),
            bound.table().oid());
    double fraction = Math.min(1, MOST_SAMPLED / Math.max(1, rows));
    BoundRollup counted = counted(bound);
    RowFold fold =
        new RowFold(
            counted,
            bound.rollup().foldGrain()::floor,
            Long.MIN_VALUE,
            Long.MAX_VALUE,
            Long.MAX_VALUE - 1,
            Long.MIN_VALUE);
    long sampled = 0;
    long oldest = Long.MAX_VALUE;
    Sql.run(connection, "set local search_path = " + bound.searchPath());
    String sample =
        " tablesample system ("
            + fraction * 100
            + ") where isfinite("
            + bound.timeSql()
            + ") limit "
            + 2 * MOST_SAMPLED;
    try (RowReader reader =
        RowReader.of(
            connection,
            "select " + FeedSql.columns(bound) + " from " + bound.table().sqlName() + sample)) {
      while (reader.next()) {
        if (fold.fold(reader, false) == RowFold.Outcome.FOLDED) {
          sampled++;
        }
      }
    }
    if (sampled < LEAST_SAMPLED) {
      return new SizeEstimate(Map.of(), sampled);
    }
    PartialTable table = fold.table();
    for (int group = 0; group < table.size(); group++) {
      oldest = Math.min(oldest, table.bucket(group));
    }
    double months = Math.max(Grain.HOUR.micros(), fold.newest() - oldest) / (30.0 * Times.DAY);
    Map<String, Long> bytes = new LinkedHashMap<>();
    for (Grain grain : bound.rollup().grains().keySet()) {
      PartialTable coarser = table;
      if (!grain.equals(bound.rollup().foldGrain())) {
        coarser = new PartialTable(table.keys(), counted.newColumns());
        (grain.zone().isPresent() ? fold.table() : table).mergeInto(coarser, grain::floor);
      }
      bytes.put(grain.label(), (long) (bytes(coarser, fraction) / months));
      if (grain.zone().isEmpty()) {
        table = coarser;
      }
    }
    return new SizeEstimate(bytes, sampled);
  }

  /** The same rollup with one more count, of the sampled rows of each group. */
  private static BoundRollup counted(BoundRollup bound) {
    Rollup rollup = bound.rollup();
    List<Measure> measures = new ArrayList<>(rollup.measures());
    measures.add(new Measure(ROWS, Measure.Kind.COUNT, null, null));
    return new BoundRollup(
        new Rollup(rollup.name(), rollup.source(), rollup.dimensions(), measures, rollup.grains()),
        bound.table(),
        bound.tenantType(),
        bound.dimensionTypes(),
        Stream.concat(bound.inputTypes().stream(), Stream.of(ColumnType.BOOLEAN)).toList(),
        bound.sourceColumns());
  }

  private static double bytes(PartialTable table, double fraction) {
    PartialColumn rows = table.columns().getLast();
    FieldSizes sizes = new FieldSizes();
    long once = 0;
    for (int group = 0; group < table.size(); group++) {
      if (Long.valueOf(1).equals(rows.value(group, new PartialColumn.Part.Value()))) {
        once++;
      }
      // The key is in the row and in the index.
      sizes.bytes += ROW_OVERHEAD + 2L * table.keys().length(table.key(group));
      table.write(group, sizes);
    }
    double groups = Math.sqrt(1 / fraction) * once + (table.size() - once);
    return sizes.bytes * groups / Math.max(1, table.size());
  }

  /** Adds up what fields take on disk. */
  private static final class FieldSizes implements FieldWriter {
    private long bytes;

    @Override
    public void writeNull() {}

    @Override
    public void writeLong(long value) {
      bytes += Long.BYTES;
    }

    @Override
    public void write(Scalar value, ColumnType type) {
      if (!value.isNull()) {
        bytes += type.family() == ColumnType.Family.BYTES ? 1 + value.length() : Long.BYTES;
      }
    }

    @Override
    public void writeBytes(byte[] field) {
      bytes += 1 + field.length;
    }

    @Override
    public void writeBits(byte[] field) {
      bytes += 5 + field.length;
    }
  }
}
