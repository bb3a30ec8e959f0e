package dev.tallyroll.postgres.install;

import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.session.Sql;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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

  /**
   * The committed rows that no refresh has merged yet, as partials: the same aggregates as the fold
   * in Java.
   */
  String tail(Grain grain) {
    List<String> keys = bound.keySql();
    List<String> inner = new ArrayList<>();
    for (int i = 0; i < keys.size(); i++) {
      inner.add(keys.get(i) + " as k" + i);
    }
    inner.add(bound.timeSql() + " as ts");
    for (int i = 0; i < bound.rollup().measures().size(); i++) {
      String input = bound.inputSql(i);
      inner.add((input == null ? "true" : input) + " as v" + i);
    }
    List<String> conditions = new ArrayList<>();
    conditions.add("ts <= pg_catalog.now() + interval '1 day'");
    conditions.add(
        "ts >= (select kept_from from tallyroll.grain where rollup = "
            + Sql.literal(bound.name())
            + " and grain = "
            + Sql.literal(grain.label())
            + ")");
    conditions.add("pg_catalog.isfinite(ts)");
    conditions.add(
        "(select tallyroll.is_defined("
            + Sql.literal(bound.name())
            + ", "
            + Sql.literal(Installer.hash(bound.rollup().text()))
            + "))");
    for (int i = 0; i < keys.size(); i++) {
      if (bound.keyTypes().get(i) == ColumnType.TEXT) {
        conditions.add(
            "coalesce(pg_catalog.octet_length(k" + i + "), 0) <= " + BoundRollup.MOST_KEY_BYTES);
      }
    }
    conditions.add(tenantRule(grain, "k0"));
    List<String> returned = new ArrayList<>();
    returned.add("tenant " + bound.tenantType().sqlName());
    returned.add("bucket timestamptz");
    for (int i = 0; i < bound.rollup().dimensions().size(); i++) {
      returned.add(dimension(i) + " " + bound.dimensionTypes().get(i).sqlName());
    }
    bound
        .storedColumns()
        .forEach(
            column -> returned.add(Sql.identifier(column.name()) + " " + column.type().sqlName()));
    returned.add(REPLACES + " boolean");
    returned.add(ROWS + " bigint");
    List<String> outer = new ArrayList<>();
    outer.add("k0");
    outer.add("bucket");
    IntStream.range(1, keys.size()).forEach(i -> outer.add("k" + i));
    String groups =
        IntStream.rangeClosed(1, keys.size() + 1)
            .mapToObj(Integer::toString)
            .collect(Collectors.joining(", "));
    for (int i = 0; i < bound.rollup().measures().size(); i++) {
      outer.addAll(
          aggregates(bound.rollup().measures().get(i), bound.inputTypes().get(i), "v" + i));
    }
    String unread =
        (grain.zone().isPresent() ? daysOf(grain) + ",\n" : "")
            + "unread as materialized (\n  select feed.*, "
            + bucket(grain, "ts")
            + " as bucket, "
            + bucketEnd(grain, "ts")
            + " as bucket_end from (\n"
            + unread(inner)
            + "\n  ) as feed\n  where "
            + String.join("\n    and ", conditions)
            + "\n)";
    String changed =
        log == null
            ? "select "
                + String.join(",\n  ", outer)
                + ",\n  false, pg_catalog.count(*)\nfrom unread\ngroup by "
                + groups
            : changes(grain, inner, outer, groups);
    String body =
        "with "
            + unread
            + (log == null
                ? ""
                : ",\naffected as (select distinct "
                    + String.join(", ", keys(keys.size()))
                    + ", bucket, bucket_end, exists (select from tallyroll.seal l join tallyroll.rollup r on r.source = l.source where r.name = "
                    + Sql.literal(bound.name())
                    + " and l.range_from < bucket_end and bucket < l.range_to) as is_sealed from unread where is_out)")
            + (finer(grain).isEmpty() ? "\n" + changed : withOpen(grain, changed));
    return "create function "
        + tailName(grain)
        + "() returns table (\n  "
        + String.join(",\n  ", returned)
        + "\n) language sql stable security definer\nset search_path = "
        + bound.searchPath()
        + "\nset timezone = 'UTC' set datestyle = 'ISO, YMD' set extra_float_digits = 1 set intervalstyle = 'iso_8601' set bytea_output = 'hex' as $tail$\n"
        + body
        + "\n$tail$";
  }

  private static List<String> keys(int count) {
    return IntStream.range(0, count).mapToObj(i -> "k" + i).toList();
  }

  /** The fixed grains of which the open buckets of a grain are made, coarsest first. */
  private List<Grain> finer(Grain grain) {
    return bound.rollup().grains().headMap(grain).keySet().stream()
        .filter(finer -> finer.zone().isEmpty() && grain.madeOfFrom(finer) < Long.MAX_VALUE)
        .sorted(Comparator.reverseOrder())
        .toList();
  }

  private String openFrom(Grain grain) {
    return "(select coalesce(open_from, 'infinity') from tallyroll.grain where rollup = "
        + Sql.literal(bound.name())
        + " and grain = "
        + Sql.literal(grain.label())
        + ")";
  }

  /** That the caller may see a tenant. */
  private String tenantRule(Grain grain, String tenant) {
    return "((select tallyroll.caller_sees_all(c.relowner) from pg_class c where c.oid = "
        + Sql.literal(bound.grainTable(grain))
        + "::regclass) or "
        + tenant
        + " = (select nullif(pg_catalog.current_setting('tallyroll.tenant', true), '')::"
        + bound.tenantType().sqlName()
        + "))";
  }

  /**
   * The tail of a grain that may have open buckets: these are not stored, so all of them is in the
   * tail, merged of finer stored buckets and of what is not merged yet.
   */
  private String withOpen(Grain grain, String changed) {
    List<String> keys = keys(bound.keyColumns().size());
    List<StoredColumn> stored = bound.storedColumns();
    List<String> columns = IntStream.range(0, stored.size()).mapToObj(i -> "c" + i).toList();
    List<String> names = new ArrayList<>();
    names.add("k0");
    names.add("bucket");
    names.addAll(keys.subList(1, keys.size()));
    names.addAll(columns);
    names.add("replaces");
    names.add("changes");
    String same =
        keys.stream()
            .map(key -> {
              String collation = collation(bound.keyTypes().get(keys.indexOf(key)));
              return " and c." + key + collation + " is not distinct from o." + key + collation;
            })
            .collect(Collectors.joining());
    List<String> parts = new ArrayList<>();
    List<String> collated = new ArrayList<>();
    for (int i = 0; i < keys.size(); i++) {
      collated.add(keys.get(i) + collation(bound.keyTypes().get(i)));
    }
    collated.add(1, "bucket");
    for (int i = 0; i < stored.size(); i++) {
      collated.add(columns.get(i) + collation(stored.get(i).type()));
    }
    parts.add(
        "select "
            + String.join(", ", collated)
            + ", changes, false as is_finer from changed where not replaces");
    Grain coarser = grain;
    for (Grain finer : finer(grain)) {
      parts.add(
          "select o.* from (select tenant as k0, "
              + bucket(grain, "f.bucket")
              + " as bucket"
              + IntStream.range(1, keys.size())
                  .mapToObj(i -> ", " + bound.keyColumns().get(i) + " as k" + i)
                  .collect(Collectors.joining())
              + IntStream.range(0, stored.size())
                  .mapToObj(i -> ", " + bound.measureColumns().get(i) + " as c" + i)
                  .collect(Collectors.joining())
              + ", 0::bigint as changes, true as is_finer from "
              + bound.grainTable(finer)
              + " f where f.bucket >= greatest("
              + openFrom(grain)
              + ", "
              + openFrom(coarser)
              + ") and f.bucket < "
              + openFrom(finer)
              + " and "
              + tenantRule(grain, "tenant")
              + ") o where not exists (select from changed c where c.replaces and c.bucket = o.bucket"
              + same
              + ")");
      coarser = finer;
    }
    List<String> merged = new ArrayList<>();
    int at = 0;
    for (int i = 0; i < bound.rollup().measures().size(); i++) {
      Measure measure = bound.rollup().measures().get(i);
      List<StoredColumn> of = bound.newColumns().get(i).stored();
      merged.addAll(mergedColumns(measure, of, columns.subList(at, at + of.size())));
      at += of.size();
    }
    List<String> grouped = names.subList(0, keys.size() + 1);
    return ",\nchanged ("
        + String.join(", ", names)
        + ") as materialized (\n"
        + changed
        + "\n)\nselect "
        + String.join(", ", grouped)
        + ",\n  "
        + String.join(",\n  ", merged)
        + ",\n  false, case when pg_catalog.min(changes) >= 0 then pg_catalog.sum(changes)::bigint when pg_catalog.bool_or(is_finer) then -2 else -1 end\nfrom (\n  "
        + String.join("\n  union all ", parts)
        + "\n) as parts\ngroup by "
        + String.join(", ", grouped)
        + "\nunion all\nselect "
        + String.join(", ", names)
        + " from changed where replaces";
  }

  private static String collation(ColumnType type) {
    return type == ColumnType.TEXT ? " collate \"C\"" : "";
  }

  /** The stored columns of a measure, merged over a group. */
  private static List<String> mergedColumns(
      Measure measure, List<StoredColumn> stored, List<String> columns) {
    if (measure.kind() == Measure.Kind.LATEST) {
      String value = columns.get(0);
      String time = columns.get(1);
      String filter = " filter (where " + time + " is not null)";
      return List.of(
          "(pg_catalog.array_agg("
              + value
              + " order by "
              + time
              + " desc, "
              + value
              + " desc)"
              + filter
              + ")[1]",
          "pg_catalog.max(" + time + ")");
    }
    List<String> merged = new ArrayList<>();
    for (int i = 0; i < stored.size(); i++) {
      StoredColumn column = stored.get(i);
      String name = columns.get(i);
      merged.add(
          switch (merging(measure, column)) {
            case ADD -> "pg_catalog.sum(" + name + ")::" + column.type().sqlName();
            case LEAST -> extreme(column.type(), name, "", false);
            case GREATEST -> extreme(column.type(), name, "", true);
            case HISTOGRAM, DISTINCT -> "tallyroll.merge(" + name + ")";
          });
    }
    return merged;
  }

  /** The days of a zone, unpacked once. */
  private String daysOf(Grain grain) {
    return "days as materialized (select tallyroll.local_days("
        + Sql.literal(bound.name())
        + ", "
        + Sql.literal(grain.label())
        + ") as starts)";
  }

  private static final String STARTS = "(select starts from days)";

  /** The start of the bucket that holds a time. */
  private static String bucket(Grain grain, String time) {
    return grain.zone().isEmpty()
        ? "pg_catalog.date_bin('"
            + grain.width().toSeconds()
            + " seconds', "
            + time
            + ", 'epoch'::timestamptz)"
        : STARTS + "[" + day(time) + "]";
  }

  /** The end of the bucket that holds a time. */
  private static String bucketEnd(Grain grain, String time) {
    return grain.zone().isEmpty()
        ? bucket(grain, time) + " + interval '" + grain.width().toSeconds() + " seconds'"
        : STARTS + "[" + day(time) + " + 1]";
  }

  /** Which day of a zone holds a time. */
  private static String day(String time) {
    return "pg_catalog.width_bucket(" + time + ", " + STARTS + ")";
  }

  /** A column of the tail: whether a row stands for the stored one, and is not added to it. */
  private static final String REPLACES = "tallyroll_replaces";

  /**
   * A column of the tail: from how many rows of the source or the log a row is made. Less than none
   * where something was taken out of a sealed bucket, which is shown as it is stored: -1 in its own
   * grain, -2 in finer ones.
   */
  private static final String ROWS = "tallyroll_rows";

  /** The rows that the cursor has not seen, with the values that the fold would read of them. */
  private String unread(List<String> inner) {
    String of = " from tallyroll.rollup where name = " + Sql.literal(bound.name());
    String select = "    select " + String.join(", ", inner);
    String where = "";
    if (log == null) {
      select += " from " + bound.table().sqlName();
    } else {
      String time = bound.timeSql();
      String name = Sql.literal(bound.name());
      select +=
          ", "
              + ChangeLog.SIGN
              + " < 0 as is_out from "
              + log.sqlName()
              + " as "
              + Sql.identifier(bound.table().name());
      where =
          " and "
              + ChangeLog.SIGN
              + " <> 0 and (select tallyroll.log_is_whole("
              + Sql.literal(log.sqlName())
              + "::regclass))\n      and not (select tallyroll.uncovered("
              + name
              + ")) @> "
              + time
              + "\n      and not tallyroll.is_counted("
              + name
              + ", "
              + time
              + ", "
              + BoundRollup.XID_COLUMN
              + ", "
              + ChangeLog.SIGN
              + ")";
    }
    String since =
        BoundRollup.XID_COLUMN + " >= (select pg_catalog.pg_snapshot_xmax(cursor)" + of + ")";
    String among =
        BoundRollup.XID_COLUMN
            + " = any (array(select pg_catalog.pg_snapshot_xip(cursor)"
            + of
            + "))";
    // OR would read a whole source; the log's partitions are small, or have an index for it.
    return log == null
        ? select + "\n    where " + since + "\n    union all\n" + select + "\n    where " + among
        : select + "\n    where (" + since + " or " + among + ")" + where;
  }

  /**
   * The tail of a changing source: what was only added to is added; a bucket from which something
   * was taken out is computed anew from the source, and replaces the stored one.
   */
  private String changes(Grain grain, List<String> inner, List<String> outer, String groups) {
    List<String> keys = keys(bound.keyColumns().size());
    String same =
        keys.stream()
            .map(key -> "tallyroll_s." + key + " is not distinct from tallyroll_a." + key)
            .collect(Collectors.joining(" and "));
    String range = FeedSql.inRange(bound, "tallyroll_a.bucket", "tallyroll_a.bucket_end");
    if (grain.zone().isPresent()) {
      // Of a day that is filled in part.
      range +=
          " and not (select tallyroll.uncovered("
              + Sql.literal(bound.name())
              + ")) @> "
              + bound.timeSql();
    }
    String quarantined =
        FeedSql.key(bound)
            + " not in (select "
            + FeedSql.keyOfEntry(bound)
            + " from tallyroll.quarantine where kind = 'row' and rollup = "
            + Sql.literal(bound.name())
            + ")";
    List<String> replaced = new ArrayList<>();
    replaced.add("tallyroll_a.k0");
    replaced.add("tallyroll_a.bucket");
    keys.stream().skip(1).forEach(key -> replaced.add("tallyroll_a." + key));
    replaced.addAll(outer.subList(1 + keys.size(), outer.size()));
    return "select "
        + String.join(",\n  ", outer)
        + ",\n  false, pg_catalog.count(*)\nfrom unread tallyroll_s\nwhere not exists (select from affected tallyroll_a where tallyroll_s.bucket = tallyroll_a.bucket and "
        + same
        + ")\ngroup by "
        + groups
        + "\nunion all\nselect "
        + String.join(",\n  ", replaced)
        // Of a sealed one the rows are gone: it is shown as it is stored, and as not complete.
        + ",\n  not is_sealed, case when is_sealed then -1 else pg_catalog.count(tallyroll_s.ts) end\nfrom affected tallyroll_a left join lateral (\n  select * from (select "
        + String.join(", ", inner)
        + " from "
        + bound.table().sqlName()
        + " where "
        + bound.keySql().getFirst()
        + " = tallyroll_a.k0 and not tallyroll_a.is_sealed and "
        + range
        + " and "
        + quarantined
        + " offset 0) tallyroll_s where "
        + same
        + "\n) tallyroll_s on true\ngroup by "
        + groups
        + ", is_sealed";
  }

  private static List<String> aggregates(Measure measure, ColumnType type, String value) {
    String special = "('NaN', 'Infinity', '-Infinity')";
    String finite =
        type.isMaybeNonFinite() ? " filter (where " + value + " not in " + special + ")" : "";
    List<String> sql = new ArrayList<>();
    switch (measure.kind()) {
      case COUNT -> sql.add("pg_catalog.count(" + value + ")");
      case SUM -> sql.add("pg_catalog.sum(" + value + ")" + finite);
      case MIN -> sql.add(extreme(type, value, finite, false));
      case MAX -> sql.add(extreme(type, value, finite, true));
      case LATEST -> {
        String order = value + (type == ColumnType.TEXT ? " collate \"C\"" : "");
        String filter =
            " filter (where "
                + value
                + " is not null"
                + (type.isMaybeNonFinite() ? " and " + value + " not in " + special : "")
                + ")";
        sql.add(
            "(pg_catalog.array_agg("
                + value
                + " order by ts desc, "
                + order
                + " desc)"
                + filter
                + ")[1]");
        sql.add("pg_catalog.max(ts)" + filter);
        return sql;
      }
      case DISTRIBUTION -> {
        sql.add("pg_catalog.count(" + value + ")" + finite);
        sql.add("pg_catalog.sum(" + value + ")" + finite);
        sql.add(extreme(type, value, finite, false));
        sql.add(extreme(type, value, finite, true));
        sql.add("tallyroll.histogram(" + value + "::double precision)");
      }
      case DISTINCT -> {
        sql.add("tallyroll.distinct_sketch(" + value + ")");
        return sql;
      }
    }
    if (measure.kind() != Measure.Kind.COUNT && type.isMaybeNonFinite()) {
      sql.add("nullif(pg_catalog.count(*) filter (where " + value + " in " + special + "), 0)");
    }
    return sql;
  }

  /** There is no min of booleans, and none of UUIDs before PostgreSQL 18. */
  private static String extreme(ColumnType type, String value, String finite, boolean greatest) {
    return switch (type) {
      case UUID, BOOLEAN ->
          "(pg_catalog.array_agg("
              + value
              + " order by "
              + value
              + (greatest ? " desc" : "")
              + ") filter (where "
              + value
              + " is not null))[1]";
      case TEXT -> (greatest ? "pg_catalog.max(" : "pg_catalog.min(") + value + " collate \"C\")";
      default -> (greatest ? "pg_catalog.max(" : "pg_catalog.min(") + value + ")" + finite;
    };
  }

  /** The name of the last column of a fresh view: whether the history of its bucket is filled. */
  static final String COMPLETE = "complete";

  /**
   * The name of a column that the fresh views of a rollup have once buckets were adopted, unless
   * something of the definition is called so: whether this bucket was.
   */
  static final String ADOPTED = "adopted";

  /**
   * The fresh view of a grain.
   *
   * @param first names of columns that come first in this order, as a view has them that is
   *     replaced
   * @param marksAdopted whether it has {@link #ADOPTED}
   */
  String freshView(Grain grain, List<String> first, boolean marksAdopted) {
    String same =
        "t.tenant = r.tenant and t.bucket = r.bucket"
            + dimensions()
                .map(d -> " and t." + d + " is not distinct from r." + d)
                .collect(Collectors.joining());
    String covered =
        "not ((select tallyroll."
            + (grain.zone().isEmpty() ? "uncovered(" : "uncovered_days(")
            + Sql.literal(bound.name())
            + (grain.zone().isEmpty() ? "" : ", " + Sql.literal(grain.label()))
            + ")) @> %1$s.bucket) and %1$s.bucket >= (select tallyroll.known_from("
            + Sql.literal(bound.name())
            + "))"
            + (log == null
                ? ""
                : " and (select tallyroll.is_current(" + Sql.literal(bound.name()) + "))");
    List<String> names = new ArrayList<>(columns().stream().map(Column::name).toList());
    Map<String, String> said = new LinkedHashMap<>();
    said.put(COMPLETE, covered);
    if (marksAdopted && !names.contains(ADOPTED)) {
      said.put(
          ADOPTED, "(select tallyroll.adopted(" + Sql.literal(bound.name()) + ")) @> %1$s.bucket");
    }
    names.addAll(said.keySet());
    Map<String, String> merged = new HashMap<>();
    for (int i = 0; i < bound.rollup().measures().size(); i++) {
      List<StoredColumn> stored = bound.newColumns().get(i).stored();
      List<String> sql = merges(bound.rollup().measures().get(i), stored);
      for (int j = 0; j < stored.size(); j++) {
        String column = Sql.identifier(stored.get(j).name());
        merged.put(
            stored.get(j).name(),
            // What was computed anew from the source stands for the stored row.
            (log == null
                    ? sql.get(j)
                    : "case when t."
                        + REPLACES
                        + " then t."
                        + column
                        + " else "
                        + sql.get(j)
                        + " end")
                + " as "
                + column);
      }
    }
    names.sort(
        Comparator.comparingInt(name -> first.contains(name) ? first.indexOf(name) : first.size()));
    List<String> plain = new ArrayList<>();
    List<String> both = new ArrayList<>();
    for (String name : names) {
      String column = Sql.identifier(name);
      String says = said.get(name);
      plain.add(says == null ? "r." + column : says.formatted("r") + " as " + column);
      both.add(
          says == null
              ? merged.getOrDefault(name, "t." + column)
              : says.formatted("t")
                  + (log != null && name.equals(COMPLETE) ? " and t." + ROWS + " >= 0" : "")
                  + " as "
                  + column);
    }
    return "create or replace view "
        + freshName(grain)
        + " with (security_invoker = true) as\nwith tail as materialized (select * from "
        + tailName(grain)
        + "())\nselect "
        + String.join(",\n  ", plain)
        + "\nfrom "
        + bound.grainTable(grain)
        + " r\nwhere not exists (select from tail t where "
        + same
        + ")\nunion all\nselect "
        + String.join(",\n  ", both)
        + "\nfrom tail t left join "
        + bound.grainTable(grain)
        + " r on "
        + same
        + (log == null
            ? ""
            : "\nwhere not (t."
                + REPLACES
                + " and t."
                + ROWS
                + " = 0) and not (t."
                + ROWS
                + " = -1 and r.tenant is null)");
  }

  private static List<String> merges(Measure measure, List<StoredColumn> stored) {
    List<String> names = stored.stream().map(column -> Sql.identifier(column.name())).toList();
    if (measure.kind() == Measure.Kind.LATEST) {
      String newer =
          "r."
              + names.get(1)
              + " is null or t."
              + names.get(1)
              + " > r."
              + names.get(1)
              + " or (t."
              + names.get(1)
              + " = r."
              + names.get(1)
              + " and t."
              + names.get(0)
              + " > r."
              + names.get(0)
              + ")";
      return List.of(
          "case when t."
              + names.get(1)
              + " is not null and ("
              + newer
              + ") then t."
              + names.get(0)
              + " else r."
              + names.get(0)
              + " end",
          "greatest(t." + names.get(1) + ", r." + names.get(1) + ")");
    }
    List<String> sql = new ArrayList<>();
    for (StoredColumn column : stored) {
      String name = Sql.identifier(column.name());
      String t = "t." + name;
      String r = "r." + name;
      sql.add(
          switch (merging(measure, column)) {
            case ADD -> "coalesce(" + t + " + " + r + ", " + t + ", " + r + ")";
            case LEAST -> "least(" + t + ", " + r + ")";
            case GREATEST -> "greatest(" + t + ", " + r + ")";
            case HISTOGRAM -> "tallyroll.merge_histograms(array[" + t + ", " + r + "])";
            case DISTINCT -> "tallyroll.merge_distinct(array[" + t + ", " + r + "])";
          });
    }
    return sql;
  }

  /** How two stored values of a column become one. */
  private enum Merging {
    ADD,
    LEAST,
    GREATEST,
    HISTOGRAM,
    DISTINCT
  }

  private static Merging merging(Measure measure, StoredColumn column) {
    if (column.type() == ColumnType.BYTEA) {
      return Merging.HISTOGRAM;
    }
    if (column.type() == ColumnType.VARBIT) {
      return Merging.DISTINCT;
    }
    if (column.name().endsWith("_nonfinite") && !column.name().equals(measure.name())) {
      return Merging.ADD;
    }
    return switch (measure.kind()) {
      case MIN -> Merging.LEAST;
      case MAX -> Merging.GREATEST;
      case DISTRIBUTION ->
          column.name().equals(measure.name() + "_min")
              ? Merging.LEAST
              : column.name().equals(measure.name() + "_max") ? Merging.GREATEST : Merging.ADD;
      case COUNT, SUM, LATEST, DISTINCT -> Merging.ADD;
    };
  }
}
