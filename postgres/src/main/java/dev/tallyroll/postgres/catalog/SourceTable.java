package dev.tallyroll.postgres.catalog;

import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A table as the catalogs describe it.
 *
 * @param oid its object id
 * @param schema its schema
 * @param name its name
 * @param kind {@code r} for a table, {@code p} for a partitioned one; views and the like have
 *     others
 * @param columns its columns in their order
 */
public record SourceTable(long oid, String schema, String name, char kind, List<Column> columns) {
  /**
   * What {@link #read} reads, of {@code pg_class c} and {@code pg_namespace n}: a column for the
   * object id, the schema, the name, the kind and the columns.
   */
  public static final String SELECTED =
      """
      c.oid::bigint, n.nspname, c.relname, c.relkind::text,
      array(select array[a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null), (t.typtype = 'e')::text,
                         (a.attnotnull and not exists (
                            select from pg_constraint k
                            where k.conrelid = a.attrelid and k.contype = 'n' and a.attnum = any(k.conkey) and not k.convalidated))::text]
            from pg_attribute a join pg_type t on t.oid = a.atttypid
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            order by a.attnum)
      """;

  /**
   * A column.
   *
   * @param name its name
   * @param type its type as {@code format_type} prints it without modifiers; for a domain the type
   *     below
   * @param isEnum whether the type is an enumeration
   * @param notNull whether it is NOT NULL, validated
   */
  public record Column(String name, String type, boolean isEnum, boolean notNull) {}

  /** Copies the list. */
  public SourceTable {
    columns = List.copyOf(columns);
  }

  /** The name to use in SQL, quoted. */
  public String sqlName() {
    return Sql.identifier(schema) + "." + Sql.identifier(name);
  }

  /** The name for people. */
  public String label() {
    return schema + "." + name;
  }

  /** Whether rows are stored in it, or in its partitions. */
  public boolean isTable() {
    return kind == 'r' || kind == 'p';
  }

  /** Whether it is the event log, which was made as a feed and has row-level security. */
  public boolean isEventLog() {
    return schema.equals("tallyroll") && name.equals("event");
  }

  /** Whether it is partitioned. */
  public boolean isPartitioned() {
    return kind == 'p';
  }

  /** The column of this name, if there is one. */
  public Optional<Column> column(String column) {
    return columns.stream().filter(candidate -> candidate.name().equals(column)).findFirst();
  }

  /** The names of all columns. */
  public List<String> columnNames() {
    return columns.stream().map(Column::name).toList();
  }

  /** Finds a table by name; without a schema in {@code public}. */
  public static Optional<SourceTable> find(
      Connection connection, @Nullable String schema, String name) throws SQLException {
    String label =
        schema == null ? Sql.identifier(name) : Sql.identifier(schema) + "." + Sql.identifier(name);
    Optional<Long> oid =
        Sql.first(
            connection,
            "select to_regclass(?)::oid::bigint where to_regclass(?) is not null",
            result -> result.getLong(1),
            label,
            label);
    return oid.isEmpty() ? Optional.empty() : find(connection, oid.get());
  }

  /**
   * Reads a table from the columns of {@link #SELECTED}.
   *
   * @param first the place of the first of them
   * @return empty if the row has none, as of an outer join
   */
  public static Optional<SourceTable> read(ResultSet row, int first) throws SQLException {
    long oid = row.getLong(first);
    if (row.wasNull()) {
      return Optional.empty();
    }
    List<Column> columns = new ArrayList<>();
    // Without a column it is an array of no dimension.
    for (Object column : (Object[]) row.getArray(first + 4).getArray()) {
      String[] parts = (String[]) column;
      columns.add(
          new Column(
              parts[0], parts[1], Boolean.parseBoolean(parts[2]), Boolean.parseBoolean(parts[3])));
    }
    return Optional.of(
        new SourceTable(
            oid,
            row.getString(first + 1),
            row.getString(first + 2),
            row.getString(first + 3).charAt(0),
            columns));
  }

