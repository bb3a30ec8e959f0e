package dev.tallyroll.schema.settings;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.settings.Settings.Suppression;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;

/**
 * Reads {@link Settings} from YAML 1.2:
 *
 * <pre>{@code
 * tenancy:
 *   columns: [tenant_id]
 *   tenants: public.tenants
 *   shared: [public.plans]
 * schemas: [public, billing]
 * exclude: [audit]
 * roles:
 *   application: [app]
 *   trusted: [support]
 * suppress:
 *   - rule: key-without-tenant
 *     object: public.users.users_email_key
 *     reason: an e-mail address logs in to one tenant only
 * }</pre>
 */
public final class SettingsReader {
  private final String file;

  private SettingsReader(String file) {
    this.file = file;
  }

  /**
   * Reads a file's text.
   *
   * @param file its name, for messages
   * @throws TallyrollException with the line, if it is not as above
   */
  public static Settings read(String file, String text) {
    return new SettingsReader(file).read(text);
  }

  private Settings read(String text) {
    try {
      LoadSettings settings = LoadSettings.builder().setLabel(file).build();
      Optional<Node> root = new Compose(settings).composeString(text);
      return root.map(this::settings).orElse(Settings.NONE);
    } catch (MarkedYamlEngineException e) {
      int line = e.getProblemMark().map(mark -> mark.getLine() + 1).orElse(1);
      throw fault(line, "not YAML: " + e.getProblem());
    } catch (YamlEngineException e) {
      throw fault(1, "not YAML: " + e.getMessage());
    }
  }

  private Settings settings(Node root) {
    Map<String, Node> top =
        mapping(root, "the file", Set.of("tenancy", "schemas", "exclude", "roles", "suppress"));
    Map<String, Node> tenancy =
        mapping(top.get("tenancy"), "tenancy", Set.of("columns", "tenants", "shared"));
    Map<String, Node> roles = mapping(top.get("roles"), "roles", Set.of("application", "trusted"));
    return new Settings(
        texts(tenancy.get("columns"), "tenancy.columns"),
        tenancy.get("tenants") instanceof Node tenants ? text(tenants, "tenancy.tenants") : null,
        texts(tenancy.get("shared"), "tenancy.shared"),
        texts(top.get("schemas"), "schemas"),
        texts(top.get("exclude"), "exclude"),
        texts(roles.get("application"), "roles.application"),
        texts(roles.get("trusted"), "roles.trusted"),
        suppressions(top.get("suppress")));
  }

  private List<Suppression> suppressions(@Nullable Node node) {
    List<Suppression> suppressions = new ArrayList<>();
    for (Node each : items(node, "suppress")) {
      Map<String, Node> parts = mapping(each, "suppress", Set.of("rule", "object", "reason"));
      List<String> values = new ArrayList<>();
      for (String name : List.of("rule", "object", "reason")) {
        if (!(parts.get(name) instanceof Node value) || text(value, name).isBlank()) {
          throw fault(
              line(each), "a suppression needs rule, object and reason; " + name + " is missing");
        }
        values.add(text(value, name));
      }
      suppressions.add(
          new Suppression(values.get(0), values.get(1), values.get(2), file + ":" + line(each)));
    }
    return suppressions;
  }

  private Map<String, Node> mapping(@Nullable Node node, String what, Set<String> known) {
    Map<String, Node> parts = new HashMap<>();
    if (node == null || isNull(node)) {
      return parts;
    }
    if (!(node instanceof MappingNode mapping)) {
      throw fault(
          line(node), what + " is to be a mapping with " + String.join(", ", sorted(known)));
    }
    for (NodeTuple tuple : mapping.getValue()) {
      String key = text(tuple.getKeyNode(), what);
      if (!known.contains(key)) {
        throw fault(
            line(tuple.getKeyNode()),
            "unknown key '" + key + "' in " + what + Names.didYouMean(key, sorted(known)));
      }
      if (parts.put(key, tuple.getValueNode()) != null) {
        throw fault(line(tuple.getKeyNode()), "'" + key + "' stands twice in " + what);
      }
    }
    return parts;
  }

  private static List<String> sorted(Set<String> names) {
    return names.stream().sorted().toList();
  }

  private List<String> texts(@Nullable Node node, String what) {
    return items(node, what).stream().map(each -> text(each, what)).toList();
  }

  private List<Node> items(@Nullable Node node, String what) {
    if (node == null || isNull(node)) {
      return List.of();
    }
    if (!(node instanceof SequenceNode sequence)) {
      throw fault(line(node), what + " is to be a list");
    }
    return sequence.getValue();
  }

  private String text(Node node, String what) {
    if (!(node instanceof ScalarNode scalar)) {
      throw fault(line(node), what + " is to be a text");
    }
    return scalar.getValue();
  }

  private static boolean isNull(Node node) {
    return node instanceof ScalarNode scalar
        && (scalar.getValue().isEmpty() || scalar.getValue().equals("null"));
  }

  private static int line(Node node) {
    return node.getStartMark().map(mark -> mark.getLine() + 1).orElse(1);
  }

  private TallyrollException fault(int line, String message) {
    return new TallyrollException(ErrorCode.DEFINITION, file + ":" + line + ": " + message);
  }
}
