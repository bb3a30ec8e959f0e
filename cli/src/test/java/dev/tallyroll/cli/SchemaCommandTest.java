package dev.tallyroll.cli;

import static dev.tallyroll.cli.CommandsTest.run;
import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.cli.CommandsTest.Run;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What {@code schema audit} prints, and the codes that scripts go by. */
class SchemaCommandTest {
  private static final String TENANCY =
      "tenancy (inferred): column tenant_id; tenants table public.tenants";

  @TempDir private Path directory = Path.of("");

  private final TestDatabase database = TestDatabase.create();

  @BeforeEach
  void build() {
    database.run(
        """
        create table tenants (id int primary key);
        create table users (id int generated always as identity primary key, tenant_id int not null references tenants, email text not null unique);
        create index on users (tenant_id);
        alter table tenants enable row level security;
        alter table tenants force row level security;
        create policy own on tenants using (id = (select nullif(current_setting('app.tenant', true), '')::int));
        alter table users enable row level security;
        alter table users force row level security;
        create policy own on users using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::int));
        """);
  }

  @AfterEach
  void close() {
    database.close();
  }

  private Run audit(String... more) {
    List<String> arguments = new ArrayList<>(List.of("schema", "audit"));
    arguments.addAll(List.of(more));
    return run(database, arguments.toArray(String[]::new));
  }

  private Run replayed(Path folder, String... more) {
    List<String> arguments =
        new ArrayList<>(
            List.of(
                "schema",
                "audit",
                "--migrations",
                folder.toString(),
                "--scratch-url",
                database.url()));
    arguments.addAll(List.of(more));
    return run(arguments.toArray(String[]::new));
  }

  private String file(String name, String text) throws IOException {
    return Files.writeString(directory.resolve(name), text).toString();
  }

