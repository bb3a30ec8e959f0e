package dev.tallyroll.postgres.adopt;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.RollupVisibility;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.merge.Merger;
import dev.tallyroll.postgres.merge.Retention;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Takes over the buckets of a table that something else has kept, where the raw rows are gone.
 * Thread-safe.
 *
 * <p>How it works. A row of such a table is a partial, spelled otherwise: SQL gives it the shape in
 * which the rollup stores its own, and from there it is merged like any. It happens in a snapshot
 * in which every rollup of the source has merged what was taken out of the range, under the locks
 * of all, as for a seal, and ends with a seal: the source must have no row in the range then, and
 * none of its buckets is ever computed from it. Rows that come into the range later count as behind
 * any seal. One transaction does it all, and compares the sums of every grain with those of the
 * table before it commits.
 *
 * <p>What the table does not tell is NULL, or nothing, and is written down as known from the end of
 * the range on; grains that are finer than its rows begin there too.
 */
public final class Adopt {
  /** How many rows are folded between two words of progress. */
  private static final int STEP = 4_096;

  /** About what a group takes in memory: its key, its place, its sketches. */
  private static final long BYTES_PER_ROW = 250;

  private static final long BYTES_PER_FIELD = 40;

  private final Database database;
  private final InstantSource clock;
  private final long heapBytes;

  /** For a database; the clock tells what is no longer kept. */
  public Adopt(Database database, InstantSource clock) {
    this(database, clock, Feed.defaultHeapBudget());
  }

  /** The same, holding at most so many bytes of partials at once. */
  public Adopt(Database database, InstantSource clock, long heapBytes) {
    this.database = database;
    this.clock = clock;
    this.heapBytes = heapBytes;
  }

  /** Is told how it goes on. */
  public interface Progress {
    /** How many rows there are to take; called again if the transaction is retried. */
    default void begins(long rows) {}

    /** How many were taken since the last call. */
    default void read(long rows) {}
  }

  /**
   * Looks what would be taken over, and what stands against it. Changes nothing.
   *
   * @throws TallyrollException if a name or a type is wrong
   */
  public Taken plan(AdoptRequest request) {
    return database.with(
        "adopt",
        connection -> {
          connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
          connection.setAutoCommit(false);
          Installed installed = installed(connection, request);
          SourceTable table = table(connection, installed.bound(), request);
          Grain grain = grain(installed.bound(), request);
          SourceVisibility.check(connection, installed.bound().table());
          SourceVisibility.check(connection, table);
          RollupVisibility.check(connection, installed.bound());
          Taken taken =
              new Survey(connection, installed, table, grain, request, clock.instant()).look();
          connection.rollback();
          return taken;
        });
  }

  /**
   * Takes over.
   *
   * @throws TallyrollException if a name, a type or a row is wrong, or something would be counted
   *     twice; nothing is taken over then
   */
  public Taken run(AdoptRequest request, Progress progress) {
    Taken planned = plan(request);
    refuse(planned);
    if (planned.from() == null || planned.to() == null) {
      throw new IllegalStateException("no range, and no reason");
    }
    AdoptRequest exact = request.between(planned.from(), planned.to());
    Leaf.Range range = new Leaf.Range(Times.micros(planned.from()), Times.micros(planned.to()));
    String lock = database.with("adopt", connection -> lock(connection, exact));
    new Installer(database, clock).markAdopted(request.rollup());
    AtomicReference<Taken> taken = new AtomicReference<>(planned);
    new Seals(database, clock)
        .settled(
            request.rollup(),
            range,
            // It may take long.
            Seals.Writers.GO_ON,
            lock,
            (connection, all) -> {
              Installed installed =
                  all.stream()
                      .filter(one -> one.name().equals(request.rollup()))
                      .findFirst()
                      .orElseThrow();
              SourceTable table = table(connection, installed.bound(), exact);
              Grain grain = grain(installed.bound(), exact);
              Survey survey =
                  new Survey(connection, installed, table, grain, exact, clock.instant());
              Taken now = survey.look();
              refuse(now);
              progress.begins(now.rows());
              SortedMap<Grain, Long> kept = survey.keptFrom(range.to());
              fold(
                  connection,
                  installed.bound(),
                  table,
                  grain,
                  survey,
                  range,
                  kept,
                  installed.openFrom(),
                  progress);
              survey.prove(range.from(), range.to(), kept);
              Retention.store(connection, installed, kept, clock.instant());
              register(connection, installed, exact, now, range);
              Seals.insert(connection, installed, range, "adopted from " + table.label());
              taken.set(now);
            });
    Taken done = taken.get();
    return new Taken(
        done.rollup(),
        done.table(),
        done.grain(),
        done.from(),
        done.to(),
        planned.end(),
        done.rows(),
        done.older(),
        done.later(),
        done.sums(),
        done.unknown(),
        List.of());
  }

  private static void refuse(Taken taken) {
    for (Taken.Refusal refusal : taken.refusals()) {
      throw new TallyrollException(refusal.code(), refusal.message());
    }
  }

