package dev.tallyroll.postgres.roles;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Changes;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.model.definition.Source;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The statements that give three roles what they need for some definitions, and no more. Looks only
 * into the catalogs, so that anybody who may connect can ask. What a role has already, or everybody
 * has, is left out: once all have been run, nothing is printed any more.
 *
 * <p>For one thread; made for one question.
 */
public final class Grants {
  private static final String ADMINISTRATOR = "an administrator";

  /** Tallyroll's own tables that only the installer writes: what its functions execute, audits. */
  private static final Set<String> INSTALLERS_OWN =
      Set.of("schema_version", "source", "start", "purger", "erasure");

  private final Connection connection;
  private final Roles roles;
  private final String installer;
  private final String refresher;
  private final String reader;
  private final Map<String, Grant> before = new LinkedHashMap<>();
  private final Map<String, Grant> after = new LinkedHashMap<>();

  private Grants(Connection connection, Roles roles) {
    this.connection = connection;
    this.roles = roles;
    this.installer = Sql.identifier(roles.installer());
    this.refresher = Sql.identifier(roles.refresher());
    this.reader = Sql.identifier(roles.reader());
  }

  /**
   * What is missing for some definitions, in the order in which it can be run.
   *
   * @param installer the role; null for the owner of the schema tallyroll, or {@code
   *     tallyroll_installer} where there is none
   * @throws DefinitionException if a source is not there
   * @throws TallyrollException if the schema tallyroll belongs to another role
   */
  public static List<Grant> missing(
      Database database,
      List<Definition> definitions,
      @Nullable String installer,
      String refresher,
      String reader) {
    return database.with(
        "plan",
        connection -> {
          Optional<String> owner =
              Sql.first(
                  connection,
                  "select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tallyroll'",
                  row -> row.getString(1));
          if (owner.isPresent() && installer != null && !installer.equals(owner.get())) {
            throw new TallyrollException(
                ErrorCode.USAGE,
                "the schema tallyroll belongs to the role "
                    + owner.get()
                    + ", which is the installer therefore; leave --installer "
                    + installer
                    + " out");
          }
          String installs = installer != null ? installer : owner.orElse("tallyroll_installer");
          return new Grants(connection, new Roles(installs, refresher, reader))
              .of(definitions, owner.isPresent());
        });
  }

  private List<Grant> of(List<Definition> definitions, boolean isThere) throws SQLException {
    List<SourceTable> sources = new ArrayList<>();
    for (Definition definition : definitions) {
      sources.add(source(definition));
    }
    cluster();
    if (!isThere) {
      before(
          ADMINISTRATOR,
          roles.installer(),
          "create schema tallyroll authorization " + installer,
          "all of Tallyroll lives in this schema; the installer may create no other");
    }
    for (int i = 0; i < sources.size(); i++) {
      source(definitions.get(i).rollup().source(), sources.get(i));
    }
    schema(isThere);
    if (isThere && !roles.isOneForBoth()) {
      whatIsThere();
    }
    for (Definition definition : definitions) {
      reader(definition.rollup().name(), definition.rollup().grains().keySet());
    }
    return Stream.concat(before.values().stream(), after.values().stream()).toList();
  }

  private void before(String by, String role, String statement, String why) {
    before.putIfAbsent(statement, new Grant(Grant.When.BEFORE_APPLY, by, role, statement, why));
  }

  private void after(String role, String statement, String why) {
    after.putIfAbsent(
        statement, new Grant(Grant.When.AFTER_APPLY, roles.installer(), role, statement, why));
  }

  /** By its names alone: who asks need not be allowed to look into its schema. */
  private SourceTable source(Definition definition) throws SQLException {
    Source source = definition.rollup().source();
    Optional<Long> oid =
        Sql.first(
            connection,
            "select c.oid::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                + " where n.nspname = ? and c.relname = ? and c.relkind in ('r', 'p')",
            row -> row.getLong(1),
            source.schema() == null ? "public" : source.schema(),
            source.table());
    Optional<SourceTable> table =
        oid.isEmpty() ? Optional.empty() : SourceTable.find(connection, oid.get());
    return table.orElseThrow(() ->
        new DefinitionException(
            List.of(definition.fault("source.table", "there is no table " + source.label()))));
  }

