package dev.tallyroll.schema.statement;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.schema.statement.Planner.Outcome.Planned;
import dev.tallyroll.schema.statement.Planner.Outcome.Refused;
import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;
import org.postgresql.jdbc.PreferQueryMode;

/** What a statement is asked on a server, and that nothing of it is run. */
class PlannerTest {
  private final TestDatabase database = TestDatabase.create();

  @AfterEach
  void close() {
    database.close();
  }

  private Connection connection() throws SQLException {
    PGSimpleDataSource source = database.newSource();
    source.setPreferQueryMode(PreferQueryMode.SIMPLE);
    return source.getConnection();
  }

  @Test
  void textWithMoreThanOneStatement_isNotRun() throws SQLException {
    database.run("create table t (a int)");
    try (Connection connection = connection();
        Planner planner = new Planner(connection, "")) {
      for (String text :
          new String[] {
            "select 1; drop table t",
            "select 1; commit; drop table t",
            "select (1; drop table t",
            "select 1;",
            "drop table t",
            "select 'a' ; insert into t values (1)"
          }) {
        assertThat(planner.plan(text)).as(text).isInstanceOf(Refused.class);
      }
      assertThat(planner.plan("select a, ';', $1 from t -- ; drop table t"))
          .isInstanceOf(Planned.class);
      assertThat(planner.plan("insert into t values ($1)")).isInstanceOf(Planned.class);
      assertThat(planner.plan("delete from t")).isInstanceOf(Planned.class);
    }
    assertThat(database.value("select count(*) from t")).isEqualTo("0");
    assertThat(database.value("select count(*) from pg_prepared_statements")).isEqualTo("0");
  }

  @Test
  void settingsOfTheApplication_andParametersWithoutType_areNoFault() throws SQLException {
    database.run("create table t (a int); analyze t");
    try (Connection connection = connection();
        Planner planner = new Planner(connection, "")) {
      assertThat(
              planner.plan(
                  "select a from t where a::text = current_setting('app.tenant') and $1 is null"))
          .isInstanceOf(Planned.class);
      assertThat(planner.plan("select $2, $1")).isInstanceOf(Planned.class);
    }
    try (Connection connection = connection()) {
      // The transaction is over, and left nothing.
      assertThat(
              Sql.<String>first(
                  connection,
                  "select current_setting('app.tenant', true)",
                  row -> row.getString(1)))
          .isEmpty();
    } catch (NullPointerException none) {
      // A NULL is no first row.
    }
  }
}
