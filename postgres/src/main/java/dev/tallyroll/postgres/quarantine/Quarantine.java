package dev.tallyroll.postgres.quarantine;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Looks into the quarantine of rollups, and tries its rows again. Thread-safe. */
public final class Quarantine {
  private final Database database;
  private final InstantSource clock;

  /** For a database; the clock tells which times lie too far ahead. */
  public Quarantine(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /** What an entry stands for. */
  public enum Kind {
    /** A source row that is counted nowhere. It can be tried again. */
    ROW,
    /** An update or deletion of a row behind a seal: the row stays counted as it was. */
    CHANGE,
    /**
     * A bucket that a change has made invalid, and of which no rows are left to compute it from.
     */
    BUCKET
  }

  /**
   * An entry.
   *
   * @param id its number
   * @param rollup the rollup
   * @param since when it was put there
   * @param kind what it stands for
   * @param reason why it is there
   * @param tenant the tenant; null if even that could not be read
   * @param row the source row, or the bucket, as JSON
   */
  public record Entry(
      long id,
      String rollup,
      Instant since,
      Kind kind,
      String reason,
      @Nullable String tenant,
      String row) {}

  /**
   * Entries, oldest first.
   *
   * @param rollup the rollup; null for all
   * @param tenant the tenant; null for all
   * @param most at most so many
   * @throws TallyrollException if there is no such rollup
   */
  public List<Entry> list(@Nullable String rollup, @Nullable String tenant, int most) {
    return database.with(
        "quarantine",
        connection -> {
          List<String> names = Registry.names(connection);
          if (rollup != null && !names.contains(rollup)) {
            Registry.get(connection, rollup);
          }
          return names.isEmpty()
              ? List.<Entry>of()
              : Sql.list(
                  connection,
                  "select id, rollup, quarantined_at, kind, reason, tenant, source_row from tallyroll.quarantine"
                      + " where (?::text is null or rollup = ?) and (?::text is null or tenant = ?) order by id limit ?",
                  Quarantine::entry,
                  rollup,
                  rollup,
                  tenant,
                  tenant,
                  most);
        });
  }

  /** One entry, if it is there. */
  public Optional<Entry> show(long id) {
    return database.with(
        "quarantine",
        connection ->
            Registry.names(connection).isEmpty()
                ? Optional.<Entry>empty()
                : Sql.first(
                    connection,
                    "select id, rollup, quarantined_at, kind, reason, tenant, source_row from tallyroll.quarantine where id = ?",
                    Quarantine::entry,
                    id));
  }

  private static Entry entry(java.sql.ResultSet row) throws SQLException {
    return new Entry(
        row.getLong(1),
        row.getString(2),
        row.getObject(3, OffsetDateTime.class).toInstant(),
        Kind.valueOf(row.getString(4).toUpperCase(java.util.Locale.ROOT)),
        row.getString(5),
        row.getString(6),
        row.getString(7));
  }

  /**
   * What a replay did.
   *
   * @param counted rows that count now
   * @param expired rows that are older than every keep, and left the quarantine uncounted
   * @param left entries that stay: they fail again, stand for no row, or lie in days that no
   *     backfill has filled yet, which will read them
   */
  public record Replayed(long counted, long expired, long left) {}

  /**
   * Tries rows again, in the transaction of a refresh: what can be folded by now leaves the
   * quarantine and is counted. Rows that are alike leave together.
   *
   * @param ids the entries; empty for all
   */
  public Replayed replay(String rollup, List<Long> ids) {
    Replayed[] replayed = new Replayed[1];
    try (Refresher refresher = new Refresher(database, clock)) {
      refresher.refresh(
          rollup,
          Refresher.WhenBusy.WAIT,
          (writing, reading) -> replayed[0] = replay(writing, Registry.get(writing, rollup), ids));
    }
    return replayed[0];
  }

  private Replayed replay(Connection writing, Installed installed, List<Long> ids)
      throws SQLException {
    BoundRollup bound = installed.bound();
    String asked = "rollup = ? and (cardinality(?::bigint[]) = 0 or id = any (?::bigint[]))";
    java.sql.Array wanted = writing.createArrayOf("bigint", ids.toArray());
    List<Long> missing =
        Sql.list(
            writing,
            "select i from unnest(?::bigint[]) i where not exists (select from tallyroll.quarantine where rollup = ? and id = i)",
            row -> row.getLong(1),
            wanted,
            bound.name());
    if (!missing.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME,
          "no entry " + missing.getFirst() + " in the quarantine of '" + bound.name() + "'");
    }
    long all =
        Sql.one(
            writing,
            "select count(*) from tallyroll.quarantine where " + asked,
            row -> row.getLong(1),
            bound.name(),
            wanted,
            wanted);
    String table = "pg_temp.tallyroll_replay";
    String source = bound.table().sqlName();
    Sql.run(
        writing,
        "create temporary table tallyroll_replay on commit drop as select 0::bigint as tallyroll_entry, * from "
            + source
            + " where false; create temporary table tallyroll_row on commit drop as select * from "
            + source
            + " where false");
    Sql.update(
        writing,
        "insert into "
            + table
            + " select q.id, (jsonb_populate_record(null::"
            + source
            + ", q.source_row)).* from tallyroll.quarantine q where q.rollup = ? and q.kind = 'row' and "
            + FeedSql.keyOfEntry(bound)
            + " in (select "
            + FeedSql.keyOfEntry(bound)
            + " from tallyroll.quarantine where kind = 'row' and "
            + asked
            + ")",
        bound.name(),
        bound.name(),
        wanted,
        wanted);
    String name = Sql.identifier(bound.table().name());
    List<Long> entries =
        Sql.list(
            writing,
            "select tallyroll_entry from "
                + table
                + " as "
                + name
                + " where not tallyroll.uncovered(?) @> "
                + bound.timeSql()
                + " order by 1",
            row -> row.getLong(1),
            bound.name());
    PartialTable total = new PartialTable(new KeySet(), bound.newColumns());
    long latest = Times.micros(clock.instant().plus(Refresher.MOST_AHEAD));
    Branch one = Branch.in("pg_temp.tallyroll_row as " + name, "true");
    String columns =
        String.join(
            ", ",
            bound.table().columns().stream().map(column -> Sql.identifier(column.name())).toList());
    long counted = 0;
    long expired = 0;
    for (long entry : entries) {
      Sql.run(
          writing,
          "truncate pg_temp.tallyroll_row; insert into pg_temp.tallyroll_row ("
              + columns
              + ") select "
              + columns
              + " from "
              + table
              + " where tallyroll_entry = "
              + entry);
      // For each its own, since one that fails must not count in part.
      Feed.Result result =
          new Feed(writing, null, bound, latest, Feed.Meter.NONE, Long.MAX_VALUE)
              .read(
                  List.of(one),
                  () -> RowFold.ofAll(bound, latest, installed.keptFromAny()),
                  fold -> fold.table().mergeInto(total, bucket -> bucket));
      if (result.poison() == 0) {
        counted += result.rows();
        expired += result.expired();
        Sql.update(writing, "delete from tallyroll.quarantine where id = ?", entry);
      }
    }
    if (total.size() > 0) {
      new Merger(writing, bound, installed.keptFrom(), installed.openFrom()).merge(total);
    }
    Sql.update(
        writing,
        "update tallyroll.refresh set total_rows = total_rows + ?, expired_rows = expired_rows + ? where rollup = ?",
        counted,
        expired,
        bound.name());
    return new Replayed(counted, expired, Math.max(0, all - counted - expired));
  }
}
