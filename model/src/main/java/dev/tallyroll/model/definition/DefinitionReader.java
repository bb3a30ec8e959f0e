package dev.tallyroll.model.definition;

import dev.tallyroll.model.Names;
import dev.tallyroll.model.time.Grain;
import java.time.DateTimeException;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.common.ScalarStyle;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;

/**
 * Reads rollup definitions from YAML 1.2: one or several documents in a file, in block or flow
 * style. Everything that can be known without the database is checked here, and all faults of a
 * file are reported at once, with their positions.
 *
 * <p>The same rules are published as a JSON Schema, {@code rollup.schema.json} beside this class.
 */
public final class DefinitionReader {
  /** What names of rollups, dimensions and measures look like. */
  public static final Pattern NAME = Pattern.compile("[a-z_][a-z0-9_]{0,47}");

  private static final Pattern KEEP = Pattern.compile("([0-9]{1,6})d");
  private static final Pattern HEAD = Pattern.compile("\\s*([A-Za-z_]+)\\s*");
  private static final Pattern WHERE = Pattern.compile("\\s+where\\s+", Pattern.CASE_INSENSITIVE);
  private static final Pattern TABLE_PART =
      Pattern.compile("\\s*(?:\"((?:[^\"]|\"\")+)\"|([^.\"\\s][^.\"]*))\\s*");

  private final String file;
  private final String text;
  private final List<DefinitionException.Fault> faults = new ArrayList<>();
  private Map<String, Position> positions = new HashMap<>();

  private DefinitionReader(String file, String text) {
    this.file = file;
    this.text = text;
  }

  /**
   * Reads all definitions of a file.
   *
   * @param file the file's name for messages
   * @param text its content
   * @throws DefinitionException with every fault that was found
   */
  public static List<Definition> read(String file, String text) {
    return new DefinitionReader(file, text.startsWith("\uFEFF") ? text.substring(1) : text).read();
  }

  private List<Definition> read() {
    List<Definition> definitions = new ArrayList<>();
    Map<String, Position> seen = new HashMap<>();
    try {
      LoadSettings settings =
          LoadSettings.builder().setAllowDuplicateKeys(true).setLabel(file).build();
      for (Node document : new Compose(settings).composeAllFromString(text)) {
        positions = new HashMap<>();
        Optional<Rollup> rollup = rollup(document);
        rollup.ifPresent(read -> definitions.add(new Definition(read, file, positions)));
        rollup.ifPresent(read -> {
          Position first = seen.putIfAbsent(read.name(), at(document));
          if (first != null) {
            fault(
                positions.getOrDefault("rollup", at(document)),
                "rollup '"
                    + read.name()
                    + "' stands twice in this file, first in line "
                    + first.line());
          }
        });
      }
    } catch (MarkedYamlEngineException e) {
      Position position =
          e.getProblemMark()
              .or(e::getContextMark)
              .map(mark -> new Position(mark.getLine() + 1, mark.getColumn() + 1))
              .orElse(Position.START);
      String problem = e.getProblem() == null ? "not YAML" : e.getProblem();
      boolean cut = problem.contains("mapping values are not allowed");
      fault(
          position, cut ? "': ' cuts this value in two: put it in quotes" : "not YAML: " + problem);
    } catch (YamlEngineException e) {
      fault(Position.START, "not YAML: " + e.getMessage());
    }
    if (faults.isEmpty() && definitions.isEmpty()) {
      fault(Position.START, "no rollup here; a definition begins with 'rollup: <name>'");
    }
    if (!faults.isEmpty()) {
      faults.sort(Comparator.comparing(DefinitionException.Fault::position));
      throw new DefinitionException(faults);
    }
    return definitions;
  }

