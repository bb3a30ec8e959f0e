package dev.tallyroll.postgres.events;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.event.Event;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * Appends events of any age to the event log, for the installer. Each is counted once: the keys of
 * older events are forgotten, so that they are looked for in the log itself. For one thread; must
 * be closed.
 */
public final class EventImport implements AutoCloseable {
  /** How old events may be: for older ones there are no partitions. */
  public static final Duration OLDEST = Duration.ofDays(3_990);

  private final Connection connection;
  private final EventLog log;
  private final String tenant;
  private final List<Leaf.Range> purged;
  private final int keptDays;

  /**
   * Opens a connection.
   *
   * @param database as the installer
   * @param tenant whose events they are
   * @throws TallyrollException if there is no such tenant
   */
  public EventImport(Database database, String tenant) {
    if (!database.with("import", connected -> Tenants.isThere(connected, tenant))) {
      throw new TallyrollException(
          ErrorCode.UNKNOWN_NAME,
          "no tenant '" + tenant + "'; make it first: {tallyroll} tenant create " + tenant);
    }
    this.tenant = tenant;
    this.purged = database.with("import", EventImport::purged);
    this.keptDays = database.with("import", EventImport::keptDays);
    try {
      this.connection = database.openToLock("import");
      this.log = EventLog.ofImport(connection);
    } catch (SQLException e) {
      throw Faults.of(e);
    }
  }

  private static List<Leaf.Range> purged(Connection connection) throws SQLException {
    return Sql.list(
            connection,
            "select l.range_from, l.range_to from tallyroll.seal l join tallyroll.source s on s.id = l.source"
                + " where s.relation = 'tallyroll.event'::regclass",
            row -> Leaf.Range.stored(row, 1))
        .stream()
        .flatMap(Optional::stream)
        .toList();
  }

  /**
   * Whether the events of a time were purged: nobody can tell any more which of them were counted.
   *
   * @param time in microseconds since the epoch
   */
  public boolean isPurged(long time) {
    return purged.stream().anyMatch(range -> range.from() <= time && time < range.to());
  }

  /**
   * Appends some events in one transaction, which is committed when this returns. Those of days
   * that were purged meanwhile are left out.
   *
   * @param receivedAt in microseconds since the epoch
   * @return how many of them were new
   */
  public long append(List<Event> events, long receivedAt) {
    EventBatch batch = new EventBatch(tenant, receivedAt, 0);
    events.forEach(batch::add);
    return Database.retrying(() -> {
      try {
        return log.append(List.of(batch));
      } catch (SQLException e) {
        if (!Faults.state(e).equals(EventLog.NO_PARTITION)) {
          throw e;
        }
        // A purge has dropped a day since the batch before: what was of it is not taken.
        return log.append(List.of(batch));
      }
    });
  }

  /**
   * For how many days rows of the log are kept at the most: older ones that are imported are
   * counted, and purged within the hour; then nothing more of their days can be imported. 0 for
   * ever.
   */
  public int keptDays() {
    return keptDays;
  }

  private static int keptDays(Connection connection) throws SQLException {
    Optional<Long> source =
        Sql.first(
            connection,
            "select id from tallyroll.source where relation = 'tallyroll.event'::regclass",
            row -> row.getLong(1));
    return source.isPresent() ? Registry.keepDays(connection, source.get()) : 0;
  }

  @Override
  public void close() throws SQLException {
    connection.close();
  }
}
