package dev.tallyroll.postgres.capture;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Captures every change of a table in its change log ({@code changes: any}): statement triggers
 * with transition tables on the table and on every table below it, since a statement fires only
 * those of the table that it names.
 *
 * <p>The trigger functions copy columns and evaluate no expression of a definition, so that none
 * can make a writer fail. They run with the rights of their owner: writers need none.
 */
public final class LogCapture {
  private static final List<String> TRIGGERS =
      List.of(
          "tallyroll_log_insert",
          "tallyroll_log_update",
          "tallyroll_log_delete",
          "tallyroll_log_truncate");

  /** A variable with the sign of deleted rows: -1, or -3 for a purge. */
  private static final String OUT = "tallyroll_out";

  private final SourceTable table;

  /** The capture of a source. */
  public LogCapture(SourceTable table) {
    this.table = table;
  }

  /** The change log that a source has, if it has one. */
  public static Optional<ChangeLog> existing(Connection connection, SourceTable table)
      throws SQLException {
    return Sql.first(
        connection,
        "select log, log_columns from tallyroll.source where relation = ?::oid::regclass and log is not null",
        row -> new ChangeLog(row.getString(1), List.of((String[]) row.getArray(2).getArray())),
        table.oid());
  }

  /**
   * What is missing of the log and its triggers for a definition that reads these columns: short
   * statements for one transaction, which begins by waiting for those that write the source.
   *
   * @param before the log that the source has; null for none
   */
  public List<String> statements(
      Connection connection, @Nullable ChangeLog before, List<String> columns) throws SQLException {
    ChangeLog log = after(connection, table, before, columns);
    boolean grows = before == null || !log.columns().equals(before.columns());
    List<String> statements = new ArrayList<>();
    if (before == null) {
      statements.addAll(create(connection, log));
    } else if (grows) {
      List<String> added =
          log.columns().stream().filter(column -> !before.columns().contains(column)).toList();
      for (String column : columnsSql(connection, added)) {
        statements.add("alter table " + log.sqlName() + " add column " + column);
      }
    }
    if (grows) {
      // The columns of this view cannot be dropped or change their type: writers would fail.
      statements.add(
          "create or replace view "
              + BoundRollup.qualified(log.name() + "_columns")
              + " as select "
              + names(log.columns())
              + " from "
              + table.sqlName()
              + " where false");
      statements.addAll(functions(log, table.oid(), slot(connection, log)));
    }
    List<Leaf> leaves = Leaf.of(connection, table);
    for (Leaf leaf : leaves) {
      statements.addAll(triggers(connection, log, leaf));
    }
    if (statements.isEmpty()) {
      return List.of();
    }
    List<String> all = new ArrayList<>(locks(connection, Optional.ofNullable(before)));
    all.addAll(statements);
    return all;
  }

  /**
   * The statements that keep writers away until the transaction ends.
   *
   * @param log the change log, if there is one
   */
  public List<String> locks(Connection connection, Optional<ChangeLog> log) throws SQLException {
    if (table.mayLock(connection)) {
      return List.of("lock table " + table.sqlName() + " in share row exclusive mode");
    }
    List<String> locks = new ArrayList<>();
    if (log.isPresent()) {
      // Making a trigger again takes the same lock; making the first ones does so anyway.
      for (Leaf leaf : Leaf.of(connection, table)) {
        locks.addAll(triggers(connection, log.get(), leaf, List.of(TRIGGERS.getFirst())));
      }
    }
    return locks;
  }

  /** The partition that writers fill; none but this transaction moves them on before it ends. */
  private static int slot(Connection connection, ChangeLog log) throws SQLException {
    return Schema.versionOf(connection) < Schema.version()
        ? 0
        : Sql.first(
                connection,
                "select log_slot from tallyroll.source where log = ? for update",
                row -> row.getInt(1),
                log.name())
            .orElse(0);
  }

