package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * Makes sure that the current role sees every stored row of a rollup. Its tables force row-level
 * security, so one whom their policy for refreshers does not name sees nothing, without an error: a
 * dump that was restored under other roles has lost the policy, or names somebody else in it.
 */
public final class RollupVisibility {
  private RollupVisibility() {}

  /**
   * Checks the current role.
   *
   * @throws TallyrollException if rows are hidden from it, with the command that mends it
   */
  public static void check(Connection connection, BoundRollup bound) throws SQLException {
    check(connection, bound, "");
  }

  /** The same for one who only reads, and may have a tenant's setting: it sees that tenant. */
  public static void checkReader(Connection connection, BoundRollup bound) throws SQLException {
    check(connection, bound, " and coalesce(current_setting('tallyroll.tenant', true), '') = ''");
  }

  private static void check(Connection connection, BoundRollup bound, String and)
      throws SQLException {
    Optional<String> hidden =
        Sql.first(
            connection,
            "select c.relname, current_user from pg_class c where c.oid in ("
                + bound.rollup().grains().keySet().stream()
                    .map(grain -> Sql.literal(bound.grainTable(grain)) + "::regclass")
                    .collect(Collectors.joining(", "))
                + ")"
                + and
                + " and row_security_active(c.oid) and not exists (select from pg_policy p where p.polrelid = c.oid"
                + " and p.polname = 'refresher' and exists (select from unnest(p.polroles) o"
                + " where o = 0 or pg_has_role(current_user, o, 'usage'))) order by 1",
            row ->
                "row-level security hides what is stored in tallyroll."
                    + row.getString(1)
                    + " from "
                    + row.getString(2));
    if (hidden.isPresent()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          hidden.get()
              + ", since its policy for refreshers is gone or does not name this role, as after a dump that was restored under other roles;"
              + " as the owner of the schema run {tallyroll} apply -f FILE, and for another role what {tallyroll} plan --grants prints");
    }
  }
}
