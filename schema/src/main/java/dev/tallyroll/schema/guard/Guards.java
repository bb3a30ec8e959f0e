package dev.tallyroll.schema.guard;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.guard.Guard.Side;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Plans guards, installs them, and tells how they stand. Stateless. */
public final class Guards {

  private Guards() {}

  /**
   * A difference between what has to be there and what is.
   *
   * @param side what asks for it: the legacy table, the source, its backfill
   * @param tenant null if the tables have none
   * @param bucket its start
   * @param key the values of the dimensions, as JSON
   * @param measure which of them
   * @param isInSource whether the source has rows of this tenant and bucket
   */
  public record Difference(
      String side,
      @Nullable String tenant,
      String bucket,
      String key,
      String measure,
      String expected,
      String found,
      boolean isInSource) {}

  /**
   * What a guard would say now.
   *
   * @param legacyRows rows of the legacy table
   * @param legacyGroups its groups by tenant, bucket and dimensions
   * @param replacementGroups those of the replacement
   * @param differences what is missing; none if it would pass
   * @param remedies what mends them, in order
   * @param uncompared columns of the legacy table that nothing compares
   */
  public record Plan(
      Guard guard,
      long legacyRows,
      long legacyGroups,
      long replacementGroups,
      List<Difference> differences,
      List<String> remedies,
      List<String> uncompared) {
    /** Copies. */
    public Plan {
      differences = List.copyOf(differences);
      remedies = List.copyOf(remedies);
      uncompared = List.copyOf(uncompared);
    }
  }

  /**
   * Compares, in one transaction that cannot write.
   *
   * @param connection in auto-commit mode
   * @throws TallyrollException if a table or a column is not there, or some of its rows are hidden
   */
  public static Plan plan(Connection connection, Guard guard) throws SQLException {
    connection.setAutoCommit(false);
    try {
      Sql.run(connection, "set transaction isolation level repeatable read, read only");
      Sql.run(connection, "set local search_path = pg_catalog, pg_temp");
      GuardSql sql = sql(connection, guard);
      for (String table : tables(guard)) {
        requireAllRows(connection, table);
      }
      record Numbers(long rows, long groups, long replacement) {}
      Numbers numbers =
          Sql.one(
              connection,
              sql.content(),
              row -> new Numbers(row.getLong(1), row.getLong(2), row.getLong(3)));
      List<Difference> differences =
          Sql.list(
              connection,
              "select side, tenant, case when isfinite(bucket) then to_char(bucket at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') else '-' end, key,"
                  + " measure, trim_scale(expected)::text, trim_scale(found)::text, in_source from ("
                  + sql.compare()
                  + ") d order by bucket, tenant, measure <> 'presence', measure, side",
              row ->
                  new Difference(
                      row.getString(1),
                      row.getString(2),
                      row.getString(3),
                      row.getString(4),
                      row.getString(5),
                      row.getString(6),
                      row.getString(7),
                      row.getBoolean(8)));
      return new Plan(
          guard,
          numbers.rows(),
          numbers.groups(),
          numbers.replacement(),
          differences,
          remedies(sql, differences),
          sql.uncompared());
    } catch (SQLException e) {
      throw fault(guard, e);
    } finally {
      connection.rollback();
      connection.setAutoCommit(true);
    }
  }

  private static List<String> remedies(GuardSql sql, List<Difference> differences) {
    List<String> remedies = new ArrayList<>();
    if (differences.stream().anyMatch(Difference::isInSource)) {
      remedies.add(sql.backfill().orElse(sql.copy()));
    }
    if (differences.stream().anyMatch(difference -> !difference.isInSource())) {
      remedies.add(sql.copy());
    }
    return remedies;
  }

  private static TallyrollException fault(Guard guard, SQLException e) {
    boolean isDefinition = Faults.state(e).startsWith("42") && !Faults.state(e).equals("42501");
    return new TallyrollException(
        isDefinition ? ErrorCode.DEFINITION : ErrorCode.DATABASE,
        guard.where() + ": guard '" + guard.name() + "': " + Faults.message(e),
        e);
  }

  private static List<String> tables(Guard guard) {
    List<String> tables =
        new ArrayList<>(List.of(guard.legacy().table(), guard.replacementTable()));
    guard.source().ifPresent(source -> tables.add(source.table()));
    return tables;
  }

  /** Finds out what the tables are; fails if one is none, or has not such a column. */
  private static GuardSql sql(Connection connection, Guard guard) throws SQLException {
    Map<String, Map<String, String>> types = new HashMap<>();
    List<Side> sides = new ArrayList<>(List.of(guard.legacy(), guard.replacementSide()));
    guard.source().ifPresent(sides::add);
    for (Side side : sides) {
      Map<String, String> columns = new HashMap<>();
      Sql.list(
          connection,
          Sql.resource("schema/guard/columns.sql", Map.of()),
          row -> columns.put(row.getString(1), row.getString(2)),
          side.table());
      for (String column :
          side.tenant() == null ? List.of(side.time()) : List.of(side.time(), side.tenant())) {
        if (!columns.containsKey(column.replace("\"", ""))) {
          throw new TallyrollException(
              ErrorCode.DEFINITION,
              "%s: guard '%s': there is no table %s with a column %s"
                      .formatted(
                          guard.where(),
                          guard.name(),
                          side.table().replace("\"", ""),
                          column.replace("\"", ""))
                  + Names.didYouMean(column.replace("\"", ""), columns.keySet()));
        }
      }
      types.put(side.table(), columns);
    }
    return new GuardSql(guard, types);
  }

