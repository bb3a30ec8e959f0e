package dev.tallyroll.schema.finding;

import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.Settings.Suppression;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * Findings, without those that a team lives with.
 *
 * @param findings the worst first, then by rule, object and place
 * @param suppressed those that the settings say to live with
 */
public record Judged(List<Finding> findings, List<Suppressed> suppressed) {
  /**
   * A finding to live with.
   *
   * @param reason why, as the settings say
   */
  public record Suppressed(Finding finding, String reason) {}

  /** Copies. */
  public Judged {
    findings = List.copyOf(findings);
    suppressed = List.copyOf(suppressed);
  }

  /**
   * Takes out what the settings suppress. A suppression that fits nothing is itself a finding, if
   * its rule is one of those that were looked for, or unknown.
   *
   * @param scope which rules were looked for
   */
  public static Judged of(Collection<Finding> found, Settings settings, Rule.Scope scope) {
    List<Finding> left = new ArrayList<>();
    List<Suppressed> suppressed = new ArrayList<>();
    Set<Suppression> used = new HashSet<>();
    for (Finding finding : found) {
      Optional<Suppression> why =
          settings.suppressions().stream()
              .filter(suppression -> fits(suppression, finding))
              .findFirst();
      why.ifPresentOrElse(
          suppression -> {
            used.add(suppression);
            suppressed.add(new Suppressed(finding, suppression.reason()));
          },
          () -> left.add(finding));
    }
    settings.suppressions().stream()
        .filter(suppression -> !used.contains(suppression) && isOf(suppression, scope))
        .forEach(suppression -> left.add(stale(suppression)));
    left.sort(
        Comparator.comparing(Finding::severity)
            .thenComparing(Finding::rule)
            .thenComparing(Finding::object));
    return new Judged(left, suppressed);
  }

  private static boolean fits(Suppression suppression, Finding finding) {
    return finding.rule().id().equals(suppression.rule())
        && finding.object().equals(suppression.object());
  }

  private static boolean isOf(Suppression suppression, Rule.Scope scope) {
    return Rule.of(suppression.rule()).map(rule -> rule.scope() == scope).orElse(true);
  }

  private static Finding stale(Suppression suppression) {
    return new Finding(
        Rule.SUPPRESSION_STALE,
        Rule.SUPPRESSION_STALE.severity(),
        suppression.rule() + " " + suppression.object(),
        suppression.where()
            + " suppresses nothing"
            + (Rule.of(suppression.rule()).isEmpty() ? ": there is no such rule" : ""),
        "-- take it out of " + suppression.where());
  }
}