  /** Makes the trigger functions of logs anew that an earlier version has made. */
  public static boolean renew(Connection connection) throws SQLException {
    record Old(String log, List<String> columns, long source, int slot) {}
    for (Old old :
        Sql.list(
            connection,
            """
            select s.log, s.log_columns, s.relation::oid::bigint, s.log_slot from tallyroll.source s
            where s.log is not null and (s.log_functions is null or exists (
              select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
              where n.nspname = 'tallyroll' and p.proname = s.log || '_delete' and p.prosrc not like '%purge_sign%'))
            for update of s
            """,
            row ->
                new Old(
                    row.getString(1),
                    List.of((String[]) row.getArray(2).getArray()),
                    row.getLong(3),
                    row.getInt(4)))) {
      ChangeLog log = new ChangeLog(old.log(), old.columns());
      for (String statement : functions(log, old.source(), old.slot())) {
        Sql.run(connection, statement);
      }
      register(connection, log, old.source());
    }
    return true;
  }

  /**
   * Writes down what a source's log is, and the statements by which the installer's functions
   * rotate it and capture tables that come later.
   */
  public static void register(Connection connection, ChangeLog log, long source)
      throws SQLException {
    List<String> functions = new ArrayList<>();
    for (int slot = 0; slot < ChangeLog.SLOTS; slot++) {
      functions.add(String.join(";\n", functions(log, source, slot)));
    }
    Sql.update(
        connection,
        """
        insert into tallyroll.source (relation, log, log_columns, log_functions, log_triggers) values (?::oid::regclass, ?, ?, ?, ?)
        on conflict (relation) do update set log = excluded.log, log_columns = excluded.log_columns,
          log_functions = excluded.log_functions, log_triggers = excluded.log_triggers
        """,
        source,
        log.name(),
        connection.createArrayOf("text", log.columns().toArray()),
        connection.createArrayOf("text", functions.toArray()),
        connection.createArrayOf(
            "text",
            TRIGGERS.stream()
                .flatMap(trigger -> Stream.of(create(log, trigger), always(trigger)))
                .toArray()));
  }

  /** The log's name and columns once {@link #statements} have run. */
  public static ChangeLog after(
      Connection connection, SourceTable table, @Nullable ChangeLog before, List<String> columns)
      throws SQLException {
    Set<String> wanted = new LinkedHashSet<>(before == null ? List.of() : before.columns());
    wanted.addAll(columns);
    return new ChangeLog(
        before == null ? name(connection, table) : before.name(), List.copyOf(wanted));
  }

  /** After a restored dump another source's log may have the name that this one's would have. */
  private static String name(Connection connection, SourceTable table) throws SQLException {
    String name = "log_" + table.oid();
    if (Schema.versionOf(connection) < Schema.version()) {
      return name;
    }
    return Sql.one(
        connection,
        "select name from (select case when n = 0 then ? else ? || '_' || n end as name, n from generate_series(0, 1000) n) names"
            + " where not exists (select from tallyroll.source s where s.log = name and s.relation <> ?::oid::regclass) order by n limit 1",
        row -> row.getString(1),
        name,
        name,
        table.oid());
  }

  private static String names(List<String> columns) {
    return columns.stream().map(Sql::identifier).collect(Collectors.joining(", "));
  }

  private List<String> create(Connection connection, ChangeLog log) throws SQLException {
    List<String> columns = new ArrayList<>();
    columns.add(BoundRollup.XID_COLUMN + " xid8 not null default pg_current_xact_id()");
    columns.add(ChangeLog.SIGN + " smallint not null");
    columns.add(ChangeLog.SLOT + " smallint not null");
    columns.add(ChangeLog.LEAF + " oid");
    columns.add(ChangeLog.FROM + " timestamptz");
    columns.add(ChangeLog.TO + " timestamptz");
    columns.addAll(columnsSql(connection, log.columns()));
    List<String> statements = new ArrayList<>();
    statements.add(
        "create table "
            + log.sqlName()
            + " (\n  "
            + String.join(",\n  ", columns)
            + "\n) partition by list ("
            + ChangeLog.SLOT
            + ")");
    statements.add(
        "comment on table "
            + log.sqlName()
            + " is "
            + Sql.literal("Change log of " + table.label()));
    for (int slot = 0; slot < ChangeLog.SLOTS; slot++) {
      statements.add(
          "create table "
              + log.slotName(slot)
              + " partition of "
              + log.sqlName()
              + " for values in ("
              + slot
              + ")");
    }
    return statements;
  }

