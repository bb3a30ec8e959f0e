package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParentCommand;
import picocli.CommandLine.Spec;

/** What all commands share: the database, the streams, and a clean end on Ctrl-C. */
@Command(mixinStandardHelpOptions = true, versionProvider = Main.Version.class, sortOptions = false)
abstract class BaseCommand implements Callable<Integer> {
  private static final long STOP_WITHIN_MS = 10_000;

  @ParentCommand private @Nullable Object parent;
  @Spec private @Nullable CommandSpec spec;

  /** Set when the process is asked to stop. */
  private final AtomicBoolean stopping = new AtomicBoolean();

  /** Does the command's work on an open database. */
  abstract int run(DatabaseOptions.Opened opened) throws Exception;

  /** Opens the database that the command works on. */
  DatabaseOptions.Opened open() {
    return options().open();
  }

  /** Opens the server on which migrations are tried, which is never that of the database. */
  final DatabaseOptions.Opened openScratch(ScratchOptions scratch) {
    if (options().given().contains("--database-url")) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--migrations are replayed on a scratch server and never on --database-url; name that with --scratch-url");
    }
    return options().openScratch(scratch.url());
  }

  @Override
  public Integer call() throws Exception {
    try (DatabaseOptions.Opened opened = open()) {
      Thread main = Thread.currentThread();
      Thread hook = new Thread(() -> stop(main, opened), "tallyroll-stop");
      Runtime.getRuntime().addShutdownHook(hook);
      try {
        return run(opened);
      } finally {
        removeHook(hook);
        // The interrupt has done its work; what closes the database must not be cut short by it.
        Thread.interrupted();
      }
    }
  }

  /** How long the command may take to end when the process is told to. */
  long stopWithinMs() {
    return STOP_WITHIN_MS;
  }

  private void stop(Thread thread, DatabaseOptions.Opened opened) {
    stopping.set(true);
    thread.interrupt();
    Main main = main();
    // Not until the thread has ended: it waits for this hook then.
    if (main == null || !main.awaitEnd(stopWithinMs())) {
      opened.close();
    }
  }

  private static void removeHook(Thread hook) {
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException stoppingAlready) {
      // The hook runs and waits for the command to end.
    }
  }

  /** Whether the process was asked to stop. */
  final boolean isStopping() {
    return stopping.get();
  }

  /** Waits; true if the whole time passed, false if the process is to stop. */
  final boolean pause(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException woken) {
      // Only to look at the flag below.
    }
    return !isStopping();
  }

  private @Nullable Main main() {
    return parent instanceof GroupCommand group
        ? group.parent()
        : parent instanceof Main root ? root : null;
  }

  final DatabaseOptions options() {
    Main main = main();
    return main == null ? new DatabaseOptions() : main.options();
  }

  final PrintWriter out() {
    return specification().commandLine().getOut();
  }

  final PrintWriter err() {
    return specification().commandLine().getErr();
  }

  final CommandSpec specification() {
    if (spec == null) {
      throw new IllegalStateException("not run by the command line");
    }
    return spec;
  }

  /** Prints a line for people on standard error, with its commands as they can be run. */
  final void say(String line) {
    err().println(Main.remedied(line, options()));
    err().flush();
  }

  /** The zone of this name. */
  static ZoneId zone(String name) {
    try {
      return ZoneId.of(name);
    } catch (DateTimeException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "unknown time zone '" + name + "'" + Names.didYouMean(name, ZoneId.getAvailableZoneIds()),
          e);
    }
  }

  /** The text of a file that a user has named. */
  static String readText(Path file) throws IOException {
    if (!Files.isReadable(file) || Files.isDirectory(file)) {
      throw new TallyrollException(ErrorCode.USAGE, "no file " + file + " to read");
    }
    try {
      return Files.readString(file);
    } catch (CharacterCodingException e) {
      throw new TallyrollException(ErrorCode.USAGE, file + ": is not text in UTF-8", e);
    }
  }

  /** Reads definition files; a rollup that stands in two of them is a fault. */
  static List<Definition> definitions(List<Path> files) throws IOException {
    List<Definition> definitions = new ArrayList<>();
    Map<String, String> seen = new HashMap<>();
    for (Path file : files) {
      for (Definition definition : DefinitionReader.read(file.toString(), readText(file))) {
        String other = seen.putIfAbsent(definition.rollup().name(), file.toString());
        if (other != null) {
          throw new TallyrollException(
              ErrorCode.DEFINITION,
              file
                  + ": rollup '"
                  + definition.rollup().name()
                  + "' stands in "
                  + other
                  + " already");
        }
        definitions.add(definition);
      }
    }
    return definitions;
  }
}
