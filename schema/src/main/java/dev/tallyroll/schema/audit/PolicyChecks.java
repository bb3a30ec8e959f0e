package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.IndexDefinition;
import dev.tallyroll.schema.catalog.Policy;
import dev.tallyroll.schema.catalog.Policy.Clause;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.session.Sql;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What policies of tenants' tables say. */
final class PolicyChecks {
  /** As PostgreSQL prints it, of a setting of somebody's own, whose names have a dot. */
  private static final Pattern RAISING =
      Pattern.compile("current_setting\\(('[^']+\\.[^']+')::text\\)");

  private static final Pattern MISSING_OK =
      Pattern.compile("current_setting\\('[^']+\\.[^']+'::text, true\\)");

  /**
   * What {@link #MISSING_OK} found, cast to another type than text at once or behind its
   * sub-select.
   */
  private static final Pattern CAST =
      Pattern.compile(
          "\\((?:\\( SELECT )?("
              + MISSING_OK.pattern()
              + ")(?: AS \\w+\\))?\\)::(?!text\\b|character varying\\b)");

  private final Subject subject;
  private final Findings findings;
  private final Catalog catalog;
  private final Map<Long, Set<Long>> reads = new HashMap<>();

  private PolicyChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
    this.catalog = subject.catalog();
  }

  static void check(Subject subject, Findings findings) {
    PolicyChecks checks = new PolicyChecks(subject, findings);
    checks.collectReads();
    for (Policy policy : subject.catalog().policies()) {
      Optional<Relation> table = subject.catalog().relation(policy.table());
      if (table.isEmpty()) {
        continue;
      }
      checks.recursion(policy, table.get());
      if (subject.tenancy().holdsTenants(subject.catalog().top(table.get()))) {
        checks.policy(policy, table.get());
      }
    }
  }

  private void policy(Policy policy, Relation table) {
    Optional<Column> owner =
        subject.owner(catalog.top(table)).flatMap(top -> table.column(top.name()));
    boolean isForTenants =
        !policy.roles().stream()
            .allMatch(role -> subject.isTrusted(role) || subject.isExempt(role));
    for (Policy.Clause clause : policy.clauses()) {
      check(
          policy, table, clause, policy.isPermissive() && isForTenants ? owner : Optional.empty());
    }
  }

  /**
   * Looks for all faults of a clause, which are all mended by the same statement: one after the
   * other would undo each other.
   *
   * @param owner the column that it must look at; empty if it need not
   */
  private void check(Policy policy, Relation table, Clause clause, Optional<Column> owner) {
    List<String> calls = callsPerRow(clause);
    String sql = clause.sql();
    String better = RAISING.matcher(sql).replaceAll("current_setting($1::text, true)");
    better = notEmpty(better);
    for (String call : calls) {
      better = wrapped(better, call.substring(0, call.length() - 1));
    }
    boolean isOpen = owner.isPresent() && clause.tree().isAlwaysTrue();
    boolean isUnasked =
        !isOpen
            && owner.isPresent()
            && !clause.tree().isAlwaysFalse()
            && !clause.tree().asksFor(owner.get().number());
    boolean isOfAnybody = isUnasked && !clause.tree().asksSomewhereFor(owner.get().number());
    String object = object(policy, table);
    String said = said(policy, clause);
    String mend = Mends.alter(table, policy, clause.isCheck(), better);
    if (isOpen || isUnasked) {
      String trusted =
          "-- or, if "
              + String.join(", ", policy.roles())
              + " is meant to see all tenants: name it under roles.trusted in the settings\n";
      Optional<String> tenant = Mends.isTenants(subject, owner.get());
      if (tenant.isEmpty() || (isUnasked && !isOfAnybody)) {
        mend =
            trusted
                + "-- have each side of it ask for "
                + owner.get().name()
                + ", as your other policies do";
      } else {
        String asked = isOpen ? tenant.get() : tenant.get() + " and " + better;
        mend = trusted + Mends.alter(table, policy, clause.isCheck(), asked);
      }
    }
    if (isOpen) {
      findings.add(Rule.POLICY_ALWAYS_TRUE, object, said, mend);
    }
    if (isUnasked) {
      findings.add(
          Rule.POLICY_WITHOUT_TENANT,
          // One side of an OR may be meant so.
          isOfAnybody ? Severity.ERROR : Severity.WARNING,
          object,
          said
              + (isOfAnybody
                  ? " does not ask for "
                  : " lets rows through on one side that does not ask for ")
              + owner.get().name(),
          mend);
    }
    if (RAISING.matcher(sql).find()) {
      findings.add(Rule.POLICY_SETTING_RAISES, object, said, mend);
    }
    if (CAST.matcher(sql).find()) {
      findings.add(Rule.POLICY_SETTING_EMPTY, object, said, mend);
    }
    if (!calls.isEmpty()) {
      findings.add(
          Rule.POLICY_CALL_PER_ROW,
          object,
          said + " calls " + String.join(", ", calls) + " for each row",
          mend);
    }
  }

  /** Every setting that is cast as an empty text is NULL instead. */
  private static String notEmpty(String sql) {
    return CAST.matcher(sql).find()
        ? MISSING_OK
            .matcher(sql)
            .replaceAll(found -> Matcher.quoteReplacement("nullif(" + found.group() + ", '')"))
        : sql;
  }

  private List<String> callsPerRow(Clause clause) {
    return clause.tree().callsPerRow().stream()
        .flatMap(function -> catalog.called(function).stream())
        // The time costs nothing.
        .filter(called -> !called.isImmutable() && !called.sql().equals("now()"))
        .map(Catalog.Called::sql)
        .distinct()
        .sorted()
        .toList();
  }

  private static String object(Policy policy, Relation table) {
    return table.qualified() + "." + policy.name();
  }

  private static String said(Policy policy, Clause clause) {
    return "for %s to %s, %s (%s)"
        .formatted(
            policy.command().sql(), String.join(", ", policy.roles()), clause.name(), clause.sql());
  }

  /** Puts each call into a sub-select of its own, unless it stands in one. */
  private static String wrapped(String sql, String call) {
    StringBuilder wrapped = new StringBuilder();
    int at = 0;
    Matcher matcher = Pattern.compile("(?<![\\w.\"])" + Pattern.quote(call)).matcher(sql);
    while (matcher.find(at)) {
      MatchResult found = matcher.toMatchResult();
      int end = IndexDefinition.closing(sql, found.end());
      String bare = sql.substring(found.start(), end);
      boolean isWrapped = sql.substring(0, found.start()).endsWith("SELECT ");
      wrapped.append(sql, at, found.start()).append(isWrapped ? bare : "(select " + bare + ")");
      at = end;
    }
    return wrapped.append(sql.substring(at)).toString();
  }

  /** What a query of a table reads beside it: by the policies that are asked for reading. */
  private void collectReads() {
    for (Policy policy : catalog.policies()) {
      if (policy.command() == Policy.Command.ALL || policy.command() == Policy.Command.SELECT) {
        Set<Long> tables = reads.computeIfAbsent(policy.table(), key -> new HashSet<>());
        for (Clause clause : policy.clauses()) {
          if (!clause.isCheck()) {
            clause.tree().relations().stream()
                .filter(oid -> catalog.relation(oid).filter(Relation::rowSecurity).isPresent())
                .forEach(tables::add);
          }
        }
      }
    }
  }

  private void recursion(Policy policy, Relation table) {
    if (!table.rowSecurity()) {
      return;
    }
    for (Clause clause : policy.clauses()) {
      for (Long read : clause.tree().relations()) {
        boolean isRead = catalog.relation(read).filter(Relation::rowSecurity).isPresent();
        // What a write looks at is read by the policies for reading, which may end there.
        boolean recurs =
            reads.getOrDefault(table.oid(), Set.of()).contains(read)
                ? reaches(read, table.oid())
                : reaches(read, read);
        if (isRead && recurs) {
          String other = catalog.relation(read).map(Relation::qualified).orElse("?");
          findings.add(
              Rule.POLICY_RECURSION,
              object(policy, table),
              read == table.oid()
                  ? "it reads " + other + " itself"
                  : "it reads " + other + ", whose policies read one another",
              "-- read "
                  + other
                  + " through a function that no policy binds, made by its owner with\n"
                  + "-- stable security definer set search_path = "
                  + Sql.identifier(table.schema())
                  + ", pg_temp, and execute revoked from public");
          return;
        }
      }
    }
  }

  /** Whether a query of the one comes to the other, by at least one policy if they are the same. */
  private boolean reaches(long from, long to) {
    if (from == to) {
      return reads.getOrDefault(from, Set.of()).stream()
          .anyMatch(next -> next == to || reaches(next, to));
    }
    Set<Long> seen = new HashSet<>();
    Deque<Long> open = new ArrayDeque<>(List.of(from));
    while (!open.isEmpty()) {
      long table = open.pop();
      if (table == to) {
        return true;
      }
      if (seen.add(table)) {
        open.addAll(reads.getOrDefault(table, Set.of()));
      }
    }
    return false;
  }
}
