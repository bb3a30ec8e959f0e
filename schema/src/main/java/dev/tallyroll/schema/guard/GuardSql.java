package dev.tallyroll.schema.guard;

import dev.tallyroll.schema.guard.Guard.Compared;
import dev.tallyroll.schema.guard.Guard.Dimension;
import dev.tallyroll.schema.guard.Guard.Replacement;
import dev.tallyroll.schema.guard.Guard.Side;
import dev.tallyroll.session.Sql;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The SQL of a guard: its comparison, what mends a difference, and the migration that makes it. */
final class GuardSql {
  private static final Pattern SUM = Pattern.compile("sum\\((\"[^\"]+\"|\\w+)\\)");

  private static final String NO_SOURCE =
      "select null::text as tenant, null::timestamptz as bucket, null::jsonb as key where false";

  private final Guard guard;

  /** Of which tables the column of time has no zone. */
  private final Map<String, Boolean> isLocal;

  /**
   * The SQL of a guard.
   *
   * @param isLocal by table, whether its column of time is a date or a timestamp without zone
   */
  GuardSql(Guard guard, Map<String, Boolean> isLocal) {
    this.guard = guard;
    this.isLocal = isLocal;
  }

  /** A query for all differences. */
  String compare() {
    return filled("compare");
  }

  /** A query for what is compared, in numbers. */
  String content() {
    return filled("content");
  }

  /** The statements that make the guard, with all that it needs. */
  String install(String version) {
    Map<String, String> values = new HashMap<>();
    values.put("compare_name", Sql.identifier("guard_" + guard.name()));
    values.put("content_name", Sql.identifier("guard_" + guard.name() + "_content"));
    values.put("compare", compare().strip());
    values.put("content", content().strip());
    values.put("name", Sql.literal(guard.name()));
    values.put("definition", Sql.literal(guard.text()));
    values.put("legacy", Sql.literal(guard.legacy().table()));
    values.put("replacement", Sql.literal(guard.replacementTable()));
    values.put("source", guard.source().map(side -> Sql.literal(side.table())).orElse("null"));
    values.put("backfill", literal(backfill().orElse(null)));
    values.put("copy", Sql.literal(copy()));
    values.put("version", Sql.literal(version));
    // One after the other: a value may look like a name in braces.
    return Sql.resource("schema/guard/base.sql", Map.of()) + "\n" + filled("guard", values);
  }

  private static String literal(@Nullable String text) {
    return text == null ? "null" : Sql.literal(text);
  }

  /** The command that fills the replacement from the source. */
  Optional<String> backfill() {
    if (guard.backfill() != null) {
      return Optional.of(guard.backfill());
    }
    return guard.replacement() instanceof Replacement.OfRollup(String rollup, String ignored)
        ? Optional.of(
            "tallyroll backfill %1$s; tallyroll refresh %1$s; tallyroll verify %1$s"
                .formatted(rollup))
        : Optional.empty();
  }

  /** What takes the legacy table's buckets over where the raw rows are gone. */
  String copy() {
    return switch (guard.replacement()) {
      case Replacement.OfRollup(String rollup, String grain) -> adopt(rollup, grain);
      case Replacement.Table ignored -> copied();
    };
  }

  private String adopt(String rollup, String grain) {
    StringBuilder adopt =
        new StringBuilder(
            "tallyroll adopt %s --from %s --grain %s --map bucket=%s"
                .formatted(
                    rollup, plain(guard.legacy().table()), grain, plain(guard.legacy().time())));
    if (guard.legacy().tenant() != null) {
      adopt.append(" --map tenant=").append(plain(guard.legacy().tenant()));
    }
    for (Dimension dimension : guard.by()) {
      adopt
          .append(" --map ")
          .append(plain(dimension.replacement()))
          .append('=')
          .append(plain(dimension.legacy()));
    }
    for (Compared measure : guard.measures()) {
      adopt
          .append(" --map ")
          .append(summed(measure.replacement()).map(GuardSql::plain).orElse(measure.name()))
          .append('=')
          .append(
              summed(measure.legacy())
                  .map(GuardSql::plain)
                  .orElse("<column of " + measure.name() + ">"));
    }
    if (isLocal.getOrDefault(guard.legacy().table(), false)) {
      adopt.append(" --zone ").append(guard.zone());
    }
    return adopt.toString();
  }

  private static String plain(String sql) {
    return sql.replace("\"", "");
  }

  private static Optional<String> summed(String aggregate) {
    Matcher matcher = SUM.matcher(aggregate);
    return matcher.matches() ? Optional.of(matcher.group(1)) : Optional.empty();
  }

  /** Buckets that the replacement has in part are taken out first. */
  private String copied() {
    Side to = guard.replacementSide();
    Side from = guard.legacy();
    List<String> columns = new ArrayList<>();
    List<String> values = new ArrayList<>();
    List<String> groups = new ArrayList<>();
    if (to.tenant() != null && from.tenant() != null) {
      columns.add(to.tenant());
      values.add(from.tenant());
      groups.add(from.tenant());
    }
    columns.add(to.time());
    values.add(from.time());
    groups.add(from.time());
    for (Dimension dimension : guard.by()) {
      columns.add(dimension.replacement());
      values.add(dimension.legacy());
      groups.add(dimension.legacy());
    }
    for (Compared measure : guard.measures()) {
      columns.add(summed(measure.replacement()).orElse("<column of " + measure.name() + ">"));
      values.add(measure.legacy());
    }
    String differences =
        "(select tenant, bucket from tallyroll.%s() where not in_source)"
            .formatted(Sql.identifier("guard_" + guard.name()));
    return """
    begin;
    create temporary table guard_differences on commit drop as select distinct tenant, bucket from %1$s d;
    delete from %2$s where (coalesce(%3$s, ''), %4$s) in (select coalesce(tenant, ''), bucket from guard_differences);
    insert into %2$s (%5$s) select %6$s from %7$s where (coalesce(%8$s, ''), %9$s) in (select coalesce(tenant, ''), bucket from guard_differences) group by %10$s;
    commit;\
    """
        .formatted(
            differences,
            to.table(),
            tenant(to),
            bucket(to),
            String.join(", ", columns),
            String.join(", ", values),
            from.table(),
            tenant(from),
            bucket(from),
            String.join(", ", groups));
  }

