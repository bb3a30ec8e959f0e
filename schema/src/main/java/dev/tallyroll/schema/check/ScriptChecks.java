package dev.tallyroll.schema.check;

import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.schema.replay.Migration;
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
          Pattern.DOTALL);

  private static final Pattern DROPS =
      Pattern.compile(
          "drop\\s+index\\s+(?:concurrently\\s+)?(?:if\\s+exists\\s+)?(.*)", Pattern.DOTALL);

  private static final Pattern DROPS_KEY =
      Pattern.compile("alter\\s+table\\b.*\\bdrop\\s+constraint\\b.*", Pattern.DOTALL);

  private ScriptChecks() {}

  /**
   * A concurrent build with IF NOT EXISTS whose leftover is not dropped before: worse if another
   * index goes afterwards.
   */
  static void check(Migration migration, String file, Findings findings) {
    Set<String> dropped = new HashSet<>();
    List<ScriptPart> parts = Script.parts(migration.sql());
    for (int i = 0; i < parts.size(); i++) {
      ScriptPart part = parts.get(i);
      String small = part.text().toLowerCase(Locale.ROOT);
      Matcher drops = DROPS.matcher(small);
      if (drops.matches()) {
        for (String name : drops.group(1).split("[,\\s]+")) {
          dropped.add(bare(name));
        }
      }
      Matcher built = CONCURRENT.matcher(small);
      if (built.matches() && !dropped.contains(bare(built.group(1)))) {
        String name = bare(built.group(1));
        boolean losesAnother =
            parts.stream()
                .skip(i + 1L)
                .map(later -> later.text().toLowerCase(Locale.ROOT))
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
            "-- before it, so that what a build that was cut short has left goes:\ndrop index concurrently if exists "
                + built.group(1)
                + ";",
            new Place(file, part.line()));
      }
    }
  }

  private static String bare(String name) {
    String last = name.substring(name.lastIndexOf('.') + 1);
    return last.replace("\"", "");
  }
}
