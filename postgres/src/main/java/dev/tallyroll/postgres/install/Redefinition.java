package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.Marked;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.merge.Carry;
import dev.tallyroll.postgres.merge.DayRebuild;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Gives an installed rollup another definition while it is read and refreshed.
 *
 * <p>How it works. What the stored partials tell is done at once, in the transaction of a refresh:
 * measures, dimensions and grains that go, grains that can be merged from finer ones, and the other
 * capture, since right after a refresh the rollup equals its source whichever way the next change
 * is captured. What needs the source's rows is built <em>beside</em>: a rollup of the same name
 * with a tilde, made in the transaction of a refresh so that both stand on one snapshot, then
 * backfilled and refreshed like any other, while the old one answers. At the end its partitions
 * take the place of the old ones in one transaction. Killed anywhere, the old definition holds, and
 * the next apply goes on.
 *
 * <p>Where the source's rows are gone, behind a seal or before its first row, nothing can be built:
 * the stored buckets of that time are carried over, and what is new begins after it, which the user
 * must ask for.
 */
public final class Redefinition {
  /** So often it is tried to lock what readers read: about half a minute in all. */
  private static final int MOST_LOCK_ATTEMPTS = 40;

  private static final Duration LONGEST_LOCK_PAUSE = Duration.ofMillis(500);

  /** So often the old one is refreshed before rows that it lacks count as gone. */
  private static final int MOST_ATTEMPTS = 3;

  private final Database database;
  private final InstantSource clock;
  private boolean acceptsLoss;

  /** For a database; the clock tells what is no longer kept. */
  public Redefinition(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * From now on lets go what the old definition has counted and the source no longer has rows of,
   * where no seal tells that they were purged.
   */
  public Redefinition acceptingLoss() {
    acceptsLoss = true;
    return this;
  }

  /**
   * Begins, after the capture for the new definition is in place.
   *
   * @param asked the new definition
   * @param startNow whether what is new may begin where the source's rows begin
   * @return whether the new definition is being built beside, and {@link #finish} is to be called
   */
  boolean begin(BoundRollup asked, boolean startNow) {
    String name = asked.name();
    Installed live = database.with("apply", connection -> Registry.get(connection, name));
    if (live.bound().table().oid() != asked.table().oid()
        || live.bound().tenantType() != asked.tenantType()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "rollup '"
              + name
              + "' is kept over "
              + live.bound().table().label()
              + " with tenants of type "
              + live.bound().tenantType().sqlName()
              + "; that cannot be changed: give the new one another name, or drop this one first");
    }
    if (besideText(name).isPresent()) {
      return true;
    }
    String log =
        database.with(
            "apply",
            connection ->
                Installer.logAfter(connection, asked) instanceof ChangeLog read
                    ? read.sqlName()
                    : "");
    boolean[] isBuilding = new boolean[1];
    try (Refresher refresher = new Refresher(database, clock)) {
      refresher.refresh(
          name,
          new Refresher.Locks("", log),
          Refresher.WhenBusy.WAIT,
          (writing, reading) -> {
            Installed now = Registry.get(writing, name);
            Difference difference = new Difference(now.bound().rollup(), asked.rollup());
            isBuilding[0] =
                difference.needsRows()
                    || hasOtherTypes(now.bound(), asked)
                    || !reaches(reading, now, difference);
            if (isBuilding[0]) {
              build(writing, reading, now, asked, difference, startNow);
            } else {
              inPlace(writing, reading, now, asked, difference);
            }
          });
    }
    if (!isBuilding[0]) {
      dropUnusedCapture(live);
    }
    return isBuilding[0];
  }

  private Optional<String> besideText(String name) {
    return database.with(
        "apply",
        connection ->
            Sql.first(
                connection,
                "select definition from tallyroll.rollup where name = ?",
                row -> row.getString(1),
                Registry.beside(name)));
  }

