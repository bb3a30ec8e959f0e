package dev.tallyroll.postgres.roles;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.model.definition.Source;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
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
  static final String ADMINISTRATOR = "an administrator";

  /** Tallyroll's own tables that only the installer writes: what its functions execute, audits. */
  private static final Set<String> INSTALLERS_OWN =
      Set.of("schema_version", "source", "start", "purger", "erasure");

  /** What the server takes in, which no refresher needs but as a source; as SQL literals. */
  private static final String SERVERS_TABLES =
      "'tenant', 'api_key', 'event_key', 'event', 'event_quarantine', 'event_key_purge', 'server_role'";

  private static final String SERVERS_FUNCTIONS =
      "'make_event_day', 'find_api_key', 'use_api_keys'";

  private final Connection connection;
  private final Roles roles;
  private final Privileges privileges;
  private final String installer;
  private final String refresher;
  private final String reader;
  private final Map<String, Grant> before = new LinkedHashMap<>();
  private final Map<String, Grant> after = new LinkedHashMap<>();

  private Grants(Connection connection, Roles roles) {
    this.connection = connection;
    this.roles = roles;
    this.privileges = new Privileges(connection);
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
      new SourceGrants(connection, roles, this)
          .of(definitions.get(i).rollup().source(), sources.get(i));
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

  void before(String by, String role, String statement, String why) {
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

  List<String> writers() {
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
      if (!privileges.exists(who.role())) {
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
      if (!privileges.is(
          "has_database_privilege(?, current_database(), 'connect')", privileges.asIs(role))) {
        before(
            ADMINISTRATOR,
            role,
            "grant connect on database " + database + " to " + Sql.identifier(role),
            "nobody else may connect here but those who are named");
      }
    }
    for (String role : writers()) {
      if (!privileges.is(
          "has_database_privilege(?, current_database(), 'temporary')", privileges.asIs(role))) {
        before(
            ADMINISTRATOR,
            role,
            "grant temporary on database " + database + " to " + Sql.identifier(role),
            "definitions are checked, and partials staged, in temporary tables");
      }
    }
    if (!privileges.is(
        "has_function_privilege(?, 'pg_catalog.pg_control_system()', 'execute')",
        privileges.asIs(roles.installer()))) {
      before(
          ADMINISTRATOR,
          roles.installer(),
          "grant execute on function pg_catalog.pg_control_system() to " + installer,
          "transaction ids mean nothing in another cluster, so each rollup remembers the identifier of its own");
    }
  }

  /** What is granted of Tallyroll's schema, for what is there and what comes. */
  private void schema(boolean isThere) throws SQLException {
    for (String role : List.of(roles.refresher(), roles.reader())) {
      boolean may =
          role.equals(roles.installer())
              || (isThere
                  && privileges.is(
                      "has_schema_privilege(?, 'tallyroll', 'usage')", privileges.asIs(role)));
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
    if (roles.isOneForBoth() || privileges.isSuperuser(roles.refresher())) {
      return;
    }
    String defaults =
        "alter default privileges for role " + installer + " in schema tallyroll grant ";
    if (!privileges.hasByDefault(
        roles.refresher(), roles.installer(), "tallyroll", "r", "UPDATE")) {
      before(
          roles.installer(),
          roles.refresher(),
          defaults + "select, insert, update, delete on tables to " + refresher,
          "it writes to all tables that apply makes; apply lets it through their row-level security, and takes from it the right to write what only the installer may");
    }
    if (!privileges.hasByDefault(
        roles.refresher(), roles.installer(), "tallyroll", "f", "EXECUTE")) {
      before(
          roles.installer(),
          roles.refresher(),
          defaults + "execute on functions to " + refresher,
          "functions of the installer make and drop partitions for it, rotate the change log, and capture new partitions of sources");
    }
  }

  /** What default privileges come too late for. */
  private void whatIsThere() throws SQLException {
    if (privileges.isSuperuser(roles.refresher())) {
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
              and c.relname not in (\
            """
                + SERVERS_TABLES
                + """
                )
                order by c.relname
                """,
            row ->
                new Table(
                    BoundRollup.qualified(row.getString(1)),
                    !row.getBoolean(2) && !INSTALLERS_OWN.contains(row.getString(1)),
                    row.getBoolean(3),
                    row.getBoolean(4)),
            privileges.asIs(roles.refresher()),
            privileges.asIs(roles.refresher()),
            privileges.asIs(roles.refresher()),
            privileges.asIs(roles.refresher()));
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
                + " and p.prorettype <> 'trigger'::regtype and p.proname not in ("
                + SERVERS_FUNCTIONS
                + ") and not has_function_privilege(?, p.oid, 'execute') order by 1",
            row -> "function " + row.getString(1),
            privileges.asIs(roles.refresher())),
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
        if (!privileges.is(
            "coalesce((select has_table_privilege(?, c.oid, 'select') from pg_class c where c.relnamespace = to_regnamespace('tallyroll') and c.relname = ?), false)",
            privileges.asIs(roles.reader()),
            relation)) {
          relations.add(qualified);
        }
      }
      if (!privileges.is(
          "coalesce((select has_function_privilege(?, p.oid, 'execute') from pg_proc p where p.pronamespace = to_regnamespace('tallyroll') and p.proname = ?), false)",
          privileges.asIs(roles.reader()),
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
            privileges.asIs(roles.reader()));
    if (!revoked.isEmpty()) {
      after(
          roles.reader(),
          "grant execute on function " + String.join(", ", revoked) + " to " + reader,
          "the fresh views and whoever merges sketches call them, and not everybody may any more");
    }
  }
}
