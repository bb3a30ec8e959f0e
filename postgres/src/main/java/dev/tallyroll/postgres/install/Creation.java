package dev.tallyroll.postgres.install;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.ChangeLog;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Coverage;
import dev.tallyroll.postgres.registry.KeepTime;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** The rows of the registry and the objects with which a rollup begins. */
final class Creation {
  private Creation() {}

  /**
   * The last step: all of the rollup's objects, its anchor and its history's extent in one
   * transaction.
   */
  static void create(Database database, BoundRollup bound, InstantSource clock) {
    Database.retrying(() -> {
      try (Connection connection = database.openToLock("apply")) {
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        connection.setAutoCommit(false);
        // Before the snapshot: what a purge removed meanwhile would be missing in it.
        Sql.run(
            connection,
            "set local lock_timeout = '10s'; lock table "
                + bound.table().sqlName()
                + logOf(database, bound)
                + " in access share mode");
        String anchor =
            Sql.one(connection, "select pg_current_snapshot()::text", row -> row.getString(1));
        Optional<Coverage.Days> history = history(connection, bound);
        for (String statement :
            new RollupSql(
                    bound, Installer.refreshers(connection), Installer.logAfter(connection, bound))
                .create()) {
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
  private static String logOf(Database database, BoundRollup bound) {
    return database.with(
        "apply",
        connection -> {
          ChangeLog log = Installer.logAfter(connection, bound);
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
          (name, source, definition, definition_hash, types, columns, changes, system_identifier, anchor, cursor, history_from, history_to, installed_at)
        select ?, id, ?, ?, ?, ?, ?, ?, ?::pg_snapshot, ?::pg_snapshot, ?, ?, clock_timestamp()
        from tallyroll.source where relation = ?::oid::regclass
        """,
        bound.name(),
        definition,
        Installer.hash(definition),
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
}
