package dev.tallyroll.cli.embedded;

import com.sun.management.OperatingSystemMXBean;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.io.BufferedInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.compressors.xz.XZCompressorInputStream;
import org.jspecify.annotations.Nullable;

/**
 * PostgreSQL 18 in a data directory, started when it does not run and stopped by the last process
 * that uses it. Durable: fsync and synchronous_commit are on, as PostgreSQL's defaults have them.
 * For one thread.
 *
 * <p>How processes share it. Everyone who uses the server holds a shared lock on a file, which the
 * system drops when a process dies. Who leaves tries to take that lock alone; if that works nobody
 * else is there, and the server is stopped. A second lock lets one process at a time decide about
 * starting and stopping. {@code initdb} works in a folder of its own that is renamed when it is
 * complete, so a killed first start leaves nothing that could be taken for a database.
 */
public final class EmbeddedServer implements AutoCloseable {
  /** The version of the binaries, in the names of their folders. */
  private static final String VERSION = "18.6.0";

  private static final String USER = "tallyroll";

  private final Path directory;
  private final Path data;
  private final Path runtime;
  private final FileChannel users;
  private @Nullable FileLock using;
  private final int port;
  private final String password;

  private EmbeddedServer(
      Path directory, FileChannel users, FileLock using, int port, String password) {
    this.directory = directory;
    this.data = directory.resolve("postgres");
    this.runtime = directory.resolve("runtime-" + VERSION);
    this.users = users;
    this.using = using;
    this.port = port;
    this.password = password;
  }

  /**
   * Opens the server of a directory, starting it if it does not run.
   *
   * @param directory where everything is kept; made if it is not there
   * @param port the port to listen on; empty for the one of last time, or a free one
   * @throws TallyrollException if the platform has no binaries, the port is taken, or the server
   *     does not start
   */
  public static EmbeddedServer open(Path directory, OptionalInt port) {
    Path absolute = directory.toAbsolutePath().normalize();
    try {
      Files.createDirectories(absolute);
      Path start = absolute.resolve("start.lock");
      try (FileChannel channel =
              FileChannel.open(start, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
          FileLock starting = channel.lock()) {
        FileChannel users =
            FileChannel.open(
                absolute.resolve("users.lock"),
                StandardOpenOption.CREATE,
                StandardOpenOption.READ,
                StandardOpenOption.WRITE);
        FileLock using = users.lock(0, Long.MAX_VALUE, true);
        EmbeddedServer server = open(absolute, users, using, port);
        if (!starting.isValid()) {
          throw new IOException("lost the lock on " + start);
        }
        return server;
      }
    } catch (IOException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the embedded PostgreSQL in " + absolute + " cannot be opened: " + e.getMessage(),
          e);
    }
  }

