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
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.postgresql.PGConnection;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.TransactionState;

/**
 * Applies migrations to a scratch database, statement by statement, so that a fault is known by its
 * line. A file whose runner puts it into a transaction gets one, unless it has its own.
 *
 * <p>When a statement fails, the file is rolled back and done once more without a transaction and
 * without what fails, so that later files find the rest. Roles that are not there are made, and
 * extensions that the server does not have are passed over; both are told. For one thread.
 */
public final class Replay {
  private static final Pattern OWN_TRANSACTION =
      Pattern.compile(
          "(begin|start\\s+transaction|commit|end|rollback|abort)\\b.*", Pattern.DOTALL);

  private static final Pattern MISSING_ROLE = Pattern.compile("role \"(.+)\" does not exist");

  private static final Pattern EXTENSION =
      Pattern.compile(
          "create\\s+extension\\s+(?:if\\s+not\\s+exists\\s+)?\"?([a-z0-9_-]+)\"?.*",
          Pattern.DOTALL);

  /** 58P01 on 15, 0A000 from 16 on: there are no files of this extension. */
  private static final Set<String> NO_EXTENSION = Set.of("58P01", "0A000");

  private static final String UNDEFINED_OBJECT = "42704";
  private static final int MOST_SHOWN = 100;

  private final Connection connection;
  private final List<Failure> failures = new ArrayList<>();
  private final List<String> notes = new ArrayList<>();
  private final Set<ScriptPart> skipped = Collections.newSetFromMap(new IdentityHashMap<>());
  private String supabase = "";
  private int statements;

  /**
   * A statement that failed.
   *
   * @param file the migration
   * @param line in it, from 1
   * @param statement its beginning, on one line
   * @param message the server's, with its SQLSTATE
   */
  public record Failure(String file, int line, String statement, String message) {}

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

  private Replay(Connection connection) {
    this.connection = connection;
  }

  /**
   * Applies the migrations of a folder, in their order.
   *
   * @param scratch the database
   * @param connection to it, of {@link Scratch#open}, in auto-commit mode
   * @param progress is told each migration when it is done
   */
  public static Result run(
      Scratch scratch, Connection connection, MigrationFolder folder, Consumer<Migration> progress)
      throws SQLException {
    Replay replay = new Replay(connection);
    scratch.made(role ->
        replay.supabase.contains(role)
            || folder.migrations().stream()
                .anyMatch(migration ->
                    migration
                        .sql()
                        .toLowerCase(Locale.ROOT)
                        .contains(role.toLowerCase(Locale.ROOT))));
    if (folder.layout() == MigrationFolder.Layout.SUPABASE) {
      replay.supabase();
    }
    for (Migration migration : folder.migrations()) {
      replay.migration(migration);
      progress.accept(migration);
    }
    return new Result(replay.statements, replay.failures, replay.notes);
  }

  private void migration(Migration migration) throws SQLException {
    List<ScriptPart> parts = new ArrayList<>();
    for (ScriptPart part : Script.parts(migration.sql())) {
      if (part instanceof PsqlCommand) {
        note(migration, part, part.text() + " is a command of psql, and was passed over");
      } else {
        parts.add(part);
      }
    }
    statements += parts.size();
    boolean hasOwn =
        parts.stream()
            .anyMatch(
                part -> OWN_TRANSACTION.matcher(part.text().toLowerCase(Locale.ROOT)).matches());
    if (!migration.isInTransaction() || hasOwn || !inTransaction(migration, parts)) {
      oneByOne(migration, parts);
    }
  }

  /** False if something failed; then nothing of it is left. */
  private boolean inTransaction(Migration migration, List<ScriptPart> parts) throws SQLException {
    boolean again = true;
    while (again) {
      again = false;
      Sql.run(connection, "begin");
      ScriptPart current = null;
      try {
        for (ScriptPart part : parts) {
          current = part;
          execute(part);
        }
        Sql.run(connection, "commit");
      } catch (SQLException e) {
        Sql.run(connection, "rollback");
        again = current != null && madeUp(migration, current, e);
        if (!again) {
          return false;
        }
      }
    }
    return true;
  }

  private void oneByOne(Migration migration, List<ScriptPart> parts) throws SQLException {
    int begun = 0;
    for (int i = 0; i < parts.size(); i++) {
      ScriptPart part = parts.get(i);
      if (state() == TransactionState.IDLE) {
        begun = i;
      }
      try {
        execute(part);
      } catch (SQLException e) {
        boolean isOver = state() == TransactionState.FAILED;
        if (isOver) {
          Sql.run(connection, "rollback");
        }
        if (madeUp(migration, part, e)) {
          i = begun - 1;
          continue;
        }
        failures.add(new Failure(migration.name(), part.line(), shown(part), Faults.message(e)));
        if (isOver) {
          // Up to the end of a transaction of its own nothing can succeed, and a runner ends here.
          return;
        }
      }
    }
    if (state() != TransactionState.IDLE) {
      Sql.run(connection, "commit");
    }
  }

  private TransactionState state() throws SQLException {
    return connection.unwrap(BaseConnection.class).getTransactionState();
  }

  private void note(Migration migration, ScriptPart part, String what) {
    notes.add(migration.name() + ":" + part.line() + ": " + what);
  }

  /** Makes up what a statement has failed for; true if it is to be tried again. */
  private boolean madeUp(Migration migration, ScriptPart part, SQLException e) throws SQLException {
    Matcher role = MISSING_ROLE.matcher(String.valueOf(e.getMessage()));
    if (Faults.state(e).equals(UNDEFINED_OBJECT) && role.find()) {
      Sql.run(connection, "create role " + Sql.identifier(role.group(1)));
      note(migration, part, "role " + role.group(1) + " was made up");
      return true;
    }
    String extension = extension(part);
    if (NO_EXTENSION.contains(Faults.state(e)) && !extension.isEmpty() && skipped.add(part)) {
      note(
          migration,
          part,
          "extension "
              + extension
              + " is not on the scratch server, and was passed over; what needs it fails");
      return true;
    }
    return false;
  }

  private static String extension(ScriptPart part) {
    Matcher matcher = EXTENSION.matcher(part.text().toLowerCase(Locale.ROOT));
    return matcher.matches() ? matcher.group(1) : "";
  }

  private void execute(ScriptPart part) throws SQLException {
    if (skipped.contains(part)) {
      return;
    }
    switch (part) {
      case ScriptPart.Statement statement -> {
        try (Statement run = connection.createStatement()) {
          run.setEscapeProcessing(false);
          run.execute(statement.text());
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
    supabase = Sql.resource("schema/supabase.sql", Map.of());
    Sql.run(connection, supabase);
    notes.add("roles, schemas and functions of Supabase were made up");
  }
}
