package dev.tallyroll.bench;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** What is looked at once a minute, and how it is printed. */
final class Gauges {
  /** One of them: a column of the table. */
  enum Gauge {
    ROWS("rows written", 0),
    SOURCE("source MB", 1),
    ROLLUPS("rollups MB", 1),
    INDEXES("their indexes MB", 1),
    LOG("log MB", 1),
    CATALOG("catalog MB", 1),
    DEAD("dead tuples", 0),
    HEAP("heap MB", 1),
    RSS("RSS MB", 0),
    BACKENDS("backends MB", 0),
    CONNECTIONS("connections", 0),
    LAG_P50("lag p50 s", 2),
    LAG_P99("p99", 2),
    LAG_MAX("max", 2),
    REFRESHES("refreshes", 0),
    FAILURES("failures", 0);

    private final String title;
    private final int decimals;

    Gauge(String title, int decimals) {
      this.title = title;
      this.decimals = decimals;
    }
  }

  private static final String SIZES =
      """
      with stored as (
        select c.oid, pg_table_size(c.oid) size, pg_indexes_size(c.oid) indexes
        from pg_class c
        where c.relnamespace = 'tallyroll'::regnamespace and c.relkind = 'r' and c.relname ~ any (?::text[]))
      select (select sum(pg_total_relation_size(relid)) from pg_partition_tree(?::regclass)),
             (select sum(size) from stored), (select sum(indexes) from stored),
             (select sum(pg_total_relation_size(oid)) from pg_class
              where relnamespace = 'tallyroll'::regnamespace and relkind = 'r' and relname ~ '^log_'),
             (select sum(pg_total_relation_size(oid)) from pg_class where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'),
             (select pg_stat_get_dead_tuples(oid) from stored order by size desc limit 1),
             (select count(*) from pg_stat_activity where backend_type = 'client backend')
      """;

  private final Database database;
  private final String source;
  private final String patterns;

  /** Of a source and its rollups. */
  Gauges(Database database, String source, List<String> rollups) {
    this.database = database;
    this.source = source;
    this.patterns =
        rollups.stream().map(name -> "^" + name + "_").collect(Collectors.joining(",", "{", "}"));
  }

  /** What the server and this process tell; the rest is for the caller. */
  Map<Gauge, Double> read() {
    Map<Gauge, Double> values = new EnumMap<>(Gauge.class);
    System.gc();
    values.put(
        Gauge.HEAP, ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed() / 1e6);
    values.put(Gauge.RSS, memory(Path.of("/proc/self/status"), "VmRSS:"));
    List<Long> pids =
        database.with(
            "bench",
            connection -> {
              sizes(connection, values);
              return Sql.list(
                  connection, "select pid from pg_stat_activity", row -> row.getLong(1));
            });
    double backends = 0;
    for (long pid : pids) {
      // Their own memory: the shared buffers would be counted once for each.
      backends += memory(Path.of("/proc/" + pid + "/status"), "RssAnon:");
    }
    values.put(Gauge.BACKENDS, backends == 0 ? Double.NaN : backends);
    return values;
  }

  private void sizes(Connection connection, Map<Gauge, Double> values) throws SQLException {
    List<Gauge> sizes =
        List.of(Gauge.SOURCE, Gauge.ROLLUPS, Gauge.INDEXES, Gauge.LOG, Gauge.CATALOG);
    Sql.one(
        connection,
        SIZES,
        row -> {
          for (int i = 0; i < sizes.size(); i++) {
            values.put(sizes.get(i), row.getLong(i + 1) / 1e6);
          }
          values.put(Gauge.DEAD, row.getDouble(6));
          values.put(Gauge.CONNECTIONS, row.getDouble(7));
          return values;
        },
        patterns,
        source);
  }

  /** A line of a process's status in MB; 0 if there is no such process or file. */
  private static double memory(Path status, String name) {
    if (!Files.isReadable(status)) {
      return 0;
    }
    try {
      for (String line : Files.readAllLines(status)) {
        if (line.startsWith(name)) {
          return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1_024 / 1e6;
        }
      }
    } catch (IOException e) {
      // It has ended meanwhile: before its file was opened, or before it was read.
    }
    return 0;
  }

  /** Prints the head of the table. */
  static void printHead() {
    List<String> titles = Arrays.stream(Gauge.values()).map(gauge -> gauge.title).toList();
    System.out.println("| minute | " + String.join(" | ", titles) + " |");
    System.out.println("|" + "---|".repeat(titles.size() + 1));
  }

  /** Prints a row of it. */
  static void print(String first, Map<Gauge, Double> values) {
    StringBuilder line = new StringBuilder("| " + first + " |");
    for (Gauge gauge : Gauge.values()) {
      double value = values.getOrDefault(gauge, Double.NaN);
      line.append(
          Double.isNaN(value)
              ? " |"
              : String.format(Locale.ROOT, " %,." + gauge.decimals + "f |", value));
    }
    System.out.println(line);
  }

  /** The mean of each but the rows, which only grow. */
  static Map<Gauge, Double> mean(List<Map<Gauge, Double>> readings) {
    Map<Gauge, Double> means = new EnumMap<>(Gauge.class);
    for (Gauge gauge : Gauge.values()) {
      if (gauge != Gauge.ROWS) {
        means.put(
            gauge,
            readings.stream()
                .mapToDouble(reading -> reading.getOrDefault(gauge, Double.NaN))
                .average()
                .orElse(Double.NaN));
      }
    }
    return means;
  }
}