  private String filled(String resource) {
    Side legacy = guard.legacy();
    Side replacement = guard.replacementSide();
    Map<String, String> values = new HashMap<>();
    values.put("legacy", legacy.table());
    values.put("legacy_tenant", tenant(legacy));
    values.put("legacy_bucket", bucket(legacy));
    values.put("legacy_key", key(Dimension::legacy));
    values.put("legacy_measures", aggregates(Compared::legacy));
    values.put("replacement", replacement.table());
    values.put("replacement_tenant", tenant(replacement));
    values.put("replacement_bucket", bucket(replacement));
    values.put("replacement_key", key(Dimension::replacement));
    values.put("replacement_measures", aggregates(Compared::replacement));
    values.put("source", source());
    values.put("legacy_values", values("l", guard.measures()));
    values.put("source_values", sourceValues());
    values.put("coverage", coverage());
    values.put("excess", String.valueOf(guard.excess()));
    values.put("every", "interval '1 " + guard.every().field() + "'");
    return filled(resource, values);
  }

  /** All at once: what is put in may look like a name in braces itself. */
  private static String filled(String resource, Map<String, String> values) {
    String text = Sql.resource("schema/guard/" + resource + ".sql", Map.of());
    return Pattern.compile("\\{([a-z_]+)\\}")
        .matcher(text)
        .replaceAll(
            match -> Matcher.quoteReplacement(values.getOrDefault(match.group(1), match.group())));
  }

  private static String tenant(Side side) {
    return side.tenant() == null ? "null::text" : side.tenant() + "::text";
  }

  private String bucket(Side side) {
    String zone = Sql.literal(guard.zone());
    String instant =
        isLocal.getOrDefault(side.table(), false)
            ? side.time() + "::timestamp at time zone " + zone
            : side.time();
    return "date_trunc('%s', %s, %s)".formatted(guard.every().field(), instant, zone);
  }

  private String key(Function<Dimension, String> side) {
    return guard.by().isEmpty()
        ? "'{}'::jsonb"
        : guard.by().stream()
            .map(dimension ->
                Sql.literal(dimension.name()) + ", (" + side.apply(dimension) + ")::text")
            .collect(Collectors.joining(", ", "jsonb_build_object(", ")"));
  }

  private String aggregates(Function<Compared, @Nullable String> side) {
    return guard.measures().stream()
        .filter(measure -> side.apply(measure) != null)
        .map(measure ->
            "coalesce("
                + side.apply(measure)
                + ", 0)::numeric as "
                + Sql.identifier(measure.name()))
        .collect(Collectors.joining(", "));
  }

  private static String values(String alias, List<Compared> measures) {
    return measures.stream()
        .map(measure ->
            "(%1$s, %2$s.%3$s, coalesce(r.%3$s, 0), %4$s::numeric, %5$s::numeric)"
                .formatted(
                    Sql.literal(measure.name()),
                    alias,
                    Sql.identifier(measure.name()),
                    measure.absolute(),
                    measure.relative()))
        .collect(Collectors.joining(", "));
  }

  private String source() {
    if (guard.source().isEmpty()) {
      return NO_SOURCE;
    }
    Side source = guard.source().get();
    String aggregates = aggregates(Compared::source);
    return "select %s as tenant, %s as bucket, %s as key%s\n    from %s\n    group by 1, 2, 3"
        .formatted(
            tenant(source),
            bucket(source),
            key(Dimension::source),
            aggregates.isEmpty() ? "" : ", " + aggregates,
            source.table());
  }

  /** Where the source has rows, the replacement has to equal them; it has at least to be there. */
  private String sourceValues() {
    if (guard.source().isEmpty()) {
      return "";
    }
    List<Compared> compared =
        guard.measures().stream().filter(measure -> measure.source() != null).toList();
    String values = values("s", compared);
    return """
    union all
        select 'the source', s.tenant, s.bucket, s.key, v.measure, v.expected, v.found, v.absolute, v.relative
        from source s
        left join replacement r on r.tenant is not distinct from s.tenant and r.bucket = s.bucket and r.key = s.key
        cross join lateral (values ('presence', 1, case when r.bucket is null then 0 else 1 end, 0::numeric, 0::numeric)%s) v (measure, expected, found, absolute, relative)\
    """
        .formatted(values.isEmpty() ? "" : ", " + values);
  }

  /** Buckets of a rollup count only if a backfill or an adoption has published them. */
  private String coverage() {
    return guard.replacement() instanceof Replacement.OfRollup(String rollup, String ignored)
        ? Sql.resource("schema/guard/coverage.sql", Map.of("rollup", Sql.literal(rollup)))
        : "";
  }
}