  // What is asked of the catalogs.

  private boolean is(String sql, @Nullable Object... parameters) throws SQLException {
    return Sql.one(connection, "select " + sql, row -> row.getBoolean(1), parameters);
  }

  private boolean exists(String role) throws SQLException {
    return is("exists (select from pg_roles where rolname = ?)", role);
  }

  /** The role, or everybody as long as there is none: so much it will have from the start. */
  private String asIs(String role) throws SQLException {
    return exists(role) ? role : "public";
  }

  private boolean mayOn(String kind, String role, Object object, String privilege)
      throws SQLException {
    return is("has_" + kind + "_privilege(?, ?::oid, ?)", asIs(role), object, privilege);
  }

  private boolean isSuperuser(String role) throws SQLException {
    return is("exists (select from pg_roles where rolname = ? and rolsuper)", role);
  }

  /** Whether a role acts with all rights of another one. */
  private boolean has(String role, String other) throws SQLException {
    return role.equals(other) || (exists(role) && is("pg_has_role(?, ?, 'usage')", role, other));
  }

  private List<String> writers() {
    return roles.isOneForBoth()
        ? List.of(roles.installer())
        : List.of(roles.installer(), roles.refresher());
  }

  private void cluster() throws SQLException {
    record Who(String role, String does) {}
    for (Who who :
        List.of(
            new Who(
                roles.installer(),
                "plan, apply, drop, seal, forget, reanchor; give it a password, or another way to log in"),
            new Who(
                roles.refresher(), "refresh, backfill, verify, repair, query, status, quarantine"),
            new Who(
                roles.reader(),
                "reads rollups; make one for each tenant and: ALTER ROLE ... SET tallyroll.tenant = '...'"))) {
      if (!exists(who.role())) {
        before(
            ADMINISTRATOR,
            who.role(),
            "create role " + Sql.identifier(who.role()) + " login",
            who.does());
      }
    }
    String database =
        Sql.one(connection, "select quote_ident(current_database())", row -> row.getString(1));
    for (String role : Stream.concat(writers().stream(), Stream.of(roles.reader())).toList()) {
      if (!is("has_database_privilege(?, current_database(), 'connect')", asIs(role))) {
        before(
            ADMINISTRATOR,
            role,
            "grant connect on database " + database + " to " + Sql.identifier(role),
            "nobody else may connect here but those who are named");
      }
    }
    for (String role : writers()) {
      if (!is("has_database_privilege(?, current_database(), 'temporary')", asIs(role))) {
        before(
            ADMINISTRATOR,
            role,
            "grant temporary on database " + database + " to " + Sql.identifier(role),
            "definitions are checked, and partials staged, in temporary tables");
      }
    }
    if (!is(
        "has_function_privilege(?, 'pg_catalog.pg_control_system()', 'execute')",
        asIs(roles.installer()))) {
      before(
          ADMINISTRATOR,
          roles.installer(),
          "grant execute on function pg_catalog.pg_control_system() to " + installer,
          "transaction ids mean nothing in another cluster, so each rollup remembers the identifier of its own");
    }
  }