  private Optional<Rollup> rollup(Node document) {
    int before = faults.size();
    positions.put("", at(document));
    Map<String, Node> keys =
        mapping(
            document,
            "a definition",
            List.of("rollup", "source", "dimensions", "measures", "grains"));
    for (String required : List.of("rollup", "source", "measures", "grains")) {
      if (!keys.containsKey(required) && faults.size() == before) {
        fault(at(document), "'" + required + "' is missing");
      }
    }
    String name = null;
    if (keys.get("rollup") instanceof Node node) {
      positions.put("rollup", at(node));
      name = name(node, scalar(node, "the rollup's name"), "rollup");
    }
    Source source = keys.get("source") instanceof Node node ? source(node) : null;
    List<Dimension> dimensions =
        keys.get("dimensions") instanceof Node node ? dimensions(node) : List.of();
    List<Measure> measures = keys.get("measures") instanceof Node node ? measures(node) : List.of();
    SortedMap<Grain, Keep> grains =
        keys.get("grains") instanceof Node node ? grains(node) : new TreeMap<>();
    if (name != null) {
      lengths(name, grains.keySet());
    }
    columns(dimensions, measures);
    if (faults.size() > before || name == null || source == null) {
      return Optional.empty();
    }
    return Optional.of(new Rollup(name, source, dimensions, measures, grains));
  }

  private @Nullable Source source(Node node) {
    positions.put("source", at(node));
    Map<String, Node> keys =
        mapping(node, "source", List.of("table", "tenant", "time", "changes", "keep"));
    for (String required : List.of("table", "tenant", "time")) {
      if (!keys.containsKey(required) && node instanceof MappingNode) {
        fault(at(node), "source." + required + " is missing");
      }
    }
    String schema = null;
    String table = null;
    if (keys.get("table") instanceof Node at
        && scalar(at, "source.table") instanceof String label) {
      positions.put("source.table", at(at));
      List<String> parts = tableParts(label);
      if (parts.isEmpty() || parts.size() > 2) {
        fault(at(at), "source.table is written as table or schema.table, not '" + label + "'");
      } else {
        table = parts.getLast();
        schema = parts.size() == 2 ? parts.getFirst() : null;
      }
    }
    String tenant = null;
    if (keys.get("tenant") instanceof Node at) {
      positions.put("source.tenant", at(at));
      tenant = scalar(at, "source.tenant");
    }
    String time = null;
    String zone = null;
    if (keys.get("time") instanceof Node at) {
      positions.put("source.time", at(at));
      if (at instanceof MappingNode) {
        Map<String, Node> parts = mapping(at, "source.time", List.of("column", "zone"));
        for (String required : List.of("column", "zone")) {
          if (!parts.containsKey(required)) {
            fault(at(at), "source.time." + required + " is missing");
          }
        }
        time =
            parts.get("column") instanceof Node column
                ? scalar(column, "source.time.column")
                : null;
        if (parts.get("zone") instanceof Node zoneNode) {
          positions.put("source.time.zone", at(zoneNode));
          zone = zone(zoneNode);
        }
      } else {
        time = scalar(at, "source.time");
      }
    }
    Changes changes = Changes.ANY;
    if (keys.get("changes") instanceof Node at) {
      positions.put("source.changes", at(at));
      String value = scalar(at, "source.changes");
      if ("append".equals(value)) {
        changes = Changes.APPEND;
      } else if (value != null && !"any".equals(value)) {
        fault(at(at), "source.changes is any or append, not '" + value + "'");
      }
    }
    Keep keep = null;
    if (keys.get("keep") instanceof Node at && scalar(at, "source.keep") instanceof String days) {
      positions.put("source.keep", at(at));
      Matcher matcher = KEEP.matcher(days);
      if (matcher.matches() && isKeep(matcher.group(1))) {
        keep = new Keep(Integer.parseInt(matcher.group(1)));
      } else {
        fault(at(at), "source.keep is 1d to " + Keep.MOST_DAYS + "d, as 90d, not '" + days + "'");
      }
    }
    return table == null || tenant == null || time == null
        ? null
        : new Source(schema, table, tenant, time, zone, changes, keep);
  }

  private static boolean isKeep(String days) {
    int number = Integer.parseInt(days);
    return number >= 1 && number <= Keep.MOST_DAYS;
  }

