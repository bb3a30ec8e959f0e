package dev.tallyroll.postgres.feed;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Sql;
import java.util.Collection;
import java.util.stream.Collectors;

/**
 * Some tenants of a rollup, or all, as a part of conditions in SQL. Immutable.
 *
 * @param literals the tenants with commas between them; empty for all
 */
public record Tenants(String literals) {
  /** These tenants, as text; at least one. */
  public static Tenants of(Collection<String> tenants) {
    return new Tenants(tenants.stream().map(Sql::literal).collect(Collectors.joining(", ")));
  }

  /** More of a condition over the rollup's tables: of these tenants. */
  public String and(BoundRollup bound) {
    return and("tenant", list(bound));
  }

  /** The same: of other tenants; not to be asked for if these are all. */
  public String andOthers(BoundRollup bound) {
    return " and tenant <> all (" + list(bound) + ")";
  }

  /** More of a condition over source rows, or those of a change log: of these tenants. */
  public String andOfRow(BoundRollup bound) {
    return and(Sql.identifier(bound.rollup().source().tenant()), list(bound));
  }

  /** More of a condition over the quarantine: of these tenants. */
  public String andOfEntry(BoundRollup bound) {
    return and(
        "source_row->>" + Sql.literal(bound.rollup().source().tenant()), list(bound) + "::text[]");
  }

  private String list(BoundRollup bound) {
    return "array[" + literals + "]::" + bound.tenantType().sqlName() + "[]";
  }

  // Neither a tenant nor the list is NULL, so this can be negated.
  private String and(String tenant, String list) {
    return literals.isEmpty() ? "" : " and (" + tenant + ") = any (" + list + ")";
  }
}
