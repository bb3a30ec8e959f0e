package dev.tallyroll.schema.statement;

import dev.tallyroll.schema.script.Quotes;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Asks a server for the generic plan of statements with parameters, without running them. PREPARE
 * alone does not look for the index of ON CONFLICT; EXPLAIN EXECUTE with {@code plan_cache_mode =
 * force_generic_plan} does, on every version. In one transaction, which is rolled back at the end.
 * For one thread.
 */
final class Planner implements AutoCloseable {
  private static final Pattern UNTYPED =
      Pattern.compile("could not determine data type of parameter \\$(\\d+)");

  /** A statement with more parameters of no known type is not tried. */
  private static final int MOST_UNTYPED = 200;

  /** Not of the server. */
  static final String MORE_THAN_ONE = "42601";

  private static final Pattern SETTING =
      Pattern.compile("unrecognized configuration parameter \"(\\w+\\.\\w+)\"");

  private static final int MOST_SETTINGS = 10;

  private final Connection connection;
  private final JsonMapper json = JsonMapper.builder().build();

  /** What the server says. */
  sealed interface Outcome {
    /**
     * It has a plan.
     *
     * @param arbiters the indexes by which its ON CONFLICT goes
     */
    record Planned(List<Arbiter> arbiters) implements Outcome {}

    /**
     * It has none.
     *
     * @param state the SQLSTATE
     * @param message without it
     * @param hint what the server adds; null if nothing
     */
    record Refused(String state, String message, @Nullable String hint) implements Outcome {}
  }

  /**
   * The ON CONFLICT of a statement.
   *
   * @param isUpdate whether it is DO UPDATE
   * @param filter the SQL of its WHERE; empty without one
   * @param indexes the names of the indexes that find the conflict
   */
  record Arbiter(
      String schema, String table, boolean isUpdate, String filter, List<String> indexes) {}

  /**
   * Begins.
   *
   * @param connection in auto-commit mode, in simple query mode
   * @param searchPath the search path of the application, as SQL; empty for the server's
   */
  Planner(Connection connection, String searchPath) throws SQLException {
    this.connection = connection;
    connection.setAutoCommit(false);
    Sql.run(connection, "set local plan_cache_mode = force_generic_plan");
    if (!searchPath.isEmpty()) {
      Sql.run(connection, "set local search_path = " + searchPath);
    }
  }

  /**
   * Plans one statement. A text with more than one is refused: the simple protocol would run them,
   * and logs hold what attackers have tried.
   */
  Outcome plan(String sql) throws SQLException {
    if (!isOne(sql)) {
      return new Outcome.Refused(MORE_THAN_ONE, "more than one statement", null);
    }
    Sql.run(connection, "savepoint tallyroll");
    try {
      for (int tried = 0; ; tried++) {
        try {
          return new Outcome.Planned(explain(sql));
        } catch (SQLException e) {
          if (connection.isClosed()) {
            throw e;
          }
          // Settings of the application's sessions, which the planner reads to guess how many rows.
          Matcher setting = SETTING.matcher(String.valueOf(e.getMessage()));
          if (tried == MOST_SETTINGS || !setting.find()) {
            return refused(e);
          }
          Sql.run(connection, "rollback to savepoint tallyroll; deallocate all");
          Sql.run(
              connection,
              "set local "
                  + setting.group(1)
                  + " = ''; release savepoint tallyroll; savepoint tallyroll");
        }
      }
    } finally {
      if (!connection.isClosed()) {
        Sql.run(connection, "rollback to savepoint tallyroll; deallocate all");
      }
    }
  }

  private static boolean isOne(String sql) {
    return Quotes.bare(sql).indexOf(';') < 0 && Statements.isPlannable(sql);
  }

  private static Outcome.Refused refused(SQLException e) {
    String message = String.valueOf(e.getMessage());
    String hint = null;
    if (e instanceof PSQLException server
        && server.getServerErrorMessage() instanceof ServerErrorMessage said
        && said.getMessage() != null) {
      message = said.getMessage();
      hint = said.getHint();
    }
    return new Outcome.Refused(Faults.state(e), message.replaceAll("\\s+", " "), hint);
  }

  private List<Arbiter> explain(String sql) throws SQLException {
    prepare(sql);
    int parameters =
        Sql.one(
            connection,
            "select coalesce(array_length(parameter_types, 1), 0) from pg_catalog.pg_prepared_statements where name = 'tallyroll_statement'",
            row -> row.getInt(1));
    String values =
        parameters == 0
            ? ""
            : "(" + String.join(", ", Collections.nCopies(parameters, "null")) + ")";
    String plan =
        Sql.one(
            connection,
            "explain (format json, verbose) execute tallyroll_statement" + values,
            row -> row.getString(1));
    List<Arbiter> arbiters = new ArrayList<>();
    for (JsonNode root : json.readTree(plan)) {
      arbiters(root.path("Plan"), arbiters);
    }
    return arbiters;
  }

  /** A parameter of which nothing tells the type, as in {@code select $1}, is a text. */
  private void prepare(String sql) throws SQLException {
    List<String> types = new ArrayList<>();
    for (int tried = 0; ; tried++) {
      try {
        run("prepare tallyroll_statement" + declared(types) + " as " + sql);
        return;
      } catch (SQLException e) {
        Matcher untyped = UNTYPED.matcher(String.valueOf(e.getMessage()));
        if (tried == MOST_UNTYPED || !untyped.find()) {
          throw e;
        }
        int number = Integer.parseInt(untyped.group(1));
        if (number > MOST_UNTYPED
            || (types.size() >= number && types.get(number - 1).equals("text"))) {
          throw e;
        }
        while (types.size() < number) {
          types.add("unknown");
        }
        types.set(number - 1, "text");
        Sql.run(connection, "rollback to savepoint tallyroll");
      }
    }
  }

  private static String declared(List<String> types) {
    return types.isEmpty() ? "" : "(" + String.join(", ", types) + ")";
  }

  private void run(String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.setEscapeProcessing(false);
      statement.execute(sql);
    }
  }

  private static void arbiters(JsonNode node, List<Arbiter> arbiters) {
    JsonNode indexes = node.path("Conflict Arbiter Indexes");
    if (!indexes.isEmpty()) {
      arbiters.add(
          new Arbiter(
              node.path("Schema").asString(""),
              node.path("Relation Name").asString(""),
              node.path("Conflict Resolution").asString("").equals("UPDATE"),
              node.path("Conflict Filter").asString(""),
              IntStream.range(0, indexes.size())
                  .mapToObj(i -> indexes.get(i).asString(""))
                  .collect(Collectors.toList())));
    }
    for (JsonNode below : node.path("Plans")) {
      arbiters(below, arbiters);
    }
  }

  /** The number of the table that a name means to the application; empty if it means none. */
  Optional<Long> table(String name) throws SQLException {
    return Sql.first(
        connection,
        "select pg_catalog.to_regclass(?)::oid::bigint where pg_catalog.to_regclass(?) is not null",
        row -> row.getLong(1),
        name,
        name);
  }

  /** The functions of a name, with their arguments. */
  List<String> functions(String name) throws SQLException {
    return Sql.list(
        connection,
        "select p.oid::pg_catalog.regprocedure::text from pg_catalog.pg_proc p where p.proname = ? order by 1 limit 5",
        row -> row.getString(1),
        name);
  }

  /** Rolls back. */
  @Override
  public void close() throws SQLException {
    if (!connection.isClosed()) {
      connection.rollback();
      connection.setAutoCommit(true);
    }
  }
}