  private static List<String> tableParts(String label) {
    List<String> parts = new ArrayList<>();
    Matcher part = TABLE_PART.matcher(label);
    int at = 0;
    while (at <= label.length()) {
      if (!part.region(at, label.length()).lookingAt()) {
        return List.of();
      }
      parts.add(
          part.group(1) != null ? part.group(1).replace("\"\"", "\"") : part.group(2).strip());
      at = part.end();
      if (at == label.length()) {
        return parts;
      }
      if (label.charAt(at) != '.') {
        return List.of();
      }
      at++;
    }
    return List.of();
  }

  private @Nullable String zone(Node node) {
    String zone = scalar(node, "source.time.zone");
    if (zone == null) {
      return null;
    }
    try {
      return ZoneId.of(zone).getId();
    } catch (DateTimeException e) {
      fault(
          at(node),
          "unknown time zone '"
              + zone
              + "'"
              + Names.didYouMean(zone, ZoneId.getAvailableZoneIds()));
      return null;
    }
  }

  private List<Dimension> dimensions(Node node) {
    positions.put("dimensions", at(node));
    if (!(node instanceof SequenceNode list)) {
      fault(at(node), "dimensions is a list of columns, as [project_id, model]");
      return List.of();
    }
    List<Dimension> dimensions = new ArrayList<>();
    Set<String> names = new HashSet<>();
    for (Node item : list.getValue()) {
      Dimension dimension =
          item instanceof MappingNode named ? namedDimension(named) : columnDimension(item);
      if (dimension == null) {
        continue;
      }
      positions.putIfAbsent("dimensions." + dimension.name(), at(item));
      if (!names.add(dimension.name())) {
        fault(at(item), "dimension '" + dimension.name() + "' stands twice");
      }
      dimensions.add(dimension);
    }
    return dimensions;
  }

  private @Nullable Dimension columnDimension(Node item) {
    String name = name(item, scalar(item, "a dimension"), "dimension");
    return name == null ? null : new Dimension(name, "\"" + name + "\"", true);
  }

  private @Nullable Dimension namedDimension(MappingNode item) {
    if (item.getValue().size() != 1) {
      fault(
          at(item),
          "a dimension by expression is one pair, as {region: \"attributes->>'region'\"}");
      return null;
    }
    NodeTuple pair = item.getValue().getFirst();
    String name =
        name(pair.getKeyNode(), scalar(pair.getKeyNode(), "a dimension's name"), "dimension");
    String expression = scalar(pair.getValueNode(), "a dimension's expression");
    if (name == null || expression == null || !isExpression(pair.getValueNode(), expression, 0)) {
      return null;
    }
    positions.put("dimensions." + name, at(pair.getKeyNode()));
    positions.put("dimensions." + name + ".expression", text(pair.getValueNode(), 0));
    return new Dimension(name, expression.strip(), false);
  }

  private List<Measure> measures(Node node) {
    positions.put("measures", at(node));
    List<Measure> measures = new ArrayList<>();
    Map<String, Node> pairs = mapping(node, "measures", null);
    if (pairs.isEmpty() && node instanceof MappingNode) {
      fault(at(node), "a rollup needs at least one measure");
    }
    pairs.forEach((key, value) -> {
      Measure measure = measure(key, value);
      if (measure != null) {
        measures.add(measure);
      }
    });
    return measures;
  }

