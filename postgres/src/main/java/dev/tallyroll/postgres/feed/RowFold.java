package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.partial.Scalar;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.wire.RowReader;
import java.util.List;
import java.util.function.LongUnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * Folds source rows into partials. The rows come as {@link FeedSql#columns} selects them: tenant,
 * dimensions, time, then the measures' inputs. Tenant and dimensions are never decoded: their bytes
 * are the key.
 *
 * <p>Mutable, for one thread.
 */
public final class RowFold {
  /** What became of a row. */
  public enum Outcome {
    /** It counts. */
    FOLDED,
    /** It lies before everything that is kept, and is only counted as expired. */
    EXPIRED,
    /** It lies outside the range that was asked for. */
    OUTSIDE,
    /** It cannot be folded and belongs into quarantine. */
    POISON
  }

  private final KeySet keys;
  private final @Nullable PartialTable wanted;
  private final int keyFields;
  private final boolean[] boundedKeys;
  private final ColumnType[] inputTypes;
  private final boolean[] hasInput;
  private final PartialColumn[] columns;
  private final LongUnaryOperator bucketOf;
  private final long from;
  private final long to;
  private final long latest;
  private final long expiresBefore;
  private final Scalar value = new Scalar();
  private final Scalar one = new Scalar();
  private final PartialTable table;
  private long newest = Long.MIN_VALUE;

  /**
   * A fold.
   *
   * @param bound the rollup
   * @param bucketOf the bucket of an event time
   * @param from rows before this are outside
   * @param to rows at or after this are outside
   * @param latest rows after this have a wrong clock: poison
   * @param expiresBefore rows before this are expired
   */
  public RowFold(
      BoundRollup bound,
      LongUnaryOperator bucketOf,
      long from,
      long to,
      long latest,
      long expiresBefore) {
    this(bound, bucketOf, from, to, latest, expiresBefore, null, false);
  }

  /** A fold of all rows into buckets of the finest grain, but those that are expired. */
  public static RowFold ofAll(BoundRollup bound, long latest, long expiresBefore) {
    return new RowFold(
        bound,
        bound.rollup().foldGrain()::floor,
        Long.MIN_VALUE,
        Long.MAX_VALUE,
        latest,
        expiresBefore);
  }

  /** A fold of changes, from which rows may be taken out as well. */
  public static RowFold ofChanges(
      BoundRollup bound, LongUnaryOperator bucketOf, long latest, long expiresBefore) {
    return new RowFold(
        bound, bucketOf, Long.MIN_VALUE, Long.MAX_VALUE, latest, expiresBefore, null, true);
  }

  /** A fold of just the rows of some groups, whose keys it shares; all others are outside. */
  public static RowFold ofGroups(
      BoundRollup bound, LongUnaryOperator bucketOf, long latest, PartialTable wanted) {
    return new RowFold(
        bound, bucketOf, Long.MIN_VALUE, Long.MAX_VALUE, latest, Long.MIN_VALUE, wanted, false);
  }

  private RowFold(
      BoundRollup bound,
      LongUnaryOperator bucketOf,
      long from,
      long to,
      long latest,
      long expiresBefore,
      @Nullable PartialTable wanted,
      boolean changes) {
    this.wanted = wanted;
    this.keys = wanted == null ? new KeySet() : wanted.keys();
    this.bucketOf = bucketOf;
    this.from = from;
    this.to = to;
    this.latest = latest;
    this.expiresBefore = expiresBefore;
    List<ColumnType> keyTypes = bound.keyTypes();
    this.keyFields = keyTypes.size();
    this.boundedKeys = new boolean[keyFields];
    for (int i = 0; i < keyFields; i++) {
      boundedKeys[i] = keyTypes.get(i) == ColumnType.TEXT;
    }
    this.table = new PartialTable(keys, bound.newColumns(), changes);
    this.columns = table.columns().toArray(PartialColumn[]::new);
    this.inputTypes = new ColumnType[columns.length];
    this.hasInput = new boolean[columns.length];
    for (int i = 0; i < columns.length; i++) {
      hasInput[i] = bound.inputSql(i) != null;
      inputTypes[i] =
          bound.rollup().measures().get(i).kind() == Measure.Kind.DISTINCT
              ? ColumnType.TEXT
              : bound.inputTypes().get(i);
    }
    one.setInteger(1);
  }

  /**
   * Folds the row that the reader stands on.
   *
   * @param isOut whether it was taken out of the source
   */
  public Outcome fold(RowReader row, boolean isOut) {
    int start = row.position();
    boolean tooLong = false;
    for (int i = 0; i < keyFields; i++) {
      int length = row.skip();
      tooLong |= boundedKeys[i] && length > BoundRollup.MOST_KEY_BYTES;
    }
    int end = row.position();
    long time = row.readInstant();
    if (tooLong || time > latest || time == Long.MIN_VALUE) {
      skipInputs(row);
      return Outcome.POISON;
    }
    if (time < from || time >= to || time < expiresBefore) {
      skipInputs(row);
      return time < from || time >= to ? Outcome.OUTSIDE : Outcome.EXPIRED;
    }
    long bucket = bucketOf.applyAsLong(time);
    if (wanted != null) {
      int key = keys.find(row.bytes(), start, end - start);
      if (key < 0 || wanted.find(key, bucket) < 0) {
        skipInputs(row);
        return Outcome.OUTSIDE;
      }
    }
    newest = Math.max(newest, time);
    int group = table.group(keys.intern(row.bytes(), start, end - start), bucket);
    if (isOut) {
      table.countOut(group);
    } else {
      table.countIn(group);
    }
    for (int i = 0; i < columns.length; i++) {
      Scalar input = one;
      if (hasInput[i]) {
        row.read(inputTypes[i], value);
        input = value;
      }
      if (isOut) {
        columns[i].remove(group, input, time);
      } else {
        columns[i].add(group, input, time);
      }
    }
    return Outcome.FOLDED;
  }

  private void skipInputs(RowReader row) {
    for (boolean input : hasInput) {
      if (input) {
        row.skip();
      }
    }
  }

  /** The partials so far. */
  public PartialTable table() {
    return table;
  }

  /** The greatest event time that was folded, {@link Long#MIN_VALUE} before the first. */
  public long newest() {
    return newest;
  }

  /** About how many bytes of heap the partials take. */
  public long heapBytes() {
    return table.heapBytes() + keys.heapBytes();
  }
}