  /** Whether something of the definition is stored as another type now. */
  private static boolean hasOtherTypes(BoundRollup old, BoundRollup asked) {
    for (int i = 0; i < asked.rollup().measures().size(); i++) {
      int at = old.rollup().measures().indexOf(asked.rollup().measures().get(i));
      if (at >= 0
          && !old.newColumns().get(at).stored().equals(asked.newColumns().get(i).stored())) {
        return true;
      }
    }
    for (int i = 0; i < asked.rollup().dimensions().size(); i++) {
      int at = old.rollup().dimensions().indexOf(asked.rollup().dimensions().get(i));
      if (at >= 0 && old.dimensionTypes().get(at) != asked.dimensionTypes().get(i)) {
        return true;
      }
    }
    return false;
  }

  /** Gives up what is being built beside a rollup, unless it is just what is asked for. */
  void dropBeside(String name, String asked) {
    if (besideText(name).filter(text -> !text.equals(asked)).isPresent()) {
      new Drop(database).run(Registry.beside(name));
    }
  }

  /** Whether the stored partials reach as far back as each new grain is to be kept. */
  private boolean reaches(Connection reading, Installed now, Difference difference)
      throws SQLException {
    if (difference.newGrains().isEmpty()) {
      return true;
    }
    long first =
        Creation.history(reading, now.bound())
            .map(days -> Times.micros(days.from()))
            .orElse(Long.MAX_VALUE);
    long today = Grain.DAY.floor(Times.micros(now.keepTime().at(clock.instant())));
    for (Map.Entry<Grain, Keep> grain : difference.after().grains().entrySet()) {
      if (!difference.newGrains().contains(grain.getKey())) {
        continue;
      }
      long asked = today - grain.getValue().days() * Times.DAY;
      long there =
          Carry.origin(now, grain.getKey()).map(Carry.Origin::since).orElse(Long.MAX_VALUE);
      if (there > Math.max(first, asked)) {
        return false;
      }
    }
    return true;
  }

  /**
   * Locks what readers read. Those who come meanwhile wait, so it is tried for moments only, and
   * again and again: where queries of seconds follow each other, one is seldom at its end.
   *
   * @throws TallyrollException if readers leave no moment for it
   */
  static void lockTables(Connection writing, BoundRollup bound) throws SQLException {
    // Readers lock these tables before their snapshot, so none sees half of it. A view comes before
    // the table below it, as they lock them. The timeout is shorter than PostgreSQL waits before it
    // ends somebody for a deadlock.
    RollupSql sql = new RollupSql(bound, "", null);
    String tables =
        bound.rollup().grains().keySet().stream()
            .flatMap(grain -> Stream.of(sql.freshName(grain), bound.grainTable(grain)))
            .collect(Collectors.joining(", "));
    for (int attempt = 1; ; attempt++) {
      Savepoint before = writing.setSavepoint();
      try {
        Sql.run(
            writing,
            "set local lock_timeout = '500ms'; lock table "
                + bound.lockName()
                + " in access exclusive mode; lock table "
                + tables
                + " in access exclusive mode");
        writing.releaseSavepoint(before);
        return;
      } catch (SQLException e) {
        if (!Faults.state(e).equals("55P03")) {
          throw e;
        }
        writing.rollback(before);
        if (attempt == MOST_LOCK_ATTEMPTS) {
          throw inUse(writing, bound, e);
        }
        LockSupport.parkNanos(ThreadLocalRandom.current().nextLong(LONGEST_LOCK_PAUSE.toNanos()));
      }
    }
  }

  private static TallyrollException inUse(Connection writing, BoundRollup bound, SQLException cause)
      throws SQLException {
    List<String> readers =
        Sql.list(
            writing,
            """
            select 'process ' || a.pid || ' of ' || a.usename || ' since ' || to_char(a.xact_start at time zone 'UTC', 'HH24:MI:SS"Z"')
            from pg_stat_activity a
            where a.pid <> pg_backend_pid() and a.xact_start is not null and exists (
              select from pg_locks l join pg_class c on c.oid = l.relation
              where l.pid = a.pid and l.granted and c.relnamespace = 'tallyroll'::regnamespace and starts_with(c.relname, ?))
            order by a.xact_start limit 5
            """,
            row -> row.getString(1),
            bound.name() + "_");
    return new TallyrollException(
        ErrorCode.DATABASE,
        "the tables of rollup '"
            + bound.name()
            + "' are read without a pause, so its definition cannot be changed at the moment, and nothing is changed; try again, or end who reads for long"
            + (readers.isEmpty() ? "" : ": " + String.join(", ", readers)),
        cause);
  }