  /** Columns as the source declares them; of a domain the type below, which refuses nothing. */
  private List<String> columnsSql(Connection connection, List<String> columns) throws SQLException {
    return Sql.list(
        connection,
        """
        select quote_ident(a.attname) || ' '
               || case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(t.oid, a.atttypmod) end
               || case when a.attcollation <> 0 and a.attcollation <> t.typcollation
                       then (select ' collate ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname)
                             from pg_collation c join pg_namespace n on n.oid = c.collnamespace where c.oid = a.attcollation)
                       else '' end
        from pg_attribute a join pg_type t on t.oid = a.atttypid
        where a.attrelid = ?::oid and a.attname = any (?) and not a.attisdropped
        order by a.attnum
        """,
        row -> row.getString(1),
        table.oid(),
        connection.createArrayOf("text", columns.toArray()));
  }

  /**
   * The trigger functions, which write to one partition of the log.
   *
   * <p>They run for each statement of the application, so they name the partition instead of
   * looking it up, and have no settings of their own: a fixed search path would cost a tenth of the
   * throughput of one-row statements. In its place every name in them is qualified, the operator
   * too. A table other than the source asks whether it still belongs to it: one that was detached
   * keeps its triggers but is none of ours; should it come back, its marker tells that it may
   * differ.
   *
   * @param slot the partition; any will do, since readers look into all
   */
  static List<String> functions(ChangeLog log, long source, int slot) {
    String marker =
        "insert into "
            + log.slotName(slot)
            + " ("
            + String.join(", ", ChangeLog.SIGN, ChangeLog.SLOT, ChangeLog.LEAF)
            + ") values (0, "
            + slot
            + ", tg_relid)";
    String in = copy(log, "new_rows", "1", slot);
    String out = copy(log, "old_rows", OUT, slot);
    String changed =
        copy(log, "old_rows", "-2", slot) + "\n    union all " + copy(log, "new_rows", "2", slot);
    List<String> bodies =
        List.of(into(log, slot) + in, into(log, slot) + changed, into(log, slot) + out, marker);
    List<String> statements = new ArrayList<>();
    for (int i = 0; i < TRIGGERS.size(); i++) {
      String function = function(log, TRIGGERS.get(i));
      statements.add(
          "create or replace function "
              + function
              + "() returns trigger language plpgsql security definer as $log$\n"
              + (bodies.get(i).contains(OUT)
                  ? "declare\n  "
                      + OUT
                      + " pg_catalog.int2 := tallyroll.purge_sign("
                      + Sql.literal(log.name())
                      + ");\nbegin\n"
                  : "begin\n")
              + "  if tg_relid operator(pg_catalog.<>) "
              + source
              + "::pg_catalog.oid and tallyroll.is_elsewhere(tg_relid, "
              + Sql.literal(log.name())
              + ") then\n    "
              + marker
              + ";\n  else\n    "
              + bodies.get(i)
              + ";\n  end if;\n  return null;\nend\n$log$");
      statements.add("revoke execute on function " + function + "() from public");
    }
    return statements;
  }

  private static String into(ChangeLog log, int slot) {
    return "insert into "
        + log.slotName(slot)
        + " ("
        + ChangeLog.SIGN
        + ", "
        + ChangeLog.SLOT
        + ", "
        + ChangeLog.LEAF
        + ", "
        + names(log.columns())
        + ")\n    ";
  }

