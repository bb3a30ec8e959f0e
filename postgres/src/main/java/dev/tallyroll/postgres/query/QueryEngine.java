package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Buckets;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tile;
import dev.tallyroll.model.time.Tiling;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.feed.Tenants;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import dev.tallyroll.postgres.wire.RowReader;
import java.nio.ByteBuffer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableSet;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Answers queries from the stored partials and, in the same snapshot, the rows that no refresh has
 * merged yet. Thread-safe.
 *
 * <p>The range is cut into calendar buckets of the asked zone, each of these into the coarsest
 * stored buckets that tile it exactly; each grain is then read once, with only the dimensions and
 * measures that are asked for, and merged here.
 */
public final class QueryEngine {
  private final Database database;
  private final InstantSource clock;

  /** The statement that locks the tables of a rollup, by its name. */
  private final Map<String, String> locks = new ConcurrentHashMap<>();

  /** An engine for a database; the clock says what today is. */
  public QueryEngine(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * Answers a query.
   *
   * @throws TallyrollException if a name does not exist (exit 2), or a part of the range is no
   *     longer or not yet there (exit 3)
   */
  public QueryResult run(QueryRequest request) {
    return database.with("query", connection -> run(connection, request));
  }

  /** Answers a query on a connection that is not in a transaction. */
  public QueryResult run(Connection connection, QueryRequest request) throws SQLException {
    connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    connection.setAutoCommit(false);
    try {
      lock(connection, request);
      Installed installed = Registry.get(connection, request.rollup());
      if (!lockOf(installed).equals(locks.get(request.rollup()))) {
        // It was dropped and made anew, over something else.
        connection.rollback();
        locks.remove(request.rollup());
        lock(connection, request);
        installed = Registry.get(connection, request.rollup());
      }
      return new Answer(connection, installed, request, clock.instant()).answer();
    } finally {
      connection.rollback();
      connection.setAutoCommit(true);
    }
  }

  /**
   * Locks tables before the snapshot: what a purge or a dropped partition takes away would
   * otherwise read as empty. Which tables these are is remembered from the last query; if that is
   * wrong by now, it is looked up again.
   */
  private void lock(Connection connection, QueryRequest request) throws SQLException {
    // For one tenant the start of parallel workers takes longer than the reading.
    String serial =
        request.tenants().isEmpty() ? "" : "set local max_parallel_workers_per_gather = 0; ";
    String known = locks.get(request.rollup());
    if (known != null) {
      try {
        Sql.run(connection, serial + known);
        return;
      } catch (SQLException e) {
        connection.rollback();
        if (!Faults.state(e).equals("42P01")) {
          throw e;
        }
      }
    }
    Installed installed = Registry.get(connection, request.rollup());
    connection.commit();
    String lock = lockOf(installed);
    locks.put(request.rollup(), lock);
    Sql.run(connection, serial + lock);
  }

  private static String lockOf(Installed installed) {
    BoundRollup bound = installed.bound();
    String tables =
        bound.rollup().grains().keySet().stream()
            .map(bound::grainTable)
            .collect(Collectors.joining(", "));
    return "lock table " + tables + ", " + installed.feedLocks() + " in access share mode";
  }

  /** One query being answered. */
  private static final class Answer {
    private final Connection connection;
    private final Installed installed;
    private final QueryRequest request;
    private final Instant now;
    private final List<String> texts;
    private final List<Asked> asked;
    private final List<String> measures;
    private final BoundRollup projected;
    private final String filter;
    private final String sourceFilter;
    private final Buckets buckets;
    private final PartialTable table;

    Answer(Connection connection, Installed installed, QueryRequest request, Instant now)
        throws SQLException {
      this.connection = connection;
      this.installed = installed;
      this.request = request;
      this.now = now;
      BoundRollup bound = installed.bound();
      this.texts = request.measures().isEmpty() ? Asked.all(bound.rollup()) : request.measures();
      this.asked = texts.stream().map(text -> Asked.parse(bound.rollup(), text)).toList();
      this.measures = asked.stream().flatMap(Asked::needs).distinct().toList();
      List<String> known = bound.rollup().dimensions().stream().map(Dimension::name).toList();
      Stream.concat(
              request.by().stream(),
              request.where().stream().map(QueryRequest.Condition::dimension))
          .forEach(name -> dimension(known, name));
      this.projected = bound.project(request.by().stream().distinct().toList(), measures);
      this.filter = filter(bound, false);
      this.sourceFilter = filter(bound, true);
      this.buckets = buckets();
      this.table = new PartialTable(new KeySet(), projected.newColumns());
    }

    private void dimension(List<String> known, String name) {
      if (!known.contains(name)) {
        String list = known.isEmpty() ? "it has none" : "there are " + String.join(", ", known);
        throw new TallyrollException(
            ErrorCode.UNKNOWN_NAME,
            "no dimension '"
                + name
                + "' in rollup '"
                + request.rollup()
                + "'"
                + Names.didYouMean(name, known)
                + " ("
                + list
                + ")");
      }
    }

    /** The conditions on tenants and dimensions, over the rollup's tables or over the source. */
    private String filter(BoundRollup bound, boolean onSource) throws SQLException {
      List<String> conditions = new ArrayList<>();
      List<String> keySql = bound.keySql();
      if (!request.tenants().isEmpty()) {
        List<String> values = new ArrayList<>();
        for (String tenant : request.tenants()) {
          values.add(value(bound.tenantType(), tenant, "--tenant"));
        }
        String column = onSource ? Sql.identifier(bound.rollup().source().tenant()) : "tenant";
        conditions.add(column + " in (" + String.join(", ", values) + ")");
      }
      List<String> names = bound.rollup().dimensions().stream().map(Dimension::name).toList();
      for (QueryRequest.Condition condition : request.where()) {
        int at = names.indexOf(condition.dimension());
        String column = onSource ? keySql.get(at + 1) : Sql.identifier(condition.dimension());
        conditions.add(
            column
                + (condition.value() == null
                    ? " is null"
                    : " = "
                        + value(
                            bound.dimensionTypes().get(at),
                            condition.value(),
                            "--where " + condition.dimension())));
      }
      return conditions.isEmpty() ? "" : " and " + String.join(" and ", conditions);
    }

    /** A value as a literal of a type, checked by PostgreSQL itself. */
    private String value(ColumnType type, String text, String option) throws SQLException {
      String literal = Sql.literal(text) + "::" + type.sqlName();
      if (type == ColumnType.TEXT) {
        return literal;
      }
      try {
        Sql.one(connection, "select " + literal, row -> row.getObject(1) != null);
        return literal;
      } catch (SQLException e) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            option + ": '" + text + "' is not a " + type.sqlName() + ": " + Faults.message(e),
            e);
      }
    }

