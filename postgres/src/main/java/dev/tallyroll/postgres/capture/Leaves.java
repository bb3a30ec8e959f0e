package dev.tallyroll.postgres.capture;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The tables of a partitioned source, compared with those whose changes are known to be captured.
 * Triggers are not inherited: a table that was added later has none of its own, and one that was
 * attached brings rows that no trigger saw.
 */
public final class Leaves {
  private Leaves() {}

  /**
   * Remembers all tables of a source as captured, whose triggers were made in this transaction or
   * before. Those that other rollups do not know yet are marked for them.
   *
   * @param isNew whether the log was made in this transaction, so that nobody has missed anything
   * @param incomplete tables that lacked a trigger until now
   */
  public static void record(
      Connection connection, BoundRollup bound, ChangeLog log, boolean isNew, List<Leaf> incomplete)
      throws SQLException {
    Set<Long> known =
        Set.copyOf(
            Sql.list(
                connection,
                "select l.relation::bigint from tallyroll.leaf l join tallyroll.source s on s.id = l.source"
                    + " where s.relation = ?::oid::regclass",
                row -> row.getLong(1),
                bound.table().oid()));
    for (Leaf leaf : Leaf.of(connection, bound.table(), bound.rollup().source())) {
      if (!isNew && (!known.contains(leaf.oid()) || incomplete.contains(leaf))) {
        mark(connection, bound, log, leaf);
      }
      record(connection, bound.table(), leaf);
    }
  }

  private static void record(Connection connection, SourceTable table, Leaf leaf)
      throws SQLException {
    Sql.update(
        connection,
        "insert into tallyroll.leaf (source, relation, name, tenants, range_from, range_to) select id, ?::oid, ?, nullif(?, ''), "
            + leaf.range().map(range -> FeedSql.instant(range.from())).orElse("null")
            + ", "
            + leaf.range().map(range -> FeedSql.instant(range.to())).orElse("null")
            + " from tallyroll.source where relation = ?::oid::regclass on conflict do nothing",
        leaf.oid(),
        leaf.sqlName(),
        leaf.tenants(),
        table.oid());
  }

  /**
   * Completes the capture of tables that were added, or whose triggers are gone or switched off:
   * one by one, each under a lock that is not waited for long. What such a table holds is marked to
   * be computed anew. A table that cannot be locked is tried again the next time.
   *
   * @param idle a connection with auto-commit off and no transaction open
   */
  public static void complete(Connection idle, Database database, Installed installed)
      throws SQLException {
    ChangeLog log = installed.log().orElse(null);
    if (log == null) {
      return;
    }
    BoundRollup bound = installed.bound();
    Set<Long> known =
        Set.copyOf(
            Sql.list(
                idle,
                """
                select l.relation::bigint from tallyroll.leaf l
                where l.source = ? and 4 = (
                  select count(*) from pg_trigger t
                  where t.tgrelid = l.relation and t.tgenabled in ('O', 'A') and t.tgname like 'tallyroll\\_log\\_%')
                """,
                row -> row.getLong(1),
                installed.source()));
    List<Leaf> incomplete =
        Leaf.of(idle, bound.table(), bound.rollup().source()).stream()
            .filter(leaf -> !known.contains(leaf.oid()))
            .toList();
    idle.commit();
    for (Leaf leaf : incomplete) {
      complete(database, installed, log, leaf);
    }
  }

  private static void complete(Database database, Installed installed, ChangeLog log, Leaf leaf) {
    BoundRollup bound = installed.bound();
    try {
      Database.retrying(
          1,
          () -> {
            try (Connection connection = database.open("refresh")) {
              connection.setAutoCommit(false);
              Sql.run(connection, "set local lock_timeout = '100ms'");
              // Who does not see all rows would mark too little.
              SourceVisibility.check(connection, bound.table());
              // By a function of the installer, which locks it: a refresher has no right on it.
              Sql.run(
                  connection,
                  "select tallyroll.capture_table("
                      + installed.source()
                      + ", "
                      + leaf.oid()
                      + "::oid::regclass)");
              liftSeal(connection, installed, leaf);
              mark(connection, bound, log, leaf);
              record(connection, bound.table(), leaf);
              connection.commit();
              return true;
            }
          });
    } catch (TallyrollException e) {
      // Busy, or dropped meanwhile.
      if (!(e.getCause() instanceof SQLException fault)
          || !(Faults.isPassing(fault) || Faults.state(fault).equals("42P01"))) {
        throw e;
      }
    }
  }

