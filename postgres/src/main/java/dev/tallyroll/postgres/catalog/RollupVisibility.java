package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * Makes sure that stored rows of a rollup are seen. Its tables force row-level security, so one
 * whom none of their policies lets through sees nothing, without an error: a dump that was restored
 * under other roles has lost the policy for refreshers, or names somebody else in it.
 */
public final class RollupVisibility {
  private RollupVisibility() {}

  /**
   * Checks that the current role may read and write every row, and the installer, as whom the fresh
   * views read what is open.
   *
   * @throws TallyrollException if rows are hidden from one of them, with the command that mends it
   */
  public static void check(Connection connection, BoundRollup bound) throws SQLException {
    check(
        connection,
        bound,
        "r.rolname in (current_user, (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tallyroll'))",
        "p.polcmd = '*' and pg_get_expr(p.polqual, p.polrelid) = 'true'");
  }

  /**
   * Checks that something lets the current role, who only reads, through: the policy for
   * refreshers, one of the user's own, or the setting of a tenant.
   *
   * @throws TallyrollException if all rows are hidden from it, with the command that mends it
   */
  public static void checkReader(Connection connection, BoundRollup bound) throws SQLException {
    check(
        connection,
        bound,
        "r.rolname = current_user and coalesce(current_setting('tallyroll.tenant', true), '') = ''",
        "p.polcmd in ('r', '*') and p.polname <> 'tenant_reads'");
  }

  private static void check(Connection connection, BoundRollup bound, String who, String lets)
      throws SQLException {
    Optional<String> hidden =
        Sql.first(
            connection,
            "select c.relname, r.rolname from pg_class c, pg_roles r where c.oid in ("
                + bound.rollup().grains().keySet().stream()
                    .map(grain -> Sql.literal(bound.grainTable(grain)) + "::regclass")
                    .collect(Collectors.joining(", "))
                + ") and "
                + who
                + " and c.relrowsecurity and not (r.rolsuper or r.rolbypassrls"
                + " or not c.relforcerowsecurity and pg_has_role(r.oid, c.relowner, 'usage'))"
                + " and not exists (select from pg_policy p where p.polrelid = c.oid and p.polpermissive and "
                + lets
                + " and exists (select from unnest(p.polroles) o where o = 0 or pg_has_role(r.oid, o, 'usage')))"
                + " order by r.rolname <> current_user, c.relname",
            row ->
                "row-level security hides what is stored in tallyroll."
                    + row.getString(1)
                    + " from "
                    + row.getString(2));
    if (hidden.isPresent()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          hidden.get()
              + ", whom no policy of that table lets through, as after a dump that was restored under other roles;"
              + " run as the installer: {tallyroll} apply -f FILE; then, for another role, what {tallyroll} plan --grants -f FILE prints");
    }
  }
}
