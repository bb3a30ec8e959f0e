package dev.tallyroll.testkit.history;

import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import dev.tallyroll.testkit.Oracle;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * What a history consists of: a database with a table, who is connected to it, the clocks, and the
 * record of what was done. For one thread.
 */
final class World implements AutoCloseable {
  /** What the clocks show at first. */
  static final Instant START = Instant.parse("2026-06-15T12:00:00Z");

  /** How many sessions the application has. */
  static final int SESSIONS = 4;

  final Random random;
  final TestDatabase test;
  final Truth truth;
  final Breakage breakage;
  final Leftovers leftovers;
  final Changes changes;
  final Layout layout;
  final Definitions definitions;

  /** The application's sessions; null where there is none at present. */
  final List<@Nullable Connection> sessions = new ArrayList<>();

  /** Opens the engine's connections, which have no patience. */
  final PGSimpleDataSource source;

  /** Connections that the engine has closed. */
  final Deque<Connection> idle = new ArrayDeque<>();

  /** The database for an engine that nobody disturbs. */
  final Database calm;

  final Refresher.Limits limits;
  final boolean isAppended;

  /** The rollups that are installed. */
  final List<String> installed = new ArrayList<>();

  /** How probable it is that something is done before a statement of the engine. */
  double interleaving;

  /** How probable it is that something breaks before it. */
  final double faulting;

  /** The time of the application. */
  Instant now = START;

  /** How far the engine's clock is behind that of the application. */
  Duration behind = Duration.ZERO;

  /** The engine's clock. */
  final InstantSource clock = () -> now.minus(behind);

  int operations;
  int faults;
  int refreshes;

  private final List<String> log = new ArrayList<>();
  private @Nullable Connection looking;

  World(long seed) {
    this.random = new Random(seed * 0x9E3779B97F4A7C15L);
    this.test =
        random.nextInt(8) == 0
            ? TestDatabase.createToCrash().orElseGet(TestDatabase::create)
            : TestDatabase.create();
    this.interleaving = random.nextInt(4) == 0 ? 0 : random.nextDouble() * 0.3;
    this.faulting =
        test.canCrash() || random.nextInt(3) == 0 ? 0.002 + random.nextDouble() * 0.02 : 0;
    // One thread does all, so nobody may wait for long: who holds the lock would never go on.
    this.source = test.newSource();
    source.setOptions("-c lock_timeout=" + Interposer.PATIENCE);
    this.calm = new Database(new Interposer(source, idle, (connection, what) -> {}));
    boolean isLocal = random.nextInt(4) == 0;
    this.truth = new Truth(this::looking, calm, clock, isLocal);
    this.breakage =
        new Breakage(
            random,
            test,
            line -> {
              note(line);
              if (line.endsWith("SERVER_KILLED")) {
                loseConnections();
              }
            });
    this.isAppended = random.nextInt(4) == 0;
    boolean hasKey = !isAppended && random.nextInt(3) == 0;
    this.changes = new Changes(random, now, hasKey, isAppended, isLocal);
    this.limits =
        new Refresher.Limits(
            random.nextInt(3) == 0 ? 20_000 : Long.MAX_VALUE,
            random.nextBoolean() ? 8_192 : 1 << 24);
    for (int i = 0; i < SESSIONS; i++) {
      sessions.add(null);
    }
    this.definitions = new Definitions(isAppended, isLocal);
    this.layout = new Layout(random, test, changes, hasKey, this::note);
    this.leftovers = new Leftovers(test);
  }

  /** A connection to look with. */
  Connection looking() {
    try {
      if (looking == null) {
        looking = test.connect();
      }
      return looking;
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }

  /** The first value of a query; null also if it has no row. */
  @Nullable String value(String sql) {
    return Oracle.rows(looking(), sql).stream().findFirst().map(List::getFirst).orElse(null);
  }

  /**
   * Runs a statement of the application that may fail, as where there is no partition for a row.
   */
  void run(String sql) {
    note(sql);
    try {
      test.run(sql);
    } catch (IllegalStateException e) {
      note("  fails: " + e.getMessage());
    }
  }

  /** One of the rollups. */
  String any() {
    return installed.get(random.nextInt(installed.size()));
  }

  /** Records what was done. */
  void note(String what) {
    log.add(what.length() > 300 ? what.substring(0, 300) + "..." : what);
  }

  /** The last records. */
  List<String> last(int count) {
    return log.subList(Math.max(0, log.size() - count), log.size());
  }

  private void loseConnections() {
    for (int i = 0; i < SESSIONS; i++) {
      abort(sessions.get(i));
      sessions.set(i, null);
    }
    abort(looking);
    looking = null;
  }

  private static void abort(@Nullable Connection connection) {
    if (connection != null) {
      try {
        connection.abort(Runnable::run);
      } catch (SQLException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  @Override
  public void close() {
    sessions.forEach(World::abort);
    idle.forEach(World::abort);
    abort(looking);
    test.close();
  }
}
