package dev.tallyroll.postgres.capture;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.session.Sql;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Makes a table its own feed ({@code changes: append}): a column with the transaction that inserted
 * a row, an index on it, a check that refuses forged values, and triggers that refuse every change
 * but INSERT.
 *
 * <p>Why the check is NOT VALID for ever: rows from before have no value, and a dump restores it
 * after the data, whose values belong to another cluster.
 */
public final class AppendCapture {
  private static final String CHECK = "tallyroll_xid_is_own";
  private static final String ROWS_TRIGGER = "tallyroll_append_only";
  private static final String TRUNCATE_TRIGGER = "tallyroll_no_truncate";
  private static final int MOST_NAME_BYTES = 63;

  private final SourceTable table;

  /** The capture of a source. */
  public AppendCapture(SourceTable table) {
    this.table = table;
  }

  /**
   * What is missing of column, check and triggers: short statements for one transaction under one
   * lock.
   */
  public List<String> columnAndTriggers(Connection connection) throws SQLException {
    List<String> statements = new ArrayList<>();
    String name = table.sqlName();
    String xid = BoundRollup.XID_COLUMN;
    // Added without its default first: with it, every row would be rewritten.
    if (table.column(xid).isEmpty()) {
      statements.add("alter table " + name + " add column " + xid + " xid8");
    }
    boolean hasDefault =
        Sql.one(
            connection,
            "select exists (select from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum"
                + " where d.adrelid = ?::oid and a.attname = ?)",
            row -> row.getBoolean(1),
            table.oid(),
            xid);
    if (!hasDefault) {
      statements.add(
          "alter table " + name + " alter column " + xid + " set default pg_current_xact_id()");
    }
    boolean hasCheck =
        Sql.one(
            connection,
            "select exists (select from pg_constraint where conrelid = ?::oid and conname = ?)",
            row -> row.getBoolean(1),
            table.oid(),
            CHECK);
    if (!hasCheck) {
      statements.add(
          "alter table "
              + name
              + " add constraint "
              + CHECK
              + " check ("
              + xid
              + " is not null and "
              + xid
              + " = pg_current_xact_id()) not valid");
    }
    if (!hasTrigger(connection, table.oid(), ROWS_TRIGGER)) {
      statements.add(
          "create trigger "
              + ROWS_TRIGGER
              + " before update or delete on "
              + name
              + " for each row execute function tallyroll.refuse_change()");
    }
    // Statement triggers are not inherited: each partition needs its own.
    if (!hasTrigger(connection, table.oid(), TRUNCATE_TRIGGER)) {
      statements.add(truncateTrigger(name));
    }
    for (SourceTable.Partition partition : table.partitions(connection)) {
      if (!hasTrigger(connection, partition.oid(), TRUNCATE_TRIGGER)) {
        statements.add(truncateTrigger(partition.sqlName()));
      }
    }
    return statements;
  }

  private static String truncateTrigger(String table) {
    return "create trigger "
        + TRUNCATE_TRIGGER
        + " before truncate on "
        + table
        + " for each statement execute function tallyroll.refuse_change()";
  }

  private static boolean hasTrigger(Connection connection, long oid, String name)
      throws SQLException {
    return Sql.one(
        connection,
        "select exists (select from pg_trigger where tgrelid = ?::oid and tgname = ?)",
        row -> row.getBoolean(1),
        oid,
        name);
  }

  /** A new name for the index of a table. */
  private static String indexName(String table) {
    String suffix = "_tallyroll_xid";
    // PostgreSQL cuts a name at 63 bytes; what is cut off here must still tell tables apart.
    if (table.getBytes(StandardCharsets.UTF_8).length + suffix.length() > MOST_NAME_BYTES) {
      suffix = "_" + Integer.toHexString(table.hashCode()) + suffix;
    }
    String stem = table;
    while (stem.getBytes(StandardCharsets.UTF_8).length + suffix.length() > MOST_NAME_BYTES) {
      stem = stem.substring(0, stem.length() - 1);
    }
    return stem + suffix;
  }

  /** The index of a table. */
  private record Index(String name, boolean isValid) {}

