package dev.tallyroll.postgres.registry;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.Leaf;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.List;

/**
 * Buckets of a rollup that were taken over from another table. Immutable.
 *
 * @param range their time
 * @param origin the table that they come from, for people
 * @param grain the label of the width of its rows
 * @param rows how many of its rows were taken
 * @param at when
 */
public record Adoption(Leaf.Range range, String origin, String grain, long rows, Instant at) {
  /** The adoptions of a rollup, oldest range first. */
  public static List<Adoption> of(Connection connection, String rollup) throws SQLException {
    return Sql.list(
        connection,
        "select range_from, range_to, origin, grain, rows, adopted_at from tallyroll.adopted where rollup = ? order by range_from",
        row ->
            new Adoption(
                new Leaf.Range(
                    Times.micros(row.getObject(1, OffsetDateTime.class).toInstant()),
                    Times.micros(row.getObject(2, OffsetDateTime.class).toInstant())),
                row.getString(3),
                row.getString(4),
                row.getLong(5),
                row.getObject(6, OffsetDateTime.class).toInstant()),
        rollup);
  }

  /** Whether it holds a part of a range. */
  public boolean touches(long from, long to) {
    return range.from() < to && from < range.to();
  }
}
