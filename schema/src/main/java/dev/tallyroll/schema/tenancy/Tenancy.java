package dev.tallyroll.schema.tenancy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.ForeignKey;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.settings.Settings;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * How a schema tells tenants apart: by the columns of these names, whose values are the keys of the
 * tenants table.
 *
 * @param columns the names of such columns; empty if there is no tenancy
 * @param tenants the tenants table, if there is one
 * @param shared tables that hold nothing of a tenant's
 * @param isInferred whether it was guessed from names and foreign keys
 */
public record Tenancy(
    Set<String> columns, Optional<Relation> tenants, Set<String> shared, boolean isInferred) {
  /** What tenants tables are called, the likeliest first. */
  private static final List<String> TABLES =
      List.of(
          "tenants",
          "tenant",
          "organizations",
          "organisations",
          "organization",
          "organisation",
          "orgs",
          "org",
          "workspaces",
          "workspace",
          "companies",
          "company",
          "accounts",
          "account",
          "teams",
          "team");

  /** What their columns are called, the likeliest first. */
  private static final List<String> COLUMNS =
      List.of(
          "tenant_id",
          "tenant",
          "organization_id",
          "organisation_id",
          "org_id",
          "workspace_id",
          "company_id",
          "account_id",
          "team_id");

  /** Copies. */
  public Tenancy {
    columns = Set.copyOf(columns);
    shared = Set.copyOf(shared);
  }

  /**
   * The tenancy that was said, or else the likeliest one: the tenants table is the one of those
   * with a usual name to which most tables refer, or of whose name most have a column; the columns
   * are these, and {@code tenant_id}. Without such a table, the usual column that most tables have.
   *
   * @throws TallyrollException if a table or column that was named is not there
   */
  public static Tenancy of(Catalog catalog, Settings settings) {
    Set<String> shared = Set.copyOf(settings.shared());
    for (String table : settings.shared()) {
      named(catalog, table);
    }
    Optional<Relation> tenants =
        Optional.ofNullable(settings.tenantsTable())
            .map(name -> named(catalog, name))
            .or(() -> likeliestTable(catalog));
    if (!settings.tenantColumns().isEmpty()) {
      for (String column : settings.tenantColumns()) {
        requireColumn(catalog, column);
      }
      return new Tenancy(Set.copyOf(settings.tenantColumns()), tenants, shared, false);
    }
    Set<String> columns = new LinkedHashSet<>();
    tenants.ifPresent(table -> columns.addAll(referring(catalog, table)));
    if (columns.isEmpty()) {
      COLUMNS.stream()
          .max(Comparator.comparingLong(column -> having(catalog, column)))
          .filter(column -> having(catalog, column) > 0)
          .ifPresent(columns::add);
    } else if (having(catalog, COLUMNS.getFirst()) > 0) {
      columns.add(COLUMNS.getFirst());
    }
    return new Tenancy(columns, tenants, shared, true);
  }

  private static Relation named(Catalog catalog, String name) {
    List<Relation> found =
        catalog.tables().stream()
            .filter(table -> table.qualified().equals(name) || table.name().equals(name))
            .toList();
    if (found.size() == 1) {
      return found.getFirst();
    }
    List<String> known = catalog.tables().stream().map(Relation::qualified).toList();
    throw new TallyrollException(
        ErrorCode.UNKNOWN_NAME,
        found.isEmpty()
            ? "no table '" + name + "'" + Names.didYouMean(name, known)
            : "'"
                + name
                + "' is in several schemas: say which, as "
                + found.getFirst().qualified());
  }

  private static void requireColumn(Catalog catalog, String name) {
    if (having(catalog, name) == 0) {
      List<String> known =
          catalog.tables().stream()
              .flatMap(table -> table.columns().stream())
              .map(Column::name)
              .distinct()
              .toList();
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME,
          "no table has a column '" + name + "'" + Names.didYouMean(name, known));
    }
  }

  private static long having(Catalog catalog, String column) {
    return catalog.tables().stream().filter(table -> table.column(column).isPresent()).count();
  }

  private static Optional<Relation> likeliestTable(Catalog catalog) {
    return catalog.tables().stream()
        .filter(table -> TABLES.contains(plain(table.name())) && !table.isPartition())
        .max(
            Comparator.<Relation>comparingLong(table -> weight(catalog, table))
                .thenComparingInt(table -> -TABLES.indexOf(plain(table.name()))))
        .filter(table -> weight(catalog, table) > 0);
  }

  /**
   * How many tables refer to it, or have a column of its name: foreign keys may be just what is
   * missing.
   */
  private static long weight(Catalog catalog, Relation table) {
    String usual = singular(plain(table.name())) + "_id";
    long named =
        catalog.tables().stream()
            .filter(other -> other.oid() != table.oid())
            .filter(other ->
                other.columns().stream().anyMatch(column -> plain(column.name()).equals(usual)))
            .count();
    return Math.max(referringTables(catalog, table), named);
  }

  /** A name as it is usually written: organizationId and Organization_ID are organization_id. */
  private static String plain(String name) {
    return name.replaceAll("([a-z0-9])([A-Z])", "$1_$2").toLowerCase(Locale.ROOT);
  }

  private static int referringTables(Catalog catalog, Relation table) {
    return (int)
        catalog.foreignKeys().stream()
            .filter(key -> key.referenced() == table.oid() && key.table() != table.oid())
            .map(ForeignKey::table)
            .distinct()
            .count();
  }

  /** The names of the columns by which tables refer to this one, and those of its name. */
  private static Set<String> referring(Catalog catalog, Relation tenants) {
    Set<String> names = new LinkedHashSet<>();
    String usual = singular(plain(tenants.name())) + "_id";
    catalog.tables().stream()
        .filter(table -> table.oid() != tenants.oid())
        .flatMap(table -> table.columns().stream())
        .map(Column::name)
        .filter(name -> plain(name).equals(usual))
        .forEach(names::add);
    Map<String, Integer> referring = new HashMap<>();
    for (ForeignKey key : catalog.foreignKeys()) {
      if (key.referenced() == tenants.oid()
          && key.table() != tenants.oid()
          && key.columns().size() == 1) {
        catalog
            .relation(key.table())
            .flatMap(table -> table.column(key.columns().getFirst()))
            .ifPresent(column -> referring.merge(column.name(), 1, Integer::sum));
      }
    }
    boolean isUsual = !names.isEmpty();
    referring.forEach((name, tables) -> {
      // One table may refer to a tenant for another reason, as to the one that invited it.
      if (COLUMNS.contains(plain(name)) || (!isUsual && tables > 1)) {
        names.add(name);
      }
    });
    return names;
  }

  private static String singular(String table) {
    if (table.endsWith("ies")) {
      return table.substring(0, table.length() - 3) + "y";
    }
    return table.endsWith("s") ? table.substring(0, table.length() - 1) : table;
  }

  /** The column that says whose a row of this table is; empty for a table of no tenant's. */
  public Optional<Column> column(Relation table) {
    if (shared.contains(table.qualified()) || shared.contains(table.name()) || isTenants(table)) {
      return Optional.empty();
    }
    return table.columns().stream().filter(column -> columns.contains(column.name())).findFirst();
  }

  /** Whether this is the tenants table. */
  public boolean isTenants(Relation table) {
    return tenants.filter(listed -> listed.oid() == table.oid()).isPresent();
  }

  /** Whether rows of this table are some tenant's, or are tenants. */
  public boolean holdsTenants(Relation table) {
    return isTenants(table) || column(table).isPresent();
  }

  /** One line that says it. */
  public String described() {
    if (columns.isEmpty()) {
      return "no tenancy found: no table has a column of a usual name (tenant_id, organization_id, ...);"
          + " name it with --tenant-column";
    }
    return "tenancy"
        + (isInferred ? " (inferred)" : "")
        + ": column "
        + String.join(", ", columns.stream().sorted().toList())
        + "; tenants table "
        + tenants.map(Relation::qualified).orElse("not found, name it with --tenants-table");
  }
}
