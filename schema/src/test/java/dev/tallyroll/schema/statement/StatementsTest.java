package dev.tallyroll.schema.statement;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.statement.AppStatement.Form;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which texts of programs are SQL, and what their placeholders are to PostgreSQL. */
class StatementsTest {
  @TempDir private Path folder = Path.of("");

  private static List<String> sql(Language language, String program) {
    return Statements.of(language, "f", program).stream()
        .map(statement -> statement.sql().replaceAll("\\s+", " "))
        .toList();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '~',
      quoteCharacter = '\0',
      value = {
        "JAVA~\"select a from t where b = ? and c ?? 'x' and d = 'ok?'\"~select a from t where b = $1 and c ? 'x' and d = 'ok?'",
        "JAVA~\"select a at time zone ? from t fetch first ? rows only\"~select a at time zone $1 from t fetch first $2 rows only",
        "JAVA~\"select a from t where b = ?1 and c = ?2 and d = ?1\"~select a from t where b = $1 and c = $2 and d = $1",
        "JAVA~\"select a from t where b in (:ids) and c = :x::int and d[1:n] = 2\"~select a from t where b in ($1) and c = $2::int and d[1:n] = 2",
        "JAVA~\"select a from t where b = #{name,jdbcType=VARCHAR} and c = :#{#x.y}\"~select a from t where b = $1 and c = $2",
        "JAVA~\"select split_part(name, '?', 1) from t where id = ?\"~select split_part(name, '?', 1) from t where id = $1",
        "JAVA~\"select a from t where p = 'Pro $5' and id = ?\"~select a from t where p = 'Pro $5' and id = $1",
        "TYPESCRIPT~knex.raw(\"select a from t where b \\\\? 'x' and c = ?\")~select a from t where b ? 'x' and c = $1",
        "TYPESCRIPT~sql`select a from t where b = ${x} and d @? '$.a' and e @> ${y}`~select a from t where b = $1 and d @? '$.a' and e @> $2",
        "TYPESCRIPT~sql.unsafe(z)`select a from t where b = ${x}`~select a from t where b = $1",
        "TYPESCRIPT~`select a from t where b = $${i} and c = 1`~select a from t where b = $1 and c = 1",
        "TYPESCRIPT~'select a from t where b = $name'~select a from t where b = $1",
        "TYPESCRIPT~\"select a from t where b <@array[1,2] and c ?| array['x']\"~select a from t where b <@array[1,2] and c ?| array['x']",
        "GO~`select a from t where b = ? and c = @name`~select a from t where b = $1 and c = $2",
        "GO~\"select a from t where b = $1 and c = \" + x~select a from t where b = $1 and c = $2",
        "PYTHON~\"select a from t where b in %s and c = %(x)s and d like 'x%%'\"~select a from t where b in ($1) and c = $2 and d like 'x%'",
        "PYTHON~f\"select a from t where b = {x} and c = '{{}}'\"~select a from t where b = $1 and c = '{}'",
        "SQL~select a from t where b = :'x' and c = sqlc.arg(y) and d = sqlc.narg('z')~select a from t where b = $1 and c = $2 and d = $3",
        "SQL~select a from t where b = make(x => $1, y := $2)~select a from t where b = make(x => $1, y := $2)",
      })
  void placeholdersOfAllDrivers_areParameters(Language language, String program, String sql) {
    assertThat(sql(language, program)).containsExactly(sql);
  }

  @Test
  void python_joinsTexts_overLinesAndBackslashes() {
    assertThat(
            sql(
                Language.PYTHON,
                "a = \"select a \" \\\n    \"from t where b = %s\"\nb = (\"select c \"  # not: \"x\"\n  f\"from {t} where d = 1\")\n"))
        .containsExactly("select a from t where b = $1", "select c from $1 where d = 1");
  }

  @Test
  void java_readsTextBlocks_atTheirLines() {
    List<AppStatement> found =
        Statements.of(
            Language.JAVA,
            "f",
            "class A {\n  char q = '\"';\n  String s =\n      \"\"\"\n      select a from users\\s\n      where b = ?\n      \"\"\";\n}\n");
    assertThat(found)
        .singleElement()
        .satisfies(statement -> {
          assertThat(statement.sql().replaceAll("\\s+", " "))
              .isEqualTo("select a from users where b = $1");
          assertThat(statement.place().line()).isEqualTo(5);
        });
  }

