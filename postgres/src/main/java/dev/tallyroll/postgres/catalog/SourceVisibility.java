package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;

/**
 * Makes sure that the current role sees every row of a source: a job that sees fewer must not call
 * that success.
 */
public final class SourceVisibility {
  private SourceVisibility() {}

  /**
   * Checks the catalogs: row-level security is off or the role is exempt from it, or a permissive
   * policy for it lets every row through and no restrictive one takes rows away.
   *
   * @throws TallyrollException if rows may be hidden, with the statement that mends it
   */
  public static void check(Connection connection, SourceTable table) throws SQLException {
    boolean sees =
        Sql.one(
            connection,
            """
            select not row_security_active(c.oid)
              or (exists (
                    select from pg_policy p
                    where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('r', '*')
                      and pg_get_expr(p.polqual, p.polrelid) = 'true'
                      and (0 = any (p.polroles) or exists (
                        select from unnest(p.polroles) r where pg_has_role(current_user, r, 'usage'))))
                  and not exists (
                    select from pg_policy p
                    where p.polrelid = c.oid and not p.polpermissive and p.polcmd in ('r', '*')
                      and (0 = any (p.polroles) or exists (
                        select from unnest(p.polroles) r where pg_has_role(current_user, r, 'usage')))))
            from pg_class c where c.oid = ?::oid
            """,
            row -> row.getBoolean(1),
            table.oid());
    if (!sees) {
      String role = Sql.one(connection, "select current_user", row -> row.getString(1));
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "row-level security may hide rows of "
              + table.label()
              + " from "
              + role
              + "; run: CREATE POLICY tallyroll_reads ON "
              + table.sqlName()
              + " FOR SELECT TO "
              + Sql.identifier(role)
              + " USING (true);");
    }
  }
}
