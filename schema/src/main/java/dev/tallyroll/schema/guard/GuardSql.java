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
import java.util.Set;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The SQL of a guard: its comparison, what mends a difference, and the migration that makes it. */
final class GuardSql {
  private static final Set<String> LOCAL = Set.of("date", "timestamp without time zone");

  private static final Pattern SUM = Pattern.compile("sum\\((\"[^\"]+\"|\\w+)\\)");

  private static final String NO_SOURCE =
      "select null::text as tenant, null::timestamptz as bucket, null::jsonb as key%s where false";

  private final Guard guard;

  /** The types of the columns of each table. */
  private final Map<String, Map<String, String>> types;

  /**
   * The SQL of a guard.
   *
   * @param types by table and column, those of domains as what they are made of
   */
  GuardSql(Guard guard, Map<String, Map<String, String>> types) {
    this.guard = guard;
    this.types = types;
  }

  /** Columns of the legacy table that nothing compares, and so would go unseen. */
  List<String> uncompared() {
    String known =
        guard.legacy().tenant()
            + " "
            + guard.legacy().time()
            + " "
            + guard.by().stream().map(Dimension::legacy).collect(Collectors.joining(" "))
            + " "
            + guard.measures().stream().map(Compared::legacy).collect(Collectors.joining(" "));
    return columns(guard.legacy()).keySet().stream()
        .filter(column ->
            !Pattern.compile("(?<!\\w)" + Pattern.quote(column) + "(?!\\w)").matcher(known).find())
        .sorted()
        .toList();
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
    values.put("compare_name", Sql.identifier("guard_compare_" + guard.name()));
    values.put("content_name", Sql.identifier("guard_content_" + guard.name()));
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
    return Sql.resource("schema/guard/base.sql", Map.of())
        + "\n"
        + filled("guard", values)
        + "\nreset check_function_bodies;\n";
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
            "tallyroll backfill %1$s; tallyroll refresh %1$s; tallyroll repair %1$s"
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
            "tallyroll adopt %s --from '%s' --grain %s --map bucket=%s"
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
    if (isLocal(guard.legacy())) {
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

  /**
   * Groups that the replacement does not have are put in. Those that it has in part are made anew,
   * unless it has columns that the guard knows nothing of, which would be lost.
   */
  private String copied() {
    Side to = guard.replacementSide();
    Side from = guard.legacy();
    List<String> columns = new ArrayList<>();
    List<String> values = new ArrayList<>();
    List<String> groups = new ArrayList<>();
    if (to.tenant() != null && from.tenant() != null) {
      columns.add(to.tenant());
      values.add(cast(from.tenant(), to, to.tenant()));
      groups.add(from.tenant());
    }
    columns.add(to.time());
    values.add(cast(time(from, to), to, to.time()));
    groups.add(from.time());
    for (Dimension dimension : guard.by()) {
      columns.add(dimension.replacement());
      values.add(cast("(" + dimension.legacy() + ")", to, dimension.replacement()));
      groups.add(dimension.legacy());
    }
    for (Compared measure : guard.measures()) {
      Optional<String> column = summed(measure.replacement());
      if (column.isEmpty()) {
        return "-- the replacement's "
            + measure.name()
            + " is no sum of a column: fill it in by hand from "
            + from.table();
      }
      columns.add(column.get());
      values.add(cast(measure.legacy(), to, column.get()));
    }
    if (guard.by().stream()
        .anyMatch(dimension -> !columns(to).containsKey(plain(dimension.replacement())))) {
      return "-- a dimension of the replacement is no column: fill it in by hand from "
          + from.table();
    }
    List<String> unknown =
        columns(to).keySet().stream()
            .filter(column -> columns.stream().noneMatch(known -> plain(known).equals(column)))
            .sorted()
            .toList();
    String in = "(%s, %s, %s) in (select tenant, bucket, key from guard_differences%s)";
    String ofTo = in.formatted(tenant(to), bucket(to), key(Dimension::replacement), "");
    String ofFrom =
        in.formatted(
            tenant(from),
            bucket(from),
            key(Dimension::legacy),
            unknown.isEmpty() ? "" : " where not is_there");
    return """
    begin;
    set local timezone = 'UTC';
    create temporary table guard_differences on commit drop as
      select coalesce('t' || d.tenant, 'n') as tenant, d.bucket, d.key, bool_and(d.measure <> 'presence') as is_there
      from tallyroll.%1$s() d where not d.in_source and not (d.measure = 'presence' and d.expected = 0) group by 1, 2, 3;
    %2$sinsert into %3$s (%4$s) select %5$s from %6$s where %7$s group by %8$s;
    commit;\
    """
        .formatted(
            Sql.identifier("guard_compare_" + guard.name()),
            unknown.isEmpty()
                ? "delete from " + to.table() + " where " + ofTo + ";\n"
                : "-- groups that are there in part are left to you: the replacement has more columns ("
                    + String.join(", ", unknown)
                    + ")\n",
            to.table(),
            String.join(", ", columns),
            String.join(", ", values),
            from.table(),
            ofFrom,
            String.join(", ", groups));
  }

  private Map<String, String> columns(Side side) {
    return types.getOrDefault(side.table(), Map.of());
  }

  private boolean isLocal(Side side) {
    return LOCAL.contains(columns(side).getOrDefault(plain(side.time()), ""));
  }

  /** The time of the one as the other has it. */
  private String time(Side from, Side to) {
    String zone = Sql.literal(guard.zone());
    if (isLocal(from) == isLocal(to)) {
      return from.time();
    }
    return isLocal(from)
        ? "(" + from.time() + "::timestamp at time zone " + zone + ")"
        : "(" + from.time() + " at time zone " + zone + ")";
  }

  private String cast(String value, Side side, String column) {
    String type = columns(side).get(plain(column));
    return type == null ? value : value + "::" + type;
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
    values.put("legacy_values", legacyValues());
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
    // Never NULL, so that groups can be joined by hash.
    return side.tenant() == null
        ? "'n'::text"
        : "coalesce('t' || " + side.tenant() + "::text, 'n')";
  }

  private String bucket(Side side) {
    String zone = Sql.literal(guard.zone());
    String instant = isLocal(side) ? side.time() + "::timestamp at time zone " + zone : side.time();
    return "coalesce(date_trunc('%s', %s, %s), '-infinity')"
        .formatted(guard.every().field(), instant, zone);
  }

  private String key(Function<Dimension, String> side) {
    return guard.by().isEmpty()
        ? "'{}'::jsonb"
        : guard.by().stream()
            .map(dimension ->
                Sql.literal(dimension.name()) + ", (" + side.apply(dimension) + "\n)::text")
            .collect(Collectors.joining(", ", "jsonb_build_object(", ")"));
  }

  private String aggregates(Function<Compared, @Nullable String> side) {
    return guard.measures().stream()
        .filter(measure -> side.apply(measure) != null)
        .map(measure ->
            "coalesce("
                + side.apply(measure)
                + "\n, 0)::numeric as "
                + Sql.identifier(measure.name()))
        .collect(Collectors.joining(", "));
  }

  private String legacyValues() {
    return guard.measures().stream()
        .map(measure ->
            "(%1$s, l.%2$s, coalesce(r.%2$s, 0), %3$s, %4$s::numeric, %5$s::numeric)"
                .formatted(
                    Sql.literal(measure.name()),
                    Sql.identifier(measure.name()),
                    measure.source() == null ? "null" : "s." + Sql.identifier(measure.name()),
                    measure.absolute(),
                    measure.relative()))
        .collect(Collectors.joining(", "));
  }

  /** Where the source has rows, the replacement has to equal them; it has at least to be there. */
  private String sourceValues() {
    return guard.measures().stream()
        .filter(measure -> measure.source() != null)
        .map(measure ->
            ", (%1$s, s.%2$s, coalesce(r.%2$s, 0), %3$s::numeric, %4$s::numeric)"
                .formatted(
                    Sql.literal(measure.name()),
                    Sql.identifier(measure.name()),
                    measure.absolute(),
                    measure.relative()))
        .collect(Collectors.joining());
  }

  private String source() {
    if (guard.source().isEmpty()) {
      return NO_SOURCE.formatted(
          guard.measures().stream()
              .filter(measure -> measure.source() != null)
              .map(measure -> ", null::numeric as " + Sql.identifier(measure.name()))
              .collect(Collectors.joining()));
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

  /** Buckets of a rollup count only if a backfill or an adoption has published them. */
  private String coverage() {
    return guard.replacement() instanceof Replacement.OfRollup(String rollup, String ignored)
        ? Sql.resource(
            "schema/guard/coverage.sql",
            Map.of(
                "rollup",
                Sql.literal(rollup),
                "every",
                "interval '1 " + guard.every().field() + "'"))
        : "";
  }
}
