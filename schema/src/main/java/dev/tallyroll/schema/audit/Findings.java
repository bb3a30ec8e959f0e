package dev.tallyroll.schema.audit;

import java.util.ArrayList;
import java.util.List;

/** Collects what checks find. */
final class Findings {
  private final List<Finding> found = new ArrayList<>();

  /** Adds a finding as bad as its rule says. */
  void add(Rule rule, String object, String evidence, String mend) {
    add(rule, rule.severity(), object, evidence, mend);
  }

  /** Adds a finding that is less bad than its rule may be. */
  void add(Rule rule, Severity severity, String object, String evidence, String mend) {
    found.add(new Finding(rule, severity, object, evidence, mend));
  }

  /** All so far. */
  List<Finding> all() {
    return List.copyOf(found);
  }
}
