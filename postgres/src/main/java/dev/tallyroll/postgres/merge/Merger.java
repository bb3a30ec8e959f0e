package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.postgres.wire.RowWriter;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Merges partials into a rollup's tables, in the caller's transaction, which holds the rollup's
 * lock.
 *
 * <p>A partition that is not there yet is loaded, then indexed, then attached. Where rows may
 * exist, the keys are staged, the stored partials of those that exist are read and merged here, and
 * the result is written back by one upsert in key order: no SQL ever merges a sketch on this path.
 */
public final class Merger {
  private final Connection connection;
  private final BoundRollup bound;
  private final SortedMap<Grain, Long> keptFrom;
  private final SortedMap<Grain, Long> openFrom;
  private final String keyList;
  private final List<String> measureColumns;
  private final int storedFields;

  /**
   * A merger.
   *
   * @param connection the writer's connection, under the rollup's lock
   * @param bound the rollup
   * @param keptFrom for each grain the oldest bucket to keep; older ones are left out
   * @param openFrom for some grains the first bucket that is open; it and later ones are left out
   */
  public Merger(
      Connection connection,
      BoundRollup bound,
      SortedMap<Grain, Long> keptFrom,
      SortedMap<Grain, Long> openFrom) {
    this.connection = connection;
    this.bound = bound;
    this.keptFrom = keptFrom;
    this.openFrom = openFrom;
    this.measureColumns = bound.measureColumns();
    this.storedFields = measureColumns.size();
    this.keyList =
        Stream.concat(Stream.of("tenant", "bucket"), bound.keyColumns().stream().skip(1))
            .collect(Collectors.joining(", "));
  }

  /** Merges partials of the grain that rows are folded into, into all grains. Uses them up. */
  public void merge(PartialTable fold) throws SQLException {
    KeyOrder order = new KeyOrder(fold.keys(), bound.keyTypes());
    for (Map.Entry<Grain, PartialTable> grain : GrainTables.of(bound, fold).entrySet()) {
      write(grain.getKey(), grain.getValue(), order, false);
    }
  }

  /** The same into all grains but the days of zones. */
  public void mergeFixed(PartialTable fold) throws SQLException {
    KeyOrder order = new KeyOrder(fold.keys(), bound.keyTypes());
    for (Map.Entry<Grain, PartialTable> grain : GrainTables.ofFixed(bound, fold).entrySet()) {
      write(grain.getKey(), grain.getValue(), order, false);
    }
  }

  /** Merges partials of one grain into its table alone. The table is used up. */
  void merge(Grain grain, PartialTable table) throws SQLException {
    write(grain, table, new KeyOrder(table.keys(), bound.keyTypes()), false);
  }

  /**
   * Replaces buckets by recomputed ones.
   *
   * @param grain their grain
   * @param present the buckets as they must be
   * @param gone buckets that must not be there
   */
  public void replace(Grain grain, PartialTable present, PartialTable gone) throws SQLException {
    write(grain, present, new KeyOrder(present.keys(), bound.keyTypes()), true);
    if (gone.size() > 0) {
      delete(grain, gone);
    }
  }

  private void delete(Grain grain, PartialTable table) throws SQLException {
    delete(grain, table, IntStream.range(0, table.size()).toArray());
  }

  void delete(Grain grain, PartialTable table, int[] groups) throws SQLException {
    Set<Long> patterns = new TreeSet<>();
    String stage =
        stageKeys(grain, table, groups, new KeyOrder(table.keys(), bound.keyTypes()), patterns);
    Sql.run(connection, "analyze " + stage);
    String between = between(table, groups);
    for (long pattern : patterns) {
      Sql.run(
          connection,
          "delete from "
              + bound.grainTable(grain)
              + " p using "
              + stage
              + " k where p.bucket = k.bucket and "
              + sameKey(pattern)
              + between);
    }
    Sql.run(connection, "truncate " + stage);
  }

  /**
   * That a stored row {@code p} has the key of a staged one {@code k}, of those keys whose NULLs
   * are in these places: in a form that the index serves as a whole.
   */
  String sameKey(long pattern) {
    return IntStream.range(0, bound.keys())
        .mapToObj(i -> {
          String column = bound.keyColumns().get(i);
          return (pattern >> i & 1) == 1
              ? "p." + column + " is null"
              : "p." + column + " = k." + column;
        })
        .collect(Collectors.joining(" and ", "", " and k.nulls = " + pattern));
  }