  @Test
  void finding_isPrintedWithWhatMendsIt_andFailsTheCommand() {
    Run run = audit();
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.err()).isEmpty();
    assertThat(run.out())
        .startsWith(
            TENANCY + "\n\nkey-without-tenant: A key of tenants' rows leaves the tenant out\n")
        .contains(
            "\n  error  public.users.users_email_key: unique key (email) without tenant_id\n",
            "\n    create unique index concurrently \"users_email_key_new\" on \"public\".\"users\" using btree (\"tenant_id\", email);\n")
        .endsWith("\n3 tables, views and sequences; 1 error, 0 warnings, 0 notes\n");
  }

  @Test
  void jsonIsAFlatArray_andTheRestIsOnStandardError() {
    Run run = audit("--format", "json");
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.err()).startsWith(TENANCY + "\n");
    JsonNode found = JsonMapper.builder().build().readTree(run.out());
    assertThat(found.size()).isEqualTo(1);
    assertThat(found.get(0).propertyNames())
        .containsExactly("severity", "rule", "object", "file", "line", "evidence", "why", "mend");
    assertThat(audit("--format", "csv").out())
        .startsWith("severity,rule,object,file,line,evidence,why,mend\r\n");
    JsonNode sarif = JsonMapper.builder().build().readTree(audit("--format", "sarif").out());
    assertThat(sarif.at("/runs/0/results/0/ruleId").asString()).isEqualTo("key-without-tenant");
    assertThat(sarif.at("/runs/0/tool/driver/version").asString()).matches("[0-9]+\\.[0-9]+\\..*");
  }

  @Test
  void severity_decidesWhatFails() {
    database.run("create index users_id on users (id)");
    database.run("alter table users drop constraint users_email_key");
    assertThat(audit().code()).isZero();
    assertThat(audit("--fail-on", "note").code()).isEqualTo(1);
    Run wrong = audit("--fail-on", "bad");
    assertThat(wrong.code()).isEqualTo(2);
    assertThat(wrong.err()).hasLineCount(1).contains("--fail-on");
  }

  @Test
  void baseline_hidesWhatWasThere_andNamesWhatIsMended() {
    String baseline = directory.resolve("baseline.json").toString();
    Run written = audit("--write-baseline", baseline);
    assertThat(written).isEqualTo(new Run(0, "", "wrote 1 finding to " + baseline + "\n"));
    assertThat(audit("--baseline", baseline).code()).isZero();
    database.run("alter table users disable row level security");
    Run more = audit("--baseline", baseline);
    assertThat(more.code()).isEqualTo(1);
    assertThat(more.out()).contains("rls-off").doesNotContain("key-without-tenant");
    database.run("alter table users drop constraint users_email_key, enable row level security");
    assertThat(audit("--baseline", baseline))
        .isEqualTo(
            new Run(
                0,
                TENANCY + "\n\n3 tables, views and sequences; 0 errors, 0 warnings, 0 notes\n",
                "mended since the baseline was written: key-without-tenant public.users.users_email_key\n"));
  }

  @Test
  void suppression_hidesAFinding() throws IOException {
    String settings =
        file(
            "settings.yaml",
            "suppress: [{rule: key-without-tenant, object: public.users.users_email_key, reason: one login}]");
    Run run = audit("--config", settings);
    assertThat(run.code()).isZero();
    assertThat(run.out()).endsWith("0 errors, 0 warnings, 0 notes; 1 suppressed\n");
    database.run("alter table users drop constraint users_email_key");
    Run stale = audit("--config", settings);
    assertThat(stale.code()).isEqualTo(1);
    assertThat(stale.out()).contains("suppression-stale", settings + ":1 suppresses nothing");
  }

  @Test
  void migrations_areAuditedOnADatabaseOfTheirOwn() throws IOException {
    Path folder = Files.createDirectory(directory.resolve("migrations"));
    Files.writeString(
        folder.resolve("1_tenants.sql"),
        "create table tenants (id int primary key);\ncreate table orders (id int, tenant_id int not null references tenants);");
    Files.writeString(folder.resolve("README.md"), "no migration");
    Run run = replayed(folder);
    assertThat(run.code()).isEqualTo(1);
    assertThat(run.out())
        .startsWith(TENANCY + "\n")
        .contains("public.orders: row-level security is off")
        .doesNotContain("users");
    assertThat(run.err())
        .isEqualTo(
            "README.md: passed over, not .sql\nreplayed 1 migration of "
                + folder
                + " (numbered), 2 statements, 0 failed\n");
    Files.writeString(folder.resolve("2_late.sql"), "select 1;\nselect * from nothing;");
    Run failed = replayed(folder, "--fail-on", "error");
    assertThat(failed.code()).isEqualTo(1);
    assertThat(failed.err())
        .contains(
            "failed: 2_late.sql:2: relation \"nothing\" does not exist (SQLSTATE 42P01): select * from nothing\n");
    assertThat(
            database.value(
                "select count(*) from pg_database where datname like 'tallyroll_scratch%'"))
        .isEqualTo("0");
    assertThat(audit("--layout", "flyway").code()).isEqualTo(2);
    assertThat(replayed(folder, "--write-baseline", directory.resolve("b.json").toString()).code())
        .as("what has failed is told, whatever else is asked")
        .isEqualTo(1);
    assertThat(audit("--migrations", folder.toString()))
        .isEqualTo(
            new Run(
                2,
                "",
                "tallyroll: --migrations are replayed on a scratch server and never on --database-url; name that with --scratch-url\n"));
    assertThat(replayed(folder, "--layout", "rails").err())
        .hasLineCount(1)
        .contains("'rails' is none of [numbered, flyway,");
    assertThat(replayed(directory.resolve("none")))
        .isEqualTo(
            new Run(
                2, "", "tallyroll: no folder " + directory.resolve("none") + " with migrations\n"));
  }

  @Test
  void mistake_getsOneLineAndExitTwo() throws IOException {
    Run column = audit("--tenant-column", "tenantid");
    assertThat(column)
        .isEqualTo(
            new Run(
                2, "", "tallyroll: no table has a column 'tenantid'; did you mean 'tenant_id'?\n"));
    assertThat(audit("--tenants-table", "users").out()).contains("tenants table public.users");
    assertThat(audit("--config", file("roles.yaml", "roles: {trusted: [suport]}")).err())
        .startsWith("tallyroll: the settings name the role 'suport', which is not there");
    Run config = audit("--config", file("bad.yaml", "tenncy: {}"));
    assertThat(config.code()).isEqualTo(2);
    assertThat(config.err()).hasLineCount(1).contains("bad.yaml:1: unknown key 'tenncy'");
    assertThat(audit("--config", directory.resolve("none").toString()).err())
        .isEqualTo("tallyroll: no file " + directory.resolve("none") + " to read\n");
    assertThat(audit("--baseline", file("b.json", "{}")).code()).isEqualTo(2);
  }
}
