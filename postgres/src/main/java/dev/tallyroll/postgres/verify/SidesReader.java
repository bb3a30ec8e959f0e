package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.merge.Fate;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/** Reads what the source gives of parts of a rollup, and what is there of them. For one thread. */
final class SidesReader {
  private final Connection reading;
  private final Connection writing;
  private final Installed installed;
  private final BoundRollup bound;
  private final List<Branch> unread;
  private final VerifyRequest request;
  private final Instant now;
  private final KeySet keys = new KeySet();

  /**
   * A reader.
   *
   * @param reading where the source is read
   * @param writing where the rollup is, in the same snapshot
   * @param installed the rollup
   * @param unread what the cursor has not seen; none within a refresh
   * @param request which tenants are asked for
   * @param now tells which events have a wrong clock
   */
  SidesReader(
      Connection reading,
      Connection writing,
      Installed installed,
      List<Branch> unread,
      VerifyRequest request,
      Instant now) {
    this.reading = reading;
    this.writing = writing;
    this.installed = installed;
    this.bound = installed.bound();
    this.unread = unread;
    this.request = request;
    this.now = now;
  }

  /** Partials of each grain of a part. */
  private record Grains(SortedMap<Grain, PartialTable> tables, long rows) {}

  /** Folds the rows of a part, by grain. */
  private Grains fold(Part part, List<Branch> branches, boolean changes) throws SQLException {
    Grain finest = part.grains().getFirst();
    long latest = Times.micros(now.plus(Refresher.MOST_AHEAD));
    String range =
        " and "
            + FeedSql.inRange(bound, part.from(), part.to())
            + tenantFilter(reading, Sql.identifier(bound.rollup().source().tenant()))
            // What was taken out is looked for in quarantine by the feed.
            + (changes ? "" : FeedSql.notQuarantined(reading, bound));
    SortedMap<Grain, PartialTable> tables = new TreeMap<>();
    part.grains()
        .forEach(grain -> tables.put(grain, new PartialTable(keys, bound.newColumns(), changes)));
    Feed feed = new Feed(reading, null, bound, latest, Feed.Meter.NONE, Long.MAX_VALUE);
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

  private SortedMap<Grain, PartialTable> stored(Part part) throws SQLException {
    SortedMap<Grain, PartialTable> tables = new TreeMap<>();
    String tenants = tenantFilter(writing, "tenant");
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
      try (RowReader rows = RowReader.of(writing, query)) {
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

  /** Reads both sides of a part. */
  Sides of(Part part) throws SQLException {
    boolean changes = installed.log().isPresent();
    List<Branch> all = List.of(FeedSql.source(installed.bound(), "true"));
    Grains source = fold(part, all, false);
    SortedMap<Grain, PartialTable> actual = stored(part);
    Grains pending = fold(part, unread, changes);
    for (Grain grain : part.grains()) {
      PartialTable unmerged = Sides.table(pending.tables(), grain);
      PartialTable stored = Sides.table(actual, grain);
      if (changes && unmerged.size() > 0) {
        actual.put(grain, changed(unmerged, stored, Sides.table(source.tables(), grain)));
      } else {
        unmerged.mergeInto(stored, bucket -> bucket);
      }
    }
    return new Sides(keys, source.tables(), actual, source.rows());
  }

  /**
   * What is stored with the changes that are not merged: what the next refresh will make of it. A
   * group that it will compute anew is taken as expected, since nothing but the source tells it.
   */
  private PartialTable changed(PartialTable unmerged, PartialTable stored, PartialTable expected) {
    PartialTable next = new PartialTable(stored.keys(), bound.newColumns());
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

  private String tenantFilter(Connection connection, String column) throws SQLException {
    return request.tenants().isEmpty()
        ? ""
        : " and " + column + " in (" + String.join(", ", tenants(connection, bound, request)) + ")";
  }

  /** The tenants that are asked for, in SQL. */
  static List<String> tenants(Connection connection, BoundRollup bound, VerifyRequest request)
      throws SQLException {
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
}
