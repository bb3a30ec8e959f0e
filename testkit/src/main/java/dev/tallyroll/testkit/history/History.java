package dev.tallyroll.testkit.history;

import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;

/**
 * One random history: sessions that change a table, and the engine that keeps rollups of it. All
 * runs in one thread: between any two statements of the engine, sessions take steps, readers look,
 * and connections break. So a seed always gives the same history. For one thread, once.
 *
 * <p>At the end all that is open is ended, the engine runs undisturbed, and everything must be
 * exact.
 */
public final class History implements AutoCloseable {
  /** What a history did, for the record. */
  public record Summary(int operations, int faults, int reads, int refreshes) {
    /** Both together. */
    public Summary plus(Summary other) {
      return new Summary(
          operations + other.operations,
          faults + other.faults,
          reads + other.reads,
          refreshes + other.refreshes);
    }
  }

  private final World world;
  private final Sessions sessions;
  private final Others others;
  private final Engine engine;
  private final Purges purges;
  private final Clocks clocks;

  private History(long seed) {
    this.world = new World(seed);
    this.sessions = new Sessions(world);
    this.others = new Others(world, sessions);
    this.engine = new Engine(world, sessions, others);
    this.purges = new Purges(world, sessions, others, engine);
    this.clocks = new Clocks(world, others, engine);
  }

  /**
   * Runs the history of a seed.
   *
   * @throws AssertionError with the seed and the last steps, if anything is not exact
   */
  public static Summary run(long seed) {
    try (History history = new History(seed)) {
      World world = history.world;
      try {
        history.live();
        history.end();
        return new Summary(world.operations, world.faults, world.truth.compared(), world.refreshes);
      } catch (AssertionError | RuntimeException | SQLException e) {
        throw new AssertionError(
            "seed "
                + seed
                + ": "
                + e.getMessage()
                + "\nlast steps:\n"
                + String.join("\n", world.last(Integer.getInteger("tallyroll.steps", 60))),
            e);
      }
    }
  }

  private void live() throws SQLException {
    for (int i = world.random.nextInt(12); i > 0; i--) {
      world.run(world.changes.insert(1 + world.random.nextInt(30)));
    }
    engine.install(Definitions.ROLLUPS.getFirst());
    int steps = 25 + world.random.nextInt(60);
    for (int i = 0; i < steps; i++) {
      step();
    }
  }

  private void step() throws SQLException {
    switch (world.random.nextInt(34)) {
      case 31, 32 -> overtaken();
      case 33 -> {
        if (world.random.nextInt(3) == 0) {
          purges.purgeBehindSeal();
        }
      }
      case 25, 26 -> purges.purgeInTheMiddle();
      case 27 -> {
        if (world.random.nextInt(3) == 0) {
          purges.purgeInDoubt();
        }
      }
      case 28 -> engine.repair();
      case 29 -> clocks.goWrong();
      case 30 -> {
        if (world.random.nextInt(6) == 0) {
          engine.killProcess();
        }
      }
      case 22 -> {
        if (world.random.nextInt(3) > 0) {
          engine.redefine();
        }
      }
      case 23 -> purges.purgeByKeep();
      case 24 -> {
        if (world.random.nextInt(3) == 0) {
          engine.forget();
        }
      }
      case 20 -> {
        // A rollup that is made later does not know what is gone.
        if (world.installed.size() < Definitions.ROLLUPS.size()
            && "0".equals(world.value("select count(*) from gone"))) {
          engine.install(Definitions.ROLLUPS.get(world.installed.size()));
        }
      }
      case 21 -> purges.alterPartitions();
      case 0, 1, 2, 3 -> engine.refresh(world.any());
      case 4 -> engine.backfill(world.any());
      case 5 -> others.look();
      case 6 -> {
        if (world.random.nextInt(3) == 0) {
          world.now = world.now.plus(world.random.nextInt(40), ChronoUnit.HOURS);
          world.changes.setClock(world.now);
          world.note("clock " + world.now);
        }
      }
      case 7 -> engine.verify();
      default -> sessions.step();
    }
  }

