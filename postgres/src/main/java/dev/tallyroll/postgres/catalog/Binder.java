package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.Names;
import dev.tallyroll.model.definition.Changes;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.model.definition.DefinitionException.Fault;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.definition.Source;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.postgresql.util.PSQLException;

/**
 * Binds a definition to the real table: every column must be there, every expression is parsed and
 * typed by PostgreSQL itself, on an empty temporary copy of the table that is rolled back.
 *
 * <p>Whether an expression may stand in a definition is asked as for a generated column, whose
 * rules are the ones wanted: immutable, over one row, without aggregates, window functions,
 * subqueries and set-returning functions. (PostgreSQL's manual, "Generated Columns".)
 */
public final class Binder {
  private static final Set<ColumnType> TENANTS =
      EnumSet.of(
          ColumnType.UUID,
          ColumnType.TEXT,
          ColumnType.SMALLINT,
          ColumnType.INTEGER,
          ColumnType.BIGINT);
  private static final Set<ColumnType> DIMENSIONS =
      EnumSet.of(
          ColumnType.TEXT,
          ColumnType.UUID,
          ColumnType.SMALLINT,
          ColumnType.INTEGER,
          ColumnType.BIGINT,
          ColumnType.BOOLEAN,
          ColumnType.DATE);
  private static final Pattern MISSING_COLUMN =
      Pattern.compile("column \"?([^\"]+?)\"? does not exist");

  private final Connection connection;
  private final Definition definition;
  private final Rollup rollup;
  private final List<Fault> faults = new ArrayList<>();
  private final Set<String> read = new HashSet<>();

  private Binder(Connection connection, Definition definition) {
    this.connection = connection;
    this.definition = definition;
    this.rollup = definition.rollup();
  }

  /**
   * Binds a definition.
   *
   * @param connection a connection in a transaction, which is left as it was
   * @throws DefinitionException with all faults of the definition
   */
  public static BoundRollup bind(Connection connection, Definition definition) throws SQLException {
    Binder binder = new Binder(connection, definition);
    Savepoint before = connection.setSavepoint();
    try {
      Optional<BoundRollup> bound = binder.bind();
      if (bound.isEmpty() || !binder.faults.isEmpty()) {
        binder.faults.sort(Comparator.comparing(Fault::position));
        throw new DefinitionException(binder.faults);
      }
      return bound.get();
    } finally {
      connection.rollback(before);
    }
  }

  private Optional<BoundRollup> bind() throws SQLException {
    Source source = rollup.source();
    Optional<SourceTable> found = SourceTable.find(connection, source.schema(), source.table());
    if (found.isEmpty()) {
      faults.add(
          definition.fault("source.table", "no table " + source.label() + didYouMeanTable(source)));
      return Optional.empty();
    }
    SourceTable table = found.get();
    if (!table.isTable()) {
      faults.add(
          definition.fault(
              "source.table",
              source.label()
                  + " is not a table: a rollup needs one whose rows it can read by transaction"));
      return Optional.empty();
    }
    Optional<String> obstacle = table.obstacle(connection, source.changes() == Changes.ANY);
    if (obstacle.isPresent()) {
      faults.add(definition.fault("source.table", obstacle.get()));
      return Optional.empty();
    }
    ColumnType tenant = tenant(table);
    time(table);
    String copy = temporaryCopy(table);
    List<ColumnType> dimensions = new ArrayList<>();
    List<ColumnType> inputs = new ArrayList<>();
    for (Dimension dimension : rollup.dimensions()) {
      dimension(table, copy, dimension).ifPresent(dimensions::add);
    }
    for (Measure measure : rollup.measures()) {
      measure(table, copy, measure).ifPresent(inputs::add);
    }
    return tenant == null || !faults.isEmpty()
        ? Optional.empty()
        : Optional.of(new BoundRollup(rollup, table, tenant, dimensions, inputs, columns(table)));
  }

  /** The columns that the definition reads, in the table's order. */
  private List<String> columns(SourceTable table) {
    read.add(rollup.source().tenant());
    read.add(rollup.source().time());
    return table.columnNames().stream().filter(read::contains).toList();
  }

