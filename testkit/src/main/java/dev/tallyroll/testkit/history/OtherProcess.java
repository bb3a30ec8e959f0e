package dev.tallyroll.testkit.history;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.session.Database;
import dev.tallyroll.testkit.TestDatabase;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayDeque;
import java.util.List;
import org.postgresql.PGConnection;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * The engine in a process of its own, which is killed with SIGKILL as it is about to do its n-th
 * statement.
 */
public final class OtherProcess {
  private static final String READY = "ready to be killed";

  private OtherProcess() {}

  /**
   * Runs it until it is killed, or has ended before.
   *
   * @param task {@code refresh} or {@code backfill}
   * @param statements after how many it is killed
   * @return whether it was killed
   */
  static boolean run(TestDatabase test, String task, String rollup, Instant now, int statements) {
    try {
      Process process =
          new ProcessBuilder(
                  List.of(
                      Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                      "-XX:TieredStopAtLevel=1",
                      "-XX:+UseSerialGC",
                      "-Xshare:auto",
                      "-cp",
                      System.getProperty("java.class.path"),
                      OtherProcess.class.getName(),
                      test.url(),
                      task,
                      rollup,
                      now.toString(),
                      Integer.toString(statements)))
              .redirectErrorStream(true)
              .start();
      String last = "";
      try (BufferedReader output = process.inputReader(StandardCharsets.UTF_8)) {
        for (String line = output.readLine(); line != null; line = output.readLine()) {
          last = line;
          if (line.equals(READY)) {
            break;
          }
        }
        process.destroyForcibly().waitFor();
      }
      if (!last.isEmpty() && !last.equals(READY)) {
        throw new AssertionError("the other process says " + last);
      }
      return last.equals(READY);
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Is the process. */
  public static void main(String[] arguments) {
    URI url = URI.create(arguments[0]);
    String[] user = url.getUserInfo().split(":", 2);
    PGSimpleDataSource source = new PGSimpleDataSource();
    source.setURL("jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath());
    source.setUser(user[0]);
    source.setPassword(user[1]);
    String rollup = arguments[2];
    InstantSource clock = InstantSource.fixed(Instant.parse(arguments[3]));
    int[] left = {Integer.parseInt(arguments[4])};
    Database database =
        new Database(
            new Interposer(
                source, new ArrayDeque<>(), (connection, what) -> before(connection, left)));
    try {
      if (arguments[1].equals("refresh")) {
        try (Refresher refresher = new Refresher(database, clock)) {
          refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
        }
      } else {
        new Backfill(database, clock).run(BackfillRequest.all(rollup), new Backfill.Progress() {});
      }
    } catch (TallyrollException e) {
      // A session's lock was in the way.
      if (!String.valueOf(e.getMessage()).matches("(?s).*(55P03|40001|40P01).*")) {
        throw e;
      }
    }
  }

  private static void before(Connection connection, int[] left) throws SQLException {
    if (--left[0] > 0) {
      return;
    }
    System.out.println(READY);
    System.out.flush();
    try {
      // Until we are killed.
      while (connection.unwrap(PGConnection.class).getBackendPID() != 0) {
        Thread.sleep(1_000);
      }
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
