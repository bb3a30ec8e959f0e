package dev.tallyroll.bench;

import dev.tallyroll.postgres.events.Refusal;
import dev.tallyroll.server.TallyrollServer;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.settings.Setting;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A server in a process of its own, as a user has it: what the senders hold is not in its heap.
 * Must be closed.
 */
final class Served implements AutoCloseable {
  private static final String READY = "ready on ";
  private static final String PASSWORDS = "TALLYROLL_BENCH_PASSWORDS";

  private final Process process;
  private final int port;
  private final Duration took;

  private Served(Process process, int port, Duration took) {
    this.process = process;
    this.port = port;
    this.took = took;
  }

  /**
   * Starts one, with the options of the launcher, and waits until it takes requests.
   *
   * @param stores whether what it takes in is stored
   */
  static Served start(PGSimpleDataSource application, PGSimpleDataSource owner, boolean stores)
      throws IOException {
    long from = System.nanoTime();
    ProcessBuilder builder =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseParallelGC",
                "-XX:NewRatio=11",
                "--enable-native-access=ALL-UNNAMED",
                "-XX:+IgnoreUnrecognizedVMOptions",
                "--sun-misc-unsafe-memory-access=allow",
                "-cp",
                System.getProperty("java.class.path"),
                Served.class.getName(),
                application.getURL(),
                application.getUser(),
                owner.getUser(),
                Boolean.toString(stores))
            .redirectErrorStream(true);
    builder.environment().put(PASSWORDS, application.getPassword() + " " + owner.getPassword());
    Process process = builder.start();
    BufferedReader output = process.inputReader(StandardCharsets.UTF_8);
    for (String line = output.readLine(); line != null; line = output.readLine()) {
      if (line.startsWith(READY)) {
        Duration took = Duration.ofNanos(System.nanoTime() - from);
        Thread.ofVirtual().start(() -> drain(output));
        return new Served(process, Integer.parseInt(line.substring(READY.length())), took);
      }
      System.err.println(line);
    }
    throw new IOException("the server did not start");
  }

  private static void drain(BufferedReader output) {
    try {
      while (output.readLine() != null) {
        // Else it would wait for somebody to read what it says.
      }
    } catch (IOException e) {
      // It has stopped.
    }
  }

  int port() {
    return port;
  }

  /** How long it took from the start of the process until it was ready. */
  Duration took() {
    return took;
  }

  @Override
  public void close() throws IOException {
    process.destroy();
    try {
      if (process.waitFor(60, TimeUnit.SECONDS)) {
        return;
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    process.destroyForcibly();
    throw new IOException("the server did not stop");
  }

  /** The process: the URL of the database, the two users, and whether it stores. */
  public static void main(String[] arguments) throws InterruptedException {
    List<String> passwords = List.of(System.getenv(PASSWORDS).split(" ", 2));
    TallyrollServer server =
        TallyrollServer.start(
            ServerSettings.of(
                Map.of(Setting.LISTEN, "127.0.0.1:0", Setting.OTLP_LISTEN, "none"),
                Map.of(),
                null,
                ""),
            source(arguments[0], arguments[1], passwords.get(0)),
            source(arguments[0], arguments[2], passwords.get(1)),
            InstantSource.system(),
            Boolean.parseBoolean(arguments[3])
                ? UnaryOperator.identity()
                : log -> batch -> Optional.<Refusal>empty());
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println(READY + server.port());
    new CountDownLatch(1).await();
  }

  private static PGSimpleDataSource source(String url, String user, String password) {
    PGSimpleDataSource source = new PGSimpleDataSource();
    source.setURL(url);
    source.setUser(user);
    source.setPassword(password);
    return source;
  }
}