  /** Does what the stored partials tell, under the rollup's lock and right after its refresh. */
  private void inPlace(
      Connection writing,
      Connection reading,
      Installed now,
      BoundRollup asked,
      Difference difference)
      throws SQLException {
    BoundRollup old = now.bound();
    if (difference.isOfCapture()) {
      switchCapture(
          writing, reading, now, asked, Times.micros(clock.instant().plus(Refresher.MOST_AHEAD)));
    }
    SortedMap<Grain, Long> kept = new TreeMap<>();
    for (Grain grain : asked.rollup().grains().keySet()) {
      kept.put(grain, Carry.origin(now, grain).map(Carry.Origin::since).orElse(Long.MIN_VALUE));
    }
    RollupSql sql =
        new RollupSql(asked, Installer.refreshers(writing), Installer.logAfter(writing, asked));
    Published published = new Published(writing, asked, sql);
    boolean isRekeyed = !difference.removedDimensions().isEmpty();
    BoundRollup beside = asked.named(Registry.beside(asked.name()));
    Leaf.Range always = new Leaf.Range(Long.MIN_VALUE, Long.MAX_VALUE);
    if (isRekeyed) {
      for (String statement : new RollupSql(beside, Installer.refreshers(writing), null).tables()) {
        Sql.run(writing, statement);
      }
      for (Grain grain : asked.rollup().grains().keySet()) {
        new Carry(writing, now, beside, kept, new TreeMap<>()).run(grain, always, true);
      }
    } else {
      for (Grain grain : difference.newGrains()) {
        for (String statement : sql.table(grain)) {
          Sql.run(writing, statement);
        }
        new Carry(writing, now, asked, kept, new TreeMap<>()).run(grain, always, true);
      }
    }
    // Readers wait from here on.
    lockTables(writing, old);
    published.around(() -> {
      for (Grain grain : asked.rollup().grains().keySet()) {
        boolean isThere = !difference.newGrains().contains(grain);
        if (isRekeyed) {
          new Swap(writing, beside, asked, sql, published).run(grain, isThere);
        } else if (isThere) {
          published.alter(grain);
        }
      }
      if (isRekeyed) {
        Sql.run(writing, "drop table " + beside.lockName());
      }
      dropGrains(writing, now, difference, published);
    });
    for (Grain grain : difference.newGrains()) {
      Registry.addGrain(writing, asked.name(), grain, kept.getOrDefault(grain, Long.MIN_VALUE));
    }
    Sql.update(
        writing,
        "update tallyroll.rollup set definition = ?, definition_hash = ?, types = ?, columns = ?, changes = ? where name = ?",
        asked.rollup().text(),
        Installer.hash(asked.rollup().text()),
        writing.createArrayOf("text", Registry.types(asked)),
        writing.createArrayOf("text", asked.sourceColumns().toArray()),
        asked.rollup().source().changes().label(),
        asked.name());
    // Its views know of open buckets now, if they were made before there were any.
    Sql.update(
        writing,
        "update tallyroll.grain set open_from = 'infinity' where rollup = ? and open_from is null",
        asked.name());
    Sql.update(
        writing,
        "delete from tallyroll.start where rollup = ? and name <> all (?)",
        asked.name(),
        writing.createArrayOf("text", names(asked)));
  }

