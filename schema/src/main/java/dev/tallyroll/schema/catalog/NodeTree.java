package dev.tallyroll.schema.catalog;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * An expression as PostgreSQL keeps it in its catalogs ({@code pg_node_tree}), of which we
 * understand what policies need: which columns of their own table they look at, which other tables
 * they read, and which functions they call for each row. Immutable.
 *
 * <p>The text is that of PostgreSQL's {@code outfuncs.c}: {@code {NAME :field value ...}}, lists in
 * parentheses, special characters after a backslash. Fields that we do not know are passed over, so
 * that new ones do no harm.
 */
public final class NodeTree {
  /** The table that a policy belongs to is the first of its expression's range table. */
  private static final String OWN_TABLE = "1";

  private static final String BOOLEAN = "16";

  private final Node root;

  private NodeTree(Node root) {
    this.root = root;
  }

  /** A node, or a list, which has no name and no fields. */
  private record Node(String name, Map<String, String> fields, List<Child> children) {
    String field(String name) {
      return fields.getOrDefault(name, "");
    }
  }

  private record Child(String field, Node node) {}

  /** Reads the text of a {@code pg_node_tree}. */
  public static NodeTree parse(String text) {
    Deque<Node> open = new ArrayDeque<>();
    Node root = new Node("", new HashMap<>(), new ArrayList<>());
    open.push(root);
    Deque<String> names = new ArrayDeque<>();
    names.push("");
    int at = 0;
    while (at < text.length()) {
      char c = text.charAt(at);
      if (c == ' ' || c == '\n') {
        at++;
      } else if (c == '{' || c == '(') {
        int end = c == '{' ? word(text, at + 1) : at + 1;
        Node node = new Node(text.substring(at + 1, end), new HashMap<>(), new ArrayList<>());
        open.element().children().add(new Child(names.element(), node));
        open.push(node);
        names.push("");
        at = end;
      } else if (c == '}' || c == ')') {
        open.pop();
        names.pop();
        at++;
      } else {
        int end = word(text, at);
        String word = text.substring(at, end);
        if (c == ':') {
          names.pop();
          names.push(word.substring(1));
        } else {
          open.element().fields().merge(names.element(), word, (a, b) -> a + " " + b);
        }
        at = end;
      }
    }
    return new NodeTree(root);
  }

  private static int word(String text, int from) {
    int at = from;
    while (at < text.length() && " \n{}()".indexOf(text.charAt(at)) < 0) {
      at += text.charAt(at) == '\\' ? 2 : 1;
    }
    // Never stands still, whatever comes.
    return Math.max(Math.min(at, text.length()), from + 1);
  }

  /** The numbers of the columns of its own table that it looks at, in sub-selects too. */
  public Set<Integer> ownColumns() {
    Set<Integer> columns = new HashSet<>();
    collectColumns(root, 0, columns);
    return columns;
  }

  private static void collectColumns(Node node, int depth, Set<Integer> columns) {
    if (node.name().equals("VAR")
        && node.field("varno").equals(OWN_TABLE)
        && node.field("varlevelsup").equals(Integer.toString(depth))) {
      columns.add(Integer.parseInt(node.field("varattno")));
    }
    for (Child child : node.children()) {
      boolean inner = child.node().name().equals("QUERY");
      collectColumns(child.node(), inner ? depth + 1 : depth, columns);
    }
  }

  /** The numbers of the relations that its sub-selects read. */
  public Set<Long> relations() {
    Set<Long> relations = new HashSet<>();
    collectRelations(root, relations);
    return relations;
  }

  private static void collectRelations(Node node, Set<Long> relations) {
    String relation = node.field("relid");
    if (!relation.isEmpty()) {
      relations.add(Long.parseLong(relation));
    }
    node.children().forEach(child -> collectRelations(child.node(), relations));
  }

  /**
   * The numbers of the functions that are called with nothing of the row and outside of any
   * sub-select, so that PostgreSQL calls them anew for each row unless they are immutable.
   */
  public Set<Long> callsPerRow() {
    Set<Long> calls = new HashSet<>();
    collectCalls(root, calls);
    return calls;
  }

