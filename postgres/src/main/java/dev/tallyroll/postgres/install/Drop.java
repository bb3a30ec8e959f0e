package dev.tallyroll.postgres.install;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.capture.AppendCapture;
import dev.tallyroll.postgres.capture.LogCapture;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Removes a rollup, and captures that no rollup reads any more. Thread-safe. */
public final class Drop {
  private final Database database;

  /** Removes from a database. */
  public Drop(Database database) {
    this.database = database;
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
   * What {@link #run} would remove: the rollup, and with the last rollup of a source its capture.
   *
   * @throws TallyrollException if there is no such rollup, or something of others stands on it
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
      } else if (table.isPresent() && !table.get().isEventLog()) {
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
   *
   * @throws TallyrollException if there is no such rollup, something of others stands on it, or
   *     those who read it leave no moment for its locks; then nothing is removed
   */
  public Removal run(String name) {
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
    Sql.run(connection, Installer.LOCK_TIMEOUT);
    if (Schema.versionOf(connection) == Schema.version()) {
      Sql.run(connection, "lock table tallyroll.rollup in share row exclusive mode");
    }
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
}
