package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Markers;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.merge.Fate;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Adoption;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import dev.tallyroll.postgres.wire.RowReader;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Proves that a rollup equals its source, and repairs what does not. Thread-safe.
 *
 * <p>In one snapshot for each UTC day: the source's rows, folded, must equal the stored partials
 * merged with the rows that the cursor has not seen. Counts, exact sums, extremes and latest values
 * are compared as values, sketches byte for byte, sums of doubles within 1e-9 of the sum of their
 * absolute values. What {@link Losses} finds is told apart: its source is missing.
 */
public final class Verifier {
  /** How many differences are listed; the others are only counted. */
  private static final int MOST_LISTED = 1_000;

  private final Database database;
  private final InstantSource clock;

  /** A verifier for a database; the clock says which events have a wrong clock. */
  public Verifier(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /** Is told how a verification goes on. */
  public interface Progress {
    /** Into how many parts the range is cut; called once. */
    default void begins(int parts) {}

    /** A part is done. */
    default void done() {}
  }

  /** A range that is compared in one snapshot, and the grains whose whole buckets it holds. */
  private record Part(long from, long to, List<Grain> grains) {}

  /**
   * The parts of a range, and the time of the oldest row or bucket there is, or day to fill,
   * whether it is kept or not.
   */
  private record Parts(List<Part> list, long oldest) {}

  /**
   * Compares.
   *
   * @throws TallyrollException if the rollup does not exist or the database fails
   */
  public VerifyReport verify(VerifyRequest request, Progress progress) {
    return database.with(
        "verify",
        connection -> {
          connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
          connection.setAutoCommit(false);
          Installed installed = Registry.get(connection, request.rollup());
          Parts parts = parts(connection, installed, request);
          List<Adoption> adopted = Adoption.of(connection, request.rollup());
          connection.commit();
          progress.begins(parts.list().size());
          Tally tally = new Tally(installed.bound());
          for (Part part : parts.list()) {
            lockTables(connection, installed);
            Installed now = Registry.get(connection, request.rollup());
            SourceVisibility.check(connection, now.bound().table());
            if (now.uncovered(part.from(), part.to()).isPresent()) {
              note(tally.uncovered, part);
            } else if (now.movedDays().contains(part.grains().getFirst())) {
              note(tally.pending, part);
            } else if (Markers.undecided(connection, now).stream()
                .anyMatch(range -> range.from() < part.to() && part.from() < range.to())) {
              note(tally.pending, part);
            } else if (adopted.stream().anyMatch(one -> one.touches(part.from(), part.to()))) {
              note(tally.adopted, part);
            } else if (now.isSealed(part.from(), part.to())) {
              note(tally.sealed, part);
            } else {
              compare(connection, now, part, request, tally);
            }
            connection.commit();
            progress.done();
          }
          long quarantined = quarantined(connection, installed.bound(), request);
          connection.rollback();
          return tally.report(installed, parts, quarantined, request.sample().isPresent());
        });
  }

  /**
   * What a repair did.
   *
   * @param rollup the rollup
   * @param buckets how many rows of the rollup were recomputed or removed
   */
  public record Repaired(String rollup, long buckets) {}

  /**
   * Recomputes exactly what differs, day by day, each in the transaction of a refresh, after which
   * stored and source must be equal.
   *
   * @param acceptLoss whether buckets may be erased in which the source has no row of their tenant
   *     any more
   * @throws TallyrollException if there is such a bucket and that is not accepted; the days before
   *     it are repaired, and of its day nothing is
   */
  public Repaired repair(VerifyRequest request, boolean acceptLoss, Progress progress) {
    Parts parts =
        database.with(
            "repair",
            connection -> {
              connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
              connection.setAutoCommit(false);
              Parts found = parts(connection, Registry.get(connection, request.rollup()), request);
              connection.rollback();
              return found;
            });
    progress.begins(parts.list().size());
    AtomicLong repaired = new AtomicLong();
    try (Refresher refresher = new Refresher(database, clock)) {
      for (Part part : parts.list()) {
        long before = repaired.get();
        refresher.refresh(
            request.rollup(),
            Refresher.WhenBusy.WAIT,
            (writing, reading) -> {
              repaired.set(before);
              Installed now = Registry.get(writing, request.rollup());
              if (now.uncovered(part.from(), part.to()).isEmpty()
                  && !now.isSealed(part.from(), part.to())) {
                repaired.addAndGet(repair(writing, reading, now, part, request, acceptLoss));
              }
            });
        progress.done();
      }
    }
    return new Repaired(request.rollup(), repaired.get());
  }

  /** Adds a part to a list of ranges; one that begins where the last one ends makes it longer. */
  private static void note(List<String> ranges, Part part) {
    String from = Times.format(part.from());
    String to = Times.format(part.to());
    String end = " to " + from;
    if (!ranges.isEmpty() && ranges.getLast().endsWith(end)) {
      String last = ranges.removeLast();
      ranges.add(last.substring(0, last.length() - end.length()) + " to " + to);
    } else {
      ranges.add(from + " to " + to);
    }
  }

  private static void lockTables(Connection connection, Installed installed) throws SQLException {
    BoundRollup bound = installed.bound();
    String tables =
        bound.rollup().grains().keySet().stream()
            .map(bound::grainTable)
            .collect(Collectors.joining(", "));
    Sql.run(
        connection,
        "lock table " + tables + ", " + installed.feedLocks() + " in access share mode");
  }

  /** Cuts the range into UTC days, or picks buckets of it. */
  private Parts parts(Connection connection, Installed installed, VerifyRequest request)
      throws SQLException {
    BoundRollup bound = installed.bound();
    List<Long> edges = new ArrayList<>();
    String column = Sql.identifier(bound.rollup().source().time());
    String zone = bound.rollup().source().zone() == null ? "" : " at time zone 'UTC'";
    String latest = FeedSql.instant(Times.micros(clock.instant().plus(Refresher.MOST_AHEAD)));
    addEdges(
        connection,
        edges,
        "select min("
            + column
            + ")"
            + zone
            + ", max("
            + column
            + ")"
            + zone
            + " from "
            + bound.table().sqlName()
            + " where "
            + column
            + " > '-infinity' and "
            + column
            + " < "
            + latest
            + (zone.isEmpty() ? "" : zone));
    for (Grain grain : bound.rollup().grains().keySet()) {
      addEdges(
          connection, edges, "select min(bucket), max(bucket) from " + bound.grainTable(grain));
    }
    List<Leaf.Range> uncovered = installed.uncovered();
    if (edges.isEmpty() && uncovered.isEmpty()) {
      return new Parts(List.of(), Long.MAX_VALUE);
    }
    long margin = zone.isEmpty() ? 0 : Times.DAY;
    // History that nobody has filled is named, also where its rows are gone by now.
    uncovered.forEach(gap -> edges.addAll(List.of(gap.from(), gap.to() - 1)));
    long from = Grain.DAY.floor(edges.stream().mapToLong(Long::longValue).min().orElse(0) - margin);
    long to =
        Grain.DAY.floor(edges.stream().mapToLong(Long::longValue).max().orElse(0) + margin)
            + Times.DAY;
    long oldest = from;
    from = Math.max(from, Math.max(Long.MIN_VALUE / 2, installed.keptFromAny()));
    if (request.from() != null) {
      from = Math.max(from, Grain.DAY.floor(request.from()));
    }
    if (request.to() != null) {
      to = Math.min(to, Grain.DAY.ceil(request.to()));
    }
    List<Grain> grains = List.copyOf(bound.rollup().grains().keySet());
    List<Part> parts = new ArrayList<>();
    if (request.sample().isPresent() && from < to) {
      Random random = new Random(request.seed());
      for (int i = 0; i < request.sample().getAsInt(); i++) {
        Grain grain = grains.get(random.nextInt(grains.size()));
        long first =
            Math.max(
                from,
                grain.ceil(
                    Math.max(Long.MIN_VALUE / 2, installed.keptFrom().getOrDefault(grain, from))));
        long last = Math.min(to, installed.openFrom(grain));
        if (first < last) {
          long start = grain.floor(first + (long) (random.nextDouble() * (last - first)));
          parts.add(new Part(start, grain.end(start), List.of(grain)));
        }
      }
      return new Parts(parts, oldest);
    }
    List<Grain> fixed = grains.stream().filter(grain -> grain.zone().isEmpty()).toList();
    if (!fixed.isEmpty()) {
      for (long day = from; day < to; day += Times.DAY) {
        parts.add(new Part(day, day + Times.DAY, fixed));
      }
    }
    for (Grain days : grains) {
      if (days.zone().isPresent()) {
        // Days of which something lies in the range.
        long end;
        long first = Math.max(days.floor(from), installed.keptFrom().getOrDefault(days, from));
        for (long day = Math.max(first, days.ceil(Long.MIN_VALUE)); day < to; day = end) {
          end = days.end(day);
          parts.add(new Part(day, end, List.of(days)));
        }
      }
    }
    return new Parts(parts, oldest);
  }

  private static void addEdges(Connection connection, List<Long> edges, String sql)
      throws SQLException {
    Sql.list(
        connection,
        sql,
        row -> {
          for (int i = 1; i <= 2; i++) {
            OffsetDateTime edge = row.getObject(i, OffsetDateTime.class);
            if (edge != null) {
              edges.add(Times.micros(edge.toInstant()));
            }
          }
          return true;
        });
  }

  /** Partials of each grain of a part. */
  private record Grains(SortedMap<Grain, PartialTable> tables, long rows) {}

  private static String tenantFilter(
      Connection connection, BoundRollup bound, String column, VerifyRequest request)
      throws SQLException {
    return request.tenants().isEmpty()
        ? ""
        : " and " + column + " in (" + String.join(", ", tenants(connection, bound, request)) + ")";
  }

  /** The tenants that are asked for, in SQL. */
  private static List<String> tenants(
      Connection connection, BoundRollup bound, VerifyRequest request) throws SQLException {
    List<String> values = new ArrayList<>();
    for (String tenant : request.tenants()) {
      String literal = Sql.literal(tenant) + "::" + bound.tenantType().sqlName();
      try {
        Sql.one(connection, "select " + literal + " is null", row -> row.getBoolean(1));
      } catch (SQLException e) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "--tenant: '"
                + tenant
                + "' is not a "
                + bound.tenantType().sqlName()
                + ": "
                + Faults.message(e),
            e);
      }
      values.add(literal);
    }
    return values;
  }

  /** How many entries of the quarantine belong to what is asked for. */
  private static long quarantined(Connection connection, BoundRollup bound, VerifyRequest request)
      throws SQLException {
    String predicate = "rollup = " + Sql.literal(bound.name());
    if (request.from() != null || request.to() != null) {
      long from = request.from() == null ? Long.MIN_VALUE : Grain.DAY.floor(request.from());
      long to = request.to() == null ? Long.MAX_VALUE : Grain.DAY.ceil(request.to());
      // A bucket that could not be computed anew has no row; a day of a zone may begin before.
      predicate +=
          " and (case when kind = 'bucket' then (source_row->>'bucket')::timestamptz >= "
              + FeedSql.instant(from)
              + " - case when source_row->>'grain' like '1d@%' then interval '26 hours' else interval '0' end"
              + " and (source_row->>'bucket')::timestamptz < "
              + FeedSql.instant(to)
              + " else "
              + FeedSql.entriesOf(bound, from, to)
              + " end)";
    }
    if (!request.tenants().isEmpty()) {
      predicate +=
          tenants(connection, bound, request).stream()
              .map(tenant -> "left((" + tenant + ")::text, 200)")
              .collect(Collectors.joining(", ", " and tenant in (", ")"));
    }
    return Sql.one(
        connection,
        "select count(*) from tallyroll.quarantine where " + predicate,
        row -> row.getLong(1));
  }

  /** Folds the rows of a part, by grain. */
  private Grains fold(
      Connection connection,
      Installed installed,
      Part part,
      List<Branch> branches,
      boolean changes,
      VerifyRequest request,
      KeySet keys)
      throws SQLException {
    BoundRollup bound = installed.bound();
    Grain finest = part.grains().getFirst();
    long latest = Times.micros(clock.instant().plus(Refresher.MOST_AHEAD));
    String range =
        " and "
            + FeedSql.inRange(bound, part.from(), part.to())
            + tenantFilter(
                connection, bound, Sql.identifier(bound.rollup().source().tenant()), request)
            // What was taken out is looked for in quarantine by the feed.
            + (changes ? "" : FeedSql.notQuarantined(connection, bound));
    SortedMap<Grain, PartialTable> tables = new TreeMap<>();
    part.grains()
        .forEach(grain -> tables.put(grain, new PartialTable(keys, bound.newColumns(), changes)));
    Feed feed = new Feed(connection, null, bound, latest, Feed.Meter.NONE, Long.MAX_VALUE);
    Feed.Result read =
        feed.read(
            branches.stream().map(branch -> branch.and(range)).toList(),
            () ->
                changes
                    ? RowFold.ofChanges(bound, finest::floor, latest, Long.MIN_VALUE)
                    : new RowFold(
                        bound, finest::floor, part.from(), part.to(), latest, Long.MIN_VALUE),
            fold -> tables.forEach((grain, table) -> fold.table().mergeInto(table, grain::floor)));
    return new Grains(tables, read.rows());
  }

  private SortedMap<Grain, PartialTable> stored(
      Connection connection, Installed installed, Part part, VerifyRequest request, KeySet keys)
      throws SQLException {
    BoundRollup bound = installed.bound();
    SortedMap<Grain, PartialTable> tables = new TreeMap<>();
    String tenants = tenantFilter(connection, bound, "tenant", request);
    for (Grain grain : part.grains()) {
      PartialTable table = new PartialTable(keys, bound.newColumns());
      tables.put(grain, table);
      String query =
          "select "
              + String.join(", ", bound.keyColumns())
              + ", bucket, "
              + String.join(", ", bound.measureColumns())
              + " from "
              + bound.grainTable(grain)
              + " where bucket >= "
              + FeedSql.instant(part.from())
              + " and bucket < "
              + FeedSql.instant(part.to())
              + tenants;
      try (RowReader rows = RowReader.of(connection, query)) {
        while (rows.next()) {
          int start = rows.position();
          bound.keyColumns().forEach(column -> rows.skip());
          int end = rows.position();
          long bucket = rows.readInstant();
          table.read(table.group(keys.intern(rows.bytes(), start, end - start), bucket), rows);
        }
      }
    }
    return tables;
  }

  /**
   * What the source gives of a part and what is there of it, by grain.
   *
   * @param keys the keys of all tables
   * @param expected the folded source rows
   * @param actual what is stored, with what is not merged yet
   * @param rows how many source rows were folded
   */
  private record Sides(
      KeySet keys,
      SortedMap<Grain, PartialTable> expected,
      SortedMap<Grain, PartialTable> actual,
      long rows) {}

  /** Reads both sides of a part. */
  @FunctionalInterface
  private interface Reading {
    Sides of(Part part) throws SQLException;
  }

  /**
   * Reads both sides of a part.
   *
   * @param reading where the source is read
   * @param writing where the rollup is, in the same snapshot
   * @param unread what the cursor has not seen; none within a refresh
   * @param keys takes the keys
   */
  private Sides sides(
      Connection reading,
      Connection writing,
      Installed installed,
      Part part,
      List<Branch> unread,
      VerifyRequest request,
      KeySet keys)
      throws SQLException {
    boolean changes = installed.log().isPresent();
    List<Branch> all = List.of(FeedSql.source(installed.bound(), "true"));
    Grains source = fold(reading, installed, part, all, false, request, keys);
    SortedMap<Grain, PartialTable> actual = stored(writing, installed, part, request, keys);
    Grains pending = fold(reading, installed, part, unread, changes, request, keys);
    for (Grain grain : part.grains()) {
      PartialTable unmerged = table(pending.tables(), grain);
      PartialTable stored = table(actual, grain);
      if (changes && unmerged.size() > 0) {
        actual.put(grain, changed(installed, unmerged, stored, table(source.tables(), grain)));
      } else {
        unmerged.mergeInto(stored, bucket -> bucket);
      }
    }
    return new Sides(keys, source.tables(), actual, source.rows());
  }

  private void compare(
      Connection connection, Installed installed, Part part, VerifyRequest request, Tally tally)
      throws SQLException {
    KeySet keys = new KeySet();
    List<Branch> unread = FeedSql.unread(installed);
    Reading reading = one -> sides(connection, connection, installed, one, unread, request, keys);
    Sides sides = reading.of(part);
    if (request.sample().isPresent()
        || part.grains().getFirst().equals(installed.bound().rollup().finest())) {
      // The days of zones read the same rows once more.
      tally.rows += sides.rows();
    }
    Comparison comparison = comparison(installed, sides);
    Losses losses = losses(installed, part, sides, comparison, reading);
    tally.add(sides, comparison, losses);
    if (!losses.isEmpty()) {
      tally.lost(part, sides, losses, request);
    }
  }

  /**
   * What of a part has lost its source rows. A day that is compared by itself, as those of zones
   * are, may have rows left: whether others are gone is told by the finer buckets within it.
   */
  private static Losses losses(
      Installed installed, Part part, Sides sides, Comparison comparison, Reading reading)
      throws SQLException {
    if (comparison.differences().isEmpty()) {
      return Losses.NONE;
    }
    Losses losses =
        new Losses(sides.keys(), sides.expected(), sides.actual(), installed.keptFrom());
    Grain first = part.grains().getFirst();
    List<Grain> grains =
        installed.bound().rollup().grains().keySet().stream()
            .filter(grain -> grain.zone().isEmpty() && grain.isWhole(part.from(), part.to()))
            .filter(grain -> grain.compareTo(first) < 0)
            .collect(Collectors.toCollection(ArrayList::new));
    if (!losses.isEmpty() || grains.isEmpty()) {
      return losses;
    }
    grains.addAll(part.grains());
    Sides finer = reading.of(new Part(part.from(), part.to(), grains));
    return new Losses(sides.keys(), finer.expected(), finer.actual(), installed.keptFrom());
  }

  /**
   * What is stored with the changes that are not merged: what the next refresh will make of it. A
   * group that it will compute anew is taken as expected, since nothing but the source tells it.
   */
  private static PartialTable changed(
      Installed installed, PartialTable unmerged, PartialTable stored, PartialTable expected) {
    PartialTable next = new PartialTable(stored.keys(), installed.bound().newColumns());
    for (int group = 0; group < stored.size(); group++) {
      int changes = unmerged.find(stored.key(group), stored.bucket(group));
      if (changes >= 0) {
        unmerged.merge(changes, stored, group);
      } else {
        next.merge(next.group(stored.key(group), stored.bucket(group)), stored, group);
      }
    }
    for (int group = 0; group < unmerged.size(); group++) {
      int key = unmerged.key(group);
      long bucket = unmerged.bucket(group);
      switch (Fate.of(installed, unmerged, group, stored.find(key, bucket) >= 0)) {
        case WRITTEN -> next.merge(next.group(key, bucket), unmerged, group);
        case INVALID -> {
          int same = expected.find(key, bucket);
          if (same >= 0) {
            next.merge(next.group(key, bucket), expected, same);
          }
        }
        case EMPTIED, NOTHING -> {}
      }
    }
    return next;
  }

  private static PartialTable table(SortedMap<Grain, PartialTable> tables, Grain grain) {
    PartialTable table = tables.get(grain);
    if (table == null) {
      throw new IllegalStateException("no partials of " + grain.label());
    }
    return table;
  }

  /** A bucket that differs; a group of -1 is not there. */
  private record Difference(Grain grain, int key, long bucket, int expectedGroup, int actualGroup) {
    /** Whether something is stored that is lost. */
    boolean isIn(Losses losses) {
      return actualGroup >= 0 && losses.contain(grain, key, bucket);
    }
  }

  /**
   * How two sides compare.
   *
   * @param buckets how many buckets were compared
   * @param differences those that differ
   */
  private record Comparison(long buckets, List<Difference> differences) {}

  private static Comparison comparison(Installed installed, Sides sides) {
    long buckets = 0;
    List<Difference> differences = new ArrayList<>();
    for (Grain grain : sides.expected().keySet()) {
      PartialTable expected = table(sides.expected(), grain);
      PartialTable actual = table(sides.actual(), grain);
      long kept = installed.keptFrom().getOrDefault(grain, Long.MIN_VALUE);
      // Open buckets are made of finer ones, which are compared.
      long open = installed.openFrom(grain);
      for (int group = 0; group < expected.size(); group++) {
        int key = expected.key(group);
        long bucket = expected.bucket(group);
        if (bucket >= kept && bucket < open) {
          buckets++;
          int other = actual.find(key, bucket);
          if (other < 0 || !isSame(expected, group, actual, other)) {
            differences.add(new Difference(grain, key, bucket, group, other));
          }
        }
      }
      for (int group = 0; group < actual.size(); group++) {
        int key = actual.key(group);
        long bucket = actual.bucket(group);
        if (bucket >= kept && expected.find(key, bucket) < 0) {
          buckets++;
          differences.add(new Difference(grain, key, bucket, -1, group));
        }
      }
    }
    return new Comparison(buckets, differences);
  }

  private static boolean isSame(PartialTable expected, int group, PartialTable actual, int other) {
    for (int i = 0; i < expected.columns().size(); i++) {
      if (differing(expected.columns().get(i), group, actual.columns().get(i), other) >= 0) {
        return false;
      }
    }
    return true;
  }

  /** The index of the first stored column in which two partials differ, or -1. */
  private static int differing(PartialColumn expected, int group, PartialColumn actual, int other) {
    List<@Nullable Object> left = fields(expected, group);
    List<@Nullable Object> right = fields(actual, other);
    for (int i = 0; i < left.size(); i++) {
      Object a = left.get(i);
      Object b = right.get(i);
      boolean close =
          a instanceof Double x
              && b instanceof Double y
              && Math.abs(x - y) <= 1e-9 * expected.magnitude(group);
      // A sum keeps the longest scale that it ever had: 2.50 is 2.5.
      boolean same =
          (a instanceof BigDecimal one && b instanceof BigDecimal two)
              ? one.compareTo(two) == 0
              : close || Objects.equals(a, b);
      if (!same) {
        return i;
      }
    }
    return -1;
  }

  private static List<@Nullable Object> fields(PartialColumn column, int group) {
    FieldList fields = new FieldList();
    column.write(group, fields);
    return fields.fields();
  }

  private long repair(
      Connection writing,
      Connection reading,
      Installed installed,
      Part part,
      VerifyRequest request,
      boolean acceptLoss)
      throws SQLException {
    BoundRollup bound = installed.bound();
    KeySet keys = new KeySet();
    Reading both = one -> sides(reading, writing, installed, one, List.of(), request, keys);
    Sides sides = both.of(part);
    Comparison comparison = comparison(installed, sides);
    if (!acceptLoss) {
      Losses losses = losses(installed, part, sides, comparison, both);
      if (!losses.isEmpty()) {
        throw refused(bound, part, sides, losses, request);
      }
    }
    Merger merger = new Merger(writing, bound, installed.keptFrom(), installed.openFrom());
    for (Grain grain : part.grains()) {
      PartialTable expected = table(sides.expected(), grain);
      PartialTable present = new PartialTable(keys, bound.newColumns());
      PartialTable gone = new PartialTable(keys, bound.newColumns());
      for (Difference difference : comparison.differences()) {
        if (difference.grain().equals(grain)) {
          int group = difference.expectedGroup();
          int into = (group < 0 ? gone : present).group(difference.key(), difference.bucket());
          if (group >= 0) {
            present.merge(into, expected, group);
          }
        }
      }
      merger.replace(grain, present, gone);
    }
    return comparison.differences().size();
  }

  /** Whether the source has no row at all of a part. */
  private static boolean isWhole(Sides sides, VerifyRequest request) {
    return sides.rows() == 0 && request.tenants().isEmpty();
  }

  private static TallyrollException refused(
      BoundRollup bound, Part part, Sides sides, Losses losses, VerifyRequest request) {
    String what = "rows";
    long from = part.from();
    long to = part.to();
    String others = "";
    if (!isWhole(sides, request)) {
      List<Losses.Range> ranges = losses.ranges();
      Losses.Range first = ranges.getFirst();
      what = "row of tenant " + bound.decodeKey(sides.keys(), first.key()).getFirst();
      from = first.from();
      to = first.to();
      others =
          ranges.size() == 1 ? "" : ", and so it is with " + (ranges.size() - 1) + " more ranges";
    }
    return new TallyrollException(
        ErrorCode.REFUSED,
        "source missing: "
            + bound.table().label()
            + " has no "
            + what
            + " from "
            + Times.format(from)
            + " to "
            + Times.format(to)
            + ", but the rollup has"
            + others
            + "; repair would erase it (--accept-loss does, --from, --to and --tenant leave it out)");
  }

  /** What has been found so far. */
  private static final class Tally {
    private final BoundRollup bound;
    private final List<Mismatch> mismatches = new ArrayList<>();
    private final List<Mismatch> lost = new ArrayList<>();
    private final List<String> uncovered = new ArrayList<>();
    private final MissingRanges sourceMissing = new MissingRanges();
    private final List<String> sealed = new ArrayList<>();
    private final List<String> adopted = new ArrayList<>();
    private final List<String> pending = new ArrayList<>();
    private long rows;
    private long buckets;
    private long differing;
    private long lostBuckets;

    Tally(BoundRollup bound) {
      this.bound = bound;
    }

    void add(Sides sides, Comparison comparison, Losses losses) {
      buckets += comparison.buckets();
      differing += comparison.differences().size();
      for (Difference difference : comparison.differences()) {
        boolean isLost = difference.isIn(losses);
        lostBuckets += isLost ? 1 : 0;
        List<Mismatch> list = isLost ? lost : mismatches;
        if (list.size() < MOST_LISTED) {
          list(sides, difference, isLost, list);
        }
      }
    }

    /** Notes of which ranges rows are gone: of all tenants, or of which. */
    void lost(Part part, Sides sides, Losses losses, VerifyRequest request) {
      if (isWhole(sides, request)) {
        sourceMissing.add(part.from(), part.to());
        return;
      }
      for (Losses.Range range : losses.ranges()) {
        sourceMissing.add(
            String.valueOf(bound.decodeKey(sides.keys(), range.key()).getFirst()),
            range.from(),
            range.to());
      }
    }

    private void list(Sides sides, Difference difference, boolean isLost, List<Mismatch> into) {
      Grain grain = difference.grain();
      long bucket = difference.bucket();
      PartialTable expected = table(sides.expected(), grain);
      PartialTable actual = table(sides.actual(), grain);
      int expectedGroup = difference.expectedGroup();
      int actualGroup = difference.actualGroup();
      List<@Nullable Object> fields = bound.decodeKey(sides.keys(), difference.key());
      Map<String, @Nullable Object> dimensions = new LinkedHashMap<>();
      for (int i = 0; i < bound.rollup().dimensions().size(); i++) {
        dimensions.put(bound.rollup().dimensions().get(i).name(), fields.get(i + 1));
      }
      if (expectedGroup < 0 || actualGroup < 0) {
        into.add(
            new Mismatch(
                fields.getFirst(),
                grain.label(),
                Times.format(bucket),
                dimensions,
                isLost ? "(source missing)" : "(row)",
                actualGroup < 0 ? null : "present",
                expectedGroup < 0 ? null : "present"));
        return;
      }
      for (int i = 0; i < expected.columns().size(); i++) {
        PartialColumn column = expected.columns().get(i);
        int at = differing(column, expectedGroup, actual.columns().get(i), actualGroup);
        if (at >= 0) {
          StoredColumn stored = column.stored().get(at);
          into.add(
              new Mismatch(
                  fields.getFirst(),
                  grain.label(),
                  Times.format(bucket),
                  dimensions,
                  stored.name(),
                  fields(actual.columns().get(i), actualGroup).get(at),
                  fields(column, expectedGroup).get(at)));
        }
      }
    }

    VerifyReport report(Installed installed, Parts found, long quarantined, boolean sample) {
      List<Part> parts = found.list();
      List<String> expired = new ArrayList<>();
      installed
          .keptFrom()
          .forEach((grain, kept) -> {
            if (found.oldest() < kept) {
              expired.add(grain.label() + " before " + Times.format(kept));
            }
          });
      List<Mismatch> listed = new ArrayList<>(mismatches);
      listed.addAll(lost.subList(0, Math.clamp(MOST_LISTED - listed.size(), 0, lost.size())));
      return new VerifyReport(
          installed.name(),
          parts.isEmpty() ? "" : Times.format(parts.stream().mapToLong(Part::from).min().orElse(0)),
          parts.isEmpty() ? "" : Times.format(parts.stream().mapToLong(Part::to).max().orElse(0)),
          rows,
          buckets,
          differing,
          lostBuckets,
          listed,
          uncovered,
          sourceMissing.list(),
          sealed,
          adopted,
          pending,
          expired,
          quarantined,
          sample
              ? parts.stream()
                  .map(part -> part.grains().getFirst().label() + " " + Times.format(part.from()))
                  .toList()
              : List.of());
    }
  }
}
