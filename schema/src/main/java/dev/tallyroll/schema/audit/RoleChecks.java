package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.catalog.Role;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** Whom policies do not bind. */
final class RoleChecks {
  /** The superuser of {@code initdb}, which every server has. */
  private static final long BOOTSTRAP = 10;

  /** The superusers of those who run managed servers. */
  private static final Set<String> MANAGED =
      Set.of(
          "rdsadmin",
          "cloudsqladmin",
          "azuresu",
          "alloydbadmin",
          "supabase_admin",
          "supabase_auth_admin",
          "supabase_storage_admin",
          "supabase_replication_admin",
          "supabase_read_only_user",
          "supabase_etl_admin",
          "authenticator");

  private static final int MOST_NAMED = 5;

  private RoleChecks() {}

  static void check(Subject subject, Findings findings) {
    List<Relation> guarded = subject.guardedTables();
    if (guarded.isEmpty()) {
      return;
    }
    for (Role role : subject.catalog().roles()) {
      if (role.canLogin()) {
        bypasses(subject, role, findings);
        owns(subject, role, guarded, findings);
      }
    }
  }

  private static boolean isApplication(Subject subject, Role role) {
    return subject.settings().application().contains(role.name());
  }

  private static void bypasses(Subject subject, Role role, Findings findings) {
    if (subject.isTrusted(role.name())
        || MANAGED.contains(role.name())
        || (role.oid() == BOOTSTRAP && !isApplication(subject, role))) {
      return;
    }
    String name = Sql.identifier(role.name());
    if (role.isExempt()) {
      findings.add(
          Rule.ROLE_BYPASSES,
          role.name(),
          role.isSuperuser() ? "a superuser that logs in" : "has BYPASSRLS and logs in",
          "-- if nobody needs it so, and else name it under roles.trusted in the settings:\n-- alter role %s%s nobypassrls;"
              .formatted(name, role.isSuperuser() ? " nosuperuser" : ""));
      return;
    }
    Optional<String> through =
        role.memberOf().stream().filter(subject::isExempt).sorted().findFirst();
    through.ifPresent(other ->
        findings.add(
            Rule.ROLE_BYPASSES,
            role.name(),
            "can SET ROLE to " + other + ", whom no policy binds",
            "-- if nobody needs it so, and else name it under roles.trusted in the settings:\n-- revoke %s from %s;"
                .formatted(Sql.identifier(other), name)));
  }

  private static void owns(Subject subject, Role role, List<Relation> guarded, Findings findings) {
    if (role.isExempt()) {
      return;
    }
    List<String> owned =
        guarded.stream()
            .filter(table ->
                table.owner().equals(role.name()) || role.memberOf().contains(table.owner()))
            .map(Relation::qualified)
            .toList();
    boolean isKnown = !subject.settings().application().isEmpty();
    if (owned.isEmpty() || (isKnown && !isApplication(subject, role))) {
      return;
    }
    findings.add(
        Rule.ROLE_OWNS_TABLES,
        // Unless somebody has said so, it may as well be the role of the migrations.
        isKnown ? Severity.WARNING : Severity.NOTE,
        role.name(),
        "owns "
            + String.join(", ", owned.stream().limit(MOST_NAMED).toList())
            + (owned.size() > MOST_NAMED ? " and " + (owned.size() - MOST_NAMED) + " more" : "")
            + (isKnown ? "" : "; name the application's role under roles.application"),
        "-- a role of its own, which does not log in, is to own the tables: create role owner nologin;\n"
            + "-- reassign owned by "
            + Sql.identifier(role.name())
            + " to owner; and grant the application what it needs");
  }
}
