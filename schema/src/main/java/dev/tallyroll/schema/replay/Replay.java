package dev.tallyroll.schema.replay;

import dev.tallyroll.schema.script.Script;
import dev.tallyroll.schema.script.ScriptPart;
import dev.tallyroll.schema.script.ScriptPart.CopyData;
import dev.tallyroll.schema.script.ScriptPart.PsqlCommand;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.TransactionState;

/**
 * Applies migrations to a scratch database, statement by statement, so that a fault is known by its
 * line. A file whose runner puts it into a transaction gets one, unless it has its own.
 *
 * <p>When a statement fails, the file is rolled back and done once more without what fails, so that
 * later files find the rest. Roles that are not there are made, and extensions that the server does
 * not have are passed over; both are told. For one thread.
 */
public final class Replay {
  private static final Pattern OWN_TRANSACTION =
      Pattern.compile(
          "(begin|start\\s+transaction|commit|end|rollback(?!\\s+(work\\s+|transaction\\s+)?to\\b)|abort)\\b.*",
          Pattern.DOTALL);

  private static final Pattern MISSING_ROLE = Pattern.compile("role \"(.+)\" does not exist");

  private static final Pattern EXTENSION =
      Pattern.compile(
          "create\\s+extension\\s+(?:if\\s+not\\s+exists\\s+)?\"?([a-z0-9_-]+)\"?.*",
          Pattern.DOTALL);

  private static final Pattern WITH_SCHEMA =
      Pattern.compile("\\bschema\\s+\"?(\\w+)\"?", Pattern.CASE_INSENSITIVE);

  private static final Pattern MISSING_METHOD =
      Pattern.compile("access method \"(\\w+)\" does not exist");

  /** 58P01 on 15, 0A000 from 16 on: there are no files of this extension. */
  private static final Set<String> NO_EXTENSION = Set.of("58P01", "0A000");

  private static final Pattern OF_DRIVER =
      Pattern.compile(
          "set\\s+(local\\s+|session\\s+)?(client_encoding|names|standard_conforming_strings)\\b.*",
          Pattern.DOTALL);

  private static final Pattern DATE_STYLE =
      Pattern.compile("set\\s+(local\\s+|session\\s+)?datestyle\\b.*", Pattern.DOTALL);

  private static final Pattern COPY_OUT =
      Pattern.compile("copy\\b.*\\bto\\s+stdout\\b.*", Pattern.DOTALL);

  /** What is done to the whole server, and would stay there. */
  private static final Pattern OF_SERVER =
      Pattern.compile(
          "(alter\\s+system|create\\s+database|drop\\s+database|create\\s+tablespace|alter\\s+database\\s+(?!current))\\b.*",
          Pattern.DOTALL);

  private static final Pattern OF_ROLE =
      Pattern.compile("(drop|alter)\\s+(role|user|group)\\b.*", Pattern.DOTALL);

  private static final int MOST_SAID = 10_000;

  private static final Pattern SETS_TRANSACTION =
      Pattern.compile("set\\s+(local\\s+|session\\s+)?transaction\\b.*", Pattern.DOTALL);

  private static final Pattern SETS =
      Pattern.compile("(begin|start|set|reset)\\b.*", Pattern.DOTALL);

  private static final Pattern END =
      Pattern.compile(
          "(commit|end|rollback(?!\\s+(work\\s+|transaction\\s+)?to\\b)|abort)\\b.*",
          Pattern.DOTALL);

  private static final Pattern MAKES_ROLE =
      Pattern.compile("create\\s+(role|user|group)\\b", Pattern.CASE_INSENSITIVE);

  private static final String UNDEFINED_OBJECT = "42704";
  private static final String NOT_IN_TRANSACTION = "25001";
  private static final String ENDS_OTHERS = "2D000";

  /** What statements raise that end transactions: they cannot be in one, or in one of others. */
  private static final Set<String> ENDS_TRANSACTION =
      Set.of(NOT_IN_TRANSACTION, ENDS_OTHERS, "0A000", "25002");

  private static final int MOST_SHOWN = 100;

