package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;

/**
 * Makes sure that a role sees every row of a source: a job that sees fewer must not call that
 * success.
 *
 * @param sees whether row-level security is off or the role is exempt from it, or a permissive
 *     policy for it lets every row through and no restrictive one takes rows away
 * @param isRestricted whether a restrictive policy holds for it, so that no other policy helps
 */
public record SourceVisibility(boolean sees, boolean isRestricted) {
  /** What the catalogs say of a role that exists. */
  public static SourceVisibility of(Connection connection, SourceTable table, String role)
      throws SQLException {
    return Sql.one(
        connection,
        """
        with of_role as (
          select p.polpermissive, p.polcmd, pg_get_expr(p.polqual, p.polrelid) as qual
          from pg_policy p, pg_roles r
          where p.polrelid = ?::oid and r.rolname = ? and p.polcmd in ('r', '*')
            and exists (select from unnest(p.polroles) o where o = 0 or pg_has_role(r.oid, o, 'usage')))
        select not c.relrowsecurity or r.rolsuper or r.rolbypassrls
                 or (not c.relforcerowsecurity and pg_has_role(r.oid, c.relowner, 'usage')),
               exists (select from of_role where polpermissive and qual = 'true'),
               exists (select from of_role where not polpermissive)
        from pg_class c, pg_roles r where c.oid = ?::oid and r.rolname = ?
        """,
        row -> {
          boolean isRestricted = row.getBoolean(3) && !row.getBoolean(1);
          return new SourceVisibility(
              row.getBoolean(1) || (row.getBoolean(2) && !isRestricted), isRestricted);
        },
        table.oid(),
        role,
        table.oid(),
        role);
  }

  /**
   * Whether the current role may read a table, and all of it, under its own name: of a partition
   * other rights and policies may hold than of the table above.
   *
   * @param table its name, quoted, as the search path finds it
   */
  public static boolean ofNamed(Connection connection, String table) throws SQLException {
    return Sql.one(
        connection,
        "select has_table_privilege(c.oid, 'select') and not row_security_active(c.oid) from pg_class c where c.oid = ?::regclass",
        row -> row.getBoolean(1),
        table);
  }

  /** Whether the current role sees every row. */
  public static boolean ofCurrent(Connection connection, SourceTable table) throws SQLException {
    return !Sql.one(
            connection, "select row_security_active(?::oid)", row -> row.getBoolean(1), table.oid())
        || of(
                connection,
                table,
                Sql.one(connection, "select current_user", row -> row.getString(1)))
            .sees();
  }

  /**
   * Checks the current role, and the installer, as which fresh views read the source.
   *
   * @throws TallyrollException if rows may be hidden, with the statement that mends it
   */
  public static void check(Connection connection, SourceTable table) throws SQLException {
    for (String role :
        Sql.list(
            connection,
            "select role from (select current_user as role union select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tallyroll') roles order by role <> current_user",
            row -> row.getString(1))) {
      check(connection, table, role);
    }
  }

  private static void check(Connection connection, SourceTable table, String role)
      throws SQLException {
    SourceVisibility visibility = of(connection, table, role);
    if (visibility.sees()) {
      return;
    }
    throw new TallyrollException(
        ErrorCode.REFUSED,
        "row-level security may hide rows of "
            + table.label()
            + " from "
            + role
            + (visibility.isRestricted()
                ? "; a restrictive policy holds for it, so an administrator has to run: ALTER ROLE "
                    + Sql.identifier(role)
                    + " BYPASSRLS;"
                : "; run: CREATE POLICY tallyroll_reads ON "
                    + table.sqlName()
                    + " FOR SELECT TO "
                    + Sql.identifier(role)
                    + " USING (true);"));
  }
}
