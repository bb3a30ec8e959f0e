package dev.tallyroll.postgres.roles;

import dev.tallyroll.model.definition.Changes;
import dev.tallyroll.model.definition.Source;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What the roles lack of a source: to capture it, to read all of it, to purge it. For one thread.
 */
final class SourceGrants {
  private final Connection connection;
  private final Roles roles;
  private final Privileges privileges;
  private final Grants missing;
  private final String installer;
  private final String refresher;

  SourceGrants(Connection connection, Roles roles, Grants missing) {
    this.connection = connection;
    this.roles = roles;
    this.privileges = new Privileges(connection);
    this.missing = missing;
    this.installer = Sql.identifier(roles.installer());
    this.refresher = Sql.identifier(roles.refresher());
  }

  /** What the roles need of a source. */
  void of(Source source, SourceTable table) throws SQLException {
    boolean isAppend = source.changes() == Changes.APPEND;
    boolean isPurged = source.keep() != null;
    List<SourceTable.Partition> partitions = table.partitions(connection);
    String owner =
        Sql.one(
            connection,
            "select pg_get_userbyid(relowner) from pg_class where oid = ?::oid",
            row -> row.getString(1),
            table.oid());
    String by = privileges.isSuperuser(owner) ? Grants.ADMINISTRATOR : owner;
    boolean installerOwns = privileges.has(roles.installer(), owner);
    if (isAppend && !installerOwns) {
      owner = own(table, partitions, owner);
      installerOwns = true;
    }
    boolean refresherOwns = privileges.has(roles.refresher(), owner);
    if (isPurged && table.isPartitioned() && !refresherOwns) {
      join(
          roles.refresher(),
          owner,
          "source.keep drops old partitions of "
              + table.label()
              + ", which only their owner may; it gives the refresher all that "
              + owner
              + " may: without it, refresh as the installer now and then, which purges too");
      refresherOwns = true;
    }
    schemaOf(table, installerOwns, refresherOwns, owner);
    if (!installerOwns) {
      capture(table, partitions, owner, by);
    }
    if (!refresherOwns && !roles.isOneForBoth()) {
      if (!privileges.mayOn("table", roles.refresher(), table.oid(), "select")) {
        missing.before(
            by,
            roles.refresher(),
            "grant select on " + table.sqlName() + " to " + refresher,
            "its rows are read to refresh, backfill, verify and repair");
      }
      if (isPurged
          && !(privileges.mayOn("table", roles.refresher(), table.oid(), "delete")
              && privileges.is(
                  "has_any_column_privilege(?, ?::oid, 'update')",
                  privileges.asIs(roles.refresher()),
                  table.oid()))) {
        missing.before(
            by,
            roles.refresher(),
            "grant delete, update ("
                + Sql.identifier(source.time())
                + ") on "
                + table.sqlName()
                + " to "
                + refresher,
            "source.keep deletes old rows, which are locked first (that asks for UPDATE of some column; none is updated)");
      }
    }
    rowSecurity(table, by, installerOwns, refresherOwns, isPurged);
  }

  /** A table that is made to be only appended to gets a column, which only an owner can add. */
  private String own(SourceTable table, List<SourceTable.Partition> partitions, String owner)
      throws SQLException {
    String schema = Sql.identifier(table.schema());
    String why =
        "changes: append adds a column, a check, an index and triggers to " + table.label();
    if (!privileges.mayCreateIn(roles.installer(), table.schema())
        && (privileges.isSuperuser(owner) || !privileges.mayCreateIn(owner, table.schema()))) {
      missing.before(
          Grants.ADMINISTRATOR,
          roles.installer(),
          "grant create on schema " + schema + " to " + installer,
          "changes: append makes an index in it");
    }
    if (!privileges.isSuperuser(owner)) {
      join(roles.installer(), owner, why + ", which only its owner may");
      return owner;
    }
    // Nobody is to become a superuser for it.
    String all = why + "; its owner is the superuser " + owner;
    missing.before(
        Grants.ADMINISTRATOR,
        roles.installer(),
        "alter table " + table.sqlName() + " owner to " + installer,
        all);
    for (SourceTable.Partition partition : partitions) {
      missing.before(
          Grants.ADMINISTRATOR,
          roles.installer(),
          "alter table " + partition.sqlName() + " owner to " + installer,
          all);
    }
    return roles.installer();
  }

