package dev.tallyroll.schema.catalog;

import dev.tallyroll.schema.catalog.Index.Part;
import dev.tallyroll.schema.catalog.Policy.Clause;
import dev.tallyroll.schema.catalog.Relation.Grant;
import dev.tallyroll.schema.catalog.Relation.Kind;
import dev.tallyroll.session.Sql;
import java.sql.Array;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Reads a {@link Catalog}: a dozen queries, whatever the size of the database, in one transaction
 * that cannot write and takes no lock stronger than ACCESS SHARE. For one thread.
 */
public final class CatalogReader {
  /** From this version on foreign keys may be NOT ENFORCED. */
  private static final int NOT_ENFORCED = 18;

  private final Connection connection;
  private final int version;
  private final Array schemas;

  private CatalogReader(Connection connection, int version, List<Long> schemas)
      throws SQLException {
    this.connection = connection;
    this.version = version;
    this.schemas = connection.createArrayOf("oid", schemas.toArray());
  }

  private record Schema(long oid, String name) {}

  /**
   * Reads the catalogs.
   *
   * @param connection of any role: the catalogs are open to everybody. Its transaction, which must
   *     not have begun, is rolled back at the end
   * @param wanted which schemas to read, by name; those of PostgreSQL itself are never asked for
   */
  public static Catalog read(Connection connection, Predicate<String> wanted) throws SQLException {
    boolean autoCommit = connection.getAutoCommit();
    connection.setAutoCommit(false);
    try {
      Sql.run(connection, "set transaction isolation level repeatable read, read only");
      // Names are printed with their schemas, whatever the search path of the session is.
      Sql.run(connection, "set local search_path = pg_catalog");
      List<Schema> schemas =
          Sql.list(
                  connection, query("schemas"), row -> new Schema(row.getLong(1), row.getString(2)))
              .stream()
              .filter(schema -> wanted.test(schema.name()))
              .toList();
      int version = connection.getMetaData().getDatabaseMajorVersion();
      return new CatalogReader(connection, version, schemas.stream().map(Schema::oid).toList())
          .read(schemas.stream().map(Schema::name).toList());
    } finally {
      connection.rollback();
      connection.setAutoCommit(autoCommit);
    }
  }

  private static String query(String name) {
    return Sql.resource("schema/" + name + ".sql", Map.of());
  }

  private <T> List<T> list(String name, Sql.Row<T> row) throws SQLException {
    return Sql.list(connection, query(name), row, schemas);
  }

  private Catalog read(List<String> names) throws SQLException {
    List<Policy> policies = list("policies", CatalogReader::policy);
    return new Catalog(
        version,
        names,
        roles(),
        relations(),
        list("indexes", CatalogReader::index),
        foreignKeys(),
        policies,
        list("views", row -> new View(row.getLong(1), row.getString(2), longs(row.getArray(3)))),
        list("functions", CatalogReader::function),
        called(policies));
  }

  private record Membership(Role role, List<String> direct) {}

  private List<Role> roles() throws SQLException {
    List<Membership> read =
        Sql.list(
            connection,
            query("roles"),
            row ->
                new Membership(
                    new Role(
                        row.getLong(1),
                        row.getString(2),
                        row.getBoolean(3),
                        row.getBoolean(4),
                        row.getBoolean(5),
                        Set.of()),
                    texts(row.getArray(6))));
    Map<String, List<String>> direct = new HashMap<>();
    read.forEach(member -> direct.put(member.role().name(), member.direct()));
    return read.stream()
        .map(Membership::role)
        .map(role ->
            new Role(
                role.oid(),
                role.name(),
                role.isSuperuser(),
                role.bypassesRls(),
                role.canLogin(),
                reached(role.name(), direct)))
        .toList();
  }

  private static Set<String> reached(String role, Map<String, List<String>> direct) {
    Set<String> reached = new HashSet<>();
    Deque<String> open = new ArrayDeque<>(direct.getOrDefault(role, List.of()));
    while (!open.isEmpty()) {
      String next = open.pop();
      if (!next.equals(role) && reached.add(next)) {
        open.addAll(direct.getOrDefault(next, List.of()));
      }
    }
    return reached;
  }

  private record Of<T>(long relation, T part) {}

  private List<Relation> relations() throws SQLException {
    Map<Long, List<Column>> columns =
        byRelation(
            list(
                "columns",
                row ->
                    new Of<>(
                        row.getLong(1),
                        new Column(
                            row.getInt(2),
                            row.getString(3),
                            row.getString(4),
                            row.getString(5),
                            row.getBoolean(6) && row.getString(7) == null,
                            row.getString(7),
                            row.getString(8),
                            row.getBoolean(9),
                            row.getBoolean(10)))));
    Map<Long, List<Grant>> grants =
        byRelation(
            Sql.list(
                connection,
                query("grants"),
                row -> new Of<>(row.getLong(1), new Grant(row.getString(2), row.getString(3))),
                schemas,
                schemas));
    return list(
        "relations",
        row ->
            new Relation(
                row.getLong(1),
                row.getString(2),
                row.getString(3),
                kind(row.getString(4)),
                row.getString(5),
                row.getBoolean(6),
                row.getBoolean(7),
                row.getBoolean(8) ? number(row, 9) : null,
                texts(row.getArray(10)),
                number(row, 11),
                columns.getOrDefault(row.getLong(1), List.of()),
                grants.getOrDefault(row.getLong(1), List.of())));
  }

  private static @Nullable Long number(ResultSet row, int column) throws SQLException {
    long number = row.getLong(column);
    return row.wasNull() ? null : number;
  }

