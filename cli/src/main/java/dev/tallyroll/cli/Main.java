package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.session.Faults;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;
import picocli.CommandLine.TypeConversionException;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * The program. Exit codes: see {@link dev.tallyroll.model.ErrorCode}; 1 is for checks that found a
 * fault.
 */
@Command(
    name = "tallyroll",
    mixinStandardHelpOptions = true,
    versionProvider = Main.Version.class,
    sortOptions = false,
    description = "Usage numbers you can bill on, from the PostgreSQL you already run.",
    footer = {
      "",
      "Exit codes: 0 done; 1 the check found a fault; 2 wrong usage, definition or input; 3 the database failed or a needed",
      "range is not covered; 4 refused to protect data. Results go to standard output, everything else to standard error."
    },
    subcommands = {
      DemoCommand.class,
      PostgresCommand.class,
      PlanCommand.class,
      ApplyCommand.class,
      BackfillCommand.class,
      RefreshCommand.class,
      StatusCommand.class,
      VerifyCommand.class,
      RepairCommand.class,
      QueryCommand.class,
      QuarantineCommand.class,
      SealCommand.class,
      AdoptCommand.class,
      ForgetCommand.class,
      ReanchorCommand.class,
      ImportCommand.class,
      DropCommand.class,
      ServeCommand.class,
      TenantCommand.class,
      KeyCommand.class,
      SchemaCommand.class
    })
public final class Main implements Runnable {
  @Mixin private final DatabaseOptions options = new DatabaseOptions();

  @Spec private @Nullable CommandSpec spec;

  private final CountDownLatch end = new CountDownLatch(1);

  Main() {}

  /** Waits until the command has ended and said all; false if it has not in time. */
  boolean awaitEnd(long millis) {
    try {
      return end.await(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** Which database the command works on. */
  DatabaseOptions options() {
    return options;
  }

  /** Runs a command and exits with its code. */
  public static void main(String[] arguments) {
    PrintStream out =
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
    PrintStream err =
        new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);
    int code =
        run(
            arguments,
            new PrintWriter(out, false, StandardCharsets.UTF_8),
            new PrintWriter(err, true, StandardCharsets.UTF_8));
    out.flush();
    System.exit(code);
  }

  /**
   * Runs a command.
   *
   * @param out takes results
   * @param err takes everything else
   * @return the exit code
   */
  public static int run(String[] arguments, PrintWriter out, PrintWriter err) {
    Main main = new Main();
    CommandLine line = new CommandLine(main);
    line.setOut(out);
    line.setErr(err);
    line.setCaseInsensitiveEnumValuesAllowed(true);
    line.registerConverter(
        LocalDate.class, text -> converted(text, LocalDate::parse, "a date, as 2026-05-01"));
    for (Class<Integer> type : List.of(Integer.class, int.class)) {
      line.registerConverter(
          type, text -> converted(text, Integer::valueOf, "a whole number of this size"));
    }
    for (Class<Long> type : List.of(Long.class, long.class)) {
      line.registerConverter(
          type, text -> converted(text, Long::valueOf, "a whole number of this size"));
    }
    line.registerConverter(
        MigrationFolder.Layout.class,
        text ->
            Arrays.stream(MigrationFolder.Layout.values())
                .filter(layout -> layout.toString().equalsIgnoreCase(text))
                .findFirst()
                .orElseThrow(() ->
                    new TypeConversionException(
                        "'"
                            + text
                            + "' is none of "
                            + Arrays.toString(MigrationFolder.Layout.values()))));
    line.setParameterExceptionHandler((fault, given) -> {
      String message =
          fault instanceof UnmatchedArgumentException unmatched
                  && fault.getCommandLine().getParent() == null
                  && !unmatched.getUnmatched().getFirst().startsWith("-")
              ? noCommand(line, unmatched.getUnmatched().getFirst())
              : fault.getMessage() == null
                  ? "wrong usage"
                  : fault.getMessage().replaceAll("\\s*\\R\\s*", " ");
      String command = fault.getCommandLine().getCommandSpec().qualifiedName();
      err.println(
          "tallyroll: "
              + message
              + "; see "
              + command.replaceFirst("^tallyroll", prefix())
              + " --help");
      return 2;
    });
    line.setExecutionExceptionHandler((fault, command, given) -> report(fault, main.options, err));
    try {
      return line.execute(arguments);
    } finally {
      out.flush();
      err.flush();
      main.end.countDown();
    }
  }

  private static <T> T converted(String text, Function<String, T> parse, String what) {
    try {
      return parse.apply(text);
    } catch (DateTimeException | NumberFormatException e) {
      throw new TypeConversionException("'" + text + "' is not " + what);
    }
  }

  private static String noCommand(CommandLine line, String given) {
    return "no command '"
        + given
        + "'"
        + Names.didYouMean(given, List.copyOf(line.getSubcommands().keySet()));
  }

  private static int report(Exception fault, DatabaseOptions options, PrintWriter err) {
    if (System.getenv("TALLYROLL_DEBUG") != null) {
      fault.printStackTrace(err);
    }
    if (fault instanceof TallyrollException known) {
      for (String line : remedied(known.getMessage(), options).split("\n", -1)) {
        err.println("tallyroll: " + line);
      }
      return known.code().exitCode();
    }
    if (fault instanceof SQLException database) {
      err.println("tallyroll: " + Faults.message(database));
      return ErrorCode.DATABASE.exitCode();
    }
    if (fault instanceof IOException || fault instanceof UncheckedIOException) {
      err.println("tallyroll: " + fault.getMessage());
      return 2;
    }
    err.println("tallyroll: internal error: " + fault + " (TALLYROLL_DEBUG=1 shows where)");
    return 3;
  }

  /**
   * A message whose commands can be run as they stand: as this program was started, on the same
   * database.
   */
  static String remedied(String message, DatabaseOptions options) {
    return message.replace("{tallyroll}", prefix() + options.given());
  }

  private static String prefix() {
    String launcher = System.getProperty("tallyroll.command");
    return launcher == null ? "java -jar tallyroll.jar" : launcher;
  }

  @Override
  public void run() {
    if (spec != null) {
      spec.commandLine().usage(spec.commandLine().getOut());
    }
  }

  /** The version, from the build. */
  static String version() throws IOException {
    Properties properties = new Properties();
    try (InputStream in = Main.class.getResourceAsStream("version.properties")) {
      properties.load(in);
    }
    return properties.getProperty("version");
  }

  /** Prints it. */
  static final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() throws IOException {
      return new String[] {"tallyroll " + version()};
    }
  }
}
