package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Array;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** What Tallyroll remembers of each rollup, read and written in the caller's transaction. */
public final class Registry {
  private static final int MOST_PARSED = 1_000;
  private static final Map<String, Rollup> PARSED = new ConcurrentHashMap<>();

  private Registry() {}

  /** The name under which a new definition of a rollup is built beside it. */
  public static String beside(String rollup) {
    return rollup + "~";
  }

  /** Whether a name is that of something built beside a rollup. */
  public static boolean isBeside(String name) {
    return name.endsWith("~");
  }

  /** The names of all rollups, in order. None where Tallyroll is not installed. */
  public static List<String> names(Connection connection) throws SQLException {
    int version = Schema.versionOf(connection);
    Schema.checkCurrent(version);
    return version == 0
        ? List.of()
        : Sql.list(
            connection, "select name from tallyroll.rollup order by name", row -> row.getString(1));
  }

  /** The names of all rollups over a source, in order, those that are built beside too. */
  public static List<String> namesOver(Connection connection, long source) throws SQLException {
    return Sql.list(
        connection,
        "select name from tallyroll.rollup where source = ? order by name",
        row -> row.getString(1),
        source);
  }

  /**
   * For how many days rows of a source are kept: the longest that a definition says; 0 for ever.
   */
  public static int keepDays(Connection connection, long source) throws SQLException {
    int days = 0;
    for (String name : namesOver(connection, source)) {
      Keep keep = get(connection, name).bound().rollup().source().keep();
      days = Math.max(days, keep == null ? 0 : keep.days());
    }
    return days;
  }

  /**
   * A rollup.
   *
   * @throws TallyrollException if there is none of this name, or its source is gone
   */
  public static Installed get(Connection connection, String name) throws SQLException {
    return get(connection, name, false);
  }

  /**
   * The same for queries, to which each round trip counts.
   *
   * @param locking statements that go before it without a round trip of their own and lock tables
   *     of that rollup, so that the schema is there; they end with a semicolon, and are few, since
   *     each text is planned for itself
   * @param tenant is set as the one of the transaction; null to set none
   */
  public static Installed getLocked(
      Connection connection, String locking, String name, @Nullable String tenant)
      throws SQLException {
    return find(connection, locking, name, tenant, false)
        .orElseThrow(() -> unknown(connection, name));
  }

  /** The same, also for one that was made in another cluster, whose transaction ids it tells in. */
  public static Installed getOfAnyCluster(Connection connection, String name) throws SQLException {
    return get(connection, name, true);
  }

  private static Installed get(Connection connection, String name, boolean ofAnyCluster)
      throws SQLException {
    int version = Schema.versionOf(connection);
    Schema.checkCurrent(version);
    Optional<Installed> found =
        version == 0 ? Optional.empty() : find(connection, "", name, null, ofAnyCluster);
    return found.orElseThrow(() -> unknown(connection, name));
  }

  private static TallyrollException unknown(Connection connection, String name) {
    List<String> names;
    try {
      names = names(connection);
    } catch (SQLException e) {
      return Faults.of(e);
    }
    String known =
        names.isEmpty()
            ? "there are none; apply a definition first"
            : "there are " + String.join(", ", names);
    return new TallyrollException(
        ErrorCode.UNKNOWN_NAME,
        "no rollup '" + name + "'" + Names.didYouMean(name, names) + " (" + known + ")");
  }

  private record Row(
      Optional<SourceTable> table,
      String definition,
      List<String> types,
      String anchor,
      String cursor,
      Optional<Coverage.Days> history,
      boolean isMoved,
      List<Coverage.Days> slices,
      SortedMap<Grain, Long> keptFrom,
      long source,
      Optional<ChangeLog> log,
      List<String> columns,
      List<Coverage.Counted> counted,
      List<Installed.Seal> seals,
      boolean hasOtherLeaves,
      Map<String, Long> starts,
      List<String> versions,
      SortedMap<Grain, Long> openFrom,
      KeepTime keepTime,
      int version) {}

