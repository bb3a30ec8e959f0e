package dev.tallyroll.testkit;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.Writer;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A PostgreSQL that is there to be killed: durable, from the binaries of another server, with a
 * small disk of its own for one tablespace where the system lets us mount one. For one thread.
 *
 * <p>A shell does all that is done to it, since the disk is seen only in the shell's mount
 * namespace and must outlive the server. The shell ends when we do, however that happens, and then
 * stops the server and removes all.
 */
final class OwnServer {
  private static final int DISK_MEGABYTES = 48;

  private static final String SHELL =
      """
      trap : INT TERM HUP
      mount -t tmpfs -o size=%dm,mode=0777 tallyroll "$1/disk" && echo disk || echo none
      while read -r line; do eval "$line" >> "$1/shell.log" 2>&1 < /dev/null; echo $?; done
      %s "$2/pg_ctl" -D "$1/data" -m immediate stop > /dev/null 2>&1
      umount "$1/disk"
      rm -rf "$1"
      """;

  private final Path directory;
  private final String pgCtl;
  private final Writer commands;
  private final BufferedReader answers;
  private final int port;
  private final boolean hasDisk;

  /**
   * Starts one.
   *
   * @param bin where {@code initdb} and {@code pg_ctl} are
   */
  OwnServer(Path bin) throws IOException {
    directory = Files.createTempDirectory("tallyroll-own-server");
    Files.createDirectory(directory.resolve("disk"));
    boolean isRoot = "root".equals(System.getProperty("user.name"));
    List<String> namespace = namespace();
    // PostgreSQL refuses root: then it runs in a user namespace where nobody is root.
    String nobody = isRoot || namespace.contains("-Urm") ? "unshare -U" : "";
    List<String> command = new ArrayList<>(namespace);
    command.addAll(
        List.of(
            "sh",
            "-c",
            SHELL.formatted(DISK_MEGABYTES, nobody),
            "sh",
            directory.toString(),
            bin.toString()));
    Process shell =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    commands = shell.outputWriter(StandardCharsets.UTF_8);
    answers = shell.inputReader(StandardCharsets.UTF_8);
    hasDisk = "disk".equals(answers.readLine());
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      port = socket.getLocalPort();
    }
    pgCtl = nobody + " " + bin.resolve("pg_ctl") + " -D " + directory.resolve("data") + " -w ";
    run(
        nobody
            + " "
            + bin.resolve("initdb")
            + " -D "
            + directory.resolve("data")
            + " -U postgres -A trust -E UTF8 --locale=C --no-sync");
    run(nobody + " mkdir -m 700 " + directory.resolve("disk/space"));
    start();
  }

  /** How to be in a mount namespace of one's own, if one may. */
  private static List<String> namespace() throws IOException {
    for (List<String> way : List.of(List.of("unshare", "-m"), List.of("unshare", "-Urm"))) {
      List<String> tried = new ArrayList<>(way);
      tried.add("true");
      try {
        if (new ProcessBuilder(tried)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start()
                .waitFor()
            == 0) {
          return way;
        }
      } catch (IOException e) {
        // There is no such program.
        return List.of();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException(e);
      }
    }
    return List.of();
  }

  int port() {
    return port;
  }

  /** The directory of a tablespace on the small disk. */
  Path space() {
    return directory.resolve("disk/space");
  }

  /** A file that takes what is left of the small disk. */
  Path filler() {
    return directory.resolve("disk/filler");
  }

  boolean hasDisk() {
    return hasDisk;
  }

  private void start() throws IOException {
    run(
        pgCtl
            + "-l "
            + directory.resolve("server.log")
            + " -o '-p "
            + port
            + " -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on -c synchronous_commit=on"
            + " -c autovacuum=off -c max_connections=60 -c shared_buffers=32MB' start");
  }

  /** Kills the server with SIGQUIT, so that it writes down nothing, and starts it again. */
  void crash() throws IOException {
    run(pgCtl + "-m immediate stop");
    start();
  }

  /** Kills every process of the server with SIGKILL, and starts it again. */
  void kill() throws IOException {
    Path pid = directory.resolve("data/postmaster.pid");
    run(
        "{ p=$(head -n 1 "
            + pid
            + "); c=$(cat /proc/$p/task/$p/children); kill -9 $p $c; while kill -0 $p 2> /dev/null; do sleep 0.05; done; for one in $c; do while kill -0 $one 2> /dev/null; do sleep 0.05; done; done; }");
    start();
  }

  private void run(String command) throws IOException {
    commands.write(command + "\n");
    commands.flush();
    String answer = answers.readLine();
    if (!"0".equals(answer)) {
      throw new IOException(
          command
              + " ended with "
              + answer
              + ": "
              + Files.readString(directory.resolve("shell.log")));
    }
  }
}