  private final Scratch scratch;
  private Connection connection;
  private final Watcher watcher;
  private final List<Failure> failures = new ArrayList<>();
  private final List<String> notes = new ArrayList<>();

  /** The resource that is run instead of a statement of the present file, or nothing. */
  private final Map<ScriptPart, String> instead = new HashMap<>();

  private String searchPath = "";

  /** What the server has said of the last statement. */
  private final List<String> said = new ArrayList<>();

  /** The statement of the present file that cannot be in a transaction. */
  private @Nullable ScriptPart alone;

  private int statements;

  /**
   * A statement that failed.
   *
   * @param file the migration
   * @param line in it, from 1
   * @param statement its beginning, on one line
   * @param message the server's, with its SQLSTATE
   * @param state the SQLSTATE
   */
  public record Failure(String file, int line, String statement, String message, String state) {}

  /**
   * What a replay did.
   *
   * @param statements how many were run
   * @param failures what failed, in order
   * @param notes what was made up or passed over
   */
  public record Result(int statements, List<Failure> failures, List<String> notes) {
    /** Copies. */
    public Result {
      failures = List.copyOf(failures);
      notes = List.copyOf(notes);
    }
  }

  /** Looks on while migrations are applied, on the connection that applies them. */
  public interface Watcher {
    /** Sees nothing. */
    Watcher NONE = new Watcher() {};

    /**
     * Before the first statement of a file; once more if the file is rolled back and done again.
     */
    default void beginning(Connection connection, Migration migration) throws SQLException {}

    /** Whether it wants what the server says of its work ({@code client_min_messages = debug1}). */
    default boolean listens() {
      return false;
    }

    /**
     * After a statement, within the transaction that it ran in.
     *
     * @param said what the server has said meanwhile
     */
    default void done(
        Connection connection, Migration migration, ScriptPart part, List<String> said)
        throws SQLException {}

    /** After the end of a transaction. */
    default void committed(Connection connection) throws SQLException {}

    /** After a statement that could not be looked at, since it makes transactions of its own. */
    default void unseen(Connection connection) throws SQLException {}

    /**
     * A statement could not be in the transaction that its runner makes, and was run alone.
     *
     * @param parts how many statements the file has
     */
    default void ranAlone(Migration migration, ScriptPart part, int parts) {}

    /** A file is done. */
    default void done(Migration migration) {}
  }

  private Replay(Scratch scratch, Watcher watcher) throws SQLException {
    this.scratch = scratch;
    this.connection = scratch.open();
    this.watcher = watcher;
  }

  /** What is missing is known by the server's messages. */
  private void speakEnglish() throws SQLException {
    try {
      Sql.run(connection, "set lc_messages = 'C'");
    } catch (SQLException e) {
      // Only a superuser may. Then roles are made up only if the server speaks English anyway.
      if (!Faults.state(e).equals("42501")) {
        throw e;
      }
    }
  }

  /** Nothing that a file sets holds for the next one: dumps set search_path to nothing. */
  private void fresh() throws SQLException {
    Sql.run(connection, "reset role; reset all");
    speakEnglish();
    // The driver sends the zone of this machine, on which it depends whether some types are the
    // same.
    Sql.run(connection, "set timezone = 'UTC'");
    if (watcher.listens()) {
      Sql.run(connection, "set client_min_messages = debug1");
    }
    if (!searchPath.isEmpty()) {
      Sql.run(connection, "set search_path = " + searchPath);
    }
  }

  /**
   * Applies the migrations of a folder, in their order.
   *
   * @param scratch the database
   * @param watcher looks on
   */
  public static Result run(Scratch scratch, MigrationFolder folder, Watcher watcher)
      throws SQLException {
    Replay replay = new Replay(scratch, watcher);
    try {
      return replay.run(folder);
    } finally {
      replay.connection.close();
    }
  }

  private Result run(MigrationFolder folder) throws SQLException {
    speakEnglish();
    if (folder.layout() == MigrationFolder.Layout.SUPABASE) {
      supabase();
    }
    for (Migration migration : folder.migrations()) {
      fresh();
      migration(migration);
      watcher.done(migration);
    }
    if (!searchPath.isEmpty()) {
      scratch.searchPath(searchPath);
    }
    return new Result(statements, failures, notes);
  }