  /** Everything in one statement: queries read this before each answer. */
  private static Optional<Installed> find(
      Connection connection,
      String before,
      String name,
      @Nullable String tenant,
      boolean ofAnyCluster)
      throws SQLException {
    Optional<Row> found =
        Sql.first(
            connection,
            before
                + """
                select r.definition, r.types, r.anchor::text, r.cursor::text, r.history_from, r.history_to,
                       tallyroll.is_moved(r.name),
                       array(select day_from || ' ' || day_to from tallyroll.slice l where l.rollup = r.name order by day_from),
                       array(select grain || ' ' || case when isfinite(kept_from)
                                                         then (extract(epoch from kept_from) * 1000000)::bigint::text else '' end
                             from tallyroll.grain g where g.rollup = r.name),
                       s.id, s.log, coalesce(s.log_columns, '{}'), r.columns,
                       array(select day_from || ' ' || day_to || ' ' || seen from tallyroll.slice l where l.rollup = r.name and seen is not null),
                       array(select case when isfinite(range_from) then (extract(epoch from range_from) * 1000000)::bigint::text else '' end
                                    || ' ' || case when isfinite(range_to) then (extract(epoch from range_to) * 1000000)::bigint::text else '' end
                                    || ' ' || seen
                             from tallyroll.seal l where l.source = s.id),
                       s.log is not null and exists (select from pg_partitioned_table p where p.partrelid = s.relation)
                         and exists (select from pg_partition_tree(s.relation) t
                                     full join (select relation from tallyroll.leaf l where l.source = s.id) l on l.relation = t.relid
                                     where l.relation is null or t.relid is null),
                       array(select name || ' ' || (extract(epoch from since) * 1000000)::bigint from tallyroll.start l where l.rollup = r.name),
                       array(select grain || ' ' || days_version from tallyroll.grain g where g.rollup = r.name and days_version is not null),
                       array(select grain || ' ' || case when isfinite(open_from)
                                                         then (extract(epoch from open_from) * 1000000)::bigint::text else '' end
                             from tallyroll.grain g where g.rollup = r.name and open_from is not null),
                       f.keep_time, f.held_at, (select max(version) from tallyroll.schema_version),
                """
                + SourceTable.SELECTED
                + """
                from tallyroll.rollup r join tallyroll.source s on s.id = r.source join tallyroll.refresh f on f.rollup = r.name
                left join (pg_class c join pg_namespace n on n.oid = c.relnamespace) on c.oid = s.relation
                """
                + (tenant == null ? "" : "cross join set_config('tallyroll.tenant', ?, true)\n")
                + "where r.name = ?",
            row ->
                new Row(
                    SourceTable.read(row, 23),
                    row.getString(1),
                    strings(row.getArray(2)),
                    row.getString(3),
                    row.getString(4),
                    days(row.getObject(5, LocalDate.class), row.getObject(6, LocalDate.class)),
                    row.getBoolean(7),
                    strings(row.getArray(8)).stream().map(Registry::slice).toList(),
                    times(strings(row.getArray(9)), Long.MIN_VALUE),
                    row.getLong(10),
                    log(row.getString(11), strings(row.getArray(12))),
                    strings(row.getArray(13)),
                    strings(row.getArray(14)).stream().map(Registry::counted).toList(),
                    strings(row.getArray(15)).stream().map(Registry::seal).toList(),
                    row.getBoolean(16),
                    strings(row.getArray(17)).stream()
                        .map(text -> text.split(" ", 2))
                        .collect(Collectors.toMap(part -> part[0], part -> Long.valueOf(part[1]))),
                    strings(row.getArray(18)),
                    times(strings(row.getArray(19)), Long.MAX_VALUE),
                    new KeepTime(instant(row, 20), instant(row, 21)),
                    row.getInt(22)),
            tenant == null ? new Object[] {name} : new Object[] {tenant, name});
    if (found.isEmpty()) {
      return Optional.empty();
    }
    Row row = found.get();
    Schema.checkCurrent(row.version());
    if (row.isMoved() && !ofAnyCluster) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "rollup '"
              + name
              + "' was made in another cluster or database, whose transaction ids and tables mean nothing here; after a restored dump run: {tallyroll} reanchor "
              + name
              + "; after pg_upgrade: {tallyroll} reanchor "
              + name
              + " --after-upgrade");
    }
    Rollup parsed = parsed(name, row.definition());
    Rollup rollup = parsed.name().equals(name) ? parsed : parsed.named(name);
    SourceTable table =
        row.table()
            .orElseThrow(() ->
                new TallyrollException(
                    ErrorCode.DATABASE,
                    "the source of rollup '"
                        + name
                        + "', "
                        + rollup.source().label()
                        + ", is gone; drop the rollup to end it"));
    BoundRollup bound = bound(rollup, table, row.types(), row.columns());
    if (bound.isChanging() && row.log().isEmpty()) {
      throw new TallyrollException(
          ErrorCode.DATABASE,
          "the change log of rollup '" + name + "' is gone; drop the rollup and apply it again");
    }
    return Optional.of(
        new Installed(
            bound,
            Snapshot.parse(row.anchor()),
            Snapshot.parse(row.cursor()),
            new Coverage(row.history(), row.slices()),
            row.keptFrom(),
            row.openFrom(),
            row.source(),
            bound.isChanging() ? row.log() : Optional.empty(),
            row.counted(),
            row.seals(),
            bound.isChanging() && row.hasOtherLeaves(),
            movedDays(row.versions()),
            row.starts(),
            row.keepTime()));
  }

  private static Optional<Instant> instant(ResultSet row, int column) throws SQLException {
    return Optional.ofNullable(row.getObject(column, OffsetDateTime.class))
        .map(OffsetDateTime::toInstant);
  }

  /** Definitions by their text, which never means anything else. */
  private static Rollup parsed(String name, String definition) {
    if (PARSED.size() > MOST_PARSED) {
      PARSED.clear();
    }
    return PARSED.computeIfAbsent(
        definition, text -> DefinitionReader.read("rollup " + name, text).getFirst().rollup());
  }

  private static Optional<ChangeLog> log(@Nullable String name, List<String> columns) {
    return Optional.ofNullable(name).map(log -> new ChangeLog(log, columns));
  }

  private static Coverage.Counted counted(String text) {
    String[] parts = text.split(" ", 3);
    return new Coverage.Counted(slice(parts[0] + " " + parts[1]), Snapshot.parse(parts[2]));
  }

  private static Installed.Seal seal(String text) {
    String[] parts = text.split(" ", 3);
    return new Installed.Seal(
        new Leaf.Range(
            parts[0].isEmpty() ? Long.MIN_VALUE : Long.parseLong(parts[0]),
            parts[1].isEmpty() ? Long.MAX_VALUE : Long.parseLong(parts[1])),
        Snapshot.parse(parts[2]));
  }

  private static Coverage.Days slice(String text) {
    String[] days = text.split(" ", 2);
    return new Coverage.Days(LocalDate.parse(days[0]), LocalDate.parse(days[1]));
  }

  private static SortedMap<Grain, Long> times(List<String> texts, long infinite) {
    SortedMap<Grain, Long> times = new TreeMap<>();
    for (String text : texts) {
      String[] parts = text.split(" ", 2);
      times.put(
          Grain.of(parts[0]).orElseThrow(),
          parts[1].isEmpty() ? infinite : Long.parseLong(parts[1]));
    }
    return times;
  }

  private static Set<Grain> movedDays(List<String> versions) {
    Set<Grain> moved = new HashSet<>();
    for (String text : versions) {
      String[] parts = text.split(" ", 2);
      Grain grain = Grain.of(parts[0]).orElseThrow();
      if (!grain.version().equals(parts[1])) {
        moved.add(grain);
      }
    }
    return moved;
  }

  private static Optional<Coverage.Days> days(@Nullable LocalDate from, @Nullable LocalDate to) {
    return from == null || to == null ? Optional.empty() : Optional.of(new Coverage.Days(from, to));
  }

  private static List<String> strings(Array array) {
    try {
      return Arrays.asList((String[]) array.getArray());
    } catch (SQLException e) {
      throw Faults.of(e);
    }
  }

  private static BoundRollup bound(
      Rollup rollup, SourceTable table, List<String> types, List<String> columns) {
    List<ColumnType> all = types.stream().map(type -> ColumnType.of(type).orElseThrow()).toList();
    int dimensions = rollup.dimensions().size();
    return new BoundRollup(
        rollup,
        table,
        all.getFirst(),
        all.subList(1, 1 + dimensions),
        all.subList(1 + dimensions, all.size()),
        columns);
  }

  /**
   * Adds a grain to a rollup.
   *
   * @param keptFrom from when on its buckets are complete; {@link Long#MIN_VALUE} for all
   */
  public static void addGrain(Connection connection, String rollup, Grain grain, long keptFrom)
      throws SQLException {
    Sql.update(
        connection,
        "insert into tallyroll.grain (rollup, grain, open_from, kept_from, days_version) values (?, ?, 'infinity', "
            + (keptFrom == Long.MIN_VALUE ? "'-infinity'" : "'" + Times.format(keptFrom) + "'")
            + ", nullif(?, ''))",
        rollup,
        grain.label(),
        grain.version());
    StoredDays.register(connection, rollup, grain);
  }

  /** Writes down up to which moment of the clock keep is applied. */
  public static void setKeepTime(Connection connection, String rollup, KeepTime keepTime)
      throws SQLException {
    Sql.update(
        connection,
        "update tallyroll.refresh set keep_time = ?::timestamptz, held_at = ?::timestamptz where rollup = ?",
        text(keepTime.time()),
        text(keepTime.heldAt()),
        rollup);
  }

  private static @Nullable String text(Optional<Instant> instant) {
    return instant.map(one -> Times.format(Times.micros(one))).orElse(null);
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
