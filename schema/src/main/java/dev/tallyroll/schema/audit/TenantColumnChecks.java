package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.audit.Subject.TenantTable;
import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.ForeignKey;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** The column that says whose a row is. */
final class TenantColumnChecks {
  /** From this version on NOT NULL can be added without looking at old rows first. */
  private static final int NOT_NULL_NOT_VALID = 18;

  private static final Set<String> SOFT_DELETE =
      Set.of("deleted_at", "deleted", "is_deleted", "deleted_on", "archived_at", "deactivated_at");

  private static final int MOST_NAMED = 5;

  private final Subject subject;
  private final Findings findings;
  private final Catalog catalog;

  private TenantColumnChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
    this.catalog = subject.catalog();
  }

  static void check(Subject subject, Findings findings) {
    TenantColumnChecks checks = new TenantColumnChecks(subject, findings);
    for (TenantTable each : subject.tenantTables()) {
      checks.nullable(each);
      checks.withoutForeignKey(each);
      checks.withoutIndex(each);
    }
    checks.softDelete();
  }

  private void nullable(TenantTable each) {
    Relation table = each.table();
    Column tenant = each.tenant();
    if (tenant.isNotNull()) {
      return;
    }
    String name = Sql.identifier(tenant.name());
    String unproved = tenant.unproved();
    String constraint = Mends.named(table.name(), "_" + tenant.name() + "_not_null");
    String mend =
        "-- rows of nobody first: select count(*) from "
            + table.sql()
            + " where "
            + name
            + " is null\n";
    if (unproved != null) {
      mend +=
          "alter table %s validate constraint %s;".formatted(table.sql(), Sql.identifier(unproved));
    } else if (catalog.serverVersion() >= NOT_NULL_NOT_VALID) {
      mend +=
          "alter table %s add constraint %s not null %s not valid;\nalter table %s validate constraint %s;"
              .formatted(table.sql(), constraint, name, table.sql(), constraint);
    } else {
      mend +=
          """
          alter table %s add constraint %s check (%s is not null) not valid;
          alter table %s validate constraint %s;
          alter table %s alter column %s set not null;
          alter table %s drop constraint %s;\
          """
              .formatted(
                  table.sql(),
                  constraint,
                  name,
                  table.sql(),
                  constraint,
                  table.sql(),
                  name,
                  table.sql(),
                  constraint);
    }
    findings.add(
        Rule.TENANT_NULLABLE,
        table.qualified() + "." + tenant.name(),
        unproved == null
            ? "no NOT NULL"
            : "NOT NULL, but NOT VALID: rows from before it may have none",
        mend);
  }

  private void withoutForeignKey(TenantTable each) {
    Optional<Relation> listed = subject.tenancy().tenants();
    if (listed.isEmpty()) {
      return;
    }
    Relation table = each.table();
    Relation tenants = listed.get();
    if (catalog.foreignKeys().stream()
        .anyMatch(key -> key.table() == table.oid() && tellsTenant(key, each, tenants))) {
      return;
    }
    Optional<Column> key = subject.owner(tenants);
    String name = Mends.named(table.name(), "_" + each.tenant().name() + "_fkey");
    String mend;
    if (key.isEmpty()) {
      mend = "-- " + tenants.qualified() + " has no primary key of one column to refer to";
    } else if (!key.get().type().equals(each.tenant().type())) {
      mend =
          "-- %s is of type %s, %s.%s of type %s: make them the same first"
              .formatted(
                  each.tenant().name(),
                  each.tenant().type(),
                  tenants.qualified(),
                  key.get().name(),
                  key.get().type());
    } else {
      boolean plain = table.kind() == Relation.Kind.PARTITIONED;
      mend =
          "alter table %s add constraint %s foreign key (%s) references %s (%s)%s;"
              .formatted(
                  table.sql(),
                  name,
                  Sql.identifier(each.tenant().name()),
                  tenants.sql(),
                  Sql.identifier(key.get().name()),
                  plain ? "" : " not valid");
      if (!plain) {
        mend += "\nalter table %s validate constraint %s;".formatted(table.sql(), name);
      }
    }
    findings.add(
        Rule.TENANT_WITHOUT_FOREIGN_KEY,
        table.qualified() + "." + each.tenant().name(),
        "no foreign key to " + tenants.qualified(),
        mend);
  }

  /** A key to the tenants table, or one to a table of tenants' rows that carries the tenant. */
  private boolean tellsTenant(ForeignKey key, TenantTable each, Relation tenants) {
    int at = key.columns().indexOf(each.tenant().number());
    if (at < 0) {
      return false;
    }
    if (key.referenced() == tenants.oid()) {
      return true;
    }
    // With one column NULL nothing is checked.
    boolean isWhole =
        key.columns().stream()
            .allMatch(column -> each.table().column(column).filter(Column::isNotNull).isPresent());
    return isWhole
        && catalog
            .relation(key.referenced())
            .flatMap(parent -> subject.tenancy().column(parent))
            .filter(tenant -> tenant.number() == key.referencedColumns().get(at))
            .isPresent();
  }

  private void withoutIndex(TenantTable each) {
    Relation table = each.table();
    boolean isIndexed =
        catalog.indexes(table).stream()
            .anyMatch(index ->
                index.isUsable()
                    && index.predicate() == null
                    && index.keys().getFirst().column() == each.tenant().number());
    if (isIndexed) {
      return;
    }
    boolean plain = table.kind() == Relation.Kind.PARTITIONED;
    findings.add(
        Rule.TENANT_WITHOUT_INDEX,
        table.qualified() + "." + each.tenant().name(),
        "no usable index begins with " + each.tenant().name(),
        "create index %s%s on %s (%s);"
            .formatted(
                plain ? "" : "concurrently ",
                subject.indexName(table, table.name(), "_" + each.tenant().name() + "_idx"),
                table.sql(),
                Sql.identifier(each.tenant().name())));
  }

  private void softDelete() {
    Optional<Relation> tenants = subject.tenancy().tenants();
    Optional<Column> mark =
        tenants.flatMap(table ->
            table.columns().stream()
                .filter(column -> SOFT_DELETE.contains(column.name()))
                .findFirst());
    if (tenants.isEmpty() || mark.isEmpty()) {
      return;
    }
    List<String> cascading =
        catalog.foreignKeys().stream()
            .filter(
                key -> key.referenced() == tenants.get().oid() && key.onDelete().equals("cascade"))
            .flatMap(key -> catalog.relation(key.table()).stream())
            .map(Relation::qualified)
            .sorted()
            .toList();
    if (!cascading.isEmpty()) {
      findings.add(
          Rule.TENANT_SOFT_DELETE,
          tenants.get().qualified() + "." + mark.get().name(),
          "rows of "
              + String.join(", ", cascading.stream().limit(MOST_NAMED).toList())
              + (cascading.size() > MOST_NAMED
                  ? " and " + (cascading.size() - MOST_NAMED) + " more"
                  : "")
              + " go only when the tenant's row is deleted",
          "-- a job that deletes from "
              + tenants.get().sql()
              + " what was marked long enough ago, or that deletes those rows itself");
    }
  }
}
