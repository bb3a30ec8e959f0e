package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.capture.AppendCapture;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

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
 * was merged; verify finds it.
 */
public final class Reanchor {
  private final Database database;
  private final InstantSource clock;

  /** For a database; the clock tells what is no longer kept. */
  public Reanchor(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * Takes a rollup over, and all others of its source.
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
    database.transact("reanchor", connection -> find(connection, names.getFirst()));
    try (Refresher refresher = new Refresher(database, clock).ofAnyCluster()) {
      for (String name : names) {
        refresher.refresh(
            name, Refresher.WhenBusy.WAIT, (writing, reading) -> passAll(writing, name));
      }
    }
    database.transact("reanchor", connection -> anchor(connection, names, clock.instant()));
    index(rollup);
    return names;
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
            + " and system_identifier <> (select system_identifier from pg_control_system()) order by name",
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

  /** A dump keeps the names of tables, but not their object ids. */
  private static boolean find(Connection connection, String rollup) throws SQLException {
    // Away from the numbers of others first: one may be another's new one.
    Sql.update(
        connection,
        "update tallyroll.leaf l set relation = (4000000000 + n)::oid from (select source, relation, row_number() over () as n from tallyroll.leaf) o"
            + " where o.source = l.source and o.relation = l.relation and l.source = (select source from tallyroll.rollup where name = ?)"
            + " and to_regclass(l.name) is not null and l.relation < 4000000000",
        rollup);
    Sql.update(
        connection,
        "update tallyroll.leaf set relation = to_regclass(name)::oid where to_regclass(name) is not null"
            + " and source = (select source from tallyroll.rollup where name = ?) and relation <> to_regclass(name)::oid",
        rollup);
    return true;
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
  private static boolean anchor(Connection connection, List<String> names, Instant now)
      throws SQLException {
    List<Installed> all = new ArrayList<>();
    for (String name : names) {
      all.add(Registry.getOfAnyCluster(connection, name));
    }
    Sql.run(connection, "set local lock_timeout = '5s'");
    for (Installed one : all) {
      Sql.run(connection, "lock table " + one.bound().lockName() + " in exclusive mode");
    }
    SourceTable table = all.getFirst().bound().table();
    Sql.run(connection, "lock table " + table.sqlName() + " in access exclusive mode");
    Optional<ChangeLog> log = all.stream().flatMap(one -> one.log().stream()).findFirst();
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
          Redefinition.deleteUncovered(
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
    return true;
  }
}
