package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Array;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Stream;

/** What Tallyroll remembers of each rollup, read and written in the caller's transaction. */
public final class Registry {
  private Registry() {}

  /** The names of all rollups, in order. None where Tallyroll is not installed. */
  public static List<String> names(Connection connection) throws SQLException {
    int version = Schema.versionOf(connection);
    Schema.check(version);
    return version == 0
        ? List.of()
        : Sql.list(
            connection, "select name from tallyroll.rollup order by name", row -> row.getString(1));
  }

  /**
   * A rollup.
   *
   * @throws TallyrollException if there is none of this name, or its source is gone
   */
  public static Installed get(Connection connection, String name) throws SQLException {
    List<String> names = names(connection);
    if (!names.contains(name)) {
      String known =
          names.isEmpty()
              ? "there are none; apply a definition first"
              : "there are " + String.join(", ", names);
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME,
          "no rollup '" + name + "'" + Names.didYouMean(name, names) + " (" + known + ")");
    }
    return find(connection, name).orElseThrow();
  }

  private record Row(
      long relation,
      String definition,
      List<String> types,
      String anchor,
      String cursor,
      Optional<Coverage.Days> history,
      long systemIdentifier) {}

  private static Optional<Installed> find(Connection connection, String name) throws SQLException {
    Optional<Row> found =
        Sql.first(
            connection,
            """
            select s.relation::oid::bigint, r.definition, r.types, r.anchor::text, r.cursor::text,
                   r.history_from, r.history_to, r.system_identifier
            from tallyroll.rollup r join tallyroll.source s on s.id = r.source
            where r.name = ?
            """,
            row ->
                new Row(
                    row.getLong(1),
                    row.getString(2),
                    strings(row.getArray(3)),
                    row.getString(4),
                    row.getString(5),
                    days(row.getObject(6, LocalDate.class), row.getObject(7, LocalDate.class)),
                    row.getLong(8)),
            name);
    if (found.isEmpty()) {
      return Optional.empty();
    }
    Row row = found.get();
    long here = systemIdentifier(connection);
    if (here != row.systemIdentifier()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "rollup '"
              + name
              + "' was made in another cluster, whose transaction ids mean nothing here; drop it and apply"
              + " its definition again");
    }
    Rollup rollup = DefinitionReader.read("rollup " + name, row.definition()).getFirst().rollup();
    SourceTable table =
        SourceTable.find(connection, row.relation())
            .orElseThrow(() ->
                new TallyrollException(
                    ErrorCode.DATABASE,
                    "the source of rollup '"
                        + name
                        + "', "
                        + rollup.source().label()
                        + ", is gone; drop the rollup to end it"));
    List<Coverage.Days> slices =
        Sql.list(
            connection,
            "select day_from, day_to from tallyroll.slice where rollup = ? order by day_from",
            slice ->
                new Coverage.Days(
                    slice.getObject(1, LocalDate.class), slice.getObject(2, LocalDate.class)),
            name);
    SortedMap<Grain, Long> kept = new TreeMap<>();
    Sql.list(
        connection,
        "select grain, case when isfinite(kept_from) then kept_from end from tallyroll.grain where rollup = ?",
        grain -> {
          OffsetDateTime from = grain.getObject(2, OffsetDateTime.class);
          return kept.put(
              Grain.of(grain.getString(1)).orElseThrow(),
              from == null ? Long.MIN_VALUE : Times.micros(from.toInstant()));
        },
        name);
    return Optional.of(
        new Installed(
            bound(rollup, table, row.types()),
            Snapshot.parse(row.anchor()),
            Snapshot.parse(row.cursor()),
            new Coverage(row.history(), slices),
            kept));
  }

  private static Optional<Coverage.Days> days(
      @org.jspecify.annotations.Nullable LocalDate from,
      @org.jspecify.annotations.Nullable LocalDate to) {
    return from == null || to == null ? Optional.empty() : Optional.of(new Coverage.Days(from, to));
  }

  private static List<String> strings(Array array) throws SQLException {
    return Arrays.asList((String[]) array.getArray());
  }

  private static BoundRollup bound(Rollup rollup, SourceTable table, List<String> types) {
    List<ColumnType> all = types.stream().map(type -> ColumnType.of(type).orElseThrow()).toList();
    int dimensions = rollup.dimensions().size();
    return new BoundRollup(
        rollup,
        table,
        all.getFirst(),
        all.subList(1, 1 + dimensions),
        all.subList(1 + dimensions, all.size()));
  }

  /** The types of a bound rollup as the registry stores them. */
  public static String[] types(BoundRollup bound) {
    return Stream.of(List.of(bound.tenantType()), bound.dimensionTypes(), bound.inputTypes())
        .flatMap(List::stream)
        .map(ColumnType::sqlName)
        .toArray(String[]::new);
  }

  /** The identifier of the cluster, without which transaction ids mean nothing. */
  public static long systemIdentifier(Connection connection) throws SQLException {
    return Sql.one(
        connection, "select system_identifier from pg_control_system()", row -> row.getLong(1));
  }
}
