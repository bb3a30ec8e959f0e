package dev.tallyroll.postgres.events;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.Optional;
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
   * Before which time of receipt keys are purged, or will be; empty if none ever were. As any role
   * of a server.
   */
  public static Optional<Instant> keysPurgedBefore(Connection connection) throws SQLException {
    return Sql.first(
        connection,
        "select before from tallyroll.event_key_purge",
        row -> row.getTimestamp(1).toInstant());
  }

  /**
   * Deletes the keys of events that are too old to come again, a few thousand rows in a
   * transaction: the table is walked from its first page to its last, since an index on the time
   * would cost more at every event than the walk does once in a while. For the installer.
   *
   * <p>What goes is what was announced an hour ago at least, by whichever server; then more is
   * announced. So every server knows by then that it cannot tell any more whether such events are
   * new ones, however long its own settings would have them remembered. What is announced is never
   * taken back: it is at most a few days more than the oldest key there is, whatever the clocks
   * say.
   *
   * @param now a server's clock; where the database's is behind it, that one counts
   * @param age keys of events that were received longer ago are to go
   * @param goesOn is asked before each transaction
   * @return how many went
   */
  public static long purgeKeys(
      Database database, Instant now, Duration age, BooleanSupplier goesOn) {
    record Announced(Instant before, boolean isDue) {}
    Optional<Announced> announced =
        database.with(
            "serve",
            connection ->
                Sql.first(
                    connection,
                    "select before, said_at <= clock_timestamp() - interval '1 hour' from tallyroll.event_key_purge",
                    row -> new Announced(row.getTimestamp(1).toInstant(), row.getBoolean(2))));
    long gone = 0;
    if (announced.isPresent()) {
      if (!announced.get().isDue()) {
        return 0;
      }
      gone = purgeAnnounced(database, announced.get().before(), goesOn);
    }
    database.transact(
        "serve",
        connection ->
            Sql.update(
                connection,
                """
                insert into tallyroll.event_key_purge (before)
                select least(least(?::timestamptz, clock_timestamp()) - ?::interval, min(received_at) + interval '8 days')
                from tallyroll.event_key having min(received_at) is not null
                on conflict (is_only) do update set before = greatest(event_key_purge.before, excluded.before), said_at = clock_timestamp()
                """,
                now.toString(),
                age.toString()));
    return gone;
  }

  private static long purgeAnnounced(Database database, Instant before, BooleanSupplier goesOn) {
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
