package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.catalog.View;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Views and materialized views of tenants' rows. */
final class ViewChecks {
  /** A computed value is in parentheses before its cast. */
  private static final Pattern NARROW = Pattern.compile("\\)::numeric\\((\\d+),(\\d+)\\)");

  /** With so many digits before the point nothing that is counted or paid overflows by accident. */
  private static final int ENOUGH_DIGITS = 6;

  private final Subject subject;
  private final Findings findings;
  private final Catalog catalog;
  private final Map<Long, View> views = new HashMap<>();

  private ViewChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
    this.catalog = subject.catalog();
    catalog.views().forEach(view -> views.put(view.view(), view));
  }

  static void check(Subject subject, Findings findings) {
    ViewChecks checks = new ViewChecks(subject, findings);
    for (View view : subject.catalog().views()) {
      Optional<Relation> relation = subject.catalog().relation(view.view());
      if (relation.isPresent()) {
        checks.rights(relation.get());
        checks.narrow(relation.get(), view);
      }
    }
  }

  /** The tables of tenants' rows that a view reads, through other views too. */
  private List<Relation> guarded(Relation view) {
    Map<String, Relation> tables = new TreeMap<>();
    Set<Long> seen = new HashSet<>();
    Deque<Long> open = new ArrayDeque<>(List.of(view.oid()));
    while (!open.isEmpty()) {
      View next = views.get(open.pop());
      if (next == null || !seen.add(next.view())) {
        continue;
      }
      for (Long read : next.reads()) {
        catalog
            .relation(read)
            .filter(Relation::isTable)
            .filter(table -> subject.tenancy().holdsTenants(catalog.top(table)))
            .ifPresent(table -> tables.put(table.qualified(), table));
      }
      open.addAll(next.reads());
    }
    return List.copyOf(tables.values());
  }

  private void rights(Relation view) {
    List<Relation> tables = guarded(view);
    List<String> readers =
        view.granted("SELECT").stream()
            .filter(role -> !subject.isTrusted(role) && !subject.isExempt(role, view))
            .toList();
    String read = String.join(", ", tables.stream().map(Relation::qualified).toList());
    if (tables.isEmpty()) {
      return;
    }
    if (view.kind() == Relation.Kind.MATERIALIZED_VIEW) {
      if (!readers.isEmpty()) {
        findings.add(
            Rule.MATERIALIZED_VIEW_OF_TENANTS,
            view.qualified(),
            "holds rows of " + read + "; granted to " + String.join(", ", readers),
            "revoke select on %s from %s;".formatted(view.sql(), Mends.roles(readers)));
      }
      return;
    }
    boolean isBound = tables.stream().noneMatch(table -> subject.isExempt(view.owner(), table));
    if (view.has("security_invoker") || isBound) {
      return;
    }
    findings.add(
        Rule.VIEW_OWNER_RIGHTS,
        readers.isEmpty() ? Severity.WARNING : Severity.ERROR,
        view.qualified(),
        "reads %s as %s, whom no policy binds; granted to %s"
            .formatted(
                read, view.owner(), readers.isEmpty() ? "nobody yet" : String.join(", ", readers)),
        "-- who reads it then needs SELECT on "
            + read
            + "\nalter view "
            + view.sql()
            + " set (security_invoker = true);");
  }

  private void narrow(Relation relation, View view) {
    Matcher matcher = NARROW.matcher(view.sql());
    while (matcher.find()) {
      int digits = Integer.parseInt(matcher.group(1)) - Integer.parseInt(matcher.group(2));
      if (digits < ENOUGH_DIGITS) {
        findings.add(
            Rule.VIEW_NARROW_NUMERIC,
            relation.qualified(),
            "casts to numeric(%s,%s): at most %d digits before the point"
                .formatted(matcher.group(1), matcher.group(2), digits),
            "-- make it again with round(..., "
                + matcher.group(2)
                + ") instead of the cast: CREATE OR REPLACE VIEW cannot change a column's type");
        return;
      }
    }
  }
}