  private static EmbeddedServer open(
      Path directory, FileChannel users, FileLock using, OptionalInt asked) throws IOException {
    Path runtime = directory.resolve("runtime-" + VERSION);
    unpack(runtime);
    Path passwordFile = directory.resolve("password");
    if (!Files.exists(passwordFile)) {
      byte[] random = new byte[16];
      new SecureRandom().nextBytes(random);
      Files.writeString(passwordFile, HexFormat.of().formatHex(random));
      Files.setPosixFilePermissions(passwordFile, PosixFilePermissions.fromString("rw-------"));
    }
    String password = Files.readString(passwordFile).strip();
    Path data = directory.resolve("postgres");
    if (!Files.exists(data)) {
      initialise(runtime, directory, data, passwordFile);
    }
    OptionalInt running = runningPort(runtime, data);
    if (running.isPresent()) {
      if (asked.isPresent() && asked.getAsInt() != running.getAsInt()) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "the server on "
                + directory
                + " runs on port "
                + running.getAsInt()
                + ", not "
                + asked.getAsInt()
                + "; leave out --port or stop it first");
      }
      return new EmbeddedServer(directory, users, using, running.getAsInt(), password);
    }
    int port = choosePort(directory, asked);
    start(runtime, directory, data, port);
    Files.writeString(directory.resolve("port"), Integer.toString(port));
    return new EmbeddedServer(directory, users, using, port, password);
  }

  private static int choosePort(Path directory, OptionalInt asked) throws IOException {
    if (asked.isPresent()) {
      if (!isFree(asked.getAsInt())) {
        throw new TallyrollException(
            ErrorCode.USAGE, "port " + asked.getAsInt() + " is taken; choose another --port");
      }
      return asked.getAsInt();
    }
    Path file = directory.resolve("port");
    if (Files.exists(file)) {
      int last = Integer.parseInt(Files.readString(file).strip());
      if (isFree(last)) {
        return last;
      }
    }
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return socket.getLocalPort();
    }
  }

  private static boolean isFree(int port) {
    try (ServerSocket socket = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
      return socket.isBound();
    } catch (IOException e) {
      return false;
    }
  }

  /**
   * The port of the server that runs on this data, by its own pid file and {@code pg_ctl status}.
   */
  private static OptionalInt runningPort(Path runtime, Path data) throws IOException {
    Path file = data.resolve("postmaster.pid");
    if (!Files.exists(file)
        || run(runtime, List.of("pg_ctl", "-D", data.toString(), "status"), null) != 0) {
      return OptionalInt.empty();
    }
    List<String> lines = Files.readAllLines(file);
    return lines.size() < 4
        ? OptionalInt.empty()
        : OptionalInt.of(Integer.parseInt(lines.get(3).strip()));
  }

  private static void initialise(Path runtime, Path directory, Path data, Path passwordFile)
      throws IOException {
    Path fresh = directory.resolve("postgres.new");
    delete(fresh);
    Path log = directory.resolve("initdb.log");
    int code =
        run(
            runtime,
            List.of(
                "initdb",
                "-D",
                fresh.toString(),
                "-U",
                USER,
                "-A",
                "scram-sha-256",
                "--pwfile",
                passwordFile.toString(),
                "-E",
                "UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C"),
            log);
    if (code != 0) {
      throw new IOException("initdb failed: " + lastLine(log));
    }
    Files.move(fresh, data, StandardCopyOption.ATOMIC_MOVE);
  }

  private static void start(Path runtime, Path directory, Path data, int port) throws IOException {
    Path log = directory.resolve("postgres.log");
    String options =
        String.join(
            " ",
            "-p",
            Integer.toString(port),
            "-c listen_addresses=127.0.0.1",
            "-c unix_socket_directories=''",
            "-c fsync=on",
            "-c synchronous_commit=on",
            "-c full_page_writes=on",
            "-c shared_buffers=" + sharedBuffersMb() + "MB",
            "-c max_wal_size=4GB",
            "-c jit=off",
            "-c max_connections=100");
    int code =
        run(
            runtime,
            List.of(
                "pg_ctl",
                "-D",
                data.toString(),
                "-l",
                log.toString(),
                "-w",
                "-t",
                "120",
                "-o",
                options,
                "start"),
            directory.resolve("start.log"));
    if (code != 0) {
      throw new IOException("PostgreSQL did not start: " + lastLine(log));
    }
  }

  /**
   * An eighth of the memory, where the manual begins with a quarter: the server and what sends to
   * it are on the same machine. A table that is looked into everywhere, like that of the events'
   * keys, costs a tenth more once it has outgrown it.
   */
  private static long sharedBuffersMb() {
    long memory =
        ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
    return Math.clamp(memory >> 23, 128, 2_048);
  }

  private static String lastLine(Path log) throws IOException {
    List<String> lines = Files.exists(log) ? Files.readAllLines(log) : List.of();
    return lines.stream()
            .filter(line -> !line.isBlank())
            .reduce((first, second) -> second)
            .orElse("no output")
        + " (see "
        + log
        + ")";
  }

  /**
   * Runs one of PostgreSQL's programs, which refuse root: then in a user namespace where nobody is
   * root.
   */
  private static int run(Path runtime, List<String> command, @Nullable Path log)
      throws IOException {
    List<String> full = new ArrayList<>();
    if ("root".equals(System.getProperty("user.name"))) {
      full.addAll(List.of("unshare", "-U"));
    }
    full.add(runtime.resolve("bin").resolve(command.getFirst()).toString());
    full.addAll(command.subList(1, command.size()));
    ProcessBuilder builder = new ProcessBuilder(full).redirectErrorStream(true);
    File output = log == null ? new File("/dev/null") : log.toFile();
    builder.redirectOutput(output).redirectInput(new File("/dev/null"));
    builder.environment().put("LC_ALL", "C");
    builder.environment().remove("PGDATA");
    builder.environment().remove("PGPORT");
    try {
      Process process = builder.start();
      if (!process.waitFor(180, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        throw new IOException(command.getFirst() + " did not end within 180 s");
      }
      return process.exitValue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  /** The archive of this platform's binaries; those of macOS serve both of its processors. */
  private static String archive() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String arch = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
    boolean x86 = arch.equals("amd64") || arch.equals("x86_64");
    boolean arm = arch.equals("aarch64") || arch.equals("arm64");
    boolean musl =
        Files.exists(Path.of("/lib/ld-musl-x86_64.so.1"))
            || Files.exists(Path.of("/lib/ld-musl-aarch64.so.1"));
    if (os.contains("linux") && (x86 || arm) && !musl) {
      return "/postgres-linux-" + (x86 ? "x86_64" : "arm_64") + ".txz";
    }
    if (os.contains("mac") && (x86 || arm)) {
      return "/postgres-darwin-arm_64.txz";
    }
    throw new TallyrollException(
        ErrorCode.USAGE,
        "there is no embedded PostgreSQL for "
            + os
            + (musl ? " with musl" : "")
            + " on "
            + arch
            + "; name a database with --database-url");
  }

  private static void unpack(Path runtime) throws IOException {
    if (Files.exists(runtime)) {
      return;
    }
    String archive = archive();
    Path fresh = runtime.resolveSibling(runtime.getFileName() + ".new");
    delete(fresh);
    Files.createDirectories(fresh);
    try (InputStream resource = EmbeddedServer.class.getResourceAsStream(archive)) {
      if (resource == null) {
        throw new IOException(
            "this build has no " + archive + "; name a database with --database-url");
      }
      unpack(resource, fresh);
    }
    Files.move(fresh, runtime, StandardCopyOption.ATOMIC_MOVE);
  }

  private static void unpack(InputStream resource, Path into) throws IOException {
    try (TarArchiveInputStream tar =
        new TarArchiveInputStream(new XZCompressorInputStream(new BufferedInputStream(resource)))) {
      for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
        Path target = into.resolve(entry.getName()).normalize();
        if (!target.startsWith(into)) {
          throw new IOException("the archive leaves its folder: " + entry.getName());
        }
        if (entry.isDirectory()) {
          Files.createDirectories(target);
        } else if (entry.isSymbolicLink()) {
          Files.createDirectories(parent(target));
          Files.createSymbolicLink(target, Path.of(entry.getLinkName()));
        } else {
          Files.createDirectories(parent(target));
          Files.copy(tar, target, StandardCopyOption.REPLACE_EXISTING);
          if ((entry.getMode() & 0100) != 0) {
            Set<PosixFilePermission> permissions =
                EnumSet.copyOf(Files.getPosixFilePermissions(target));
            permissions.add(PosixFilePermission.OWNER_EXECUTE);
            permissions.add(PosixFilePermission.GROUP_EXECUTE);
            permissions.add(PosixFilePermission.OTHERS_EXECUTE);
            Files.setPosixFilePermissions(target, permissions);
          }
        }
      }
    }
  }

  private static Path parent(Path path) {
    Path parent = path.getParent();
    return parent == null ? path : parent;
  }

  private static void delete(Path tree) throws IOException {
    if (!Files.exists(tree)) {
      return;
    }
    try (Stream<Path> paths = Files.walk(tree)) {
      for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    }
  }

  /** The URL of the database {@code postgres}, where the superuser may do all. */
  public String url() {
    return "postgresql://" + USER + ":" + password + "@127.0.0.1:" + port + "/postgres";
  }

  /** The port it listens on, of the loopback address alone. */
  public int port() {
    return port;
  }

  /**
   * Marks this process as the one that holds the directory, for those that would hold it too.
   *
   * @param command its command
   * @throws TallyrollException if another process holds it, saying which
   */
  public void hold(String command) {
    Path file = directory.resolve("holder");
    try {
      Optional<String> holder =
          Files.exists(file) ? Optional.of(Files.readString(file).strip()) : Optional.empty();
      if (holder.isPresent()) {
        String[] parts = holder.get().split(" ", 2);
        long pid = Long.parseLong(parts[0]);
        if (pid != ProcessHandle.current().pid()
            && ProcessHandle.of(pid).map(ProcessHandle::isAlive).orElse(false)) {
          throw new TallyrollException(
              ErrorCode.USAGE,
              directory
                  + " is held by process "
                  + pid
                  + " (tallyroll "
                  + (parts.length > 1 ? parts[1] : "?")
                  + "), whose server listens on port "
                  + port
                  + "; stop that process, or choose another --data-dir");
        }
      }
      Files.writeString(file, ProcessHandle.current().pid() + " " + command);
    } catch (IOException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE, file + " cannot be written: " + e.getMessage(), e);
    }
  }

  /** Leaves the server, and stops it if nobody else uses it. */
  @Override
  public void close() {
    FileLock held = using;
    if (held == null) {
      return;
    }
    using = null;
    try (FileChannel channel =
            FileChannel.open(
                directory.resolve("start.lock"),
                StandardOpenOption.CREATE,
                StandardOpenOption.WRITE);
        FileLock starting = channel.lock()) {
      held.release();
      try (FileLock alone = users.tryLock(0, Long.MAX_VALUE, false)) {
        if (alone != null && starting.isValid()) {
          run(runtime, List.of("pg_ctl", "-D", data.toString(), "-m", "fast", "-w", "stop"), null);
          Files.deleteIfExists(directory.resolve("holder"));
        }
      }
      users.close();
    } catch (IOException e) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the embedded PostgreSQL in " + directory + " could not be stopped: " + e.getMessage(),
          e);
    }
  }
}
