package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.ForeignKey;
import dev.tallyroll.schema.catalog.Function;
import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Policy;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.session.Sql;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;

/** Where objects lie and what they are called. */
final class NameChecks {
  /** NAMEDATALEN less the final zero. */
  private static final int MOST_BYTES = 63;

  /** PostgreSQL shortens the names that it makes up so that they stay apart. */
  private static final Pattern MADE_UP =
      // And so does Django, with eight digits of a hash.
      Pattern.compile(
          ".*_(pkey|key|fkey|idx|check|seq|excl|not_null)[0-9]*|.*_[0-9a-f]{8}(_fk.*|_uniq|_like|_idx)?");

  private final Subject subject;
  private final Findings findings;

  private NameChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
  }

  static void check(Subject subject, Findings findings) {
    NameChecks checks = new NameChecks(subject, findings);
    checks.wrongSchema();
    checks.inTwoSchemas();
    checks.cut();
  }

  private void wrongSchema() {
    List<String> ours = subject.settings().schemas();
    if (ours.isEmpty()) {
      return;
    }
    for (Relation relation : subject.catalog().relations()) {
      // A sequence goes where its table goes.
      if (!ours.contains(relation.schema())
          && !relation.isPartition()
          && relation.ownedBy() == null) {
        findings.add(
            Rule.WRONG_SCHEMA,
            relation.qualified(),
            "in " + relation.schema() + ", not in " + String.join(" or ", ours),
            "alter %s %s set schema %s;"
                .formatted(kind(relation), relation.sql(), Sql.identifier(ours.getFirst())));
      }
    }
    for (Function function : subject.catalog().functions()) {
      if (!ours.contains(function.schema())) {
        findings.add(
            Rule.WRONG_SCHEMA,
            function.qualified(),
            "in " + function.schema() + ", not in " + String.join(" or ", ours),
            "alter %s set schema %s;".formatted(function.sql(), Sql.identifier(ours.getFirst())));
      }
    }
  }

  private static String kind(Relation relation) {
    return switch (relation.kind()) {
      case TABLE, PARTITIONED -> "table";
      case VIEW -> "view";
      case MATERIALIZED_VIEW -> "materialized view";
      case FOREIGN_TABLE -> "foreign table";
      case SEQUENCE -> "sequence";
    };
  }

  private void inTwoSchemas() {
    Map<String, TreeSet<String>> schemas = new TreeMap<>();
    for (Relation relation : subject.catalog().relations()) {
      if (!relation.isPartition()
          && relation.kind() != Relation.Kind.SEQUENCE
          && !readsNamesake(relation)) {
        schemas.computeIfAbsent(relation.name(), key -> new TreeSet<>()).add(relation.schema());
      }
    }
    schemas.forEach((name, in) -> {
      if (in.size() > 1) {
        findings.add(
            Rule.NAME_IN_TWO_SCHEMAS,
            name,
            "in " + String.join(", ", in),
            "-- drop the one that nobody means, or name the schema in each statement and rename one");
      }
    });
  }

  /** A view that shows the table of its name, as those of an API do. */
  private boolean readsNamesake(Relation relation) {
    return subject.catalog().views().stream()
        .filter(view -> view.view() == relation.oid())
        .flatMap(view -> view.reads().stream())
        .flatMap(read -> subject.catalog().relation(read).stream())
        .anyMatch(read -> read.name().equals(relation.name()));
  }

  private void cut() {
    for (Relation relation : subject.catalog().relations()) {
      cut(relation.name(), relation.qualified(), kind(relation));
      for (Column column : relation.columns()) {
        cut(column.name(), relation.qualified() + "." + column.name(), "column");
      }
    }
    for (Index index : subject.catalog().indexes()) {
      if (!index.isAttached()) {
        cut(index.name(), named(index.table(), index.name()), "index");
      }
    }
    for (ForeignKey key : subject.catalog().foreignKeys()) {
      cut(key.name(), named(key.table(), key.name()), "constraint");
    }
    for (Policy policy : subject.catalog().policies()) {
      cut(policy.name(), named(policy.table(), policy.name()), "policy");
    }
    for (Function function : subject.catalog().functions()) {
      cut(function.name(), function.qualified(), "function");
    }
  }

  private String named(long table, String name) {
    return subject.catalog().relation(table).map(Relation::qualified).orElse("?") + "." + name;
  }

  private void cut(String name, String object, String kind) {
    if (name.getBytes(StandardCharsets.UTF_8).length == MOST_BYTES
        && !MADE_UP.matcher(name).matches()) {
      findings.add(
          Rule.IDENTIFIER_CUT,
          object,
          kind + " with a name of 63 bytes",
          "-- give it a shorter name, here and in the migration that makes it");
    }
  }
}
