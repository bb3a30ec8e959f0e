package dev.tallyroll.schema.finding;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Collects what checks find. For one thread. */
public final class Findings {
  private final List<Finding> found = new ArrayList<>();

  /** Adds a finding as bad as its rule says. */
  public void add(Rule rule, String object, String evidence, String mend) {
    add(rule, rule.severity(), object, evidence, mend);
  }

  /** Adds a finding that is less bad than its rule may be. */
  public void add(Rule rule, Severity severity, String object, String evidence, String mend) {
    add(rule, severity, object, evidence, mend, null);
  }

  /** Adds a finding with its place in a file. */
  public void add(
      Rule rule,
      Severity severity,
      String object,
      String evidence,
      String mend,
      @Nullable Place place) {
    add(new Finding(rule, severity, object, evidence, mend, place));
  }

  /** Adds a finding. */
  public void add(Finding finding) {
    found.add(finding);
  }

  /** All so far. */
  public List<Finding> all() {
    return List.copyOf(found);
  }
}
