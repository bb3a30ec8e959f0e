package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Policy;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.session.Sql;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;

/** The SQL that several checks advise. */
final class Mends {
  private static final int MOST_BYTES = 63;

  private Mends() {}

  /** A quoted name made from another, never longer than PostgreSQL takes. */
  static String named(String base, String suffix) {
    return Sql.identifier(cut(base, suffix));
  }

  /** The same, not quoted. */
  static String cut(String base, String suffix) {
    String name = base;
    while ((name + suffix).getBytes(StandardCharsets.UTF_8).length > MOST_BYTES) {
      name = name.substring(0, name.offsetByCodePoints(name.length(), -1));
    }
    return name + suffix;
  }

  /** What an index is over, for people. */
  static String parts(Index index) {
    return String.join(", ", index.definition().parts());
  }

  /**
   * Puts a unique index in the place of another without keeping writers out for longer than a
   * moment; of a partitioned table, where PostgreSQL cannot do that, plainly. All else that the old
   * one says is kept.
   *
   * @param parts what the new one is over
   */
  static String replaceKey(
      Subject subject, Relation table, Index old, List<String> parts, boolean nullsNotDistinct) {
    String nulls = nullsNotDistinct ? " nulls not distinct" : "";
    String over = "(" + String.join(", ", parts) + ")" + old.definition().include();
    String built = over + nulls + old.definition().rest();
    String fresh = subject.indexName(table, old.name(), "_new");
    String constraint = old.constraint();
    List<String> referring = subject.referring(table, old);
    String first =
        referring.isEmpty()
            ? ""
            : "-- first let the foreign keys that refer to this key refer to the new one: "
                + String.join(", ", referring)
                + "\n";
    if (table.kind() == Relation.Kind.PARTITIONED) {
      return first
          + (constraint == null
              ? "create unique index %s on %s using %s %s;\ndrop index %s;"
                  .formatted(fresh, table.sql(), old.method(), built, index(table, old))
              : "alter table %s drop constraint %s, add constraint %s %s %s%s;"
                  .formatted(
                      table.sql(),
                      Sql.identifier(constraint),
                      Sql.identifier(constraint),
                      old.isPrimary() ? "primary key" : "unique" + nulls,
                      over,
                      old.deferral()));
    }
    String build =
        "create unique index concurrently %s on %s using %s %s;\n"
            .formatted(fresh, table.sql(), old.method(), built);
    return first
        + build
        + (constraint == null
            ? "drop index concurrently " + index(table, old) + ";"
            : "alter table %s drop constraint %s, add constraint %s %s using index %s%s;"
                .formatted(
                    table.sql(),
                    Sql.identifier(constraint),
                    Sql.identifier(constraint),
                    old.isPrimary() ? "primary key" : "unique",
                    fresh,
                    old.deferral()));
  }

  static String index(Relation table, Index index) {
    return Sql.identifier(table.schema()) + "." + Sql.identifier(index.name());
  }

  /** Roles as SQL has them. */
  static String roles(List<String> names) {
    return String.join(
        ", ",
        names.stream()
            .map(name -> name.equals("public") ? "public" : Sql.identifier(name))
            .toList());
  }

  /**
   * What a policy of this table is to say: the tenant of the session, and nothing without one.
   * Empty if the policies that there are do not tell from where they have it.
   */
  static Optional<String> isTenants(Subject subject, Column owner) {
    return subject
        .setting()
        .map(setting ->
            Sql.identifier(owner.name())
                + " = (select nullif(current_setting("
                + Sql.literal(setting)
                + ", true), '')"
                + cast(owner)
                + ")");
  }

  private static String cast(Column owner) {
    return switch (owner.typeName()) {
      case "text", "varchar" -> "";
      default -> "::" + owner.type();
    };
  }

  /** A policy for a table that has none. */
  static String policy(Subject subject, Relation table) {
    String begin = "create policy tenant_rows on " + table.sql() + " using (";
    Optional<Column> owner = subject.owner(table);
    if (owner.isEmpty()) {
      return "-- a policy for " + table.qualified() + ", which has no key of one column";
    }
    return isTenants(subject, owner.get())
        .map(tenant -> begin + tenant + ");")
        .orElse(
            "-- "
                + begin
                + Sql.identifier(owner.get().name())
                + " = the tenant of the session, as your other policies have it);");
  }

  /** Changes what a policy says, in USING or in WITH CHECK. */
  static String alter(Relation table, Policy policy, boolean isCheck, String expression) {
    return "alter policy "
        + Sql.identifier(policy.name())
        + " on "
        + table.sql()
        + (isCheck ? " with check (" : " using (")
        + expression
        + ");";
  }
}
