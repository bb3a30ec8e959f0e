package dev.tallyroll.server;

import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Tries to get at one tenant's data as a role that acts for another. What is tried is derived from
 * the catalogs: every relation and function that is there, whatever its name. For one thread.
 *
 * <p>Everything of the victim holds a marker, so that it is known wherever it comes to light: in
 * rows, in what functions give, in messages.
 */
final class Isolation {
  /** What the victim's rows hold, and nobody else's. */
  static final String MARKER = "victimmarker";

  static final String ATTACKER = "attacker";
  static final String VICTIM = MARKER;

  /** State without anything of a tenant: definitions and how far they are. */
  private static final Set<String> NAMES_ONLY =
      Set.of(
          "tallyroll.schema_version",
          "tallyroll.source",
          "tallyroll.rollup",
          "tallyroll.grain",
          "tallyroll.slice",
          "tallyroll.seal",
          "tallyroll.leaf",
          "tallyroll.start",
          "tallyroll.event_key_purge",
          "tallyroll.refresh");

  /**
   * Functions that run as their owner, each looked at: none gives away more than its caller may
   * see.
   */
  private static final Set<String> DEFINERS =
      Set.of(
          "acting_role",
          "adopted",
          "caller_sees_all",
          "find_api_key",
          "is_counted",
          "is_current",
          "is_defined",
          "is_elsewhere",
          "is_moved",
          "is_own_erasure",
          "is_own_purge",
          "known_from",
          "local_days",
          "log_is_whole",
          "make_event_day",
          "purge_sign",
          "uncovered",
          "uncovered_days",
          "use_api_keys");

  private final Connection connection;
  private final String who;
  private final List<String> faults = new ArrayList<>();
  private int probes;

  /**
   * As a role.
   *
   * @param connection a connection as that role, in a transaction that is rolled back
   * @param who the role, for messages
   */
  Isolation(Connection connection, String who) {
    this.connection = connection;
    this.who = who;
  }

  /** What came to light. */
  List<String> faults() {
    return faults;
  }

  /** How many things were tried. */
  int probes() {
    return probes;
  }

  /** Tries everything. */
  Isolation run() throws SQLException {
    for (Relation relation : relations()) {
      read(relation);
      write(relation);
    }
    functions();
    sequences();
    roles();
    foreignKeys();
    return this;
  }

  private record Relation(
      String name,
      String kind,
      boolean isProtected,
      String readable,
      List<Column> columns,
      String tenantColumn) {}

  private record Column(String name, String type, boolean isMade) {}

  private List<Relation> relations() throws SQLException {
    List<Relation> relations = new ArrayList<>();
    record Row(long oid, String name, String kind, boolean isProtected) {}
    for (Row row :
        Sql.list(
            connection,
            """
            select c.oid::bigint, n.nspname || '.' || quote_ident(c.relname), c.relkind::text,
                   case when c.relkind in ('v', 'm') then coalesce(array_to_string(c.reloptions, ',') ~ 'security_invoker=(true|on|1)', false)
                        else c.relrowsecurity and c.relforcerowsecurity end
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(temp|toast)' and c.relkind in ('r', 'p', 'v', 'm', 'f')
            order by 2
            """,
            one ->
                new Row(one.getLong(1), one.getString(2), one.getString(3), one.getBoolean(4)))) {
      List<Column> columns =
          Sql.list(
              connection,
              "select quote_ident(attname), format_type(atttypid, null), attidentity <> '' from pg_attribute where attrelid = ?::oid and attnum > 0 and not attisdropped order by attnum",
              one -> new Column(one.getString(1), one.getString(2), one.getBoolean(3)),
              row.oid());
      List<String> readable =
          Sql.list(
              connection,
              "select quote_ident(attname) from pg_attribute where attrelid = ?::oid and attnum > 0 and not attisdropped and has_column_privilege(attrelid, attnum, 'select') order by attnum",
              one -> one.getString(1),
              row.oid());
      String tenant =
          row.name().equals("tallyroll.tenant")
              ? "id"
              : columns.stream()
                  .map(Column::name)
                  .filter(name -> name.equals("tenant") || name.equals("tenant_id"))
                  .findFirst()
                  .orElse("");
      relations.add(
          new Relation(
              row.name(),
              row.kind(),
              row.isProtected(),
              String.join(", ", readable),
              columns,
              tenant));
    }
    return relations;
  }