  /** Makes a role a member of another one, which it cannot become. */
  private void join(String role, String owner, String why) throws SQLException {
    missing.before(
        Grants.ADMINISTRATOR,
        role,
        "grant "
            + Sql.identifier(owner)
            + " to "
            + Sql.identifier(role)
            + (privileges.is("current_setting('server_version_num')::integer >= 160000")
                ? " with inherit true, set false"
                : ""),
        why);
  }

  private void schemaOf(
      SourceTable table, boolean installerOwns, boolean refresherOwns, String owner)
      throws SQLException {
    String schemas =
        Sql.one(
            connection,
            "select pg_get_userbyid(nspowner) from pg_namespace where nspname = ?",
            row -> row.getString(1),
            table.schema());
    String by =
        privileges.isSuperuser(schemas) || schemas.equals("pg_database_owner")
            ? Grants.ADMINISTRATOR
            : schemas;
    for (String role : missing.writers()) {
      boolean owns = role.equals(roles.installer()) ? installerOwns : refresherOwns;
      boolean may =
          privileges.mayUse(role, table.schema())
              || (owns && privileges.mayUse(owner, table.schema()));
      if (!may) {
        missing.before(
            by,
            role,
            "grant usage on schema "
                + Sql.identifier(table.schema())
                + " to "
                + Sql.identifier(role),
            "the source lies in it");
      }
    }
  }

  /** What changes: any asks for of an installer who does not own the source. */
  private void capture(
      SourceTable table, List<SourceTable.Partition> partitions, String owner, String by)
      throws SQLException {
    List<String> lacked = new ArrayList<>();
    for (String privilege : List.of("select", "trigger")) {
      if (!privileges.mayOn("table", roles.installer(), table.oid(), privilege)) {
        lacked.add(privilege);
      }
    }
    if (!lacked.isEmpty()) {
      missing.before(
          by,
          roles.installer(),
          "grant " + String.join(", ", lacked) + " on " + table.sqlName() + " to " + installer,
          "the fresh views read it with the installer's rights; triggers capture its changes (TRIGGER lets its holder run code as whoever writes the table: trust the installer so far)");
    }
    List<String> lacking = new ArrayList<>();
    Set<String> schemas = new LinkedHashSet<>(List.of(table.schema()));
    for (SourceTable.Partition partition : partitions) {
      schemas.add(partition.schema());
      if (!privileges.mayOn("table", roles.installer(), partition.oid(), "trigger")) {
        lacking.add(partition.sqlName());
      }
    }
    if (!lacking.isEmpty()) {
      missing.before(
          by,
          roles.installer(),
          "grant trigger on " + String.join(", ", lacking) + " to " + installer,
          "triggers are not inherited: each partition needs its own");
    }
    if (table.isPartitioned()) {
      for (String schema : schemas) {
        if (!privileges.hasByDefault(roles.installer(), owner, schema, "r", "TRIGGER")) {
          missing.before(
              by,
              roles.installer(),
              "alter default privileges for role "
                  + Sql.identifier(owner)
                  + " in schema "
                  + Sql.identifier(schema)
                  + " grant trigger on tables to "
                  + installer,
              "partitions that are made later get their triggers in the next refresh; name the role that makes them, if it is not "
                  + owner);
        }
      }
    }
    if (!privileges.mayOn("table", roles.installer(), table.oid(), "delete")) {
      missing.before(
          by,
          roles.installer(),
          "grant delete on " + table.sqlName() + " to " + installer,
          "only for forget, which erases a tenant's rows from the source too");
    }
  }