  /** Finds a table by its object id. */
  public static Optional<SourceTable> find(Connection connection, long oid) throws SQLException {
    return Sql.first(
            connection,
            "select "
                + SELECTED
                + " from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = ?::oid",
            row -> read(row, 1),
            oid)
        .flatMap(found -> found);
  }

  /**
   * All partitions below this table, whatever their depth, parents before their children; itself
   * not.
   */
  public List<Partition> partitions(Connection connection) throws SQLException {
    return Sql.list(
        connection,
        """
        select t.relid::oid::bigint, n.nspname, c.relname, not t.isleaf, p.oid::bigint
        from pg_partition_tree(?::oid::regclass) t
        join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace
        join pg_class p on p.oid = t.parentrelid
        where t.level > 0
        order by t.level, c.relname
        """,
        row ->
            new Partition(
                row.getLong(1),
                row.getString(2),
                row.getString(3),
                row.getBoolean(4),
                row.getLong(5)),
        oid);
  }

  /**
   * A partition of a table.
   *
   * @param oid its object id
   * @param schema its schema
   * @param name its name
   * @param partitioned whether it has partitions itself
   * @param parent the object id of its parent
   */
  public record Partition(long oid, String schema, String name, boolean partitioned, long parent) {
    /** The name to use in SQL, quoted. */
    public String sqlName() {
      return Sql.identifier(schema) + "." + Sql.identifier(name);
    }
  }

  /**
   * Whether a btree index has this column first, so that a range of it is found without reading the
   * whole table.
   */
  public boolean hasIndexOn(Connection connection, String column) throws SQLException {
    return Sql.one(
        connection,
        """
        select exists (
          select from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
          where i.indrelid = ?::oid and i.indisvalid and i.indpred is null and a.attname = ?
            and m.amname in ('btree', 'brin'))
        or exists (
          select from pg_partitioned_table p join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
          where p.partrelid = ?::oid and a.attname = ?)
        """,
        row -> row.getBoolean(1),
        oid,
        column,
        oid,
        column);
  }

  /**
   * Why not all changes of the table can be captured, if so: to be asked again and again, since a
   * table may become a part of another one.
   *
   * @param byTriggers whether they are captured by statement triggers, and not by a column
   */
  public Optional<String> obstacle(Connection connection, boolean byTriggers) throws SQLException {
    return Sql.one(
            connection,
            """
            select case
                when c.relkind = 'r' and exists (select from pg_inherits i where i.inhparent = c.oid)
                  then 'has tables that inherit from it; only partitions can be captured'
                when not ? then null
                when exists (select from pg_inherits i where i.inhrelid = c.oid)
                  then 'is a part of ' || (select i.inhparent::regclass from pg_inherits i where i.inhrelid = c.oid limit 1)
                       || ', and what is written through that is not seen by its triggers; name that table'
                when exists (select from pg_partition_tree(c.oid) t join pg_class p on p.oid = t.relid where p.relkind = 'f')
                  then 'has a foreign table as a partition, which cannot have the triggers'
                when exists (select from pg_attribute a where a.attrelid = c.oid and to_jsonb(a)->>'attgenerated' = 'v')
                  then 'has a virtual generated column, which triggers see as NULL; make it STORED'
              end
            from pg_class c where c.oid = ?::oid
            """,
            row -> Optional.ofNullable(row.getString(1)),
            byTriggers,
            oid)
        .map(why -> label() + " " + why);
  }

  /**
   * Whether the connection's role may keep writers away: LOCK TABLE asks for a right to write,
   * which who reads or puts triggers on a table needs for nothing else.
   */
  public boolean mayLock(Connection connection) throws SQLException {
    return Sql.one(
        connection,
        "select has_table_privilege(?::oid, 'update, delete, truncate')",
        row -> row.getBoolean(1),
        oid);
  }
}
