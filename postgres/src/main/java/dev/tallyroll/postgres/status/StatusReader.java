package dev.tallyroll.postgres.status;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Adoption;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/** Reads the status of rollups. Thread-safe. */
public final class StatusReader {
  private final Database database;

  /** A reader for a database. */
  public StatusReader(Database database) {
    this.database = database;
  }

  /** The status of one rollup, or of all of them in order of their names. */
  public List<RollupStatus> read(@Nullable String rollup) {
    return read(
        rollup,
        (name, fault) -> {
          throw fault;
        });
  }

  /**
   * The same.
   *
   * @param unreadable is told of each rollup of which nothing can be said, as one whose source is
   *     gone, and why; the others follow all the same
   */
  public List<RollupStatus> read(
      @Nullable String rollup, BiConsumer<String, TallyrollException> unreadable) {
    return database.with(
        "status",
        connection -> {
          connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
          connection.setAutoCommit(false);
          List<RollupStatus> all = new ArrayList<>();
          for (String name : rollup == null ? Registry.names(connection) : List.of(rollup)) {
            Savepoint before = connection.setSavepoint();
            try {
              all.add(read(connection, Registry.get(connection, name)));
            } catch (SQLException e) {
              connection.rollback(before);
              unreadable.accept(name, Faults.of(e));
            } catch (TallyrollException e) {
              connection.rollback(before);
              unreadable.accept(name, e);
            }
          }
          connection.rollback();
          return all;
        });
  }

  private record Unread(long rows, @Nullable Instant newest, @Nullable Instant oldest) {}

  private record Refresh(
      @Nullable Instant finished,
      long durationMs,
      long rows,
      long total,
      long expired,
      @Nullable Instant mergedTo,
      @Nullable String error,
      @Nullable Instant errorAt,
      @Nullable String purgeError,
      @Nullable Instant purgeErrorAt) {}

  private static RollupStatus read(Connection connection, Installed installed) throws SQLException {
    BoundRollup bound = installed.bound();
    Unread unread =
        Sql.one(
            connection,
            "select count(*), least(max(ts) filter (where isfinite(ts)), clock_timestamp()), min(ts) filter (where isfinite(ts)) from ("
                + FeedSql.select(FeedSql.unread(installed), bound.timeSql() + " as ts")
                + ") unread",
            row -> new Unread(row.getLong(1), instant(row, 2), instant(row, 3)));
    Refresh refresh =
        Sql.one(
            connection,
            "select finished_at, duration_ms, rows, total_rows, expired_rows, merged_to, error, error_at, purge_error, purge_error_at"
                + " from tallyroll.refresh where rollup = ?",
            row ->
                new Refresh(
                    instant(row, 1),
                    row.getLong(2),
                    row.getLong(3),
                    row.getLong(4),
                    row.getLong(5),
                    instant(row, 6),
                    row.getString(7),
                    instant(row, 8),
                    row.getString(9),
                    instant(row, 10)),
            installed.name());
    long quarantined =
        Sql.one(
            connection,
            "select count(*) from tallyroll.quarantine where rollup = ?",
            row -> row.getLong(1),
            installed.name());
    Map<String, RollupStatus.GrainStatus> grains = new LinkedHashMap<>();
    for (Grain grain : bound.rollup().grains().keySet()) {
      Instant oldest =
          Sql.list(
                  connection,
                  "select min(bucket) from " + bound.grainTable(grain),
                  row -> Optional.ofNullable(instant(row, 1)))
              .getFirst()
              .orElse(null);
      long kept = installed.keptFrom().getOrDefault(grain, Long.MIN_VALUE);
      grains.put(
          grain.label(),
          new RollupStatus.GrainStatus(
              size(connection, bound.grainTable(grain)),
              oldest,
              kept == Long.MIN_VALUE ? null : Times.instant(kept)));
    }
    return new RollupStatus(
        installed.name(),
        bound.table().label(),
        unread.rows(),
        lag(unread, refresh),
        refresh.mergedTo(),
        refresh.finished(),
        refresh.finished() == null ? null : Duration.ofMillis(refresh.durationMs()),
        refresh.rows(),
        refresh.total(),
        refresh.expired(),
        quarantined,
        refresh.error(),
        refresh.errorAt(),
        refresh.errorAt() != null
            && (refresh.finished() == null || refresh.errorAt().isAfter(refresh.finished())),
        refresh.purgeError(),
        refresh.purgeErrorAt(),
        installed.coverage().uncovered().stream().map(StatusReader::days).toList(),
        bound.rollup().source().changes().label(),
        installed.log().isPresent() ? uncaptured(connection, installed) : List.of(),
        installed.log().isEmpty() ? 0 : size(connection, installed.feedName()),
        seals(connection, installed),
        Adoption.of(connection, installed.name()),
        awaited(connection, installed),
        installed.keepTime(),
        size(connection, bound.table().sqlName()),
        grains);
  }

