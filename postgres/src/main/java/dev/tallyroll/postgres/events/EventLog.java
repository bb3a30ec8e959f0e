package dev.tallyroll.postgres.events;

import dev.tallyroll.model.event.EventColumn;
import dev.tallyroll.model.event.EventKey;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.roles.ServerRoles;
import dev.tallyroll.postgres.wire.RowBuffer;
import dev.tallyroll.postgres.wire.RowWriter;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Appends events to the log, each once. For one thread: it has a connection of its own, which the
 * caller opens and closes.
 *
 * <p>How. All that is appended in a transaction is staged in a temporary table by COPY, which a
 * table with row-level security refuses; the keys are claimed in order, and only for claimed keys
 * are there rows in the log. The connection is the role {@link ServerRoles#INGEST} all the time,
 * which may only append, and whose policies let it append for the tenants of one list alone: those
 * whose requests are in the transaction.
 */
final class EventLog {
  private static final String APPEND = append("", "");

  /** After the statement that it follows, without waiting for its answer. */
  private static final String COMMIT = "; commit";

  /** As a query with a parameter it is parsed once for a connection, and not for each group. */
  private static final String FOR_TENANTS = "select set_config('tallyroll.tenants', ?, true)";

  /** Of what was purged nobody can tell any more whether it was counted. */
  private static final String UNLESS_PURGED =
      " and not exists (select from tallyroll.seal l join tallyroll.source s on s.id = l.source where s.relation = 'tallyroll.event'::regclass and time >= l.range_from and time < l.range_to)";

  /** Older keys are forgotten: what is in the log itself is no new event either. */
  private static final String UNLESS_THERE =
      " and not exists (select from tallyroll.event e where e.tenant = i.tenant and e.source = i.source and e.id = i.id and e.time = i.time and (%s))";

  private static String append(String eligible, String unless) {
    return Sql.resource(
        "events/append.sql",
        Map.of(
            "columns",
            columns(""),
            "incoming",
            columns("i."),
            "eligible",
            eligible,
            "unless",
            unless));
  }

  private static String columns(String prefix) {
    return EventBatch.COLUMNS.stream()
        .filter(column -> !column.equals("key"))
        .map(column -> prefix + column)
        .collect(Collectors.joining(", "));
  }

  /** Whose rows are whose stands first, so that a look at those of others reads no more of them. */
  private static final String STAGING =
      "create temporary table incoming (staged_by xid8 default pg_current_xact_id(), tenant text collate \"C\", key uuid, source text, id text, time timestamptz, received_at timestamptz, type text, subject text, "
          + Arrays.stream(EventColumn.values())
              .map(column ->
                  column.label()
                      + " "
                      + switch (column.type()) {
                        case TEXT -> "text";
                        case WHOLE -> "bigint";
                        case REAL -> "double precision";
                        case DECIMAL -> "numeric";
                      })
              .collect(Collectors.joining(", "))
          + ", attributes jsonb)";

  /**
   * To empty the staging table costs as much as a small group: it is done once there is so much in
   * it that looking through that would cost more.
   */
  private static final int MOST_STAGED = 2_000;

  /** No partition takes a row: it was dropped since its day was known to be there. */
  static final String NO_PARTITION = "23514";

  private static final int NETWORK_TIMEOUT_MS = 90_000;

  private final Connection connection;

  /** Whether it appends as the installer, events of any age. */
  private final boolean isImport;

  /** The days whose partitions are there, shared by all connections of a process. */
  private final Set<Long> knownDays;

  /** How many rows the staging table holds, of transactions before too. */
  private long staged;

  private record Key(String tenant, EventKey key) {}

  /**
   * A log on a connection, which it prepares.
   *
   * @param knownDays the days whose partitions are known to be there; is added to
   */
  EventLog(Connection connection, Set<Long> knownDays) throws SQLException {
    this(connection, knownDays, false);
  }

  /** A log for the installer, which takes in events whose keys are forgotten. */
  static EventLog ofImport(Connection connection) throws SQLException {
    return new EventLog(connection, newDays(), true);
  }

  private EventLog(Connection connection, Set<Long> knownDays, boolean isImport)
      throws SQLException {
    this.connection = connection;
    this.knownDays = knownDays;
    this.isImport = isImport;
    connection.setAutoCommit(false);
    if (!isImport) {
      // Longer than any statement may take: a host that has vanished says nothing.
      connection.setNetworkTimeout(Runnable::run, NETWORK_TIMEOUT_MS);
    }
    Sql.run(
        connection,
        // Nobody has counted what the staging table holds: a nested loop would look at all of it
        // for
        // each of its rows.
        "set synchronous_commit = on; set enable_nestloop = off; set temp_buffers = '32MB'; set lock_timeout = '10s'; set statement_timeout = '60s'; "
            + (isImport ? "" : "set role " + ServerRoles.INGEST + "; ")
            + STAGING);
    connection.commit();
  }

  /** An empty set for the constructor. */
  static Set<Long> newDays() {
    return ConcurrentHashMap.newKeySet();
  }

  /**
   * Appends some batches in one transaction, which is committed when this returns.
   *
   * @return how many events were new
   */
  long append(List<EventBatch> batches) throws SQLException {
    makeDays(batches);
    try {
      return appendAndCommit(batches);
    } catch (SQLException e) {
      rollback(e);
      throw e;
    }
  }

  private void rollback(SQLException fault) {
    // Whether it was emptied is not known any more; the next group does it.
    staged = Long.MAX_VALUE / 2;
    if (Faults.state(fault).equals(NO_PARTITION)) {
      // Who tries again finds out which days are there.
      knownDays.clear();
    }
    Database.rollback(connection, fault);
  }

  /** In transactions of their own, before any row. */
  private void makeDays(List<EventBatch> batches) throws SQLException {
    Set<Long> missing = new TreeSet<>();
    batches.forEach(batch -> missing.addAll(batch.days()));
    missing.removeAll(knownDays);
    for (long day : missing) {
      try {
        if (!isImport) {
          // Who appends may make nothing; a server may.
          Sql.run(connection, "set local role none");
        }
        EventUpkeep.makeDay(connection, Times.day(day));
        connection.commit();
      } catch (SQLException e) {
        rollback(e);
        throw e;
      }
      knownDays.add(day);
    }
  }

  private long appendAndCommit(List<EventBatch> batches) throws SQLException {
    String emptied = staged > MOST_STAGED ? "truncate pg_temp.incoming; " : "";
    if (isImport) {
      Sql.run(connection, emptied + "set local statement_timeout = 0");
    } else {
      Set<String> tenants = new TreeSet<>();
      batches.forEach(batch -> tenants.add(batch.tenant()));
      Sql.one(
          connection, emptied + FOR_TENANTS, row -> row.getString(1), String.join(",", tenants));
    }
    staged = staged > MOST_STAGED ? 0 : staged;
    long copied = stage(batches);
    staged += copied;
    quarantine(batches);
    if (copied == 0) {
      connection.commit();
      return 0;
    }
    try (PreparedStatement statement =
        connection.prepareStatement((isImport ? appendOld(batches) : APPEND) + COMMIT)) {
      statement.setLong(1, copied);
      return statement.executeLargeUpdate();
    }
  }

  private static String appendOld(List<EventBatch> batches) {
    // Its days by name, so that the planner leaves the other partitions out.
    return append(
        UNLESS_PURGED,
        UNLESS_THERE.formatted(
            batches.stream()
                .flatMap(batch -> batch.days().stream())
                .distinct()
                .map(day ->
                    "e.time >= '"
                        + Times.format(day)
                        + "' and e.time < '"
                        + Times.format(Grain.DAY.end(day))
                        + "'")
                .collect(Collectors.joining(" or "))));
  }

  private void quarantine(List<EventBatch> batches) throws SQLException {
    for (EventBatch batch : batches) {
      List<EventBatch.Refused> refused = batch.refused();
      if (!refused.isEmpty()) {
        Sql.update(
            connection,
            "insert into tallyroll.event_quarantine (tenant, kind, reason, payload) select ?, r.kind, r.reason, r.payload from unnest(?::text[], ?::text[], ?::text[]) r (kind, reason, payload)",
            batch.tenant(),
            array(refused.stream().map(EventBatch.Refused::kind)),
            array(refused.stream().map(EventBatch.Refused::reason)),
            array(refused.stream().map(EventBatch.Refused::payload)));
      }
    }
  }

  private java.sql.Array array(Stream<String> texts) throws SQLException {
    return connection.createArrayOf("text", texts.toArray());
  }

  /** Copies the first event of each key. */
  private long stage(List<EventBatch> batches) throws SQLException {
    if (batches.stream().allMatch(batch -> batch.size() == 0)) {
      return 0;
    }
    Set<Key> seen = new HashSet<>();
    try (RowWriter writer =
        RowWriter.of(
            connection, "pg_temp.incoming (" + String.join(", ", EventBatch.COLUMNS) + ")")) {
      for (EventBatch batch : batches) {
        RowBuffer rows = batch.rows();
        int from = 0;
        for (int i = 0; i < batch.size(); i++) {
          if (!seen.add(new Key(batch.tenant(), batch.key(i)))) {
            writer.writeRows(rows, from, batch.start(i) - from);
            from = batch.end(i);
          }
        }
        writer.writeRows(rows, from, rows.size() - from);
      }
      return writer.end();
    }
  }
}
