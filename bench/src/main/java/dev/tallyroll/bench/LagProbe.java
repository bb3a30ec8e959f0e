package dev.tallyroll.bench;

import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Measures lag from outside: a session inserts numbered rows of the tenant {@code probe}, one after
 * the other, and another looks into the stored tables which of them have been merged. Lag at a
 * moment is the age, since its commit returned, of the oldest row that is not; 0 if there is none.
 *
 * <p>Four rows a second and ten looks, so that neither keeps step with a refresh every second. A
 * look that takes long stands for all the moments since the one before, as if nothing had been
 * merged until its end: a stall counts for as long as it lasts.
 */
final class LagProbe implements AutoCloseable {
  private static final double ROWS_PER_SECOND = 4;
  private static final double LOOKS_PER_SECOND = 10;
  private static final long LOOK_NS = (long) (1e9 / LOOKS_PER_SECOND);

  private final Sessions sessions;
  private final String insert;
  private final String merged;
  private final ArrayDeque<Row> unmerged = new ArrayDeque<>();
  private long written;
  private long looked = System.nanoTime();
  private List<Double> samples = new ArrayList<>();

  private record Row(long number, long committedAt) {}

  /**
   * Starts.
   *
   * @param insert inserts a row; its parameter is the row's number, from 1 on
   * @param merged gives the number of the last row that is merged, 0 for none
   */
  LagProbe(Database database, String insert, String merged) {
    this.sessions = new Sessions(database);
    this.insert = insert;
    this.merged = merged;
    sessions.start(ROWS_PER_SECOND, this::write);
    sessions.start(LOOKS_PER_SECOND, this::look);
  }

  private double write(Connection connection) throws SQLException {
    Sql.update(connection, insert, written + 1);
    synchronized (this) {
      written++;
      unmerged.add(new Row(written, System.nanoTime()));
    }
    return 1;
  }

  private double look(Connection connection) throws SQLException {
    long number = Sql.one(connection, merged, row -> row.getLong(1));
    synchronized (this) {
      Row before = unmerged.peekFirst();
      while (!unmerged.isEmpty() && unmerged.getFirst().number() <= number) {
        unmerged.removeFirst();
      }
      long now = System.nanoTime();
      for (; looked <= now; looked += LOOK_NS) {
        samples.add(age(looked + LOOK_NS <= now ? before : unmerged.peekFirst(), looked));
      }
    }
    return 1;
  }

  private static double age(@Nullable Row row, long at) {
    return row == null ? 0 : Math.max(0, (at - row.committedAt()) / 1e9);
  }

  /** How many rows were written. */
  synchronized long written() {
    return written;
  }

  /** The lags since the last call, or the start. */
  synchronized Lags take() {
    sessions.check();
    Lags lags = new Lags(samples.stream().mapToDouble(each -> each).toArray());
    samples = new ArrayList<>();
    return lags;
  }

  /** Ends both sessions. */
  @Override
  public void close() {
    sessions.close();
  }

  /** Lags at evenly spaced moments, in seconds. */
  static final class Lags {
    private final double[] sorted;

    Lags(double[] seconds) {
      sorted = seconds.clone();
      Arrays.sort(sorted);
    }

    /** All of several. */
    static Lags of(List<Lags> some) {
      return new Lags(some.stream().flatMapToDouble(lags -> Arrays.stream(lags.sorted)).toArray());
    }

    /** The lag of nearest rank; NaN if there was none. */
    double quantile(double q) {
      return sorted.length == 0
          ? Double.NaN
          : sorted[Math.max(0, (int) Math.ceil(q * sorted.length) - 1)];
    }
  }
}
