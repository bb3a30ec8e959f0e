package dev.tallyroll.postgres.merge;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/** The order of a rollup table's key index, tenant, bucket, dimensions, over groups of partials. */
final class KeyOrder {
  private final KeySet keys;
  private final List<ColumnType> types;
  private final int[] rank;
  private final int[] tenantRank;

  KeyOrder(KeySet keys, List<ColumnType> types) {
    this.keys = keys;
    this.types = types;
    int[] sorted =
        IntStream.range(0, keys.size())
            .boxed()
            .sorted(this::compare)
            .mapToInt(Integer::intValue)
            .toArray();
    rank = new int[sorted.length];
    tenantRank = new int[sorted.length];
    int tenant = 0;
    for (int i = 0; i < sorted.length; i++) {
      if (i > 0 && compareFields(sorted[i - 1], sorted[i], 1) != 0) {
        tenant++;
      }
      rank[sorted[i]] = i;
      tenantRank[sorted[i]] = tenant;
    }
  }

  /** Sorts groups of a table whose buckets lie close together. */
  void sort(PartialTable table, int[] groups) {
    long least = Long.MAX_VALUE;
    long most = Long.MIN_VALUE;
    for (int group : groups) {
      least = Math.min(least, table.bucket(group));
      most = Math.max(most, table.bucket(group));
    }
    // Packed into one long each where that fits, which sorts ten times as fast as a comparator.
    long minutes = (most - least) / 60_000_000 + 1;
    int keyBits = Integer.SIZE - Integer.numberOfLeadingZeros(rank.length);
    int bucketBits = Long.SIZE - Long.numberOfLeadingZeros(minutes);
    int groupBits = Integer.SIZE - Integer.numberOfLeadingZeros(groups.length);
    if (2 * keyBits + bucketBits + groupBits >= Long.SIZE) {
      Integer[] boxed = Arrays.stream(groups).boxed().toArray(Integer[]::new);
      Arrays.sort(
          boxed,
          Comparator.<Integer>comparingInt(group -> tenantRank[table.key(group)])
              .thenComparingLong(table::bucket)
              .thenComparingInt(group -> rank[table.key(group)]));
      for (int i = 0; i < groups.length; i++) {
        groups[i] = boxed[i];
      }
      return;
    }
    long[] packed = new long[groups.length];
    for (int i = 0; i < groups.length; i++) {
      int key = table.key(groups[i]);
      long bucket = (table.bucket(groups[i]) - least) / 60_000_000;
      packed[i] =
          (((((long) tenantRank[key] << bucketBits) | bucket) << keyBits | rank[key]) << groupBits)
              | i;
    }
    Arrays.sort(packed);
    int[] copy = groups.clone();
    for (int i = 0; i < groups.length; i++) {
      groups[i] = copy[(int) (packed[i] & ((1L << groupBits) - 1))];
    }
  }

  /** Which fields of a key are NULL, a bit for each. */
  long nulls(int key) {
    ByteBuffer bytes = ByteBuffer.wrap(keys.pool(), keys.start(key), keys.length(key));
    long nulls = 0;
    for (int i = 0; i < types.size(); i++) {
      int length = bytes.getInt();
      if (length < 0) {
        nulls |= 1L << i;
      } else {
        bytes.position(bytes.position() + length);
      }
    }
    return nulls;
  }

  private int compare(int left, int right) {
    return compareFields(left, right, types.size());
  }

  private int compareFields(int left, int right, int fields) {
    byte[] pool = keys.pool();
    ByteBuffer a = ByteBuffer.wrap(pool);
    int atLeft = keys.start(left);
    int atRight = keys.start(right);
    for (int i = 0; i < fields; i++) {
      int lengthLeft = a.getInt(atLeft);
      int lengthRight = a.getInt(atRight);
      atLeft += 4;
      atRight += 4;
      if (lengthLeft < 0 || lengthRight < 0) {
        if (lengthLeft >= 0 || lengthRight >= 0) {
          return lengthLeft < 0 ? 1 : -1;
        }
        continue;
      }
      int order =
          types.get(i).family() == ColumnType.Family.INTEGER
                  && pool[atLeft] >> 7 != pool[atRight] >> 7
              ? Byte.compare(pool[atLeft], pool[atRight])
              : Arrays.compareUnsigned(
                  pool, atLeft, atLeft + lengthLeft, pool, atRight, atRight + lengthRight);
      if (order != 0) {
        return order;
      }
      atLeft += lengthLeft;
      atRight += lengthRight;
    }
    return 0;
  }
}