  private static void requireAllRows(Connection connection, String table) throws SQLException {
    boolean isBound =
        Sql.one(
            connection,
            Sql.resource("schema/guard/hidden.sql", Map.of()),
            row -> row.getBoolean(1),
            table);
    if (isBound) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "row-level security may hide rows of "
              + table.replace("\"", "")
              + " from this role, so that nothing can be proved; create policy guard_reads on "
              + table
              + " for select to <this role> using (true), or go as a role with BYPASSRLS");
    }
  }

  /**
   * The drop and its proof as one statement: a runner that goes on after an error, or has no
   * transaction, does not get to the drop.
   */
  public static String dropping(Guard guard) {
    return "do $$ begin perform tallyroll.assert_covered("
        + Sql.literal(guard.name())
        + "); drop table "
        + guard.legacy().table()
        + "; end $$;";
  }

  /**
   * The statements that make a guard with all that it needs, for a migration of its own.
   *
   * @param version of this program, for the proof
   */
  public static String emit(Connection connection, Guard guard, String version)
      throws SQLException {
    return "-- Made by tallyroll schema guard install --emit from "
        + guard.where()
        + ". The drop is to be one statement with its proof, whatever runs it:\n-- "
        + dropping(guard)
        + "\n\n"
        + sql(connection, guard).install(version);
  }

  /**
   * Makes a guard, or changes it, in one transaction.
   *
   * @param connection in auto-commit mode, as a role that may make the schema or owns it
   */
  public static void install(Connection connection, Guard guard, String version)
      throws SQLException {
    String statements = sql(connection, guard).install(version);
    connection.setAutoCommit(false);
    try {
      Sql.run(connection, statements);
      connection.commit();
    } catch (SQLException e) {
      connection.rollback();
      throw fault(guard, e);
    } finally {
      connection.setAutoCommit(true);
    }
  }

  /**
   * How an installed guard stands.
   *
   * @param differences how many there are now; null if its tables cannot be compared
   * @param isThere whether the legacy table is there still
   * @param provedAt when it has passed last; null if never
   * @param proofs how often it has passed
   * @param waiver who has let it pass, until when and why; null if nobody has
   */
  public record Status(
      String name,
      String legacy,
      String replacement,
      boolean isThere,
      @Nullable Long differences,
      @Nullable String provedAt,
      long proofs,
      @Nullable String waiver) {}

  /** How all installed guards stand; none if nothing is installed. */
  public static List<Status> status(Connection connection) throws SQLException {
    boolean isThere =
        Sql.one(
            connection,
            "select to_regclass('tallyroll.guard') is not null",
            row -> row.getBoolean(1));
    if (!isThere) {
      return List.of();
    }
    List<Status> statuses = new ArrayList<>();
    for (Status each :
        Sql.list(
            connection,
            Sql.resource("schema/guard/status.sql", Map.of()),
            row ->
                new Status(
                    row.getString(1),
                    row.getString(2),
                    row.getString(3),
                    row.getBoolean(7),
                    null,
                    row.getString(4),
                    row.getLong(5),
                    row.getString(6)))) {
      statuses.add(
          new Status(
              each.name(),
              each.legacy(),
              each.replacement(),
              each.isThere(),
              differences(connection, each.name()),
              each.provedAt(),
              each.proofs(),
              each.waiver()));
    }
    return statuses;
  }

  /** Null if nothing can be compared: the legacy table is gone, or rows are hidden. */
  private static @Nullable Long differences(Connection connection, String name)
      throws SQLException {
    try {
      return Sql.one(
          connection,
          "select count(*) from tallyroll.guard g,"
              + " lateral (select count(tallyroll.guard_sees_all(t)) from unnest(array_remove(array[g.legacy, g.replacement, g.source], null)) t) s,"
              + " lateral tallyroll."
              + Sql.identifier("guard_compare_" + name)
              + "() where g.name = ?",
          row -> row.getLong(1),
          name);
    } catch (SQLException e) {
      if (connection.isClosed()) {
        throw e;
      }
      return null;
    }
  }

  /**
   * Lets a guard pass until a time, whatever is missing. Each message of the guard names it.
   *
   * @param by who takes the responsibility
   * @throws TallyrollException if there is no such guard
   */
  public static void waive(
      Connection connection, String guard, String by, String reason, Instant until)
      throws SQLException {
    boolean isInstalled =
        Sql.one(
            connection,
            "select to_regclass('tallyroll.guard') is not null",
            row -> row.getBoolean(1));
    List<String> there =
        isInstalled
            ? Sql.list(connection, "select name from tallyroll.guard", row -> row.getString(1))
            : List.of();
    if (!there.contains(guard)) {
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME,
          "no guard '" + guard + "' is installed" + Names.didYouMean(guard, there));
    }
    Sql.update(
        connection,
        "insert into tallyroll.guard_waiver (guard, granted_by, reason, until) values (?, ?, ?, ?::timestamptz)",
        guard,
        by,
        reason,
        until.toString());
  }
}