  private static <T> Map<Long, List<T>> byRelation(List<Of<T>> parts) {
    Map<Long, List<T>> byRelation = new HashMap<>();
    for (Of<T> part : parts) {
      byRelation.computeIfAbsent(part.relation(), key -> new ArrayList<>()).add(part.part());
    }
    return byRelation;
  }

  private static Kind kind(String letter) {
    return switch (letter) {
      case "r" -> Kind.TABLE;
      case "p" -> Kind.PARTITIONED;
      case "v" -> Kind.VIEW;
      case "m" -> Kind.MATERIALIZED_VIEW;
      case "f" -> Kind.FOREIGN_TABLE;
      default -> Kind.SEQUENCE;
    };
  }

  private static Index index(ResultSet row) throws SQLException {
    List<String> columns = words(row.getString(14));
    int keys = row.getInt(15);
    List<String> classes = words(row.getString(16));
    List<String> collations = words(row.getString(17));
    List<String> orders = words(row.getString(18));
    IndexDefinition definition = IndexDefinition.parse(row.getString(22));
    List<Part> parts = new ArrayList<>();
    List<Integer> included = new ArrayList<>();
    for (int i = 0; i < columns.size(); i++) {
      int column = Integer.parseInt(columns.get(i));
      if (i < keys) {
        parts.add(
            new Part(
                column,
                column == 0 ? definition.parts().get(i) : null,
                classes.get(i) + " " + collations.get(i) + " " + orders.get(i)));
      } else {
        included.add(column);
      }
    }
    return new Index(
        row.getLong(1),
        row.getString(2),
        row.getLong(3),
        row.getBoolean(4),
        row.getBoolean(5),
        row.getBoolean(6),
        row.getString(7),
        row.getBoolean(8),
        row.getBoolean(9),
        row.getBoolean(10),
        row.getBoolean(11),
        row.getBoolean(12),
        row.getString(13),
        parts,
        included,
        row.getString(19),
        deferral(row.getBoolean(20), row.getBoolean(21)),
        definition);
  }

  private static List<String> words(String text) {
    return text.isEmpty() ? List.of() : List.of(text.split(" "));
  }

  private List<ForeignKey> foreignKeys() throws SQLException {
    return Sql.list(
        connection,
        Sql.resource(
            "schema/foreign_keys.sql",
            Map.of("enforced", version >= NOT_ENFORCED ? "k.conenforced" : "true")),
        row ->
            new ForeignKey(
                row.getString(2),
                row.getLong(3),
                integers(row.getArray(4)),
                row.getLong(5),
                integers(row.getArray(6)),
                row.getBoolean(7),
                row.getBoolean(8),
                action(row.getString(9)),
                rest(row)),
        schemas);
  }

  private static String rest(ResultSet row) throws SQLException {
    String onUpdate = action(row.getString(10));
    // MATCH FULL refuses a part that is NULL, which a tenant beside it never is: it cannot stay.
    return (onUpdate.equals("no action") ? "" : " on update " + onUpdate)
        + deferral(row.getBoolean(11), row.getBoolean(12));
  }

  private static String deferral(boolean isDeferrable, boolean isDeferred) {
    return isDeferred ? " deferrable initially deferred" : isDeferrable ? " deferrable" : "";
  }

  private static String action(String letter) {
    return switch (letter) {
      case "c" -> "cascade";
      case "r" -> "restrict";
      case "n" -> "set null";
      case "d" -> "set default";
      default -> "no action";
    };
  }

  private static Policy policy(ResultSet row) throws SQLException {
    List<Clause> clauses = new ArrayList<>();
    String using = row.getString(6);
    if (using != null) {
      clauses.add(new Clause(false, using, NodeTree.parse(row.getString(7))));
    }
    String check = row.getString(8);
    if (check != null) {
      clauses.add(new Clause(true, check, NodeTree.parse(row.getString(9))));
    }
    return new Policy(
        row.getString(1),
        row.getLong(2),
        row.getBoolean(3),
        Policy.Command.of(row.getString(4)),
        texts(row.getArray(5)),
        clauses);
  }

  private static Function function(ResultSet row) throws SQLException {
    List<String> callers = new ArrayList<>(texts(row.getArray(13)));
    if (row.getBoolean(12) && !callers.contains("public")) {
      callers.add("public");
    }
    return new Function(
        row.getString(2),
        row.getString(3),
        row.getString(4),
        row.getString(5),
        row.getBoolean(6),
        texts(row.getArray(7)),
        row.getString(8),
        row.getString(9),
        row.getBoolean(10),
        "p".equals(row.getString(11)),
        row.getBoolean(14),
        callers);
  }

  private Map<Long, Catalog.Called> called(List<Policy> policies) throws SQLException {
    Set<Long> functions = new HashSet<>();
    for (Policy policy : policies) {
      policy.clauses().forEach(each -> functions.addAll(each.tree().callsPerRow()));
    }
    Map<Long, Catalog.Called> called = new HashMap<>();
    Sql.list(
        connection,
        query("volatilities"),
        row ->
            called.put(
                row.getLong(1),
                new Catalog.Called(
                    row.getString(2), row.getString(3), "i".equals(row.getString(4)))),
        connection.createArrayOf("oid", functions.toArray()));
    return called;
  }

  private static List<String> texts(Array array) throws SQLException {
    return List.of((String[]) array.getArray());
  }

  private static List<Long> longs(Array array) throws SQLException {
    return List.of((Long[]) array.getArray());
  }

  private static List<Integer> integers(Array array) throws SQLException {
    return Arrays.stream((Object[]) array.getArray())
        .map(each -> ((Number) each).intValue())
        .toList();
  }
}
