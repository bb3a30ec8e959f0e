package dev.tallyroll.schema.audit;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.CatalogReader;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Judged;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.tenancy.Tenancy;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.Set;

/**
 * Audits a database: reads its catalogs in one read-only snapshot and looks for every {@link Rule}.
 * Changes nothing and takes no lock stronger than ACCESS SHARE. Stateless.
 */
public final class Audit {
  /** The schema of Tallyroll itself, which has readers and owners of its own kind. */
  private static final String TALLYROLL = "tallyroll";

  /** What Supabase keeps in its databases beside the project's own. */
  private static final Set<String> SUPABASE =
      Set.of(
          "auth",
          "cron",
          "extensions",
          "graphql",
          "graphql_public",
          "net",
          "pgbouncer",
          "pgsodium",
          "pgsodium_masks",
          "pgtle",
          "realtime",
          "_realtime",
          "storage",
          "supabase_functions",
          "supabase_migrations",
          "vault");

  private Audit() {}

  /**
   * What an audit found.
   *
   * @param tenancy how tenants are told apart
   * @param relations how many tables, views and sequences were looked at
   * @param judged the findings
   */
  public record Report(Tenancy tenancy, int relations, Judged judged) {
    /** The findings that nobody has said to live with, the worst first. */
    public List<Finding> findings() {
      return judged.findings();
    }
  }

  /**
   * Audits a database.
   *
   * @param connection to it, of any role; must not be in a transaction
   * @throws TallyrollException if the settings name what is not there
   */
  public static Report run(Connection connection, Settings settings) throws SQLException {
    boolean isSupabase =
        Sql.first(
                connection,
                "select 1 from pg_roles where rolname = 'supabase_admin'",
                row -> row.getInt(1))
            .isPresent();
    Catalog catalog =
        CatalogReader.read(
            connection,
            schema ->
                !schema.equals(TALLYROLL)
                    && !(isSupabase && SUPABASE.contains(schema))
                    && !settings.excluded().contains(schema));
    return run(catalog, settings);
  }

  /**
   * Looks whether the roles and schemas that settings name are there, as they are in a database in
   * use; one that is made of migrations may lack some.
   *
   * @throws TallyrollException if one is not
   */
  public static void check(Connection connection, Settings settings) throws SQLException {
    List<String> roles =
        Sql.list(connection, "select rolname from pg_roles", row -> row.getString(1));
    List<String> schemas =
        Sql.list(connection, "select nspname from pg_namespace", row -> row.getString(1));
    named("role", roles, settings.application());
    named("role", roles, settings.trusted());
    named("schema", schemas, settings.schemas());
    named("schema", schemas, settings.excluded());
  }

  private static void named(String what, List<String> there, List<String> wanted) {
    for (String name : wanted) {
      if (!there.contains(name)) {
        throw new TallyrollException(
            ErrorCode.UNKNOWN_NAME,
            "the settings name the "
                + what
                + " '"
                + name
                + "', which is not there"
                + Names.didYouMean(name, there));
      }
    }
  }

  static Report run(Catalog catalog, Settings settings) {
    Tenancy tenancy = Tenancy.of(catalog, settings);
    Subject subject = new Subject(catalog, tenancy, settings);
    Findings findings = new Findings();
    KeyChecks.check(subject, findings);
    TenantColumnChecks.check(subject, findings);
    ForeignKeyChecks.check(subject, findings);
    RowSecurityChecks.check(subject, findings);
    PolicyChecks.check(subject, findings);
    ViewChecks.check(subject, findings);
    FunctionChecks.check(subject, findings);
    RoleChecks.check(subject, findings);
    NameChecks.check(subject, findings);
    IndexChecks.check(subject, findings);
    Judged judged = Judged.of(findings.all(), settings, Rule.Scope.AUDIT);
    return new Report(tenancy, catalog.relations().size(), judged);
  }
}
