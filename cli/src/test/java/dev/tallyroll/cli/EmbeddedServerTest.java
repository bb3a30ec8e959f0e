package dev.tallyroll.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EmbeddedServerTest {
  @TempDir private Path directory = Path.of("");

  private static Process start(Path data, String... arguments) throws IOException {
    ProcessBuilder builder =
        new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-cp",
            System.getProperty("java.class.path"),
            "dev.tallyroll.cli.Main");
    builder.command().addAll(List.of(arguments));
    builder.command().addAll(List.of("--data-dir", data.toString()));
    return builder.redirectError(ProcessBuilder.Redirect.DISCARD).start();
  }

  @Test
  void theServer_isDurableSharedAndStoppedByItsLastUser() throws Exception {
    Path data = directory.resolve("data");
    Process holder = start(data, "postgres");
    String url;
    try (var out = holder.inputReader()) {
      url = String.valueOf(out.readLine());
      Database database = new Database(DatabaseUrl.parse(url).dataSource());
      String settings =
          database.with(
              "test",
              connection ->
                  Sql.one(
                      connection,
                      "select current_setting('fsync') || current_setting('synchronous_commit')"
                          + " || split_part(current_setting('server_version'), '.', 1)",
                      row -> row.getString(1)));
      assertThat(settings).isEqualTo("onon18");
      // Another command uses the running server and leaves it running.
      StringWriter text = new StringWriter();
      assertThat(
              Main.run(
                  new String[] {"status", "--data-dir", data.toString()},
                  new PrintWriter(text),
                  new PrintWriter(text)))
          .isZero();
      // A second one that would hold the directory is told who does.
      StringWriter err = new StringWriter();
      int code =
          Main.run(
              new String[] {"postgres", "--data-dir", data.toString()},
              new PrintWriter(text),
              new PrintWriter(err));
      assertThat(code).isEqualTo(2);
      assertThat(err.toString())
          .contains("is held by process " + holder.pid() + " (tallyroll postgres)");
      assertThat(holder.isAlive()).isTrue();
      holder.destroy();
      assertThat(holder.waitFor(30, TimeUnit.SECONDS)).isTrue();
    }
    assertThat(Files.exists(data.resolve("postgres/postmaster.pid"))).isFalse();
    // Killed without a chance to stop it: the next command takes the server over and stops it at
    // its end.
    Process killed = start(data, "postgres");
    try (var out = killed.inputReader()) {
      assertThat(out.readLine()).isEqualTo(url);
    }
    killed.destroyForcibly().waitFor();
    assertThat(Files.exists(data.resolve("postgres/postmaster.pid"))).isTrue();
    StringWriter text = new StringWriter();
    assertThat(
            Main.run(
                new String[] {"status", "--data-dir", data.toString()},
                new PrintWriter(text),
                new PrintWriter(text)))
        .isZero();
    assertThat(Files.exists(data.resolve("postgres/postmaster.pid"))).isFalse();
  }
}
