package dev.tallyroll.schema.check;

import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import dev.tallyroll.schema.script.Script;
import dev.tallyroll.schema.script.ScriptPart;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What only the text of a migration shows: an empty database has no leftover. */
final class ScriptChecks {
  private static final Pattern CONCURRENT =
      Pattern.compile(
          "create\\s+(?:unique\\s+)?index\\s+concurrently\\s+if\\s+not\\s+exists\\s+(\"[^\"]+\"|\\w+)\\s+on\\b.*",
          Pattern.DOTALL | Pattern.CASE_INSENSITIVE);

  private static final Pattern DROPS =
      Pattern.compile(
          "drop\\s+index\\s+(?:concurrently\\s+)?(?:if\\s+exists\\s+)?(.*)",
          Pattern.DOTALL | Pattern.CASE_INSENSITIVE);

  private static final Pattern DROPS_KEY =
      Pattern.compile(
          "alter\\s+table\\b.*\\bdrop\\s+constraint\\b.*",
          Pattern.DOTALL | Pattern.CASE_INSENSITIVE);

  private ScriptChecks() {}

  /**
   * A concurrent build with IF NOT EXISTS whose leftover is not dropped before: worse if another
   * index goes afterwards.
   */
  static void check(Layout layout, Migration migration, String file, Findings findings) {
    Set<String> dropped = new HashSet<>();
    List<ScriptPart> parts = Script.parts(migration.sql());
    for (int i = 0; i < parts.size(); i++) {
      ScriptPart part = parts.get(i);
      String small = part.text().toLowerCase(Locale.ROOT);
      if (small.contains("indisvalid")) {
        // It looks for the leftover itself.
        return;
      }
      Matcher drops = DROPS.matcher(part.text());
      if (drops.matches()) {
        for (String name : drops.group(1).split("[,\\s]+")) {
          dropped.add(bare(name));
        }
      }
      Matcher built = CONCURRENT.matcher(part.text());
      if (built.matches() && !dropped.contains(bare(built.group(1)))) {
        String name = bare(built.group(1));
        boolean losesAnother =
            parts.stream()
                .skip(i + 1L)
                .map(ScriptPart::text)
                .anyMatch(
                    later -> DROPS.matcher(later).matches() || DROPS_KEY.matcher(later).matches());
        findings.add(
            Rule.CONCURRENT_LEFTOVER,
            losesAnother ? Severity.ERROR : Severity.WARNING,
            migration.name() + " " + name,
            losesAnother
                ? "an invalid "
                    + name
                    + " is taken for success, and then another index or key is dropped"
                : "an invalid " + name + " is taken for success",
            mend(layout, migration, built.group(1)),
            new Place(file, part.line()));
      }
    }
  }

  /** Where the build has to be alone in its file, nothing can be dropped before it. */
  private static String mend(Layout layout, Migration migration, String name) {
    boolean mayHaveMore =
        switch (layout) {
          case GOOSE, DBMATE -> true;
          case FLYWAY -> !migration.isInTransaction();
          case NUMBERED, SUPABASE, DRIZZLE, PRISMA, GOLANG_MIGRATE -> false;
        };
    return mayHaveMore
        ? "-- before it, so that what a build that was cut short has left goes:\ndrop index concurrently if exists "
            + name
            + ";"
        : "-- leave IF NOT EXISTS out: a leftover makes it fail then, and goes by hand: drop index concurrently "
            + name;
  }

  /** As PostgreSQL keeps it: in small letters unless it is quoted. */
  private static String bare(String name) {
    String last = name.substring(name.lastIndexOf('.') + 1);
    return last.startsWith("\"") ? last.replace("\"", "") : last.toLowerCase(Locale.ROOT);
  }
}
