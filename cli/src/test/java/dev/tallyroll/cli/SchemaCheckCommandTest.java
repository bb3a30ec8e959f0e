package dev.tallyroll.cli;

import static dev.tallyroll.cli.CommandsTest.run;
import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.cli.CommandsTest.Run;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What {@code schema check} prints, and the codes that scripts go by. */
class SchemaCheckCommandTest {
  @TempDir private Path directory = Path.of("");

  private final TestDatabase database = TestDatabase.create();

  @BeforeEach
  void files() throws IOException {
    file(
        "m/1_a.sql",
        "create table tenants (id int primary key); create table users (tenant_id int not null references tenants, email text unique, name text);");
    file("m/2_b.sql", "set lock_timeout = '5s';\nalter table users rename name to full_name;\n");
    file(
        "app/q.sql",
        "select name from users;\n\nselect full_name from users;\nselect nothing from users;\n");
  }

  @AfterEach
  void close() {
    database.close();
  }

  private Path file(String name, String text) throws IOException {
    Path file = directory.resolve(name);
    Files.createDirectories(file.getParent());
    return Files.writeString(file, text);
  }

  private String at(String name) {
    return directory.resolve(name).toString();
  }

  private Run check(String... more) {
    List<String> arguments =
        new ArrayList<>(List.of("schema", "check", "--scratch-url", database.url()));
    arguments.addAll(List.of(more));
    return run(arguments.toArray(String[]::new));
  }

  @Test
  void migrationsWithoutFault_areToldInALine() {
    Run run = check("--migrations", at("m"));
    assertThat(run.code()).isZero();
    assertThat(run.out())
        .isEqualTo(
            """
            2 migrations of %s (numbered), 4 statements, 0 failed

            0 errors, 0 warnings, 0 notes
            """
                .formatted(at("m")));
  }

  @Test
  void statements_areToldByFileAndLine_inEveryFormat() {
    Run run = check("--migrations", at("m"), "--statements", at("app"));
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.out())
        .contains(
            "3 statements of the application planned",
            "column-unknown: A statement names a column that is not there",
            at("app/q.sql") + ":1: ",
            at("app/q.sql") + ":4: ",
            "2 errors, 0 warnings, 0 notes");
    JsonNode found =
        JsonMapper.builder()
            .build()
            .readTree(
                check("--migrations", at("m"), "--statements", at("app"), "--format", "json")
                    .out());
    assertThat(found.size()).isEqualTo(2);
    assertThat(found.get(0).path("line").asInt()).isEqualTo(1);
    JsonNode sarif =
        JsonMapper.builder()
            .build()
            .readTree(
                check("--migrations", at("m"), "--statements", at("app"), "--format", "sarif")
                    .out());
    assertThat(sarif.at("/runs/0/results/1/locations/0/physicalLocation/region/startLine").asInt())
        .isEqualTo(4);
  }

  @Test
  void beforeAndAfter_tellWhatBreaksInWhichOrder() throws IOException {
    file("old/1_a.sql", Files.readString(directory.resolve("m/1_a.sql")));
    String ledger = file("ledger", "1_a.sql\n").toString();
    for (List<String> now : List.of(List.of("--before", at("old")), List.of("--ledger", ledger))) {
      Run run = check(now.get(0), now.get(1), "--after", at("m"), "--statements", at("app"));
      assertThat(run.out())
          .contains(
              "it breaks as soon as the migrations are applied: column \"name\" does not exist",
              "it works only after the migrations: column \"full_name\" does not exist",
              "column \"nothing\" does not exist");
    }
  }

  @Test
  void baselineAndSuppression_leaveNewFindings() throws IOException {
    String baseline = at("baseline.json");
    assertThat(
            check("--migrations", at("m"), "--statements", at("app"), "--write-baseline", baseline)
                .code())
        .isZero();
    assertThat(
            check("--migrations", at("m"), "--statements", at("app"), "--baseline", baseline)
                .code())
        .isZero();
    file("app/r.sql", "select nobody from users;");
    Run run = check("--migrations", at("m"), "--statements", at("app"), "--baseline", baseline);
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.out()).contains("1 error,");
    // A suppression of the other command's rules is not stale here.
    String config =
        file(
                "settings.yaml",
                "suppress:\n  - {rule: rls-off, object: public.users, reason: soon}\n  - {rule: table-rewrite, object: x, reason: y}\n")
            .toString();
    assertThat(check("--migrations", at("m"), "--config", config).out())
        .contains("table-rewrite x", "1 warning,")
        .doesNotContain("rls-off");
  }

  @Test
  void logs_areCountedByState() throws IOException {
    String log =
        file(
                "pg.log",
                """
                ERROR:  column "name" does not exist
                STATEMENT:  select name from users where tenant_id = 1
                ERROR:  column "name" does not exist
                STATEMENT:  select name from users where tenant_id = 2
                """)
            .toString();
    Run run = check("--migrations", at("m"), "--from-log", log);
    assertThat(run.out())
        .contains("logged: 42703 1 statement, 2 failures", "(failed 2 times with 42703)");
  }

  @Test
  void statementsOfALiveDatabase_areOnlyRead() {
    Run run = check("--migrations", at("m"), "--statements-url", database.url());
    assertThat(run.code()).isEqualTo(3);
    assertThat(run.err()).contains("the database has no pg_stat_statements");
  }

  @Test
  void onlyTheScratchServer_isTouched() {
    String before =
        database.value("select count(*) from pg_database")
            + database.value("select count(*) from pg_roles");
    check("--migrations", at("m"), "--statements", at("app"));
    assertThat(
            database.value("select count(*) from pg_database")
                + database.value("select count(*) from pg_roles"))
        .isEqualTo(before);
    Run run = run(database, "schema", "check", "--migrations", at("m"));
    assertThat(run.code()).isEqualTo(2);
    assertThat(run.err()).contains("never on --database-url");
  }

  @Test
  void wrongUsage_isOneLine() throws IOException {
    file("empty", "");
    for (String[] each :
        new String[][] {
          {"name the migrations with --migrations", "--statements", at("app")},
          {"name one", "--migrations", at("m"), "--after", at("m")},
          {"name one", "--migrations", at("m"), "--before", at("m"), "--ledger", at("empty")},
          {"names no applied migration", "--migrations", at("m"), "--ledger", at("empty")},
          {"no folder", "--migrations", at("none")},
          {"no file or folder", "--migrations", at("m"), "--statements", at("none")},
          {"no log", "--migrations", at("m"), "--from-log", at("none")}
        }) {
      Run run = check(Arrays.copyOfRange(each, 1, each.length));
      assertThat(run.code()).as(each[0]).isEqualTo(2);
      assertThat(run.err()).contains(each[0]);
      assertThat(run.err().lines()).hasSize(1);
    }
  }
}
