package dev.tallyroll.postgres.install;

import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionException;
import dev.tallyroll.model.definition.Difference;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.postgres.capture.AppendCapture;
import dev.tallyroll.postgres.capture.LogCapture;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/** Shows what applying definitions would do, and changes nothing. */
public final class Planner {
  private final Database database;

  /** A planner for a database. */
  public Planner(Database database) {
    this.database = database;
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
            List<BoundRollup> bound = Installer.bindAll(connection, definitions);
            for (BoundRollup rollup : bound) {
              plans.add(plan(connection, rollup));
            }
            return plans;
          } finally {
            connection.rollback();
          }
        });
  }

  private static Plan plan(Connection connection, BoundRollup bound) throws SQLException {
    Plan.Change change = Installer.change(connection, bound);
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
          capture.statements(
              connection, Installer.log(connection, bound.table()), bound.sourceColumns()));
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
          new RollupSql(
                  bound, Installer.refreshers(connection), Installer.logAfter(connection, bound))
              .create());
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
        Installer.difference(connection, bound).map(Difference::lines).orElse(List.of()),
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
            || Installer.difference(connection, bound)
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
}
