package dev.tallyroll.testkit.history;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.session.Database;
import java.sql.SQLException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Objects;

/**
 * How rows go, and partitions with them: by the engine's own purge, or by others. For one thread.
 */
final class Purges {
  private final World world;
  private final Sessions sessions;
  private final Others others;
  private final Engine engine;

  Purges(World world, Sessions sessions, Others others, Engine engine) {
    this.world = world;
    this.sessions = sessions;
    this.others = others;
    this.engine = engine;
  }

  /** Our own purge, by a definition's keep; what it took is remembered for the oracle. */
  void purgeByKeep() throws SQLException {
    String rollup = world.any();
    if (world.definitions.hasKeep(rollup)) {
      purgeByKeep(world.calm, rollup);
    }
  }

  /** The same, on a database that is disturbed or not. */
  void purgeByKeep(Database database, String rollup) throws SQLException {
    sessions.end();
    world.test.run(
        "drop table if exists purged; create table purged as select tableoid as t, ctid as c, e.* from events e");
    others.quietly(
        () -> others.disturb("purge by the keep of " + rollup, () -> purge(database, rollup)));
    String cut =
        world.now.truncatedTo(ChronoUnit.DAYS).minus(leastKeep(), ChronoUnit.DAYS).toString();
    if (!"0"
        .equals(
            world.value(
                "select count(*) from purged p where ts >= '"
                    + cut
                    + "' and not exists (select from events e where e.tableoid = p.t and e.ctid = p.c)"))) {
      throw new AssertionError("a purge took rows that are not older than " + cut);
    }
    world.test.run(
        "insert into gone select id, tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg from purged p"
            + " where not exists (select from events e where e.tableoid = p.t and e.ctid = p.c); drop table purged");
    world.layout.look();
    readSeals();
  }

  /** The longest keep of the definitions, in days; all rows younger than that stay. */
  private int leastKeep() {
    return world.installed.stream()
        .map(rollup -> world.definitions.read(rollup).getFirst().rollup().source().keep())
        .filter(Objects::nonNull)
        .mapToInt(Keep::days)
        .max()
        .orElse(0);
  }

  private void purge(Database database, String rollup) {
    world.truth.unpurged.add(rollup);
    try {
      new Purge(database, world.clock).run(rollup);
      world.truth.unpurged.remove(rollup);
    } catch (TallyrollException e) {
      if (e.code() != ErrorCode.REFUSED) {
        throw e;
      }
      world.note("  is refused: " + e.getMessage());
      if (database == world.calm) {
        world.truth.comparePurgeFailure(rollup, String.valueOf(e.getMessage()));
      }
    }
  }

  /** What lies behind a seal is not changed any more. */
  private void readSeals() {
    String sealed =
        world.value("select (max(range_to) at time zone 'UTC')::text from tallyroll.seal");
    if (sealed != null) {
      world.changes.seal(Instant.parse(sealed.replace(' ', 'T') + "Z"));
    }
  }

  /** A purge by others, who have a range sealed first and delete from it then, or later. */
  void purgeBehindSeal() throws SQLException {
    Instant before =
        world.now.minus(5 + world.random.nextInt(4), ChronoUnit.DAYS).truncatedTo(ChronoUnit.DAYS);
    Instant sealed = world.changes.sealed();
    if (world.isAppended || !before.isAfter(sealed)) {
      return;
    }
    String rollup = world.any();
    sessions.end();
    // Nobody is to change what is sealed while that is done.
    world.changes.seal(before);
    try {
      others.quietly(() ->
          others.disturb(
              "seal " + rollup + " before " + before,
              () -> {
                try {
                  new Seals(others.engine(), world.clock)
                      .seal(
                          rollup,
                          before,
                          List.of(String.valueOf(world.value("select current_user"))));
                } catch (TallyrollException e) {
                  if (e.code() != ErrorCode.REFUSED) {
                    throw e;
                  }
                  world.note("  is refused: " + e.getMessage());
                }
              }));
    } finally {
      world.changes.seal(sealed);
    }
    readSeals();
    if (world.changes.sealed().equals(before) && world.random.nextInt(3) > 0) {
      String old = "events where ts < '" + before + "'";
      world.layout.tryRun("insert into gone select * from " + old + "; delete from " + old);
    }
  }

  /** Rows that a purge is about to take come late. */
  void insertOld() {
    String sql =
        world
            .changes
            .insert(1 + world.random.nextInt(4))
            .replaceAll(
                "'t(\\d)', '[^']*'",
                "'t$1', '"
                    + world.now.minus(200 + world.random.nextInt(80), ChronoUnit.HOURS)
                    + "'");
    world.note("  a session, whole: " + sql);
    try {
      world.test.run("set lock_timeout = '30ms'; " + sql);
      world.operations++;
    } catch (IllegalStateException e) {
      world.note("  fails: " + e.getMessage());
    }
    world.test.run(
        "insert into purged select tableoid, ctid, e.* from events e where not exists (select from purged p where p.t = e.tableoid and p.c = e.ctid)");
  }