    private Buckets buckets() {
      ZoneId zone = request.zone();
      long to = request.to() == null ? defaultTo(zone) : time(request.to(), "--to");
      long from = request.from() == null ? defaultFrom(to, zone) : time(request.from(), "--from");
      if (from >= to) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "the range is empty: --from "
                + Times.format(from, zone)
                + " is not before --to "
                + Times.format(to, zone));
      }
      try {
        return Buckets.of(from, to, request.every(), zone);
      } catch (IllegalArgumentException e) {
        throw new TallyrollException(
            ErrorCode.USAGE, e.getMessage() == null ? "bad range" : e.getMessage(), e);
      }
    }

    private long defaultTo(ZoneId zone) {
      return Times.micros(
          now.atZone(zone).toLocalDate().plusDays(1).atStartOfDay(zone).toInstant());
    }

    private static long defaultFrom(long to, ZoneId zone) {
      LocalDate end = Times.instant(to - 1).atZone(zone).toLocalDate();
      return Times.micros(end.minusDays(6).atStartOfDay(zone).toInstant());
    }

    private long time(String text, String option) {
      try {
        if (text.length() == 10) {
          return Times.micros(LocalDate.parse(text).atStartOfDay(request.zone()).toInstant());
        }
        return Times.micros(OffsetDateTime.parse(text).toInstant());
      } catch (DateTimeException | ArithmeticException e) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            option
                + ": '"
                + text
                + "' is neither a date, as 2026-05-01, nor an instant, as 2026-05-01T06:00:00Z",
            e);
      }
    }

    QueryResult answer() throws SQLException {
      List<String> incomplete = new ArrayList<>();
      uncovered().ifPresent(incomplete::add);
      unknown().ifPresent(incomplete::add);
      Map<Grain, List<Tile>> tiles = tiles();
      Unmerged unmerged = request.stale() ? Unmerged.NONE : unmerged(tiles);
      unmerged.asOf().ifPresent(incomplete::add);
      if (unmerged.tenants().isEmpty()) {
        read(tiles, "");
      } else {
        Tenants tenants = Tenants.of(unmerged.tenants());
        if (unmerged.tenants().size() != request.tenants().size()) {
          read(tiles, tenants.andOthers(projected));
        }
        read(unmerged.tiles(), tenants.and(projected));
      }
      if (!request.stale() && unmerged.asOf().isEmpty()) {
        readTail(unmerged);
      }
      return result(
          incomplete.isEmpty() ? Optional.empty() : Optional.of(String.join("; ", incomplete)));
    }

    private long from() {
      return buckets.start(0);
    }

    private long to() {
      return buckets.end(buckets.count() - 1);
    }

    private Optional<String> uncovered() {
      Optional<Map.Entry<Long, Long>> gap = installed.uncovered(from(), to());
      if (gap.isEmpty()) {
        return Optional.empty();
      }
      String range = Times.format(gap.get().getKey()) + " to " + Times.format(gap.get().getValue());
      if (!request.partial()) {
        throw new TallyrollException(
            ErrorCode.NOT_COVERED,
            "history from "
                + range
                + " is not filled yet; run: {tallyroll} backfill "
                + request.rollup()
                + " (or ask with --partial)");
      }
      return Optional.of("history from " + range + " is not filled yet");
    }

    /**
     * What was added to the definition after the source rows of a part of the range were gone, or
     * was not in the table that their buckets were adopted from.
     */
    private Optional<String> unknown() {
      Map<String, Long> since = new LinkedHashMap<>();
      for (int i = 0; i < asked.size(); i++) {
        since.put(texts.get(i), since(asked.get(i).parts()));
      }
      Stream.concat(
              request.by().stream(),
              request.where().stream().map(QueryRequest.Condition::dimension))
          .forEach(name -> since.put(name, since(Stream.of(name))));
      Optional<String> late =
          since.entrySet().stream()
              .filter(one -> one.getValue() > from())
              .findFirst()
              .map(one ->
                  "'"
                      + one.getKey()
                      + "' is known from "
                      + Times.format(one.getValue())
                      + " on only, since the source rows of before are gone");
      if (late.isPresent() && !request.partial()) {
        throw new TallyrollException(
            ErrorCode.NOT_COVERED, late.get() + "; ask from then on, or with --partial");
      }
      return late;
    }

    private long since(Stream<String> names) {
      return names
          .mapToLong(name -> installed.starts().getOrDefault(name, Long.MIN_VALUE))
          .max()
          .orElse(Long.MIN_VALUE);
    }

    private Map<Grain, List<Tile>> tiles() {
      Tiling tiling = new Tiling(tiledBy(), installed.openFrom());
      Map<Grain, List<Tile>> tiles = new TreeMap<>();
      for (int i = 0; i < buckets.count(); i++) {
        switch (tiling.tile(buckets.start(i), buckets.end(i))) {
          case Tiling.Outcome.Tiled tiled ->
              tiled
                  .tiles()
                  .forEach(tile ->
                      tiles.computeIfAbsent(tile.grain(), grain -> new ArrayList<>()).add(tile));
          case Tiling.Outcome.NotAligned fault ->
              throw new TallyrollException(
                  ErrorCode.USAGE,
                  Times.format(fault.time(), request.zone())
                      + " ("
                      + Times.format(fault.time())
                      + ") does not fall on a bucket of "
                      + fault.finest().label()
                      + ", the finest grain of '"
                      + request.rollup()
                      + "'; "
                      + (request.every() == Every.ALL
                              || fault.time() == from()
                              || fault.time() == to()
                          ? "the nearest is "
                              + Times.format(fault.finest().floor(fault.time()), request.zone())
                          : "ask in a zone or unit whose buckets do, such as --zone UTC"));
          case Tiling.Outcome.NotKept fault ->
              throw new TallyrollException(ErrorCode.NOT_COVERED, notKept(tiling, fault));
        }
      }
      return tiles;
    }

    /**
     * The grains to answer with: the fixed ones, and the days of the asked zone, if they begin when
     * this program's time zone data says so.
     */
    private SortedMap<Grain, Long> tiledBy() {
      SortedMap<Grain, Long> grains = new TreeMap<>(installed.keptFrom());
      grains
          .keySet()
          .removeIf(grain ->
              grain.zone().isPresent()
                  && (!grain.isDayIn(request.zone()) || installed.movedDays().contains(grain)));
      if (grains.isEmpty()) {
        throw new TallyrollException(
            ErrorCode.NOT_COVERED,
            "rollup '"
                + request.rollup()
                + "' keeps only "
                + installed.keptFrom().keySet().stream()
                    .map(Grain::label)
                    .collect(Collectors.joining(", "))
                + ": ask in such a zone"
                + (installed.movedDays().isEmpty()
                    ? ""
                    : ", after the next refresh, since the time zone data has changed"));
      }
      return grains;
    }

    private String notKept(Tiling tiling, Tiling.Outcome.NotKept fault) {
      String message =
          "the part from "
              + Times.format(fault.start(), request.zone())
              + " to "
              + Times.format(fault.end(), request.zone())
              + " needs buckets of "
              + fault.grain().label()
              + ", which are kept from "
              + Times.format(fault.oldest())
              + " on; ";
      // The nearest range that can be answered: from the first bucket after the last one that
      // cannot.
      int first = buckets.count();
      while (first > 0
          && tiling.tile(buckets.start(first - 1), buckets.end(first - 1))
              instanceof Tiling.Outcome.Tiled) {
        first--;
      }
      return first < buckets.count()
          ? message
              + "the nearest range that can be answered begins with --from "
              + Times.format(buckets.start(first), request.zone())
          : message
              + "no bucket of this range can be answered in this zone; --zone UTC or a later range may be";
    }

    /**
     * When the runs hold at least this part of their span, the whole span is read and the rest
     * skipped here.
     */
    private static final double DENSE = 0.25;

    private void read(Map<Grain, List<Tile>> tiles, String ofTenants) throws SQLException {
      for (Map.Entry<Grain, List<Tile>> grain : tiles.entrySet()) {
        read(grain.getKey(), grain.getValue(), filter + ofTenants);
      }
    }

    private void read(Grain grain, List<Tile> tiles, String filter) throws SQLException {
      List<Tile> runs = runs(tiles);
      try (RowReader rows = RowReader.of(connection, rowsOf(grain, runs, filter))) {
        int run = 0;
        while (rows.next()) {
          int start = rows.position();
          for (int i = 0; i < projected.keyColumns().size(); i++) {
            rows.skip();
          }
          int end = rows.position();
          long bucket = rows.readInstant();
          run = runOf(runs, bucket, run);
          if (run < 0) {
            run = 0;
            rows.skipRow();
            continue;
          }
          int group =
              table.group(
                  table.keys().intern(rows.bytes(), start, end - start), buckets.indexOf(bucket));
          table.read(group, rows);
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

    /** A query for the rows of these runs, and maybe of what lies between them. */
    private String rowsOf(Grain grain, List<Tile> runs, String filter) {
      String select = "select " + String.join(", ", projected.keyColumns()) + ", bucket";
      String columns =
          projected.measureColumns().isEmpty()
              ? ""
              : ", " + String.join(", ", projected.measureColumns());
      String from = columns + " from " + installed.bound().grainTable(grain) + " where ";
      String span =
          "bucket >= "
              + FeedSql.instant(runs.getFirst().start())
              + " and bucket < "
              + FeedSql.instant(runs.getLast().end());
      long covered = runs.stream().mapToLong(run -> run.end() - run.start()).sum();
      if (covered >= DENSE * (runs.getLast().end() - runs.getFirst().start())) {
        return select + from + span + filter;
      }
      if (request.tenants().isEmpty()) {
        return select
            + from
            + span
            + " and bucket = any ('{"
            + starts(grain, runs)
            + "}'::timestamptz[])"
            + filter;
      }
      // OFFSET 0 keeps the planner from turning the loop over the runs into a join that reads the
      // whole span for each.
      return "select part.* from (values "
          + runs.stream()
              .map(run ->
                  "(" + FeedSql.instant(run.start()) + ", " + FeedSql.instant(run.end()) + ")")
              .collect(Collectors.joining(", "))
          + ") run (run_from, run_to), lateral ("
          + select
          + from
          + "bucket >= run_from and bucket < run_to and "
          + span
          + filter
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

    /**
     * What is to be done about changes that are not merged.
     *
     * @param tenants of whom rows were taken out
     * @param tiles what is read of these tenants: all but the buckets in which such rows were
     * @param recomputed the ranges of these buckets: they are read from the source
     * @param asOf what to say where that cannot be done, so that the answer is as of the last
     *     refresh
     */
    private record Unmerged(
        Set<String> tenants,
        Map<Grain, List<Tile>> tiles,
        List<Leaf.Range> recomputed,
        Optional<String> asOf) {
      static final Unmerged NONE = new Unmerged(Set.of(), Map.of(), List.of(), Optional.empty());
    }

    /**
     * Finds the buckets from which rows were taken out since the last refresh, and cuts the tiles
     * into finer ones around them. What is stored of other tenants is right, and may be all there
     * is.
     */
    private Unmerged unmerged(Map<Grain, List<Tile>> tiles) throws SQLException {
      if (installed.log().isEmpty()) {
        return Unmerged.NONE;
      }
      if (installed.hasOtherLeaves()) {
        return asOf("a table was attached to the source or taken from it");
      }
      if (Sql.one(
          connection,
          "select exists (" + FeedSql.select(FeedSql.markers(installed), "") + ")",
          row -> row.getBoolean(1))) {
        return asOf("the source was truncated or attached to");
      }
      Grain finest = projected.rollup().foldGrain();
      List<Branch> out =
          FeedSql.unread(installed).stream()
              .filter(Branch::isOut)
              .map(branch ->
                  branch.and(sourceFilter + " and " + FeedSql.inRange(projected, from(), to())))
              .toList();
      record Out(Set<String> tenants, TreeSet<Long> buckets) {}
      Out taken =
          Sql.one(
              connection,
              "select coalesce(array_agg(distinct tenant::text), '{}'), coalesce(array_agg(distinct (extract(epoch from date_bin('"
                  + finest.width().toSeconds()
                  + " seconds', t, 'epoch'::timestamptz)) * 1000000)::bigint), '{}') from ("
                  + FeedSql.select(
                      out,
                      projected.keySql().getFirst()
                          + " as tenant, "
                          + projected.timeSql()
                          + " as t")
                  + ") times",
              row ->
                  new Out(
                      new TreeSet<>(List.of((String[]) row.getArray(1).getArray())),
                      new TreeSet<>(List.of((Long[]) row.getArray(2).getArray()))));
      TreeSet<Long> affected = taken.buckets();
      if (affected.isEmpty()) {
        return Unmerged.NONE;
      }
      Map<Grain, List<Tile>> around = new TreeMap<>();
      List<Leaf.Range> ranges = new ArrayList<>();
      tiles.values().forEach(list -> list.forEach(tile -> cut(tile, affected, around, ranges)));
      around.values().forEach(list -> list.sort(Comparator.comparingLong(Tile::start)));
      if (ranges.stream().anyMatch(range -> installed.isSealed(range.from(), range.to()))) {
        return asOf("rows were updated or deleted in a bucket that is sealed in part");
      }
      return new Unmerged(taken.tenants(), around, SourceRanges.union(ranges), Optional.empty());
    }

    private Unmerged asOf(String reason) throws SQLException {
      String last =
          Sql.one(
              connection,
              "select coalesce(to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'the installation')"
                  + " from tallyroll.refresh where rollup = ?",
              row -> row.getString(1),
              request.rollup());
      return new Unmerged(
          Set.of(),
          Map.of(),
          List.of(),
          Optional.of("as of " + last + ", the last refresh: " + reason + " since"));
    }

    private void cut(
        Tile tile,
        NavigableSet<Long> affected,
        Map<Grain, List<Tile>> tiles,
        List<Leaf.Range> ranges) {
      Long first = affected.ceiling(tile.start());
      if (first == null || first >= tile.end()) {
        tiles.computeIfAbsent(tile.grain(), grain -> new ArrayList<>()).add(tile);
        return;
      }
      if (tile.end() > tile.grain().end(tile.start())) {
        long end;
        for (long start = tile.start(); start < tile.end(); start = end) {
          end = tile.grain().end(start);
          cut(new Tile(tile.grain(), start, end), affected, tiles, ranges);
        }
        return;
      }
      Optional<Grain> finer = Tiling.finer(installed.keptFrom(), tile.grain(), tile.start());
      if (finer.isPresent()) {
        cut(new Tile(finer.get(), tile.start(), tile.end()), affected, tiles, ranges);
      } else {
        ranges.add(new Leaf.Range(tile.start(), tile.end()));
      }
    }

    /** Adds the rows that are committed and not merged, and what is recomputed. */
    private void readTail(Unmerged unmerged) throws SQLException {
      List<Leaf.Range> recomputed = unmerged.recomputed();
      String ofTenants =
          recomputed.isEmpty() ? "" : Tenants.of(unmerged.tenants()).andOfRow(projected);
      long latest = Times.micros(now.plus(Refresher.MOST_AHEAD));
      String range = sourceFilter + " and " + FeedSql.inRange(projected, from(), to());
      String elsewhere =
          recomputed.isEmpty()
              ? ""
              : " and not (" + SourceRanges.contains(projected, recomputed) + ofTenants + ")";
      Feed feed = new Feed(connection, null, projected, latest, Feed.Meter.NONE, Long.MAX_VALUE);
      List<Branch> branches =
          FeedSql.unread(installed).stream()
              .filter(branch -> !branch.isOut())
              .map(branch -> branch.and(range + elsewhere))
              .collect(Collectors.toCollection(ArrayList::new));
      if (!recomputed.isEmpty()) {
        branches.add(
            SourceRanges.of(
                connection,
                projected,
                recomputed,
                sourceFilter + ofTenants + FeedSql.notQuarantined(connection, projected)));
      }
      feed.read(
          branches,
          () ->
              new RowFold(
                  projected, buckets::indexOf, from(), to(), latest, installed.keptFromAny()),
          fold -> fold.table().mergeInto(table, bucket -> bucket));
    }

    private QueryResult result(Optional<String> incomplete) {
      PartialTable answer =
          request.top().isPresent() && !request.by().isEmpty()
              ? topped(request.top().getAsInt())
              : table;
      if (request.fill()) {
        int keys = answer.keys().size();
        for (int key = 0; key < keys; key++) {
          for (int bucket = 0; bucket < buckets.count(); bucket++) {
            answer.group(key, bucket);
          }
        }
      }
      List<List<@Nullable Object>> keys = new ArrayList<>();
      for (int key = 0; key < answer.keys().size(); key++) {
        keys.add(projected.decodeKey(answer.keys(), key).stream().map(Answer::plain).toList());
      }
      Integer[] order = new Integer[answer.size()];
      Arrays.setAll(order, group -> group);
      Arrays.sort(
          order,
          Comparator.<Integer, @Nullable Object>comparing(
                  group -> keys.get(answer.key(group)).getFirst(), Answer::compare)
              .thenComparingLong(answer::bucket)
              .thenComparing(group -> keys.get(answer.key(group)), Answer::compareDimensions));
      List<List<@Nullable Object>> rows = new ArrayList<>();
      for (int group : order) {
        List<@Nullable Object> row = new ArrayList<>();
        List<@Nullable Object> key = keys.get(answer.key(group));
        int bucket = (int) answer.bucket(group);
        row.add(key.getFirst());
        row.add(Times.format(buckets.label(bucket), buckets.zone()));
        row.addAll(key.subList(1, key.size()));
        double seconds = (buckets.end(bucket) - buckets.start(bucket)) / 1e6;
        for (Asked one : asked) {
          row.add(plain(one.value(answer, measures, group, seconds)));
        }
        rows.add(row);
      }
      List<String> columns = new ArrayList<>(List.of("tenant", "bucket"));
      columns.addAll(request.by().stream().distinct().toList());
      columns.addAll(texts);
      return new QueryResult(columns, rows, incomplete);
    }

    /** Dates and the like as text, numbers and booleans as they are. */
    private static @Nullable Object plain(@Nullable Object value) {
      return value == null || value instanceof Number || value instanceof Boolean
          ? value
          : value.toString();
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static int compare(@Nullable Object left, @Nullable Object right) {
      if (left == null || right == null) {
        return left == null ? (right == null ? 0 : 1) : -1;
      }
      return left.getClass() == right.getClass()
          ? ((Comparable) left).compareTo(right)
          : left.toString().compareTo(right.toString());
    }

    private static int compareDimensions(
        List<@Nullable Object> left, List<@Nullable Object> right) {
      boolean leftOther = left.size() > 1 && BoundRollup.OTHER.equals(left.get(1));
      boolean rightOther = right.size() > 1 && BoundRollup.OTHER.equals(right.get(1));
      if (leftOther != rightOther) {
        return leftOther ? 1 : -1;
      }
      for (int i = 1; i < left.size(); i++) {
        int order = compare(left.get(i), right.get(i));
        if (order != 0) {
          return order;
        }
      }
      return 0;
    }

    /**
     * Keeps the first keys of each tenant by the first measure's total, and merges the others into
     * one.
     */
    private PartialTable topped(int most) {
      PartialTable totals = new PartialTable(table.keys(), projected.newColumns());
      table.mergeInto(totals, bucket -> 0);
      double seconds = (to() - from()) / 1e6;
      Map<List<Byte>, List<Integer>> byTenant = new LinkedHashMap<>();
      for (int group = 0; group < totals.size(); group++) {
        byTenant
            .computeIfAbsent(
                tenantField(totals.keys(), totals.key(group)), tenant -> new ArrayList<>())
            .add(group);
      }
      Set<Integer> kept = new HashSet<>();
      for (List<Integer> groups : byTenant.values()) {
        groups.sort(
            Comparator.<Integer>comparingDouble(group ->
                    asked.getFirst().value(totals, measures, group, seconds)
                            instanceof Number number
                        ? number.doubleValue()
                        : Double.NEGATIVE_INFINITY)
                .reversed());
        groups.stream().limit(most).map(totals::key).forEach(kept::add);
      }
      PartialTable answer = new PartialTable(new KeySet(), projected.newColumns());
      for (int group = 0; group < table.size(); group++) {
        byte[] key = table.keys().bytes(table.key(group));
        if (!kept.contains(table.key(group))) {
          ByteBuffer other =
              ByteBuffer.allocate(key.length + 4 * projected.dimensionTypes().size());
          other.put(key, 0, 4 + ByteBuffer.wrap(key).getInt());
          projected.dimensionTypes().forEach(dimension -> other.putInt(BoundRollup.OTHER_LENGTH));
          key = Arrays.copyOf(other.array(), other.position());
        }
        int into = answer.group(answer.keys().intern(key, 0, key.length), table.bucket(group));
        answer.merge(into, table, group);
      }
      return answer;
    }

    private static List<Byte> tenantField(KeySet keys, int key) {
      byte[] bytes = keys.bytes(key);
      List<Byte> field = new ArrayList<>();
      for (int i = 0; i < 4 + ByteBuffer.wrap(bytes).getInt(); i++) {
        field.add(bytes[i]);
      }
      return field;
    }
  }
}