  /** What of a definition may be known only from some time on. */
  private static String[] names(BoundRollup bound) {
    return Stream.of(
            bound.rollup().dimensions().stream().map(Dimension::name),
            bound.rollup().measures().stream().map(Measure::name),
            // Of a distribution a part may be unknown.
            bound.storedColumns().stream().map(StoredColumn::name))
        .flatMap(names -> names)
        .toArray(String[]::new);
  }

  private static void dropGrains(
      Connection writing, Installed now, Difference difference, Published published)
      throws SQLException {
    RollupSql old = new RollupSql(now.bound(), "", null);
    for (Grain grain : difference.removedGrains()) {
      published.drop("drop view " + old.freshName(grain), old.freshName(grain));
      Sql.run(writing, "drop function " + old.tailName(grain) + "()");
      String table = now.bound().grainTable(grain);
      published.drop("drop table " + table, table);
      Sql.update(
          writing,
          "delete from tallyroll.grain where rollup = ? and grain = ?",
          now.name(),
          grain.label());
    }
  }

  /**
   * Right after a refresh the rollup equals its source in this snapshot, so that the other capture
   * goes on from here. Only days that are not filled yet differ: an append table's live rows are
   * merged into them, a changing table's wait for the slice.
   */
  private static void switchCapture(
      Connection writing, Connection reading, Installed now, BoundRollup asked, long latest)
      throws SQLException {
    if (asked.isChanging()) {
      deleteUncovered(writing, reading, now, latest);
    }
    Sql.update(writing, "update tallyroll.rollup set anchor = cursor where name = ?", now.name());
  }

  /**
   * Deletes what live rows have brought into days that are not filled yet, and the entries of the
   * quarantine that are of such rows: the backfill will read them.
   */
  static void deleteUncovered(
      Connection connection, Connection reading, Installed installed, long latest)
      throws SQLException {
    for (Coverage.Days days : installed.coverage().uncovered()) {
      long from = Times.micros(days.from());
      long to = Times.micros(days.to());
      for (Grain grain : installed.bound().rollup().grains().keySet()) {
        if (grain.zone().isEmpty()) {
          Sql.run(
              connection,
              "delete from "
                  + installed.bound().grainTable(grain)
                  + " where bucket >= "
                  + FeedSql.instant(from)
                  + " and bucket < "
                  + FeedSql.instant(to));
        }
      }
      Sql.run(
          connection,
          "delete from tallyroll.quarantine where "
              + FeedSql.entriesOf(installed.bound(), from, to));
    }
    DayRebuild days =
        new DayRebuild(connection, reading, installed, installed.keptFrom(), false, latest);
    for (Leaf.Range range : installed.uncovered()) {
      days.run(Marked.ofAll(range), List.of());
    }
  }

