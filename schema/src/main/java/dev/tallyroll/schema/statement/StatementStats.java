package dev.tallyroll.schema.statement;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;

/** The statements that a database has run, as {@code pg_stat_statements} has them. Stateless. */
public final class StatementStats {
  private static final String UNDEFINED_TABLE = "42P01";

  private StatementStats() {}

  /**
   * Reads them in one transaction that cannot write.
   *
   * @param connection to the database, as a role that may read the statements of others ({@code
   *     pg_read_all_stats}); must not be in a transaction
   * @throws TallyrollException if the extension is not there
   */
  public static List<AppStatement> read(Connection connection) throws SQLException {
    boolean autoCommit = connection.getAutoCommit();
    connection.setAutoCommit(false);
    try {
      Sql.run(connection, "set transaction read only");
      String schema =
          Sql.first(
                  connection,
                  "select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements'",
                  row -> row.getString(1))
              .orElseThrow(StatementStats::notThere);
      return Sql.list(
              connection,
              Sql.resource(
                  "schema/check/stat_statements.sql", Map.of("schema", Sql.identifier(schema))),
              row ->
                  new AppStatement(
                      new Place("pg_stat_statements", 1),
                      row.getString(1),
                      AppStatement.Form.COMPOSED,
                      List.of(),
                      null,
                      row.getLong(2)))
          .stream()
          .filter(statement -> Statements.isPlannable(statement.sql()))
          .toList();
    } catch (SQLException e) {
      if (Faults.state(e).equals(UNDEFINED_TABLE) || Faults.state(e).equals("55000")) {
        throw notThere();
      }
      throw e;
    } finally {
      connection.rollback();
      connection.setAutoCommit(autoCommit);
    }
  }

  private static TallyrollException notThere() {
    return new TallyrollException(
        ErrorCode.DATABASE,
        "the database has no pg_stat_statements: put it into shared_preload_libraries, restart, and create extension pg_stat_statements");
  }
}
