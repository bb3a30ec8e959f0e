package dev.tallyroll.postgres.events;

import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.List;

/** What was acknowledged and could not be counted. */
public final class EventQuarantine {
  private EventQuarantine() {}

  /**
   * An entry.
   *
   * @param id its number
   * @param tenant whose it is
   * @param at when it came
   * @param kind what it was: {@code span}
   * @param reason why it could not be counted
   * @param payload it itself, maybe cut
   */
  public record Entry(
      long id, String tenant, Instant at, String kind, String reason, String payload) {}

  /** The newest entries that the connection's role sees, before one of a number. */
  public static List<Entry> newest(Connection connection, String tenant, long before, int most)
      throws SQLException {
    return Sql.list(
        connection,
        "select id, tenant, quarantined_at, kind, reason, payload from tallyroll.event_quarantine"
            + " where (? = '' or tenant = ?) and id < ? order by id desc limit ?",
        row ->
            new Entry(
                row.getLong(1),
                row.getString(2),
                row.getObject(3, OffsetDateTime.class).toInstant(),
                row.getString(4),
                row.getString(5),
                row.getString(6)),
        tenant,
        tenant,
        before,
        most);
  }

  /**
   * Deletes what is old, and of each tenant what is more than may stay. For the installer.
   *
   * @return how many entries went
   */
  public static int purge(Connection connection, Duration keep, int most) throws SQLException {
    return Sql.update(
        connection,
        """
        delete from tallyroll.event_quarantine q
        using (
          select id, quarantined_at, row_number() over (partition by tenant order by id desc) as place
          from tallyroll.event_quarantine
        ) ranked
        where ranked.id = q.id
          and (ranked.place > ? or ranked.quarantined_at < clock_timestamp() - ? * interval '1 second')
        """,
        most,
        keep.toSeconds());
  }
}
