package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.session.Faults;
import dev.tallyroll.postgres.session.Sql;
import dev.tallyroll.postgres.wire.RowReader;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Reads source rows in one snapshot and folds them. For one thread.
 *
 * <p>How poison is handled. Rows that the fold refuses (a dimension too long, a wrong clock) are
 * skipped and afterwards found again by the same conditions in SQL. A row for which an expression
 * fails makes the whole query fail: then all is read once more by row address in batches, and a
 * batch that fails is halved until the row is found. Either way the rest goes on, and the row goes
 * to quarantine with its reason, if this feed has one.
 */
public final class Feed {
  /** What was read. */
  public record Result(long rows, long expired, long poison, long newest) {}

  /**
   * Takes the partials of a fold; called at the end, and before that whenever memory runs short.
   */
  @FunctionalInterface
  public interface Sink {
    /** Takes them. */
    void take(RowFold fold) throws SQLException;
  }

  /** Is told from time to time how many rows were read since the last call. */
  @FunctionalInterface
  public interface Meter {
    /** Does nothing. */
    Meter NONE = rows -> {};

    /** Counts. */
    void read(long rows);
  }

  private static final int BATCH = 2_000;
  private static final int CHECK_EVERY = 8_192;

  private final Connection reader;
  private final @Nullable Connection quarantine;
  private final BoundRollup bound;
  private final long latest;
  private final Meter meter;
  private final long heapBudget;

  /**
   * A feed.
   *
   * @param reader where source rows are read, in a transaction of one snapshot
   * @param quarantine where poison is written, in a transaction of the same snapshot; null to leave
   *     poison alone
   * @param bound the rollup
   * @param latest the latest event time that is believed
   * @param meter is told of progress
   * @param heapBudget how many bytes of partials are held before they are passed on
   */
  public Feed(
      Connection reader,
      @Nullable Connection quarantine,
      BoundRollup bound,
      long latest,
      Meter meter,
      long heapBudget) {
    this.reader = reader;
    this.quarantine = quarantine;
    this.bound = bound;
    this.latest = latest;
    this.meter = meter;
    this.heapBudget = heapBudget;
  }

  /** The budget for partials in this JVM: a third of the heap. */
  public static long defaultHeapBudget() {
    return Runtime.getRuntime().maxMemory() / 3;
  }

  /** Signals that an expression failed somewhere in a query. */
  private static final class ExpressionFailed extends Exception {
    ExpressionFailed(SQLException cause) {
      super(Faults.message(cause), cause);
    }

    String reason() {
      return String.valueOf(getMessage());
    }
  }

  /** What has been counted so far. */
  private static final class Tally {
    private long rows;
    private long expired;
    private long poison;
    private long newest = Long.MIN_VALUE;

    Result result() {
      return new Result(rows, expired, poison, newest);
    }
  }

  /**
   * Reads the rows that meet any of the predicates, which exclude each other.
   *
   * @param newFold makes an empty fold
   * @param sink takes partials
   */
  public Result read(List<String> predicates, Supplier<RowFold> newFold, Sink sink)
      throws SQLException {
    Sql.run(reader, "set local search_path = " + bound.searchPath());
    Savepoint readerBefore = reader.setSavepoint();
    Savepoint writerBefore = quarantine == null ? null : quarantine.setSavepoint();
    try {
      Result result = readAll(predicates, newFold, sink);
      reader.releaseSavepoint(readerBefore);
      if (quarantine != null && writerBefore != null) {
        quarantine.releaseSavepoint(writerBefore);
      }
      return result;
    } catch (ExpressionFailed e) {
      reader.rollback(readerBefore);
      if (quarantine != null && writerBefore != null) {
        quarantine.rollback(writerBefore);
      }
      return readByAddress(predicates, newFold, sink);
    }
  }

