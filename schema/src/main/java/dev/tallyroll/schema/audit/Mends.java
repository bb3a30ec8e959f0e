package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Policy;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.session.Sql;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The SQL that several checks advise. */
final class Mends {
  private static final int MOST_BYTES = 63;

  private static final Pattern SETTING = Pattern.compile("current_setting\\('([^']+\\.[^']+)'");

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

  /** The parts of an index, as they stand in CREATE INDEX, the tenant first if it is not there. */
  static String parts(Relation table, Index index, Optional<Column> first) {
    List<String> parts = index.keys().stream().map(part -> part(table, part)).toList();
    return first.map(column -> Sql.identifier(column.name()) + ", ").orElse("")
        + String.join(", ", parts);
  }

  static String part(Relation table, Index.Part part) {
    String expression = part.expression();
    return expression != null
        ? "(" + expression + ")"
        : table
            .column(part.column())
            .map(column -> Sql.identifier(column.name()))
            .orElse("tableoid");
  }

  /**
   * Puts a unique index in the place of another without keeping writers out for longer than a
   * moment; of a partitioned table, where PostgreSQL cannot do that, plainly.
   *
   * @param parts what the new one is over
   * @param nulls {@code " nulls not distinct"} or nothing
   */
  static String replaceKey(Relation table, Index old, String parts, String nulls) {
    String where = old.predicate() == null ? "" : " where " + old.predicate();
    String kind = old.isPrimary() ? "primary key" : "unique" + nulls;
    String constraint = old.constraint();
    if (table.kind() == Relation.Kind.PARTITIONED) {
      return constraint == null
          ? "create unique index %s on %s (%s)%s%s;\ndrop index %s;"
              .formatted(
                  named(old.name(), "_new"), table.sql(), parts, nulls, where, index(table, old))
          : "alter table %s drop constraint %s, add constraint %s %s (%s);"
              .formatted(
                  table.sql(), Sql.identifier(constraint), Sql.identifier(constraint), kind, parts);
    }
    String build =
        "create unique index concurrently %s on %s (%s)%s%s;\n"
            .formatted(named(old.name(), "_new"), table.sql(), parts, nulls, where);
    if (constraint == null) {
      return build + "drop index concurrently " + index(table, old) + ";";
    }
    return build
        + "alter table %s drop constraint %s, add constraint %s %s using index %s;"
            .formatted(
                table.sql(),
                Sql.identifier(constraint),
                Sql.identifier(constraint),
                old.isPrimary() ? "primary key" : "unique",
                named(old.name(), "_new"));
  }

  static String index(Relation table, Index index) {
    return Sql.identifier(table.schema()) + "." + Sql.identifier(index.name());
  }

  /** A role as SQL has it. */
  static String role(String name) {
    return name.equals("public") ? "public" : Sql.identifier(name);
  }

  /** What a policy of this table is to say: the tenant of the session, and nothing without one. */
  static String isTenants(Subject subject, Column owner) {
    String setting = setting(subject);
    String value = "nullif(current_setting(" + Sql.literal(setting) + ", true), '')";
    return Sql.identifier(owner.name()) + " = (select " + value + cast(owner) + ")";
  }

  private static String cast(Column owner) {
    return switch (owner.typeName()) {
      case "text", "varchar" -> "";
      default -> "::" + owner.type();
    };
  }

  /** The setting from which the policies of this schema read the tenant. */
  private static String setting(Subject subject) {
    for (Policy policy : subject.catalog().policies()) {
      for (Policy.Clause clause : policy.clauses()) {
        Matcher matcher = SETTING.matcher(clause.sql());
        if (matcher.find()) {
          return matcher.group(1);
        }
      }
    }
    return "app.tenant";
  }

  /** A policy for a table that has none. */
  static String policy(Subject subject, Relation table) {
    return subject
        .owner(table)
        .map(owner ->
            "create policy tenant_rows on "
                + table.sql()
                + " using ("
                + isTenants(subject, owner)
                + ");")
        .orElse("-- a policy for " + table.qualified() + ", which has no key of one column");
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