  private String didYouMeanTable(Source source) throws SQLException {
    List<String> tables =
        Sql.list(
            connection,
            "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                + " where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'tallyroll')"
                + " and n.nspname not like 'pg\\_%' limit 10000",
            row -> row.getString(1));
    String label = source.schema() == null ? "public." + source.table() : source.label();
    return Names.didYouMean(label, tables);
  }

  private @Nullable ColumnType tenant(SourceTable table) {
    String path = "source.tenant";
    SourceTable.Column column = column(table, path, rollup.source().tenant());
    if (column == null) {
      return null;
    }
    Optional<ColumnType> type = type(column.type(), false);
    if (type.isEmpty() || !TENANTS.contains(type.get())) {
      faults.add(
          definition.fault(
              path,
              "a tenant is uuid, text, varchar, smallint, integer or bigint; "
                  + column.name()
                  + " is "
                  + column.type()));
      return null;
    }
    notNull(table, path, column);
    return type.get();
  }

  private void time(SourceTable table) {
    String path = "source.time";
    SourceTable.Column column = column(table, path, rollup.source().time());
    if (column == null) {
      return;
    }
    boolean zoned = column.type().equals(ColumnType.TIMESTAMPTZ.sqlName());
    boolean local = column.type().equals(ColumnType.TIMESTAMP.sqlName());
    if (!zoned && !local) {
      faults.add(
          definition.fault(
              path,
              "the time is a timestamptz or a timestamp; "
                  + column.name()
                  + " is "
                  + column.type()));
    } else if (local && rollup.source().zone() == null) {
      faults.add(
          definition.fault(
              path,
              column.name()
                  + " has no time zone; name the one it is in, as time: {column: "
                  + column.name()
                  + ", zone: UTC}"));
    } else if (zoned && rollup.source().zone() != null) {
      faults.add(
          definition.fault(
              path,
              column.name()
                  + " is a timestamptz, which needs no zone; write time: "
                  + column.name()));
    }
    notNull(table, path, column);
  }

  private void notNull(SourceTable table, String path, SourceTable.Column column) {
    if (!column.notNull()) {
      faults.add(
          definition.fault(
              path,
              column.name()
                  + " may be NULL; fill it, then run: ALTER TABLE "
                  + table.sqlName()
                  + " ALTER COLUMN "
                  + Sql.identifier(column.name())
                  + " SET NOT NULL;"));
    }
  }

  private SourceTable.@Nullable Column column(SourceTable table, String path, String name) {
    Optional<SourceTable.Column> column = table.column(name);
    if (column.isEmpty()) {
      faults.add(
          definition.fault(
              path,
              "no column '"
                  + name
                  + "' in "
                  + table.label()
                  + Names.didYouMean(name, table.columnNames())));
    }
    return column.orElse(null);
  }

  private static Optional<ColumnType> type(String sqlName, boolean isEnum) {
    return switch (sqlName) {
      case "character varying", "character", "name", "citext" -> Optional.of(ColumnType.TEXT);
      case "real" -> Optional.of(ColumnType.DOUBLE);
      default ->
          isEnum
              ? Optional.of(ColumnType.TEXT)
              : ColumnType.of(sqlName)
                  .filter(type -> type != ColumnType.BYTEA && type != ColumnType.VARBIT);
    };
  }

  /** An empty copy of the table under its own name, so that expressions may name the table. */
  private String temporaryCopy(SourceTable table) throws SQLException {
    String copy = "pg_temp." + Sql.identifier(table.name());
    Sql.run(
        connection,
        "set local search_path = pg_temp, "
            + Sql.identifier(table.schema())
            + ", public; create temporary table "
            + Sql.identifier(table.name())
            + " (like "
            + table.sqlName()
            + ")");
    return copy;
  }

  private Optional<ColumnType> dimension(SourceTable table, String copy, Dimension dimension)
      throws SQLException {
    String path = "dimensions." + dimension.name();
    String expressionPath = path + (dimension.column() ? "" : ".expression");
    if (dimension.column() && column(table, path, dimension.name()) == null) {
      return Optional.empty();
    }
    Optional<Typed> typed = typed(table, copy, expressionPath, dimension.expression());
    if (typed.isEmpty()) {
      return Optional.empty();
    }
    Optional<ColumnType> type = typed.get().columnType().filter(DIMENSIONS::contains);
    if (type.isEmpty()) {
      faults.add(
          definition.fault(
              path,
              "a dimension is text, varchar, uuid, smallint, integer, bigint, boolean or date; "
                  + dimension.name()
                  + " is "
                  + typed.get().name()));
    }
    return type;
  }

  private Optional<ColumnType> measure(SourceTable table, String copy, Measure measure)
      throws SQLException {
    String path = "measures." + measure.name();
    if (measure.where() != null) {
      Optional<Typed> where = typed(table, copy, path + ".where", measure.where());
      if (where.isPresent() && !where.get().name().equals("boolean")) {
        faults.add(
            definition.fault(
                path + ".where", "'where' takes a condition; this is " + where.get().name()));
      }
    }
    if (measure.expression() == null) {
      return Optional.of(ColumnType.BOOLEAN);
    }
    String at = path + ".expression";
    Optional<Typed> typed = typed(table, copy, at, measure.expression());
    if (typed.isEmpty()) {
      return Optional.empty();
    }
    Optional<ColumnType> type = typed.get().columnType();
    String name = typed.get().name();
    boolean fits =
        switch (measure.kind()) {
          case SUM, DISTRIBUTION -> type.filter(ColumnType::isNumber).isPresent();
          case MIN, MAX, LATEST, DISTINCT, COUNT -> type.isPresent();
        };
    if (!fits) {
      String remedy =
          type.isPresent()
              ? "it needs a number; cast it, as "
                  + measure.kind().label()
                  + "(("
                  + measure.expression()
                  + ")::numeric)"
              : "cast it, as " + measure.kind().label() + "((" + measure.expression() + ")::text)";
      faults.add(
          definition.fault(
              at, "a " + name + " cannot be used in " + measure.kind().label() + ": " + remedy));
      return Optional.empty();
    }
    return type;
  }

  /** The type of an expression. */
  private record Typed(String name, boolean isEnum) {
    Optional<ColumnType> columnType() {
      return type(name, isEnum);
    }
  }

  private Optional<Typed> typed(SourceTable table, String copy, String path, String expression)
      throws SQLException {
    Savepoint before = connection.setSavepoint();
    String head = "create temporary table tallyroll_typed as select (";
    try {
      Sql.run(connection, head + expression + "\n) as value from " + copy + " with no data");
      Typed typed =
          Sql.one(
              connection,
              """
              select format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null), t.typtype = 'e'
              from pg_attribute a join pg_type t on t.oid = a.atttypid
              where a.attrelid = 'pg_temp.tallyroll_typed'::regclass and a.attname = 'value'
              """,
              row -> new Typed(row.getString(1), row.getBoolean(2)));
      String full =
          Sql.one(
              connection,
              "select format_type(atttypid, atttypmod) from pg_attribute"
                  + " where attrelid = 'pg_temp.tallyroll_typed'::regclass and attname = 'value'",
              row -> row.getString(1));
      head =
          "alter table "
              + copy
              + " add column tallyroll_checked "
              + full
              + " generated always as (";
      Sql.run(connection, head + expression + "\n) stored");
      read.addAll(
          Sql.list(
              connection,
              """
              select distinct c.attname
              from pg_attribute g
              join pg_attrdef e on e.adrelid = g.attrelid and e.adnum = g.attnum
              join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = g.attrelid and d.refobjsubid > 0
                and (d.classid = 'pg_attrdef'::regclass and d.objid = e.oid
                  or d.classid = 'pg_class'::regclass and d.objid = g.attrelid and d.objsubid = g.attnum)
              join pg_attribute c on c.attrelid = g.attrelid and c.attnum = d.refobjsubid
              where g.attrelid = ?::regclass and g.attname = 'tallyroll_checked' and c.attnum <> g.attnum
              """,
              row -> row.getString(1),
              copy));
      return Optional.of(typed);
    } catch (SQLException e) {
      connection.rollback(before);
      faults.add(fault(table, path, expression, head.length(), e));
      return Optional.empty();
    } finally {
      connection.rollback(before);
    }
  }

  private Fault fault(
      SourceTable table, String path, String expression, int headLength, SQLException e) {
    String message = Faults.message(e).replaceAll(" \\(SQLSTATE .*\\)$", "");
    if (message.contains("generation expression is not immutable")) {
      return definition.fault(
          path,
          "the expression is not immutable: its value may not depend on the time, the session or chance, as now() and"
              + " random() do");
    }
    message =
        message
            .replace("column generation expressions", "a definition")
            .replace("column generation expression", "a definition");
    Matcher missing = MISSING_COLUMN.matcher(message);
    if (missing.find()) {
      String name = missing.group(1);
      String bare = name.substring(name.lastIndexOf('.') + 1);
      message =
          "no column '"
              + name
              + "' in "
              + table.label()
              + Names.didYouMean(bare, table.columnNames());
    }
    int offset = 0;
    if (e instanceof PSQLException server && server.getServerErrorMessage() != null) {
      int position = server.getServerErrorMessage().getPosition() - 1 - headLength;
      if (position >= 0 && position < expression.length()) {
        offset =
            expression.offsetByCodePoints(
                0, Math.min(position, expression.codePointCount(0, expression.length())));
      }
    }
    return definition.fault(path, offset, message);
  }
}