  private Result readAll(List<String> predicates, Supplier<RowFold> newFold, Sink sink)
      throws SQLException, ExpressionFailed {
    Tally tally = new Tally();
    String query =
        predicates.stream()
            .map(predicate -> FeedSql.select(bound, FeedSql.columns(bound), predicate))
            .collect(Collectors.joining(" union all "));
    RowFold fold = foldRows(query, newFold.get(), newFold, sink, tally);
    pass(fold, sink, tally);
    if (tally.poison > 0 && quarantine != null) {
      quarantineRefused(predicates, tally.poison);
    }
    return tally.result();
  }

  /** Folds all rows of a query and gives the fold that holds what was not passed on. */
  private RowFold foldRows(
      String query, RowFold first, Supplier<RowFold> newFold, Sink sink, Tally tally)
      throws SQLException, ExpressionFailed {
    RowFold fold = first;
    long unreported = 0;
    try (RowReader rows = openRows(query)) {
      while (nextRow(rows)) {
        switch (fold.fold(rows)) {
          case FOLDED -> tally.rows++;
          case EXPIRED -> tally.expired++;
          case POISON -> tally.poison++;
          case OUTSIDE -> {}
        }
        if (++unreported == CHECK_EVERY) {
          meter.read(unreported);
          unreported = 0;
          if (fold.heapBytes() > heapBudget) {
            pass(fold, sink, tally);
            fold = newFold.get();
          }
        }
      }
    }
    meter.read(unreported);
    return fold;
  }

  private RowReader openRows(String query) throws SQLException, ExpressionFailed {
    try {
      return RowReader.of(reader, query);
    } catch (SQLException e) {
      throw classified(e);
    }
  }

  private static boolean nextRow(RowReader rows) throws SQLException, ExpressionFailed {
    try {
      return rows.next();
    } catch (SQLException e) {
      throw classified(e);
    }
  }

  /**
   * Data exceptions (class 22), limits (54) and errors that functions raise (P0) are a row's fault.
   */
  private static ExpressionFailed classified(SQLException e) throws SQLException {
    String state = Faults.state(e);
    if (state.startsWith("22") || state.startsWith("54") || state.startsWith("P0")) {
      return new ExpressionFailed(e);
    }
    throw e;
  }

  private static void pass(RowFold fold, Sink sink, Tally tally) throws SQLException {
    if (fold.table().size() > 0) {
      tally.newest = Math.max(tally.newest, fold.newest());
      sink.take(fold);
    }
  }

  /** The conditions under which {@link RowFold} refuses a row, in SQL. */
  private String refusedSql() {
    List<String> conditions = new ArrayList<>();
    conditions.add(bound.timeSql() + " > " + FeedSql.instant(latest));
    conditions.add(bound.timeSql() + " = '-infinity'");
    List<String> keys = bound.keySql();
    for (int i = 0; i < keys.size(); i++) {
      if (bound.keyTypes().get(i) == ColumnType.TEXT) {
        conditions.add("octet_length(" + keys.get(i) + ") > " + BoundRollup.MOST_KEY_BYTES);
      }
    }
    return String.join(" or ", conditions);
  }

  private void quarantineRefused(List<String> predicates, long expected) throws SQLException {
    Connection writer = quarantineConnection();
    Sql.run(writer, "set local search_path = " + bound.searchPath());
    long found = 0;
    for (String predicate : predicates) {
      found +=
          Sql.update(
              writer,
              "insert into tallyroll.quarantine (rollup, reason, tenant, source_row) select ?, case when "
                  + bound.timeSql()
                  + " > "
                  + FeedSql.instant(latest)
                  + " or "
                  + bound.timeSql()
                  + " = '-infinity' then 'the time lies more than a day ahead, or is infinite'"
                  + " else 'the tenant or a dimension is longer than "
                  + BoundRollup.MOST_KEY_BYTES
                  + " bytes' end, left("
                  + bound.keySql().getFirst()
                  + "::text, 200), to_jsonb("
                  + Sql.identifier(bound.table().name())
                  + ".*) from "
                  + bound.table().sqlName()
                  + " where ("
                  + predicate
                  + ") and ("
                  + refusedSql()
                  + ")",
              bound.name());
    }
    if (found != expected) {
      throw new IllegalStateException(
          expected + " rows were refused, " + found + " of them were found again");
    }
  }