  /**
   * The columns are qualified: one may be called as a variable of PL/pgSQL is, {@code found} say.
   */
  private static String copy(ChangeLog log, String rows, String sign, int slot) {
    return "select "
        + sign
        + ", "
        + slot
        + ", tg_relid, "
        + log.columns().stream()
            .map(column -> rows + "." + Sql.identifier(column))
            .collect(Collectors.joining(", "))
        + " from "
        + rows;
  }

  private static String function(ChangeLog log, String trigger) {
    return BoundRollup.qualified(log.name() + trigger.substring(trigger.lastIndexOf('_')));
  }

  /** The statement that makes a trigger, with %s for the table. */
  private static String create(ChangeLog log, String trigger) {
    String event =
        switch (TRIGGERS.indexOf(trigger)) {
          case 0 -> "insert on %s referencing new table as new_rows";
          case 1 -> "update on %s referencing old table as old_rows new table as new_rows";
          case 2 -> "delete on %s referencing old table as old_rows";
          default -> "truncate on %s";
        };
    return "create or replace trigger "
        + trigger
        + " after "
        + event
        + " for each statement execute function "
        + function(log, trigger)
        + "()";
  }

  /** The statement that has a trigger fire also for sessions that act as a replica. */
  private static String always(String trigger) {
    return "alter table %s enable always trigger " + trigger;
  }

  /** The triggers that a table lacks, or that are switched off on it. */
  static List<String> triggers(Connection connection, ChangeLog log, Leaf leaf)
      throws SQLException {
    List<String> there =
        Sql.list(
            connection,
            "select tgname from pg_trigger where tgrelid = ?::oid and not tgisinternal and tgenabled in ('O', 'A')",
            row -> row.getString(1),
            leaf.oid());
    return triggers(
        connection,
        log,
        leaf,
        TRIGGERS.stream().filter(trigger -> !there.contains(trigger)).toList());
  }

  private static List<String> triggers(
      Connection connection, ChangeLog log, Leaf leaf, List<String> wanted) throws SQLException {
    boolean owned =
        Sql.one(
            connection,
            "select pg_has_role(relowner, 'usage') from pg_class where oid = ?::oid",
            row -> row.getBoolean(1),
            leaf.oid());
    List<String> statements = new ArrayList<>();
    for (String trigger : wanted) {
      statements.add(create(log, trigger).formatted(leaf.sqlName()));
      if (owned) {
        statements.add(always(trigger).formatted(leaf.sqlName()));
      }
    }
    return statements;
  }

  /** What users of the table will notice, for {@code plan}. */
  public List<String> breaks(List<String> columns) {
    List<String> breaks = new ArrayList<>();
    breaks.add(
        "every INSERT, UPDATE and DELETE of "
            + table.label()
            + " also writes the columns that rollups read to the change log");
    breaks.add(
        "these columns can be neither dropped nor change their type while the rollup is there, and must not be renamed: "
            + String.join(", ", columns));
    breaks.add(
        "rows that a logical replication subscription applies to the table are not captured; verify finds them");
    if (table.isPartitioned()) {
      breaks.add(
          "a MERGE whose UPDATE moves a row to another partition has to name all three actions, or that is not captured, and verify finds it: add WHEN MATCHED AND false THEN DELETE and WHEN NOT MATCHED AND false THEN INSERT DEFAULT VALUES, each before its like");
    }
    return breaks;
  }

  /** Everything that capture added, removed; its triggers go with their functions. */
  public static List<String> drop(ChangeLog log) {
    List<String> statements = new ArrayList<>();
    for (String trigger : TRIGGERS) {
      statements.add("drop function if exists " + function(log, trigger) + "() cascade");
    }
    statements.add("drop view if exists " + BoundRollup.qualified(log.name() + "_columns"));
    statements.add("drop table if exists " + log.sqlName());
    return statements;
  }
}
