package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Policy;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.catalog.Relation.Grant;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import java.util.List;

/** Whether tables of tenants' rows are behind policies, and their partitions and sequences too. */
final class RowSecurityChecks {
  private final Subject subject;
  private final Findings findings;

  private RowSecurityChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
  }

  static void check(Subject subject, Findings findings) {
    RowSecurityChecks checks = new RowSecurityChecks(subject, findings);
    subject.guardedTables().forEach(checks::table);
    for (Relation relation : subject.catalog().relations()) {
      if (relation.isPartition()) {
        checks.partition(relation);
      } else if (relation.kind() == Relation.Kind.SEQUENCE) {
        checks.sequence(relation);
      }
    }
  }

  private void table(Relation table) {
    boolean hasPolicy = subject.catalog().policies(table).stream().anyMatch(Policy::isPermissive);
    String policy = hasPolicy ? "" : "\n" + Mends.policy(subject, table);
    if (!table.rowSecurity()) {
      findings.add(
          Rule.RLS_OFF,
          table.qualified(),
          hasPolicy
              ? "row-level security is off, though the table has policies"
              : "row-level security is off",
          "alter table %s enable row level security;\nalter table %s force row level security;%s"
              .formatted(table.sql(), table.sql(), policy));
      return;
    }
    if (!table.isForced()) {
      boolean isOwnerExempt = subject.isExempt(table.owner());
      findings.add(
          Rule.RLS_NOT_FORCED,
          isOwnerExempt ? Severity.NOTE : Severity.WARNING,
          table.qualified(),
          "enabled, but it does not bind the owner "
              + table.owner()
              + (isOwnerExempt ? ", whom nothing binds as long as it is exempt" : ""),
          "alter table " + table.sql() + " force row level security;");
    }
    if (!hasPolicy) {
      findings.add(
          Rule.RLS_WITHOUT_POLICY,
          table.qualified(),
          "row-level security is on, without a permissive policy",
          Mends.policy(subject, table));
    }
  }

  /** Where the parent has no policies either, that is the finding. */
  private void partition(Relation partition) {
    Relation top = subject.catalog().top(partition);
    if (!subject.tenancy().holdsTenants(top) || !top.rowSecurity() || partition.rowSecurity()) {
      return;
    }
    List<String> readers = bound(partition, List.of("SELECT", "INSERT", "UPDATE", "DELETE"));
    if (!readers.isEmpty()) {
      findings.add(
          Rule.PARTITION_LEAK,
          partition.qualified(),
          "granted to "
              + String.join(", ", readers)
              + "; the policies of "
              + top.qualified()
              + " do not hold for who names it",
          "revoke all on " + partition.sql() + " from " + Mends.roles(readers) + ";");
    }
  }

  private void sequence(Relation sequence) {
    Long table = sequence.ownedBy();
    if (table == null
        || subject.catalog().relation(table).filter(subject.tenancy()::holdsTenants).isEmpty()) {
      return;
    }
    List<String> readers = bound(sequence, List.of("SELECT", "UPDATE"));
    if (!readers.isEmpty()) {
      findings.add(
          Rule.SEQUENCE_LEAK,
          sequence.qualified(),
          "SELECT or UPDATE is granted to " + String.join(", ", readers),
          "revoke select, update on sequence "
              + sequence.sql()
              + " from "
              + Mends.roles(readers)
              + ";");
    }
  }

  /** Whom one of these is granted who is neither trusted nor exempt. */
  private List<String> bound(Relation relation, List<String> privileges) {
    return relation.grants().stream()
        .filter(grant -> privileges.contains(grant.privilege()))
        .map(Grant::grantee)
        .filter(role -> !role.equals(relation.owner()) && !subject.isTrusted(role))
        .filter(role -> !subject.isExempt(role, relation))
        .distinct()
        .sorted()
        .toList();
  }
}
