package dev.tallyroll.postgres.roles;

/**
 * A statement that gives a role something that it needs.
 *
 * @param when when it can be run
 * @param by who may run it, for people
 * @param role the role that it is for
 * @param statement the SQL, without a semicolon
 * @param why what fails without it, in a few words
 */
public record Grant(When when, String by, String role, String statement, String why) {
  /** When a statement can be run. */
  public enum When {
    /** Before the first apply, in the order given; needed for it. */
    BEFORE_APPLY,
    /** Once apply has made the rollup's tables. */
    AFTER_APPLY
  }
}
