package dev.tallyroll.schema.guard;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.guard.Guard.Compared;
import dev.tallyroll.schema.guard.Guard.Dimension;
import dev.tallyroll.schema.guard.Guard.Every;
import dev.tallyroll.schema.guard.Guard.Replacement;
import dev.tallyroll.schema.guard.Guard.Side;
import dev.tallyroll.schema.settings.YamlFile;
import dev.tallyroll.session.Sql;
import java.math.BigDecimal;
import java.time.DateTimeException;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;

/**
 * Reads guards from YAML 1.2, one document each:
 *
 * <pre>{@code
 * guard: usage_daily
 * legacy: {table: public.usage_daily, tenant: tenant_id, bucket: day}
 * replacement: {table: public.usage_hourly, tenant: tenant_id, bucket: hour}   # or {rollup: llm_usage}
 * source: {table: public.task_usage, tenant: tenant_id, time: created_at}      # may be left out
 * every: day                                                                   # hour, day, week, month
 * zone: UTC
 * by: [model]                                                                  # or by: {model: {legacy: model_name}}
 * compare:
 *   tokens: {legacy: sum(total_tokens), source: "sum(input_tokens + output_tokens)"}
 *   cost: {tolerance: 0.1%}
 * backfill: node scripts/backfill.js
 * }</pre>
 *
 * <p>What is not said of a side is {@code sum} of the column of that name.
 */
public final class GuardReader {
  private static final Pattern NAME = Pattern.compile("[a-z_][a-z0-9_]{0,39}");
  private static final Pattern TABLE =
      Pattern.compile("(\"[^\"]+\"|[A-Za-z_]\\w*)\\.(\"[^\"]+\"|[A-Za-z_]\\w*)");
  private static final Pattern TOLERANCE = Pattern.compile("([0-9]+(?:\\.[0-9]+)?)(%?)");
  private static final Pattern COLUMN = Pattern.compile("[A-Za-z_]\\w*");

  private final YamlFile yaml;

  private GuardReader(String file) {
    this.yaml = new YamlFile(file);
  }

  /**
   * Reads a file's text.
   *
   * @param file its name, for messages
   * @throws TallyrollException with the line, if it is not as above, or has no guard
   */
  public static List<Guard> read(String file, String text) {
    GuardReader reader = new GuardReader(file);
    List<Guard> guards = new ArrayList<>();
    for (Node document : reader.yaml.documents(text)) {
      Guard guard = reader.guard(document, text);
      if (guards.stream().anyMatch(other -> other.name().equals(guard.name()))) {
        throw reader.yaml.fault(
            YamlFile.line(document), "guard '" + guard.name() + "' stands twice");
      }
      guards.add(guard);
    }
    if (guards.isEmpty()) {
      throw reader.yaml.fault(1, "no guard in it");
    }
    return guards;
  }

  private Guard guard(Node document, String text) {
    Map<String, Node> top =
        yaml.mapping(
            document,
            "a guard",
            Set.of(
                "guard",
                "legacy",
                "replacement",
                "source",
                "every",
                "zone",
                "by",
                "compare",
                "excess",
                "backfill"));
    int line = YamlFile.line(document);
    String name = yaml.text(required(top, "guard", line), "guard");
    if (!NAME.matcher(name).matches()) {
      throw yaml.fault(
          line, "guard '" + name + "': a name is of small letters, digits and _, 40 at most");
    }
    Every every = every(top.get("every"));
    Replacement replacement =
        replacement(required(top, "replacement", line), every, zone(top.get("zone")));
    Optional<Side> source =
        Optional.ofNullable(top.get("source")).map(node -> side(node, "source", "time"));
    String backfill = top.get("backfill") instanceof Node node ? yaml.text(node, "backfill") : null;
    if (source.isPresent() && backfill == null && replacement instanceof Replacement.Table) {
      throw yaml.fault(
          line,
          "a guard with a source needs backfill: the command that fills the replacement from it");
    }
    Side legacy = side(required(top, "legacy", line), "legacy", "bucket");
    if (replacement instanceof Replacement.Table(Side other)
        && other.table().equals(legacy.table())) {
      throw yaml.fault(line, "legacy and replacement are the same table");
    }
    if (replacement instanceof Replacement.OfRollup(String rollup, String grain)) {
      if (source.isEmpty()) {
        throw yaml.fault(
            line,
            "a guard with a rollup needs source: the table that the rollup " + rollup + " is over");
      }
      if (grain.equals("1d") && !zone(top.get("zone")).equals("UTC")) {
        throw yaml.fault(
            line,
            "buckets of a day are days of UTC: name a finer grain for the zone "
                + zone(top.get("zone")));
      }
    }
    sameTenancy(legacy, replacement, source, line);
    List<Compared> measures = new ArrayList<>();
    yaml.mapping(required(top, "compare", line), "compare", Set.of())
        .forEach((measure, node) -> measures.add(compared(measure, node)));
    if (measures.isEmpty()) {
      throw yaml.fault(line, "compare names no measure: nothing would be compared");
    }
    return new Guard(
        name,
        legacy,
        replacement,
        source,
        every,
        zone(top.get("zone")),
        by(top.get("by")),
        measures,
        isExcessAllowed(top.get("excess")),
        backfill,
        document(document, text),
        yaml.file() + ":" + line);
  }

