package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Markers;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Adoption;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;

/**
 * Proves that a rollup equals its source, and repairs what does not. Thread-safe.
 *
 * <p>In one snapshot for each UTC day: the source's rows, folded, must equal the stored partials
 * merged with the rows that the cursor has not seen. Counts, exact sums, extremes and latest values
 * are compared as values, sketches byte for byte, sums of doubles within 1e-9 of the sum of their
 * absolute values. What {@link Losses} finds is told apart: its source is missing.
 */
public final class Verifier {
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
          RollupVisibility.check(connection, installed.bound());
          Parts parts = Parts.of(connection, installed, request, clock.instant());
          List<Adoption> adopted = Adoption.of(connection, request.rollup());
          connection.commit();
          progress.begins(parts.list().size());
          Tally tally = new Tally(installed.bound());
          for (Part part : parts.list()) {
            lockTables(connection, installed);
            Installed now = Registry.get(connection, request.rollup());
            SourceVisibility.check(connection, now.bound().table());
            RollupVisibility.check(connection, now.bound());
            if (now.uncovered(part.from(), part.to()).isPresent()) {
              Tally.note(tally.uncovered, part);
            } else if (now.movedDays().contains(part.grains().getFirst())) {
              Tally.note(tally.pending, part);
            } else if (isUndecided(connection, now, part)) {
              Tally.note(tally.pending, part);
            } else if (adopted.stream().anyMatch(one -> one.touches(part.from(), part.to()))) {
              Tally.note(tally.adopted, part);
            } else if (now.isSealed(part.from(), part.to())) {
              Tally.note(tally.sealed, part);
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
              Installed installed = Registry.get(connection, request.rollup());
              RollupVisibility.check(connection, installed.bound());
              Parts found = Parts.of(connection, installed, request, clock.instant());
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
                  && !now.isSealed(part.from(), part.to())
                  // What a table brings that could not be locked yet is computed anew as a whole.
                  && !isUndecided(writing, now, part)) {
                repaired.addAndGet(repair(writing, reading, now, part, request, acceptLoss));
              }
            });
        progress.done();
      }
    }
    return new Repaired(request.rollup(), repaired.get());
  }

  private static boolean isUndecided(Connection connection, Installed installed, Part part)
      throws SQLException {
    return Markers.undecided(connection, installed).stream()
        .anyMatch(range -> range.from() < part.to() && part.from() < range.to());
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
          SidesReader.tenants(connection, bound, request).stream()
              .map(tenant -> "left((" + tenant + ")::text, 200)")
              .collect(Collectors.joining(", ", " and tenant in (", ")"));
    }
    return Sql.one(
        connection,
        "select count(*) from tallyroll.quarantine where " + predicate,
        row -> row.getLong(1));
  }

  private void compare(
      Connection connection, Installed installed, Part part, VerifyRequest request, Tally tally)
      throws SQLException {
    SidesReader reader =
        new SidesReader(
            connection, connection, installed, FeedSql.unread(installed), request, clock.instant());
    Sides sides = reader.of(part);
    if (request.sample().isPresent()
        || part.grains().getFirst().equals(installed.bound().rollup().finest())) {
      // The days of zones read the same rows once more.
      tally.addRows(sides.rows());
    }
    Comparison comparison = Comparison.of(installed, sides);
    Losses losses = losses(installed, part, sides, comparison, reader);
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
      Installed installed, Part part, Sides sides, Comparison comparison, SidesReader reader)
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
    Sides finer = reader.of(new Part(part.from(), part.to(), grains));
    return new Losses(sides.keys(), finer.expected(), finer.actual(), installed.keptFrom());
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
    SidesReader reader =
        new SidesReader(reading, writing, installed, List.of(), request, clock.instant());
    Sides sides = reader.of(part);
    Comparison comparison = Comparison.of(installed, sides);
    if (!acceptLoss) {
      Losses losses = losses(installed, part, sides, comparison, reader);
      if (!losses.isEmpty()) {
        throw refused(bound, part, sides, losses, request);
      }
    }
    Merger merger = new Merger(writing, bound, installed.keptFrom(), installed.openFrom());
    for (Grain grain : part.grains()) {
      PartialTable expected = Sides.table(sides.expected(), grain);
      PartialTable present = new PartialTable(sides.keys(), bound.newColumns());
      PartialTable gone = new PartialTable(sides.keys(), bound.newColumns());
      for (Comparison.Difference difference : comparison.differences()) {
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
    if (!comparison.differences().isEmpty()) {
      checkMended(installed, reader.of(part), part);
    }
    return comparison.differences().size();
  }

  /** What was written is read once more: a repair that does not help must not say that it did. */
  private static void checkMended(Installed installed, Sides sides, Part part) {
    int left = Comparison.of(installed, sides).differences().size();
    if (left > 0) {
      throw new IllegalStateException(
          left
              + " buckets from "
              + Times.format(part.from())
              + " differ also after they were computed anew; nothing of that day is changed");
    }
  }

  private static TallyrollException refused(
      BoundRollup bound, Part part, Sides sides, Losses losses, VerifyRequest request) {
    String what = "rows";
    long from = part.from();
    long to = part.to();
    String others = "";
    if (!Tally.isWhole(sides, request)) {
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
}
