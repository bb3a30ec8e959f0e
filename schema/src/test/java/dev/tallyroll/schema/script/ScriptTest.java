package dev.tallyroll.schema.script;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.schema.script.ScriptPart.CopyData;
import dev.tallyroll.schema.script.ScriptPart.PsqlCommand;
import dev.tallyroll.schema.script.ScriptPart.Statement;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class ScriptTest {
  private static List<String> texts(String script) {
    return Script.parts(script).stream().map(ScriptPart::text).toList();
  }

  @Test
  void semicolons_cut_andLinesAreCounted() {
    assertThat(Script.parts("\uFEFFselect 1;\n\n-- two\nselect\n 2 ;;\n select 3"))
        .containsExactly(
            new Statement(1, "select 1"),
            new Statement(4, "select\n 2"),
            new Statement(6, "select 3"));
    assertThat(texts("")).isEmpty();
    assertThat(texts(" -- only a comment\n/* and ; another */ ")).isEmpty();
  }

  @Test
  void quotedSemicolons_doNotCut() {
    assertThat(texts("select ';', 'it''s;', '\\'; select 2"))
        .containsExactly("select ';', 'it''s;', '\\'", "select 2");
    assertThat(texts("select E'\\';', e'''\\\\'; select 2"))
        .containsExactly("select E'\\';', e'''\\\\'", "select 2");
    assertThat(texts("select \"a;\"\"b;\"; select 2"))
        .containsExactly("select \"a;\"\"b;\"", "select 2");
    assertThat(texts("select 1 /* ; /* ; */ ; */; select 2"))
        .containsExactly("select 1 /* ; /* ; */ ; */", "select 2");
    assertThat(texts("select 1 -- ;\n; select 2")).containsExactly("select 1 -- ;", "select 2");
  }

  @Test
  void dollarQuotes_areNotParameters_norNames() {
    assertThat(
            texts(
                "do $$ begin; end $$; do $a$ ; $$ ; $b$ ; $a$; select $1; select a$b$ from c; select d$b$"))
        .containsExactly(
            "do $$ begin; end $$",
            "do $a$ ; $$ ; $b$ ; $a$",
            "select $1",
            "select a$b$ from c",
            "select d$b$");
    assertThat(texts("prepare p as select $1$2; select 2"))
        .containsExactly("prepare p as select $1$2", "select 2");
    assertThat(texts("do $é_1$ ; $é_1$; select 2")).containsExactly("do $é_1$ ; $é_1$", "select 2");
  }

  @Test
  void bodyOfAFunction_isOneStatement() {
    String body =
        "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end";
    assertThat(texts(body + "; select 3")).containsExactly(body, "select 3");
    String procedure = "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END";
    assertThat(texts(procedure + ";begin; select 1; end;"))
        .containsExactly(procedure, "begin", "select 1", "end");
    assertThat(
            texts(
                "create table \"begin\" (a int); create table t (begin int); create view v as select 1 as begin; select 2"))
        .hasSize(4);
  }

  @Test
  void parentheses_holdSeveralStatements() {
    assertThat(
            texts(
                "create rule r as on insert to t do also (delete from a; delete from b); select 2"))
        .containsExactly(
            "create rule r as on insert to t do also (delete from a; delete from b)", "select 2");
  }

  @Test
  void commandsOfPsql_areToldApart() {
    assertThat(
            Script.parts("\\set ON_ERROR_STOP on\nselect 1 \\gexec\nselect 2;\n  \\i other.sql\n"))
        .containsExactly(
            new PsqlCommand(1, "\\set ON_ERROR_STOP on"),
            new Statement(2, "select 1"),
            new PsqlCommand(2, "\\gexec"),
            new Statement(3, "select 2"),
            new PsqlCommand(4, "\\i other.sql"));
  }

  @Test
  void copy_takesItsRows() {
    assertThat(
            Script.parts(
                "COPY t (a) FROM stdin;\n1;2\t'\n\\N\n\\.\nselect 1;\ncopy u from stdin with (format csv);\nx"))
        .containsExactly(
            new CopyData(1, "COPY t (a) FROM stdin", "1;2\t'\n\\N\n"),
            new Statement(5, "select 1"),
            new CopyData(6, "copy u from stdin with (format csv)", "x"));
    assertThat(Script.parts("copy t to stdout; copy t from '/tmp/stdin.csv'; select 2")).hasSize(3);
    assertThat(Script.parts("copy t from stdin;\r\n1\r\n\\.\r\nselect 1;"))
        .containsExactly(
            new CopyData(1, "copy t from stdin", "1\r\n"), new Statement(4, "select 1"));
  }

  @Test
  void whatIsNotClosed_endsWithTheScript() {
    for (String open :
        List.of("'a;", "E'a\\", "\"a;", "$$a;", "/* a;", "(a;", "$", "\\", "E'", "$a")) {
      assertThat(Script.parts("select 1; select " + open)).hasSizeBetween(2, 3);
    }
  }

  @Test
  void anyText_isReadToItsEnd_andOnce() {
    Random random = new Random(1);
    String[] pieces = {
      "'",
      "\"",
      "$$",
      "$a$",
      ";",
      "(",
      ")",
      "--",
      "\n",
      "/*",
      "*/",
      "\\",
      "begin ",
      "end ",
      "create function ",
      "e",
      " ",
      "1",
      "case ",
      "copy t from stdin",
      "é"
    };
    for (int i = 0; i < 20_000; i++) {
      StringBuilder text = new StringBuilder();
      for (int j = random.nextInt(20); j >= 0; j--) {
        text.append(pieces[random.nextInt(pieces.length)]);
      }
      int last = 0;
      for (ScriptPart part : Script.parts(text.toString())) {
        int found = text.indexOf(part.text(), last);
        assertThat(found).as("%s in %s", part, text).isGreaterThanOrEqualTo(last);
        last = found + part.text().length();
      }
    }
  }
}