  private static void collectCalls(Node node, Set<Long> calls) {
    if (node.name().equals("QUERY")) {
      return;
    }
    // Others are casts, which somebody else has to be called for.
    if (node.name().equals("FUNCEXPR")
        && node.field("funcformat").equals("0")
        && !hasOwnColumn(node)) {
      calls.add(Long.parseLong(node.field("funcid")));
    }
    node.children().forEach(child -> collectCalls(child.node(), calls));
  }

  private static boolean hasOwnColumn(Node node) {
    Set<Integer> columns = new HashSet<>();
    collectColumns(node, 0, columns);
    return !columns.isEmpty();
  }

  /**
   * Whether it is true for every row by its own form: {@code true}, {@code 1 = 1}, a column that
   * equals itself, or one of these as a side of an OR.
   */
  public boolean isAlwaysTrue() {
    return top() instanceof Node top && isAlways(top, true);
  }

  /** Whether it is false for every row by its own form. */
  public boolean isAlwaysFalse() {
    return top() instanceof Node top && isAlways(top, false);
  }

  /**
   * Whether every way to be true asks for the value of this column of its own table: each side of
   * an OR, and one of an AND. That it is NULL or not says nothing of its value.
   */
  public boolean asksFor(int column) {
    return top() instanceof Node top && asksFor(top, column, true);
  }

  /** Whether at least one way to be true does. */
  public boolean asksSomewhereFor(int column) {
    return top() instanceof Node top && asksFor(top, column, false);
  }

  private @Nullable Node top() {
    return root.children().size() == 1 ? root.children().getFirst().node() : null;
  }

  private static boolean asksFor(Node node, int column, boolean inEachWay) {
    if (node.name().equals("BOOLEXPR")) {
      List<Node> sides = arguments(node);
      return switch (node.field("boolop")) {
        case "or" ->
            inEachWay
                ? sides.stream().allMatch(side -> asksFor(side, column, true))
                : sides.stream().anyMatch(side -> asksFor(side, column, false));
        case "and" -> sides.stream().anyMatch(side -> asksFor(side, column, inEachWay));
        default -> uses(node, column);
      };
    }
    return !node.name().equals("NULLTEST")
        && !isAlways(node, true)
        && (isAlways(node, false) || uses(node, column));
  }

  private static boolean uses(Node node, int column) {
    Set<Integer> columns = new HashSet<>();
    collectColumns(node, 0, columns);
    return columns.contains(column);
  }

  private static boolean isAlways(Node node, boolean wanted) {
    if (node.name().equals("CONST")) {
      return node.field("consttype").equals(BOOLEAN)
          && node.field("constisnull").equals("false")
          && node.field("constvalue").contains(wanted ? "[ 1 " : "[ 0 ");
    }
    if (node.name().equals("BOOLEXPR")) {
      List<Node> sides = arguments(node);
      boolean isOr = node.field("boolop").equals("or");
      if (node.field("boolop").equals("not")) {
        return false;
      }
      return isOr == wanted
          ? sides.stream().anyMatch(side -> isAlways(side, wanted))
          : sides.stream().allMatch(side -> isAlways(side, wanted));
    }
    if (wanted && node.name().equals("OPEXPR") && isEquality(node.field("opfuncid"))) {
      List<Node> sides = arguments(node);
      return sides.size() == 2 && isSame(sides.get(0), sides.get(1));
    }
    return false;
  }

  /** int4eq, texteq, booleq, int8eq, uuid_eq: the equalities of which somebody writes x = x. */
  private static boolean isEquality(String function) {
    return Set.of("65", "67", "60", "467", "2956").contains(function);
  }

  private static boolean isSame(Node one, Node other) {
    return switch (one.name()) {
      case "CONST" ->
          other.name().equals("CONST")
              && one.field("constisnull").equals("false")
              && one.field("consttype").equals(other.field("consttype"))
              && one.field("constvalue").equals(other.field("constvalue"));
      case "VAR" ->
          other.name().equals("VAR")
              && one.field("varno").equals(other.field("varno"))
              && one.field("varattno").equals(other.field("varattno"))
              && one.field("varlevelsup").equals(other.field("varlevelsup"));
      default -> false;
    };
  }

  private static List<Node> arguments(Node node) {
    return node.children().stream()
        .filter(child -> child.field().equals("args"))
        .flatMap(child -> child.node().children().stream())
        .map(Child::node)
        .toList();
  }
}
