package dev.tallyroll.schema.settings;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.settings.Settings.Suppression;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.nodes.Node;

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
  private final YamlFile yaml;

  private SettingsReader(String file) {
    this.yaml = new YamlFile(file);
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
    return yaml.document(text).map(this::settings).orElse(Settings.NONE);
  }

  private Settings settings(Node root) {
    Map<String, Node> top =
        yaml.mapping(
            root, "the file", Set.of("tenancy", "schemas", "exclude", "roles", "suppress"));
    Map<String, Node> tenancy =
        yaml.mapping(top.get("tenancy"), "tenancy", Set.of("columns", "tenants", "shared"));
    Map<String, Node> roles =
        yaml.mapping(top.get("roles"), "roles", Set.of("application", "trusted"));
    return new Settings(
        yaml.texts(tenancy.get("columns"), "tenancy.columns"),
        tenancy.get("tenants") instanceof Node tenants
            ? yaml.text(tenants, "tenancy.tenants")
            : null,
        yaml.texts(tenancy.get("shared"), "tenancy.shared"),
        yaml.texts(top.get("schemas"), "schemas"),
        yaml.texts(top.get("exclude"), "exclude"),
        yaml.texts(roles.get("application"), "roles.application"),
        yaml.texts(roles.get("trusted"), "roles.trusted"),
        suppressions(top.get("suppress")));
  }

  private List<Suppression> suppressions(@Nullable Node node) {
    List<Suppression> suppressions = new ArrayList<>();
    for (Node each : yaml.items(node, "suppress")) {
      Map<String, Node> parts = yaml.mapping(each, "suppress", Set.of("rule", "object", "reason"));
      List<String> values = new ArrayList<>();
      for (String name : List.of("rule", "object", "reason")) {
        if (!(parts.get(name) instanceof Node value) || yaml.text(value, name).isBlank()) {
          throw yaml.fault(
              YamlFile.line(each),
              "a suppression needs rule, object and reason; " + name + " is missing");
        }
        values.add(yaml.text(value, name));
      }
      suppressions.add(
          new Suppression(
              values.get(0),
              values.get(1),
              values.get(2),
              yaml.file() + ":" + YamlFile.line(each)));
    }
    return suppressions;
  }
}
