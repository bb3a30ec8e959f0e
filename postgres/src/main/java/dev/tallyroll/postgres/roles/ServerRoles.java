package dev.tallyroll.postgres.roles;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

/**
 * The two roles of servers. The application role is the one that a server logs in as: it sees the
 * one tenant that is set in its transaction, and may write nothing. {@value #INGEST} is the one
 * that it becomes to append: it may do nothing else, for the tenants of a list alone.
 *
 * <p>That the application role does not inherit what the other may do is what keeps the two apart:
 * a policy for a role holds for all that inherit it.
 */
public final class ServerRoles {
  /** The role that appends to the event log. */
  public static final String INGEST = "tallyroll_ingest";

  private static final String OF_GROUP =
      "tenant = any ((select string_to_array(current_setting('tallyroll.tenants', true), ','))::text[])";

  private ServerRoles() {}

  /**
   * Checks that PostgreSQL itself keeps tenants apart for an application role.
   *
   * @param application connections as that role
   * @throws TallyrollException if it stands above row-level security, with the statements that mend
   *     it
   */
  public static void check(Database application) {
    application.with("serve", ServerRoles::check);
  }

  private static boolean check(Connection connection) throws SQLException {
    record Found(String role, boolean isSuper, boolean bypasses, boolean owns, boolean inherits) {}
    Found found =
        Sql.one(
            connection,
            """
            select r.rolname, r.rolsuper, r.rolbypassrls,
                   exists (select from pg_namespace n where n.nspname = 'tallyroll' and pg_has_role(r.oid, n.nspowner, 'member')),
                   exists (select from pg_roles i where i.rolname = ? and pg_has_role(r.oid, i.oid, 'usage'))
            from pg_roles r where r.rolname = current_user
            """,
            row ->
                new Found(
                    row.getString(1),
                    row.getBoolean(2),
                    row.getBoolean(3),
                    row.getBoolean(4),
                    row.getBoolean(5)),
            INGEST);
    String role = Sql.identifier(found.role());
    List<String> faults = new ArrayList<>();
    List<String> mends = new ArrayList<>();
    if (found.isSuper()) {
      faults.add("is a superuser");
    } else if (found.owns()) {
      faults.add("owns the schema tallyroll, or may become its owner");
    }
    if (found.isSuper() || found.owns()) {
      mends.add("CREATE ROLE tallyroll_app LOGIN NOINHERIT PASSWORD '...';");
      mends.add("GRANT " + INGEST + " TO tallyroll_app;");
      mends.add("and name that role in --database-url, this one in --owner-url");
    } else {
      if (found.bypasses()) {
        faults.add("has BYPASSRLS");
        mends.add("ALTER ROLE " + role + " NOBYPASSRLS;");
      }
      if (found.inherits()) {
        faults.add("inherits the rights of " + INGEST);
        mends.add(
            connection.getMetaData().getDatabaseMajorVersion() >= 16
                ? "GRANT " + INGEST + " TO " + role + " WITH INHERIT FALSE;"
                : "ALTER ROLE " + role + " NOINHERIT;");
      }
    }
    if (!faults.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "the role "
              + found.role()
              + " "
              + String.join(" and ", faults)
              + ", so that PostgreSQL would not keep tenants apart; run: "
              + String.join(" ", mends));
    }
    return true;
  }

  /**
   * Gives the roles of a server what they need, and remembers the application role, so that what
   * {@code apply} makes later is granted to it too. Again changes nothing.
   *
   * @param owner connections as the installer
   * @param application the role that servers log in as
   * @throws TallyrollException if the installer may not do something, with the statements for an
   *     administrator
   */
  public static void setUp(Database owner, String application) {
    owner.transact(
        "serve",
        connection -> {
          Sql.run(connection, "lock table tallyroll.server_role in share row exclusive mode");
          makeRole(connection, application);
          for (String statement : statements(connection, application)) {
            Sql.run(connection, statement);
          }
          Sql.update(
              connection,
              "insert into tallyroll.server_role (role) values (?) on conflict do nothing",
              application);
          grantRollups(connection);
          return true;
        });
  }

  private static void makeRole(Connection connection, String application) throws SQLException {
    Privileges privileges = new Privileges(connection);
    boolean isThere = privileges.exists(INGEST);
    boolean mayMake =
        privileges.is(
            "exists (select from pg_roles where rolname = current_user and (rolsuper or rolcreaterole))");
    List<String> missing = new ArrayList<>();
    if (!isThere) {
      missing.add("create role " + INGEST + " nologin");
    }
    if (!isThere || !privileges.is("pg_has_role(?, ?, 'member')", application, INGEST)) {
      missing.add(
          "grant "
              + INGEST
              + " to "
              + Sql.identifier(application)
              + (connection.getMetaData().getDatabaseMajorVersion() >= 16
                  ? " with inherit false"
                  : ""));
    }
    if (missing.isEmpty()) {
      return;
    }
    if (!mayMake) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "servers append as the role "
              + INGEST
              + "; an administrator has to run: "
              + String.join("; ", missing)
              + ";");
    }
    for (String statement : missing) {
      Sql.run(connection, statement);
    }
  }

  private static List<String> statements(Connection connection, String application)
      throws SQLException {
    String app = Sql.identifier(application);
    Privileges privileges = new Privileges(connection);
    List<String> statements = new ArrayList<>();
    statements.add("grant usage on schema tallyroll to " + app + ", " + INGEST);
    // What is stored of rollups, without what may name a tenant.
    statements.add(
        "grant select on tallyroll.schema_version, tallyroll.source, tallyroll.rollup, tallyroll.grain, tallyroll.slice,"
            + " tallyroll.seal, tallyroll.leaf, tallyroll.start, tallyroll.event_key_purge to "
            + app);
    statements.add(
        "grant select (rollup, finished_at, keep_time, held_at) on tallyroll.refresh to " + app);
    statements.add(
        "grant select on tallyroll.event, tallyroll.tenant, tallyroll.event_quarantine to " + app);
    statements.add(
        "grant execute on function tallyroll.make_event_day(date), tallyroll.find_api_key(text), tallyroll.use_api_keys(text[]) to "
            + app);
    statements.add("grant insert on tallyroll.event, tallyroll.event_quarantine to " + INGEST);
    statements.add("grant select (tenant, key), insert on tallyroll.event_key to " + INGEST);
    if (!privileges.is("has_database_privilege(?, current_database(), 'temporary')", INGEST)) {
      statements.add(
          Sql.one(
              connection,
              "select format('grant temporary on database %I to %I', current_database(), ?::text)",
              row -> row.getString(1),
              INGEST));
    }
    record Policy(String table, String name, String of) {}
    for (Policy policy :
        List.of(
            new Policy(
                "event",
                "ingest_appends",
                "for insert to " + INGEST + " with check (" + OF_GROUP + ")"),
            new Policy(
                "event_key",
                "ingest_appends",
                "for insert to " + INGEST + " with check (" + OF_GROUP + ")"),
            new Policy(
                "event_key",
                "ingest_looks",
                "for select to " + INGEST + " using (" + OF_GROUP + ")"),
            new Policy(
                "event_quarantine",
                "ingest_appends",
                "for insert to " + INGEST + " with check (" + OF_GROUP + ")"))) {
      if (!privileges.is(
          "exists (select from pg_policy where polrelid = 'tallyroll."
              + policy.table()
              + "'::regclass and polname = ?)",
          policy.name())) {
        statements.add(
            "create policy "
                + policy.name()
                + " on tallyroll."
                + policy.table()
                + " "
                + policy.of());
      }
    }
    // After a dump that was restored under other roles the owner's policy names nobody, or another.
    statements.addAll(
        Sql.list(
            connection,
            """
            select format('alter policy owner on tallyroll.%I to %I', c.relname, pg_get_userbyid(c.relowner))
            from pg_policy p join pg_class c on c.oid = p.polrelid
            where c.relnamespace = 'tallyroll'::regnamespace and p.polname = 'owner' and p.polroles <> array[c.relowner]
            """,
            row -> row.getString(1)));
    return statements;
  }

  /**
   * Grants the tables of all rollups to the application roles that are known: each sees of them the
   * tenant that it sets. Does nothing where no server was ever set up.
   *
   * @param connection the installer's
   */
  public static void grantRollups(Connection connection) throws SQLException {
    for (String statement :
        Sql.list(
            connection,
            """
            with application as (
              select s.role from tallyroll.server_role s join pg_roles r on r.rolname = s.role
            ), of_rollup as (
              select c.oid, c.relname from pg_class c join pg_policy p on p.polrelid = c.oid and p.polname = 'refresher'
              where c.relnamespace = 'tallyroll'::regnamespace and c.relkind = 'p' and not c.relispartition and c.relname !~ '~'
            )
            select format('grant select on tallyroll.%I to %I', c.relname, a.role)
            from application a, of_rollup t join pg_class c on c.relnamespace = 'tallyroll'::regnamespace
              and (c.oid = t.oid or c.relkind = 'v' and c.relname = t.relname || '_fresh')
            where not has_table_privilege(a.role, c.oid, 'select')
            union all
            select format('grant execute on function tallyroll.%I() to %I', f.proname, a.role)
            from application a, of_rollup t join pg_proc f on f.pronamespace = 'tallyroll'::regnamespace and f.proname = t.relname || '_tail'
            where not has_function_privilege(a.role, f.oid, 'execute')
            """,
            row -> row.getString(1))) {
      Sql.run(connection, statement);
    }
  }
}
