package dev.tallyroll.schema.statement;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Failing statements in logs of PostgreSQL, whatever begins their lines. */
class ServerLogTest {
  @TempDir private Path folder = Path.of("");

  private List<String> read(String text) throws IOException {
    return ServerLog.read(Files.writeString(folder.resolve("log"), text)).statements().stream()
        .map(each ->
            Objects.requireNonNull(each.logged()).state()
                + " "
                + each.times()
                + " "
                + each.sql().replace("\n", "/"))
        .toList();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "2026-11-01 10:00:00.123 UTC [4711] ",
        "2026-11-01 10:00:00 UTC [4711]: user=app,db=app,app=psql,client=127.0.0.1 ",
        "2026-11-01 10:00:00.1 UTC,app,app,4711,",
        "2026-11-01 10:00:00 UTC:10.0.0.1(5000):app@ADMIN:[23505]:",
        "<2026-11-01 10:00:00.123 UTC, app> ",
        ""
      })
  void prefixes_ofAllKinds(String prefix) throws IOException {
    String log =
        """
        PLOG:  statement: select 1
        PERROR:  relation "usres" does not exist at character 15
        PSTATEMENT:  select *
        \tfrom usres where id = 1
        PERROR:  relation "usres" does not exist at character 15
        PSTATEMENT:  select *
        \tfrom usres where id = 2
        PERROR:  division by zero
        PCONTEXT:  SQL function "f"
        PSTATEMENT:  select f()
        PFATAL:  password authentication failed
        PLOG:  checkpoint complete
        """
            .replaceAll("(?m)^P(?=[A-Z]+:)", prefix);
    assertThat(read(log))
        .containsExactly("42P01 2 select */from usres where id = 1", "22012 1 select f()");
  }

  @Test
  void states_areTakenFromThePrefixAndFromVerboseMessages() throws IOException {
    assertThat(
            read(
                """
                [1] 0A000 ERROR:  something that nobody knows
                [1] 0A000 STATEMENT:  select 1
                [2] ERROR:  21000: more than one row returned by a subquery used as an expression
                [2] LOCATION:  ExecSetParamPlan, nodeSubplan.c:1
                [2] STATEMENT:  select (select 1 union select 2)
                """))
        .containsExactly("0A000 1 select 1", "21000 1 select (select 1 union select 2)");
  }

  @Test
  void listsOfValues_areOneStatement() throws IOException {
    assertThat(
            read(
                """
                ERROR:  division by zero
                STATEMENT:  select 1/0 from t where id in (1, 2)
                ERROR:  division by zero
                STATEMENT:  select 1/0 from t where id in (1, 2, 3)
                """))
        .containsExactly("22012 2 select 1/0 from t where id in (1, 2)");
  }

  @Test
  void brokenEnd_ofALogThatIsBeingWritten_isToldAndTheRestRead() throws IOException {
    String entry =
        "{\"error_severity\":\"FEHLER\",\"state_code\":\"22012\",\"message\":\"Division durch Null\",\"statement\":\"select 1/0\"}\n";
    assertThat(read(entry + entry.substring(0, 40))).containsExactly("22012 1 select 1/0");
    String csv =
        "2026-11-01 10:00:00.000 UTC,\"app\",\"app\",4711,\"127.0.0.1:5000\",aa.1,1,\"SELECT\",2026-11-01 09:00:00 UTC,3/4,0,ERROR,22012,\"division by zero\",,,,,,\"select 1/0\",,,\"app\",\"client backend\",,0\n";
    assertThat(read(csv + csv.substring(0, 60))).containsExactly("22012 1 select 1/0");
  }

  @Test
  void fileWithoutFailures_isTold_andOneThatIsNoText_refused() throws IOException {
    Path file = Files.writeString(folder.resolve("log"), "hello world\n");
    assertThat(ServerLog.read(file).notes())
        .singleElement()
        .asString()
        .endsWith("no failure with its statement is in it");
    Files.write(file, new byte[] {0, 1});
    assertThatThrownBy(() -> ServerLog.read(file)).hasMessageContaining("is not text");
    assertThatThrownBy(() -> ServerLog.read(folder)).hasMessageContaining("no log");
  }
}
