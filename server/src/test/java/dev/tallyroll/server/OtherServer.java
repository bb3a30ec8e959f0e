package dev.tallyroll.server;

import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.settings.Setting;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import org.postgresql.ds.PGSimpleDataSource;

/** A server in a process of its own, which can be killed. */
public final class OtherServer {
  private static final String READY = "ready";

  private final String url;
  private final int port;
  private final Queue<String> said = new ConcurrentLinkedQueue<>();
  private Process process;

  private OtherServer(String url, int port) throws IOException {
    this.url = url;
    this.port = port;
    process = launch();
  }

  /** Starts one on a port. */
  static OtherServer start(String url, int port) throws IOException {
    return new OtherServer(url, port);
  }

  private Process launch() throws IOException {
    while (true) {
      Process process =
          new ProcessBuilder(
                  List.of(
                      Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                      "-XX:TieredStopAtLevel=1",
                      "-XX:+UseSerialGC",
                      "-Xmx400m",
                      "--enable-native-access=ALL-UNNAMED",
                      "-XX:+IgnoreUnrecognizedVMOptions",
                      "--sun-misc-unsafe-memory-access=allow",
                      "-cp",
                      System.getProperty("java.class.path"),
                      OtherServer.class.getName(),
                      url,
                      Integer.toString(port)))
              .redirectErrorStream(true)
              .start();
      BufferedReader output = process.inputReader(StandardCharsets.UTF_8);
      for (String line = output.readLine(); line != null; line = output.readLine()) {
        if (line.equals(READY)) {
          Thread.ofVirtual().start(() -> drain(output));
          return process;
        }
        said.add(line);
      }
      // PostgreSQL may have been killed just now, as a supervisor would have to bear too.
      process.destroyForcibly();
    }
  }

  private void drain(BufferedReader output) {
    try {
      for (String line = output.readLine(); line != null; line = output.readLine()) {
        said.add(line);
      }
    } catch (IOException e) {
      // It was killed.
    }
  }

  /** What it has written to standard output and error so far. */
  Queue<String> said() {
    return said;
  }

  int port() {
    return port;
  }

  /** Kills it with SIGKILL and starts it again. */
  void kill() throws IOException, InterruptedException {
    process.destroyForcibly().waitFor();
    process = launch();
  }

  /** Ends it as a supervisor would. */
  void stop() throws InterruptedException {
    process.destroy();
    process.waitFor();
  }

  /** Is the process. */
  public static void main(String[] arguments) throws InterruptedException {
    URI url = URI.create(arguments[0]);
    String[] user = url.getUserInfo().split(":", 2);
    TallyrollServer server =
        TallyrollServer.start(
            ServerSettings.of(
                Map.of(
                    Setting.LISTEN,
                    "127.0.0.1:" + arguments[1],
                    Setting.OTLP_LISTEN,
                    "none",
                    Setting.QUERY_CONNECTIONS,
                    "2"),
                Map.of(),
                null,
                ""),
            source(url, Serving.ROLE, "secret"),
            source(url, user[0], user[1]),
            InstantSource.system());
    Runtime.getRuntime().addShutdownHook(new Thread(server::close));
    System.out.println(READY);
    new CountDownLatch(1).await();
  }

  private static PGSimpleDataSource source(URI url, String user, String password) {
    PGSimpleDataSource source = new PGSimpleDataSource();
    source.setURL("jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath());
    source.setUser(user);
    source.setPassword(password);
    return source;
  }
}
