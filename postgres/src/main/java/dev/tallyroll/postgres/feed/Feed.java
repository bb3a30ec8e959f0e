package dev.tallyroll.postgres.feed;

import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceVisibility;
import dev.tallyroll.postgres.wire.RowReader;
import dev.tallyroll.session.Faults;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Reads source rows in one snapshot and folds them. For one thread.
 *
 * <p>How poison is handled. Rows that the fold refuses (a dimension too long, a wrong clock) are
 * skipped and afterwards found again by the same conditions in SQL. A row for which an expression
 * fails makes the whole query fail: then all is read once more by row address in batches, and a
 * batch that fails is halved until the row is found. Either way the rest goes on, and the row goes
 * to quarantine with its reason, if this feed has one.
 *
 * <p>A row that is taken out and had gone to quarantine comes out of there, and is counted nowhere.
 * That is looked up before the rest is folded, since a row may be in quarantine for a reason that
 * is gone by now.
 *
 * <p>Changes are folded whole: a row may be put in and taken out between two refreshes, and only
 * together do they come to nothing. If they do not fit into memory they are cut by event time.
 */
public final class Feed {
  /** What was read. */
  public record Result(long rows, long expired, long poison, long newest) {
    /** Nothing was read. */
    public static final Result NONE = new Result(0, 0, 0, Long.MIN_VALUE);

    /** Both together. */
    public Result plus(Result other) {
      return new Result(
          rows + other.rows,
          expired + other.expired,
          poison + other.poison,
          Math.max(newest, other.newest));
    }
  }

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

  /** One within another hides it, until it is released. */
  private static final String SAVEPOINT = "savepoint tallyroll_feed";

  private static final int BATCH = 2_000;
  private static final int CHECK_EVERY = 8_192;

  private final Connection reader;
  private final @Nullable Connection quarantine;
  private final BoundRollup bound;
  private final Poison poison;
  private final Meter meter;
  private final long heapBudget;
  private boolean readsOnce;

  /**
   * A feed.
   *
   * @param reader where source rows are read, in a transaction of one snapshot
   * @param quarantine where poison is written, in a transaction of the same snapshot, which may be
   *     the reader's; null to leave poison alone
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
    this.meter = meter;
    this.heapBudget = heapBudget;
    this.poison = new Poison(reader, quarantine, bound, latest);
  }

  /**
   * For who reads once, and then rolls back: from now on leaves its savepoints to the end of the
   * transaction, in which the caller has run {@link #beginning} already.
   */
  public Feed readingOnce() {
    readsOnce = true;
    return this;
  }