  /** Partitions come and go, as others make and purge them. */
  void alterPartitions() throws SQLException {
    leaveTenant();
    if (!world.layout.isByTime() || world.isAppended) {
      return;
    }
    switch (world.random.nextInt(3)) {
      case 0 -> world.layout.attach();
      case 1 -> purgePartition();
      default -> world.layout.refill(world.operations);
    }
  }

  /** A tenant's table goes, once every rollup has counted it; no seal tells of that. */
  private void leaveTenant() throws SQLException {
    if (world.layout.hasTenantTable()
        && "0".equals(world.value("select count(*) from tallyroll.seal"))
        && world.installed.stream().noneMatch(world.definitions::isChanged)) {
      sessions.end();
      if (isAllMerged()) {
        // What an append table was given stays with a part of it that is detached.
        world.layout.leaveTenant(!world.isAppended);
      }
    }
  }

  /** Drops or detaches the oldest partition, once every rollup has counted it. */
  private void purgePartition() {
    if (world.layout.hasOld() && isAllMerged()) {
      world.layout.purgeOldest(
          "",
          world.random.nextBoolean() ? "drop table %s" : "alter table events detach partition %s");
    }
  }

  /** Whether every rollup has counted all that is there, for which it is refreshed. */
  private boolean isAllMerged() {
    for (String rollup : world.installed) {
      if (!world.truth.isCovered(rollup)) {
        return false;
      }
      try (Refresher refresher = new Refresher(world.calm, world.clock)) {
        // Twice, since the first may find a partition to complete.
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    return true;
  }

  /** Whether the oldest partition can be purged: it holds what every rollup has counted. */
  private boolean isPurgeable() {
    return world.layout.isByTime()
        && !world.isAppended
        && world.layout.isOldestOpen()
        && world.value("select 1 from tallyroll.rollup where name like '%~'") == null;
  }

  /**
   * Rows in the oldest partition, counted by every rollup, and then changed in ways that need it.
   */
  private void bringIntoDoubt() throws SQLException {
    String to = world.layout.oldest().to();
    String oldest = world.layout.oldest().name();
    sessions.end();
    world.run(
        world
            .changes
            .insert(3 + world.random.nextInt(8))
            .replace("insert into events", "insert into " + oldest)
            .replaceAll(
                "'t(\\d)', '[^']*'",
                world.changes.typed(
                    "'t$1', "
                        + to
                        + "::timestamptz - interval '"
                        + (5 + world.random.nextInt(30))
                        + " hours'")));
    for (String rollup : world.installed) {
      new Backfill(world.calm, world.clock)
          .run(BackfillRequest.all(rollup), new Backfill.Progress() {});
    }
    for (String rollup : world.installed) {
      try (Refresher refresher = new Refresher(world.calm, world.clock)) {
        // Twice, since the first may find a partition to complete.
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    // Of the rest of it rows may be behind a seal, which nobody is to change.
    String some =
        " where id % "
            + (2 + world.random.nextInt(2))
            + " = 0 and ts >= '"
            + world.changes.sealed()
            + "'";
    world.run(
        switch (world.random.nextInt(3)) {
          case 0 -> "delete from " + oldest + some;
          case 1 ->
              "update "
                  + oldest
                  + " set cost = null, msg = null, user_id = null, id = id + 1000000"
                  + some;
          default ->
              "update " + oldest + " set tenant_id = 't0', ts = ts - interval '1 minute'" + some;
        });
  }

  /** Somebody drops a partition that a refresh reads, since rows were taken out of it. */
  void purgeInTheMiddle() throws SQLException {
    if (!isPurgeable()) {
      return;
    }
    bringIntoDoubt();
    others.purging(() -> {
      if (world.random.nextInt(4) == 0) {
        engine.backfill(world.any());
      } else {
        engine.refresh(world.any());
      }
    });
    others.look();
  }

  /**
   * Somebody drops a partition before it was read what was taken out of it: from then on its counts
   * and sums are right, and what only its rows would tell is in quarantine.
   */
  void purgeInDoubt() throws SQLException {
    if (!isPurgeable()) {
      return;
    }
    bringIntoDoubt();
    if (world.layout.purgeOldest("", "drop table %s")) {
      world.truth.doubt(Definitions.ROLLUPS);
      engine.refresh(world.any());
      others.look();
    }
  }
}
