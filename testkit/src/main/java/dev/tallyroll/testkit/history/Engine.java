package dev.tallyroll.testkit.history;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Redefinition;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.verify.Mismatch;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.SQLException;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What an engine is asked to do, disturbed or not. For one thread. */
final class Engine {
  private final World world;
  private final Sessions sessions;
  private final Others others;

  Engine(World world, Sessions sessions, Others others) {
    this.world = world;
    this.sessions = sessions;
    this.others = others;
  }

  /**
   * Installs a rollup; sessions with open transactions are ended first, as apply waits for them.
   */
  void install(String rollup) throws SQLException {
    sessions.rollback();
    world.note("install " + rollup);
    new Installer(world.calm, world.clock).apply(world.definitions.read(rollup));
    world.installed.add(rollup);
    if (world.random.nextBoolean()) {
      backfill(rollup);
    } else if (world.random.nextInt(3) == 0) {
      others.overtake(() -> others.fill(rollup));
      forget(others.engine());
    }
  }

  /** Refreshes a rollup, perhaps as a watch does it. */
  void refresh(String rollup) {
    world.refreshes++;
    boolean isWatching = world.random.nextBoolean();
    @Nullable TallyrollException[] failure = new TallyrollException[1];
    others.disturb(
        "refresh " + rollup,
        () -> {
          try (Refresher refresher =
              new Refresher(others.engine(), world.clock, rows -> {}, world.limits)) {
            if (isWatching) {
              refresher.leavingOpen();
            }
            refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
          } catch (TallyrollException e) {
            failure[0] = e;
            throw e;
          }
        });
    // Unless writing it down has failed too.
    if (failure[0] != null && failure[0].getSuppressed().length == 0) {
      world.truth.compareFailure(rollup, String.valueOf(failure[0].getMessage()));
    }
  }

  /** Fills a rollup from some day on, or from its first. */
  void backfill(String rollup) {
    BackfillRequest request =
        world.random.nextBoolean()
            ? BackfillRequest.all(rollup)
            : new BackfillRequest(
                rollup,
                World.START
                    .minus(world.random.nextInt(12), ChronoUnit.DAYS)
                    .atZone(ZoneOffset.UTC)
                    .toLocalDate(),
                null,
                1,
                0);
    // There are few of them, and the time between a slice's reading and its lock is short.
    double usual = world.interleaving;
    world.interleaving = world.random.nextInt(4) == 0 ? usual : 0.3;
    others.disturb(
        "backfill " + rollup,
        () -> {
          try {
            new Backfill(others.engine(), world.clock, world.limits.heapBytes())
                .run(request, new Backfill.Progress() {});
          } catch (Breakage.Killed e) {
            world.note("killed");
          }
        });
    world.interleaving = usual;
  }

  /** Verifies a rollup, which must be exact. */
  void verify() {
    String rollup = world.any();
    others.disturb(
        "verify " + rollup,
        () ->
            exact(
                rollup,
                new Verifier(others.engine(), world.clock)
                    .verify(VerifyRequest.all(rollup), new Verifier.Progress() {})));
  }

  /** A report must be exact, but for the rows of a tenant that has left. */
  void exact(String rollup, VerifyReport report) {
    List<Mismatch> wrong =
        report.mismatches().stream()
            .filter(mismatch ->
                !world.layout.hasTenantLeft()
                    || !mismatch.column().equals("(source missing)")
                    || !"t0".equals(mismatch.tenant()))
            .toList();
    if (!wrong.isEmpty() || (!report.isExact() && report.mismatches().isEmpty())) {
      throw new AssertionError("verify of " + rollup + ": " + wrong);
    }
  }

  /** A repair finds nothing to do, since nothing was ever wrong. */
  void repair() {
    String rollup = world.any();
    others.disturb(
        "repair " + rollup,
        () -> {
          Verifier.Repaired repaired;
          try {
            repaired =
                new Verifier(others.engine(), world.clock)
                    .repair(
                        VerifyRequest.all(rollup),
                        !world.layout.hasTenantLeft(),
                        new Verifier.Progress() {});
          } catch (TallyrollException e) {
            if (world.layout.hasTenantLeft() && e.code() == ErrorCode.REFUSED) {
              world.note("  is refused: " + e.getMessage());
              return;
            }
            throw e;
          }
          if (repaired.buckets() > 0) {
            throw new AssertionError("repair of " + rollup + " changed " + repaired);
          }
        });
  }

  /**
   * Gives a rollup another definition, under a disturbed engine or only in part; the next time it
   * goes on, or back. What is asked of the rollup stays the same.
   */
  void redefine() throws SQLException {
    String rollup = world.any();
    if (world.layout.hasTenantLeft()) {
      isRefused(rollup);
      return;
    }
    if (world.random.nextInt(4) > 0) {
      world.definitions.change(rollup, world.random);
    }
    sessions.end();
    boolean isFinished = world.random.nextInt(4) > 0;
    others.quietly(() ->
        others.disturb(
            "redefine "
                + rollup
                + " "
                + world.definitions.variant(rollup)
                + (isFinished ? "" : ", not to the end"),
            () -> redefine(others.engine(), rollup, isFinished)));
  }

