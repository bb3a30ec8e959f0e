package dev.tallyroll.schema.check;

import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import dev.tallyroll.schema.script.Quotes;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;

/** What is known of runners: which transactions they make, and what they do with late files. */
final class Transactions {
  private static final Pattern INDEX =
      Pattern.compile("(create|drop)\\s+(unique\\s+)?index\\s+concurrently\\b.*", Pattern.DOTALL);

  private static final int MOST_SHOWN = 60;

  private Transactions() {}

  /** A statement without what stands in quotes or comments. */
  static String bare(String sql) {
    StringBuilder bare = new StringBuilder();
    int at = 0;
    while (at < sql.length()) {
      int end = Quotes.end(sql, at);
      bare.append(
          end > at && sql.charAt(at) != '"' ? " " : sql.substring(at, Math.max(end, at + 1)));
      at = Math.max(end, at + 1);
    }
    return bare.toString();
  }

  /** The beginning of a statement, on one line. */
  static String head(String statement) {
    String line = statement.replaceAll("\\s+", " ").strip();
    return line.length() <= MOST_SHOWN ? line : line.substring(0, MOST_SHOWN - 3) + "...";
  }

  /**
   * How a statement that cannot be in a transaction is run by this runner; empty if it is as it is.
   *
   * @param parts how many statements the file has
   */
  static Optional<String> mend(Layout layout, Migration migration, String statement, int parts) {
    boolean isIndex = INDEX.matcher(statement.toLowerCase(Locale.ROOT)).matches();
    return switch (layout) {
      case NUMBERED, PRISMA, GOLANG_MIGRATE ->
          parts == 1
              ? Optional.empty()
              : Optional.of("-- put it into a migration of its own, with nothing else in the file");
      case FLYWAY ->
          parts == 1 && isIndex
              ? Optional.empty()
              : Optional.of(
                  """
                  -- put it into a file of its own, and beside it, as %s.conf:
                  -- executeInTransaction=false
                  -- and for concurrent builds, in flyway.conf, without which they wait for Flyway's own lock for ever:
                  -- flyway.postgresql.transactional.lock=false\
                  """
                      .formatted(migration.name()));
      case DBMATE ->
          Optional.of("-- in a file of its own that begins: -- migrate:up transaction:false");
      case GOOSE -> Optional.of("-- in a file of its own with the line: -- +goose NO TRANSACTION");
      case SUPABASE ->
          Optional.of(
              "-- the CLI sends a file with its entry in the ledger as one transaction: run it by hand with psql, then mark it with supabase migration repair --status applied");
      case DRIZZLE ->
          Optional.of(
              "-- drizzle-kit migrate puts all pending files into one transaction: run it by hand with psql, beforehand, and write it here with IF NOT EXISTS and without CONCURRENTLY");
    };
  }

  /** Why it cannot run. */
  static String why(Layout layout, int parts) {
    return switch (layout) {
      case NUMBERED, PRISMA, GOLANG_MIGRATE ->
          "the file has %d statements, which are sent at once and so are one transaction"
              .formatted(parts);
      case FLYWAY -> "Flyway puts the file into a transaction";
      case DBMATE, GOOSE -> layout + " puts the file into a transaction";
      case SUPABASE, DRIZZLE -> layout + " puts every file into a transaction";
    };
  }

  /** What has to be done when an applied file has changed, beside nothing. */
  static String afterEdit(Layout layout) {
    return switch (layout) {
      case FLYWAY -> " but flyway repair, since the checksums of both files change";
      case PRISMA ->
          " but to know that prisma migrate dev wants to reset when applied files have changed";
      case NUMBERED, SUPABASE, DRIZZLE, GOLANG_MIGRATE, DBMATE, GOOSE -> "";
    };
  }

  /** What a runner does with a pending file that sorts before an applied one. */
  static String lateFiles(Layout layout) {
    return switch (layout) {
      case FLYWAY ->
          "Flyway refuses, or passes it over if it may ignore it, unless outOfOrder is set";
      case SUPABASE -> "supabase db push refuses without --include-all";
      case GOOSE -> "goose refuses without -allow-missing";
      case GOLANG_MIGRATE ->
          "golang-migrate passes it over for ever, since its ledger is one number";
      case DRIZZLE ->
          "drizzle passes it over for ever, since it looks at the time of the last one only";
      case NUMBERED, PRISMA, DBMATE -> "it is applied after what it was written to come before";
    };
  }
}
