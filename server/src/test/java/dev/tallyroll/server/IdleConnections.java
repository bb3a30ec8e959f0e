package dev.tallyroll.server;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Connections that do nothing, of a process of its own: both ends would be more files than one may
 * have open.
 */
public final class IdleConnections implements AutoCloseable {
  private static final String READY = "ready";

  private final Process process;

  private IdleConnections(Process process) {
    this.process = process;
  }

  /** Opens so many. */
  static IdleConnections open(int port, int count) throws IOException {
    Process process =
        new ProcessBuilder(
                List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-XX:TieredStopAtLevel=1",
                    "-cp",
                    System.getProperty("java.class.path"),
                    IdleConnections.class.getName(),
                    Integer.toString(port),
                    Integer.toString(count)))
            .redirectErrorStream(true)
            .start();
    String line = process.inputReader(StandardCharsets.UTF_8).readLine();
    if (!READY.equals(line)) {
      process.destroyForcibly();
      throw new IOException("the other process says " + line);
    }
    return new IdleConnections(process);
  }

  /** Is the process. */
  public static void main(String[] arguments) throws IOException {
    List<Socket> open = new ArrayList<>();
    for (int i = 0; i < Integer.parseInt(arguments[1]); i++) {
      open.add(new Socket(InetAddress.getLoopbackAddress(), Integer.parseInt(arguments[0])));
    }
    System.out.println(READY);
    // Until the other end goes.
    int end = System.in.read();
    for (Socket socket : open) {
      socket.close();
    }
    System.exit(end < 0 ? 0 : 1);
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
