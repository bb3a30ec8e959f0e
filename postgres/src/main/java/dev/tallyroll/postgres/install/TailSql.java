package dev.tallyroll.postgres.install;

import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.session.Sql;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The tail of a grain as a function in SQL: the committed rows that no refresh has merged yet, as
 * partials, by the same aggregates as the fold in Java; and the buckets that are open.
 */
final class TailSql {
  private final BoundRollup bound;
  private final @Nullable ChangeLog log;

  TailSql(BoundRollup bound, @Nullable ChangeLog log) {
    this.bound = bound;
    this.log = log;
  }

  private String dimension(int index) {
    return Sql.identifier(bound.rollup().dimensions().get(index).name());
  }

  /**
   * The statement that makes the function.
   *
   * @param name its qualified name
   */
  String function(Grain grain, String name) {
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
    returned.add(FreshViewSql.REPLACES + " boolean");
    returned.add(FreshViewSql.ROWS + " bigint");
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
          MeasureSql.aggregates(
              bound.rollup().measures().get(i), bound.inputTypes().get(i), "v" + i));
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
                    + ", bucket, bucket_end, "
                    + key("bucket", keys(keys.size()))
                    + " as key, "
                    + isSealed(grain)
                    + " as is_sealed from unread where is_out)")
            + (finer(grain).isEmpty() ? "\n" + changed : withOpen(grain, changed));
    return "create function "
        + name
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

  /** A group's bucket and key as one text, by which it is looked up. */
  private static String key(String bucket, List<String> keys) {
    return "row(" + bucket + ", " + String.join(", ", keys) + ")::text";
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
   * That rows of a bucket are gone behind a seal: those of a key of which nothing is stored are
   * not.
   */
  private String isSealed(Grain grain) {
    return "(exists (select from tallyroll.seal l where l.source = (select source from tallyroll.rollup where name = "
        + Sql.literal(bound.name())
        + ") and l.range_from < bucket_end and bucket < l.range_to) and (bucket >= "
        + openFrom(grain)
        + " or exists (select from "
        + bound.grainTable(grain)
        + " s where s.bucket = unread.bucket"
        + IntStream.range(0, bound.keys())
            .mapToObj(i ->
                " and s."
                    + bound.keyColumns().get(i)
                    + " is not distinct from k"
                    + i
                    + collation(bound.keyTypes().get(i)))
            .collect(Collectors.joining())
        + ")))";
  }

  /**
   * The tail of a grain that may have open buckets: these are not stored, so all of them is in the
   * tail, merged of finer stored buckets and of what is not merged yet.
   */
  private String withOpen(Grain grain, String changed) {
    List<String> keys = keys(bound.keys());
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
      merged.addAll(MeasureSql.merged(measure, of, columns.subList(at, at + of.size())));
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
    String since = FeedSql.notBefore("(select pg_catalog.pg_snapshot_xmax(cursor)" + of + ")");
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
    List<String> keys = keys(bound.keys());
    String range = FeedSql.inRange(bound, "tallyroll_b.bucket", "tallyroll_b.bucket_end");
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
    // A bucket is read once for all of its keys, whose rows are found by a hash: IS TRUE and OFFSET
    // 0
    // keep the planner, which reckons with hardly any change, from joining all with all.
    String rows =
        "select tallyroll_b.bucket, tallyroll_s.*, false as is_sealed from (\n    select bucket, bucket_end, pg_catalog.array_agg(distinct k0) as tenants from affected where not is_sealed group by 1, 2\n  ) tallyroll_b cross join lateral (\n    select "
            + String.join(", ", inner)
            + " from "
            + bound.table().sqlName()
            + " where "
            + bound.keySql().getFirst()
            + " = any (tallyroll_b.tenants) and "
            + range
            + " and "
            + quarantined
            + " offset 0\n  ) tallyroll_s where ("
            + key("tallyroll_b.bucket", keys.stream().map("tallyroll_s."::concat).toList())
            + " in (select key from affected where not is_sealed)) is true";
    return "select "
        + String.join(",\n  ", outer)
        + ",\n  false, pg_catalog.count(*)\nfrom unread\nwhere "
        + key("bucket", keys)
        + " not in (select key from affected)\ngroup by "
        + groups
        + "\nunion all\nselect "
        + String.join(",\n  ", outer)
        // Of a sealed one the rows are gone: it is shown as it is stored, and as not complete.
        + ",\n  not is_sealed, case when is_sealed then -1 else pg_catalog.count(ts) end\nfrom (\n  "
        + rows
        // One of which no row is left is a group too.
        + "\n  union all\n  select bucket, "
        + String.join(", ", keys)
        + ", null"
        + ", null".repeat(bound.rollup().measures().size())
        + ", is_sealed from affected\n) as of_source\ngroup by "
        + groups
        + ", is_sealed";
  }
}
