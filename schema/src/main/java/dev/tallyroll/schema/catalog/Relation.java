package dev.tallyroll.schema.catalog;

import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A table, view or sequence.
 *
 * @param oid its number
 * @param owner the name of the role that owns it
 * @param rowSecurity whether row-level security is enabled
 * @param isForced whether it binds the owner too
 * @param parent the table of which it is a partition; null if it is none
 * @param options its storage options, as {@code security_invoker=true}
 * @param ownedBy of a sequence the table whose column owns it; null if none does
 * @param columns in their order; none of a sequence
 * @param grants what others than the owner may do
 */
public record Relation(
    long oid,
    String schema,
    String name,
    Kind kind,
    String owner,
    boolean rowSecurity,
    boolean isForced,
    @Nullable Long parent,
    List<String> options,
    @Nullable Long ownedBy,
    List<Column> columns,
    List<Grant> grants) {
  /** What it is. */
  public enum Kind {
    /** A plain table, or a partition that has none of its own. */
    TABLE,
    /** A table that is cut into partitions. */
    PARTITIONED,
    /** A view. */
    VIEW,
    /** A materialized view. */
    MATERIALIZED_VIEW,
    /** A table of another server. */
    FOREIGN_TABLE,
    /** A sequence. */
    SEQUENCE
  }

  /**
   * What a role may do.
   *
   * @param grantee the role's name, {@code public} for everybody
   * @param privilege as {@code SELECT}
   */
  public record Grant(String grantee, String privilege) {}

  /** Copies. */
  public Relation {
    options = List.copyOf(options);
    columns = List.copyOf(columns);
    grants = List.copyOf(grants);
  }

  /** Whether it holds rows of its own or in partitions. */
  public boolean isTable() {
    return kind == Kind.TABLE || kind == Kind.PARTITIONED;
  }

  /** Whether it is a partition of another table. */
  public boolean isPartition() {
    return parent != null;
  }

  /** The name with its schema, for people and as the object of a finding. */
  public String qualified() {
    return schema + "." + name;
  }

  /** The name with its schema, for SQL. */
  public String sql() {
    return Sql.identifier(schema) + "." + Sql.identifier(name);
  }

  /** The column of this name. */
  public Optional<Column> column(String wanted) {
    return columns.stream().filter(column -> column.name().equals(wanted)).findFirst();
  }

  /** The column of this number. */
  public Optional<Column> column(int wanted) {
    return columns.stream().filter(column -> column.number() == wanted).findFirst();
  }

  /** Others than the owner who have a privilege, without doubles, in order. */
  public List<String> granted(String privilege) {
    return grants.stream()
        .filter(grant -> grant.privilege().equals(privilege) && !grant.grantee().equals(owner))
        .map(Grant::grantee)
        .distinct()
        .sorted()
        .toList();
  }

  /** Whether a boolean storage option is on. */
  public boolean has(String option) {
    return options.stream()
        .anyMatch(given ->
            given.equals(option + "=true")
                || given.equals(option + "=on")
                || given.equals(option + "=yes")
                || given.equals(option + "=1"));
  }
}
