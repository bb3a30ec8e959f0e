package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.capture.AppendCapture;
import dev.tallyroll.postgres.capture.Leaves;
import dev.tallyroll.postgres.capture.LogCapture;
import dev.tallyroll.postgres.catalog.Binder;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.KeepTime;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Plans, applies and drops rollups.
 *
 * <p>Applying is a sequence of steps, each right when it stands alone, and each skipped when it is
 * done: Tallyroll's schema; the source's column, check and triggers; its index; then, in one
 * transaction that also takes the anchor, the rollup's tables, functions and views. Until that last
 * step nothing is captured, and a killed apply is resumed by the next.
 */
public final class Installer {
  private final Database database;
  private final InstantSource clock;

  /** An installer for a database. */
  public Installer(Database database) {
    this(database, InstantSource.system());
  }

  /** An installer for a database; the clock tells what is no longer kept. */
  public Installer(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /**
   * What applying one definition did.
   *
   * @param rollup the rollup's name
   * @param outcome what became of it
   * @param difference what differs from the definition before, a line for each part
   * @param uncovered the days of history that a backfill has to fill, if there are any
   */
  public record Applied(
      String rollup, Outcome outcome, List<String> difference, List<Coverage.Days> uncovered) {
    /** Copies the lists. */
    public Applied {
      difference = List.copyOf(difference);
      uncovered = List.copyOf(uncovered);
    }
  }

  /** What became of a rollup. */
  public enum Outcome {
    /** It was made. */
    INSTALLED,
    /** It was there exactly so. */
    UNCHANGED,
    /** It has the new definition. */
    CHANGED,
    /** The new definition is being built beside; {@link Redefinition#finish} goes on with it. */
    BUILDING
  }

  /**
   * Binds definitions and shows what applying them would do. Changes nothing.
   *
   * @throws DefinitionException with all faults
   */
  public List<Plan> plan(List<Definition> definitions) {
    return database.with(
        "plan",
        connection -> {
          connection.setAutoCommit(false);
          try {
            List<Plan> plans = new ArrayList<>();
            List<BoundRollup> bound = bindAll(connection, definitions);
            for (BoundRollup rollup : bound) {
              plans.add(plan(connection, rollup));
            }
            return plans;
          } finally {
            connection.rollback();
          }
        });
  }

  private static List<BoundRollup> bindAll(Connection connection, List<Definition> definitions)
      throws SQLException {
    List<DefinitionException.Fault> faults = new ArrayList<>();
    List<BoundRollup> bound = new ArrayList<>();
    for (Definition definition : definitions) {
      try {
        bound.add(Binder.bind(connection, definition));
      } catch (DefinitionException e) {
        faults.addAll(e.faults());
      }
    }
    if (!faults.isEmpty()) {
      throw new DefinitionException(faults);
    }
    return bound;
  }

  private static Plan plan(Connection connection, BoundRollup bound) throws SQLException {
    Plan.Change change = change(connection, bound);
    List<String> statements = new ArrayList<>();
    List<String> warnings = new ArrayList<>();
    if (Schema.versionOf(connection) < Schema.version()) {
      statements.add(
          "-- the schema tallyroll, version "
              + Schema.version()
              + ": its own tables and functions");
    }
    List<String> breaks;
    if (bound.isChanging()) {
      LogCapture capture = new LogCapture(bound.table());
      statements.addAll(
          capture.statements(connection, log(connection, bound.table()), bound.sourceColumns()));
      breaks = capture.breaks(bound.sourceColumns());
    } else {
      AppendCapture capture = new AppendCapture(bound.table());
      statements.addAll(capture.columnAndTriggers(connection));
      statements.addAll(capture.index(connection));
      breaks = capture.breaks();
    }
    List<String> adds =
        new ArrayList<>(statements.stream().filter(sql -> !sql.startsWith("--")).toList());
    if (change == Plan.Change.CREATE) {
      statements.addAll(
          new RollupSql(bound, refreshers(connection), logAfter(connection, bound)).create());
    }
    if (!bound.table().hasIndexOn(connection, bound.rollup().source().time())) {
      warnings.add(
          "no index of "
              + bound.table().label()
              + " begins with "
              + bound.rollup().source().time()
              + ": backfill and verify will read the whole table for each slice; CREATE INDEX CONCURRENTLY ON "
              + bound.table().sqlName()
              + " ("
              + Sql.identifier(bound.rollup().source().time())
              + ") helps");
    }
    SizeEstimate size;
    try {
      size = SizeEstimate.of(connection, bound);
    } catch (SQLException e) {
      if (!Faults.state(e).startsWith("22")) {
        throw e;
      }
      connection.rollback();
      warnings.add(
          "an expression fails on some rows, which will go to quarantine: " + Faults.message(e));
      size = new SizeEstimate(Map.of(), 0);
    }
    List<String> means = new ArrayList<>(adds.isEmpty() ? List.of() : breaks);
    purges(connection, bound, change).ifPresent(means::add);
    return new Plan(
        bound.name(),
        bound.table().label(),
        change,
        statements,
        adds,
        means,
        warnings,
        difference(connection, bound).map(Difference::lines).orElse(List.of()),
        size.monthBytes(),
        size.sampled(),
        bound.rollup().localDaysReach());
  }

  /** That source rows are deleted from now on, if a definition says so that did not before. */
  private static Optional<String> purges(
      Connection connection, BoundRollup bound, Plan.Change change) throws SQLException {
    Keep keep = bound.rollup().source().keep();
    boolean isNew =
        change == Plan.Change.CREATE
            || difference(connection, bound)
                .filter(one -> !Objects.equals(one.before().source().keep(), keep))
                .isPresent();
    if (keep == null || !isNew) {
      return Optional.empty();
    }
    List<String> others =
        Schema.versionOf(connection) < Schema.version()
            ? List.of()
            : Sql.list(
                connection,
                "select r.name from tallyroll.rollup r join tallyroll.source s on s.id = r.source where s.relation = ?::oid::regclass and r.name <> ? order by 1",
                row -> row.getString(1),
                bound.table().oid(),
                bound.name());
    return Optional.of(
        "rows of "
            + bound.table().label()
            + " that are older than "
            + keep.days()
            + " days are deleted from it for good once they are counted"
            + (others.isEmpty()
                ? ""
                : ", unless the definition of "
                    + String.join(", ", others)
                    + ", over the same table, names a longer time"));
  }

  /**
   * Whom the policies of rollup tables let through, quoted: the role that installs, and those that
   * it has granted, or will grant by default, to write Tallyroll's state.
   */
  static String refreshers(Connection connection) throws SQLException {
    return Sql.one(
        connection,
        """
        select string_agg(quote_ident(role), ', ' order by role <> current_user, role) from (
          select current_user::text as role
          union
          select pg_get_userbyid(a.grantee)::text from pg_class c, aclexplode(c.relacl) a
          where c.oid = to_regclass('tallyroll.rollup') and a.privilege_type = 'UPDATE' and a.grantee not in (0, c.relowner)
          union
          select pg_get_userbyid(a.grantee)::text from pg_default_acl d, aclexplode(d.defaclacl) a
          where d.defaclnamespace = to_regnamespace('tallyroll') and d.defaclrole = current_user::regrole
            and d.defaclobjtype = 'r' and a.privilege_type = 'UPDATE' and a.grantee <> 0
        ) roles
        """,
        row -> row.getString(1));
  }

  /** What a definition asks for against what is there. */
  private static Plan.Change change(Connection connection, BoundRollup bound) throws SQLException {
    if (Schema.versionOf(connection) == 0) {
      return Plan.Change.CREATE;
    }
    Optional<String> live =
        Sql.first(
            connection,
            "select definition from tallyroll.rollup where name = ?",
            row -> row.getString(1),
            bound.name());
    if (live.isEmpty()) {
      return Plan.Change.CREATE;
    }
    return live.get().equals(bound.rollup().text()) ? Plan.Change.NONE : Plan.Change.CHANGE;
  }

  /**
   * Applies definitions, all of which are bound before the first is installed.
   *
   * @throws DefinitionException with all faults
   */
  public List<Applied> apply(List<Definition> definitions) {
    return apply(definitions, false);
  }

  /**
   * The same.
   *
   * @param startNow whether measures and dimensions may be added that cannot be computed for a time
   *     whose source rows are gone: they begin after it
   */
  public List<Applied> apply(List<Definition> definitions, boolean startNow) {
    List<BoundRollup> bound =
        database.transact(
            "apply",
            connection -> {
              List<BoundRollup> all = bindAll(connection, definitions);
              for (BoundRollup rollup : all) {
                SourceVisibility.check(connection, rollup.table());
              }
              return all;
            });
    Schema.migrate(database);
    database.transact("apply", LogCapture::renew);
    database.with("apply", Registry::names).stream()
        // What is being built has none.
        .filter(name -> !Registry.isBeside(name))
        .forEach(this::renew);
    return bound.stream().map(rollup -> apply(rollup, startNow)).toList();
  }

  /**
   * Makes the fresh views of a rollup anew if an earlier version of the program has made them.
   * Where readers are in the way, or the rollup has a fault of its own, the next apply does it.
   */
  private void renew(String rollup) {
    try {
      database.transact("apply", connection -> renew(connection, rollup));
    } catch (TallyrollException e) {
      if (e.getCause() instanceof SQLException fault && !Faults.isPassing(fault)) {
        throw e;
      }
    }
  }

  private boolean renew(Connection connection, String rollup) throws SQLException {
    Installed before = Registry.getOfAnyCluster(connection, rollup);
    if (published(connection, before).isCurrent()) {
      return false;
    }
    Redefinition.lockTables(connection, before.bound());
    Installed installed = Registry.getOfAnyCluster(connection, rollup);
    installed.checkSame(before);
    published(connection, installed).around(() -> {});
    return true;
  }

  private static Published published(Connection connection, Installed installed)
      throws SQLException {
    return new Published(
        connection,
        installed.bound(),
        new RollupSql(installed.bound(), refreshers(connection), installed.log().orElse(null)));
  }

  private Applied apply(BoundRollup bound, boolean startNow) {
    try {
      return install(bound, startNow);
    } catch (TallyrollException e) {
      try {
        dropUnusedCapture(database, bound);
      } catch (TallyrollException left) {
        e.addSuppressed(left);
      }
      throw e;
    }
  }

  /**
   * Drops change logs that no rollup reads, which a failed or killed apply has left: the
   * application's writers would go on filling them.
   */
  private static boolean dropUnused(Connection connection) throws SQLException {
    lockRollups(connection);
    List<String> unused =
        Schema.versionOf(connection) < Schema.version()
            ? List.of()
            : Sql.list(
                connection,
                "select s.log from tallyroll.source s where s.log is not null and not exists ("
                    + "select from tallyroll.rollup r where r.source = s.id and r.changes = 'any')",
                row -> row.getString(1));
    for (String log : unused) {
      for (String statement : LogCapture.drop(new ChangeLog(log, List.of()))) {
        Sql.run(connection, statement);
      }
      Sql.update(
          connection,
          "delete from tallyroll.leaf l using tallyroll.source s where s.id = l.source and s.log = ?",
          log);
      Sql.update(
          connection,
          "update tallyroll.source set log = null, log_columns = null, log_functions = null, log_triggers = null where log = ?",
          log);
    }
    return Sql.update(
            connection,
            "delete from tallyroll.source s where s.log is null and not exists (select from tallyroll.rollup r where r.source = s.id)")
        >= 0;
  }

  /** Removes the captures of a source that no rollup reads any more. */
  static void dropUnusedCapture(Database database, BoundRollup bound) {
    database.transact(
        "apply",
        connection -> {
          dropUnused(connection);
          dropUnreadColumn(connection, bound);
          return true;
        });
  }

  /** Nobody registers a rollup between the look who reads a capture and its end. */
  private static void lockRollups(Connection connection) throws SQLException {
    Sql.run(connection, LOCK_TIMEOUT);
    if (Schema.versionOf(connection) == Schema.version()) {
      Sql.run(connection, "lock table tallyroll.rollup in share row exclusive mode");
    }
  }

  /** Tells definitions apart. */
  static String hash(String definition) {
    return Integer.toHexString(definition.hashCode());
  }

  /** Removes what makes a table append-only, if no rollup reads it so. */
  private static void dropUnreadColumn(Connection connection, BoundRollup bound)
      throws SQLException {
    boolean isRead =
        Sql.one(
            connection,
            "select exists (select from tallyroll.rollup r join tallyroll.source s on s.id = r.source"
                + " where s.relation = ?::oid::regclass and r.changes = 'append')",
            row -> row.getBoolean(1),
            bound.table().oid());
    Optional<SourceTable> table = SourceTable.find(connection, bound.table().oid());
    if (!isRead && table.isPresent() && table.get().column(BoundRollup.XID_COLUMN).isPresent()) {
      for (String statement : new AppendCapture(table.get()).drop(connection)) {
        Sql.run(connection, statement);
      }
    }
  }

  private Applied install(BoundRollup bound, boolean startNow) {
    database.with("apply", connection -> checkCluster(connection, bound));
    Redefinition redefinition = new Redefinition(database, clock);
    // Before the capture: with it would go what nobody else reads.
    redefinition.dropBeside(bound.name(), bound.rollup().text());
    capture(bound);
    Optional<Difference> difference =
        database.with("apply", connection -> difference(connection, bound));
    Outcome outcome =
        switch (database.with("apply", connection -> change(connection, bound))) {
          case CREATE -> {
            create(bound);
            yield Outcome.INSTALLED;
          }
          case NONE -> {
            // What a change that was cut short has left.
            dropUnusedCapture(database, bound);
            yield Outcome.UNCHANGED;
          }
          case CHANGE -> redefinition.begin(bound, startNow) ? Outcome.BUILDING : Outcome.CHANGED;
        };
    return database.with(
        "apply",
        connection -> {
          Installed installed = Registry.get(connection, bound.name());
          List<String> lines = new ArrayList<>();
          difference.ifPresent(one -> {
            lines.addAll(one.lines());
            if (outcome == Outcome.CHANGED) {
              lines.addAll(reach(installed, one.before()));
            }
          });
          return new Applied(bound.name(), outcome, lines, installed.coverage().uncovered());
        });
  }

  /**
   * From when on the keep of each grain holds, for those that do not go back so far: a line each.
   */
  public List<String> reach(String rollup) {
    return database.with("apply", connection -> reach(Registry.get(connection, rollup), null));
  }

  /**
   * The same.
   *
   * @param before only of grains that are not the same there; null for all
   */
  private List<String> reach(Installed installed, @Nullable Rollup before) {
    long today = Grain.DAY.floor(Times.micros(clock.instant()));
    List<String> lines = new ArrayList<>();
    installed
        .bound()
        .rollup()
        .grains()
        .forEach((grain, keep) -> {
          long kept = installed.keptFrom().getOrDefault(grain, Long.MIN_VALUE);
          boolean isLonger =
              (before == null || !keep.equals(before.grains().get(grain)))
                  && kept > grain.ceil(today - keep.days() * Times.DAY);
          if (isLonger) {
            lines.add(
                "grain "
                    + grain.label()
                    + " goes back to "
                    + Times.format(kept)
                    + ", and "
                    + keep
                    + " from "
                    + Times.format(kept + keep.days() * Times.DAY)
                    + " on");
          }
        });
    return lines;
  }

  /** Rows of another cluster would look unread for ever. */
  private static boolean checkCluster(Connection connection, BoundRollup bound)
      throws SQLException {
    Optional<String> foreign =
        Sql.first(
            connection,
            "select r.name from tallyroll.rollup r join tallyroll.source s on s.id = r.source where s.relation = ?::oid::regclass"
                + " and tallyroll.is_moved(r.name)",
            row -> row.getString(1),
            bound.table().oid());
    if (foreign.isPresent()) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          bound.table().label()
              + " came from another cluster, with the rollup '"
              + foreign.get()
              + "'; first run: {tallyroll} reanchor "
              + foreign.get());
    }
    return true;
  }

  /** How a definition differs from the installed one, if there is one. */
  private static Optional<Difference> difference(Connection connection, BoundRollup bound)
      throws SQLException {
    return Schema.versionOf(connection) == Schema.version()
            && change(connection, bound) == Plan.Change.CHANGE
        ? Optional.of(
            new Difference(Registry.get(connection, bound.name()).bound().rollup(), bound.rollup()))
        : Optional.empty();
  }

  /** The change log that a source has; null for none. */
  private static @Nullable ChangeLog log(Connection connection, SourceTable table)
      throws SQLException {
    return Schema.versionOf(connection) < Schema.version()
        ? null
        : LogCapture.existing(connection, table).orElse(null);
  }

  /** The change log that a rollup will read; null if it reads the source itself. */
  static @Nullable ChangeLog logAfter(Connection connection, BoundRollup bound)
      throws SQLException {
    return bound.isChanging()
        ? LogCapture.after(
            connection, bound.table(), log(connection, bound.table()), bound.sourceColumns())
        : null;
  }

  private void capture(BoundRollup bound) {
    if (bound.isChanging()) {
      captureInLog(bound);
      return;
    }
    // Read anew: the rollup before this one may have added the column.
    AppendCapture capture =
        database.with(
            "apply",
            connection ->
                new AppendCapture(
                    SourceTable.find(connection, bound.table().oid()).orElse(bound.table())));
    database.transact(
        "apply",
        connection -> {
          Sql.run(connection, LOCK_TIMEOUT);
          for (String statement : capture.columnAndTriggers(connection)) {
            Sql.run(connection, statement);
          }
          return true;
        });
    database.with(
        "apply",
        connection -> {
          for (String statement : capture.index(connection)) {
            Sql.run(connection, statement);
          }
          return true;
        });
  }

  /** Never waits long for a strong lock, since writers would wait behind. */
  private static final String LOCK_TIMEOUT = "set local lock_timeout = '2s'";

  /**
   * Log and triggers in one transaction that first waits for those that write the source: what they
   * have written is history for the rollup that is made next.
   */
  private void captureInLog(BoundRollup bound) {
    LogCapture capture = new LogCapture(bound.table());
    database.transact(
        "apply",
        connection -> {
          Sql.run(connection, LOCK_TIMEOUT);
          ChangeLog before = LogCapture.existing(connection, bound.table()).orElse(null);
          List<Leaf> incomplete =
              before == null ? List.of() : Leaves.incomplete(connection, bound, before);
          for (String statement : capture.statements(connection, before, bound.sourceColumns())) {
            Sql.run(connection, statement);
          }
          ChangeLog log =
              LogCapture.after(connection, bound.table(), before, bound.sourceColumns());
          LogCapture.register(connection, log, bound.table().oid());
          Leaves.record(connection, bound, log, before == null, incomplete);
          return true;
        });
  }

  /**
   * The last step: all of the rollup's objects, its anchor and its history's extent in one
   * transaction.
   */
  private void create(BoundRollup bound) {
    Database.retrying(() -> {
      try (Connection connection = database.openToLock("apply")) {
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        connection.setAutoCommit(false);
        // Before the snapshot: what a purge removed meanwhile would be missing in it.
        Sql.run(
            connection,
            "set local lock_timeout = '10s'; lock table "
                + bound.table().sqlName()
                + logOf(bound)
                + " in access share mode");
        String anchor =
            Sql.one(connection, "select pg_current_snapshot()::text", row -> row.getString(1));
        Optional<Coverage.Days> history = history(connection, bound);
        for (String statement :
            new RollupSql(bound, refreshers(connection), logAfter(connection, bound)).create()) {
          Sql.run(connection, statement);
        }
        register(
            connection,
            bound,
            bound.rollup().text(),
            anchor,
            history,
            KeepTime.from(clock.instant()));
        quarantineOutside(connection, bound, history);
        connection.commit();
        return anchor;
      }
    });
  }

  /** The change log, which another rollup's refreshes would empty behind the anchor otherwise. */
  private String logOf(BoundRollup bound) {
    return database.with(
        "apply",
        connection -> {
          ChangeLog log = logAfter(connection, bound);
          return log == null ? "" : ", " + log.sqlName();
        });
  }

  /** The UTC days of the rows that the snapshot sees, infinite and far future times aside. */
  static Optional<Coverage.Days> history(Connection connection, BoundRollup bound)
      throws SQLException {
    record Extent(@Nullable OffsetDateTime from, @Nullable OffsetDateTime to) {}
    Extent extent =
        Sql.one(
            connection,
            FeedSql.extent(bound, "now()::timestamp + interval '2 days'"),
            row ->
                new Extent(
                    row.getObject(1, OffsetDateTime.class),
                    row.getObject(2, OffsetDateTime.class)));
    if (extent.from() == null || extent.to() == null) {
      return Optional.empty();
    }
    // A local time is within a day of the instant that it stands for.
    int margin = bound.rollup().source().zone() == null ? 0 : 1;
    LocalDate from = Times.day(Times.micros(extent.from().toInstant())).minusDays(margin);
    LocalDate to = Times.day(Times.micros(extent.to().toInstant())).plusDays(1 + margin);
    return Optional.of(new Coverage.Days(from, to));
  }

  /**
   * What lies outside all days, infinite times and those too far ahead, is in no slice of history
   * and never read again: it goes to quarantine now.
   */
  static void quarantineOutside(
      Connection connection, BoundRollup bound, Optional<Coverage.Days> history)
      throws SQLException {
    String inside =
        history
            .map(days -> FeedSql.inRange(bound, Times.micros(days.from()), Times.micros(days.to())))
            .orElse("false");
    Sql.run(connection, "set local search_path = " + bound.searchPath());
    Sql.run(
        connection,
        "insert into tallyroll.quarantine (rollup, reason, tenant, source_row) "
            + FeedSql.source(bound, "not (" + inside + ")")
                .select(
                    Sql.literal(bound.name())
                        + ", 'the time lies more than a day ahead, or is infinite', left("
                        + bound.keySql().getFirst()
                        + "::text, 200), "
                        + FeedSql.image(bound)));
    Sql.run(connection, "set local search_path = public, pg_temp");
  }

  /** Writes a new rollup down; its definition may go under the name that it is to have later. */
  static void register(
      Connection connection,
      BoundRollup bound,
      String definition,
      String anchor,
      Optional<Coverage.Days> history,
      KeepTime keepTime)
      throws SQLException {
    Sql.update(
        connection,
        "insert into tallyroll.source (relation) values (?::oid::regclass) on conflict (relation) do nothing",
        bound.table().oid());
    Sql.update(
        connection,
        """
        insert into tallyroll.rollup
          (name, source, definition, definition_hash, types, columns, changes, system_identifier, anchor, cursor, history_from, history_to)
        select ?, id, ?, ?, ?, ?, ?, ?, ?::pg_snapshot, ?::pg_snapshot, ?, ?
        from tallyroll.source where relation = ?::oid::regclass
        """,
        bound.name(),
        definition,
        hash(definition),
        connection.createArrayOf("text", Registry.types(bound)),
        connection.createArrayOf("text", bound.sourceColumns().toArray()),
        bound.rollup().source().changes().label(),
        Registry.systemIdentifier(connection),
        anchor,
        anchor,
        history.map(Coverage.Days::from).orElse(null),
        history.map(Coverage.Days::to).orElse(null),
        bound.table().oid());
    for (Grain grain : bound.rollup().grains().keySet()) {
      Registry.addGrain(connection, bound.name(), grain, Long.MIN_VALUE);
    }
    Sql.update(connection, "insert into tallyroll.refresh (rollup) values (?)", bound.name());
    Registry.setKeepTime(connection, bound.name(), keepTime);
  }

  /**
   * Gives the fresh views of a rollup a column that says of each bucket whether it was adopted. It
   * stays, and so do views of others over them.
   */
  public void markAdopted(String name) {
    database.transact(
        "adopt",
        connection -> {
          BoundRollup bound = Registry.get(connection, name).bound();
          // The timeout is shorter than PostgreSQL waits before it ends somebody for a deadlock.
          Sql.run(
              connection,
              "set local lock_timeout = '500ms'; lock table "
                  + bound.lockName()
                  + " in exclusive mode");
          bound = Registry.get(connection, name).bound();
          RollupSql sql = new RollupSql(bound, refreshers(connection), logAfter(connection, bound));
          Published published = new Published(connection, bound, sql);
          for (Grain grain : bound.rollup().grains().keySet()) {
            published.view(grain, true);
          }
          return true;
        });
  }

  /**
   * What dropping a rollup would remove.
   *
   * @param rollup its name
   * @param objects what goes, for people
   * @param statements the SQL, in order
   */
  public record Removal(String rollup, List<String> objects, List<String> statements) {
    /** Copies the lists. */
    public Removal {
      objects = List.copyOf(objects);
      statements = List.copyOf(statements);
    }
  }

  /**
   * What {@link #drop} would remove: the rollup, and with the last rollup of a source its capture.
   */
  public Removal removal(String name) {
    return database.with("drop", connection -> removal(connection, name));
  }

  private Removal removal(Connection connection, String name) throws SQLException {
    record Row(
        String definition, long relation, boolean isLastOfItsCapture, @Nullable String log) {}
    List<String> names = Registry.names(connection);
    Optional<Row> found =
        names.contains(name)
            ? Sql.first(
                connection,
                """
                select r.definition, s.relation::oid::bigint,
                       not exists (select from tallyroll.rollup o where o.source = r.source and o.changes = r.changes and o.name <> r.name),
                       case when r.changes = 'any' then s.log end
                from tallyroll.rollup r join tallyroll.source s on s.id = r.source where r.name = ?
                """,
                row ->
                    new Row(row.getString(1), row.getLong(2), row.getBoolean(3), row.getString(4)),
                name)
            : Optional.empty();
    if (found.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME, "no rollup '" + name + "'" + Names.didYouMean(name, names));
    }
    Rollup rollup =
        DefinitionReader.read("rollup " + name, found.get().definition())
            .getFirst()
            .rollup()
            .named(name);
    Optional<SourceTable> table = SourceTable.find(connection, found.get().relation());
    List<String> objects = new ArrayList<>();
    SourceTable shown =
        table.orElseGet(
            () -> new SourceTable(0, "public", rollup.source().table(), 'r', List.of()));
    BoundRollup bound =
        new BoundRollup(rollup, shown, ColumnType.TEXT, List.of(), List.of(), List.of());
    Published published = new Published(connection, bound, new RollupSql(bound, "", null));
    for (Grain grain : rollup.grains().keySet()) {
      published.checkThatNothingStandsOn(grain, "drop that first");
      objects.add(
          "table "
              + bound.grainTable(grain)
              + " with its partitions, its view _fresh and its function _tail");
    }
    List<String> statements = new ArrayList<>(new RollupSql(bound, "", null).drop());
    statements.add("delete from tallyroll.rollup where name = " + Sql.literal(name));
    if (found.get().isLastOfItsCapture()) {
      if (found.get().log() != null) {
        ChangeLog log = new ChangeLog(found.get().log(), List.of());
        objects.add("the change log " + log.sqlName() + ", and the triggers that write to it");
        statements.addAll(LogCapture.drop(log));
        statements.add(
            "update tallyroll.source set log = null, log_columns = null, log_functions = null, log_triggers = null where log = "
                + Sql.literal(log.name()));
      } else if (table.isPresent()) {
        objects.add(
            "from "
                + table.get().label()
                + ": column "
                + BoundRollup.XID_COLUMN
                + " with its index and check, and the triggers that refuse changes");
        statements.addAll(new AppendCapture(table.get()).drop(connection));
      }
    }
    statements.add(
        "delete from tallyroll.source s where not exists (select from tallyroll.rollup r where r.source = s.id)");
    return new Removal(name, objects, statements);
  }

  /**
   * Removes a rollup and everything that it installed, in one transaction. Tallyroll's own schema
   * stays.
   */
  public Removal drop(String name) {
    return database.transact(
        "drop",
        connection -> {
          dropUnused(connection);
          Sql.run(connection, "set local lock_timeout = '5s'");
          String beside = Registry.beside(name);
          if (Registry.names(connection).contains(beside)) {
            for (String statement : removal(connection, beside).statements()) {
              Sql.run(connection, statement);
            }
          }
          Removal removal = removal(connection, name);
          for (String statement : removal.statements()) {
            Sql.run(connection, statement);
          }
          return removal;
        });
  }
}
