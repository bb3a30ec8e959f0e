package dev.tallyroll.testkit.history;

import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.Set;

/** The sessions of an application that changes the table. For one thread. */
final class Sessions {
  /**
   * What an application has to reckon with: a lock, a serialization failure, a duplicate key, no
   * partition for a row, what an append-only source refuses, a table that somebody dropped.
   */
  private static final Set<String> EVERYDAY =
      Set.of(
          "55P03", "40001", "40P01", "23505", "23514", "25P02", "21000", "0B000", "3B001", "23001",
          "42P01");

  private final World world;

  Sessions(World world) {
    this.world = world;
  }

  /** Rolls all open transactions back. */
  void rollback() throws SQLException {
    for (Connection session : world.sessions) {
      if (session != null && !session.isClosed()) {
        session.rollback();
      }
    }
  }

  /** Ends all open transactions, one way or the other. */
  void end() throws SQLException {
    for (Connection session : world.sessions) {
      if (session != null && !session.isClosed()) {
        if (world.random.nextBoolean()) {
          session.rollback();
        } else {
          session.commit();
        }
      }
    }
  }

  /** One step of one session. */
  void step() throws SQLException {
    int at = world.random.nextInt(World.SESSIONS);
    Connection session = world.sessions.get(at);
    if (session == null || session.isClosed()) {
      session = world.test.connect();
      session.setAutoCommit(false);
      Sql.run(session, "set lock_timeout = '30ms'");
      session.commit();
      if (world.random.nextInt(4) == 0) {
        session.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      }
      world.sessions.set(at, session);
    }
    world.operations++;
    try {
      switch (world.random.nextInt(14)) {
        case 0, 1, 2 -> {
          session.commit();
          world.note("session " + at + " commits");
        }
        case 3 -> {
          session.rollback();
          world.note("session " + at + " rolls back");
        }
        case 4 -> {
          Sql.run(session, "savepoint a");
          Changes.run(session, world.changes.next());
          Sql.run(session, world.random.nextBoolean() ? "rollback to a" : "release a");
          world.note("session " + at + " savepoint");
        }
        case 5 -> {
          if (world.random.nextInt(12) == 0 && mayTruncate()) {
            // Rows behind a seal cannot be taken out of a rollup any more: all that are there, so
            // in
            // a snapshot of after the lock.
            session.commit();
            Sql.run(
                session,
                world.isAppended
                    ? "select 1"
                    : "lock table events in access exclusive mode; " + world.layout.truncate());
            session.commit();
            world.note("session " + at + " truncates");
          }
        }
        case 6 -> {
          if (world.random.nextInt(6) == 0) {
            world.breakage.vanish(session);
            world.note("session " + at + " is gone");
          }
        }
        default -> {
          String sql = world.changes.next();
          Changes.run(session, sql);
          world.note("session " + at + ": " + sql);
          if (world.random.nextInt(3) == 0) {
            session.commit();
            world.note("session " + at + " commits");
          }
        }
      }
    } catch (SQLException e) {
      world.note("session " + at + " fails: " + e.getMessage());
      checkEveryday(e);
      session.rollback();
    }
  }

  /** No writer ever fails because of Tallyroll. */
  private void checkEveryday(Exception fault) {
    String state =
        fault instanceof SQLException e
            ? Faults.state(e)
            : fault.getCause() instanceof SQLException e ? Faults.state(e) : "";
    boolean isOfFull = world.breakage.isDiskFull() && state.equals("53100");
    if ((!EVERYDAY.contains(state) && !isOfFull)
        || String.valueOf(fault.getMessage()).contains("relation \"tallyroll.")) {
      throw new AssertionError("a writer fails: " + fault.getMessage(), fault);
    }
  }

  /** A whole transaction of a session, which gives way to locks. */
  void whole() {
    String sql = world.changes.next();
    world.note("  a session, whole: " + sql);
    try {
      if (sql.startsWith("copy")) {
        try (Connection session = world.test.connect()) {
          Sql.run(session, "set lock_timeout = '30ms'");
          Changes.run(session, sql);
        }
      } else {
        world.test.run("set lock_timeout = '30ms'; " + sql);
      }
      world.operations++;
    } catch (SQLException | IllegalStateException e) {
      world.note("  fails: " + e.getMessage());
      checkEveryday(e);
    }
  }

  /** Rows behind a seal that a later rollup has not counted yet must not go. */
  private boolean mayTruncate() {
    return world.changes.sealed().equals(Instant.EPOCH)
        || world.installed.stream().allMatch(world.truth::isCovered);
  }
}
