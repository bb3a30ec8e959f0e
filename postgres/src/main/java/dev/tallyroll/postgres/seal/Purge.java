package dev.tallyroll.postgres.seal;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.InstantSource;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * How {@code source.keep} works: source rows that are older go, behind a seal. Partitions that hold
 * nothing newer are dropped, each in the transaction of its seal; other rows are deleted in batches
 * after it. Thread-safe.
 */
public final class Purge {
  private static final int BATCH = 10_000;

  /** An idle source is purged for so long; after that the clock is more likely to be wrong. */
  private static final Duration MOST_IDLE = Duration.ofDays(7);

  private final Database database;
  private final InstantSource clock;
  private final Seals seals;

  /** For a database; the clock tells what is old. */
  public Purge(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
    this.seals = new Seals(database, clock);
  }

  /**
   * What went.
   *
   * @param tables the partitions that were dropped
   * @param rows how many rows were deleted
   */
  public record Purged(List<String> tables, long rows) {
    /** Copies the list. */
    public Purged {
      tables = List.copyOf(tables);
    }
  }

  /**
   * Purges the source of a rollup, as far as all definitions over it that have a {@code keep}
   * allow. What keeps it from that is remembered for {@code status} until a purge goes through.
   *
   * @throws TallyrollException if there is something to purge that must not go yet: history that no
   *     backfill has counted, or a clock that seems to have jumped: since the last refresh, or away
   *     from the newest row
   */
  public Purged run(String rollup) {
    try {
      Purged purged = purge(rollup);
      record(rollup, null);
      return purged;
    } catch (TallyrollException e) {
      try {
        record(rollup, e.getMessage());
      } catch (TallyrollException another) {
        e.addSuppressed(another);
      }
      throw e;
    }
  }

  private void record(String rollup, @Nullable String error) {
    database.transact(
        "purge",
        connection ->
            Sql.update(
                connection,
                "update tallyroll.refresh set purge_error = ?, purge_error_at = case when ?::text is not null then clock_timestamp() end"
                    + " where rollup = ? and (purge_error is not null or ?::text is not null)",
                error,
                error,
                rollup,
                error));
  }

  private Purged purge(String rollup) {
    Optional<Leaf.Range> due = database.with("purge", connection -> due(connection, rollup));
    if (due.isEmpty()) {
      return new Purged(List.of(), 0);
    }
    Installed installed = database.with("purge", connection -> Registry.get(connection, rollup));
    List<String> tables = new ArrayList<>();
    for (Leaf leaf :
        database.with("purge", connection -> leaves(connection, installed, due.get().to()))) {
      if (leaf.range().isPresent() && !leaf.isRoot() && isThere(leaf)) {
        if (drop(installed, leaf)) {
          tables.add(leaf.sqlName());
        }
      }
    }
    long rows = 0;
    if (database.with("purge", connection -> hasRows(connection, installed, due.get()))) {
      seals.settled(
          rollup,
          due.get(),
          Seals.Writers.WAIT_IF_NEEDED,
          "",
          (connection, all) ->
              Seals.insert(
                  connection,
                  all.getFirst(),
                  due.get(),
                  "purged before " + Times.format(due.get().to())));
      rows = delete(installed, due.get());
      if (rows == 0
          && database.with("purge", connection -> isStuck(connection, installed, due.get()))) {
        throw new TallyrollException(
            ErrorCode.REFUSED,
            "none of the old rows of "
                + installed.bound().table().label()
                + " could be deleted: a trigger or a row-level security policy for DELETE or UPDATE keeps them, or they are all being changed");
      }
    }
    return new Purged(tables, rows);
  }

  /** The range that is older than every keep, if a row lies in it. */
  private Optional<Leaf.Range> due(Connection connection, String rollup) throws SQLException {
    Installed installed = Registry.get(connection, rollup);
    long days = Registry.keepDays(connection, installed.source());
    if (days == 0) {
      return Optional.empty();
    }
    Leaf.Range range =
        new Leaf.Range(
            Long.MIN_VALUE, Grain.DAY.floor(Times.micros(clock.instant())) - days * Times.DAY);
    if (!hasRows(connection, installed, range)
        && leaves(connection, installed, range.to()).stream().allMatch(Leaf::isRoot)) {
      return Optional.empty();
    }
    checkClock(connection, installed, days);
    return Optional.of(range);
  }

