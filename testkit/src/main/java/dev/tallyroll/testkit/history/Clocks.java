package dev.tallyroll.testkit.history;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.KeepTime;
import dev.tallyroll.postgres.seal.Purge;
import java.time.Duration;
import java.time.Instant;
import java.util.Objects;

/** Clocks that are wrong. For one thread. */
final class Clocks {
  private final World world;
  private final Others others;
  private final Engine engine;

  Clocks(World world, Others others, Engine engine) {
    this.world = world;
    this.others = others;
    this.engine = engine;
  }

  /**
   * The engine's clock jumps ahead, with that of the server or without, or runs behind for a while.
   */
  void goWrong() {
    String rollup = world.any();
    if (world.random.nextInt(3) == 0) {
      bothJump(rollup);
      return;
    }
    if (world.random.nextBoolean()) {
      world.behind = Duration.ofMinutes(world.random.nextInt(90));
      world.note("the engine's clock is behind by " + world.behind);
      return;
    }
    world.note("the engine's clock jumps ahead");
    String kept = "select string_agg(g::text, ';' order by g::text) from tallyroll.grain g";
    String before = world.value(kept);
    Duration ahead = Duration.ofMinutes(65 + world.random.nextInt(500_000));
    try (Refresher refresher = new Refresher(world.calm, () -> Instant.now().plus(ahead))) {
      refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      throw new AssertionError("refreshed with a clock that is ahead by " + ahead);
    } catch (TallyrollException e) {
      if (!String.valueOf(e.getMessage()).contains("ahead of the database's")
          && !Others.isPassing(e)) {
        throw e;
      }
    }
    if (!Objects.equals(before, world.value(kept))) {
      throw new AssertionError("a clock that is ahead changed what is kept: " + world.value(kept));
    }
    String rows = world.value("select count(*) from events");
    world.truth.unpurged.add(rollup);
    try {
      new Purge(world.calm, () -> Instant.now().plus(ahead)).run(rollup);
    } catch (TallyrollException e) {
      if (!String.valueOf(e.getMessage())
              .matches("(?s).*(nothing is purged|ahead of the database's).*")
          && !Others.isPassing(e)) {
        throw e;
      }
    }
    if (!Objects.equals(rows, world.value("select count(*) from events"))) {
      throw new AssertionError("a clock that is ahead purged rows");
    }
  }

  /**
   * The engine's clock jumps, by no more than the server's is ahead of the history, as if both had:
   * all goes on, and nothing is dropped. No row lies so far ahead that it would count by then.
   */
  private void bothJump(String rollup) {
    Duration ahead = KeepTime.MOST_STEP.plusHours(41 + world.random.nextInt(3_000));
    if (world.now.plus(ahead).isAfter(Instant.now())) {
      return;
    }
    world.note("both clocks jump ahead by " + ahead);
    String kept =
        "select string_agg(g.kept_from::text, ';' order by grain) from tallyroll.grain g where rollup = '"
            + rollup
            + "'";
    try (Refresher refresher = new Refresher(world.calm, world.clock)) {
      refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
    } catch (TallyrollException e) {
      if (!Others.isPassing(e)) {
        throw e;
      }
      return;
    }
    String before = world.value(kept);
    Instant right = world.now;
    world.now = world.now.plus(ahead);
    try {
      engine.refresh(rollup);
      others.look();
      engine.backfill(rollup);
      if (world.random.nextBoolean()) {
        engine.verify();
      }
    } finally {
      world.now = right;
    }
    if (!Objects.equals(before, world.value(kept))) {
      throw new AssertionError("a jump of both clocks changed what is kept: " + world.value(kept));
    }
  }
}