  private void fault(String what) {
    faults.add(who + ": " + what);
  }

  /** Runs something that must not do anything; gives what it returned as text. */
  private Outcome attempt(String sql) throws SQLException {
    probes++;
    Savepoint before = connection.setSavepoint();
    try {
      List<String> rows;
      try (java.sql.Statement statement = connection.createStatement()) {
        rows = new ArrayList<>();
        if (statement.execute(sql)) {
          try (java.sql.ResultSet result = statement.getResultSet()) {
            while (result.next()) {
              rows.add(String.valueOf(result.getString(1)));
            }
          }
        } else {
          rows.add("rows " + statement.getUpdateCount());
        }
      }
      connection.rollback(before);
      return new Outcome(true, rows, "", "");
    } catch (SQLException e) {
      connection.rollback(before);
      String message = String.valueOf(e.getMessage());
      // What is said of the statement itself does not count: the marker stands in it.
      if (message.replaceAll("(?s)Position:.*", "").contains(MARKER) && !sql.contains(MARKER)) {
        fault("a message tells of the victim: " + message + " at " + sql);
      }
      return new Outcome(false, List.of(), String.valueOf(e.getSQLState()), message);
    }
  }

  private record Outcome(boolean passed, List<String> rows, String state, String message) {
    boolean holds(String text) {
      return rows.stream().anyMatch(row -> row.contains(text));
    }
  }

  private void read(Relation relation) throws SQLException {
    if (relation.readable().isEmpty()) {
      Outcome refused = attempt("select count(*)::text from " + relation.name());
      if (refused.passed()) {
        fault("may count the rows of " + relation.name());
      }
      return;
    }
    if (!relation.isProtected() && !NAMES_ONLY.contains(relation.name())) {
      fault("may read " + relation.name() + ", which nothing protects");
    }
    if (attempt(
            "select row("
                + relation.readable()
                + ")::text from "
                + relation.name()
                + " limit 100000")
        .holds(MARKER)) {
      fault("sees the victim in " + relation.name());
    }
    if (!relation.tenantColumn().isEmpty()) {
      for (String setting : List.of("'" + ATTACKER + "'", "''", "default")) {
        if (attempt(
                "select count(*)::text from "
                    + relation.name()
                    + " where "
                    + relation.tenantColumn()
                    + "::text = '"
                    + VICTIM
                    + "' -- "
                    + setting)
            .rows()
            .stream()
            .anyMatch(count -> !count.equals("0"))) {
          fault("finds the victim in " + relation.name());
        }
      }
      // Not even through the order in which a function and the policy are asked.
      Outcome leak =
          attempt(
              "select count(*)::text from "
                  + relation.name()
                  + " where 1 / (case when "
                  + relation.tenantColumn()
                  + "::text = '"
                  + VICTIM
                  + "' then 0 else 1 end) = 1");
      if (leak.state().equals("22012")) {
        fault("a condition is asked of the victim's rows in " + relation.name());
      }
    }
    Outcome off = attempt("set local row_security = off; select count(*) from " + relation.name());
    if (off.passed() && relation.isProtected() && !relation.kind().equals("v")) {
      fault("may switch row-level security off for " + relation.name());
    }
  }

