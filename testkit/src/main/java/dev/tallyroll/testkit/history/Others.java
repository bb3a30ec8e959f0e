package dev.tallyroll.testkit.history;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import java.sql.Connection;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;

/**
 * What others do between two statements of the engine: they take steps, look, overtake it at its
 * locks, and break things. For one thread.
 */
final class Others {
  /** After so many the engine is disturbed no more, so that no history takes minutes. */
  private static final int MOST_OPERATIONS = 400;

  private final World world;
  private final Sessions sessions;
  private final Database engine;
  private boolean isInside;
  private boolean isQuiet;
  private boolean isPurging;
  private boolean isReading;
  private boolean isFaulty;

  /** Whether the engine's process is gone, so that it does nothing any more. */
  private boolean isDead;

  /** What another process does before the engine gets a lock, for which it would have waited. */
  private @Nullable Runnable meanwhile;

  /** How many locks the engine gets before that one. */
  private int locksBefore;

  Others(World world, Sessions sessions) {
    this.world = world;
    this.sessions = sessions;
    this.engine = new Database(new Interposer(world.source, world.idle, this::between));
  }

  /** The database for an engine that is disturbed. */
  Database engine() {
    return engine;
  }

  /** Whether the engine is between two statements, so that this is another process. */
  boolean isInside() {
    return isInside;
  }

  /** What an engine does. */
  @FunctionalInterface
  interface Work {
    /** Does it. */
    void run() throws SQLException;
  }

  /** Meanwhile sessions hold nothing open: each does a whole transaction. */
  void quietly(Work work) throws SQLException {
    boolean wasQuiet = isQuiet;
    isQuiet = true;
    try {
      work.run();
    } finally {
      isQuiet = wasQuiet;
    }
  }

  /** Meanwhile somebody drops the oldest partition while the engine reads it. */
  void purging(Work work) throws SQLException {
    isPurging = true;
    try {
      work.run();
    } finally {
      isPurging = false;
    }
  }

  /** What the engine may say when a lock is in its way, or nobody waits for it. */
  static boolean isPassing(TallyrollException fault) {
    return String.valueOf(fault.getMessage()).matches("(?s).*(55P03|40001|40P01|interrupted).*");
  }

  /**
   * Another process gets one of the engine's next locks first, and does all that it has to do: the
   * engine has waited for it then, and must see what it has done.
   */
  void overtake(Runnable work) {
    meanwhile = work;
    locksBefore = world.random.nextInt(world.installed.size() + 3);
  }

  /** Is called before every statement of the engine. */
  private void between(Connection connection, String what) throws SQLException {
    boolean isEnding = what.equals("commit") || what.equals("rollback") || what.equals("close");
    if (isInside) {
      return;
    }
    if (isEnding) {
      // Its locks go with it.
      isReading = false;
    }
    if (what.equals("rollback") || what.equals("close")) {
      return;
    }
    isInside = true;
    try {
      Runnable work = meanwhile;
      if (work != null && what.contains("exclusive mode") && locksBefore-- == 0) {
        meanwhile = null;
        world.note("  before " + shortened(what));
        work.run();
      }
      if (isPurging && isReading && world.random.nextBoolean()) {
        purgeMeanwhile();
      }
      if (what.contains("pg_export_snapshot") || what.contains("pg_current_snapshot()::text")) {
        isReading = true;
      }
      if (isDead) {
        throw new Breakage.Killed();
      }
      if (isFaulty && world.random.nextDouble() < world.faulting) {
        world.faults++;
        isReading = false;
        try {
          world.breakage.happens(connection, shortened(what));
        } catch (Breakage.Killed e) {
          isDead = true;
          throw e;
        }
      }
      while (world.operations < MOST_OPERATIONS && world.random.nextDouble() < world.interleaving) {
        switch (world.random.nextInt(10)) {
          case 0 -> look();
          case 1 -> work();
          default -> {
            world.note("  before " + shortened(what));
            if (isQuiet) {
              sessions.whole();
            } else {
              sessions.step();
            }
          }
        }
      }
    } finally {
      isInside = false;
    }
  }

  /**
   * Somebody purges while the engine reads, without having waited for it. The engine's lock must
   * keep that off until it is done, or it would compute buckets anew from rows that are gone.
   */
  private void purgeMeanwhile() {
    if (world.layout.hasOld()) {
      world.layout.purgeOldest(
          "lock table only events, %s in access exclusive mode nowait; ", "drop table %s");
    }
  }

  private static String shortened(String sql) {
    String line = sql.replaceAll("\\s+", " ").strip();
    return line.length() > 90 ? line.substring(0, 90) + "..." : line;
  }

  /** Another process fills or refreshes a rollup. */
  private void work() {
    String rollup = world.any();
    if (world.random.nextInt(4) == 0) {
      fill(rollup);
    } else {
      refresh(rollup);
    }
  }

  /** Another process fills a rollup. */
  void fill(String rollup) {
    meanwhile(
        "fills " + rollup,
        () ->
            new Backfill(world.calm, world.clock)
                .run(BackfillRequest.all(rollup), new Backfill.Progress() {}));
  }

  /** Another process refreshes a rollup. */
  void refresh(String rollup) {
    meanwhile(
        "refreshes " + rollup,
        () -> {
          try (Refresher refresher = new Refresher(world.calm, world.clock)) {
            refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
            world.refreshes++;
          }
        });
  }

  /** Another process works while the engine is between two statements. */
  void meanwhile(String what, Runnable work) {
    world.note("  another process " + what);
    // Who is interrupted cannot connect.
    world.looking();
    // What is in its way now stays there until it has given up: it is not to try again.
    Thread.currentThread().interrupt();
    try {
      work.run();
    } catch (TallyrollException e) {
      // A lock that the outer engine holds may be in its way.
      world.note("  which fails: " + e.getMessage());
      if (!isPassing(e) && !world.breakage.isDiskFull()) {
        throw e;
      }
    } finally {
      boolean isStillInterrupted = Thread.interrupted();
      world.note(isStillInterrupted ? "  done" : "  given up");
    }
  }

  /** Runs the engine disturbed; only what the machine has broken may fail. */
  void disturb(String what, Runnable work) {
    world.note(what);
    world.operations++;
    int before = world.faults;
    isFaulty = true;
    try {
      work.run();
    } catch (Breakage.Killed e) {
      world.note(what + ": killed");
    } catch (TallyrollException e) {
      world.note(what + " fails: " + e.getMessage());
      if (world.faults == before && !isPassing(e)) {
        throw e;
      }
    } finally {
      isFaulty = false;
      isDead = false;
      isInside = false;
      isReading = false;
      meanwhile = null;
      world.breakage.ends();
    }
  }

  /** What a reader sees now, held against the rows that it could see. */
  void look() {
    String rollup = world.any();
    world.note("  reader looks at " + rollup);
    try {
      world.truth.compareQuery(rollup, false);
      // A view is locked while a definition changes, and we are the only thread.
      if (world.random.nextInt(3) == 0 && !isQuiet) {
        world.truth.compareView(rollup);
      }
      if (!isInside && world.random.nextInt(3) == 0) {
        world.truth.compareStatus(rollup, false);
      }
    } catch (TallyrollException e) {
      // Not to be taken for a fault of the engine that is between two statements.
      if (!isPassing(e) && !world.breakage.isDiskFull()) {
        throw new AssertionError("a reader fails: " + e.getMessage(), e);
      }
      world.note("  which fails: " + e.getMessage());
    }
  }
}
