package dev.tallyroll.schema.check;

import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import dev.tallyroll.session.Sql;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** How a migration gets another place in its runner's order, and what its ledger is to say then. */
final class Renaming {
  private static final Pattern NUMBER = Pattern.compile("^(V|B)?([0-9]+(?:[._][0-9]+)*)");

  private static final Pattern OWN = Pattern.compile("^(V|)([0-9]+(?:[._][0-9]+)*)(.*)$");

  private Renaming() {}

  /**
   * What to do.
   *
   * @param order all migrations in the order that works, with the moved one in its place
   */
  static String steps(MigrationFolder folder, Migration moved, List<Migration> order) {
    // What is repeatable has no place among versions.
    List<Migration> versioned =
        order.stream()
            .filter(migration -> !MigrationFolder.isRepeatable(migration.name()))
            .toList();
    int at = versioned.indexOf(moved);
    Migration before = at > 0 ? versioned.get(at - 1) : null;
    Migration after = at + 1 < versioned.size() ? versioned.get(at + 1) : null;
    String where = before == null ? "before " + name(after) : "behind " + before.name();
    if (folder.layout() == Layout.DRIZZLE) {
      return """
      -- in meta/_journal.json, put the entry of %s %s, with a "when" between those of its neighbours; databases that have it already need:
      -- update drizzle.__drizzle_migrations set created_at = <its new when> where created_at = <its old when>;\
      """
          .formatted(bare(moved), where);
    }
    Optional<String> renamed = renamed(folder.layout(), moved, before, versioned);
    if (renamed.isEmpty()) {
      return "-- number %s so that it comes %s: no number is free between them, the later ones have to move up"
          .formatted(moved.name(), where);
    }
    return "-- %s, which comes %s; databases that have it already need:\n%s"
        .formatted(
            "git mv " + file(moved) + " " + renamed.get(),
            where,
            ledger(folder.layout(), file(moved), renamed.get()));
  }

  /** What a ledger needs when an applied migration has another name now. */
  static String ledger(Layout layout, String old, String now) {
    String oldVersion = version(old);
    String version = version(now);
    return switch (layout) {
      case FLYWAY ->
          "update flyway_schema_history set version = %s, script = %s where %s = %s;"
              .formatted(
                  literal(version),
                  literal(now),
                  old.endsWith(".sql") ? "script" : "version",
                  literal(old.endsWith(".sql") ? old : oldVersion));
      case SUPABASE ->
          "update supabase_migrations.schema_migrations set version = %s where version = %s;"
              .formatted(literal(version), literal(oldVersion));
      case PRISMA ->
          "update \"_prisma_migrations\" set migration_name = %s where migration_name = %s;"
              .formatted(literal(now), literal(old));
      case DBMATE ->
          "update schema_migrations set version = %s where version = %s;"
              .formatted(literal(version), literal(oldVersion));
      case GOOSE ->
          "update goose_db_version set version_id = %s where version_id = %s;"
              .formatted(version, oldVersion);
      case GOLANG_MIGRATE ->
          "-- the ledger is one number: on a database that has it and whose number is below %2$s: migrate force %2$s; the .down.sql of %1$s is to be renamed with it"
              .formatted(oldVersion, version);
      case NUMBERED, DRIZZLE -> "-- in the ledger of your runner, %s is %s now".formatted(old, now);
    };
  }

  private static String literal(String text) {
    return Sql.literal(text);
  }

  private static String name(@Nullable Migration migration) {
    return migration == null ? "all others" : migration.name();
  }

  /** The file, or of Prisma the folder. */
  private static String file(Migration migration) {
    return migration.name().replaceFirst("/migration\\.sql$", "");
  }

  private static String bare(Migration migration) {
    return file(migration).replaceFirst("\\.sql$", "");
  }

  private static String version(String name) {
    String last = name.substring(name.lastIndexOf('/') + 1);
    Matcher flyway = Pattern.compile("^[VRB]([0-9._]*[0-9])__").matcher(last);
    if (flyway.find()) {
      return flyway.group(1).replace('_', '.');
    }
    Matcher number = NUMBER.matcher(last);
    return number.find() ? number.group(2) : last;
  }

  /** A new name that comes there in the order of the runner, if there is one that nobody has. */
  private static Optional<String> renamed(
      Layout layout, Migration moved, @Nullable Migration before, List<Migration> order) {
    String path = file(moved);
    int slash = path.lastIndexOf('/') + 1;
    Matcher own = OWN.matcher(path.substring(slash));
    if (!own.find()) {
      return Optional.empty();
    }
    String rest = own.group(3);
    String letter = own.group(1);
    String folder = path.substring(0, slash);
    List<String> versions = new ArrayList<>();
    Matcher low = OWN.matcher(before == null ? "" : last(before));
    String number = low.find() ? low.group(2) : "0".repeat(own.group(2).length());
    String lastPart = number.replaceFirst(".*[._]", "");
    BigInteger next = new BigInteger(lastPart).add(BigInteger.ONE);
    String wide = "0".repeat(Math.max(0, lastPart.length() - next.toString().length())) + next;
    versions.add(number.substring(0, number.length() - lastPart.length()) + wide);
    if (layout == Layout.FLYWAY) {
      versions.add(number + ".1");
    } else if (layout == Layout.NUMBERED) {
      versions.add(number + "a");
      versions.add(number + "z");
    }
    return versions.stream()
        .map(version -> folder + letter + version + rest)
        .filter(name -> comesThere(layout, name, moved, order))
        .findFirst();
  }

  /** Whether the order of names is the wanted one then, and the version nobody else's. */
  private static boolean comesThere(
      Layout layout, String name, Migration moved, List<Migration> order) {
    List<String> wanted =
        order.stream().map(migration -> migration.equals(moved) ? name : file(migration)).toList();
    List<String> sorted = new ArrayList<>(wanted);
    sorted.sort(MigrationFolder.order(layout));
    boolean isFree =
        order.stream()
            .filter(migration -> !migration.equals(moved))
            .noneMatch(migration ->
                layout == Layout.NUMBERED
                    ? head(migration.name()).equals(head(name))
                    : MigrationFolder.version(migration.name())
                        .equals(MigrationFolder.version(name)));
    return sorted.equals(wanted) && new HashSet<>(wanted).size() == wanted.size() && isFree;
  }

  private static String head(String name) {
    return name.split("[_-]", 2)[0];
  }

  private static String last(Migration migration) {
    String file = file(migration);
    return file.substring(file.lastIndexOf('/') + 1);
  }
}