  /**
   * A table that was detached and comes back as it was brings its rows with it: what was sealed
   * when it went is computed anew, so nothing is wrong any more with what was changed meanwhile.
   */
  private static void liftSeal(Connection connection, Installed installed, Leaf leaf)
      throws SQLException {
    if (leaf.range().isEmpty()
        || Sql.update(
                connection,
                "delete from tallyroll.seal where source = ? and relation = ?::oid and range_from = "
                    + FeedSql.instant(leaf.range().get().from())
                    + " and range_to = "
                    + FeedSql.instant(leaf.range().get().to()),
                installed.source(),
                leaf.oid())
            == 0) {
      return;
    }
    for (String name : Registry.namesOver(connection, installed.source())) {
      Sql.update(
          connection,
          "delete from tallyroll.quarantine where kind = 'change' and "
              + FeedSql.entriesOf(
                  Registry.getOfAnyCluster(connection, name).bound(),
                  leaf.range().get().from(),
                  leaf.range().get().to()));
    }
  }

  /** The tables of a source on which a trigger is missing or switched off. */
  public static List<Leaf> incomplete(Connection connection, BoundRollup bound, ChangeLog log)
      throws SQLException {
    List<Leaf> incomplete = new ArrayList<>();
    for (Leaf leaf : Leaf.of(connection, bound.table(), bound.rollup().source())) {
      if (!LogCapture.triggers(connection, log, leaf).isEmpty()) {
        incomplete.add(leaf);
      }
    }
    return incomplete;
  }

  /**
   * Marks what a table can hold to be computed anew: all that its bounds allow, since rows may have
   * been deleted from it unseen. Without bounds it is what a new table holds, and everything for
   * one whose triggers were off, or of which somebody may have read what is deleted by now.
   */
  private static void mark(Connection connection, BoundRollup bound, ChangeLog log, Leaf leaf)
      throws SQLException {
    boolean isKnown =
        Sql.one(
            connection,
            "select exists (select from tallyroll.leaf l join tallyroll.source s on s.id = l.source where s.log = ? and l.relation = ?::oid)",
            row -> row.getBoolean(1),
            log.name(),
            leaf.oid());
    String range;
    if (leaf.range().isPresent()) {
      range =
          FeedSql.instant(leaf.range().get().from())
              + ", "
              + FeedSql.instant(leaf.range().get().to());
    } else if (isKnown || mayHaveBeenRead(connection, bound, leaf)) {
      range = "'-infinity'::timestamptz, 'infinity'::timestamptz";
    } else {
      range =
          // In a form that an index serves: writers of the table wait meanwhile.
          "min(t), max(t) + interval '1 microsecond' from (select "
              + bound.timeSql()
              + " as t from "
              + rows(connection, bound, leaf)
              + ") times where t > '-infinity' and t < 'infinity' having min(t) is not null";
    }
    Sql.run(
        connection,
        "insert into "
            + log.sqlName()
            + " ("
            + String.join(
                ", ", ChangeLog.SIGN, ChangeLog.SLOT, ChangeLog.LEAF, ChangeLog.FROM, ChangeLog.TO)
            + ") select 0, (select log_slot from tallyroll.source where log = "
            + Sql.literal(log.name())
            + "), "
            + leaf.oid()
            + "::oid, "
            + range);
  }

