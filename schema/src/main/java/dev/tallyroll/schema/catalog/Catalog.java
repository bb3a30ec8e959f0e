package dev.tallyroll.schema.catalog;

import dev.tallyroll.session.Sql;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * What the catalogs of one database say, read in one snapshot: everything of the chosen schemas,
 * and all roles. What belongs to an extension is left out. Immutable.
 */
public final class Catalog {
  private final int serverVersion;
  private final List<String> schemas;
  private final Map<String, Role> roles = new LinkedHashMap<>();
  private final Map<Long, Relation> relations = new LinkedHashMap<>();
  private final List<Index> indexes;
  private final Map<Long, List<Index>> indexesByTable = new HashMap<>();
  private final List<ForeignKey> foreignKeys;
  private final Map<Long, List<ForeignKey>> foreignKeysByTable = new HashMap<>();
  private final List<Policy> policies;
  private final Map<Long, List<Policy>> policiesByTable = new HashMap<>();
  private final List<View> views;
  private final List<Function> functions;
  private final Map<Long, Called> called;
  private final Set<String> names = new HashSet<>();

  /**
   * A function that a policy calls.
   *
   * @param schema its schema, which may be one of PostgreSQL's own
   * @param isImmutable whether it gives the same for the same arguments always
   */
  public record Called(String schema, String name, boolean isImmutable) {
    /** As it is called; those of PostgreSQL itself without their schema. */
    public String sql() {
      return (schema.equals("pg_catalog") ? "" : printed(schema) + ".") + printed(name) + "()";
    }

    private static String printed(String name) {
      return name.matches("[a-z_][a-z0-9_]*") ? name : Sql.identifier(name);
    }
  }

  Catalog(
      int serverVersion,
      List<String> schemas,
      List<Role> roles,
      List<Relation> relations,
      List<Index> indexes,
      List<ForeignKey> foreignKeys,
      List<Policy> policies,
      List<View> views,
      List<Function> functions,
      Map<Long, Called> called) {
    this.serverVersion = serverVersion;
    this.schemas = List.copyOf(schemas);
    roles.forEach(role -> this.roles.put(role.name(), role));
    relations.forEach(relation -> this.relations.put(relation.oid(), relation));
    this.indexes = List.copyOf(indexes);
    for (Index index : this.indexes) {
      indexesByTable.merge(index.table(), List.of(index), Catalog::joined);
    }
    this.foreignKeys = List.copyOf(foreignKeys);
    for (ForeignKey key : this.foreignKeys) {
      foreignKeysByTable.merge(key.table(), List.of(key), Catalog::joined);
    }
    this.policies = List.copyOf(policies);
    for (Policy policy : this.policies) {
      policiesByTable.merge(policy.table(), List.of(policy), Catalog::joined);
    }
    this.views = List.copyOf(views);
    this.functions = List.copyOf(functions);
    this.called = Map.copyOf(called);
    relations.forEach(relation -> names.add(relation.qualified()));
    for (Index index : this.indexes) {
      relation(index.table()).ifPresent(table -> names.add(table.schema() + "." + index.name()));
    }
  }

  private static <T> List<T> joined(List<T> first, List<T> second) {
    return Stream.concat(first.stream(), second.stream()).toList();
  }

  /** The major version of the server. */
  public int serverVersion() {
    return serverVersion;
  }

  /** The schemas that were read, by name. */
  public List<String> schemas() {
    return schemas;
  }

  /** All roles but the predefined ones. */
  public List<Role> roles() {
    return List.copyOf(roles.values());
  }

  /** The role of this name. */
  public Optional<Role> role(String name) {
    return Optional.ofNullable(roles.get(name));
  }

  /** Tables, views and sequences, by schema and name. */
  public List<Relation> relations() {
    return List.copyOf(relations.values());
  }

  /** Tables and partitioned tables, partitions among them. */
  public List<Relation> tables() {
    return relations.values().stream().filter(Relation::isTable).toList();
  }

  /** The relation of this number, unless it lies in another schema. */
  public Optional<Relation> relation(long oid) {
    return Optional.ofNullable(relations.get(oid));
  }

  /** The table at the top of the partitions that this one is part of; itself if it is none. */
  public Relation top(Relation relation) {
    Relation top = relation;
    Long parent = top.parent();
    while (parent != null && relations.get(parent) instanceof Relation above) {
      top = above;
      parent = top.parent();
    }
    return top;
  }

  /** All indexes. */
  public List<Index> indexes() {
    return indexes;
  }

  /** The indexes of a table. */
  public List<Index> indexes(Relation table) {
    return indexesByTable.getOrDefault(table.oid(), List.of());
  }

  /** Whether a relation or an index of a schema has this name already. */
  public boolean isTaken(String schema, String name) {
    return names.contains(schema + "." + name);
  }

  /** All foreign keys; of partitioned tables those of the parent. */
  public List<ForeignKey> foreignKeys() {
    return foreignKeys;
  }

  /** The foreign keys by which a table refers to others. */
  public List<ForeignKey> foreignKeys(Relation table) {
    return foreignKeysByTable.getOrDefault(table.oid(), List.of());
  }

  /** All policies. */
  public List<Policy> policies() {
    return policies;
  }

  /** The policies of a table. */
  public List<Policy> policies(Relation table) {
    return policiesByTable.getOrDefault(table.oid(), List.of());
  }

  /** The queries of views and materialized views. */
  public List<View> views() {
    return views;
  }

  /** Functions and procedures. */
  public List<Function> functions() {
    return functions;
  }

  /** The function of this number, if a policy calls it. */
  public Optional<Called> called(long oid) {
    return Optional.ofNullable(called.get(oid));
  }
}