  /** The engine, overtaken by others. */
  private void overtaken() throws SQLException {
    String rollup = world.any();
    switch (world.random.nextInt(5)) {
      case 0 -> {
        others.overtake(() -> others.fill(world.any()));
        engine.forget(others.engine());
      }
      case 1 -> {
        if (!world.definitions.hasKeep(rollup)) {
          world.definitions.keep(rollup);
          sessions.end();
          engine.redefine(world.calm, rollup, true);
        }
        others.overtake(purges::insertOld);
        // Nobody else is to change what goes, or it would be unknown what was counted.
        double usual = world.interleaving;
        world.interleaving = 0;
        purges.purgeByKeep(others.engine(), rollup);
        world.interleaving = usual;
      }
      case 2 -> {
        sessions.end();
        others.overtake(engine::forgetMeanwhile);
        engine.backfill(rollup);
      }
      case 3 -> {
        sessions.end();
        others.overtake(engine::forgetMeanwhile);
        engine.refresh(rollup);
      }
      default -> {
        others.overtake(
            world.random.nextBoolean() ? () -> others.fill(rollup) : () -> others.refresh(rollup));
        if (world.random.nextBoolean()) {
          engine.backfill(rollup);
        } else {
          engine.refresh(rollup);
        }
      }
    }
    others.look();
  }

  /** Ends all sessions, lets the engine run undisturbed, and checks everything. */
  private void end() throws SQLException {
    for (Connection session : world.sessions) {
      if (session != null && !session.isClosed()) {
        if (world.random.nextBoolean()) {
          session.commit();
        }
        session.close();
      }
    }
    world.note("the end");
    world.behind = Duration.ZERO;
    for (String rollup : world.installed) {
      if (world.definitions.isChanged(rollup)) {
        // A change of its definition that was cut short is gone on with.
        engine.redefine(world.calm, rollup, true);
      }
    }
    for (String rollup : world.installed) {
      world.truth.compareView(rollup);
      new Backfill(world.calm, world.clock)
          .run(BackfillRequest.all(rollup), new Backfill.Progress() {});
      engine.exact(
          rollup,
          new Verifier(world.calm, world.clock)
              .verify(VerifyRequest.all(rollup), new Verifier.Progress() {}));
      try (Refresher refresher = new Refresher(world.calm, world.clock)) {
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
      engine.exact(
          rollup,
          new Verifier(world.calm, world.clock)
              .verify(VerifyRequest.all(rollup), new Verifier.Progress() {}));
      world.truth.compareQuery(rollup, true);
      world.truth.compareView(rollup);
    }
    for (String rollup : world.installed) {
      world.truth.compareStatus(rollup, true);
      nothingIsDroppedTooEarly(rollup);
    }
    world.leftovers.checkIdle();
    for (String rollup : world.installed) {
      new Drop(world.calm).run(rollup);
    }
    world.leftovers.checkDropped();
    world.leftovers.awaitNoSession();
  }

  /** A grain keeps at least what its definition says, whatever the clock said in between. */
  private void nothingIsDroppedTooEarly(String rollup) {
    if (world.definitions.isChanged(rollup)) {
      return;
    }
    for (Map.Entry<Grain, Keep> grain :
        world.definitions.read(rollup).getFirst().rollup().grains().entrySet()) {
      Instant oldest = world.now.minus(grain.getValue().days(), ChronoUnit.DAYS);
      String early =
          world.value(
              "select kept_from::text from tallyroll.grain where kept_from > '"
                  + oldest
                  + "' and rollup = '"
                  + rollup
                  + "' and grain = '"
                  + grain.getKey().label()
                  + "'");
      if (early != null) {
        throw new AssertionError(
            rollup + " keeps " + grain.getKey().label() + " only from " + early);
      }
    }
  }

  @Override
  public void close() {
    world.close();
  }
}