  /** More of a condition: that the bucket of {@code p} lies among those of the groups. */
  private static String between(PartialTable table, int[] groups) {
    return " and p.bucket between "
        + FeedSql.instant(Arrays.stream(groups).mapToLong(table::bucket).min().orElse(0))
        + " and "
        + FeedSql.instant(Arrays.stream(groups).mapToLong(table::bucket).max().orElse(0));
  }

  private void write(Grain grain, PartialTable table, KeyOrder order, boolean replace)
      throws SQLException {
    Map<Long, int[]> groups = byPartition(grain, table);
    if (groups.isEmpty()) {
      return;
    }
    Set<String> attached = Partitions.attached(connection, bound, grain);
    int[] existing = {};
    for (Map.Entry<Long, int[]> partition : groups.entrySet()) {
      order.sort(table, partition.getValue());
      if (attached.contains(Partitions.name(bound, grain, partition.getKey()))) {
        int length = existing.length;
        existing = Arrays.copyOf(existing, length + partition.getValue().length);
        System.arraycopy(partition.getValue(), 0, existing, length, partition.getValue().length);
      } else {
        load(grain, partition.getKey(), table, partition.getValue());
      }
    }
    if (existing.length > 0) {
      if (!replace) {
        mergeStored(grain, table, existing, order);
      }
      upsert(grain, table, existing);
    }
  }

  /** The groups that are stored, by the start of their partition. */
  Map<Long, int[]> byPartition(Grain grain, PartialTable table) {
    long kept = keptFrom.getOrDefault(grain, Long.MIN_VALUE);
    long open = openFrom.getOrDefault(grain, Long.MAX_VALUE);
    // Buckets come in runs of the same partition, so the last one is tried first.
    long start = Long.MAX_VALUE;
    long end = Long.MIN_VALUE;
    long[] partitionOf = new long[table.size()];
    Map<Long, Integer> counts = new TreeMap<>();
    int run = 0;
    for (int group = 0; group < table.size(); group++) {
      long bucket = table.bucket(group);
      if (bucket < kept || bucket >= open) {
        partitionOf[group] = Long.MIN_VALUE;
        continue;
      }
      if (bucket < start || bucket >= end) {
        if (run > 0) {
          counts.merge(start, run, Integer::sum);
          run = 0;
        }
        start = Partitions.start(grain, bucket);
        end = Partitions.end(grain, start);
      }
      partitionOf[group] = start;
      run++;
    }
    if (run > 0) {
      counts.merge(start, run, Integer::sum);
    }
    Map<Long, int[]> groups = new LinkedHashMap<>();
    counts.forEach((partition, count) -> groups.put(partition, new int[count]));
    Map<Long, int[]> filled = new TreeMap<>();
    counts.keySet().forEach(partition -> filled.put(partition, new int[1]));
    long last = Long.MIN_VALUE;
    int[] into = {};
    int[] at = {};
    for (int group = 0; group < table.size(); group++) {
      long partition = partitionOf[group];
      if (partition == Long.MIN_VALUE) {
        continue;
      }
      if (partition != last) {
        into = groups.getOrDefault(partition, new int[0]);
        at = filled.getOrDefault(partition, new int[1]);
        last = partition;
      }
      into[at[0]++] = group;
    }
    return groups;
  }

  /** Makes a partition: loads it, indexes it, attaches it. */
  void load(Grain grain, long start, PartialTable table, int[] groups) throws SQLException {
    String name = Partitions.name(bound, grain, start);
    String qualified = BoundRollup.qualified(name);
    String parent = bound.grainTable(grain);
    String of = "(" + Sql.literal(parent) + "::regclass, " + Sql.literal(name);
    // By functions of the installer: a refresher need not own what it writes to.
    Sql.run(connection, "select tallyroll.make_partition" + of + ")");
    try (RowWriter rows = RowWriter.of(connection, qualified + " (" + rowColumns() + ")")) {
      for (int group : groups) {
        writeRow(rows, table, group);
      }
      rows.end();
    }
    Sql.run(
        connection,
        "select tallyroll.attach_partition"
            + of
            + ", "
            + FeedSql.instant(start)
            + ", "
            + FeedSql.instant(Partitions.end(grain, start))
            + ")");
  }

  /** The columns of a row in the order they are written in: key, bucket, measures. */
  private String rowColumns() {
    return Stream.of(bound.keyColumns(), List.of("bucket"), measureColumns)
        .flatMap(List::stream)
        .collect(Collectors.joining(", "));
  }

