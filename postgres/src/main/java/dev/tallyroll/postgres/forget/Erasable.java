package dev.tallyroll.postgres.forget;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.feed.SourceRanges;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

/**
 * What there is of a tenant, or of those of its rows that meet a predicate, in source and
 * quarantine.
 */
final class Erasable {
  private Erasable() {}

  /** The rows to erase as a condition over the source; the predicate is tried on no row. */
  static String condition(Connection connection, Installed installed, Forget.Request request)
      throws SQLException {
    BoundRollup bound = installed.bound();
    String condition =
        ofTenant(connection, bound, request)
            + (request.where() == null ? "" : " and (" + request.where() + "\n)");
    Sql.run(connection, "set local search_path = " + bound.searchPath());
    try {
      Sql.one(
          connection,
          "select exists (select from "
              + bound.table().sqlName()
              + " where false and "
              + condition
              + ")",
          row -> row.getBoolean(1));
    } catch (SQLException e) {
      if (!Faults.state(e).startsWith("42")) {
        throw e;
      }
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--where: not a predicate over a row of "
              + bound.table().label()
              + ": "
              + Faults.message(e),
          e);
    }
    return condition;
  }

  /** That a row of the source or its log is of the tenant. */
  static String ofTenant(Connection connection, BoundRollup bound, Forget.Request request)
      throws SQLException {
    return Sql.identifier(bound.rollup().source().tenant())
        + " = "
        + tenant(connection, bound, request);
  }

  static String tenant(Connection connection, BoundRollup bound, Forget.Request request)
      throws SQLException {
    String literal = Sql.literal(request.tenant()) + "::" + bound.tenantType().sqlName();
    try {
      Sql.one(connection, "select " + literal + " is null", row -> row.getBoolean(1));
      return literal;
    } catch (SQLException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--tenant: '"
              + request.tenant()
              + "' is not a "
              + bound.tenantType().sqlName()
              + ", as the tenants of '"
              + bound.name()
              + "' are"
              + (request.rollup() == null ? "; name the rollup of whose source it is to go" : ""),
          e);
    }
  }

  /** How many of the rows to erase lie behind a seal. */
  static long sealed(Connection connection, Installed installed, String condition)
      throws SQLException {
    return installed.seals().isEmpty()
        ? 0
        : Sql.one(
            connection,
            "select count(*) from "
                + installed.bound().table().sqlName()
                + " where "
                + condition
                + " and "
                + isSealed(installed),
            row -> row.getLong(1));
  }

  static String isSealed(Installed installed) {
    return SourceRanges.contains(
        installed.bound(), installed.seals().stream().map(Installed.Seal::range).toList());
  }

  /** That an entry of the quarantine is of the tenant; long tenants are cut there. */
  static String entriesOfTenant(Connection connection, Installed installed, Forget.Request request)
      throws SQLException {
    String tenant = "(" + tenant(connection, installed.bound(), request) + ")::text";
    return "(kind = 'bucket' and tenant = "
        + tenant
        + " or kind <> 'bucket' and tenant = left("
        + tenant
        + ", 200) and source_row ->> "
        + Sql.literal(installed.bound().rollup().source().tenant())
        + " = "
        + tenant
        + ")";
  }

  /** Takes what is of the tenant out of quarantine. */
  static long eraseEntries(Connection connection, Installed installed, Forget.Request request)
      throws SQLException {
    return Sql.update(
        connection,
        "delete from tallyroll.quarantine where rollup = ? and "
            + entriesOfTenant(connection, installed, request),
        installed.name());
  }

  /** Takes entries out of quarantine, unless they have left it meanwhile. */
  static long eraseEntries(Connection connection, Installed installed, List<Long> ids)
      throws SQLException {
    Sql.update(
        connection,
        "delete from tallyroll.quarantine where rollup = ? and id = any (?)",
        installed.name(),
        connection.createArrayOf("bigint", ids.toArray()));
    return ids.size();
  }

  /** Takes out of quarantine what meets the predicate and is of no row of the source any more. */
  static long eraseOrphans(Connection connection, Installed installed, Forget.Request request)
      throws SQLException {
    BoundRollup bound = installed.bound();
    return Sql.update(
        connection,
        "delete from tallyroll.quarantine where rollup = ? and kind = 'row' and "
            + entry(installed, condition(connection, installed, request))
            + " and "
            + FeedSql.keyOfEntry(bound)
            + " not in (select "
            + FeedSql.key(bound)
            + " from "
            + bound.table().sqlName()
            + " where "
            + ofTenant(connection, bound, request)
            + ")",
        installed.name());
  }

  /**
   * The entries of rows that meet a condition. One holds only the columns that its rollup reads: it
   * is found by the row that it is of, as many entries as there are rows alike; one of a change
   * behind a seal, which may have no row any more, by itself.
   */
  static List<Long> entries(Connection connection, Installed installed, String condition)
      throws SQLException {
    return Sql.list(
        connection,
        "select entry.id from (select id, image, row_number() over (partition by image order by id) as n from (select id, "
            + FeedSql.keyOfEntry(installed.bound())
            + " as image from tallyroll.quarantine where rollup = ? and kind = 'row') keyed) entry join (select image, count(*) as n from (select "
            + FeedSql.key(installed.bound())
            + " as image from "
            + installed.bound().table().sqlName()
            + " where "
            + condition
            + ") images group by image) rows on rows.image = entry.image and entry.n <= rows.n"
            + " union all select id from tallyroll.quarantine where rollup = ? and kind = 'change' and "
            + entry(installed, condition),
        row -> row.getLong(1),
        installed.name(),
        installed.name());
  }

  /** That the row of an entry of the quarantine meets a condition over source rows. */
  static String entry(Installed installed, String condition) {
    return "exists (select from jsonb_populate_record(null::"
        + installed.bound().table().sqlName()
        + ", source_row) as "
        + Sql.identifier(installed.bound().table().name())
        + " where "
        + condition
        + ")";
  }

  /** A table of the server, and which column says whose a row is. */
  private record OfServer(String table, String column) {}

  /** What the server knows of a tenant beside its events; what others refer to last. */
  private static final List<OfServer> OF_SERVER =
      List.of(
          new OfServer("tallyroll.event_key", "tenant"),
          new OfServer("tallyroll.event_quarantine", "tenant"),
          new OfServer("tallyroll.api_key", "tenant"),
          new OfServer("tallyroll.tenant", "id"));

  /** Whether all of a tenant is to go, wherever it is: then its keys go too. */
  static boolean isOfServer(Forget.Request request) {
    return request.where() == null && request.rollup() == null;
  }

  /** Deletes what the server knows of a tenant, and gives how many events were in quarantine. */
  static long eraseOfServer(Connection connection, Forget.Request request) throws SQLException {
    long entries = 0;
    for (OfServer one : OF_SERVER) {
      int gone =
          Sql.update(
              connection,
              "delete from " + one.table() + " where " + one.column() + " = ?",
              request.tenant());
      entries += one.table().endsWith("quarantine") ? gone : 0;
    }
    return entries;
  }

  /** Counts what is still there. */
  static long left(Connection connection, List<Installed> all, Forget.Request request)
      throws SQLException {
    long left = 0;
    if (isOfServer(request)) {
      for (OfServer one : OF_SERVER) {
        left +=
            Sql.one(
                connection,
                "select count(*) from " + one.table() + " where " + one.column() + " = ?",
                row -> row.getLong(1),
                request.tenant());
      }
    }
    for (Installed one : all) {
      String condition = condition(connection, one, request);
      List<String> queries = new ArrayList<>();
      queries.add("select from " + one.bound().table().sqlName() + " where " + condition);
      queries.add(
          "select from tallyroll.quarantine where rollup = "
              + Sql.literal(one.name())
              + " and "
              + (request.where() == null
                  ? entriesOfTenant(connection, one, request)
                  // One of a row may hold too little to tell; it goes with the row.
                  : "kind = 'change' and " + entry(one, condition)));
      String tenant = tenant(connection, one.bound(), request);
      if (request.where() == null) {
        // With a predicate the log may hold changes of the tenant's other rows again by now.
        one.log()
            .ifPresent(log ->
                queries.add(
                    "select from "
                        + log.sqlName()
                        + " where "
                        + Sql.identifier(one.bound().rollup().source().tenant())
                        + " = "
                        + tenant));
        one.bound()
            .rollup()
            .grains()
            .keySet()
            .forEach(grain ->
                queries.add(
                    "select from " + one.bound().grainTable(grain) + " where tenant = " + tenant));
      }
      left +=
          Sql.one(
              connection,
              "select count(*) from (" + String.join(" union all ", queries) + ") found",
              row -> row.getLong(1));
    }
    return left;
  }
}