  /**
   * Whether a refresh or a slice, which reads the source where the log does not tell, may have
   * found a table's rows before they were captured: one that had to wait for its lock.
   */
  private static boolean mayHaveBeenRead(Connection connection, BoundRollup bound, Leaf leaf)
      throws SQLException {
    return Sql.one(
        connection,
        """
        with attached as (
          -- The transaction as one of all times: the latest of this number.
          select (n.next - ((n.next - i.xmin::text::bigint) & 4294967295))::text::xid8 as at
          from pg_inherits i, (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) n
          where i.inhrelid in (select relid from pg_partition_ancestors(?::oid::regclass))),
        own as (
          select r.name, r.cursor from tallyroll.rollup r join tallyroll.source s on s.id = r.source
          where s.relation = ?::oid::regclass)
        select exists (select from own where not isempty(tallyroll.uncovered(name)))
          or exists (
            select from (select cursor from own union all select l.seen from tallyroll.slice l join own on own.name = l.rollup) s (seen)
            where s.seen is not null
              and not exists (select from attached where not pg_visible_in_snapshot(attached.at, s.seen)))
        """,
        row -> row.getBoolean(1),
        leaf.oid(),
        bound.table().oid());
  }

  /**
   * The rows of a table: through the source, which is slower, for who may not read the table
   * itself, or not all of it.
   */
  private static String rows(Connection connection, BoundRollup bound, Leaf leaf)
      throws SQLException {
    return SourceVisibility.ofNamed(connection, leaf.sqlName())
        ? leaf.sqlName()
        : bound.table().sqlName()
            + " where tableoid in (select relid from pg_partition_tree("
            + leaf.oid()
            + "::oid::regclass))";
  }

  /**
   * Seals the ranges of tables that were detached or dropped, as the connection's snapshot sees it:
   * their rows stay counted. The source must have been locked before the snapshot. Where the bounds
   * do not tell the range, or another table divides it further, nothing is sealed, and verify finds
   * what is missing.
   *
   * @param reading a connection of the same snapshot, which has the source's lock
   * @param database of both
   * @return the names of the tables
   */
  public static List<String> sealVanished(
      Connection connection, Connection reading, Database database, Installed installed)
      throws SQLException {
    BoundRollup bound = installed.bound();
    // Whoever looks at bounds opens the tables: another connection than the one that has their
    // locks would wait behind an ALTER TABLE that waits for that one, and nobody would see it.
    List<Leaf> leaves = Leaf.of(reading, bound.table(), bound.rollup().source());
    record Known(
        long relation, String name, Optional<Leaf.Range> range, @Nullable String tenants) {}
    Map<Long, Known> known =
        Sql.list(
                connection,
                "select relation::bigint, name, range_from, range_to, tenants from tallyroll.leaf where source = ?",
                row ->
                    new Known(
                        row.getLong(1),
                        row.getString(2),
                        Leaf.Range.stored(row, 3),
                        row.getString(5)),
                installed.source())
            .stream()
            .collect(Collectors.toMap(Known::relation, one -> one));
    List<Leaf> unknown = leaves.stream().filter(leaf -> !known.containsKey(leaf.oid())).toList();
    // Of an append table nothing has to be captured first; what captures changes does it itself.
    if (!unknown.isEmpty() && installed.log().isEmpty() && !hasLog(connection, installed)) {
      // Beside this transaction: another rollup's refresh may have done so since its snapshot,
      // which would be a serialization failure in it.
      try (Connection other = database.open("refresh")) {
        other.setAutoCommit(false);
        Sql.run(other, "set local lock_timeout = '2s'");
        for (Leaf leaf : unknown) {
          record(other, bound.table(), leaf);
        }
        other.commit();
      }
    }
    for (Leaf leaf : leaves) {
      Known before = known.remove(leaf.oid());
      if (before != null && !before.name().equals(leaf.sqlName())) {
        // By its name it is found again after a dump and a restore.
        Sql.update(
            connection,
            "update tallyroll.leaf set name = ? where source = ? and relation = ?::oid",
            leaf.sqlName(),
            installed.source(),
            leaf.oid());
      }
      if (before != null && before.tenants() != null && !before.tenants().equals(leaf.tenants())) {
        // It was detached and came back as another tenant's: what is marked may be of both.
        Sql.update(
            connection,
            "update tallyroll.leaf set tenants = null where source = ? and relation = ?::oid",
            installed.source(),
            leaf.oid());
      }
      if (before != null && leaf.range().isPresent() && !before.range().equals(leaf.range())) {
        // It was attached with other bounds, or an earlier version could not read them.
        Sql.update(
            connection,
            "update tallyroll.leaf set range_from = "
                + FeedSql.instant(leaf.range().get().from())
                + ", range_to = "
                + FeedSql.instant(leaf.range().get().to())
                + " where source = ? and relation = ?::oid",
            installed.source(),
            leaf.oid());
      }
    }
    // Those that are left.
    List<Known> gone = List.copyOf(known.values());
    for (Known leaf : gone) {
      if (leaf.range().isPresent() && isEmpty(connection, installed, leaf.range().get())) {
        delete(connection, installed, leaf.relation());
        continue;
      }
      Sql.update(
          connection,
          """
          insert into tallyroll.seal (source, range_from, range_to, seen, reason, relation)
          select gone.source, gone.range_from, gone.range_to, pg_current_snapshot(), ?, gone.relation
          from tallyroll.leaf gone
          where gone.source = ? and gone.relation = ?::oid and gone.range_from is not null
            and not exists (
              select from tallyroll.leaf other join pg_class c on c.oid = other.relation
              where other.source = gone.source and other.relation = any (?) and c.relkind = 'r'
                and other.recorded_at < coalesce((select finished_at from tallyroll.refresh where rollup = ?), 'infinity')
                -- Tables that are divided further by other columns share the moment between them.
                and (other.range_from is null or (other.range_from < gone.range_to - interval '1 microsecond'
                                                  and gone.range_from < other.range_to - interval '1 microsecond')))
          on conflict do nothing
          """,
          leaf.name() + " was detached or dropped",
          installed.source(),
          leaf.relation(),
          // The default partition beside it may hold rows of its time, and mostly holds none.
          connection.createArrayOf(
              "oid", leaves.stream().filter(one -> !one.isRest()).map(Leaf::oid).toArray()),
          installed.name());
      delete(connection, installed, leaf.relation());
    }
    return gone.stream().map(Known::name).toList();
  }

