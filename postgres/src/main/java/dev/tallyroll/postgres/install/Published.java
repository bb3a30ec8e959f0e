package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What others build upon: a rollup's tables, its fresh views and their functions. While a
 * definition changes they stay the objects that they are, with their grants, and views of the user
 * over them go on: a table gains and loses columns, a view is replaced by one with more columns.
 * Only where a column goes is a fresh view made anew, which is refused while something of the
 * user's stands on it. For one thread; in the caller's transaction.
 */
final class Published {
  private static final String AND_AGAIN = "drop that first, apply, and make it again";

  private final Connection connection;
  private final BoundRollup bound;
  private final RollupSql sql;

  Published(Connection connection, BoundRollup bound, RollupSql sql) {
    this.connection = connection;
    this.bound = bound;
    this.sql = sql;
  }

  /** Whether this program has made the views and functions, and not one before it. */
  boolean isCurrent() throws SQLException {
    for (Grain grain : bound.rollup().grains().keySet()) {
      boolean isCurrent =
          Sql.one(
              connection,
              "select coalesce(obj_description(to_regprocedure(?), 'pg_proc') = ?, false)",
              row -> row.getBoolean(1),
              sql.tailName(grain) + "()",
              sql.comment(grain));
      if (!isCurrent) {
        return false;
      }
    }
    return true;
  }

  /** A change of tables. */
  @FunctionalInterface
  interface Change {
    /** Makes it. */
    void run() throws SQLException;
  }

  /**
   * Makes a change of tables, after taking down what is in its way and before putting views and
   * functions up again, as the definition is then.
   */
  void around(Change change) throws SQLException {
    List<String> grants = new ArrayList<>();
    for (Grain grain : bound.rollup().grains().keySet()) {
      grants.addAll(takeDown(grain));
    }
    change.run();
    for (Grain grain : bound.rollup().grains().keySet()) {
      putUp(grain);
    }
    for (String grant : grants) {
      Sql.run(connection, grant);
    }
  }

  /** Gives the grants to make again. */
  private List<String> takeDown(Grain grain) throws SQLException {
    String view = sql.freshName(grain);
    String tail = sql.tailName(grain) + "()";
    List<String> grants = new ArrayList<>(grants(tail, true));
    List<String> gone = goneFrom(view, viewTypes());
    if (!gone.isEmpty()) {
      grants.addAll(grants(view, false));
      drop("drop view " + view, String.join(", ", gone) + " of " + view);
    }
    if (Sql.one(
        connection, "select to_regprocedure(?) is not null", row -> row.getBoolean(1), tail)) {
      String name = sql.oldTailName(grain);
      Sql.run(
          connection,
          "alter function " + tail + " rename to " + name.substring(name.indexOf('.') + 1));
    }
    return grants;
  }

  private void putUp(Grain grain) throws SQLException {
    Sql.run(connection, sql.tail(grain));
    Sql.run(connection, "revoke execute on function " + sql.tailName(grain) + "() from public");
    view(grain, false);
    Sql.run(connection, sql.mark(grain));
    Sql.run(connection, "drop function if exists " + sql.oldTailName(grain) + "()");
  }

  /**
   * Makes the fresh view of a grain, or replaces it by one that has its columns and more.
   *
   * @param isMarked whether it says of each bucket if it was adopted; one that has said so before,
   *     or has adopted buckets, always does
   */
  void view(Grain grain, boolean isMarked) throws SQLException {
    List<String> first = List.copyOf(columns(sql.freshName(grain)).keySet());
    boolean marks =
        isMarked
            || first.contains(FreshViewSql.ADOPTED)
            || Sql.one(
                connection,
                "select exists (select from tallyroll.adopted where rollup = ?)",
                row -> row.getBoolean(1),
                bound.name());
    Sql.run(connection, sql.freshView(grain, first, marks));
  }

  /**
   * Gives the table of a grain the columns of the definition: some go, some come. It has no
   * partitions if one comes.
   */
  void alter(Grain grain) throws SQLException {
    String table = bound.grainTable(grain);
    Map<String, String> was = columns(table);
    for (String column : goneFrom(table, types())) {
      drop(
          "alter table " + table + " drop column " + Sql.identifier(column),
          column + " of " + table);
    }
    for (RollupSql.Column column : sql.columns()) {
      if (!column.type().equals(was.get(column.name()))) {
        Sql.run(connection, "alter table " + table + " add column " + column.definition());
      }
    }
  }

  /** The columns of a relation that it will not have, or not with their type. */
  private List<String> goneFrom(String relation, Map<String, String> willBe) throws SQLException {
    return columns(relation).entrySet().stream()
        .filter(column -> !column.getValue().equals(willBe.get(column.getKey())))
        .map(Map.Entry::getKey)
        .toList();
  }