  private void rowSecurity(
      SourceTable table, String by, boolean installerOwns, boolean refresherOwns, boolean isPurged)
      throws SQLException {
    record Flags(boolean isOn, boolean isForced) {}
    Flags flags =
        Sql.one(
            connection,
            "select relrowsecurity, relforcerowsecurity from pg_class where oid = ?::oid",
            row -> new Flags(row.getBoolean(1), row.getBoolean(2)),
            table.oid());
    if (!flags.isOn()) {
      return;
    }
    List<String> bound = new ArrayList<>();
    for (String role : missing.writers()) {
      boolean owns = role.equals(roles.installer()) ? installerOwns : refresherOwns;
      if ((owns && !flags.isForced())
          || privileges.is(
              "exists (select from pg_roles where rolname = ? and (rolsuper or rolbypassrls))",
              role)) {
        continue;
      }
      if (isRestricted(table, role)) {
        missing.before(
            Grants.ADMINISTRATOR,
            role,
            "alter role " + Sql.identifier(role) + " bypassrls",
            "a restrictive policy of " + table.label() + " hides rows, and no other policy helps");
      } else {
        bound.add(role);
      }
    }
    String every = "row-level security of " + table.label() + ": ";
    policy(
        table,
        by,
        "tallyroll_reads",
        "select",
        bound,
        every + "who does not see every row is refused");
    policy(
        table,
        by,
        "tallyroll_deletes",
        "delete",
        bound.stream().filter(role -> role.equals(roles.installer()) || isPurged).toList(),
        every + "forget" + (isPurged ? " and source.keep delete" : " deletes"));
    policy(
        table,
        by,
        "tallyroll_locks",
        "update",
        bound.stream()
            .filter(role -> role.equals(roles.refresher()) && isPurged && !table.isPartitioned())
            .toList(),
        every + "source.keep locks the rows that it deletes");
  }

  private boolean isRestricted(SourceTable table, String role) throws SQLException {
    return privileges.exists(role)
        ? SourceVisibility.of(connection, table, role).isRestricted()
        : privileges.is(
            "exists (select from pg_policy where polrelid = ?::oid and not polpermissive and polcmd in ('r', '*') and 0 = any (polroles))",
            table.oid());
  }

  /** A policy that lets every row through, for those who have none yet. */
  private void policy(
      SourceTable table, String by, String name, String command, List<String> asked, String why)
      throws SQLException {
    List<String> lacking = new ArrayList<>();
    for (String role : asked) {
      if (!privileges.is(
          "exists (select from pg_policy p where p.polrelid = ?::oid and p.polpermissive and p.polcmd::text in (?, '*')"
              + " and pg_get_expr(p.polqual, p.polrelid) = 'true' and exists (select from unnest(p.polroles) o"
              + " where o = 0 or (to_regrole(quote_ident(?)) is not null and pg_has_role(to_regrole(quote_ident(?)), o, 'usage'))))",
          table.oid(),
          command.equals("update") ? "w" : command.substring(0, 1).replace('s', 'r'),
          role,
          role)) {
        lacking.add(role);
      }
    }
    if (lacking.isEmpty()) {
      return;
    }
    Optional<String> others =
        Sql.first(
            connection,
            "select (select string_agg(quote_ident(pg_get_userbyid(o)), ', ') from unnest(polroles) o) from pg_policy where polrelid = ?::oid and polname = ?",
            row -> row.getString(1),
            table.oid(),
            name);
    String to = lacking.stream().map(Sql::identifier).collect(Collectors.joining(", "));
    missing.before(
        by,
        lacking.getLast(),
        others.isPresent()
            ? "alter policy " + name + " on " + table.sqlName() + " to " + others.get() + ", " + to
            : "create policy "
                + name
                + " on "
                + table.sqlName()
                + " for "
                + command
                + " to "
                + to
                + " using (true)",
        why);
  }
}
