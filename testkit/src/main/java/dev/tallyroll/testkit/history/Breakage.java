package dev.tallyroll.testkit.history;

import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;

/**
 * What goes wrong between two statements of the engine. All of it is real: the server ends the
 * backend, cancels, finds the deadlock, finds no space, or dies. For one thread.
 */
final class Breakage {
  /** Stands for the death of the engine's process: it has no say in what follows. */
  static final class Killed extends RuntimeException {
    Killed() {
      super("killed", null, false, false);
    }
  }

  private enum Kind {
    BACKEND_TERMINATED,
    PROCESS_KILLED,
    STATEMENT_TIMEOUT,
    LOCK_TIMEOUT,
    DEADLOCK,
    SERVER_KILLED,
    DISK_FULL
  }

  private final Random random;
  private final TestDatabase test;
  private final Consumer<String> log;
  private boolean isDiskFull;

  Breakage(Random random, TestDatabase test, Consumer<String> log) {
    this.random = random;
    this.test = test;
    this.log = log;
    test.run("create table held ()");
  }

  /**
   * Breaks something.
   *
   * @param connection the engine's connection
   * @param what what it was about to do
   * @throws SQLException what the engine gets to see, if that is not the next statement's own fault
   * @throws Killed if the engine is no more
   */
  void happens(Connection connection, String what) throws SQLException {
    List<Kind> kinds = new ArrayList<>(List.of(Kind.values()).subList(0, 5));
    if (test.canCrash()) {
      kinds.add(Kind.SERVER_KILLED);
      kinds.add(Kind.SERVER_KILLED);
    }
    if (test.hasSmallDisk()) {
      kinds.add(Kind.DISK_FULL);
      kinds.add(Kind.DISK_FULL);
    }
    Kind kind = kinds.get(random.nextInt(kinds.size()));
    log.accept("  fault before " + what + ": " + kind);
    switch (kind) {
      case BACKEND_TERMINATED -> terminate(backend(connection));
      case PROCESS_KILLED -> {
        vanish(connection);
        throw new Killed();
      }
      case STATEMENT_TIMEOUT ->
          Sql.run(connection, "set local statement_timeout = 1; select pg_sleep(5)");
      case LOCK_TIMEOUT -> lockTimeout(connection);
      case DEADLOCK -> deadlock(connection);
      case SERVER_KILLED -> test.crash();
      case DISK_FULL -> {
        if (!isDiskFull) {
          isDiskFull = true;
          test.fillDisk();
        }
      }
    }
  }

  /** There is space again. */
  void ends() {
    if (isDiskFull) {
      isDiskFull = false;
      test.freeDisk();
    }
  }

  boolean isDiskFull() {
    return isDiskFull;
  }

  private void lockTimeout(Connection connection) throws SQLException {
    try (Connection other = test.connect()) {
      other.setAutoCommit(false);
      if (holds(other)) {
        Sql.run(connection, "set local lock_timeout = 1; select from held");
      }
    }
  }

  /**
   * Somebody waits for a lock that the engine holds, and the engine for one of his. Which of them
   * is given up is a matter of who looks first.
   */
  private void deadlock(Connection connection) throws SQLException {
    Optional<String> locked =
        Sql.first(
            connection,
            "select relation::regclass::text from pg_locks where pid = pg_backend_pid() and granted and relation >= 16384"
                + " and mode <> 'AccessExclusiveLock' and relation in (select oid from pg_class where relkind in ('r', 'p') and relpersistence = 'p')"
                + " order by 1 limit 1",
            row -> row.getString(1));
    if (connection.getAutoCommit() || locked.isEmpty()) {
      return;
    }
    boolean isEngineGivenUp = random.nextBoolean();
    log.accept("    over " + locked.get() + (isEngineGivenUp ? ", lost" : ", won"));
    try (Connection other = test.connect()) {
      other.setAutoCommit(false);
      Sql.run(other, "set deadlock_timeout = " + (isEngineGivenUp ? 60_000 : 300));
      if (!holds(other)) {
        return;
      }
      @Nullable SQLException[] fault = new SQLException[1];
      Thread waiting =
          Thread.ofPlatform()
              .start(() -> {
                try {
                  Sql.run(other, "lock table only " + locked.get() + " in access exclusive mode");
                } catch (SQLException e) {
                  fault[0] = e;
                }
              });
      try {
        awaitLock(backend(other));
        String patience =
            Sql.one(connection, "select current_setting('lock_timeout')", row -> row.getString(1));
        Sql.run(
            connection,
            "set local lock_timeout = 0; set local deadlock_timeout = "
                + (isEngineGivenUp ? 10 : 60_000)
                + "; select from held; set local lock_timeout = "
                + Sql.literal(patience)
                + "; reset deadlock_timeout");
      } finally {
        if (isEngineGivenUp) {
          // What he waits for another connection of the engine may hold as well.
          terminate(backend(other));
        }
        join(waiting);
      }
      if (isEngineGivenUp || fault[0] == null || !"40P01".equals(fault[0].getSQLState())) {
        throw new AssertionError("nobody was given up: " + fault[0]);
      }
    }
  }

  /** Locks what the engine is to wait for, unless it survived a deadlock and holds that itself. */
  private static boolean holds(Connection other) throws SQLException {
    try {
      Sql.run(other, "lock table held in access exclusive mode nowait");
      return true;
    } catch (SQLException e) {
      if (!"55P03".equals(e.getSQLState())) {
        throw e;
      }
      return false;
    }
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private void awaitLock(int backend) {
    for (int i = 0; i < 5_000; i++) {
      if (test.value("select 1 from pg_locks where not granted and pid = " + backend) != null) {
        return;
      }
    }
    throw new AssertionError("nobody waits");
  }

  private static int backend(Connection connection) throws SQLException {
    return connection.unwrap(PGConnection.class).getBackendPID();
  }

  /** Ends a backend, and waits until it holds nothing any more. */
  private void terminate(int backend) {
    test.run(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid = "
            + backend);
  }

  /** What the death of a process leaves of a connection, once the server has noticed. */
  void vanish(Connection connection) throws SQLException {
    int backend = backend(connection);
    connection.abort(Runnable::run);
    terminate(backend);
  }
}
