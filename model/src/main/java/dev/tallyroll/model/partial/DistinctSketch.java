package dev.tallyroll.model.partial;

import java.util.Arrays;

/**
 * A sketch of the number of distinct values: exact up to {@value #MOST_EXACT} of them, a bitmap of
 * coupons beyond. Mutable, for one thread.
 *
 * <p>How it works. Every value has a 64-bit hash. Up to 256 values the sketch is the sorted list of
 * the first 48 bits of their hashes (two of 256 values share them once in 10^10 sketches). Beyond,
 * each hash is a <em>coupon</em>: its first 11 bits choose one of 2,048 rows, and the number of
 * leading zeros of what follows, at most 31, the level; the sketch is the set of coupons, a bitmap
 * of 32 levels by 2,048 rows. Both forms are sets, so merging is union, and equal sets are equal
 * bytes whatever the order. This is Flajolet and Martin's PCSA ("Probabilistic counting algorithms
 * for data base applications", 1985).
 *
 * <p>The estimate inverts the expected number of coupons of n values (the ICON estimator of Lang,
 * "Back to the future: an even more nearly optimal cardinality estimation algorithm", 2017); its
 * standard error is 0.693 / sqrt(2048) = 1.53 %.
 *
 * <p>Encoding: the concatenated 48-bit hashes, or the 65,536 bits of the bitmap, level by level,
 * row by row, most significant bit first.
 */
public final class DistinctSketch {
  /** Up to so many values the count is exact. */
  public static final int MOST_EXACT = 256;

  /** The encoding of the empty sketch. */
  public static final byte[] EMPTY = {};

  private static final int HASH_BYTES = 6;
  private static final int ROW_BITS = 11;
  private static final int ROWS = 1 << ROW_BITS;
  private static final int LEVELS = 32;
  private static final int BITMAP_BYTES = ROWS * LEVELS / 8;

  /** The sorted hashes, in the low 48 bits; unused once there is a bitmap. */
  private long[] hashes = new long[2];

  private int size;
  private byte[] bitmap = EMPTY;

  /** Adds a value by its 64-bit hash. */
  public void add(long hash) {
    addShort(hash >>> 16);
  }

  private void addShort(long hash) {
    if (bitmap.length > 0) {
      set(coupon(hash));
      return;
    }
    int at =
        size > 0 && hashes[size - 1] < hash
            ? -size - 1
            : Arrays.binarySearch(hashes, 0, size, hash);
    if (at >= 0) {
      return;
    }
    if (size == MOST_EXACT) {
      toBitmap();
      set(coupon(hash));
      return;
    }
    if (size == hashes.length) {
      hashes = Arrays.copyOf(hashes, size * 2);
    }
    at = -at - 1;
    System.arraycopy(hashes, at, hashes, at + 1, size - at);
    hashes[at] = hash;
    size++;
  }

  private void toBitmap() {
    bitmap = new byte[BITMAP_BYTES];
    for (int i = 0; i < size; i++) {
      set(coupon(hashes[i]));
    }
    hashes = new long[0];
    size = 0;
  }

  /** The bit of a 48-bit hash in the bitmap. */
  private static int coupon(long hash) {
    int row = (int) (hash >>> (48 - ROW_BITS));
    // The 37 bits below the row, moved to the top; the one bit set behind the 31st ends the count
    // of zeros there.
    long rest = (hash << (64 - 48 + ROW_BITS)) | (1L << (63 - (LEVELS - 1)));
    return Long.numberOfLeadingZeros(rest) * ROWS + row;
  }

  private void set(int bit) {
    bitmap[bit >> 3] |= (byte) (0x80 >> (bit & 7));
  }

  /** Adds all of another sketch, which stays as it is. */
  public void merge(DistinctSketch other) {
    if (other.bitmap.length > 0) {
      or(other.bitmap, 0);
    } else {
      for (int i = 0; i < other.size; i++) {
        addShort(other.hashes[i]);
      }
    }
  }

  /**
   * Adds all of an encoded sketch.
   *
   * @throws IllegalArgumentException if the bytes are not an encoding
   */
  public void merge(byte[] bytes, int offset, int length) {
    if (length == BITMAP_BYTES) {
      or(bytes, offset);
      return;
    }
    if (length % HASH_BYTES != 0 || length > MOST_EXACT * HASH_BYTES) {
      throw new IllegalArgumentException("not a distinct sketch: " + length + " bytes");
    }
    for (int at = offset; at < offset + length; at += HASH_BYTES) {
      long hash = 0;
      for (int i = at; i < at + HASH_BYTES; i++) {
        hash = (hash << 8) | (bytes[i] & 0xff);
      }
      addShort(hash);
    }
  }

  private void or(byte[] other, int offset) {
    if (bitmap.length == 0) {
      toBitmap();
    }
    for (int i = 0; i < BITMAP_BYTES; i++) {
      bitmap[i] |= other[offset + i];
    }
  }

  /** The canonical encoding. */
  public byte[] encode() {
    if (bitmap.length > 0) {
      return bitmap.clone();
    }
    byte[] bytes = new byte[size * HASH_BYTES];
    for (int i = 0; i < size; i++) {
      for (int j = 0; j < HASH_BYTES; j++) {
        bytes[i * HASH_BYTES + j] = (byte) (hashes[i] >>> (8 * (HASH_BYTES - 1 - j)));
      }
    }
    return bytes;
  }

  /** The number of distinct values: exact up to {@value #MOST_EXACT}, estimated beyond. */
  public long estimate() {
    return bitmap.length == 0 ? size : CouponEstimate.of(coupons());
  }

  private int coupons() {
    int coupons = 0;
    for (byte b : bitmap) {
      coupons += Integer.bitCount(b & 0xff);
    }
    return coupons;
  }

  /** About how many bytes of heap it takes. */
  int heapBytes() {
    return 48 + 8 * hashes.length + bitmap.length;
  }
}