  private void migration(Migration migration) throws SQLException {
    instead.clear();
    List<ScriptPart> parts = new ArrayList<>();
    for (ScriptPart part : Script.parts(migration.sql())) {
      if (part instanceof PsqlCommand) {
        note(migration, part, part.text() + " is a command of psql, and was passed over");
      } else if (OF_SERVER.matcher(small(part)).matches()) {
        note(migration, part, shown(part) + " is for the whole server, and was passed over");
      } else {
        parts.add(part);
      }
    }
    statements += parts.size();
    boolean hasOwn =
        parts.stream().anyMatch(part -> OWN_TRANSACTION.matcher(small(part)).matches());
    if (!migration.isInTransaction() || hasOwn) {
      oneByOne(migration, parts);
    } else if (!inTransaction(migration, parts)) {
      // It is done once more, without what fails.
      if (alone != null) {
        watcher.ranAlone(migration, alone, parts.size());
        oneByOne(migration, parts);
      } else {
        withSavepoints(migration, parts);
      }
    }
  }

  private static String small(ScriptPart part) {
    return part.text().toLowerCase(Locale.ROOT);
  }

  /** False if something failed; then nothing of it is left. */
  private boolean inTransaction(Migration migration, List<ScriptPart> parts) throws SQLException {
    boolean again = true;
    while (again) {
      again = false;
      watcher.beginning(connection, migration);
      Sql.run(connection, "begin");
      ScriptPart current = null;
      try {
        for (ScriptPart part : parts) {
          current = part;
          execute(part);
          done(migration, part);
        }
        Sql.run(connection, "commit");
        watcher.committed(connection);
      } catch (SQLException e) {
        rollback();
        again = current != null && madeUp(migration, current, e);
        if (!again) {
          boolean endsIt =
              Faults.state(e).equals(NOT_IN_TRANSACTION) || Faults.state(e).equals(ENDS_OTHERS);
          alone = endsIt ? current : null;
          return false;
        }
      }
    }
    return true;
  }

  private void withSavepoints(Migration migration, List<ScriptPart> parts) throws SQLException {
    watcher.beginning(connection, migration);
    Sql.run(connection, "begin");
    List<ScriptPart> outside = new ArrayList<>();
    for (ScriptPart part : parts) {
      // Not behind a savepoint, and without effect on what is made.
      boolean again = !SETS_TRANSACTION.matcher(small(part)).matches();
      while (again) {
        again = false;
        Sql.run(connection, "savepoint tallyroll");
        try {
          execute(part);
          Sql.run(connection, "release savepoint tallyroll");
          done(migration, part);
        } catch (SQLException e) {
          if (isLost()) {
            // All that the file has done is gone with it.
            if (madeUp(migration, part, e)) {
              withSavepoints(migration, parts);
              return;
            }
          }
          Sql.run(connection, "rollback to savepoint tallyroll");
          again = madeUp(migration, part, e);
          if (!again && Faults.state(e).equals(NOT_IN_TRANSACTION)) {
            outside.add(part);
          } else if (!again) {
            fail(migration, part, e);
          }
        }
      }
    }
    try {
      Sql.run(connection, "commit");
      watcher.committed(connection);
    } catch (SQLException e) {
      // A constraint that is looked at only here.
      fail(migration, parts.getLast(), e);
    }
    for (ScriptPart part : outside) {
      watcher.ranAlone(migration, part, parts.size());
      try {
        execute(part);
        watcher.unseen(connection);
      } catch (SQLException e) {
        fail(migration, part, e);
      }
    }
  }

  private void fail(Migration migration, ScriptPart part, SQLException e) {
    Failure failure =
        new Failure(migration.name(), part.line(), shown(part), Faults.message(e), Faults.state(e));
    // A file that is done again fails again.
    if (!failures.contains(failure)) {
      failures.add(failure);
    }
  }

