package dev.tallyroll.schema.audit;

/**
 * A fault that was found.
 *
 * @param severity how bad this one is; at most as bad as the rule says
 * @param object what it is about, as {@code public.users.users_email_key}; with the rule it tells a
 *     finding from all others, and does so again at the next audit
 * @param evidence what was seen
 * @param mend SQL that mends it; what only people can decide or do stands in comments
 */
public record Finding(Rule rule, Severity severity, String object, String evidence, String mend) {}
