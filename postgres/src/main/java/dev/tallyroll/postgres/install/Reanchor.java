package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.capture.AppendCapture;
import dev.tallyroll.postgres.capture.LogCapture;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiPredicate;

/**
 * Takes rollups over that came into another cluster.
 *
 * <p>After pg_upgrade transaction ids go on where they were, so only the cluster's identifier is
 * written down anew. A restored dump holds source, log and rollups as of one snapshot, but the
 * transaction ids that they store mean nothing to the new cluster, except among each other: by
 * comparing stored ids with the stored cursor, what was not merged yet is merged once more. Then
 * the ids are forgotten: the log is emptied, the column of an append table made anew, so that all
 * its rows are history, and anchor and cursor become snapshots of this cluster. Each step can be
 * killed and run again.
 *
 * <p>What was written to the source after the restore and before this is not told apart from what
 * was merged; verify finds it. While this runs, writers wait.
 */
public final class Reanchor {
  /** Tables that are numbered anew get a number down from the last one for a moment. */
  private static final long AWAY = 0xFFFF_FFFFL;

  private final Database database;
  private final InstantSource clock;

  /** For a database; the clock tells what is no longer kept. */
  public Reanchor(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * Takes a rollup over, and all others of its source; writers wait meanwhile.
   *
   * @param afterUpgrade whether the cluster was upgraded by pg_upgrade, and not restored
   * @return the names of the rollups; none if they are of this cluster already
   * @throws TallyrollException if the transaction ids do not go on as they do after pg_upgrade
   */
  public List<String> run(String rollup, boolean afterUpgrade) {
    List<String> names = database.with("reanchor", connection -> foreign(connection, rollup));
    if (names.isEmpty()) {
      index(rollup);
      return names;
    }
    if (afterUpgrade) {
      database.transact("reanchor", connection -> upgraded(connection, names));
      return names;
    }
    database.transact(
        "reanchor",
        connection -> {
          for (String name : names) {
            Installer.admit(connection, Registry.getOfAnyCluster(connection, name).bound());
          }
          return find(connection, names.getFirst());
        });
    Database.retrying(() -> {
      takeOver(names);
      return true;
    });
    index(rollup);
    return names;
  }

  /** Merges what came with the dump and forgets its transaction ids, while writers wait. */
  private void takeOver(List<String> names) throws SQLException {
    try (Connection connection = database.openToLock("reanchor")) {
      connection.setAutoCommit(false);
      try {
        Sql.run(connection, "set local lock_timeout = '5s'");
        Installed first = Registry.getOfAnyCluster(connection, names.getFirst());
        for (String statement :
            new LogCapture(first.bound().table()).locks(connection, log(connection, names))) {
          Sql.run(connection, statement);
        }
        try (Refresher refresher = new Refresher(database, clock).ofAnyCluster()) {
          for (String name : names) {
            refresher.refresh(
                name, Refresher.WhenBusy.WAIT, (writing, reading) -> passAll(writing, name));
          }
        }
        anchor(connection, names, clock.instant());
        connection.commit();
      } catch (SQLException | RuntimeException e) {
        Database.rollback(connection, e);
        throw e;
      }
    }
  }

  private static Optional<ChangeLog> log(Connection connection, List<String> names)
      throws SQLException {
    for (String name : names) {
      Optional<ChangeLog> log = Registry.getOfAnyCluster(connection, name).log();
      if (log.isPresent()) {
        return log;
      }
    }
    return Optional.empty();
  }

  /** Makes the index of the new column, outside a transaction; a killed run left it out. */
  private void index(String rollup) {
    Installed first = database.with("reanchor", connection -> Registry.get(connection, rollup));
    database.with(
        "reanchor",
        connection -> {
          SourceTable table = first.bound().table();
          if (table.column(BoundRollup.XID_COLUMN).isPresent()) {
            for (String statement : new AppendCapture(table).index(connection)) {
              Sql.run(connection, statement);
            }
          }
          return true;
        });
  }

  private static List<String> foreign(Connection connection, String rollup) throws SQLException {
    Registry.getOfAnyCluster(connection, rollup);
    return Sql.list(
        connection,
        "select name from tallyroll.rollup where source = (select source from tallyroll.rollup where name = ?)"
            + " and tallyroll.is_moved(name) order by name",
        row -> row.getString(1),
        rollup);
  }

  private static boolean upgraded(Connection connection, List<String> names) throws SQLException {
    for (String name : names) {
      if (!Sql.one(
          connection,
          "select pg_snapshot_xmax(cursor) <= pg_snapshot_xmax(pg_current_snapshot()) from tallyroll.rollup where name = ?",
          row -> row.getBoolean(1),
          name)) {
        throw new TallyrollException(
            ErrorCode.REFUSED,
            "this cluster's transaction ids lie behind those of '"
                + name
                + "', so it was not made by pg_upgrade but restored from a dump; run without --after-upgrade");
      }
      Sql.update(
          connection,
          "update tallyroll.rollup set system_identifier = (select system_identifier from pg_control_system()) where name = ?",
          name);
    }
    return true;
  }

  /** A table of the source as it was last looked at. */
  private record Known(long relation, String name, Optional<Leaf.Range> range, String tenants) {}

  /**
   * A dump keeps the names and bounds of tables, but not their object ids. One that had another
   * name when it was last looked at is found by its bounds.
   */
  private static boolean find(Connection connection, String rollup) throws SQLException {
    Installed installed = Registry.getOfAnyCluster(connection, rollup);
    List<Leaf> here =
        Leaf.of(connection, installed.bound().table(), installed.bound().rollup().source());
    Map<Known, Leaf> found = new LinkedHashMap<>();
    List<BiPredicate<Known, Leaf>> same =
        List.of(
            (known, leaf) -> known.name().equals(leaf.sqlName()),
            (known, leaf) ->
                known.range().isPresent()
                    && known.range().equals(leaf.range())
                    && known.tenants().equals(leaf.tenants()));
    List<Known> all = known(connection, installed);
    for (BiPredicate<Known, Leaf> test : same) {
      for (Known known : all) {
        if (!found.containsKey(known)) {
          here.stream()
              .filter(leaf -> !found.containsValue(leaf) && test.test(known, leaf))
              .findFirst()
              .ifPresent(leaf -> found.put(known, leaf));
        }
      }
    }
    // Away from the numbers of others first: one may be another's new one.
    for (Known known : found.keySet()) {
      number(connection, installed, known.relation(), AWAY - known.relation());
    }
    for (Map.Entry<Known, Leaf> one : found.entrySet()) {
      number(connection, installed, AWAY - one.getKey().relation(), one.getValue().oid());
    }
    // By it a rollup knows that it is where it was made.
    Sql.update(
        connection,
        "insert into tallyroll.leaf (source, relation, name) values (?, ?::oid, ?) on conflict do nothing",
        installed.source(),
        installed.bound().table().oid(),
        installed.bound().table().sqlName());
    return true;
  }

  private static List<Known> known(Connection connection, Installed installed) throws SQLException {
    return Sql.list(
        connection,
        "select relation::bigint, name, range_from, range_to, coalesce(tenants, '') from tallyroll.leaf where source = ? order by recorded_at desc",
        row ->
            new Known(
                row.getLong(1), row.getString(2), Leaf.Range.stored(row, 3), row.getString(5)),
        installed.source());
  }

  private static void number(Connection connection, Installed installed, long from, long to)
      throws SQLException {
    Sql.update(
        connection,
        "update tallyroll.leaf set relation = ?::oid where source = ? and relation = ?::oid",
        to,
        installed.source(),
        from);
  }

  /** Writes down that everything that came with the dump is merged. */
  private static void passAll(Connection writing, String name) throws SQLException {
    Installed installed = Registry.getOfAnyCluster(writing, name);
    Sql.update(
        writing,
        "update tallyroll.rollup set cursor = (with last as (select coalesce(max("
            + BoundRollup.XID_COLUMN
            + "::text::numeric), 2) + 1 as xid from "
            + installed.feedName()
            + ") select (greatest(xid, pg_snapshot_xmax(?::pg_snapshot)::text::numeric) || ':' || greatest(xid, pg_snapshot_xmax(?::pg_snapshot)::text::numeric) || ':')::pg_snapshot from last)"
            + " where name = ?",
        installed.cursor().text(),
        installed.cursor().text(),
        name);
  }

  /** Forgets the old transaction ids. */
  private static void anchor(Connection connection, List<String> names, Instant now)
      throws SQLException {
    List<Installed> all = new ArrayList<>();
    for (String name : names) {
      all.add(Registry.getOfAnyCluster(connection, name));
    }
    for (Installed one : all) {
      Sql.run(connection, "lock table " + one.bound().lockName() + " in exclusive mode");
    }
    SourceTable table = all.getFirst().bound().table();
    Optional<ChangeLog> log = log(connection, names);
    if (log.isPresent()) {
      Sql.run(connection, "truncate " + log.get().sqlName());
    }
    if (table.column(BoundRollup.XID_COLUMN).isPresent()) {
      for (String statement : new AppendCapture(table).drop(connection)) {
        Sql.run(connection, statement);
      }
      SourceTable without = SourceTable.find(connection, table.oid()).orElse(table);
      for (String statement : new AppendCapture(without).columnAndTriggers(connection)) {
        Sql.run(connection, statement);
      }
      for (Installed one : all) {
        if (one.log().isEmpty()) {
          // Live rows that were merged into days that are not filled yet are history now.
          InPlace.deleteUncovered(
              connection, connection, one, Times.micros(now.plus(Refresher.MOST_AHEAD)));
        }
      }
    }
    Sql.update(
        connection,
        "update tallyroll.seal set seen = pg_current_snapshot() where source = ?",
        all.getFirst().source());
    for (String name : names) {
      Sql.update(connection, "update tallyroll.slice set seen = null where rollup = ?", name);
      Sql.update(
          connection,
          "update tallyroll.rollup set anchor = pg_current_snapshot(), cursor = pg_current_snapshot(),"
              + " system_identifier = (select system_identifier from pg_control_system()) where name = ?",
          name);
    }
  }
}
