package dev.tallyroll.postgres.events;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.function.BooleanSupplier;

/** What the event log needs from time to time. Thread-safe. */
public final class EventUpkeep {
  /** How much longer than events are taken their keys are remembered. */
  public static final Duration KEYS_LONGER = Duration.ofDays(2);

  private static final int DAYS_AHEAD = 2;
  private static final int PAGES = 50;

  private EventUpkeep() {}

  /** Makes the partitions of today and the next days, as any role of a server. */
  public static void makeDays(Connection connection, Instant now) throws SQLException {
    LocalDate today = LocalDate.ofInstant(now, ZoneOffset.UTC);
    for (int ahead = 0; ahead <= DAYS_AHEAD; ahead++) {
      makeDay(connection, today.plusDays(ahead));
    }
  }

  /** Makes the partition of a UTC day, if it is not there. */
  static void makeDay(Connection connection, LocalDate day) throws SQLException {
    Sql.one(
        connection,
        "select tallyroll.make_event_day(?::date)",
        row -> row.getBoolean(1),
        day.toString());
  }

  /**
   * Deletes the keys of events that are too old to come again, a few thousand rows in a
   * transaction: the table is walked from its first page to its last, since an index on the time
   * would cost more at every event than the walk does once in a while. For the installer.
   *
   * @param before keys of events that were received before this time go
   * @param goesOn is asked before each transaction
   * @return how many went
   */
  public static long purgeKeys(Database database, Instant before, BooleanSupplier goesOn) {
    long pages =
        database.with(
            "serve",
            connection ->
                Sql.one(
                    connection,
                    "select pg_relation_size('tallyroll.event_key') / current_setting('block_size')::bigint",
                    row -> row.getLong(1)));
    long gone = 0;
    for (long page = 0; page < pages && goesOn.getAsBoolean(); page += PAGES) {
      String from = "(" + page + ",0)";
      String to = "(" + (page + PAGES) + ",0)";
      gone +=
          database.transact(
              "serve",
              connection ->
                  Sql.update(
                      connection,
                      "delete from tallyroll.event_key where ctid >= ?::tid and ctid < ?::tid and received_at < ?::timestamptz",
                      from,
                      to,
                      before.toString()));
    }
    return gone;
  }
}
