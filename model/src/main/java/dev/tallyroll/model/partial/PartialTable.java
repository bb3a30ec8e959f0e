package dev.tallyroll.model.partial;

import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.function.LongUnaryOperator;

/**
 * Partials by key and bucket: a group for each pair, and for each measure a column of partials. The
 * rows of a feed are folded into the finest grain's table; the coarser ones are made by merging
 * that. Mutable, for one thread.
 */
public final class PartialTable {
  /**
   * More groups than this are not held at once: the arrays and the packed order below are made for
   * it.
   */
  public static final int MOST_GROUPS = 1 << 28;

  private final KeySet keys;
  private final List<PartialColumn> columns;
  private int[] groupKeys = new int[16];
  private long[] groupBuckets = new long[16];
  private int size;
  private int[] slots = new int[64];

  /** For a table of changes: rows put in less rows taken out. */
  private long[] netRows = {};

  private final boolean changes;
  private final BitSet lessened = new BitSet();

  /**
   * An empty table, to which rows are only added.
   *
   * @param keys the keys, which may be shared with tables of other grains
   * @param columns a new column for each measure
   */
  public PartialTable(KeySet keys, List<PartialColumn> columns) {
    this(keys, columns, false);
  }

  /**
   * An empty table.
   *
   * @param keys the keys, which may be shared with tables of other grains
   * @param columns a new column for each measure
   * @param changes whether rows may be taken out as well, so that a group may stand for less than
   *     nothing until it is merged with what is stored
   */
  public PartialTable(KeySet keys, List<PartialColumn> columns, boolean changes) {
    this.keys = keys;
    this.columns = List.copyOf(columns);
    this.changes = changes;
    if (changes) {
      netRows = new long[groupKeys.length];
    }
    columns.forEach(column -> column.grow(groupKeys.length));
  }

  /**
   * The group of a key and a bucket, which is added if it is new.
   *
   * @param key the key's number
   * @param bucket the bucket's start, or any other number that tells buckets apart
   */
  public int group(int key, long bucket) {
    int mask = slots.length - 1;
    int slot = slot(key, bucket) & mask;
    while (slots[slot] != 0) {
      int group = slots[slot] - 1;
      if (groupKeys[group] == key && groupBuckets[group] == bucket) {
        return group;
      }
      slot = (slot + 1) & mask;
    }
    if (size == MOST_GROUPS) {
      throw new IllegalStateException("more than " + MOST_GROUPS + " groups in one table");
    }
    if (size == groupKeys.length) {
      int capacity = size * 2;
      groupKeys = Arrays.copyOf(groupKeys, capacity);
      groupBuckets = Arrays.copyOf(groupBuckets, capacity);
      if (changes) {
        netRows = Arrays.copyOf(netRows, capacity);
      }
      columns.forEach(column -> column.grow(capacity));
    }
    int group = size++;
    groupKeys[group] = key;
    groupBuckets[group] = bucket;
    slots[slot] = size;
    if (size * 2 > slots.length) {
      rehash();
    }
    return group;
  }

  private void rehash() {
    slots = new int[slots.length * 2];
    int mask = slots.length - 1;
    for (int group = 0; group < size; group++) {
      int slot = slot(groupKeys[group], groupBuckets[group]) & mask;
      while (slots[slot] != 0) {
        slot = (slot + 1) & mask;
      }
      slots[slot] = group + 1;
    }
  }

  /** The group of a key and a bucket, or -1. */
  public int find(int key, long bucket) {
    int mask = slots.length - 1;
    int slot = slot(key, bucket) & mask;
    while (slots[slot] != 0) {
      int group = slots[slot] - 1;
      if (groupKeys[group] == key && groupBuckets[group] == bucket) {
        return group;
      }
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  private static int slot(int key, long bucket) {
    long hash = (bucket + key * 0x9E3779B97F4A7C15L) * 0xD6E8FEB86659FD93L;
    return (int) (hash ^ (hash >>> 32));
  }

  /**
   * Merges all groups into another table of the same measures, each into the group of its key and
   * the bucket that {@code bucketOf} names. The other table may have keys of its own.
   */
  public void mergeInto(PartialTable into, LongUnaryOperator bucketOf) {
    int[] keyOf = new int[keys.size()];
    for (int key = 0; key < keyOf.length; key++) {
      keyOf[key] =
          into.keys.equals(keys)
              ? key
              : into.keys.intern(keys.pool(), keys.start(key), keys.length(key));
    }
    int[] target = new int[size];
    for (int group = 0; group < size; group++) {
      target[group] =
          into.group(keyOf[groupKeys[group]], bucketOf.applyAsLong(groupBuckets[group]));
    }
    if (changes && into.changes) {
      for (int group = 0; group < size; group++) {
        into.netRows[target[group]] += netRows[group];
        if (lessened.get(group)) {
          into.lessened.set(target[group]);
        }
      }
    }
    for (int i = 0; i < columns.size(); i++) {
      PartialColumn from = columns.get(i);
      PartialColumn to = into.columns.get(i);
      for (int group = 0; group < size; group++) {
        to.merge(target[group], from, group);
      }
    }
  }

  /** Merges one group of a table of the same measures into one of this. */
  public void merge(int group, PartialTable from, int fromGroup) {
    for (int i = 0; i < columns.size(); i++) {
      columns.get(i).merge(group, from.columns.get(i), fromGroup);
    }
  }

  /** Counts a row that was put into a group of a table of changes. */
  public void countIn(int group) {
    if (changes) {
      netRows[group]++;
    }
  }

  /** Counts a row that was taken out of a group of a table of changes. */
  public void countOut(int group) {
    netRows[group]--;
    lessened.set(group);
  }

  /** How many rows were put into a group less those taken out; 0 unless this is of changes. */
  public long netRows(int group) {
    return changes ? netRows[group] : 0;
  }

  /** Whether rows were taken out of a group. */
  public boolean isLessened(int group) {
    return lessened.get(group);
  }

  /** Whether rows may be taken out as well. */
  public boolean isOfChanges() {
    return changes;
  }

  /** Whether what was taken out of a group leaves some measure unknown. */
  public boolean isDoubtful(int group) {
    return lessened.get(group) && columns.stream().anyMatch(column -> column.isDoubtful(group));
  }

  /** How many groups there are. */
  public int size() {
    return size;
  }

  /** The keys. */
  public KeySet keys() {
    return keys;
  }

  /** The key of a group. */
  public int key(int group) {
    return groupKeys[group];
  }

  /** The bucket of a group. */
  public long bucket(int group) {
    return groupBuckets[group];
  }

  /** The columns, one for each measure in the order of the definition. */
  public List<PartialColumn> columns() {
    return columns;
  }

  /** Adds the stored fields of a row to a group. */
  public void read(int group, FieldReader fields) {
    for (PartialColumn column : columns) {
      column.read(group, fields);
    }
  }

  /** Writes the stored fields of a group. */
  public void write(int group, FieldWriter fields) {
    for (PartialColumn column : columns) {
      column.write(group, fields);
    }
  }

  /** About how many bytes of heap it takes, without the keys. */
  public long heapBytes() {
    long bytes = 12L * groupKeys.length + 4L * slots.length;
    for (PartialColumn column : columns) {
      bytes += column.heapBytes() + 16L * column.stored().size() * groupKeys.length;
    }
    return bytes;
  }
}
