package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.ForeignKey;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.session.Sql;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/** Foreign keys between tenants' tables, and those that check less than they say. */
final class ForeignKeyChecks {
  private final Subject subject;
  private final Findings findings;
  private final Catalog catalog;

  /** Parents that a mend gives a key already. */
  private final Set<String> keyed = new HashSet<>();

  private ForeignKeyChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
    this.catalog = subject.catalog();
  }

  static void check(Subject subject, Findings findings) {
    ForeignKeyChecks checks = new ForeignKeyChecks(subject, findings);
    // In the order in which findings are printed, since what one mends, later ones rely on.
    for (Relation table : subject.catalog().tables()) {
      subject.catalog().foreignKeys(table).stream()
          .sorted(Comparator.comparing(ForeignKey::name))
          .forEach(key -> {
            checks.withoutTenant(key, table);
            checks.unchecked(key, table);
          });
    }
  }

  private void withoutTenant(ForeignKey key, Relation table) {
    Optional<Relation> parent = catalog.relation(key.referenced());
    Optional<Column> mine = subject.tenancy().column(table);
    Optional<Column> theirs = parent.flatMap(subject.tenancy()::column);
    if (parent.isEmpty() || mine.isEmpty() || theirs.isEmpty()) {
      return;
    }
    boolean carries =
        IntStream.range(0, key.columns().size())
            .anyMatch(i ->
                key.columns().get(i) == mine.get().number()
                    && key.referencedColumns().get(i) == theirs.get().number());
    if (carries) {
      return;
    }
    List<String> from = names(table, key.columns());
    List<String> to = names(parent.get(), key.referencedColumns());
    findings.add(
        Rule.FOREIGN_KEY_WITHOUT_TENANT,
        table.qualified() + "." + key.name(),
        "(%s) refers to %s (%s), whatever %s of both is"
            .formatted(
                String.join(", ", from),
                parent.get().qualified(),
                String.join(", ", to),
                mine.get().name()),
        widen(key, table, mine.get(), parent.get(), theirs.get()));
  }

  private String widen(
      ForeignKey key, Relation table, Column mine, Relation parent, Column theirs) {
    StringBuilder mend = new StringBuilder();
    List<String> to = names(parent, key.referencedColumns());
    String target = Subject.quoted(List.of(theirs.name())) + ", " + Subject.quoted(to);
    Set<Integer> wanted = new HashSet<>(key.referencedColumns());
    wanted.add(theirs.number());
    boolean hasKey =
        catalog.indexes(parent).stream()
            .anyMatch(index ->
                index.isUnique()
                    && index.isUsable()
                    && index.predicate() == null
                    && index.keys().size() == wanted.size()
                    && wanted.stream().allMatch(index::hasKey));
    if (!hasKey && !keyed.add(parent.oid() + " " + target)) {
      mend.append("-- once ")
          .append(parent.qualified())
          .append(" has the unique key (")
          .append(target)
          .append("), which an earlier finding adds\n");
    } else if (!hasKey) {
      String name = subject.indexName(parent, parent.name(), "_tenant_key");
      mend.append(
          parent.kind() == Relation.Kind.PARTITIONED
              ? "alter table %s add constraint %s unique (%s);\n"
                  .formatted(parent.sql(), name, target)
              : "create unique index concurrently %s on %s (%s);\nalter table %s add constraint %s unique using index %s;\n"
                  .formatted(name, parent.sql(), target, parent.sql(), name, name));
    }
    List<String> from = names(table, key.columns());
    String name = Mends.named(key.name(), "_tenant");
    boolean plain = table.kind() == Relation.Kind.PARTITIONED;
    mend.append(
        "alter table %s add constraint %s foreign key (%s, %s) references %s (%s)%s%s%s;\n"
            .formatted(
                table.sql(),
                name,
                Sql.identifier(mine.name()),
                Subject.quoted(from),
                parent.sql(),
                target,
                onDelete(key, from),
                key.rest(),
                plain ? "" : " not valid"));
    if (!plain) {
      mend.append("alter table %s validate constraint %s;\n".formatted(table.sql(), name));
    }
    return mend.append(
            "alter table %s drop constraint %s;".formatted(table.sql(), Sql.identifier(key.name())))
        .toString();
  }

  /** The tenant stays when the row that was referred to goes. */
  private static String onDelete(ForeignKey key, List<String> columns) {
    return switch (key.onDelete()) {
      case "no action" -> "";
      case "set null", "set default" ->
          " on delete " + key.onDelete() + " (" + Subject.quoted(columns) + ")";
      default -> " on delete " + key.onDelete();
    };
  }

  private static List<String> names(Relation table, List<Integer> columns) {
    return columns.stream()
        .map(column -> table.column(column).map(Column::name).orElse("?"))
        .toList();
  }

  private void unchecked(ForeignKey key, Relation table) {
    String object = table.qualified() + "." + key.name();
    String name = Sql.identifier(key.name());
    if (!key.isEnforced()) {
      findings.add(
          Rule.FOREIGN_KEY_NOT_ENFORCED,
          object,
          "NOT ENFORCED",
          "-- rows that refer to nothing first\nalter table %s alter constraint %s enforced;"
              .formatted(table.sql(), name));
    } else if (!key.isValidated()) {
      findings.add(
          Rule.FOREIGN_KEY_NOT_VALID,
          object,
          "NOT VALID",
          "alter table %s validate constraint %s;".formatted(table.sql(), name));
    }
  }
}