  private void writeRow(RowWriter rows, PartialTable table, int group) throws SQLException {
    KeySet keys = table.keys();
    int key = table.key(group);
    rows.begin(bound.keys() + 1 + storedFields);
    rows.writeRaw(keys.pool(), keys.start(key), keys.length(key));
    rows.writeInstant(table.bucket(group));
    table.write(group, rows);
  }

  void upsert(Grain grain, PartialTable table, int[] groups) throws SQLException {
    String parent = bound.grainTable(grain);
    String stage = stage(grain, "s", "(like " + parent + " including storage)");
    try (RowWriter rows = RowWriter.of(connection, stage + " (" + rowColumns() + ")")) {
      for (int group : groups) {
        writeRow(rows, table, group);
      }
      rows.end();
    }
    Sql.run(
        connection,
        "insert into "
            + parent
            + " ("
            + rowColumns()
            + ") select "
            + rowColumns()
            + " from "
            + stage
            + " on conflict ("
            + keyList
            + ") do update set "
            + measureColumns.stream()
                .map(column -> column + " = excluded." + column)
                .collect(Collectors.joining(", "))
            + "; truncate "
            + stage);
  }

  /**
   * Reads the stored partials of the groups that exist, merges them into the groups, and says which
   * these are. There is a query for each pattern of NULLs among the keys, so that all of a key
   * finds its row by the index.
   */
  BitSet mergeStored(Grain grain, PartialTable table, int[] groups, KeyOrder order)
      throws SQLException {
    BitSet stored = new BitSet();
    Set<Long> patterns = new TreeSet<>();
    String stage = stageKeys(grain, table, groups, order, patterns);
    Sql.run(connection, "analyze " + stage);
    String between = between(table, groups);
    for (long pattern : patterns) {
      String query =
          "select k.id, "
              + measureColumns.stream()
                  .map(column -> "p." + column)
                  .collect(Collectors.joining(", "))
              + " from "
              + stage
              + " k join "
              + bound.grainTable(grain)
              + " p on p.bucket = k.bucket and "
              + sameKey(pattern)
              + between;
      try (RowReader rows = RowReader.of(connection, query)) {
        while (rows.next()) {
          int group = rows.readInt();
          stored.set(group);
          table.read(group, rows);
        }
      }
    }
    Sql.run(connection, "truncate " + stage);
    return stored;
  }

  /** Stages the keys of groups, and adds the patterns of NULLs among them to {@code patterns}. */
  String stageKeys(
      Grain grain, PartialTable table, int[] groups, KeyOrder order, Set<Long> patterns)
      throws SQLException {
    String keyTypes =
        IntStream.range(0, bound.keys())
            .mapToObj(i ->
                bound.keyColumns().get(i) + " " + bound.keyTypes().get(i).sqlName() + collation(i))
            .collect(Collectors.joining(", "));
    String stage =
        stage(grain, "k", "(id integer, nulls bigint, " + keyTypes + ", bucket timestamptz)");
    KeySet keys = table.keys();
    long[] nulls = new long[keys.size()];
    Arrays.fill(nulls, -1);
    try (RowWriter rows =
        RowWriter.of(
            connection,
            stage + " (id, nulls, " + String.join(", ", bound.keyColumns()) + ", bucket)")) {
      for (int group : groups) {
        int key = table.key(group);
        if (nulls[key] < 0) {
          nulls[key] = order.nulls(key);
          patterns.add(nulls[key]);
        }
        rows.begin(bound.keys() + 3);
        rows.writeInt(group);
        rows.writeLong(nulls[key]);
        rows.writeRaw(keys.pool(), keys.start(key), keys.length(key));
        rows.writeInstant(table.bucket(group));
      }
      rows.end();
    }
    return stage;
  }

  private String collation(int key) {
    return bound.keyTypes().get(key) == ColumnType.TEXT ? " collate \"C\"" : "";
  }

  /**
   * A temporary table of this session. It outlives the transaction, so that a refresh every second
   * does not fill the catalogs with dead rows; the name tells definitions apart, since a pooled
   * session may have seen another one.
   */
  private String stage(Grain grain, String purpose, String shape) throws SQLException {
    String hash = String.format("%08x", bound.rollup().text().hashCode());
    String name = "pg_temp." + Sql.identifier(purpose + "_" + bound.tableName(grain) + "_" + hash);
    Sql.run(
        connection,
        "create temporary table if not exists " + name + " " + shape + " on commit delete rows");
    return name;
  }
}