  /** All sides tell tenants apart, or none. */
  private void sameTenancy(Side legacy, Replacement replacement, Optional<Side> source, int line) {
    boolean isOfTenants = legacy.tenant() != null;
    boolean isSame =
        switch (replacement) {
              case Replacement.Table(Side side) -> (side.tenant() != null) == isOfTenants;
              case Replacement.OfRollup ignored -> isOfTenants;
            }
            && source.map(side -> (side.tenant() != null) == isOfTenants).orElse(true);
    if (!isSame) {
      throw yaml.fault(line, "tenant is to be named on all sides, or on none");
    }
  }

  /** The lines of one document. */
  private static String document(Node document, String text) {
    int from = document.getStartMark().map(mark -> mark.getLine()).orElse(0);
    List<String> lines = text.lines().toList();
    int to = from;
    while (to < lines.size() && !lines.get(to).startsWith("---")) {
      to++;
    }
    // A document that begins on the line with the dashes.
    String own = to == from ? lines.get(from) : String.join("\n", lines.subList(from, to));
    return own.strip() + "\n";
  }

  private Node required(Map<String, Node> parts, String key, int line) {
    Node node = parts.get(key);
    if (node == null || YamlFile.isNull(node)) {
      throw yaml.fault(line, "a guard needs " + key);
    }
    return node;
  }

  private Every every(@Nullable Node node) {
    if (node == null) {
      return Every.DAY;
    }
    String text = yaml.text(node, "every");
    return Arrays.stream(Every.values())
        .filter(each -> each.field().equals(text))
        .findFirst()
        .orElseThrow(() ->
            yaml.fault(
                YamlFile.line(node), "every is hour, day, week or month, not '" + text + "'"));
  }

  private String zone(@Nullable Node node) {
    if (node == null) {
      return "UTC";
    }
    try {
      String zone = ZoneId.of(yaml.text(node, "zone")).getId();
      if (zone.contains("/") || zone.equals("UTC")) {
        return zone;
      }
      // PostgreSQL counts such offsets the other way round.
      throw yaml.fault(
          YamlFile.line(node), "zone is UTC or a place, as Asia/Kolkata, not '" + zone + "'");
    } catch (DateTimeException e) {
      throw yaml.fault(YamlFile.line(node), "unknown time zone '" + yaml.text(node, "zone") + "'");
    }
  }

  private boolean isExcessAllowed(@Nullable Node node) {
    if (node == null) {
      return false;
    }
    String text = yaml.text(node, "excess");
    if (!text.equals("allowed") && !text.equals("refused")) {
      throw yaml.fault(YamlFile.line(node), "excess is allowed or refused, not '" + text + "'");
    }
    return text.equals("allowed");
  }

  private Side side(Node node, String what, String time) {
    Map<String, Node> parts = yaml.mapping(node, what, Set.of("table", "tenant", time));
    int line = YamlFile.line(node);
    return new Side(
        table(required(parts, "table", line)),
        parts.get("tenant") instanceof Node tenant ? column(tenant, "tenant") : null,
        column(required(parts, time, line), time));
  }

  private String table(Node node) {
    String text = yaml.text(node, "table");
    Matcher matcher = TABLE.matcher(text);
    if (!matcher.matches()) {
      throw yaml.fault(
          YamlFile.line(node),
          "'" + text + "': a table is named with its schema, as public.usage_daily");
    }
    return part(matcher.group(1)) + "." + part(matcher.group(2));
  }

