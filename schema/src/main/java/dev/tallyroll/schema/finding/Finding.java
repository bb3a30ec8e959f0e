package dev.tallyroll.schema.finding;

import org.jspecify.annotations.Nullable;

/**
 * A fault that was found.
 *
 * @param severity how bad this one is; at most as bad as the rule says
 * @param object what it is about, as {@code public.users.users_email_key}; with the rule it tells a
 *     finding from all others, and does so again the next time
 * @param evidence what was seen
 * @param mend SQL that mends it; what only people can decide or do stands in comments
 * @param place where it stands in a file; null if it is a fault of the schema as such
 */
public record Finding(
    Rule rule,
    Severity severity,
    String object,
    String evidence,
    String mend,
    @Nullable Place place) {
  /** A fault of the schema as such. */
  public Finding(Rule rule, Severity severity, String object, String evidence, String mend) {
    this(rule, severity, object, evidence, mend, null);
  }
}