  /** What the roles need of a source. */
  private void source(Source source, SourceTable table) throws SQLException {
    boolean isAppend = source.changes() == Changes.APPEND;
    boolean isPurged = source.keep() != null;
    List<SourceTable.Partition> partitions = table.partitions(connection);
    String owner =
        Sql.one(
            connection,
            "select pg_get_userbyid(relowner) from pg_class where oid = ?::oid",
            row -> row.getString(1),
            table.oid());
    String by = isSuperuser(owner) ? ADMINISTRATOR : owner;
    boolean installerOwns = has(roles.installer(), owner);
    if (isAppend && !installerOwns) {
      owner = own(table, partitions, owner);
      installerOwns = true;
    }
    boolean refresherOwns = has(roles.refresher(), owner);
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
      if (!mayOn("table", roles.refresher(), table.oid(), "select")) {
        before(
            by,
            roles.refresher(),
            "grant select on " + table.sqlName() + " to " + refresher,
            "its rows are read to refresh, backfill, verify and repair");
      }
      if (isPurged
          && !(mayOn("table", roles.refresher(), table.oid(), "delete")
              && is(
                  "has_any_column_privilege(?, ?::oid, 'update')",
                  asIs(roles.refresher()),
                  table.oid()))) {
        before(
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
    if (!mayCreateIn(roles.installer(), table.schema())
        && (isSuperuser(owner) || !mayCreateIn(owner, table.schema()))) {
      before(
          ADMINISTRATOR,
          roles.installer(),
          "grant create on schema " + schema + " to " + installer,
          "changes: append makes an index in it");
    }
    if (!isSuperuser(owner)) {
      join(roles.installer(), owner, why + ", which only its owner may");
      return owner;
    }
    // Nobody is to become a superuser for it.
    String all = why + "; its owner is the superuser " + owner;
    before(
        ADMINISTRATOR,
        roles.installer(),
        "alter table " + table.sqlName() + " owner to " + installer,
        all);
    for (SourceTable.Partition partition : partitions) {
      before(
          ADMINISTRATOR,
          roles.installer(),
          "alter table " + partition.sqlName() + " owner to " + installer,
          all);
    }
    return roles.installer();
  }

  private boolean mayCreateIn(String role, String schema) throws SQLException {
    return is("has_schema_privilege(?, ?, 'create')", asIs(role), schema);
  }

  /** Makes a role a member of another one, which it cannot become. */
  private void join(String role, String owner, String why) throws SQLException {
    before(
        ADMINISTRATOR,
        role,
        "grant "
            + Sql.identifier(owner)
            + " to "
            + Sql.identifier(role)
            + (is("current_setting('server_version_num')::integer >= 160000")
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
        isSuperuser(schemas) || schemas.equals("pg_database_owner") ? ADMINISTRATOR : schemas;
    for (String role : writers()) {
      boolean owns = role.equals(roles.installer()) ? installerOwns : refresherOwns;
      boolean may = mayUse(role, table.schema()) || (owns && mayUse(owner, table.schema()));
      if (!may) {
        before(
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

  private boolean mayUse(String role, String schema) throws SQLException {
    return is("has_schema_privilege(?, ?, 'usage')", asIs(role), schema);
  }

  /** What changes: any asks for of an installer who does not own the source. */
  private void capture(
      SourceTable table, List<SourceTable.Partition> partitions, String owner, String by)
      throws SQLException {
    List<String> privileges = new ArrayList<>();
    for (String privilege : List.of("select", "trigger")) {
      if (!mayOn("table", roles.installer(), table.oid(), privilege)) {
        privileges.add(privilege);
      }
    }
    if (!privileges.isEmpty()) {
      before(
          by,
          roles.installer(),
          "grant " + String.join(", ", privileges) + " on " + table.sqlName() + " to " + installer,
          "the fresh views read it with the installer's rights; triggers capture its changes (TRIGGER lets its holder run code as whoever writes the table: trust the installer so far)");
    }
    List<String> lacking = new ArrayList<>();
    Set<String> schemas = new LinkedHashSet<>(List.of(table.schema()));
    for (SourceTable.Partition partition : partitions) {
      schemas.add(partition.schema());
      if (!mayOn("table", roles.installer(), partition.oid(), "trigger")) {
        lacking.add(partition.sqlName());
      }
    }
    if (!lacking.isEmpty()) {
      before(
          by,
          roles.installer(),
          "grant trigger on " + String.join(", ", lacking) + " to " + installer,
          "triggers are not inherited: each partition needs its own");
    }
    if (table.isPartitioned()) {
      for (String schema : schemas) {
        if (!hasByDefault(roles.installer(), owner, schema, "r", "TRIGGER")) {
          before(
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
    if (!mayOn("table", roles.installer(), table.oid(), "delete")) {
      before(
          by,
          roles.installer(),
          "grant delete on " + table.sqlName() + " to " + installer,
          "only for forget, which erases a tenant's rows from the source too");
    }
  }

  private boolean hasByDefault(
      String role, String maker, String schema, String kind, String privilege) throws SQLException {
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
    for (String role : writers()) {
      boolean owns = role.equals(roles.installer()) ? installerOwns : refresherOwns;
      if ((owns && !flags.isForced())
          || is(
              "exists (select from pg_roles where rolname = ? and (rolsuper or rolbypassrls))",
              role)) {
        continue;
      }
      if (isRestricted(table, role)) {
        before(
            ADMINISTRATOR,
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
    return exists(role)
        ? SourceVisibility.of(connection, table, role).isRestricted()
        : is(
            "exists (select from pg_policy where polrelid = ?::oid and not polpermissive and polcmd in ('r', '*') and 0 = any (polroles))",
            table.oid());
  }

  /** A policy that lets every row through, for those who have none yet. */
  private void policy(
      SourceTable table, String by, String name, String command, List<String> asked, String why)
      throws SQLException {
    List<String> lacking = new ArrayList<>();
    for (String role : asked) {
      if (!is(
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
    before(
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

  /** What is granted of Tallyroll's schema, for what is there and what comes. */
  private void schema(boolean isThere) throws SQLException {
    for (String role : List.of(roles.refresher(), roles.reader())) {
      boolean may =
          role.equals(roles.installer())
              || (isThere && is("has_schema_privilege(?, 'tallyroll', 'usage')", asIs(role)));
      if (!may) {
        before(
            roles.installer(),
            role,
            "grant usage on schema tallyroll to " + Sql.identifier(role),
            role.equals(roles.reader())
                ? "it reads tables of this schema, those that are granted below"
                : "Tallyroll's tables lie in it");
      }
    }
    if (roles.isOneForBoth() || isSuperuser(roles.refresher())) {
      return;
    }
    String defaults =
        "alter default privileges for role " + installer + " in schema tallyroll grant ";
    if (!hasByDefault(roles.refresher(), roles.installer(), "tallyroll", "r", "UPDATE")) {
      before(
          roles.installer(),
          roles.refresher(),
          defaults + "select, insert, update, delete on tables to " + refresher,
          "it writes to all tables that apply makes; apply lets it through their row-level security, and takes from it the right to write what only the installer may");
    }
    if (!hasByDefault(roles.refresher(), roles.installer(), "tallyroll", "f", "EXECUTE")) {
      before(
          roles.installer(),
          roles.refresher(),
          defaults + "execute on functions to " + refresher,
          "functions of the installer make and drop partitions for it, rotate the change log, and capture new partitions of sources");
    }
  }

  /** What default privileges come too late for. */
  private void whatIsThere() throws SQLException {
    if (isSuperuser(roles.refresher())) {
      return;
    }
    record Table(String name, boolean isToWrite, boolean mayRead, boolean mayWrite) {}
    List<Table> tables =
        Sql.list(
            connection,
            """
            select c.relname, c.relkind = 'v', has_table_privilege(?, c.oid, 'select'),
                   has_table_privilege(?, c.oid, 'insert') and has_table_privilege(?, c.oid, 'update') and has_table_privilege(?, c.oid, 'delete')
            from pg_class c
            where c.relnamespace = to_regnamespace('tallyroll') and c.relkind in ('r', 'p', 'v') and not c.relispartition
            order by c.relname
            """,
            row ->
                new Table(
                    BoundRollup.qualified(row.getString(1)),
                    !row.getBoolean(2) && !INSTALLERS_OWN.contains(row.getString(1)),
                    row.getBoolean(3),
                    row.getBoolean(4)),
            asIs(roles.refresher()),
            asIs(roles.refresher()),
            asIs(roles.refresher()),
            asIs(roles.refresher()));
    grantOn(
        "select",
        tables.stream().filter(table -> !table.mayRead()).map(Table::name).toList(),
        "what is there already is read");
    grantOn(
        "insert, update, delete",
        tables.stream()
            .filter(table -> table.isToWrite() && !table.mayWrite())
            .map(Table::name)
            .toList(),
        "what is there already is written to");
    grantOn(
        "execute",
        Sql.list(
            connection,
            "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = to_regnamespace('tallyroll')"
                + " and p.prorettype <> 'trigger'::regtype and not has_function_privilege(?, p.oid, 'execute') order by 1",
            row -> "function " + row.getString(1),
            asIs(roles.refresher())),
        "what is there already is called");
    record Policy(String table, String roles) {}
    for (Policy policy :
        Sql.list(
            connection,
            """
            select c.relname, (select string_agg(quote_ident(pg_get_userbyid(o)), ', ') from unnest(p.polroles) o)
            from pg_policy p join pg_class c on c.oid = p.polrelid
            where c.relnamespace = to_regnamespace('tallyroll') and p.polname = 'refresher'
              and not exists (select from unnest(p.polroles) o where pg_get_userbyid(o) = ?)
            order by c.relname
            """,
            row -> new Policy(BoundRollup.qualified(row.getString(1)), row.getString(2)),
            roles.refresher())) {
      before(
          roles.installer(),
          roles.refresher(),
          "alter policy refresher on "
              + policy.table()
              + " to "
              + policy.roles()
              + ", "
              + refresher,
          "row-level security of this rollup hides every tenant from it");
    }
  }

  private void grantOn(String privileges, List<String> objects, String why) {
    if (objects.isEmpty()) {
      return;
    }
    String list = String.join(", ", objects).replace(", function ", ", ");
    before(
        roles.installer(),
        roles.refresher(),
        "grant " + privileges + " on " + list + " to " + refresher,
        why);
  }

  private void reader(String rollup, Set<Grain> grains) throws SQLException {
    List<String> relations = new ArrayList<>();
    List<String> functions = new ArrayList<>();
    for (Grain grain : grains) {
      String name = rollup + "_" + grain.suffix();
      for (String relation : List.of(name, name + "_fresh")) {
        String qualified = BoundRollup.qualified(relation);
        if (!is(
            "coalesce((select has_table_privilege(?, c.oid, 'select') from pg_class c where c.relnamespace = to_regnamespace('tallyroll') and c.relname = ?), false)",
            asIs(roles.reader()),
            relation)) {
          relations.add(qualified);
        }
      }
      if (!is(
          "coalesce((select has_function_privilege(?, p.oid, 'execute') from pg_proc p where p.pronamespace = to_regnamespace('tallyroll') and p.proname = ?), false)",
          asIs(roles.reader()),
          name + "_tail")) {
        functions.add(BoundRollup.qualified(name + "_tail") + "()");
      }
    }
    if (!relations.isEmpty()) {
      after(
          roles.reader(),
          "grant select on " + String.join(", ", relations) + " to " + reader,
          "leave out the grains that nobody reads; it sees the tenant of its setting tallyroll.tenant, without it nothing");
    }
    if (!functions.isEmpty()) {
      after(
          roles.reader(),
          "grant execute on function " + String.join(", ", functions) + " to " + reader,
          "a view _fresh gets from it what is not merged yet, of the same tenant");
    }
    List<String> revoked =
        Sql.list(
            connection,
            "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = to_regnamespace('tallyroll')"
                + " and p.proname in ('uncovered', 'uncovered_days', 'known_from', 'is_current', 'is_defined', 'adopted', 'bin', 'bin_value', 'bins', 'encode_bins',"
                + " 'merge_histograms', 'merge', 'quantile', 'coupon', 'merge_distinct', 'estimate')"
                + " and not has_function_privilege(?, p.oid, 'execute') order by 1",
            row -> row.getString(1),
            asIs(roles.reader()));
    if (!revoked.isEmpty()) {
      after(
          roles.reader(),
          "grant execute on function " + String.join(", ", revoked) + " to " + reader,
          "the fresh views and whoever merges sketches call them, and not everybody may any more");
    }
  }
}
