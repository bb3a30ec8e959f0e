package dev.tallyroll.schema.audit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.SettingsReader;
import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class AuditTest {
  private final TestDatabase database = TestDatabase.create();

  @AfterEach
  void close() {
    database.close();
  }

  private void build() {
    database.run(
        """
        create table tenants (id int primary key);
        create table users (id int primary key, tenant_id int references tenants, email text unique);
        create view emails as select tenant_id, email from users;
        create policy own on users using (tenant_id = current_setting('app.tenant')::int);
        create function mails() returns bigint language sql as 'select count(*) from users';
        """);
  }

  private List<Finding> audit(Settings settings) throws SQLException {
    try (Connection connection = database.connect()) {
      return Audit.run(connection, settings).findings();
    }
  }

  @Test
  void roleWithoutAnyRight_seesTheSame() throws SQLException {
    build();
    List<Finding> all = audit(Settings.NONE);
    database.run("create role audit_nobody login password 'nobody'");
    try (Connection connection = database.connect("audit_nobody", "nobody")) {
      assertThat(Audit.run(connection, Settings.NONE).findings()).isEqualTo(all);
    } finally {
      database.run("drop role audit_nobody");
    }
    assertThat(all)
        .extracting(finding -> finding.rule().id())
        .contains("rls-off", "view-owner-rights");
  }

  @Test
  void suppressedFinding_isCountedApart_withItsReason() throws SQLException {
    build();
    Settings settings =
        SettingsReader.read("s", "suppress: [{rule: rls-off, object: public.users, reason: soon}]");
    try (Connection connection = database.connect()) {
      Audit.Report report = Audit.run(connection, settings);
      assertThat(report.findings())
          .noneMatch(
              finding -> finding.rule() == Rule.RLS_OFF && finding.object().equals("public.users"));
      assertThat(report.judged().suppressed()).hasSize(1);
      assertThat(report.judged().suppressed().getFirst().reason()).isEqualTo("soon");
    }
  }

  @Test
  void audit_takesNoLockThatAnybodyWaitsFor_andLeavesTheConnectionAsItWas() throws Exception {
    build();
    try (Connection connection = database.connect();
        Connection watching = database.connect()) {
      int pid = Sql.one(connection, "select pg_backend_pid()", row -> row.getInt(1));
      AtomicBoolean isDone = new AtomicBoolean();
      AtomicReference<Throwable> fault = new AtomicReference<>();
      Thread auditing =
          new Thread(() -> {
            try {
              for (int i = 0; i < 20; i++) {
                Audit.run(connection, Settings.NONE);
              }
            } catch (SQLException | RuntimeException e) {
              fault.set(e);
            } finally {
              isDone.set(true);
            }
          });
      auditing.start();
      int seen = 0;
      while (!isDone.get()) {
        List<String> modes =
            Sql.list(
                watching,
                "select mode from pg_locks where pid = ? and locktype = 'relation'",
                row -> row.getString(1),
                pid);
        assertThat(modes).allMatch("AccessShareLock"::equals);
        seen += modes.size();
      }
      auditing.join();
      assertThat(fault.get()).isNull();
      assertThat(seen).as("locks that were seen").isPositive();
      assertThat(connection.getAutoCommit()).isTrue();
      assertThat(Sql.<String>one(connection, "show search_path", row -> row.getString(1)))
          .isEqualTo("\"$user\", public");
      assertThat(Sql.<String>one(connection, "show transaction_read_only", row -> row.getString(1)))
          .isEqualTo("off");
    }
  }

  @Test
  void schemaThatIsExcluded_isNotLookedAt() throws SQLException {
    build();
    database.run("create schema other; alter table users set schema other");
    assertThat(audit(Settings.NONE)).anyMatch(finding -> finding.object().startsWith("other."));
    assertThat(audit(SettingsReader.read("s", "exclude: [other]")))
        .noneMatch(finding -> finding.object().startsWith("other."));
  }

  @Test
  void namesThatNeedQuotes_doNoHarm() throws SQLException {
    database.run(
        """
        create table "Tenants""x" (id int primary key);
        create table "Order's" ("tenant_id" int, "E mail" text, unique ("E mail"));
        create policy "p ' \\" on "Order's" using (("E mail" = 'a{b}(c)\\ d') and tenant_id = 1);
        """);
    assertThat(audit(Settings.NONE))
        .anyMatch(finding ->
            finding.rule() == Rule.KEY_WITHOUT_TENANT
                && finding.object().equals("public.Order's.Order's_E mail_key"))
        .noneMatch(finding -> finding.rule() == Rule.POLICY_WITHOUT_TENANT);
  }

  @Test
  void severalFaultsOfOneObject_areMendedTogether_orOneAfterTheOther() throws SQLException {
    database.run(
        """
        create table tenants (id uuid primary key);
        create table orders (tenant_id uuid not null references tenants, made_by text not null, day date, unique (made_by, day));
        create index on orders (tenant_id);
        create policy own on orders using (made_by = current_setting('app.user') and day > current_setting('app.day')::date);
        create policy own on tenants using (id = (select nullif(current_setting('app.tenant', true), '')::uuid));
        """);
    List<String> before = rules(audit(Settings.NONE));
    assertThat(before)
        .contains(
            "policy-without-tenant",
            "policy-setting-raises",
            "policy-call-per-row",
            "key-without-tenant",
            "key-nulls-distinct");
    for (int round = 0; round < 2; round++) {
      for (Finding finding : audit(Settings.NONE)) {
        try (Connection connection = database.connect()) {
          CorpusTest.mend(connection, finding);
        }
      }
    }
    assertThat(rules(audit(Settings.NONE))).isEmpty();
    assertThat(
            database.value(
                "select pg_get_constraintdef(oid) from pg_constraint where conname = 'orders_made_by_day_key'"))
        .isEqualTo("UNIQUE NULLS NOT DISTINCT (tenant_id, made_by, day)");
  }

  private static List<String> rules(List<Finding> findings) {
    return findings.stream().map(finding -> finding.rule().id()).toList();
  }

  @Test
  void mendedKeys_keepWhatElseTheySaid() throws SQLException {
    database.run(
        """
        create table tenants (id uuid primary key);
        create table users (tenant_id uuid not null references tenants, name text not null, email text not null, place int not null, constraint users_place unique (place) include (name) deferrable initially deferred);
        create index on users (tenant_id);
        create unique index users_email on users (lower(email) collate "C" text_pattern_ops desc) include (name) with (fillfactor = 70) where email <> 'a,b)';
        create table folders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, parent bigint references folders on update cascade on delete set null deferrable initially deferred);
        """);
    for (Finding finding : audit(Settings.NONE)) {
      try (Connection connection = database.connect()) {
        CorpusTest.mend(connection, finding);
      }
    }
    assertThat(
            database.value(
                "select pg_get_constraintdef(oid) from pg_constraint where conname = 'users_place'"))
        .isEqualTo("UNIQUE (tenant_id, place) INCLUDE (name) DEFERRABLE INITIALLY DEFERRED");
    assertThat(database.value("select pg_get_indexdef('users_email_new'::regclass)"))
        .isEqualTo(
            "CREATE UNIQUE INDEX users_email_new ON public.users USING btree (tenant_id, lower(email) COLLATE \"C\" text_pattern_ops DESC)"
                + " INCLUDE (name) WITH (fillfactor='70') WHERE (email <> 'a,b)'::text)");
    assertThat(
            database.value(
                "select pg_get_constraintdef(oid) from pg_constraint where conname = 'folders_parent_fkey_tenant'"))
        .isEqualTo(
            "FOREIGN KEY (tenant_id, parent) REFERENCES folders(tenant_id, id) ON UPDATE CASCADE ON DELETE SET NULL (parent) DEFERRABLE INITIALLY DEFERRED");
  }
}
