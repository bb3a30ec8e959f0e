package dev.tallyroll.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.testkit.TestDatabase;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What serve refuses, and the commands beside it. */
class ServeCommandTest {
  @Test
  void roleThatPostgresWouldNotKeepApart_isRefused_withWhatMendsIt() {
    try (TestDatabase database = TestDatabase.create()) {
      Ran ran = Ran.of("serve", "--database-url", database.url(), "--owner-url", database.url());
      assertThat(ran.code()).isEqualTo(4);
      assertThat(ran.err())
          .contains("is a superuser", "CREATE ROLE tallyroll_app LOGIN NOINHERIT")
          .hasLineCount(1);
      database.makeRole("tallyroll_test_bypass", "login noinherit bypassrls password 'secret'");
      String bypass = database.url().replaceFirst("//[^@]*@", "//tallyroll_test_bypass:secret@");
      ran = Ran.of("serve", "--database-url", bypass, "--owner-url", database.url());
      assertThat(ran.code()).isEqualTo(4);
      assertThat(ran.err())
          .contains("has BYPASSRLS", "ALTER ROLE \"tallyroll_test_bypass\" NOBYPASSRLS;");
    }
  }

  @Test
  void roleThatOwnsTheSchema_orInheritsFromWhoAppends_isRefused_withWhatMendsIt() {
    try (TestDatabase database = TestDatabase.create()) {
      database.makeRole("tallyroll_ingest", "nologin");
      database.makeRole("tallyroll_test_heir", "login inherit password 'secret'");
      database.run(
          "grant tallyroll_ingest to tallyroll_test_heir; drop schema if exists tallyroll cascade");
      String heir = database.url().replaceFirst("//[^@]*@", "//tallyroll_test_heir:secret@");
      Ran ran = Ran.of("serve", "--database-url", heir, "--owner-url", database.url());
      assertThat(ran.code()).as(ran.err()).isEqualTo(4);
      assertThat(ran.err())
          .contains("inherits the rights of tallyroll_ingest", "INHERIT")
          .hasLineCount(1);
      database.run("create schema tallyroll authorization tallyroll_test_heir");
      ran = Ran.of("serve", "--database-url", heir, "--owner-url", database.url());
      assertThat(ran.code()).as(ran.err()).isEqualTo(4);
      assertThat(ran.err())
          .contains("owns the schema tallyroll", "CREATE ROLE tallyroll_app LOGIN NOINHERIT")
          .hasLineCount(1);
    }
  }

  @Test
  void wrongSetting_isNamed_andExits2() {
    Ran ran =
        Ran.of(
            "serve", "--ingest-max-body", "big", "--database-url", "postgresql://x@127.0.0.1:1/y");
    assertThat(ran.code()).isEqualTo(2);
    assertThat(ran.err()).contains("--ingest-max-body: 'big'").hasLineCount(1);
    assertThat(Ran.of("serve", "--colour", "red").code()).isEqualTo(2);
    Ran gone = Ran.of("serve", "--database-url", "postgresql://x@127.0.0.1:1/y");
    assertThat(gone.code()).isEqualTo(3);
    assertThat(gone.err()).hasLineCount(1);
  }

  @Test
  void tenantsAndKeys_areMadeListedAndRevoked() {
    try (TestDatabase database = TestDatabase.create()) {
      List<String> at = List.of("--database-url", database.url());
      assertThat(Ran.with(at, "tenant", "create", "acme", "--zone", "Asia/Kolkata").out())
          .isEqualTo("tenant acme, zone Asia/Kolkata\n");
      assertThat(Ran.with(at, "tenant", "create", "acme").code()).isEqualTo(2);
      assertThat(Ran.with(at, "tenant", "list", "--format", "csv").out())
          .contains("acme,Asia/Kolkata,");
      String key = Ran.with(at, "key", "create", "--tenant", "acme", "--scope", "read").out();
      assertThat(key).matches("tr_[a-z0-9]{16}_[0-9a-f]{64}\n");
      String id = key.split("_")[1];
      assertThat(Ran.with(at, "key", "list", "--format", "json").out())
          .contains(id)
          .doesNotContain(key.strip().split("_")[2]);
      assertThat(Ran.with(at, "key", "revoke", id).out()).isEqualTo("revoked " + id + "\n");
      assertThat(Ran.with(at, "key", "revoke", "nothing").code()).isEqualTo(2);
      assertThat(Ran.with(at, "key", "create", "--tenant", "nobody", "--scope", "read").err())
          .contains("no such tenant");
      assertThat(Ran.with(at, "quarantine", "events").code()).isZero();
    }
  }
}
