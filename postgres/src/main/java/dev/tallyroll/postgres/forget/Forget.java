package dev.tallyroll.postgres.forget;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Sha256;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.SqlExpression;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Markers;
import dev.tallyroll.postgres.feed.Recompute;
import dev.tallyroll.postgres.feed.RowFold;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.merge.ChangeMerger;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Erases a tenant, or those of its rows that meet a predicate, from sources, change logs, rollups
 * and quarantine, in one transaction that leaves an audit line. Thread-safe.
 *
 * <p>How it works. The sources are locked against writers, all their rollups refreshed, then the
 * rollups locked, and only then the snapshot is taken: in it every rollup equals its source and no
 * log holds anything that is still to be read. The rows are deleted; what the logs hold then is
 * what this has changed, with all that foreign keys and triggers took along or changed: it is
 * merged in the same transaction, and the logs emptied whole. If rows are left then, nothing is
 * erased. A backfill that has read the rows before begins its slice anew.
 *
 * <p>Behind a seal what was counted of single rows cannot be taken out of a rollup any more: they
 * are erased from the source, and their number is told. A whole tenant's buckets go there too.
 *
 * <p>Space on disk is freed by PostgreSQL's vacuum, backups and replicas follow their own rules.
 */
public final class Forget {
  private static final int MOST_ATTEMPTS = 8;

  private final Database database;
  private final InstantSource clock;
  private final Seals seals;

  /** For a database; the clock is the refreshes'. */
  public Forget(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
    this.seals = new Seals(database, clock);
  }

  /**
   * What is to be erased.
   *
   * @param rollup only from the source of this rollup, and all rollups over it; null for all
   *     sources
   * @param tenant the tenant
   * @param where an SQL predicate over one source row; null for all rows of the tenant
   */
  public record Request(@Nullable String rollup, String tenant, @Nullable String where) {}

  /**
   * What was erased, and the proof, counted in a new snapshot after the commit.
   *
   * @param sources the tables
   * @param rollups the rollups
   * @param rows how many source rows
   * @param partials how many stored partials, of all grains; of a whole tenant only, since a
   *     predicate changes buckets and erases few
   * @param entries how many entries of the quarantine
   * @param sealed how many of the rows lay behind a seal, so that what some rollup has counted of
   *     them stays: only forgetting the whole tenant erases that
   * @param left rows that are still found in sources, logs, rollups or quarantine; 0 unless
   *     somebody has written new ones since
   */
  public record Forgotten(
      List<String> sources,
      List<String> rollups,
      long rows,
      long partials,
      long entries,
      long sealed,
      long left) {
    /** Copies the lists. */
    public Forgotten {
      sources = List.copyOf(sources);
      rollups = List.copyOf(rollups);
    }
  }