  /** Begins to build beside, in the snapshot of the old one's refresh. */
  private static void build(
      Connection writing,
      Connection reading,
      Installed now,
      BoundRollup asked,
      Difference difference,
      boolean startNow)
      throws SQLException {
    BoundRollup beside = asked.named(Registry.beside(asked.name()));
    List<Leaf.Range> gone = gone(reading, now);
    List<Leaf.Range> lost = held(writing, now, gone);
    boolean isNew =
        difference.isOfSource()
            || !difference.newDimensions().isEmpty()
            || !difference.newMeasures().isEmpty()
            || hasOtherTypes(now.bound(), asked);
    if (isNew && !lost.isEmpty() && !startNow) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "the source rows of '"
              + asked.name()
              + "' before "
              + Times.format(lost.getLast().to())
              + " are gone, and what is new cannot be computed for that time ("
              + String.join("; ", difference.lines())
              + "); to keep what is stored of it and let the new begin then: {tallyroll} apply --start-now -f FILE");
    }
    new Published(writing, asked, new RollupSql(asked, "", null))
        .checkThatNothingStandsOn(difference.removedGrains());
    for (String statement : new RollupSql(beside, Installer.refreshers(writing), null).tables()) {
      Sql.run(writing, statement);
    }
    String snapshot =
        Sql.one(writing, "select pg_current_snapshot()::text", row -> row.getString(1));
    Optional<Coverage.Days> history = Creation.history(reading, beside);
    // A clock that is not believed here is not to be believed there.
    Creation.register(writing, beside, asked.rollup().text(), snapshot, history, now.keepTime());
    Creation.quarantineOutside(writing, beside, history);
    // Also where the old one holds nothing: what comes there late, both count.
    Sql.run(
        writing,
        "update tallyroll.rollup set carried = "
            + ranges(gone)
            + " where name = "
            + Sql.literal(beside.name()));
    if (!lost.isEmpty()) {
      carry(writing, now, beside, lost, history);
      start(writing, beside, difference, lost.getLast().to());
    }
    // What was taken over stays marked, whether its buckets are still kept or not.
    Sql.update(
        writing,
        "insert into tallyroll.adopted (rollup, range_from, range_to, origin, grain, rows, mapped, adopted_at, adopted_by)"
            + " select ?, range_from, range_to, origin, grain, rows, mapped, adopted_at, adopted_by from tallyroll.adopted where rollup = ?",
        beside.name(),
        now.name());
  }

  /** The whole days before the source's first row, and those behind seals. */
  private static List<Leaf.Range> gone(Connection reading, Installed now) throws SQLException {
    List<Leaf.Range> gone = new ArrayList<>();
    // Without a row in the source, a rollup that is not empty has lost all.
    gone.add(
        new Leaf.Range(
            Long.MIN_VALUE,
            Creation.history(reading, now.bound())
                .map(days -> Times.micros(days.from()))
                .orElse(Long.MAX_VALUE)));
    now.seals().forEach(seal -> gone.add(seal.range().days()));
    return SourceRanges.union(gone);
  }

  /** What the rollup holds buckets of, of days of which the source no longer has all rows. */
  private static List<Leaf.Range> held(Connection writing, Installed now, List<Leaf.Range> gone)
      throws SQLException {
    BoundRollup bound = now.bound();
    long first = Long.MAX_VALUE;
    long last = Long.MIN_VALUE;
    for (Grain grain : bound.rollup().grains().keySet()) {
      record Extent(Optional<Long> from, Optional<Long> to) {}
      Extent extent =
          Sql.one(
              writing,
              "select (extract(epoch from min(bucket)) * 1000000)::bigint, (extract(epoch from max(bucket)) * 1000000)::bigint from "
                  + bound.grainTable(grain),
              row ->
                  new Extent(
                      Optional.ofNullable(row.getObject(1, Long.class)),
                      Optional.ofNullable(row.getObject(2, Long.class))));
      // The day of a zone begins before the first row, and ends after the last one.
      boolean isFixed = grain.zone().isEmpty();
      first =
          Math.min(
              first,
              extent.from().map(from -> isFixed ? from : Grain.DAY.ceil(from)).orElse(first));
      last =
          Math.max(
              last,
              extent
                  .to()
                  .map(grain::end)
                  .map(to -> isFixed ? to : Grain.DAY.floor(to))
                  .orElse(last));
    }
    if (first > last) {
      return List.of();
    }
    Leaf.Range extent = new Leaf.Range(first, last).days();
    return gone.stream()
        .map(range ->
            new Leaf.Range(
                Math.max(extent.from(), range.from()), Math.min(extent.to(), range.to())))
        .filter(range -> range.from() < range.to())
        .toList();
  }

  private static void carry(
      Connection writing,
      Installed now,
      BoundRollup beside,
      List<Leaf.Range> lost,
      Optional<Coverage.Days> history)
      throws SQLException {
    SortedMap<Grain, Long> kept = new TreeMap<>();
    for (Grain grain : beside.rollup().grains().keySet()) {
      // After what is carried, the source tells all.
      long from =
          Math.min(
              grain.ceil(lost.getLast().to()),
              Carry.origin(now, grain).map(Carry.Origin::since).orElse(Long.MAX_VALUE));
      kept.put(grain, from);
      Sql.update(
          writing,
          "update tallyroll.grain set kept_from = greatest(kept_from, "
              + FeedSql.instant(from)
              + ") where rollup = ? and grain = ?",
          beside.name(),
          grain.label());
    }
    Carry carry = new Carry(writing, now, beside, kept, new TreeMap<>());
    long first = history.map(days -> Times.micros(days.from())).orElse(Long.MAX_VALUE);
    for (Leaf.Range range : lost) {
      for (Grain grain : beside.rollup().grains().keySet()) {
        carry.run(grain, range, range.equals(lost.getFirst()) && first >= range.from());
      }
      // Nothing is to be read of these days.
      Sql.update(
          writing,
          "insert into tallyroll.slice (rollup, day_from, day_to, rows) select ?, greatest(?, history_from), least(?, history_to), 0"
              + " from tallyroll.rollup where name = ? and history_from < ? and ? < history_to",
          beside.name(),
          Times.day(range.from()),
          Times.day(range.to()),
          beside.name(),
          Times.day(range.to()),
          Times.day(range.from()));
    }
  }

  private static String ranges(List<Leaf.Range> ranges) {
    return ranges.stream()
        .map(range ->
            "tstzrange(" + FeedSql.instant(range.from()) + ", " + FeedSql.instant(range.to()) + ")")
        .collect(Collectors.joining(", ", "tstzmultirange(", ")"));
  }

  private static void start(
      Connection writing, BoundRollup beside, Difference difference, long since)
      throws SQLException {
    for (String name :
        Stream.concat(
                difference.newDimensions().stream().map(Dimension::name),
                difference.newMeasures().stream().map(Measure::name))
            .toList()) {
      Sql.update(
          writing,
          "insert into tallyroll.start (rollup, name, since) values (?, ?, "
              + FeedSql.instant(since)
              + ")",
          beside.name(),
          name);
    }
    // Those of what is no longer there begin nowhere.
    Sql.update(
        writing,
        "insert into tallyroll.start (rollup, name, since) select ?, name, since from tallyroll.start"
            + " where rollup = ? and name = any (?) on conflict do nothing",
        beside.name(),
        difference.after().name(),
        writing.createArrayOf("text", names(beside)));
  }

  /**
   * Fills what is built beside a rollup, and puts it into its place. Can be killed and called
   * again; does nothing if there is nothing beside.
   *
   * @param rollup the rollup's own name
   * @param jobs how many slices are read at once
   * @param rowsPerSecond as in {@link BackfillRequest}
   * @param progress is told of the rows that are read
   */
  public void finish(String rollup, int jobs, long rowsPerSecond, Backfill.Progress progress) {
    if (besideText(rollup).isEmpty()) {
      return;
    }
    Installed old = database.with("apply", connection -> Registry.get(connection, rollup));
    try {
      fill(rollup, jobs, rowsPerSecond, progress);
    } catch (TallyrollException e) {
      // Another apply of the same may have come to the end before.
      if (e.code() != ErrorCode.UNKNOWN_NAME || besideText(rollup).isPresent()) {
        throw e;
      }
    }
    dropUnusedCapture(old);
  }

  private void fill(String rollup, int jobs, long rowsPerSecond, Backfill.Progress progress) {
    String name = Registry.beside(rollup);
    new Backfill(database, clock)
        .run(new BackfillRequest(name, null, null, jobs, rowsPerSecond), progress);
    try (Refresher refresher = new Refresher(database, clock)) {
      refresher.refresh(name, Refresher.WhenBusy.WAIT);
      database.with(
          "apply",
          connection -> {
            Swap.prepare(connection, Registry.get(connection, name).bound());
            return true;
          });
      boolean[] isSwapped = new boolean[1];
      for (int attempt = 1; !isSwapped[0]; attempt++) {
        boolean isLast = attempt == MOST_ATTEMPTS;
        // Rows that were deleted since its last refresh must not look as if they were purged.
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        refresher.refresh(
            name,
            new Refresher.Locks(BoundRollup.qualified(rollup + "_lock"), ""),
            Refresher.WhenBusy.WAIT,
            (writing, reading) -> isSwapped[0] = swap(writing, reading, rollup, isLast));
      }
    }
  }

  /**
   * Puts the new one into the place of the old one, under the locks of both. Gives false if the old
   * one has to be refreshed once more, since it may not know yet of rows that were deleted.
   */
  private boolean swap(Connection writing, Connection reading, String rollup, boolean isLast)
      throws SQLException {
    Installed beside = Registry.get(writing, Registry.beside(rollup));
    if (!beside.coverage().uncovered().isEmpty()) {
      throw new TallyrollException(
          ErrorCode.NOT_COVERED,
          "the new definition of '" + rollup + "' is not filled yet; apply it again to go on");
    }
    BoundRollup asked = beside.bound().named(rollup);
    Installed old = Registry.get(writing, rollup);
    List<Leaf.Range> lost = held(writing, old, gone(reading, old));
    if (!lost.isEmpty()
        && !Sql.one(
            writing,
            "select " + ranges(lost) + " <@ carried from tallyroll.rollup where name = ?",
            row -> row.getBoolean(1),
            beside.name())) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "source rows of '"
              + rollup
              + "' before "
              + Times.format(lost.getLast().to())
              + " went while its new definition was built, which has not counted them; give that up and begin again: {tallyroll} drop "
              + beside.name()
              + ", then apply");
    }
    Difference difference = new Difference(old.bound().rollup(), asked.rollup());
    Optional<Shrinkage.Lost> shrunk =
        acceptsLoss || difference.isOfSource()
            ? Optional.empty()
            : new Shrinkage(writing, reading, old, beside).first();
    if (shrunk.isPresent()) {
      if (isLast) {
        throw shrunk(old, beside, shrunk.get());
      }
      return false;
    }
    lockTables(writing, old.bound());
    RollupSql sql =
        new RollupSql(asked, Installer.refreshers(writing), Installer.logAfter(writing, asked));
    Published published = new Published(writing, asked, sql);
    published.around(() -> {
      for (Grain grain : asked.rollup().grains().keySet()) {
        new Swap(writing, beside.bound(), asked, sql, published)
            .run(grain, !difference.newGrains().contains(grain));
      }
      dropGrains(writing, old, difference, published);
    });
    Sql.run(writing, "drop table " + beside.bound().lockName());
    // What is known only there: entries from before of rows that are gone.
    String entries =
        lost.stream()
            .map(range -> FeedSql.entriesOf(old.bound(), range.from(), range.to()))
            .map(condition -> " or kind = 'row' and " + condition)
            .collect(Collectors.joining());
    Sql.run(
        writing,
        "update tallyroll.quarantine set rollup = "
            + Sql.literal(beside.name())
            + " where rollup = "
            + Sql.literal(rollup)
            + " and (kind <> 'row' and quarantined_at < (select installed_at from tallyroll.rollup where name = "
            + Sql.literal(beside.name())
            + ")"
            + entries
            + ")");
    Sql.update(writing, "delete from tallyroll.rollup where name = ?", rollup);
    Sql.update(
        writing, "update tallyroll.rollup set name = ? where name = ?", rollup, beside.name());
    return true;
  }

  private static TallyrollException shrunk(Installed old, Installed beside, Shrinkage.Lost lost) {
    return new TallyrollException(
        ErrorCode.REFUSED,
        "'"
            + old.name()
            + "' has counted rows of tenant '"
            + lost.tenant()
            + "' from "
            + Times.format(lost.bucket())
            + " that the source no longer has, and its new definition would lose them; if they are to go: {tallyroll} apply --accept-loss -f FILE;"
            + " if not, give that up: {tallyroll} drop "
            + beside.name()
            + " (what is sealed then, by {tallyroll} seal "
            + old.name()
            + " --before T, is carried over by {tallyroll} apply --start-now)");
  }

  /** Removes the capture that the old definition read, if no rollup reads it any more. */
  private void dropUnusedCapture(Installed old) {
    Drop.dropUnusedCapture(database, old.bound());
  }
}
