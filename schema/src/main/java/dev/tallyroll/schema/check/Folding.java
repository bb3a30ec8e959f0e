package dev.tallyroll.schema.check;

import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.script.Script;
import dev.tallyroll.schema.script.ScriptPart;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Finds migrations that only mend an earlier one: they make nothing new, all that they change was
 * made by one file, and they say that they mend (by their name or first comment), or make anew or
 * take away what that file made. Whether they can be folded into it is tried elsewhere.
 */
final class Folding {
  private static final Pattern MENDS =
      Pattern.compile(
          "(?<![a-z])(fix|fixes|fixed|fixup|hotfix|bugfix|repair|correct|typo|missing|forgot|forgotten|revert|amend|oops)(?![a-z])");

  private static final String NAME = "((?:\"?\\w+\"?\\s*\\.\\s*)?\"?\\w+\"?)";

  /** What makes something of a name. */
  private static final Pattern MAKES =
      Pattern.compile(
          "create\\s+(?:or\\s+replace\\s+)?(?:unlogged\\s+|materialized\\s+|recursive\\s+)*(?:table|view|function|procedure|type|domain|sequence)\\s+(?:if\\s+not\\s+exists\\s+)?"
              + NAME);

  /** What changes something of a name. */
  private static final List<Pattern> CHANGES =
      List.of(
          Pattern.compile(
              "^alter\\s+(?:table|view|materialized\\s+view|type|domain|sequence|function|procedure)\\s+(?:if\\s+exists\\s+)?(?:only\\s+)?"
                  + NAME),
          Pattern.compile(
              "^create\\s+(?:unique\\s+)?index\\b.*?\\bon\\s+(?:only\\s+)?" + NAME, Pattern.DOTALL),
          Pattern.compile(
              "^(?:create|alter|drop)\\s+(?:policy|trigger)\\b.*?\\bon\\s+" + NAME, Pattern.DOTALL),
          Pattern.compile("^create\\s+or\\s+replace\\s+(?:view|function|procedure)\\s+" + NAME),
          Pattern.compile(
              "^drop\\s+(?:view|function|procedure|materialized\\s+view)\\s+(?:if\\s+exists\\s+)?"
                  + NAME),
          Pattern.compile("^comment\\s+on\\s+(?:table|view|function|type)\\s+" + NAME),
          Pattern.compile(
              "^(?:grant|revoke)\\b.*?\\bon\\s+(?:table\\s+|function\\s+)?" + NAME, Pattern.DOTALL),
          Pattern.compile("^update\\s+" + NAME),
          Pattern.compile("^delete\\s+from\\s+" + NAME));

  /** Made anew, or taken away. */
  private static final Pattern AGAIN =
      Pattern.compile(
          "^create\\s+or\\s+replace\\s+(?:function|procedure)\\b|^drop\\s+(?:policy|trigger)\\b");

  private static final Pattern SETS =
      Pattern.compile("^(set|reset|begin|commit|start|end|select)\\b.*", Pattern.DOTALL);

  private Folding() {}

  /** A migration and the earlier one that it mends. */
  record Fix(Migration fix, Migration mended) {}

  /** The fixes of a folder. */
  static List<Fix> fixes(List<Migration> migrations) {
    return migrations.stream().flatMap(migration -> fix(migrations, migration).stream()).toList();
  }

  private static Optional<Fix> fix(List<Migration> migrations, Migration migration) {
    Set<String> changed = new HashSet<>();
    boolean isAgain = MENDS.matcher(words(migration)).find();
    for (ScriptPart part : Script.parts(migration.sql())) {
      String small = part.text().toLowerCase(Locale.ROOT);
      if (SETS.matcher(small).matches()) {
        continue;
      }
      Optional<String> name = changes(small);
      if (name.isEmpty()) {
        return Optional.empty();
      }
      changed.add(name.get());
      isAgain |= AGAIN.matcher(small).find();
    }
    Set<Migration> makers = new LinkedHashSet<>();
    for (String name : changed) {
      Optional<Migration> maker =
          migrations.subList(0, migrations.indexOf(migration)).stream()
              .filter(earlier -> made(earlier).contains(name))
              .reduce((first, last) -> last);
      if (maker.isEmpty()) {
        return Optional.empty();
      }
      makers.add(maker.get());
    }
    return isAgain && makers.size() == 1
        ? Optional.of(new Fix(migration, makers.iterator().next()))
        : Optional.empty();
  }

  /** The words of the name and of the first comment. */
  private static String words(Migration migration) {
    String first = migration.sql().strip();
    String comment = first.startsWith("--") ? first.lines().findFirst().orElse("") : "";
    return (migration.name() + " " + comment).toLowerCase(Locale.ROOT).replace('_', ' ');
  }

  private static Optional<String> changes(String small) {
    return CHANGES.stream()
        .map(pattern -> pattern.matcher(small))
        .filter(Matcher::find)
        .map(matcher -> bare(matcher.group(1)))
        .findFirst();
  }

  private static Set<String> made(Migration migration) {
    Set<String> made = new HashSet<>();
    for (ScriptPart part : Script.parts(migration.sql())) {
      Matcher matcher = MAKES.matcher(part.text().toLowerCase(Locale.ROOT));
      if (matcher.lookingAt()) {
        made.add(bare(matcher.group(1)));
      }
    }
    return made;
  }

  private static String bare(String name) {
    String plain = name.replaceAll("\\s", "").replace("\"", "");
    return plain.contains(".") ? plain : "public." + plain;
  }
}