  /**
   * Erases.
   *
   * @throws TallyrollException if a name or the predicate is wrong, a trigger or a policy keeps
   *     rows, or writers and readers leave no moment for the locks; then nothing is erased
   */
  public Forgotten run(Request request) {
    if (request.where() != null
        && SqlExpression.check(request.where()) instanceof SqlExpression.Fault fault) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--where, at character " + (fault.offset() + 1) + ": " + fault.message());
    }
    List<String> names = database.with("forget", connection -> names(connection, request));
    if (names.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME, "there is no rollup, so there is nothing to forget");
    }
    for (int attempt = 1; ; attempt++) {
      // Tables that were added to a source can be captured only before it is locked.
      refresh(names);
      Optional<Forgotten> forgotten = Database.retrying(() -> attempt(names, request));
      if (forgotten.isPresent()) {
        Forgotten done = forgotten.get();
        long left =
            database.with(
                "forget",
                connection -> {
                  connection.setAutoCommit(false);
                  connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
                  long found = Erasable.left(connection, all(connection, names), request);
                  connection.rollback();
                  return found;
                });
        return new Forgotten(
            done.sources(),
            done.rollups(),
            done.rows(),
            done.partials(),
            done.entries(),
            done.sealed(),
            left);
      }
      if (attempt == MOST_ATTEMPTS) {
        throw new TallyrollException(
            ErrorCode.DATABASE,
            "the rollups of these sources cannot be brought up to date at the moment; see {tallyroll} status, and try again");
      }
    }
  }

  private void refresh(List<String> names) {
    try (Refresher refresher = new Refresher(database, clock)) {
      refresher.refreshAll(names);
    }
  }

  private static List<String> names(Connection connection, Request request) throws SQLException {
    return request.rollup() == null
        ? Registry.names(connection)
        : Registry.namesOver(connection, Registry.get(connection, request.rollup()).source());
  }

  private Optional<Forgotten> attempt(List<String> names, Request request) throws SQLException {
    try (Connection connection = database.openToLock("forget")) {
      connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      connection.setAutoCommit(false);
      try {
        List<Installed> before = all(connection, names);
        for (Installed one : before) {
          Erasable.condition(connection, one, request);
        }
        connection.rollback();
        // Shorter than PostgreSQL waits before it ends somebody for a deadlock.
        Sql.run(
            connection,
            "set local lock_timeout = '500ms'; lock table "
                + before.stream()
                    .map(one -> one.bound().table().sqlName())
                    .distinct()
                    .collect(Collectors.joining(", "))
                + " in share row exclusive mode");
        if (!seals.isRefreshedSoon(names)) {
          connection.rollback();
          return Optional.empty();
        }
        List<String> logs =
            before.stream()
                .flatMap(one -> one.log().stream())
                .map(ChangeLog::sqlName)
                .distinct()
                .toList();
        Sql.run(
            connection,
            "lock table "
                + before.stream()
                    .map(one -> one.bound().lockName())
                    .collect(Collectors.joining(", "))
                + " in exclusive mode"
                + (logs.isEmpty()
                    ? ""
                    : "; lock table " + String.join(", ", logs) + " in access exclusive mode"));
        List<Installed> all = all(connection, names);
        for (int i = 0; i < all.size(); i++) {
          all.get(i).checkSame(before.get(i));
          if (!isSettled(connection, all.get(i))) {
            connection.rollback();
            return Optional.empty();
          }
        }
        Forgotten forgotten = erase(connection, all, request);
        for (String log : logs) {
          Sql.run(connection, "truncate " + log);
        }
        long left = Erasable.left(connection, all, request);
        if (left > 0) {
          throw new TallyrollException(
              ErrorCode.REFUSED,
              left
                  + " of the rows are there also after they were deleted: a trigger or a row-level security policy of "
                  + String.join(", ", forgotten.sources())
                  + " keeps them; nothing is erased");
        }
        audit(connection, request, forgotten);
        connection.commit();
        return Optional.of(forgotten);
      } catch (SQLException | RuntimeException e) {
        Database.rollback(connection, e);
        throw e;
      }
    }
  }

  private static List<Installed> all(Connection connection, List<String> names)
      throws SQLException {
    List<Installed> all = new ArrayList<>();
    for (String name : names) {
      all.add(Registry.get(connection, name));
    }
    return all;
  }

  private static boolean isSettled(Connection connection, Installed installed) throws SQLException {
    return Markers.undecided(connection, installed).isEmpty()
        && !FeedSql.exists(connection, FeedSql.unread(installed));
  }

  private Forgotten erase(Connection connection, List<Installed> all, Request request)
      throws SQLException {
    Map<Long, List<Installed>> bySource = new LinkedHashMap<>();
    all.forEach(
        one -> bySource.computeIfAbsent(one.source(), source -> new ArrayList<>()).add(one));
    long rows = 0;
    long partials = 0;
    long entries = 0;
    long sealed = 0;
    List<String> sources = new ArrayList<>();
    Map<Installed, List<PartialTable>> out = new LinkedHashMap<>();
    Map<Installed, List<Long>> inQuarantine = new LinkedHashMap<>();
    for (List<Installed> rollups : bySource.values()) {
      BoundRollup first = rollups.getFirst().bound();
      sources.add(first.table().label());
      for (Installed one : rollups) {
        String condition = Erasable.condition(connection, one, request);
        if (one.log().isEmpty() && request.where() != null) {
          out.put(one, read(connection, one, condition));
        }
        if (request.where() == null) {
          entries += Erasable.eraseEntries(connection, one, request);
        } else {
          inQuarantine.put(one, Erasable.entries(connection, one, condition));
          sealed = Math.max(sealed, Erasable.sealed(connection, one, condition));
        }
      }
      String condition = Erasable.condition(connection, rollups.getFirst(), request);
      Sql.run(connection, "set local tallyroll.erase = '" + first.table().oid() + "'");
      rows +=
          Sql.update(connection, "delete from " + first.table().sqlName() + " where " + condition);
      Sql.run(
          connection, "set local tallyroll.erase = ''; set local search_path = public, pg_temp");
    }
    for (Installed one : all) {
      if (request.where() == null) {
        for (Grain grain : one.bound().rollup().grains().keySet()) {
          partials +=
              Sql.update(
                  connection,
                  "delete from "
                      + one.bound().grainTable(grain)
                      + " where tenant = "
                      + Erasable.tenant(connection, one.bound(), request));
        }
      }
      if (one.log().isPresent()) {
        merge(connection, one, request);
      } else if (request.where() != null) {
        ChangeMerger merger = merger(connection, one);
        for (PartialTable table : out.getOrDefault(one, List.of())) {
          merger.merge(table);
        }
        merger.end();
      }
      if (request.where() != null) {
        // Not before: by them it is known that a row was not counted.
        entries +=
            Erasable.eraseEntries(connection, one, inQuarantine.getOrDefault(one, List.of()));
        entries += Erasable.eraseOrphans(connection, one, request);
      }
    }
    if (Erasable.isOfServer(request)) {
      entries += Erasable.eraseOfServer(connection, request);
    }
    return new Forgotten(
        sources, all.stream().map(Installed::name).toList(), rows, partials, entries, sealed, 0);
  }

  private ChangeMerger merger(Connection connection, Installed installed) {
    long latest = Times.micros(clock.instant().plus(Refresher.MOST_AHEAD));
    return new ChangeMerger(
        connection,
        installed,
        installed.keptFrom(),
        new Recompute(connection, installed, installed.uncovered(), latest)::groups);
  }

  /**
   * Merges what the log holds, which is what this transaction has changed: nothing else was unread,
   * and no writer came between. Of a whole tenant nothing, whose buckets are gone.
   */
  private void merge(Connection connection, Installed installed, Request request)
      throws SQLException {
    BoundRollup bound = installed.bound();
    String isOfTenant = Erasable.ofTenant(connection, bound, request);
    long latest = Times.micros(clock.instant().plus(Refresher.MOST_AHEAD));
    if (FeedSql.exists(connection, FeedSql.markers(installed))) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "a trigger truncates "
              + bound.table().label()
              + ", or a part of it, when rows are deleted: nothing is erased");
    }
    Feed feed = new Feed(connection, connection, bound, latest, Feed.Meter.NONE, Long.MAX_VALUE);
    // Of others that a foreign key took along.
    feed.quarantineChanges(
        FeedSql.sealed(installed).stream()
            .map(branch -> branch.and(" and not (" + isOfTenant + ")"))
            .toList());
    ChangeMerger merger = merger(connection, installed);
    feed.read(
        FeedSql.unread(installed).stream()
            .map(branch ->
                request.where() == null ? branch.and(" and not (" + isOfTenant + ")") : branch)
            .toList(),
        () ->
            RowFold.ofChanges(
                bound, bound.rollup().foldGrain()::floor, latest, installed.keptFromAny()),
        fold -> merger.merge(fold.table()));
    merger.end();
  }

  /**
   * What the rows to erase have brought into a rollup that has no log, as partials that take it out
   * again.
   */
  private List<PartialTable> read(Connection connection, Installed installed, String condition)
      throws SQLException {
    BoundRollup bound = installed.bound();
    String counted =
        condition
            + FeedSql.notQuarantined(connection, bound)
            + SourceRanges.counted(installed, installed.uncovered(), installed.log().isEmpty())
            + (installed.seals().isEmpty() ? "" : " and not " + Erasable.isSealed(installed));
    long latest = Times.micros(clock.instant().plus(Refresher.MOST_AHEAD));
    List<PartialTable> tables = new ArrayList<>();
    new Feed(connection, null, bound, latest, Feed.Meter.NONE, Long.MAX_VALUE)
        .read(
            List.of(new Branch(bound.table().sqlName(), counted, true)),
            () ->
                RowFold.ofChanges(
                    bound, bound.rollup().foldGrain()::floor, latest, installed.keptFromAny()),
            fold -> tables.add(fold.table()));
    return tables;
  }

  private static void audit(Connection connection, Request request, Forgotten forgotten)
      throws SQLException {
    Sql.update(
        connection,
        "insert into tallyroll.erasure (sources, tenant, predicate_sha256, rows, entries) values (?, ?, ?, ?, ?)",
        connection.createArrayOf("text", forgotten.sources().toArray()),
        request.tenant(),
        request.where() == null ? null : Sha256.of(request.where()),
        forgotten.rows(),
        forgotten.entries());
  }
}