  /** The statements that go before a reading, without a semicolon at their end. */
  public static String beginning(BoundRollup bound) {
    return "set local search_path = " + bound.searchPath() + "; " + SAVEPOINT;
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

  /** Signals that changes do not fit into memory. */
  private static final class TooMuch extends Exception {
    TooMuch() {
      super("more changes than fit into memory");
    }
  }

  /** What has been counted so far. */
  static final class Tally {
    private long rows;
    private long expired;
    long poison;
    private long newest = Long.MIN_VALUE;

    /** Images of poison that was taken out of the source again. */
    final List<String> withdrawn = new ArrayList<>();

    void add(Tally other) {
      rows += other.rows;
      expired += other.expired;
      poison += other.poison;
      newest = Math.max(newest, other.newest);
      withdrawn.addAll(other.withdrawn);
    }

    Result result() {
      return new Result(rows, expired, poison, newest);
    }
  }

  /**
   * Reads the rows of these branches, no two of which hold the same; those that were taken out come
   * first.
   *
   * @param newFold makes an empty fold
   * @param sink takes partials
   */
  public Result read(List<Branch> branches, Supplier<RowFold> newFold, Sink sink)
      throws SQLException {
    if (!readsOnce) {
      Sql.run(reader, beginning(bound));
    }
    Tally tally = readOrCut(poison.withoutQuarantined(branches), newFold, sink, true);
    for (String image : tally.withdrawn) {
      tally.poison -= poison.release(image);
    }
    return tally.result();
  }

  private Tally read(
      List<Branch> branches, Supplier<RowFold> newFold, Sink sink, boolean isCuttable)
      throws SQLException {
    Sql.run(reader, SAVEPOINT);
    return readOrCut(branches, newFold, sink, isCuttable);
  }

  /** The reader has its savepoint. */
  private Tally readOrCut(
      List<Branch> branches, Supplier<RowFold> newFold, Sink sink, boolean isCuttable)
      throws SQLException {
    Savepoint writerBefore =
        quarantine == null || isOneConnection() ? null : quarantine.setSavepoint();
    try {
      Tally tally = readAll(branches, newFold, sink, isCuttable);
      if (!readsOnce) {
        Sql.run(reader, "release " + SAVEPOINT);
      }
      if (quarantine != null && writerBefore != null) {
        quarantine.releaseSavepoint(writerBefore);
      }
      return tally;
    } catch (ExpressionFailed e) {
      rollback(writerBefore);
      return readByAddress(branches, newFold, sink);
    } catch (TooMuch e) {
      rollback(writerBefore);
      return readHalves(branches, newFold, sink);
    }
  }

  @SuppressWarnings("ReferenceEquality")
  private boolean isOneConnection() {
    return quarantine == reader;
  }

  private void rollback(@Nullable Savepoint writerBefore) throws SQLException {
    Sql.run(reader, "rollback to " + SAVEPOINT);
    if (quarantine != null && writerBefore != null) {
      quarantine.rollback(writerBefore);
    }
  }

  /** Cuts the rows in two by their event time, at the edge of a bucket. */
  private Tally readHalves(List<Branch> branches, Supplier<RowFold> newFold, Sink sink)
      throws SQLException {
    String time = bound.timeSql();
    Optional<Long> middle =
        Sql.one(
            reader,
            "select (extract(epoch from min(t) + (max(t) - min(t)) / 2) * 1000000)::bigint from ("
                + FeedSql.select(branches, time + " as t")
                + ") times where isfinite(t)",
            row -> Optional.ofNullable(row.getObject(1, Long.class)));
    if (middle.isEmpty()) {
      return read(branches, newFold, sink, false);
    }
    // At the edge of a coarsest bucket: one that is computed anew must have all its changes behind
    // it.
    String edge = FeedSql.instant(bound.rollup().grains().lastKey().ceil(middle.get()));
    List<Branch> left = branches.stream().map(b -> b.and(" and " + time + " < " + edge)).toList();
    List<Branch> right = branches.stream().map(b -> b.and(" and " + time + " >= " + edge)).toList();
    boolean isCuttable =
        Sql.one(
            reader,
            "select exists ("
                + FeedSql.select(left, "")
                + ") and exists ("
                + FeedSql.select(right, "")
                + ")",
            row -> row.getBoolean(1));
    if (!isCuttable) {
      return read(branches, newFold, sink, false);
    }
    Tally tally = read(left, newFold, sink, true);
    tally.add(read(right, newFold, sink, true));
    return tally;
  }

  private Tally readAll(
      List<Branch> branches, Supplier<RowFold> newFold, Sink sink, boolean isCuttable)
      throws SQLException, ExpressionFailed, TooMuch {
    Tally tally = new Tally();
    RowFold fold = newFold.get();
    for (boolean isOut : new boolean[] {true, false}) {
      List<Branch> some = branches.stream().filter(branch -> branch.isOut() == isOut).toList();
      if (!some.isEmpty()) {
        String query = FeedSql.select(some, FeedSql.columns(bound));
        long known = tally.poison;
        fold = foldRows(query, isOut, fold, newFold, sink, tally, isCuttable);
        if (tally.poison > known) {
          poison.refuse(some, tally.poison - known, tally);
        }
      }
    }
    pass(fold, sink, tally);
    return tally;
  }

  /** Folds all rows of a query and gives the fold that holds what was not passed on. */
  private RowFold foldRows(
      String query,
      boolean isOut,
      RowFold first,
      Supplier<RowFold> newFold,
      Sink sink,
      Tally tally,
      boolean isCuttable)
      throws SQLException, ExpressionFailed, TooMuch {
    RowFold fold = first;
    long unreported = 0;
    try (RowReader rows = openRows(query)) {
      while (nextRow(rows)) {
        switch (fold.fold(rows, isOut)) {
          case FOLDED -> tally.rows++;
          case EXPIRED -> tally.expired += isOut ? 0 : 1;
          case POISON -> tally.poison++;
          case OUTSIDE -> {}
        }
        if (++unreported == CHECK_EVERY) {
          meter.read(unreported);
          unreported = 0;
          if (fold.heapBytes() > heapBudget) {
            if (!fold.table().isOfChanges()) {
              pass(fold, sink, tally);
              fold = newFold.get();
            } else if (isCuttable) {
              rows.skipAll();
              throw new TooMuch();
            }
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

  /** Puts what happened to the rows of these branches into quarantine; the rows stay counted. */
  public void quarantineChanges(List<Branch> branches) throws SQLException {
    poison.changes(branches);
  }

  private Tally readByAddress(List<Branch> branches, Supplier<RowFold> newFold, Sink sink)
      throws SQLException {
    Tally tally = new Tally();
    RowFold fold = newFold.get();
    for (boolean isOut : new boolean[] {true, false}) {
      for (Branch branch : branches) {
        if (branch.isOut() != isOut) {
          continue;
        }
        List<Address> addresses =
            Sql.list(
                reader,
                branch.select("tableoid::regclass::text, ctid::text") + " order by tableoid, ctid",
                row -> new Address(row.getString(1), row.getString(2)));
        String table = "";
        Branch rows = branch;
        for (int at = 0; at < addresses.size(); ) {
          if (!addresses.get(at).table().equals(table)) {
            table = addresses.get(at).table();
            // Through the branch it is slower, but a table of its own may be hidden in part.
            rows =
                SourceVisibility.ofNamed(reader, table)
                    ? new Branch(named(table), "true", isOut)
                    : branch.and(" and " + Address.isOf(table));
          }
          int end = Math.min(addresses.size(), at + BATCH);
          int last = at;
          while (last < end && addresses.get(last).table().equals(table)) {
            last++;
          }
          fold = foldBatch(addresses.subList(at, last), rows, fold, newFold, sink, tally);
          at = last;
        }
      }
    }
    pass(fold, sink, tally);
    return tally;
  }

  /** A table under the source's own name. */
  private String named(String table) {
    return table + " as " + Sql.identifier(bound.table().name());
  }

  private RowFold foldBatch(
      List<Address> batch,
      Branch rows,
      RowFold fold,
      Supplier<RowFold> newFold,
      Sink sink,
      Tally tally)
      throws SQLException {
    Branch branch = rows.and(" and " + Address.where(batch));
    String query = branch.select(FeedSql.columns(bound));
    Savepoint before = reader.setSavepoint();
    try {
      // Once to see whether it works, since a fold cannot be undone.
      drain(query);
      long known = tally.poison;
      RowFold folded = foldRows(query, rows.isOut(), fold, newFold, sink, tally, false);
      if (tally.poison > known) {
        poison.refuse(List.of(branch), tally.poison - known, tally);
      }
      reader.releaseSavepoint(before);
      return folded;
    } catch (ExpressionFailed e) {
      reader.rollback(before);
      if (batch.size() == 1) {
        poison.failed(branch, e.reason(), tally);
        return fold;
      }
      int half = batch.size() / 2;
      RowFold left = foldBatch(batch.subList(0, half), rows, fold, newFold, sink, tally);
      return foldBatch(batch.subList(half, batch.size()), rows, left, newFold, sink, tally);
    } catch (TooMuch e) {
      throw new IllegalStateException(e);
    }
  }

  private void drain(String query) throws SQLException, ExpressionFailed {
    try (RowReader rows = openRows(query)) {
      try {
        rows.skipAll();
      } catch (SQLException e) {
        throw classified(e);
      }
    }
  }
}