  private static String part(String name) {
    return Sql.identifier(name.startsWith("\"") ? name.substring(1, name.length() - 1) : name);
  }

  private String column(Node node, String what) {
    String text = yaml.text(node, what);
    if (!COLUMN.matcher(text).matches()) {
      throw yaml.fault(YamlFile.line(node), what + " is a column, not '" + text + "'");
    }
    return Sql.identifier(text);
  }

  private Replacement replacement(Node node, Every every, String zone) {
    boolean isRollup =
        node instanceof MappingNode mapping
            && mapping.getValue().stream()
                .anyMatch(tuple -> yaml.text(tuple.getKeyNode(), "replacement").equals("rollup"));
    if (!isRollup) {
      return new Replacement.Table(side(node, "replacement", "bucket"));
    }
    Map<String, Node> parts = yaml.mapping(node, "replacement", Set.of("rollup", "grain"));
    String grain =
        parts.get("grain") instanceof Node named
            ? yaml.text(named, "grain")
            : every == Every.HOUR || !zone.equals("UTC") ? "1h" : "1d";
    if (!Set.of("1m", "5m", "1h", "1d").contains(grain)) {
      throw yaml.fault(YamlFile.line(node), "grain is 1m, 5m, 1h or 1d, not '" + grain + "'");
    }
    String rollup = yaml.text(Objects.requireNonNull(parts.get("rollup")), "rollup");
    if (!rollup.matches("[a-z_][a-z0-9_]{0,47}")) {
      throw yaml.fault(YamlFile.line(node), "'" + rollup + "' is no name of a rollup");
    }
    return new Replacement.OfRollup(rollup, grain);
  }

  private List<Dimension> by(@Nullable Node node) {
    List<Dimension> by = new ArrayList<>();
    if (node instanceof MappingNode) {
      yaml.mapping(node, "by", Set.of())
          .forEach((name, sides) -> {
            Map<String, Node> parts =
                yaml.mapping(sides, "by." + name, Set.of("legacy", "replacement", "source"));
            by.add(
                new Dimension(
                    name,
                    expression(parts.get("legacy"), Sql.identifier(name)),
                    expression(parts.get("replacement"), Sql.identifier(name)),
                    expression(parts.get("source"), Sql.identifier(name))));
          });
    } else {
      for (String name : yaml.texts(node, "by")) {
        String column = Sql.identifier(name);
        by.add(new Dimension(name, column, column, column));
      }
    }
    return by;
  }

  private String expression(@Nullable Node node, String otherwise) {
    if (node == null) {
      return otherwise;
    }
    String text = yaml.text(node, "an expression");
    if (text.contains("$tallyroll_guard$")) {
      throw yaml.fault(YamlFile.line(node), "an expression cannot have $tallyroll_guard$ in it");
    }
    return text;
  }

  private Compared compared(String name, Node node) {
    if (!NAME.matcher(name).matches()) {
      throw yaml.fault(
          YamlFile.line(node),
          "measure '" + name + "': a name is of small letters, digits and _, 40 at most");
    }
    Map<String, Node> parts =
        yaml.mapping(
            node, "compare." + name, Set.of("legacy", "replacement", "source", "tolerance"));
    String sum = "sum(" + Sql.identifier(name) + ")";
    String absolute = "0";
    String relative = "0";
    if (parts.get("tolerance") instanceof Node tolerance) {
      String text = yaml.text(tolerance, "tolerance");
      Matcher matcher = TOLERANCE.matcher(text);
      if (!matcher.matches()) {
        throw yaml.fault(
            YamlFile.line(tolerance),
            "tolerance is a number, as 0.01, or a part, as 0.1%, not '" + text + "'");
      }
      if (matcher.group(2).isEmpty()) {
        absolute = matcher.group(1);
      } else {
        relative = matcher.group(1) + " / 100.0";
        if (new BigDecimal(matcher.group(1)).compareTo(BigDecimal.valueOf(100)) >= 0) {
          throw yaml.fault(
              YamlFile.line(tolerance), "a tolerance of " + text + " would let everything pass");
        }
      }
    }
    return new Compared(
        name,
        expression(parts.get("legacy"), sum),
        expression(parts.get("replacement"), sum),
        parts.get("source") instanceof Node source ? yaml.text(source, "source") : null,
        absolute,
        relative);
  }
}