  /** What needs the rows of who has left is refused; what was counted of them stays. */
  private void isRefused(String rollup) throws SQLException {
    sessions.end();
    // What is gone behind a seal, or before the source's first row, is carried over.
    if (world.value(
            "select 1 from gone where ts < '2900-01-01' and tokens is distinct from 7 and ts >= '"
                + world.changes.sealed()
                + "' and ts >= (select min(ts) from events where isfinite(ts)) limit 1")
        == null) {
      return;
    }
    world.note("redefine " + rollup + " without the rows of a tenant");
    boolean isRefused = false;
    try {
      new Installer(world.calm, world.clock).apply(world.definitions.readWithMore(rollup), true);
      new Redefinition(world.calm, world.clock).finish(rollup, 1, 0, new Backfill.Progress() {});
    } catch (TallyrollException e) {
      if (Others.isPassing(e)) {
        return;
      }
      isRefused = String.valueOf(e.getMessage()).contains("--accept-loss");
      if (!isRefused) {
        throw e;
      }
    } finally {
      if (world.value(
              "select 1 from tallyroll.rollup where name = '" + Registry.beside(rollup) + "'")
          != null) {
        new Drop(world.calm).run(Registry.beside(rollup));
      }
    }
    if (!isRefused) {
      throw new AssertionError("a new definition of " + rollup + " lost the rows of a tenant");
    }
  }

  /** Brings a rollup to its present definition, at least to begin with. */
  void redefine(Database database, String rollup, boolean isFinished) {
    for (int attempt = 1; ; attempt++) {
      try {
        new Installer(database, world.clock).apply(world.definitions.read(rollup), true);
        if (isFinished) {
          new Redefinition(database, world.clock).finish(rollup, 1, 0, new Backfill.Progress() {});
        }
        return;
      } catch (TallyrollException e) {
        if (attempt == 2 || !String.valueOf(e.getMessage()).contains("give that up")) {
          throw e;
        }
        world.note("  which is given up: " + e.getMessage());
        new Drop(database).run(Registry.beside(rollup));
      }
    }
  }

  /** Forgets a tenant. */
  void forget() throws SQLException {
    forget(world.random.nextBoolean() ? world.calm : others.engine());
  }

  /** Forgets a tenant, or what it has in a project. */
  void forget(Database database) throws SQLException {
    sessions.end();
    String tenant = "t" + world.random.nextInt(3);
    boolean isWhole = world.random.nextBoolean() || world.layout.hasTenantLeft();
    if (!isWhole
        && !"0".equals(world.value("select count(*) from tallyroll.seal"))
        && !world.installed.stream().allMatch(world.truth::isCovered)) {
      // What of them one rollup has counted another one would never count.
      return;
    }
    // It may come in the midst of another one.
    String other = world.value("select format('(%L, %L)', tenant, is_whole) from forgetting");
    forgets("('" + tenant + "', " + isWhole + ")");
    String what = "forget " + tenant + (isWhole ? "" : ", a project");
    Runnable work =
        () -> {
          Forget.Forgotten forgotten =
              new Forget(database, world.clock)
                  .run(new Forget.Request(null, tenant, isWhole ? null : "project = 'p1'"));
          if (database == world.calm && forgotten.left() != 0) {
            throw new AssertionError("not forgotten: " + forgotten);
          }
        };
    Others.Work forgetting =
        () -> {
          if (others.isInside()) {
            world.note("  " + what);
            work.run();
          } else {
            others.disturb(what, work);
          }
        };
    try {
      others.quietly(forgetting);
    } catch (TallyrollException e) {
      world.note("  which fails: " + e.getMessage());
      if (!Others.isPassing(e) && !String.valueOf(e.getMessage()).contains("up to date")) {
        throw e;
      }
    } finally {
      if (other != null) {
        forgets(other);
      }
    }
  }

  /** Says what is forgotten next, as a row of SQL: a tenant, and whether all of it. */
  private void forgets(String row) throws SQLException {
    Sql.run(world.looking(), "delete from forgetting; insert into forgetting values " + row);
  }

  /** Another process forgets a tenant. */
  void forgetMeanwhile() {
    others.meanwhile(
        "forgets",
        () -> {
          try {
            forget(world.calm);
          } catch (SQLException e) {
            throw new IllegalStateException(e);
          }
        });
  }

  /** The engine in a process of its own, which is killed at some statement. */
  void killProcess() {
    String rollup = world.any();
    String task = world.random.nextBoolean() ? "refresh" : "backfill";
    int statements = 1 + world.random.nextInt(60);
    world.note(
        "another process: " + task + " of " + rollup + ", killed at statement " + statements);
    world.operations++;
    if (OtherProcess.run(world.test, task, rollup, world.clock.instant(), statements)) {
      world.faults++;
      world.note("  killed");
    }
    world.leftovers.awaitNoSession();
    others.look();
  }
}
