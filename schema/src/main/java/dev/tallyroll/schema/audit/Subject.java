package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.catalog.Role;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.tenancy.Tenancy;
import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.Optional;

/** What is audited, as the checks need it. */
record Subject(Catalog catalog, Tenancy tenancy, Settings settings) {
  /** A table with its tenant column. */
  record TenantTable(Relation table, Column tenant) {}

  /** Tables of tenants' rows with their tenant column, without partitions. */
  List<TenantTable> tenantTables() {
    return catalog.tables().stream()
        .filter(table -> !table.isPartition())
        .flatMap(
            table -> tenancy.column(table).map(column -> new TenantTable(table, column)).stream())
        .toList();
  }

  /** The same, and the tenants table, all of which are to be behind policies. */
  List<Relation> guardedTables() {
    return catalog.tables().stream()
        .filter(table -> !table.isPartition() && tenancy.holdsTenants(table))
        .toList();
  }

  /** By which column a row says whose it is; of the tenants table itself it is its key. */
  Optional<Column> owner(Relation table) {
    if (!tenancy.isTenants(table)) {
      return tenancy.column(table);
    }
    return catalog.indexes(table).stream()
        .filter(index -> index.isPrimary() && index.keys().size() == 1)
        .flatMap(index -> table.column(index.keys().getFirst().column()).stream())
        .findFirst();
  }

  /** Whether no policy of the table binds this role, which may be its owner. */
  boolean isExempt(String role, Relation table) {
    return catalog.role(role).filter(Role::isExempt).isPresent()
        || (table.owner().equals(role) && !table.isForced());
  }

  /** Whether this role is meant to see all tenants' rows. */
  boolean isTrusted(String role) {
    return settings.trusted().contains(role);
  }

  /** A quoted name for a new index of this table that nothing else has. */
  String indexName(Relation table, String suffix) {
    String name = Mends.cut(table.name(), suffix);
    for (int i = 1; catalog.isTaken(table.schema(), name); i++) {
      name = Mends.cut(table.name(), suffix + i);
    }
    return Sql.identifier(name);
  }

  static String quoted(List<String> columns) {
    return String.join(", ", columns.stream().map(Sql::identifier).toList());
  }
}