  private @Nullable Measure measure(String key, Node value) {
    String name = name(value, key, "measure");
    positions.put("measures." + key, at(value));
    if (value instanceof ScalarNode empty && empty.getValue().isEmpty()) {
      fault(
          at(value),
          "measure '"
              + key
              + "' has no value; is the one before it cut at a comma? put it in quotes");
      return null;
    }
    String written = scalar(value, "measure '" + key + "'");
    if (name == null || written == null) {
      return null;
    }
    Matcher head = HEAD.matcher(written);
    if (!head.lookingAt()) {
      fault(at(value), "a measure is one of " + kinds() + ", not '" + written + "'");
      return null;
    }
    Optional<Measure.Kind> kind = Measure.Kind.of(head.group(1));
    if (kind.isEmpty()) {
      String near = Names.didYouMean(head.group(1), Measure.Kind.labels());
      fault(at(value), "a measure is one of " + kinds() + ", not '" + head.group(1) + "'" + near);
      return null;
    }
    String expression = null;
    int rest = head.end(1);
    if (kind.get() == Measure.Kind.COUNT) {
      Matcher star =
          Pattern.compile("\\s*\\(\\s*\\*?\\s*\\)").matcher(written).region(rest, written.length());
      rest = star.lookingAt() ? star.end() : rest;
      if (rest < written.length() && written.substring(rest).stripLeading().startsWith("(")) {
        fault(
            text(value, rest),
            "count takes no expression; to count rows with a value write \"count where x is not null\"");
        return null;
      }
    } else {
      int open = head.end();
      if (open >= written.length() || written.charAt(open) != '(') {
        fault(
            at(value),
            kind.get().label() + " takes an expression, as " + kind.get().label() + "(column)");
        return null;
      }
      OptionalInt close = SqlExpression.closing(written, open);
      if (close.isEmpty()) {
        fault(at(value), "this value is cut: " + cutReason(value) + "put it in quotes");
        return null;
      }
      expression = written.substring(open + 1, close.getAsInt());
      if (!isExpression(value, expression, open + 1)) {
        return null;
      }
      positions.put("measures." + key + ".expression", text(value, open + 1 + leading(expression)));
      rest = close.getAsInt() + 1;
    }
    String where = null;
    if (!written.substring(rest).isBlank()) {
      Matcher clause = WHERE.matcher(written).region(rest, written.length());
      if (!clause.lookingAt()) {
        fault(
            text(value, rest),
            "only 'where <predicate>' can follow here, not '"
                + written.substring(rest).strip()
                + "'");
        return null;
      }
      where = written.substring(clause.end());
      if (!isExpression(value, where, clause.end())) {
        return null;
      }
      positions.put("measures." + key + ".where", text(value, clause.end()));
    }
    return new Measure(
        name,
        kind.get(),
        expression == null ? null : expression.strip(),
        where == null ? null : where.strip());
  }

  private static int leading(String text) {
    return text.length() - text.stripLeading().length();
  }

  private static String kinds() {
    return String.join(", ", Measure.Kind.labels());
  }

  /** What cut a plain scalar, judged by what follows it in the file. */
  private String cutReason(Node node) {
    return node.getEndMark()
        .filter(mark ->
            node instanceof ScalarNode scalar && scalar.getScalarStyle() == ScalarStyle.PLAIN)
        .map(mark -> {
          int end = Math.min(text.length(), text.codePointCount(0, text.length()));
          int from = Math.min(mark.getIndex(), end);
          String rest = text.substring(text.offsetByCodePoints(0, from)).stripLeading();
          return rest.startsWith("#")
              ? "' #' begins a comment; "
              : rest.startsWith(",") ? "a comma ends a value inside { }; " : "";
        })
        .orElse("");
  }

  private boolean isExpression(Node node, String expression, int offset) {
    SqlExpression.Fault fault = SqlExpression.check(expression);
    if (fault == null) {
      return true;
    }
    fault(text(node, offset + fault.offset()), fault.message());
    return false;
  }

  private SortedMap<Grain, Keep> grains(Node node) {
    positions.put("grains", at(node));
    SortedMap<Grain, Keep> grains = new TreeMap<>();
    Map<String, Node> pairs = mapping(node, "grains", Grain.labels());
    if (pairs.isEmpty() && node instanceof MappingNode map && map.getValue().isEmpty()) {
      fault(at(node), "a rollup needs at least one grain of " + String.join(", ", Grain.labels()));
    }
    pairs.forEach((key, value) -> {
      positions.put("grains." + key, at(value));
      Map<String, Node> keys =
          value instanceof MappingNode
              ? mapping(value, "grains." + key, List.of("keep", "zones"))
              : Map.of();
      Keep keep = keep(key, value, keys.get("keep"));
      List<Grain> made =
          keys.get("zones") instanceof Node zones
              ? days(key, zones)
              : Grain.of(key).stream().toList();
      if (keep != null) {
        made.forEach(grain -> grains.put(grain, keep));
      }
    });
    return grains;
  }

