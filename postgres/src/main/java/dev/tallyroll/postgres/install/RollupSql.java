package dev.tallyroll.postgres.install;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.session.Sql;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The statements that make a rollup's tables, functions and views. */
final class RollupSql {
  private final BoundRollup bound;
  private final String refreshers;
  private final @Nullable ChangeLog log;

  /**
   * The statements of a rollup.
   *
   * @param refreshers the roles that install and refresh, quoted, which the policies let through
   * @param log the change log that it reads; null if it reads the source itself
   */
  RollupSql(BoundRollup bound, String refreshers, @Nullable ChangeLog log) {
    this.bound = bound;
    this.refreshers = refreshers;
    this.log = log;
  }

  /** All statements, in the order in which they must run. */
  List<String> create() {
    List<String> statements = new ArrayList<>(tables());
    for (Grain grain : bound.rollup().grains().keySet()) {
      statements.add(tail(grain));
      statements.add("revoke execute on function " + tailName(grain) + "() from public");
      statements.add(freshView(grain, List.of(), false));
      statements.add(mark(grain));
    }
    return statements;
  }

  /** The tables alone, for a rollup that nobody reads yet. */
  List<String> tables() {
    List<String> statements = new ArrayList<>();
    statements.add("create table " + bound.lockName() + " ()");
    for (Grain grain : bound.rollup().grains().keySet()) {
      statements.addAll(table(grain));
    }
    return statements;
  }

  /** What {@link #create} makes, dropped; objects that are not there are passed over. */
  List<String> drop() {
    List<String> statements = new ArrayList<>();
    for (Grain grain : bound.rollup().grains().keySet()) {
      statements.add("drop view if exists " + freshName(grain));
      statements.add("drop function if exists " + tailName(grain) + "()");
      statements.add("drop table if exists " + bound.grainTable(grain));
    }
    statements.add("drop table if exists " + bound.lockName());
    return statements;
  }

  String freshName(Grain grain) {
    return BoundRollup.qualified(bound.tableName(grain) + "_fresh");
  }

  String tailName(Grain grain) {
    return BoundRollup.qualified(bound.tableName(grain) + "_tail");
  }

  /** The name that a tail function has while another takes its place. */
  String oldTailName(Grain grain) {
    return BoundRollup.qualified(bound.tableName(grain) + "_tail~");
  }

  /**
   * A column of the rollup's tables.
   *
   * @param name its name
   * @param type its type, as {@code format_type} prints it
   * @param definition name, type and constraint in SQL
   */
  record Column(String name, String type, String definition) {
    private static Column of(String name, ColumnType type, boolean nullable) {
      return new Column(
          name,
          type.sqlName(),
          Sql.identifier(name) + " " + RollupSql.type(type) + (nullable ? "" : " not null"));
    }
  }

  /** The columns of the rollup's tables. */
  List<Column> columns() {
    List<Column> columns = new ArrayList<>();
    columns.add(Column.of("tenant", bound.tenantType(), false));
    columns.add(Column.of("bucket", ColumnType.TIMESTAMPTZ, false));
    for (int i = 0; i < bound.rollup().dimensions().size(); i++) {
      columns.add(
          Column.of(
              bound.rollup().dimensions().get(i).name(), bound.dimensionTypes().get(i), true));
    }
    for (StoredColumn column : bound.storedColumns()) {
      columns.add(Column.of(column.name(), column.type(), column.nullable()));
    }
    return columns;
  }

  /** The index of a grain's key. */
  String keyIndex(Grain grain) {
    return "create unique index "
        + Sql.identifier(bound.tableName(grain) + "_k")
        + " on "
        + bound.grainTable(grain)
        + " (tenant, bucket"
        + dimensions().map(dimension -> ", " + dimension).collect(Collectors.joining())
        + ") nulls not distinct";
  }

  /** The statements that make the table of a grain. */
  List<String> table(Grain grain) {
    String name = bound.grainTable(grain);
    return List.of(
        "create table "
            + name
            + " (\n  "
            + columns().stream().map(Column::definition).collect(Collectors.joining(",\n  "))
            + "\n) partition by range (bucket)",
        keyIndex(grain),
        "alter table " + name + " enable row level security, force row level security",
        "create policy tenant_reads on "
            + name
            + " for select using (tenant = (select nullif(current_setting('tallyroll.tenant', true), '')::"
            + bound.tenantType().sqlName()
            + "))",
        "create policy refresher on "
            + name
            + " to "
            + refreshers
            + " using (true) with check (true)",
        "comment on table "
            + name
            + " is "
            + Sql.literal(
                "Rollup "
                    + bound.name()
                    + " of "
                    + bound.table().label()
                    + " by "
                    + grain.label()));
  }

  private static String type(ColumnType type) {
    return type == ColumnType.TEXT ? "text collate \"C\"" : type.sqlName();
  }

  private String dimension(int index) {
    return Sql.identifier(bound.rollup().dimensions().get(index).name());
  }

  private Stream<String> dimensions() {
    return IntStream.range(0, bound.rollup().dimensions().size()).mapToObj(this::dimension);
  }

  /** The comment on a tail function by which it is known whether this program has made it. */
  String comment(Grain grain) {
    return "What no refresh has merged yet; made by "
        + Installer.hash(tail(grain) + freshView(grain, List.of(), false));
  }

  /** The statement that writes it down. */
  String mark(Grain grain) {
    return "comment on function " + tailName(grain) + "() is " + Sql.literal(comment(grain));
  }

  /** The function that tells what no refresh has merged into a grain yet. */
  String tail(Grain grain) {
    return new TailSql(bound, log).function(grain, tailName(grain));
  }

  /**
   * The fresh view of a grain.
   *
   * @param first names of columns that come first in this order, as a view has them that is
   *     replaced
   * @param marksAdopted whether it has {@link FreshViewSql#ADOPTED}
   */
  String freshView(Grain grain, List<String> first, boolean marksAdopted) {
    return new FreshViewSql(bound, log != null, columns().stream().map(Column::name).toList())
        .view(grain, freshName(grain), tailName(grain), first, marksAdopted);
  }
}
