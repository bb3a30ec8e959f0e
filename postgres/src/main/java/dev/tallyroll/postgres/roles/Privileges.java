package dev.tallyroll.postgres.roles;

import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;

/** What the catalogs say of the privileges of roles. For one thread. */
final class Privileges {
  private final Connection connection;

  Privileges(Connection connection) {
    this.connection = connection;
  }

  boolean is(String sql, @Nullable Object... parameters) throws SQLException {
    return Sql.one(connection, "select " + sql, row -> row.getBoolean(1), parameters);
  }

  boolean exists(String role) throws SQLException {
    return is("exists (select from pg_roles where rolname = ?)", role);
  }

  /** The role, or everybody as long as there is none: so much it will have from the start. */
  String asIs(String role) throws SQLException {
    return exists(role) ? role : "public";
  }

  boolean mayOn(String kind, String role, Object object, String privilege) throws SQLException {
    return is("has_" + kind + "_privilege(?, ?::oid, ?)", asIs(role), object, privilege);
  }

  boolean isSuperuser(String role) throws SQLException {
    return is("exists (select from pg_roles where rolname = ? and rolsuper)", role);
  }

  /** Whether a role acts with all rights of another one. */
  boolean has(String role, String other) throws SQLException {
    return role.equals(other) || (exists(role) && is("pg_has_role(?, ?, 'usage')", role, other));
  }

  boolean mayCreateIn(String role, String schema) throws SQLException {
    return is("has_schema_privilege(?, ?, 'create')", asIs(role), schema);
  }

  boolean mayUse(String role, String schema) throws SQLException {
    return is("has_schema_privilege(?, ?, 'usage')", asIs(role), schema);
  }

  boolean hasByDefault(String role, String maker, String schema, String kind, String privilege)
      throws SQLException {
    return is(
        "exists (select from pg_default_acl d, aclexplode(d.defaclacl) a"
            + " where d.defaclrole = to_regrole(quote_ident(?)) and d.defaclnamespace = to_regnamespace(quote_ident(?))"
            + " and d.defaclobjtype::text = ? and a.privilege_type = ? and a.grantee = to_regrole(quote_ident(?)))",
        maker,
        schema,
        kind,
        privilege,
        role);
  }
}