  private Connection quarantineConnection() {
    if (quarantine == null) {
      throw new IllegalStateException("this feed has no quarantine");
    }
    return quarantine;
  }

  /** Where a row is stored: its table and its address there. */
  private record Address(String table, String ctid) {}

  private Result readByAddress(List<String> predicates, Supplier<RowFold> newFold, Sink sink)
      throws SQLException {
    List<Address> addresses = new ArrayList<>();
    for (String predicate : predicates) {
      addresses.addAll(
          Sql.list(
              reader,
              FeedSql.select(bound, "tableoid::regclass::text, ctid::text", predicate)
                  + " order by tableoid, ctid",
              row -> new Address(row.getString(1), row.getString(2))));
    }
    Tally tally = new Tally();
    RowFold fold = newFold.get();
    for (int at = 0; at < addresses.size(); ) {
      int end = Math.min(addresses.size(), at + BATCH);
      String table = addresses.get(at).table();
      int last = at;
      while (last < end && addresses.get(last).table().equals(table)) {
        last++;
      }
      fold = foldBatch(addresses.subList(at, last), fold, newFold, sink, tally);
      at = last;
    }
    pass(fold, sink, tally);
    return tally.result();
  }

  private RowFold foldBatch(
      List<Address> batch, RowFold fold, Supplier<RowFold> newFold, Sink sink, Tally tally)
      throws SQLException {
    String where = where(batch);
    String query =
        "select "
            + FeedSql.columns(bound)
            + " from "
            + batch.getFirst().table()
            + " where "
            + where;
    Savepoint before = reader.setSavepoint();
    try {
      // Once to see whether it works, since a fold cannot be undone.
      drain(query);
      long poison = tally.poison;
      RowFold folded = foldRows(query, fold, newFold, sink, tally);
      if (tally.poison > poison && quarantine != null) {
        quarantineRefused(
            List.of(
                "tableoid = '"
                    + batch.getFirst().table().replace("'", "''")
                    + "'::regclass and "
                    + where),
            tally.poison - poison);
      }
      reader.releaseSavepoint(before);
      return folded;
    } catch (ExpressionFailed e) {
      reader.rollback(before);
      if (batch.size() == 1) {
        tally.poison++;
        quarantineFailed(batch.getFirst(), e.reason());
        return fold;
      }
      int half = batch.size() / 2;
      RowFold left = foldBatch(batch.subList(0, half), fold, newFold, sink, tally);
      return foldBatch(batch.subList(half, batch.size()), left, newFold, sink, tally);
    }
  }

  private static String where(List<Address> batch) {
    return batch.stream()
        .map(address -> "\"" + address.ctid() + "\"")
        .collect(Collectors.joining(",", "ctid = any ('{", "}'::tid[])"));
  }

  private void drain(String query) throws SQLException, ExpressionFailed {
    try (RowReader rows = openRows(query)) {
      while (nextRow(rows)) {
        rows.position();
      }
    }
  }

  private void quarantineFailed(Address address, String reason) throws SQLException {
    if (quarantine == null) {
      return;
    }
    Sql.run(quarantine, "set local search_path = " + bound.searchPath());
    Sql.update(
        quarantine,
        "insert into tallyroll.quarantine (rollup, reason, tenant, source_row) select ?, ?, left("
            + Sql.identifier(bound.rollup().source().tenant())
            + "::text, 200), to_jsonb(r.*) from "
            + address.table()
            + " r where ctid = ?::tid",
        bound.name(),
        reason,
        address.ctid());
  }
}