  private static Optional<Index> index(Connection connection, long table) throws SQLException {
    return Sql.first(
        connection,
        """
        select c.relname, i.indisvalid and i.indisready
        from pg_index i join pg_class c on c.oid = i.indexrelid
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = ?::oid and i.indnatts = 1 and a.attname = ? and c.relname like '%\\_tallyroll\\_xid'
        order by 2 desc
        """,
        row -> new Index(row.getString(1), row.getBoolean(2)),
        table,
        BoundRollup.XID_COLUMN);
  }

  /**
   * The statements that make the index, to be run one by one outside a transaction; none if it is
   * there and valid.
   */
  public List<String> index(Connection connection) throws SQLException {
    List<String> statements = new ArrayList<>();
    Optional<Index> root = index(connection, table.oid());
    if (root.isPresent() && root.get().isValid()) {
      return statements;
    }
    String schema = Sql.identifier(table.schema()) + ".";
    String index = Sql.identifier(root.map(Index::name).orElse(indexName(table.name())));
    if (!table.isPartitioned()) {
      if (root.isPresent()) {
        statements.add("drop index concurrently " + schema + index);
      }
      statements.add("create index concurrently " + index + " on " + table.sqlName() + shape());
      return statements;
    }
    // A partitioned table refuses CONCURRENTLY: an invalid index on the parent alone, then one on
    // each partition, attached; the last one makes the parent's valid.
    if (root.isEmpty()) {
      statements.add("create index " + index + " on only " + table.sqlName() + shape());
    }
    List<SourceTable.Partition> partitions = table.partitions(connection);
    Map<Long, String> names = new HashMap<>();
    for (SourceTable.Partition partition : partitions) {
      Optional<Index> own = index(connection, partition.oid());
      String name = Sql.identifier(own.map(Index::name).orElse(indexName(partition.name())));
      String qualified = Sql.identifier(partition.schema()) + "." + name;
      names.put(partition.oid(), qualified);
      if (partition.partitioned()) {
        if (own.isEmpty()) {
          statements.add("create index " + name + " on only " + partition.sqlName() + shape());
        }
      } else if (own.isEmpty() || !own.get().isValid()) {
        if (own.isPresent()) {
          statements.add("drop index concurrently " + qualified);
        }
        statements.add(
            "create index concurrently " + name + " on " + partition.sqlName() + shape());
      }
    }
    for (SourceTable.Partition partition : partitions.reversed()) {
      statements.add(
          "alter index "
              + names.getOrDefault(partition.parent(), schema + index)
              + " attach partition "
              + names.get(partition.oid()));
    }
    return statements;
  }

  private static String shape() {
    return " (" + BoundRollup.XID_COLUMN + ") where " + BoundRollup.XID_COLUMN + " is not null";
  }

  /** What users of the table will notice, for {@code plan}. */
  public List<String> breaks() {
    List<String> breaks = new ArrayList<>();
    breaks.add("UPDATE, DELETE and TRUNCATE of " + table.label() + " are refused");
    breaks.add(
        "COPY and INSERT without a column list need their columns named: the table has one more");
    breaks.add(
        "logical replication and publications carry the new column; rows applied with foreign values are refused");
    if (table.isPartitioned()) {
      breaks.add(
          "ATTACH PARTITION needs an empty table with the new column, its default and its check: rows that were in it before are never counted; run apply again after it, so that its TRUNCATE is refused too");
    }
    return breaks;
  }

  /** Everything that capture added, removed. */
  public List<String> drop(Connection connection) throws SQLException {
    List<String> statements = new ArrayList<>();
    if (table.isEventLog()) {
      return statements;
    }
    String name = table.sqlName();
    statements.add("drop trigger if exists " + ROWS_TRIGGER + " on " + name);
    statements.add("drop trigger if exists " + TRUNCATE_TRIGGER + " on " + name);
    for (SourceTable.Partition partition : table.partitions(connection)) {
      statements.add("drop trigger if exists " + TRUNCATE_TRIGGER + " on " + partition.sqlName());
    }
    statements.add("alter table " + name + " drop constraint if exists " + CHECK);
    Optional<Index> index = index(connection, table.oid());
    if (index.isPresent()) {
      statements.add(
          "drop index "
              + Sql.identifier(table.schema())
              + "."
              + Sql.identifier(index.get().name()));
    }
    statements.add("alter table " + name + " drop column if exists " + BoundRollup.XID_COLUMN);
    return statements;
  }
}