  private Map<String, String> viewTypes() {
    Map<String, String> types = types();
    types.put(FreshViewSql.COMPLETE, "boolean");
    types.putIfAbsent(FreshViewSql.ADOPTED, "boolean");
    return types;
  }

  private Map<String, String> types() {
    Map<String, String> types = new LinkedHashMap<>();
    sql.columns().forEach(column -> types.put(column.name(), column.type()));
    return types;
  }

  /** The columns of a relation in their order, with their types; none if it is not there. */
  private Map<String, String> columns(String relation) throws SQLException {
    Map<String, String> columns = new LinkedHashMap<>();
    Sql.list(
            connection,
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
                + " where attrelid = to_regclass(?) and attnum > 0 and not attisdropped order by attnum",
            row -> Map.entry(row.getString(1), row.getString(2)),
            relation)
        .forEach(column -> columns.put(column.getKey(), column.getValue()));
    return columns;
  }

  /** The grants on a relation or a function, as statements that make them again. */
  private List<String> grants(String object, boolean isFunction) throws SQLException {
    return Sql.list(
        connection,
        "select 'grant ' || a.privilege_type || ' on "
            + (isFunction ? "function " : "")
            + "' || ? || ' to ' || case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end"
            + " || case when a.is_grantable then ' with grant option' else '' end from "
            + (isFunction
                ? "pg_proc o, aclexplode(o.proacl) a where o.oid = to_regprocedure(?) and a.grantee <> o.proowner"
                : "pg_class o, aclexplode(o.relacl) a where o.oid = to_regclass(?) and a.grantee <> o.relowner"),
        row -> row.getString(1),
        object,
        object);
  }

  /**
   * Refuses before the work what would be refused after it, when something of the user's stands on
   * what goes.
   *
   * @param removed the grains that go
   */
  void checkThatNothingStandsOn(Collection<Grain> removed) throws SQLException {
    for (Grain grain : bound.rollup().grains().keySet()) {
      String view = sql.freshName(grain);
      List<String> gone = goneFrom(view, viewTypes());
      if (!gone.isEmpty()) {
        checkThatNothingStandsOn(
            view, null, view, String.join(", ", gone) + " of " + view, AND_AGAIN);
      }
      String table = bound.grainTable(grain);
      for (String column : goneFrom(table, types())) {
        checkThatNothingStandsOn(table, column, view, column + " of " + table, AND_AGAIN);
      }
    }
    for (Grain grain : removed) {
      checkThatNothingStandsOn(grain, AND_AGAIN);
    }
  }

  /** The same for a whole grain, with what is to be done about it. */
  void checkThatNothingStandsOn(Grain grain, String remedy) throws SQLException {
    String view = sql.freshName(grain);
    checkThatNothingStandsOn(view, null, view, view, remedy);
    checkThatNothingStandsOn(bound.grainTable(grain), null, view, bound.grainTable(grain), remedy);
  }

  /** What goes along with a relation does not stand on it, nor does our view on our table. */
  private void checkThatNothingStandsOn(
      String relation, @Nullable String column, String ours, String what, String remedy)
      throws SQLException {
    Optional<String> standing =
        Sql.one(
            connection,
            """
            select string_agg(distinct pg_describe_object(
                case when r.oid is null then d.classid else 'pg_class'::regclass end, coalesce(r.ev_class, d.objid),
                case when r.oid is null then d.objsubid else 0 end), ', ')
            from pg_depend d
            left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
            where d.refclassid = 'pg_class'::regclass and d.refobjid = to_regclass(?) and d.deptype = 'n'
              and (?::text is null or d.refobjsubid = (
                select attnum from pg_attribute where attrelid = d.refobjid and attname = ? and not attisdropped))
              and r.ev_class is distinct from d.refobjid and r.ev_class is distinct from to_regclass(?)
              and not exists (select from pg_depend along where along.classid = d.classid and along.objid = d.objid
                and along.refclassid = d.refclassid and along.refobjid = d.refobjid and along.deptype <> 'n')
            """,
            row -> Optional.ofNullable(row.getString(1)),
            relation,
            column,
            column,
            ours);
    if (standing.isPresent()) {
      throw inTheWay(what, standing.get(), remedy, null);
    }
  }

  private static TallyrollException inTheWay(
      String what, String standing, String remedy, @Nullable SQLException cause) {
    return new TallyrollException(
        ErrorCode.REFUSED,
        what
            + " cannot be removed, since something of yours stands on it ("
            + standing
            + "); "
            + remedy,
        cause);
  }

  /** Drops something of ours, or says what of the user's stands on it. */
  void drop(String statement, String what) throws SQLException {
    try {
      Sql.run(connection, statement);
    } catch (SQLException e) {
      if (!Faults.state(e).equals("2BP01")) {
        throw e;
      }
      throw inTheWay(what, Faults.detail(e), AND_AGAIN, e);
    }
  }
}