  /** What no trigger of ours sees. */
  private static List<String> uncaptured(Connection connection, Installed installed)
      throws SQLException {
    return Sql.list(
        connection,
        """
        select case
            when t.fires < 4 then l.name || ' has triggers of the change log that are missing or switched off: {tallyroll} refresh '
              || ? || ' mends that, and counts what they missed'
            when s.is_subscribed then 'what a subscription applies to ' || l.name || ' is not captured: {tallyroll} verify '
              || ? || ' finds it'
            else 'what runs under session_replication_role = replica on ' || l.name || ' is not captured, until its owner runs: '
              || (select string_agg(format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', l.name, o.tgname), ' ' order by o.tgname)
                  from pg_trigger o where o.tgrelid = l.relation and o.tgenabled = 'O' and o.tgname like 'tallyroll\\_log\\_%') end
        from tallyroll.leaf l
        join pg_class c on c.oid = l.relation,
        lateral (
          select count(*) filter (where t.tgenabled in ('O', 'A')) as fires, count(*) filter (where t.tgenabled = 'O') as passive
          from pg_trigger t where t.tgrelid = l.relation and t.tgname like 'tallyroll\\_log\\_%') t,
        lateral (select exists (select from pg_subscription_rel r where r.srrelid = l.relation) as is_subscribed) s
        where l.source = ? and (t.fires < 4 or t.passive > 0 or s.is_subscribed)
        order by l.name
        """,
        row -> row.getString(1),
        installed.name(),
        installed.name(),
        installed.source());
  }

  private static List<String> seals(Connection connection, Installed installed)
      throws SQLException {
    return Sql.list(
        connection,
        "select range_from, range_to, reason from tallyroll.seal where source = ? order by range_from",
        row -> row.getString(1) + " to " + row.getString(2) + ": " + row.getString(3),
        installed.source());
  }

  private static List<String> awaited(Connection connection, Installed installed)
      throws SQLException {
    List<Branch> markers = FeedSql.markers(installed);
    if (markers.isEmpty()) {
      return List.of();
    }
    return Sql.list(
        connection,
        "select coalesce(l.name, t.relid::text) from (select relid from pg_partition_tree(?::oid::regclass) where ?) t"
            + " full join (select relation, name from tallyroll.leaf where source = ? and ?) l on l.relation = t.relid"
            + " where l.relation is null or t.relid is null"
            + " union select coalesce(l.name, m.leaf::regclass::text) from ("
            + FeedSql.select(markers, "tallyroll_leaf as leaf")
            + ") m left join tallyroll.leaf l on l.source = ? and l.relation = m.leaf order by 1",
        row -> row.getString(1),
        installed.bound().table().oid(),
        installed.hasOtherLeaves(),
        installed.source(),
        installed.hasOtherLeaves(),
        installed.source());
  }

  /**
   * Event time, not the time since the last run: a catch-up of ten days reads as ten days. An event
   * that lay ahead when it was merged does not hide that nothing was merged since.
   */
  private static Duration lag(Unread unread, Refresh refresh) {
    if (unread.rows() == 0 || unread.newest() == null) {
      return Duration.ZERO;
    }
    Instant behind = refresh.mergedTo();
    if (behind == null) {
      behind = unread.oldest() != null ? unread.oldest() : unread.newest();
    } else if (refresh.finished() != null && refresh.finished().isBefore(behind)) {
      behind = refresh.finished();
    }
    return behind.isBefore(unread.newest())
        ? Duration.between(behind, unread.newest())
        : Duration.ZERO;
  }

  private static String days(Coverage.Days days) {
    return days.from() + " to " + days.to().minusDays(1);
  }

  private static long size(Connection connection, String table) throws SQLException {
    return Sql.one(
        connection,
        "select coalesce(sum(pg_total_relation_size(relid)), 0)::bigint from (select relid from pg_partition_tree(?::regclass)"
            + " union select ?::regclass) tree (relid)",
        row -> row.getLong(1),
        table,
        table);
  }

  private static @Nullable Instant instant(ResultSet row, int column) throws SQLException {
    OffsetDateTime value = row.getObject(column, OffsetDateTime.class);
    return value == null ? null : value.toInstant();
  }
}