  private static Installed installed(Connection connection, AdoptRequest request)
      throws SQLException {
    Installed installed = Registry.get(connection, request.rollup());
    if (Registry.isBeside(request.rollup())) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "'"
              + request.rollup()
              + "' is a definition that is being built; adopt when it has its place");
    }
    return installed;
  }

  private static Grain grain(BoundRollup bound, AdoptRequest request) {
    List<String> there = bound.rollup().grains().keySet().stream().map(Grain::label).toList();
    return bound.rollup().grains().keySet().stream()
        .filter(one -> one.label().equals(request.grain()))
        .findFirst()
        .orElseThrow(() ->
            new TallyrollException(
                ErrorCode.USAGE,
                "--grain "
                    + request.grain()
                    + ": '"
                    + bound.name()
                    + "' has no buckets of "
                    + request.grain()
                    + Names.didYouMean(request.grain(), there)
                    + " (it has "
                    + String.join(", ", there)
                    + "); add the grain to its definition and apply that first"));
  }

  private static SourceTable table(Connection connection, BoundRollup bound, AdoptRequest request)
      throws SQLException {
    int dot = request.table().indexOf('.');
    Optional<SourceTable> found =
        SourceTable.find(
            connection,
            dot < 0 ? null : request.table().substring(0, dot),
            request.table().substring(dot + 1));
    if (found.isEmpty() || "rpvmf".indexOf(found.get().kind()) < 0) {
      throw new TallyrollException(
          ErrorCode.USAGE, "--from " + request.table() + ": there is no such table or view");
    }
    if (found.get().oid() == bound.table().oid()
        || found.get().schema().equals(BoundRollup.SCHEMA)) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--from "
              + request.table()
              + ": that is "
              + (found.get().oid() == bound.table().oid()
                  ? "the source of '" + bound.name() + "' itself"
                  : "Tallyroll's own")
              + "; name the table that something else has kept");
    }
    return found.get();
  }

  /**
   * The statement that waits for those who write the table, or just keeps it from being emptied
   * where this role has no right to more.
   */
  private static String lock(Connection connection, AdoptRequest request) throws SQLException {
    SourceTable table =
        table(connection, Registry.get(connection, request.rollup()).bound(), request);
    if ("rpv".indexOf(table.kind()) < 0) {
      return "";
    }
    boolean isWritable =
        Sql.one(
            connection,
            "select has_table_privilege(?::oid, 'update, delete, truncate')",
            row -> row.getBoolean(1),
            table.oid());
    // Longer than an automatic vacuum goes on when it is in the way.
    return "set local lock_timeout = '3s'; lock table "
        + table.sqlName()
        + (isWritable ? " in share mode" : " in access share mode")
        + "; set local lock_timeout = '500ms'";
  }

  private void fold(
      Connection connection,
      BoundRollup bound,
      SourceTable table,
      Grain grain,
      Survey survey,
      Leaf.Range range,
      SortedMap<Grain, Long> kept,
      SortedMap<Grain, Long> openFrom,
      Progress progress)
      throws SQLException {
    // Finer grains have nothing that is kept in this range, so the merger passes over them.
    Merger merger = new Merger(connection, bound, kept, openFrom);
    for (Leaf.Range part : parts(connection, bound, table, survey.mapping(), range)) {
      String query =
          "select "
              + survey.mapping().selected()
              + " from "
              + table.sqlName()
              + " where "
              + survey.mapping().inRange(part.from(), part.to());
      PartialTable partials = new PartialTable(new KeySet(), bound.newColumns());
      int rowsRead = 0;
      try (RowReader rows = RowReader.of(connection, query)) {
        while (rows.next()) {
          int at = rows.position();
          for (int i = 0; i < bound.keys(); i++) {
            rows.skip();
          }
          int key = partials.keys().intern(rows.bytes(), at, rows.position() - at);
          partials.read(partials.group(key, grain.floor(rows.readInstant())), rows);
          if (++rowsRead % STEP == 0) {
            progress.read(STEP);
          }
        }
      }
      progress.read(rowsRead % STEP);
      merger.merge(partials);
    }
  }

  /** Cuts the range into runs of days that fit into memory. */
  private List<Leaf.Range> parts(
      Connection connection,
      BoundRollup bound,
      SourceTable table,
      Mapping mapping,
      Leaf.Range range)
      throws SQLException {
    long bytesPerRow =
        BYTES_PER_ROW + BYTES_PER_FIELD * (bound.keys() + bound.storedColumns().size());
    long most = Math.max(1, heapBytes / bytesPerRow);
    record Day(long start, long rows) {}
    List<Day> days =
        Sql.list(
            connection,
            "select (extract(epoch from date_bin('1 day', "
                + mapping.bucket()
                + ", 'epoch'::timestamptz)) * 1000000)::bigint as day, count(*) from "
                + table.sqlName()
                + " where "
                + mapping.inRange(range.from(), range.to())
                + " group by day order by day",
            row -> new Day(row.getLong(1), row.getLong(2)));
    List<Leaf.Range> parts = new ArrayList<>();
    long from = range.from();
    long rows = 0;
    for (Day day : days) {
      if (rows > 0 && rows + day.rows() > most) {
        parts.add(new Leaf.Range(from, day.start()));
        from = day.start();
        rows = 0;
      }
      rows += day.rows();
    }
    parts.add(new Leaf.Range(from, range.to()));
    return parts;
  }

  private static void register(
      Connection connection,
      Installed installed,
      AdoptRequest request,
      Taken taken,
      Leaf.Range range)
      throws SQLException {
    Sql.update(
        connection,
        "insert into tallyroll.adopted (rollup, range_from, range_to, origin, grain, rows, mapped) values (?, "
            + FeedSql.instant(range.from())
            + ", "
            + FeedSql.instant(range.to())
            + ", ?, ?, ?, jsonb_object(?, ?))",
        installed.name(),
        taken.table(),
        taken.grain(),
        taken.rows(),
        connection.createArrayOf("text", request.mapped().keySet().toArray()),
        connection.createArrayOf("text", request.mapped().values().toArray()));
    for (String name : taken.unknown()) {
      Sql.update(
          connection,
          "insert into tallyroll.start (rollup, name, since) values (?, ?, "
              + FeedSql.instant(range.to())
              + ") on conflict (rollup, name) do update set since = greatest(start.since, excluded.since)",
          installed.name(),
          name);
    }
  }
}
