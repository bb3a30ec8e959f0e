package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.CouponEstimate;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Tallyroll's own schema: numbered steps, each in one transaction, forward only. A database that is
 * newer than the program is refused.
 */
public final class Schema {
  private static final List<String> STEPS =
      List.of(
          "0001_state.sql",
          "0002_sketches.sql",
          "0003_change_log.sql",
          "0004_definitions.sql",
          "0005_local_days.sql",
          "0006_roles.sql",
          "0007_adopted.sql",
          "0008_open_buckets.sql",
          "0009_keep_time.sql",
          "0010_tenants_and_logs.sql",
          "0011_moved_and_erased.sql",
          "0012_purge_error.sql",
          "0013_events.sql",
          "0014_event_keys.sql");

  private Schema() {}

  /** The version that this program makes. */
  public static int version() {
    return STEPS.size();
  }

  /** The version of a database, 0 if there is none of Tallyroll's. */
  public static int versionOf(Connection connection) throws SQLException {
    Optional<Boolean> there =
        Sql.first(
            connection,
            "select to_regclass('tallyroll.schema_version') is not null",
            row -> row.getBoolean(1));
    if (!there.orElse(false)) {
      return 0;
    }
    return Sql.one(
        connection,
        "select coalesce(max(version), 0) from tallyroll.schema_version",
        row -> row.getInt(1));
  }

  /**
   * Brings a database to this program's version.
   *
   * @throws TallyrollException if it is newer already
   */
  public static void migrate(Database database) {
    database.with("apply", Schema::checkOwner);
    int version = database.with("apply", Schema::versionOf);
    check(version);
    if (version == version()) {
      return;
    }
    database.transact(
        "apply",
        connection -> {
          // The schema is made first, so that its version table can be locked against another
          // migration.
          Sql.run(
              connection,
              "set local lock_timeout = '30s'; select pg_advisory_xact_lock(7308332241526253417)");
          Sql.run(
              connection,
              (hasSchema(connection) ? "" : "create schema tallyroll; ")
                  + "create table if not exists tallyroll.schema_version"
                  + " (version integer primary key, applied_at timestamptz not null default now())");
          int from = versionOf(connection);
          check(from);
          for (int step = from; step < STEPS.size(); step++) {
            Sql.run(connection, script(STEPS.get(step)));
            Sql.update(
                connection, "insert into tallyroll.schema_version (version) values (?)", step + 1);
          }
          return version();
        });
  }

  // Not "if not exists", which asks for the right to create schemas even if it is there.
  private static boolean hasSchema(Connection connection) throws SQLException {
    return Sql.one(
        connection, "select to_regnamespace('tallyroll') is not null", row -> row.getBoolean(1));
  }

  /**
   * All that is in the schema must be of one role, whose functions do for refreshers what only an
   * owner may do; and somebody must be allowed to make the schema.
   */
  private static boolean checkOwner(Connection connection) throws SQLException {
    record Found(String self, String database, boolean mayCreate, @Nullable String owner) {}
    Found found =
        Sql.one(
            connection,
            "select current_user, current_database(), has_database_privilege(current_database(), 'create'),"
                + " (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tallyroll')",
            row ->
                new Found(row.getString(1), row.getString(2), row.getBoolean(3), row.getString(4)));
    if (found.owner() == null && !found.mayCreate()) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the role "
              + found.self()
              + " may not create schemas in the database "
              + found.database()
              + "; an administrator has to run: CREATE SCHEMA tallyroll AUTHORIZATION "
              + Sql.identifier(found.self())
              + ";");
    }
    if (found.owner() != null && !found.owner().equals(found.self())) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "the schema tallyroll belongs to the role "
              + found.owner()
              + ", and all in it must be of one role: apply as that one, not as "
              + found.self());
    }
    return true;
  }

  private static String script(String step) {
    String entries =
        Arrays.stream(CouponEstimate.entries())
            .mapToObj(Double::toString)
            .collect(Collectors.joining(","));
    return Sql.resource(
        "schema/" + step,
        Map.of("estimates", entries, "step", Integer.toString(CouponEstimate.STEP)));
  }

  /**
   * Refuses a database that this program cannot work on: one that a newer program has changed, or
   * one that it has to bring up to date first.
   */
  static void checkCurrent(int version) {
    check(version);
    if (version > 0 && version < version()) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the schema tallyroll is of version "
              + version
              + ", and this program works on version "
              + version()
              + "; {tallyroll} apply -f FILE, of any rollup, brings it up to date");
    }
  }

  /**
   * Whether there is anything of Tallyroll's in a database.
   *
   * @throws TallyrollException if it is of another version than this program's
   */
  public static boolean isThere(Connection connection) throws SQLException {
    int version = versionOf(connection);
    checkCurrent(version);
    return version > 0;
  }

  /** Refuses a database that a newer program has changed. */
  static void check(int version) {
    if (version > version()) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the schema tallyroll is of version "
              + version
              + ", this program knows up to "
              + version()
              + "; use a newer Tallyroll");
    }
  }
}