  private static String value(Column column, String tenantColumn) {
    if (column.name().equals(tenantColumn)) {
      return "'" + VICTIM + "'";
    }
    return switch (column.type()) {
      case "text", "character varying", "name" -> "'x'";
      case "timestamp with time zone" -> "now()";
      case "uuid" -> "'00000000-0000-0000-0000-000000000001'";
      case "bytea" -> "decode(repeat('00', 32), 'hex')";
      case "xid8" -> "pg_current_xact_id()";
      case "boolean" -> "true";
      case "bit varying" -> "B'1'";
      case "jsonb" -> "'{}'";
      case "date" -> "current_date";
      case "bigint", "integer", "smallint", "numeric", "double precision" -> "1";
      default -> "null";
    };
  }

  private void write(Relation relation) throws SQLException {
    if (relation.columns().isEmpty()) {
      if (attempt("insert into " + relation.name() + " default values").passed()) {
        fault("may write to " + relation.name());
      }
      return;
    }
    String tenant = relation.tenantColumn();
    String names =
        String.join(
            ", ",
            relation.columns().stream()
                .filter(column -> !column.isMade())
                .map(Column::name)
                .toList());
    String values =
        String.join(
            ", ",
            relation.columns().stream()
                .filter(column -> !column.isMade())
                .map(column -> value(column, tenant))
                .toList());
    String insert = "insert into " + relation.name() + " (" + names + ") values (" + values + ")";
    for (String statement :
        List.of(
            insert,
            insert + " on conflict do nothing",
            "update "
                + relation.name()
                + " set "
                + relation.columns().getFirst().name()
                + " = "
                + relation.columns().getFirst().name()
                + where(tenant),
            "delete from " + relation.name() + where(tenant),
            "truncate " + relation.name(),
            "lock table " + relation.name() + " in access exclusive mode",
            "alter table " + relation.name() + " disable row level security")) {
      Outcome outcome = attempt(statement);
      boolean isNothing =
          outcome.holds("rows 0")
              && !statement.startsWith("truncate")
              && !statement.startsWith("lock")
              && !statement.startsWith("alter");
      if (outcome.passed() && !isNothing) {
        fault("may: " + statement);
      }
      if (!outcome.passed() && outcome.state().equals("23505")) {
        fault("learns that a key is there: " + statement);
      }
    }
    // The keys that the victim has, claimed again and taken over.
    if (relation.name().equals("tallyroll.event_key")) {
      for (String end : List.of("do nothing", "(tenant, key) do update set received_at = now()")) {
        Outcome outcome =
            attempt(
                "insert into tallyroll.event_key (tenant, key, received_at) values ('"
                    + VICTIM
                    + "', '00000000-0000-0000-0000-000000000001', now()) on conflict "
                    + end);
        if (outcome.passed()) {
          fault("may claim a key of the victim");
        }
      }
    }
  }

  private static String where(String tenant) {
    return tenant.isEmpty() ? "" : " where " + tenant + "::text = '" + VICTIM + "'";
  }

  private static final Map<String, List<String>> ARGUMENTS =
      Map.ofEntries(
          Map.entry("text", List.of("'" + VICTIM + "'", "'llm_usage'", "'1d'")),
          Map.entry("name", List.of("'" + VICTIM + "'")),
          Map.entry("text[]", List.of("array['" + VICTIM + "']")),
          Map.entry(
              "regclass",
              List.of("'tallyroll.event'::regclass", "'tallyroll.llm_usage_1d'::regclass")),
          Map.entry("oid", List.of("'tallyroll.event'::regclass::oid")),
          Map.entry("bigint", List.of("1")),
          Map.entry("integer", List.of("0")),
          Map.entry("smallint", List.of("1::smallint")),
          Map.entry("timestamp with time zone", List.of("now()")),
          Map.entry("date", List.of("current_date")),
          Map.entry("xid8", List.of("'1'::xid8")),
          Map.entry("double precision", List.of("0.5")),
          Map.entry("boolean", List.of("true")),
          Map.entry("bytea", List.of("''::bytea")),
          Map.entry("bytea[]", List.of("array[''::bytea]")),
          Map.entry("bit varying", List.of("B'1'")));

