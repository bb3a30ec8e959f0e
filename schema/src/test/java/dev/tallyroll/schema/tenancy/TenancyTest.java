package dev.tallyroll.schema.tenancy;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.SettingsReader;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class TenancyTest {
  private final TestDatabase database = TestDatabase.create();

  @AfterEach
  void close() {
    database.close();
  }

  private Audit.Report audit(Settings settings) throws SQLException {
    try (Connection connection = database.connect()) {
      return Audit.run(connection, settings);
    }
  }

  private Tenancy inferred(String tables) throws SQLException {
    database.run(tables);
    return audit(Settings.NONE).tenancy();
  }

  @Test
  void tableThatMostReferTo_isTheTenantsTable() throws SQLException {
    Tenancy tenancy =
        inferred(
            "create table accounts (id int primary key); create table organizations (id int primary key);"
                + " create table a (organization_id int references organizations, account_id int references accounts);"
                + " create table b (org_id int references organizations)");
    assertThat(tenancy.tenants().map(Relation::qualified)).contains("public.organizations");
    assertThat(tenancy.columns()).containsExactlyInAnyOrder("organization_id", "org_id");
    assertThat(tenancy.described())
        .isEqualTo(
            "tenancy (inferred): column org_id, organization_id; tenants table public.organizations");
  }

  @Test
  void withoutForeignKeys_theUsualNamesCount() throws SQLException {
    Tenancy tenancy =
        inferred(
            "create table companies (id int primary key); create table a (company_id int); create table b (company_id int)");
    assertThat(tenancy.tenants().map(Relation::qualified)).contains("public.companies");
    assertThat(tenancy.columns()).containsExactly("company_id");
  }

  @Test
  void columnWithoutATable_isEnough() throws SQLException {
    Tenancy tenancy =
        inferred("create table a (tenant_id int); create table b (tenant_id int, team_id int)");
    assertThat(tenancy.tenants()).isEmpty();
    assertThat(tenancy.columns()).containsExactly("tenant_id");
  }

  @Test
  void schemaWithoutTenants_hasNoFindingOfTenancy_andSaysSo() throws SQLException {
    database.run("create table a (id int primary key)");
    Audit.Report report = audit(Settings.NONE);
    assertThat(report.findings()).isEmpty();
    assertThat(report.tenancy().described())
        .startsWith("no tenancy found")
        .contains("--tenant-column");
  }

  @Test
  void whatWasSaid_goesBeforeWhatIsUsual() throws SQLException {
    database.run(
        "create table tenants (id int primary key); create table clubs (id int primary key); create table a (tenant_id int, club int);"
            + " create table plans (club int)");
    Settings settings =
        SettingsReader.read(
            "s", "tenancy: {columns: [club], tenants: clubs, shared: [public.plans]}");
    Audit.Report report = audit(settings);
    assertThat(report.tenancy().tenants().map(Relation::qualified)).contains("public.clubs");
    assertThat(report.tenancy().columns()).containsExactly("club");
    assertThat(report.findings().stream().map(Finding::object))
        .contains("public.a.club", "public.clubs")
        .noneMatch(object -> object.startsWith("public.plans"));
  }

  @Test
  void nameThatIsNotThere_isSaid() {
    database.run("create table tenants (id int primary key); create table a (tenant_id int)");
    assertThatThrownBy(() -> audit(SettingsReader.read("s", "tenancy: {tenants: tenant}")))
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("no table 'tenant'");
    assertThatThrownBy(() -> audit(SettingsReader.read("s", "tenancy: {columns: [tenantid]}")))
        .isInstanceOf(TallyrollException.class)
        .hasMessage("no table has a column 'tenantid'; did you mean 'tenant_id'?");
    assertThatThrownBy(() -> audit(SettingsReader.read("s", "tenancy: {shared: [plan]}")))
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("no table 'plan'");
  }

  @Test
  void missingForeignKeys_doNotMakeAnotherTableTheTenants() throws SQLException {
    Tenancy tenancy =
        inferred(
            "create table tenants (id int primary key); create table teams (id int primary key, tenant_id int);"
                + " create table a (tenant_id int, team_id int references teams); create table b (tenant_id int, team_id int references teams)");
    assertThat(tenancy.tenants().map(Relation::qualified)).contains("public.tenants");
    assertThat(tenancy.columns()).containsExactly("tenant_id");
  }

  @Test
  void namesInOtherSpellings_andColumnsOfOtherNames_areFound() throws SQLException {
    Tenancy camel =
        inferred(
            "create table \"Organization\" (id text primary key); create table \"Project\" (id text primary key, \"organizationId\" text references \"Organization\")");
    assertThat(camel.tenants().map(Relation::qualified)).contains("public.Organization");
    assertThat(camel.columns()).containsExactly("organizationId");
    database.run("drop table \"Project\"; drop table \"Organization\"");
    Tenancy other =
        inferred(
            "create table workspaces (id int primary key); create table a (owner_space int references workspaces);"
                + " create table b (owner_space int references workspaces, invited_by int references workspaces)");
    assertThat(other.columns()).containsExactly("owner_space");
  }
}