  private void oneByOne(Migration migration, List<ScriptPart> parts) throws SQLException {
    watcher.beginning(connection, migration);
    int begun = 0;
    boolean isLost = false;
    for (int i = 0; i < parts.size(); i++) {
      ScriptPart part = parts.get(i);
      if (isLost) {
        // Up to the end of a transaction of its own nothing can succeed.
        isLost = !END.matcher(small(part)).matches();
        continue;
      }
      if (state() == TransactionState.IDLE) {
        begun = i;
      }
      try {
        if (state() == TransactionState.IDLE && !OWN_TRANSACTION.matcher(small(part)).matches()) {
          alone(migration, part);
        } else {
          execute(part);
          if (state() == TransactionState.OPEN) {
            done(migration, part);
          } else {
            watcher.committed(connection);
          }
        }
      } catch (SQLException e) {
        boolean isOver = !isLost() && state() == TransactionState.FAILED;
        if (isOver) {
          rollback();
        }
        if (madeUp(migration, part, e)) {
          i = begun - 1;
        } else {
          fail(migration, part, e);
          isLost = isOver;
        }
      }
    }
    if (state() != TransactionState.IDLE) {
      Sql.run(connection, "commit");
    }
  }

  /** Nobody looks before SET TRANSACTION, which must come before any query. */
  private void done(Migration migration, ScriptPart part) throws SQLException {
    if (!SETS.matcher(small(part)).matches()) {
      watcher.done(connection, migration, part, List.copyOf(said));
    }
  }

  /**
   * Runs a statement that is a transaction of its own, within one that can be looked at before it
   * ends; without, if it makes its own.
   */
  private void alone(Migration migration, ScriptPart part) throws SQLException {
    Sql.run(connection, "begin");
    try {
      execute(part);
      done(migration, part);
      Sql.run(connection, "commit");
    } catch (SQLException e) {
      rollback();
      if (!ENDS_TRANSACTION.contains(Faults.state(e))) {
        throw e;
      }
      execute(part);
      watcher.unseen(connection);
    }
    watcher.committed(connection);
  }

  /** Of a connection that is lost there is nothing to roll back. */
  private void rollback() throws SQLException {
    if (!isLost()) {
      Sql.run(connection, "rollback");
    }
  }

  private boolean isLost() throws SQLException {
    return connection.isClosed();
  }

  private TransactionState state() throws SQLException {
    return connection.unwrap(BaseConnection.class).getTransactionState();
  }

  private void note(Migration migration, ScriptPart part, String what) {
    notes.add(migration.name() + ":" + part.line() + ": " + what);
  }

  /** Makes up what a statement has failed for; true if it is to be tried again. */
  private boolean madeUp(Migration migration, ScriptPart part, SQLException e) throws SQLException {
    if (isLost()) {
      // An extension that wants to be preloaded ends the session.
      connection = scratch.open();
      fresh();
      fail(migration, part, e);
      instead.put(part, "");
      return true;
    }
    Matcher role = MISSING_ROLE.matcher(String.valueOf(e.getMessage()));
    if (Faults.state(e).equals(UNDEFINED_OBJECT)
        && role.find()
        && !OF_ROLE.matcher(small(part)).matches()) {
      try {
        Sql.run(connection, "create role " + Sql.identifier(role.group(1)));
      } catch (SQLException refused) {
        note(
            migration,
            part,
            "role " + role.group(1) + " cannot be made up: " + Faults.message(refused));
        return false;
      }
      scratch.made(role.group(1));
      note(migration, part, "role " + role.group(1) + " was made up");
      return true;
    }
    String extension = extension(part);
    if (NO_EXTENSION.contains(Faults.state(e))
        && !extension.isEmpty()
        && !instead.containsKey(part)) {
      String stub = "schema/extensions/" + extension + ".sql";
      boolean isKnown = Replay.class.getResource("/sql/" + stub) != null;
      instead.put(part, isKnown ? stub : "");
      note(
          migration,
          part,
          "extension "
              + extension
              + " is not on the scratch server, and was "
              + (isKnown
                  ? "made up: its types and functions are there, and do nothing"
                  : "passed over; what needs it fails"));
      return true;
    }
    Matcher method = MISSING_METHOD.matcher(String.valueOf(e.getMessage()));
    if (Faults.state(e).equals(UNDEFINED_OBJECT) && method.find() && !instead.containsKey(part)) {
      instead.put(part, "");
      note(
          migration,
          part,
          "an index by "
              + method.group(1)
              + " was passed over, which is not on the scratch server");
      return true;
    }
    return false;
  }