  private static void delete(Connection connection, Installed installed, long relation)
      throws SQLException {
    Sql.update(
        connection,
        "delete from tallyroll.leaf where source = ? and relation = ?::oid",
        installed.source(),
        relation);
  }

  /**
   * Whether no rollup of the source has counted anything of a range, or is to: such a table, as one
   * of a month to come that makes room for another, leaves nothing behind that had to be kept.
   */
  private static boolean isEmpty(Connection connection, Installed installed, Leaf.Range range)
      throws SQLException {
    List<String> counted = new ArrayList<>();
    for (String name : Registry.namesOver(connection, installed.source())) {
      // They are taken over one after the other by reanchor.
      Installed one = Registry.getOfAnyCluster(connection, name);
      RollupVisibility.check(connection, one.bound());
      if (one.uncovered(range.from(), range.to()).isPresent()) {
        return false;
      }
      for (Grain grain : one.bound().rollup().grains().keySet()) {
        // A bucket that reaches into it begins before, by a day of a zone at most.
        counted.add(
            "select from "
                + one.bound().grainTable(grain)
                + " where bucket > "
                + FeedSql.instant(range.from())
                + " - interval '26 hours' and bucket < "
                + FeedSql.instant(range.to()));
      }
      FeedSql.unread(one)
          .forEach(branch ->
              counted.add(
                  branch
                      .and(" and " + FeedSql.inRange(one.bound(), range.from(), range.to()))
                      .select("")));
    }
    return Sql.one(
        connection,
        "select not exists (" + String.join(") and not exists (", counted) + ")",
        row -> row.getBoolean(1));
  }

  private static boolean hasLog(Connection connection, Installed installed) throws SQLException {
    return Sql.one(
        connection,
        "select log is not null from tallyroll.source where id = ?",
        row -> row.getBoolean(1),
        installed.source());
  }
}
