package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Rollup;
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
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.postgres.roles.ServerRoles;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Applies definitions.
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

  static List<BoundRollup> bindAll(Connection connection, List<Definition> definitions)
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

  /**
   * Whom the policies of rollup tables let through, quoted: the role that installs, and those that
   * it has granted, or will grant by default, to write Tallyroll's state.
   */
  static String refreshers(Connection connection) throws SQLException {
    return Sql.one(
        connection,
        """
        select string_agg(quote_ident(role), ', ' order by role <> current_user, role) from (
          select coalesce((select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'tallyroll'), current_user) as role
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
  static Plan.Change change(Connection connection, BoundRollup bound) throws SQLException {
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
    for (String name : database.with("apply", Registry::names)) {
      admit(name);
      // What is being built has none.
      if (!Registry.isBeside(name)) {
        renew(name);
      }
    }
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
    ReaderLock.take(connection, before.bound());
    Installed installed = Registry.getOfAnyCluster(connection, rollup);
    installed.checkSame(before);
    published(connection, installed).around(() -> {});
    return true;
  }

  private void admit(String rollup) {
    try {
      database.transact(
          "apply",
          connection -> {
            admit(connection, Registry.getOfAnyCluster(connection, rollup).bound());
            return true;
          });
    } catch (TallyrollException e) {
      // One with a fault of its own keeps no other from being applied.
      if (e.getCause() instanceof SQLException) {
        throw e;
      }
    }
  }

  /**
   * Lets the installer through the row-level security of a rollup's tables, and the refreshers too
   * where there is no policy for them at all: a dump that was restored under other roles has lost
   * it, or brought one for others.
   */
  static void admit(Connection connection, BoundRollup bound) throws SQLException {
    String refreshers = refreshers(connection);
    for (Grain grain : bound.rollup().grains().keySet()) {
      Optional<String> statement =
          Sql.first(
              connection,
              """
              select case when p.oid is null
                  then 'create policy refresher on ' || c.oid::regclass || ' to ' || ? || ' using (true) with check (true)'
                  else 'alter policy refresher on ' || c.oid::regclass || ' to ' || quote_ident(installer) || (
                    select string_agg(', ' || quote_ident(pg_get_userbyid(o)), '' order by o) from unnest(p.polroles) o) end
              from (select pg_get_userbyid(nspowner) as installer from pg_namespace where nspname = 'tallyroll') own
              join pg_class c on c.oid = to_regclass(?)
              left join pg_policy p on p.polrelid = c.oid and p.polname = 'refresher'
              where p.oid is null or not exists (
                select from unnest(p.polroles) o where o = 0 or pg_has_role(installer, o, 'usage'))
              """,
              row -> row.getString(1),
              refreshers,
              bound.grainTable(grain));
      if (statement.isPresent()) {
        Sql.run(connection, LOCK_TIMEOUT);
        Sql.run(connection, statement.get());
      }
    }
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
        Drop.dropUnusedCapture(database, bound);
      } catch (TallyrollException left) {
        e.addSuppressed(left);
      }
      throw e;
    }
  }

  /** Tells definitions apart. */
  static String hash(String definition) {
    return Integer.toHexString(definition.hashCode());
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
            Creation.create(database, bound, clock);
            yield Outcome.INSTALLED;
          }
          case NONE -> {
            // What a change that was cut short has left.
            Drop.dropUnusedCapture(database, bound);
            yield Outcome.UNCHANGED;
          }
          case CHANGE -> redefinition.begin(bound, startNow) ? Outcome.BUILDING : Outcome.CHANGED;
        };
    return database.with(
        "apply",
        connection -> {
          ServerRoles.grantRollups(connection);
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
  static Optional<Difference> difference(Connection connection, BoundRollup bound)
      throws SQLException {
    return Schema.versionOf(connection) == Schema.version()
            && change(connection, bound) == Plan.Change.CHANGE
        ? Optional.of(
            new Difference(Registry.get(connection, bound.name()).bound().rollup(), bound.rollup()))
        : Optional.empty();
  }

  /** The change log that a source has; null for none. */
  static @Nullable ChangeLog log(Connection connection, SourceTable table) throws SQLException {
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
  static final String LOCK_TIMEOUT = "set local lock_timeout = '2s'";

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
}