  private void functions() throws SQLException {
    record Function(String name, String qualified, boolean isDefiner, List<String> types) {}
    for (Function function :
        Sql.list(
            connection,
            """
            select p.proname, n.nspname || '.' || quote_ident(p.proname), p.prosecdef,
                   array(select format_type(t, null) from unnest(p.proargtypes) with ordinality a (t, place) order by place)
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname not in ('pg_catalog', 'information_schema') and p.prokind in ('f', 'p') and p.prorettype <> 'trigger'::regtype
              and has_function_privilege(p.oid, 'execute')
            order by 2
            """,
            row ->
                new Function(
                    row.getString(1),
                    row.getString(2),
                    row.getBoolean(3),
                    List.of((String[]) row.getArray(4).getArray())))) {
      if (function.isDefiner()
          && !DEFINERS.contains(function.name())
          && !function.name().endsWith("_tail")) {
        fault(
            "may call " + function.qualified() + ", which runs as its owner and was not looked at");
      }
      int most =
          function.types().stream()
              .mapToInt(type -> ARGUMENTS.getOrDefault(type, List.of("null")).size())
              .max()
              .orElse(1);
      for (int i = 0; i < most; i++) {
        List<String> arguments = new ArrayList<>();
        for (String type : function.types()) {
          List<String> possible = ARGUMENTS.getOrDefault(type, List.of("null::" + type));
          arguments.add(possible.get(Math.min(i, possible.size() - 1)));
        }
        Outcome outcome =
            attempt(
                "select f::text from "
                    + function.qualified()
                    + "("
                    + String.join(", ", arguments)
                    + ") f limit 100000");
        if (outcome.holds(MARKER) && !function.name().equals("find_api_key")) {
          fault("gets the victim's data from " + function.qualified());
        }
      }
    }
  }

  private void sequences() throws SQLException {
    for (String sequence :
        Sql.list(
            connection,
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'S' and n.nspname !~ '^pg_'",
            row -> row.getString(1))) {
      for (String call : List.of("nextval", "currval")) {
        if (attempt("select " + call + "('" + sequence + "')").passed()) {
          fault("may call " + call + " of " + sequence);
        }
      }
      if (attempt("select setval('" + sequence + "', 1)").passed()) {
        fault("may set " + sequence);
      }
    }
  }

  private void roles() throws SQLException {
    for (String role :
        Sql.list(
            connection,
            "select quote_ident(rolname) from pg_roles where rolsuper or rolbypassrls or oid = (select nspowner from pg_namespace where nspname = 'tallyroll')",
            row -> row.getString(1))) {
      if (attempt("set local role " + role).passed()) {
        fault("may become " + role);
      }
    }
    for (String statement :
        List.of(
            "create table tallyroll.mine (a int)",
            "create function tallyroll.mine() returns int language sql as 'select 1'",
            "create role another",
            "alter role current_user bypassrls",
            "create policy open on tallyroll.event using (true)",
            "drop policy tenant_reads on tallyroll.event",
            "grant select on tallyroll.api_key to public",
            "copy (select 1) to program 'true'",
            "select pg_read_file('postgresql.conf')",
            "create extension dblink")) {
      if (attempt(statement).passed()) {
        fault("may: " + statement);
      }
    }
  }

  /**
   * A reference between tables of tenants that leaves the tenant out lets one point to another's.
   */
  private void foreignKeys() throws SQLException {
    for (String key :
        Sql.list(
            connection,
            """
            select k.conrelid::regclass || '.' || k.conname
            from pg_constraint k
            where k.contype = 'f' and k.conrelid::regclass::text ~ '^tallyroll\\.'
              and exists (select from pg_attribute a where a.attrelid = k.confrelid and a.attname = 'tenant')
              and not exists (select from pg_attribute a where a.attrelid = k.conrelid and a.attname = 'tenant' and a.attnum = any (k.conkey))
            """,
            row -> row.getString(1))) {
      fault("the reference " + key + " leaves the tenant out");
    }
    probes++;
  }
}
