package dev.tallyroll.schema.catalog;

import java.util.List;
import java.util.Locale;

/**
 * A policy of row-level security.
 *
 * @param table the number of its table
 * @param isPermissive whether it lets in rows; a restrictive one keeps some out
 * @param command for which commands it is
 * @param roles whom it is for; {@code public} is everybody
 * @param clauses USING, or WITH CHECK, or both
 */
public record Policy(
    String name,
    long table,
    boolean isPermissive,
    Command command,
    List<String> roles,
    List<Clause> clauses) {
  /** For which commands a policy is. */
  public enum Command {
    /** For each of them. */
    ALL,
    /** For reading. */
    SELECT,
    /** For inserting. */
    INSERT,
    /** For updating. */
    UPDATE,
    /** For deleting. */
    DELETE;

    static Command of(String letter) {
      return switch (letter) {
        case "r" -> SELECT;
        case "a" -> INSERT;
        case "w" -> UPDATE;
        case "d" -> DELETE;
        default -> ALL;
      };
    }

    /** As in SQL. */
    public String sql() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /**
   * What a policy says.
   *
   * @param isCheck whether it is WITH CHECK, about rows to be written, and not USING
   * @param sql the expression as PostgreSQL prints it
   * @param tree the expression as PostgreSQL has understood it
   */
  public record Clause(boolean isCheck, String sql, NodeTree tree) {
    /** As in SQL. */
    public String name() {
      return isCheck ? "WITH CHECK" : "USING";
    }
  }

  /** Copies. */
  public Policy {
    roles = List.copyOf(roles);
    clauses = List.copyOf(clauses);
  }
}
