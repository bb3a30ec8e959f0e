package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.KeepTime;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * How {@code keep} works: a time from which on buckets are complete, which only grows, and
 * partitions dropped behind it.
 */
public final class Retention {
  private Retention() {}

  /**
   * From when on each grain is kept at {@code now}: the first bucket of the partition that holds
   * the oldest one to keep, never less than before. By a clock that has jumped ahead nothing goes
   * that would not have gone without (see {@link KeepTime}).
   */
  public static SortedMap<Grain, Long> keptFrom(Installed installed, Instant now) {
    SortedMap<Grain, Long> kept = new TreeMap<>();
    long time = Times.micros(installed.keepTime().at(now));
    for (Map.Entry<Grain, Keep> grain : installed.bound().rollup().grains().entrySet()) {
      long oldest = time - grain.getValue().days() * Times.DAY;
      kept.put(
          grain.getKey(),
          Math.max(
              installed.keptFrom().getOrDefault(grain.getKey(), Long.MIN_VALUE),
              grain.getKey().ceil(Partitions.start(grain.getKey(), oldest))));
    }
    return kept;
  }

  /**
   * Stores these times, and by which moment of the clock they came about; the caller's transaction
   * leaves out of its merge what lies before them.
   *
   * @return that moment, and whether keep is held there
   */
  public static KeepTime store(
      Connection connection, Installed installed, SortedMap<Grain, Long> kept, Instant now)
      throws SQLException {
    for (Map.Entry<Grain, Long> grain : kept.entrySet()) {
      if (!grain.getValue().equals(installed.keptFrom().get(grain.getKey()))) {
        Sql.update(
            connection,
            "update tallyroll.grain set kept_from = greatest(kept_from, "
                + FeedSql.instant(grain.getValue())
                + ") where rollup = ? and grain = ?",
            installed.name(),
            grain.getKey().label());
      }
    }
    KeepTime next = installed.keepTime().next(now);
    if (!next.equals(installed.keepTime())) {
      Registry.setKeepTime(connection, installed.name(), next);
    }
    return next;
  }

  /**
   * What a run dropped.
   *
   * @param tables the bare names of the dropped tables
   * @param complete whether all was dropped; false if readers held a table for too long, so that a
   *     later run must go on
   */
  public record Dropped(List<String> tables, boolean complete) {
    /** Copies the list. */
    public Dropped {
      tables = List.copyOf(tables);
    }
  }

  /**
   * What PostgreSQL says where another process drops the same partition just now: that it is none
   * of the table any more, is gone, or is being detached.
   */
  private static final Set<String> BY_ANOTHER = Set.of("42P01", "42704", "55000");

  /**
   * Drops the partitions that lie wholly before the stored times, and what an interrupted run has
   * left. Waits for readers only for moments: a detach that was cut short is finished by a later
   * run. Who does not own the tables cannot detach concurrently: then readers that come while
   * others are waited for wait too, so that is even shorter.
   *
   * @param connection a connection in auto-commit mode: a concurrent detach cannot run in a
   *     transaction
   */
  public static Dropped drop(Connection connection, Installed installed) throws SQLException {
    List<String> dropped = new ArrayList<>();
    boolean isOwner =
        Sql.one(
            connection,
            "select pg_has_role(relowner, 'usage') from pg_class where oid = ?::regclass",
            row -> row.getBoolean(1),
            installed.bound().lockName());
    Sql.run(connection, "set lock_timeout = '" + (isOwner ? "3s" : "200ms") + "'");
    try {
      for (Map.Entry<Grain, Long> grain : installed.keptFrom().entrySet()) {
        if (grain.getValue() == Long.MIN_VALUE) {
          continue;
        }
        for (Map.Entry<String, String> table :
            old(connection, installed.bound(), grain.getKey(), grain.getValue())) {
          drop(
              connection,
              installed.bound().grainTable(grain.getKey()),
              table.getKey(),
              isOwner ? table.getValue() : "detached");
          dropped.add(table.getKey());
        }
      }
      return new Dropped(dropped, true);
    } catch (SQLException e) {
      if (Faults.isPassing(e) || BY_ANOTHER.contains(Faults.state(e))) {
        return new Dropped(dropped, false);
      }
      throw e;
    }
  }

  /** Partitions before the one that holds {@code kept}, with how far a run has come with them. */
  private static List<Map.Entry<String, String>> old(
      Connection connection, BoundRollup bound, Grain grain, long kept) throws SQLException {
    // Names end in the start of their range, so their order is that of time.
    return Sql.list(
        connection,
        """
        select c.relname, case when i.inhrelid is null then 'detached'
                               when i.inhdetachpending then 'pending' else 'attached' end
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        left join pg_inherits i on i.inhrelid = c.oid
        where n.nspname = 'tallyroll' and c.relkind = 'r' and c.relname ~ ('^' || ? || '_p[0-9]{8}$') and c.relname < ?
        order by c.relname
        """,
        row -> Map.entry(row.getString(1), row.getString(2)),
        bound.tableName(grain),
        Partitions.name(bound, grain, Partitions.start(grain, kept)));
  }

  private static void drop(Connection connection, String parent, String table, String state)
      throws SQLException {
    String name = BoundRollup.qualified(table);
    switch (state) {
      case "attached" ->
          Sql.run(
              connection, "alter table " + parent + " detach partition " + name + " concurrently");
      case "pending" ->
          Sql.run(connection, "alter table " + parent + " detach partition " + name + " finalize");
      default -> {}
    }
    Sql.run(
        connection,
        "select tallyroll.drop_partition("
            + Sql.literal(parent)
            + "::regclass, "
            + Sql.literal(table)
            + ")");
  }
}
