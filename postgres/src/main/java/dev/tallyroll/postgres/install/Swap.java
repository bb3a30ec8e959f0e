package dev.tallyroll.postgres.install;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;

/**
 * Puts the partitions of tables that were filled beside into a rollup's tables, in the place of
 * theirs. The tables stay the objects that they are. For one thread; in the caller's transaction,
 * which holds the locks of both rollups and their tables.
 */
final class Swap {
  /** A check that says what a partition's bounds say, so that attaching need not look at rows. */
  private static final String BOUNDS = "tallyroll_bounds";

  private final Connection connection;
  private final BoundRollup beside;
  private final BoundRollup bound;
  private final RollupSql sql;
  private final Published published;

  /**
   * A swap.
   *
   * @param beside the rollup whose tables are filled
   * @param bound the same under its own name
   */
  Swap(
      Connection connection,
      BoundRollup beside,
      BoundRollup bound,
      RollupSql sql,
      Published published) {
    this.connection = connection;
    this.beside = beside;
    this.bound = bound;
    this.sql = sql;
    this.published = published;
  }

  private record Partition(String name, String bounds) {}

  private static List<Partition> partitions(Connection connection, BoundRollup of, Grain grain)
      throws SQLException {
    return Sql.list(
        connection,
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            + " where i.inhparent = ?::regclass and not i.inhdetachpending order by c.relname",
        row -> new Partition(row.getString(1), row.getString(2)),
        of.grainTable(grain));
  }

  /**
   * Adds the checks that make the swap short, each in a transaction of its own.
   *
   * @param connection a connection in auto-commit mode
   */
  static void prepare(Connection connection, BoundRollup beside) throws SQLException {
    for (Grain grain : beside.rollup().grains().keySet()) {
      for (Partition partition : partitions(connection, beside, grain)) {
        String name = BoundRollup.qualified(partition.name());
        boolean isThere =
            Sql.one(
                connection,
                "select exists (select from pg_constraint where conrelid = ?::regclass and conname = ?)",
                row -> row.getBoolean(1),
                name,
                BOUNDS);
        if (!isThere) {
          String bounds =
              Sql.one(
                  connection,
                  "select pg_get_partition_constraintdef(?::regclass)",
                  row -> row.getString(1),
                  name);
          Sql.run(
              connection,
              "alter table " + name + " add constraint " + BOUNDS + " check (" + bounds + ")");
        }
      }
    }
  }

  /**
   * Swaps the tables of a grain.
   *
   * @param isThere whether the rollup has this grain already
   */
  void run(Grain grain, boolean isThere) throws SQLException {
    String table = bound.grainTable(grain);
    if (!isThere) {
      rename("table", beside.tableName(grain), bound.tableName(grain));
      rename("index", beside.tableName(grain) + "_k", bound.tableName(grain) + "_k");
      for (Partition partition : partitions(connection, bound, grain)) {
        String name = BoundRollup.qualified(renamePartition(partition.name(), grain));
        Sql.run(connection, "alter table " + name + " drop constraint if exists " + BOUNDS);
      }
      return;
    }
    // Also what a retention that was cut short has detached.
    dropPartitions(bound.tableName(grain));
    Sql.run(connection, "drop index " + BoundRollup.qualified(bound.tableName(grain) + "_k"));
    published.alter(grain);
    Sql.run(connection, sql.keyIndex(grain));
    for (Partition partition : partitions(connection, beside, grain)) {
      Sql.run(
          connection,
          "alter table "
              + beside.grainTable(grain)
              + " detach partition "
              + BoundRollup.qualified(partition.name()));
      String name = BoundRollup.qualified(renamePartition(partition.name(), grain));
      Sql.run(
          connection,
          "alter table " + table + " attach partition " + name + " " + partition.bounds());
      Sql.run(connection, "alter table " + name + " drop constraint if exists " + BOUNDS);
    }
    Sql.run(connection, "drop table " + beside.grainTable(grain));
    // What a retention that was cut short has left.
    dropPartitions(beside.tableName(grain));
  }

  /** Drops the partitions of this name, attached or not. */
  private void dropPartitions(String table) throws SQLException {
    for (String old :
        Sql.list(
            connection,
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                + " where n.nspname = 'tallyroll' and c.relkind = 'r' and c.relname ~ ('^' || ? || '_p[0-9]{8}$')",
            row -> row.getString(1),
            table)) {
      Sql.run(connection, "drop table " + BoundRollup.qualified(old));
    }
  }

  private String renamePartition(String name, Grain grain) throws SQLException {
    String renamed = bound.tableName(grain) + name.substring(beside.tableName(grain).length());
    rename("table", name, renamed);
    rename("index", name + "_k", renamed + "_k");
    return renamed;
  }

  private void rename(String kind, String from, String to) throws SQLException {
    Sql.run(
        connection,
        "alter " + kind + " " + BoundRollup.qualified(from) + " rename to " + Sql.identifier(to));
  }
}