  /** With a clock that has jumped ahead, everything would be old. */
  private void checkClock(Connection connection, Installed installed, long days)
      throws SQLException {
    Optional<String> held = installed.keepTime().next(clock.instant()).held(installed.name());
    if (held.isPresent()) {
      throw new TallyrollException(ErrorCode.REFUSED, "nothing is purged: " + held.get());
    }
    BoundRollup bound = installed.bound();
    String time = bound.timeSql();
    Optional<OffsetDateTime> newest =
        Sql.one(
            connection,
            "select max("
                + time
                + ") from "
                + bound.table().sqlName()
                + " where "
                + time
                + " > '-infinity' and "
                + time
                + " < "
                + FeedSql.instant(Times.micros(clock.instant().plus(Duration.ofDays(1)))),
            row -> Optional.ofNullable(row.getObject(1, OffsetDateTime.class)));
    Duration idle = MOST_IDLE.plusDays(days / 10);
    if (newest.isPresent()
        && Duration.between(newest.get().toInstant(), clock.instant()).compareTo(idle) > 0) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "the newest row of "
              + bound.table().label()
              + " is of "
              + newest.get().toInstant()
              + ": nothing is purged, since it may be the clock that is wrong; once newer rows come it goes on");
    }
  }

  /** The tables whose rows are all older than a time, those above before those below. */
  private static List<Leaf> leaves(Connection connection, Installed installed, long before)
      throws SQLException {
    return Leaf.of(connection, installed.bound().table(), installed.bound().rollup().source())
        .stream()
        .filter(leaf -> leaf.range().isPresent() && leaf.range().get().to() <= before)
        .toList();
  }

  private boolean isThere(Leaf leaf) {
    return database.with(
        "purge",
        connection ->
            Sql.one(
                connection,
                "select to_regclass(?) is not null",
                row -> row.getBoolean(1),
                leaf.sqlName()));
  }

  private static boolean hasRows(Connection connection, Installed installed, Leaf.Range range)
      throws SQLException {
    return FeedSql.exists(
        connection,
        List.of(
            FeedSql.source(
                installed.bound(), FeedSql.inRange(installed.bound(), range.from(), range.to()))));
  }

  /** Whether there are rows to delete still, which every rollup has counted. */
  private static boolean isStuck(Connection connection, Installed installed, Leaf.Range range)
      throws SQLException {
    // An append-only one keeps what a rollup has not read yet.
    return installed.bound().table().column(BoundRollup.XID_COLUMN).isEmpty()
        && hasRows(connection, installed, range)
        && !isUncovered(connection, installed, range);
  }

  /** Seals a table's range and drops it, in one transaction that has locked it before it looked. */
  private boolean drop(Installed installed, Leaf leaf) {
    Leaf.Range range = leaf.range().orElseThrow();
    boolean[] isDropped = new boolean[1];
    try {
      drop(installed, leaf, range, isDropped);
    } catch (TallyrollException e) {
      // Somebody else has dropped it.
      if (!(e.getCause() instanceof SQLException fault) || !Faults.state(fault).equals("42P01")) {
        throw e;
      }
    }
    return isDropped[0];
  }

  private void drop(Installed installed, Leaf leaf, Leaf.Range range, boolean[] isDropped) {
    seals.settled(
        installed.name(),
        range,
        // They would for the table's lock anyhow.
        Seals.Writers.WAIT,
        // As writers lock them: the source first.
        "lock table only "
            + installed.bound().table().sqlName()
            + " in access exclusive mode; lock table "
            + leaf.sqlName()
            + " in access exclusive mode",
        (connection, all) -> {
          // The name may be another table's by now.
          isDropped[0] =
              Leaf.of(connection, installed.bound().table(), installed.bound().rollup().source())
                  .contains(leaf);
          if (!isDropped[0]) {
            return;
          }
          Seals.insert(connection, all.getFirst(), range, leaf.sqlName() + " was purged");
          Sql.update(
              connection,
              "delete from tallyroll.leaf where source = ? and relation in (select relid from pg_partition_tree(?::regclass))",
              all.getFirst().source(),
              leaf.sqlName());
          Sql.run(connection, "drop table " + leaf.sqlName());
        });
  }

  /** Whether a rollup, made meanwhile, has not counted a part of a range. */
  private static boolean isUncovered(Connection connection, Installed installed, Leaf.Range range)
      throws SQLException {
    return Sql.one(
        connection,
        "select exists (select from tallyroll.rollup where source = ? and not isempty(tallyroll.uncovered(name) * tstzmultirange(tstzrange("
            + FeedSql.instant(range.from())
            + ", "
            + FeedSql.instant(range.to())
            + "))))",
        row -> row.getBoolean(1),
        installed.source());
  }

  /** Deletes what every rollup has read, table by table in small transactions. */
  private long delete(Installed installed, Leaf.Range range) {
    BoundRollup bound = installed.bound();
    boolean hasXid = bound.table().column(BoundRollup.XID_COLUMN).isPresent();
    String old =
        FeedSql.inRange(bound, range.from(), range.to())
            + (hasXid
                ? " and ("
                    + BoundRollup.XID_COLUMN
                    + " is null or "
                    + BoundRollup.XID_COLUMN
                    + " < (select min(pg_snapshot_xmin(cursor)) from tallyroll.rollup where source = "
                    + installed.source()
                    + " and changes = 'append'))"
                : "");
    long rows = 0;
    for (Leaf leaf :
        database.with(
            "purge", connection -> Leaf.of(connection, bound.table(), bound.rollup().source()))) {
      if (leaf.kind() != 'r') {
        continue;
      }
      int deleted;
      do {
        deleted =
            database.transact(
                "purge",
                connection -> {
                  if (isUncovered(connection, installed, range)) {
                    return 0;
                  }
                  Sql.run(connection, "set local tallyroll.purge = '" + bound.table().oid() + "'");
                  return Sql.update(
                      connection,
                      "delete from only "
                          + leaf.sqlName()
                          + " where ctid = any (array(select ctid from only "
                          + leaf.sqlName()
                          + " where "
                          + old
                          // Nobody waits for us, nor we for a row that is being changed.
                          + " limit "
                          + BATCH
                          + " for update skip locked)) and "
                          + old);
                });
        rows += deleted;
      } while (deleted == BATCH);
    }
    return rows;
  }
}
