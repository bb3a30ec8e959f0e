package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Policy;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.catalog.Role;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.tenancy.Tenancy;
import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What is audited, as the checks need it. */
record Subject(Catalog catalog, Tenancy tenancy, Settings settings) {
  private static final Pattern SETTING = Pattern.compile("current_setting\\('([^']+\\.[^']+)'");

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
    Optional<Role> known = catalog.role(role);
    boolean owns =
        table.owner().equals(role)
            || known.filter(each -> each.memberOf().contains(table.owner())).isPresent();
    return isExempt(role) || (owns && !table.isForced());
  }

  /** Whether no policy of any table binds this role. */
  boolean isExempt(String role) {
    return catalog.role(role).filter(Role::isExempt).isPresent();
  }

  /** Whether this role is meant to see all tenants' rows. */
  boolean isTrusted(String role) {
    return settings.trusted().contains(role);
  }

  /** A quoted name for a new index of this table that nothing else has. */
  String indexName(Relation table, String base, String suffix) {
    String name = Mends.cut(base, suffix);
    for (int i = 1; catalog.isTaken(table.schema(), name); i++) {
      name = Mends.cut(base, suffix + i);
    }
    return Sql.identifier(name);
  }

  /** Foreign keys that refer to a key, which cannot go while they do. */
  List<String> referring(Relation table, Index index) {
    return catalog.foreignKeys().stream()
        .filter(key ->
            key.referenced() == table.oid()
                && index.predicate() == null
                && key.referencedColumns().size() == index.keys().size()
                && key.referencedColumns().stream().allMatch(index::hasKey))
        .map(key ->
            catalog.relation(key.table()).map(Relation::qualified).orElse("?") + "." + key.name())
        .toList();
  }

  /**
   * From which setting the policies read the tenant: that which one compares with the column of the
   * tenant and with nothing else. Without any policy of tenants' tables one of our choice; empty if
   * there are some that do not tell.
   */
  Optional<String> setting() {
    boolean areThere = false;
    for (Policy policy : catalog.policies()) {
      Optional<Relation> table = catalog.relation(policy.table()).map(catalog::top);
      Optional<Column> owner = table.flatMap(this::owner);
      if (owner.isEmpty()) {
        continue;
      }
      for (Policy.Clause clause : policy.clauses()) {
        areThere |= !clause.tree().isAlwaysTrue() && !clause.tree().isAlwaysFalse();
        Matcher matcher = SETTING.matcher(clause.sql());
        if (clause.tree().ownColumns().equals(Set.of(owner.get().number()))
            && !clause.sql().contains("->")
            && matcher.find()) {
          String setting = matcher.group(1);
          if (!matcher.find()) {
            return Optional.of(setting);
          }
        }
      }
    }
    return areThere ? Optional.empty() : Optional.of("app.tenant");
  }

  static String quoted(List<String> columns) {
    return String.join(", ", columns.stream().map(Sql::identifier).toList());
  }
}
