package dev.tallyroll.schema.check;

import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import dev.tallyroll.session.Sql;
import java.math.BigInteger;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** How a migration gets another place in its runner's order, and what its ledger is to say then. */
final class Renaming {
  private static final Pattern NUMBER = Pattern.compile("^(V|R|B)?([0-9]+)");

  /** Versions as long as that are times to the second, of which most are free. */
  private static final int TIME_DIGITS = 12;

  private Renaming() {}

  /**
   * What to do.
   *
   * @param order all migrations in the order that works, with the moved one in its place
   */
  static String steps(MigrationFolder folder, Migration moved, List<Migration> order) {
    int at = order.indexOf(moved);
    Migration before = at > 0 ? order.get(at - 1) : null;
    Migration after = at + 1 < order.size() ? order.get(at + 1) : null;
    String where = before == null ? "before " + name(after) : "behind " + before.name();
    if (folder.layout() == Layout.DRIZZLE) {
      return """
      -- in meta/_journal.json, put the entry of %s %s, with a "when" between those of its neighbours; databases that have it already need:
      -- update drizzle.__drizzle_migrations set created_at = <its new when> where created_at = <its old when>;\
      """
          .formatted(bare(moved), where);
    }
    Optional<String> renamed = renamed(folder.layout(), moved, before, after);
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
          "update flyway_schema_history set version = %s, script = %s where script = %s;"
              .formatted(literal(version), literal(now), literal(old));
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
          "-- nothing: schema_migrations holds the last version only; if that is %s, update schema_migrations set version = %s;"
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

  private static Optional<String> renamed(
      Layout layout, Migration moved, @Nullable Migration before, @Nullable Migration after) {
    String file = file(moved);
    Matcher own = NUMBER.matcher(file);
    Matcher low = NUMBER.matcher(before == null ? "" : before.name());
    if (!own.find()) {
      return Optional.empty();
    }
    String rest = file.substring(own.end());
    String letter = own.group(1) == null ? "" : own.group(1);
    if (before == null || !low.find()) {
      return between(own.group(2), BigInteger.ZERO, after).map(version -> letter + version + rest);
    }
    BigInteger from = new BigInteger(low.group(2));
    Optional<String> free =
        between(low.group(2), from, after).map(version -> letter + version + rest);
    if (free.isPresent()) {
      return free;
    }
    return switch (layout) {
      case FLYWAY ->
          Optional.of(letter + low.group(2) + ".1" + rest.replaceFirst("^[0-9._]*(?=__)", ""));
      case NUMBERED -> Optional.of(low.group(2) + "a" + rest);
      case SUPABASE, DRIZZLE, PRISMA, GOLANG_MIGRATE, DBMATE, GOOSE -> Optional.empty();
    };
  }

  /** The next number, if nothing has it; as wide as a neighbour's. */
  private static Optional<String> between(String like, BigInteger from, @Nullable Migration after) {
    BigInteger next = from.add(BigInteger.ONE);
    Matcher high = NUMBER.matcher(after == null ? "" : after.name());
    if (high.find() && next.compareTo(new BigInteger(high.group(2))) >= 0) {
      return Optional.empty();
    }
    if (after == null && like.length() >= TIME_DIGITS) {
      return Optional.of(next.toString());
    }
    String number = next.toString();
    return Optional.of("0".repeat(Math.max(0, like.length() - number.length())) + number);
  }
}