  /** Makes what an extension has by name, where the statement would have made it. */
  private void stub(ScriptPart part, String resource) throws SQLException {
    Matcher named = WITH_SCHEMA.matcher(part.text());
    String schema =
        named.find()
            ? named.group(1)
            : Sql.one(connection, "select current_schema()", row -> row.getString(1));
    Sql.run(connection, Sql.resource(resource, Map.of("schema", Sql.identifier(schema))));
  }

  private static String extension(ScriptPart part) {
    Matcher matcher = EXTENSION.matcher(part.text().toLowerCase(Locale.ROOT));
    return matcher.matches() ? matcher.group(1) : "";
  }

  private void execute(ScriptPart part) throws SQLException {
    String replacement = instead.get(part);
    if (replacement != null) {
      if (!replacement.isEmpty()) {
        stub(part, replacement);
      }
    } else if (MAKES_ROLE.matcher(part.text()).find()) {
      noting(() -> send(part));
    } else {
      send(part);
    }
  }

  /** Something that may make roles. */
  @FunctionalInterface
  private interface Step {
    void run() throws SQLException;
  }

  /** Runs it, and remembers the roles that come by it. */
  private void noting(Step step) throws SQLException {
    Set<String> before = roles();
    step.run();
    Set<String> after = roles();
    after.removeAll(before);
    after.forEach(scratch::made);
  }

  private Set<String> roles() throws SQLException {
    return new HashSet<>(
        Sql.list(connection, "select rolname from pg_catalog.pg_roles", row -> row.getString(1)));
  }

  /**
   * The driver loses its connection when some settings change, and wants no rows by COPY: what is
   * printed so is not needed.
   */
  private static String sendable(String text) {
    String small = text.toLowerCase(Locale.ROOT);
    if (OF_DRIVER.matcher(small).matches() || COPY_OUT.matcher(small).matches()) {
      return "select";
    }
    Matcher style = DATE_STYLE.matcher(small);
    if (style.matches()) {
      return "set datestyle = 'ISO, "
          + (small.contains("dmy") ? "DMY" : small.contains("ymd") ? "YMD" : "MDY")
          + "'";
    }
    return text;
  }

  private void send(ScriptPart part) throws SQLException {
    said.clear();
    switch (part) {
      case ScriptPart.Statement statement -> {
        try (Statement run = connection.createStatement()) {
          run.setEscapeProcessing(false);
          run.execute(sendable(statement.text()));
          SQLWarning warning = run.getWarnings();
          for (int i = 0; warning != null && i < MOST_SAID; i++) {
            said.add(String.valueOf(warning.getMessage()));
            warning = warning.getNextWarning();
          }
        }
      }
      case CopyData copy -> {
        try {
          connection
              .unwrap(PGConnection.class)
              .getCopyAPI()
              .copyIn(copy.text(), new StringReader(copy.data()));
        } catch (IOException e) {
          throw new SQLException(e);
        }
      }
      case PsqlCommand command ->
          throw new IllegalArgumentException("no server runs " + command.text());
    }
  }

  private static String shown(ScriptPart part) {
    String line = part.text().replaceAll("\\s+", " ");
    return line.length() <= MOST_SHOWN ? line : line.substring(0, MOST_SHOWN - 3) + "...";
  }

  /** What Supabase's databases have before the first migration, as far as schemas need it. */
  private void supabase() throws SQLException {
    noting(() -> Sql.run(connection, Sql.resource("schema/supabase.sql", Map.of())));
    searchPath = "\"$user\", public, extensions";
    notes.add("roles, schemas and functions of Supabase were made up");
  }
}
