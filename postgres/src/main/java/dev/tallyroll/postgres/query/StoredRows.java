package dev.tallyroll.postgres.query;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tile;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.wire.RowReader;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** Reads the stored buckets of a question, each grain once. */
final class StoredRows {
  /**
   * When the runs hold at least this part of their span, the whole span is read and the rest
   * skipped here.
   */
  private static final double DENSE = 0.25;

  private final Question question;
  private final BoundRollup projected;
  private final PartialTable table;

  /** Reads into a table of the question's keys and the numbers of its buckets. */
  StoredRows(Question question, PartialTable table) {
    this.question = question;
    this.projected = question.projected;
    this.table = table;
  }

  /** What is read of a grain: the buckets of some runs. */
  private record Part(Grain grain, List<Tile> runs, String relation, String filter) {}

  /** Merges the buckets of these tiles, of some tenants or all. */
  void read(Map<Grain, List<Tile>> tiles, String ofTenants) throws SQLException {
    read(
        tiles.entrySet().stream()
            .map(grain ->
                new Part(
                    grain.getKey(),
                    runs(grain.getValue()),
                    question.installed.bound().grainTable(grain.getKey()),
                    question.filter + ofTenants))
            .toList());
  }

  /** Merges the buckets of these tiles from a relation that has them as the grain's table does. */
  void read(Grain grain, List<Tile> tiles, String relation, String filter) throws SQLException {
    read(List.of(new Part(grain, runs(tiles), relation, filter)));
  }

  /** All of them at once: beside others each round trip has to wait for a processor. */
  private void read(List<Part> parts) throws SQLException {
    if (parts.isEmpty()) {
      return;
    }
    List<String> queries = new ArrayList<>();
    for (Part part : parts) {
      queries.add("(" + rowsOf(part, queries.size()) + ")");
    }
    int[] runs = new int[parts.size()];
    try (RowReader rows = RowReader.of(question.connection, String.join(" union all ", queries))) {
      while (rows.next()) {
        int part = rows.readInt();
        int start = rows.position();
        for (int i = 0; i < projected.keys(); i++) {
          rows.skip();
        }
        int end = rows.position();
        long bucket = rows.readInstant();
        int run = runOf(parts.get(part).runs(), bucket, runs[part]);
        if (run < 0) {
          rows.skipRow();
          continue;
        }
        runs[part] = run;
        int group =
            table.group(
                table.keys().intern(rows.bytes(), start, end - start),
                question.buckets.indexOf(bucket));
        table.read(group, rows);
        try {
          question.checkRows(table.size());
        } catch (TallyrollException e) {
          // The connection goes on to be used.
          rows.skipAll();
          throw e;
        }
      }
    }
  }

  /** The index of the run that holds a bucket, or -1; the last one is tried first. */
  private static int runOf(List<Tile> runs, long bucket, int last) {
    if (bucket >= runs.get(last).start() && bucket < runs.get(last).end()) {
      return last;
    }
    int low = 0;
    int high = runs.size() - 1;
    while (low <= high) {
      int middle = (low + high) >>> 1;
      if (bucket < runs.get(middle).start()) {
        high = middle - 1;
      } else if (bucket >= runs.get(middle).end()) {
        low = middle + 1;
      } else {
        return middle;
      }
    }
    return -1;
  }

  /** A query for the rows of these runs, and maybe of what lies between them, by its number. */
  private String rowsOf(Part part, int number) {
    List<Tile> runs = part.runs();
    String select =
        "select " + number + ", " + String.join(", ", projected.keyColumns()) + ", bucket";
    String columns =
        projected.measureColumns().isEmpty()
            ? ""
            : ", " + String.join(", ", projected.measureColumns());
    String from = columns + " from " + part.relation() + " where ";
    String span =
        "bucket >= "
            + FeedSql.instant(runs.getFirst().start())
            + " and bucket < "
            + FeedSql.instant(runs.getLast().end());
    long covered = runs.stream().mapToLong(run -> run.end() - run.start()).sum();
    if (covered >= DENSE * (runs.getLast().end() - runs.getFirst().start())) {
      return select + from + span + part.filter();
    }
    if (question.request.tenants().isEmpty()) {
      return select
          + from
          + span
          + " and bucket = any ('{"
          + starts(part.grain(), runs)
          + "}'::timestamptz[])"
          + part.filter();
    }
    // OFFSET 0 keeps the planner from turning the loop over the runs into a join that reads the
    // whole span for each.
    return "select part.* from (values "
        + runs.stream()
            .map(
                run -> "(" + FeedSql.instant(run.start()) + ", " + FeedSql.instant(run.end()) + ")")
            .collect(Collectors.joining(", "))
        + ") run (run_from, run_to), lateral ("
        + select
        + from
        + "bucket >= run_from and bucket < run_to and "
        + span
        + part.filter()
        + " offset 0) part";
  }

  private static String starts(Grain grain, List<Tile> runs) {
    List<String> starts = new ArrayList<>();
    for (Tile run : runs) {
      for (long bucket = run.start(); bucket < run.end(); bucket = grain.end(bucket)) {
        starts.add("\"" + Times.format(bucket) + "\"");
      }
    }
    return String.join(",", starts);
  }

  /** Tiles that touch, made one. */
  private static List<Tile> runs(List<Tile> tiles) {
    List<Tile> runs = new ArrayList<>();
    for (Tile tile : tiles) {
      if (!runs.isEmpty() && runs.getLast().end() == tile.start()) {
        Tile last = runs.removeLast();
        runs.add(new Tile(tile.grain(), last.start(), tile.end()));
      } else {
        runs.add(tile);
      }
    }
    return runs;
  }
}