  /** The days of a list of zones. */
  private List<Grain> days(String key, Node zones) {
    List<Grain> grains = new ArrayList<>();
    if (!key.equals(Grain.DAY.label())) {
      fault(at(zones), "only days are kept in zones: write 'zones' under 1d");
      return grains;
    }
    if (!(zones instanceof SequenceNode list) || list.getValue().isEmpty()) {
      fault(at(zones), "zones is a list of time zones, as [UTC, Asia/Kolkata]");
      return grains;
    }
    for (Node item : list.getValue()) {
      String zone = scalar(item, "a zone");
      if (zone == null) {
        continue;
      }
      if (!ZoneId.getAvailableZoneIds().contains(zone)) {
        fault(
            at(item),
            "'"
                + zone
                + "' is not a time zone of the IANA database, as Asia/Kolkata"
                + Names.didYouMean(zone, List.copyOf(ZoneId.getAvailableZoneIds())));
        continue;
      }
      Grain day = Grain.dayIn(ZoneId.of(zone));
      Optional<Grain> same =
          grains.stream()
              .filter(other -> other.equals(day) || other.version().equals(day.version()))
              .findFirst();
      if (same.isPresent()) {
        fault(
            at(item),
            "'"
                + zone
                + "' has the same days as '"
                + same.get().zone().map(ZoneId::getId).orElse("UTC")
                + "', which is in the list");
      } else {
        grains.add(day);
      }
    }
    return grains;
  }

  private @Nullable Keep keep(String grain, Node node, @Nullable Node keep) {
    String value;
    if (node instanceof MappingNode) {
      if (keep == null) {
        fault(at(node), "grains." + grain + ".keep is missing, as {keep: 90d}");
        return null;
      }
      value = scalar(keep, "grains." + grain + ".keep");
    } else {
      value = scalar(node, "grains." + grain);
      if (value != null) {
        if (!value.startsWith("keep ")) {
          fault(at(node), "a grain is written as 'keep 90d' or {keep: 90d}, not '" + value + "'");
          return null;
        }
        value = value.substring("keep ".length()).strip();
      }
    }
    if (value == null) {
      return null;
    }
    Matcher days = KEEP.matcher(value);
    if (!days.matches()) {
      fault(
          at(node),
          "keep is a number of days, as 90d, up to " + Keep.MOST_DAYS + "d, not '" + value + "'");
      return null;
    }
    int number = Integer.parseInt(days.group(1));
    if (number < 1 || number > Keep.MOST_DAYS) {
      fault(at(node), "keep is 1d to " + Keep.MOST_DAYS + "d, not '" + value + "'");
      return null;
    }
    return new Keep(number);
  }

  /** Names of tables and indexes must fit into PostgreSQL's 63 bytes. */
  private void lengths(String name, Set<Grain> grains) {
    for (Grain grain : grains) {
      // As in usage~_1d_asia_kolkata_p20260101_k.
      int most = 63 - "~_".length() - grain.suffix().length() - "_p20260101_k".length();
      if (grain.zone().isPresent() && name.length() > most) {
        fault(
            positions.getOrDefault("rollup", Position.START),
            "with days in "
                + grain.zone().get()
                + " the rollup's name has at most "
                + most
                + " letters, since PostgreSQL cuts the names of its tables; '"
                + name
                + "' has "
                + name.length());
      }
    }
  }

