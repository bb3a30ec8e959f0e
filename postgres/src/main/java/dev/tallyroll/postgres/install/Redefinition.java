package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.merge.Carry;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
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
                    || Beside.hasOtherTypes(now.bound(), asked)
                    || !reaches(reading, now, difference);
            if (isBuilding[0]) {
              Beside.build(writing, reading, now, asked, difference, startNow);
            } else {
              InPlace.run(
                  writing,
                  reading,
                  now,
                  asked,
                  difference,
                  Times.micros(clock.instant().plus(Refresher.MOST_AHEAD)));
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
    List<Leaf.Range> gone = Beside.gone(reading, old);
    List<Leaf.Range> lost = Beside.held(writing, old, gone);
    if (!lost.isEmpty()
        && !Sql.one(
            writing,
            "select " + Beside.ranges(lost) + " <@ carried from tallyroll.rollup where name = ?",
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
    passEntries(writing, old, beside, lost, gone);
    // Readers wait from here on.
    ReaderLock.take(writing, old.bound());
    RollupSql sql =
        new RollupSql(asked, Installer.refreshers(writing), Installer.logAfter(writing, asked));
    Published published = new Published(writing, asked, sql);
    published.around(() -> {
      for (Grain grain : asked.rollup().grains().keySet()) {
        new Swap(writing, beside.bound(), asked, sql, published)
            .run(grain, !difference.newGrains().contains(grain));
      }
      InPlace.dropGrains(writing, old, difference, published);
    });
    Sql.run(writing, "drop table " + beside.bound().lockName());
    Sql.update(writing, "delete from tallyroll.rollup where name = ?", rollup);
    Sql.update(
        writing, "update tallyroll.rollup set name = ? where name = ?", rollup, beside.name());
    return true;
  }

  /**
   * Hands over what the quarantine knows only of the old one, from before the new one was begun:
   * changes and buckets, rows of days that were carried over, of which the new one reads nothing,
   * and rows that the source no longer has.
   *
   * @param carried what of {@code gone} the old one holds buckets of
   */
  private static void passEntries(
      Connection writing,
      Installed old,
      Installed beside,
      List<Leaf.Range> carried,
      List<Leaf.Range> gone)
      throws SQLException {
    BoundRollup bound = old.bound();
    String without =
        FeedSql.keyOfEntry(bound)
            + " not in (select "
            + FeedSql.key(bound)
            + " from "
            + bound.table().sqlName()
            + " where "
            + any(gone, range -> FeedSql.inRange(bound, range.from(), range.to()))
            + ")";
    Sql.run(writing, "set local search_path = " + bound.searchPath());
    Sql.run(
        writing,
        "update tallyroll.quarantine set rollup = "
            + Sql.literal(beside.name())
            + " where rollup = "
            + Sql.literal(old.name())
            + " and quarantined_at < (select installed_at from tallyroll.rollup where name = "
            + Sql.literal(beside.name())
            + ") and (kind <> 'row' or "
            + any(carried, range -> FeedSql.entriesOf(bound, range.from(), range.to()))
            + " or "
            + any(gone, range -> FeedSql.entriesOf(bound, range.from(), range.to()))
            + " and "
            + without
            + ")");
    Sql.run(writing, "set local search_path = public, pg_temp");
  }

  private static String any(List<Leaf.Range> ranges, Function<Leaf.Range, String> condition) {
    return Stream.concat(Stream.of("false"), ranges.stream().map(condition))
        .collect(Collectors.joining(" or ", "(", ")"));
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
