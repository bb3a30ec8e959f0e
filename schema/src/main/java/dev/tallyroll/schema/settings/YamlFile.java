package dev.tallyroll.schema.settings;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
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
 * A YAML 1.2 file whose keys are known: an unknown key, one that stands twice, and a value of
 * another kind are refused with file and line. Immutable.
 *
 * @param file its name, for messages
 */
public record YamlFile(String file) {
  /**
   * The documents of a text; those that are empty are left out.
   *
   * @throws TallyrollException with the line, if it is not YAML
   */
  public List<Node> documents(String text) {
    try {
      LoadSettings settings = LoadSettings.builder().setLabel(file).build();
      List<Node> documents = new ArrayList<>();
      new Compose(settings).composeAllFromString(text).forEach(documents::add);
      return documents.stream().filter(node -> !isNull(node)).toList();
    } catch (MarkedYamlEngineException e) {
      int line = e.getProblemMark().map(mark -> mark.getLine() + 1).orElse(1);
      throw fault(line, "not YAML: " + e.getProblem());
    } catch (YamlEngineException e) {
      throw fault(1, "not YAML: " + e.getMessage());
    }
  }

  /** The only document of a text; empty if it has none. */
  public Optional<Node> document(String text) {
    List<Node> documents = documents(text);
    if (documents.size() > 1) {
      throw fault(line(documents.get(1)), "a second document: there is to be one");
    }
    return documents.stream().findFirst();
  }

  /**
   * The entries of a mapping, in their order; none of nothing.
   *
   * @param what it is, for messages
   * @param known the keys that it may have; empty if it may have any
   */
  public Map<String, Node> mapping(@Nullable Node node, String what, Set<String> known) {
    Map<String, Node> parts = new LinkedHashMap<>();
    if (node == null || isNull(node)) {
      return parts;
    }
    if (!(node instanceof MappingNode mapping)) {
      throw fault(
          line(node),
          what
              + " is to be a mapping"
              + (known.isEmpty() ? "" : " with " + String.join(", ", sorted(known))));
    }
    for (NodeTuple tuple : mapping.getValue()) {
      String key = text(tuple.getKeyNode(), what);
      if (!known.isEmpty() && !known.contains(key)) {
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

  /** The texts of a list; none of nothing. */
  public List<String> texts(@Nullable Node node, String what) {
    return items(node, what).stream().map(each -> text(each, what)).toList();
  }

  /** The items of a list; none of nothing. */
  public List<Node> items(@Nullable Node node, String what) {
    if (node == null || isNull(node)) {
      return List.of();
    }
    if (!(node instanceof SequenceNode sequence)) {
      throw fault(line(node), what + " is to be a list");
    }
    return sequence.getValue();
  }

  /** The text of a scalar. */
  public String text(Node node, String what) {
    if (!(node instanceof ScalarNode scalar)) {
      throw fault(line(node), what + " is to be a text");
    }
    return scalar.getValue();
  }

  /** Whether a node says nothing. */
  public static boolean isNull(Node node) {
    return node instanceof ScalarNode scalar
        && (scalar.getValue().isEmpty() || scalar.getValue().equals("null"));
  }

  /** The line of a node, from 1. */
  public static int line(Node node) {
    return node.getStartMark().map(mark -> mark.getLine() + 1).orElse(1);
  }

  /** A fault at a line. */
  public TallyrollException fault(int line, String message) {
    return new TallyrollException(ErrorCode.DEFINITION, file + ":" + line + ": " + message);
  }
}