  /** No two columns of the rollup's tables may have the same name. */
  private void columns(List<Dimension> dimensions, List<Measure> measures) {
    Map<String, String> owners = new HashMap<>();
    owners.put("tenant", "the tenant");
    owners.put("bucket", "the bucket");
    owners.put("complete", "the views' column");
    for (Dimension dimension : dimensions) {
      owners.putIfAbsent(dimension.name(), "dimension '" + dimension.name() + "'");
    }
    for (Measure measure : measures) {
      for (String column : measure.kind().columns(measure.name())) {
        String owner = owners.putIfAbsent(column, "measure '" + measure.name() + "'");
        if (owner != null) {
          fault(
              positions.getOrDefault("measures." + measure.name(), Position.START),
              "measure '"
                  + measure.name()
                  + "' would make a column "
                  + column
                  + ", which "
                  + owner
                  + " has already; rename one");
        }
      }
    }
  }

  private @Nullable String name(Node node, @Nullable String name, String what) {
    if (name == null) {
      return null;
    }
    if (name.length() > 48) {
      fault(
          at(node),
          "the name of a "
              + what
              + " has at most 48 characters, '"
              + name
              + "' has "
              + name.length());
      return null;
    }
    if (!NAME.matcher(name).matches()) {
      fault(
          at(node),
          "the name of a "
              + what
              + " is of a-z, 0-9 and _, and does not begin with a digit; not '"
              + name
              + "'");
      return null;
    }
    if (name.equals("tenant") || name.equals("bucket") || name.equals("complete")) {
      fault(at(node), "'" + name + "' is reserved; give this " + what + " another name");
      return null;
    }
    return name;
  }

  /** The pairs of a mapping in their order; unknown and repeated keys are faults. */
  private Map<String, Node> mapping(Node node, String what, @Nullable List<String> known) {
    Map<String, Node> pairs = new LinkedHashMap<>();
    if (!(node instanceof MappingNode mapping)) {
      fault(
          at(node),
          what + " is a mapping" + (known == null ? "" : " of " + String.join(", ", known)));
      return pairs;
    }
    for (NodeTuple pair : mapping.getValue()) {
      Node keyNode = pair.getKeyNode();
      String key = scalar(keyNode, "a key of " + what);
      if (key == null) {
        continue;
      }
      if (known == null && unbalanced(key)) {
        fault(at(keyNode), "the value before this is cut at a comma: put it in quotes");
      } else if (known != null && !known.contains(key)) {
        String list = String.join(", ", known);
        fault(
            at(keyNode),
            "unknown key '"
                + key
                + "' in "
                + what
                + Names.didYouMean(key, known)
                + " (known: "
                + list
                + ")");
      } else if (pairs.putIfAbsent(key, pair.getValueNode()) != null) {
        fault(at(keyNode), "key '" + key + "' stands twice in " + what);
      }
    }
    return pairs;
  }

  private static boolean unbalanced(String key) {
    return key.chars().filter(c -> c == ')').count() > key.chars().filter(c -> c == '(').count();
  }

  private @Nullable String scalar(Node node, String what) {
    if (node instanceof ScalarNode scalar && !scalar.getValue().isEmpty()) {
      return scalar.getValue();
    }
    fault(
        at(node),
        node instanceof ScalarNode
            ? what + " is empty"
            : what + " is one value, not a list or a mapping");
    return null;
  }

  private void fault(Position position, String message) {
    faults.add(new DefinitionException.Fault(file, position, message));
  }

  private static Position at(Node node) {
    return node.getStartMark()
        .map(mark -> new Position(mark.getLine() + 1, mark.getColumn() + 1))
        .orElse(Position.START);
  }

  /** The place of a character of a scalar's value: exact for values on one line without escapes. */
  private static Position text(Node node, int offset) {
    boolean quoted =
        node instanceof ScalarNode scalar
            && (scalar.getScalarStyle() == ScalarStyle.DOUBLE_QUOTED
                || scalar.getScalarStyle() == ScalarStyle.SINGLE_QUOTED);
    boolean oneLine =
        node.getStartMark()
            .map(mark -> mark.getLine())
            .equals(node.getEndMark().map(mark -> mark.getLine()));
    return oneLine ? at(node).plus(offset + (quoted ? 1 : 0)) : at(node);
  }
}
