package dev.tallyroll.schema.catalog;

import java.util.Set;

/**
 * A role of the server, without the predefined ones.
 *
 * @param oid its number; 10 is the superuser that {@code initdb} made
 * @param isSuperuser whether it may do all
 * @param bypassesRls whether it has BYPASSRLS
 * @param canLogin whether sessions can begin as it
 * @param memberOf the roles that it can become, through others too, without itself
 */
public record Role(
    long oid,
    String name,
    boolean isSuperuser,
    boolean bypassesRls,
    boolean canLogin,
    Set<String> memberOf) {
  /** Copies. */
  public Role {
    memberOf = Set.copyOf(memberOf);
  }

  /** Whether no policy binds it. */
  public boolean isExempt() {
    return isSuperuser || bypassesRls;
  }
}
