package dev.tallyroll.postgres.catalog;

import dev.tallyroll.model.definition.Changes;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.Scalar;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Sql;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A rollup bound to its table: every expression has a type. Immutable.
 *
 * @param rollup the definition
 * @param table the source
 * @param tenantType the type of the tenant column of the rollup's tables
 * @param dimensionTypes the type of each dimension
 * @param inputTypes the type of each measure's expression; a count has {@code boolean}
 * @param sourceColumns the names of the source's columns that the definition reads, in the table's
 *     order
 */
public record BoundRollup(
    Rollup rollup,
    SourceTable table,
    ColumnType tenantType,
    List<ColumnType> dimensionTypes,
    List<ColumnType> inputTypes,
    List<String> sourceColumns) {
  /** The schema that all of Tallyroll's tables are in. */
  public static final String SCHEMA = "tallyroll";

  /** The longest tenant or dimension, in bytes: a row of the key's index holds 2,704. */
  public static final int MOST_KEY_BYTES = 512;

  /** The column that makes an append table its own feed. */
  public static final String XID_COLUMN = "tallyroll_xid";

  /** What stands for the dimensions of the keys that a query folds into one. */
  public static final String OTHER = "(other)";

  /**
   * Marks {@link #OTHER} in a key in memory; the length of a real field is -1, for NULL, or more.
   */
  public static final int OTHER_LENGTH = -2;

  /** Copies the lists. */
  public BoundRollup {
    dimensionTypes = List.copyOf(dimensionTypes);
    inputTypes = List.copyOf(inputTypes);
    sourceColumns = List.copyOf(sourceColumns);
  }

  /** The same under another name. */
  public BoundRollup named(String other) {
    return new BoundRollup(
        rollup.named(other), table, tenantType, dimensionTypes, inputTypes, sourceColumns);
  }

  /** The index of the measure that counts all rows, which tells when none is left; or -1. */
  public int rowCount() {
    List<Measure> measures = rollup.measures();
    for (int i = 0; i < measures.size(); i++) {
      if (measures.get(i).kind() == Measure.Kind.COUNT && measures.get(i).where() == null) {
        return i;
      }
    }
    return -1;
  }

  /** Whether rows of the source may change after they were inserted. */
  public boolean isChanging() {
    return rollup.source().changes() == Changes.ANY;
  }

  /** The rollup's name. */
  public String name() {
    return rollup.name();
  }

  /** The table of a grain, quoted. */
  public String grainTable(Grain grain) {
    return qualified(tableName(grain));
  }

  /** The table of a grain, its bare name. */
  public String tableName(Grain grain) {
    return rollup.name() + "_" + grain.suffix();
  }

  /** The empty table whose lock serves everything that writes this rollup. */
  public String lockName() {
    return qualified(rollup.name() + "_lock");
  }

  /** A name in Tallyroll's schema, quoted. */
  public static String qualified(String name) {
    return SCHEMA + "." + Sql.identifier(name);
  }

  /** New columns of partials, one for each measure. */
  public List<PartialColumn> newColumns() {
    List<PartialColumn> columns = new ArrayList<>();
    for (int i = 0; i < rollup.measures().size(); i++) {
      columns.add(PartialColumn.of(rollup.measures().get(i), inputTypes.get(i)));
    }
    return columns;
  }

  /** The stored columns of all measures, in their order. */
  public List<StoredColumn> storedColumns() {
    return newColumns().stream().flatMap(column -> column.stored().stream()).toList();
  }

  /**
   * The columns of a rollup table's key without the bucket, quoted: the tenant, then the
   * dimensions.
   */
  public List<String> keyColumns() {
    return Stream.concat(
            Stream.of("tenant"),
            rollup.dimensions().stream().map(dimension -> Sql.identifier(dimension.name())))
        .toList();
  }

  /** How many {@link #keyColumns} there are; costs nothing, for whoever asks at each row. */
  public int keys() {
    return rollup.dimensions().size() + 1;
  }

  /** The types of {@link #keyColumns}. */
  public List<ColumnType> keyTypes() {
    return Stream.concat(Stream.of(tenantType), dimensionTypes.stream()).toList();
  }

  /** All columns of a rollup table that hold measures, quoted. */
  public List<String> measureColumns() {
    return storedColumns().stream().map(column -> Sql.identifier(column.name())).toList();
  }

  /** The event time of a source row as an instant, in SQL. */
  public String timeSql() {
    String column = Sql.identifier(rollup.source().time());
    String zone = rollup.source().zone();
    return zone == null ? column : "(" + column + " at time zone " + Sql.literal(zone) + ")";
  }

  /** The tenant and the dimensions of a source row in SQL, each of its {@link #keyTypes() type}. */
  public List<String> keySql() {
    List<String> sql = new ArrayList<>();
    sql.add(cast(Sql.identifier(rollup.source().tenant()), tenantType));
    for (int i = 0; i < rollup.dimensions().size(); i++) {
      Dimension dimension = rollup.dimensions().get(i);
      sql.add(
          cast(
              dimension.column() ? dimension.expression() : "(" + dimension.expression() + ")",
              dimensionTypes.get(i)));
    }
    return sql;
  }

  private static String cast(String sql, ColumnType type) {
    return type == ColumnType.TEXT ? sql + "::text" : sql;
  }

  /**
   * The input of a measure over a source row in SQL, NULL where the row does not count; null if
   * every row counts.
   */
  public @Nullable String inputSql(int index) {
    Measure measure = rollup.measures().get(index);
    String where = measure.where();
    String expression = measure.expression();
    if (expression == null) {
      return where == null ? null : "case when (" + where + ") then true end";
    }
    String value =
        measure.kind() == Measure.Kind.DISTINCT
            ? "(" + expression + ")::text"
            : switch (inputTypes.get(index)) {
              case TEXT -> "(" + expression + ")::text";
              case DOUBLE -> "(" + expression + ")::double precision";
              default -> "(" + expression + ")";
            };
    return where == null ? value : "case when (" + where + ") then " + value + " end";
  }

  /** The measures' inputs that are read from the source, in order; counts of all rows have none. */
  public List<String> inputsSql() {
    List<String> inputs = new ArrayList<>();
    for (int i = 0; i < rollup.measures().size(); i++) {
      String input = inputSql(i);
      if (input != null) {
        inputs.add(input);
      }
    }
    return inputs;
  }

  /** The search path that expressions are resolved by: the source's schema, then {@code public}. */
  public String searchPath() {
    return Sql.identifier(table.schema()) + ", public, pg_temp";
  }

  /**
   * The same rollup with only some of its dimensions and measures, in the given order.
   *
   * @throws IllegalArgumentException if it has none of such a name
   */
  public BoundRollup project(List<String> dimensions, List<String> measures) {
    List<Integer> dimensionAt =
        dimensions.stream()
            .map(name -> index(rollup.dimensions().stream().map(Dimension::name).toList(), name))
            .toList();
    List<Integer> measureAt =
        measures.stream()
            .map(name -> index(rollup.measures().stream().map(Measure::name).toList(), name))
            .toList();
    return new BoundRollup(
        new Rollup(
            rollup.name(),
            rollup.source(),
            dimensionAt.stream().map(rollup.dimensions()::get).toList(),
            measureAt.stream().map(rollup.measures()::get).toList(),
            rollup.grains()),
        table,
        tenantType,
        dimensionAt.stream().map(dimensionTypes::get).toList(),
        measureAt.stream().map(inputTypes::get).toList(),
        sourceColumns);
  }

  private static int index(List<String> names, String name) {
    int at = names.indexOf(name);
    if (at < 0) {
      throw new IllegalArgumentException("nothing is named " + name);
    }
    return at;
  }

  /** The number of a key's tenant in a set of tenants, to which it is added if it is new. */
  public static int internTenant(KeySet tenants, KeySet keys, int key) {
    int start = keys.start(key);
    int length = ByteBuffer.wrap(keys.pool()).getInt(start);
    return tenants.intern(keys.pool(), start, Integer.BYTES + length);
  }

  /** A key's tenant and dimensions as Java objects, as {@link ColumnType#box} makes them. */
  public List<@Nullable Object> decodeKey(KeySet keys, int key) {
    ByteBuffer lengths = ByteBuffer.wrap(keys.pool());
    Scalar scalar = new Scalar();
    List<@Nullable Object> fields = new ArrayList<>();
    int at = keys.start(key);
    for (ColumnType type : keyTypes()) {
      int length = lengths.getInt(at);
      at += Integer.BYTES;
      if (length == OTHER_LENGTH) {
        fields.add(OTHER);
      } else if (length < 0) {
        fields.add(null);
      } else {
        RowReader.decode(type, keys.pool(), at, length, scalar);
        fields.add(type.box(scalar));
        at += length;
      }
    }
    return fields;
  }
}