  @Test
  void textsThatAreNoSql_areLeftOut() {
    assertThat(
            sql(
                Language.TYPESCRIPT,
                """
                const a = "Select a file from the list, please."; // "select a from b where c = 1"
                const b = 'Update your profile (set = new)';
                const r = /["'`]select/g; const j = <p>don't select a from b</p>;
                """))
        .isEmpty();
    assertThat(
            sql(
                Language.JAVA,
                """
                @Query("select i from Invoice i where i.number = :n") A a();
                @Query("SELECT new com.x.Dto(a.b) FROM Account a") A b();
                @Query("UPDATE UserEntity u SET u.active = false WHERE u.id = :id") A c();
                """))
        .isEmpty();
  }

  @Test
  void commentsAndParentheses_standBeforeStatements() {
    assertThat(
            sql(
                Language.TYPESCRIPT,
                "q(\"/* get */ select a from t where b = 1\"); q(\"(select a from t) union all (select b from u)\"); q(\"select a from t\")"))
        .hasSize(3);
  }

  @Test
  void forms_sayHowMuchIsKnown() {
    assertThat(
            Statements.of(
                Language.TYPESCRIPT,
                "f",
                "sql`select a from t where b = ${x}`; `select a from ${t} where b = 1`; 'select a from t where b = 1'; 'select a from t'"))
        .extracting(AppStatement::form)
        .containsExactly(Form.TEMPLATE, Form.COMPOSED, Form.LITERAL, Form.PHRASE);
  }

  @Test
  void temporaryTables_areInNoMigration() {
    assertThat(
            sql(
                Language.SQL,
                "create temp table staging (a int); insert into staging values (1); select a from t;"))
        .containsExactly("select a from t");
  }

  @Test
  void nestedTemplatesWithoutEnd_areNoOverflow() {
    assertThat(sql(Language.TYPESCRIPT, "`${".repeat(20_000))).isEmpty();
  }

  @Test
  void recording_isReadStatementByStatement_andABadLineIsTold() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("r.jsonl"),
            "{\"sql\":\"select a from t where b = ?; copy t to program 'touch x'; delete from t\"}\n{\"sql\":\"select 1/?\",\"state\":\"22012\"}\n");
    assertThat(Statements.read(file, List.of()).statements())
        .extracting(AppStatement::sql)
        .containsExactly("select a from t where b = $1", "delete from t", "select 1/$1");
    Files.writeString(file, "nothing\n");
    assertThatThrownBy(() -> Statements.read(file, List.of()))
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("r.jsonl:1: is no recording");
  }

  @Test
  void filesThatAreNoText_orOfOthers_arePassedOver() throws IOException {
    Files.write(folder.resolve("a.ts"), new byte[] {0, 1, 2});
    Files.write(folder.resolve("b.ts"), new byte[] {(byte) 0xC3, 0x28});
    Files.createDirectories(folder.resolve("node_modules/x"));
    Files.writeString(folder.resolve("node_modules/x/c.ts"), "'select a from t where b = 1'");
    Files.writeString(folder.resolve("d.test.ts"), "'select a from t where b = 1'");
    Files.createDirectories(folder.resolve("migrations"));
    Files.writeString(folder.resolve("migrations/e.sql"), "select a from t where b = 1");
    Files.createSymbolicLink(folder.resolve("loop"), folder);
    Path link =
        Files.createSymbolicLink(folder.resolveSibling(folder.getFileName() + "-link"), folder);
    try {
      for (Path root : List.of(folder, link)) {
        Statements read = Statements.read(root, List.of(folder.resolve("migrations")));
        assertThat(read.statements()).isEmpty();
        assertThat(read.notes())
            .anyMatch(note -> note.endsWith("a.ts: passed over, it is not text"))
            .anyMatch(note -> note.endsWith("b.ts: passed over, it is not text in UTF-8"))
            .anyMatch(note -> note.contains("1 files of tests were passed over"))
            .hasSize(3);
      }
    } finally {
      Files.delete(link);
    }
    assertThatThrownBy(() -> Statements.read(folder.resolve("none"), List.of()))
        .hasMessageContaining("no file or folder");
  }
}
