package dev.tallyroll.schema.settings;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a team says of its schema. Everything may be left out.
 *
 * @param tenantColumns names of the columns that say whose a row is; empty to infer them
 * @param tenantsTable the table that lists the tenants, as {@code public.tenants}; null to infer it
 * @param shared tables that hold nothing of a tenant's though they have such a column, as {@code
 *     public.plans}
 * @param schemas where objects belong: anything elsewhere is a finding; empty if they may lie
 *     anywhere
 * @param excluded schemas to leave out
 * @param application roles as which the application logs in; empty to infer them
 * @param trusted roles that are meant to see the rows of all tenants
 * @param suppressions findings to live with
 */
public record Settings(
    List<String> tenantColumns,
    @Nullable String tenantsTable,
    List<String> shared,
    List<String> schemas,
    List<String> excluded,
    List<String> application,
    List<String> trusted,
    List<Suppression> suppressions) {
  /** Nothing said. */
  public static final Settings NONE =
      new Settings(
          List.of(), null, List.of(), List.of(), List.of(), List.of(), List.of(), List.of());

  /**
   * A finding to live with.
   *
   * @param rule the id of its rule
   * @param object its object, as the finding names it
   * @param reason why it is right as it is
   * @param where the line of the file, for messages
   */
  public record Suppression(String rule, String object, String reason, String where) {}

  /** Copies. */
  public Settings {
    tenantColumns = List.copyOf(tenantColumns);
    shared = List.copyOf(shared);
    schemas = List.copyOf(schemas);
    excluded = List.copyOf(excluded);
    application = List.copyOf(application);
    trusted = List.copyOf(trusted);
    suppressions = List.copyOf(suppressions);
  }

  /** The same with what was said on the command line instead of what is not empty there. */
  public Settings with(List<String> columns, @Nullable String table) {
    return new Settings(
        columns.isEmpty() ? tenantColumns : columns,
        table == null ? tenantsTable : table,
        shared,
        schemas,
        excluded,
        application,
        trusted,
        suppressions);
  }
}
