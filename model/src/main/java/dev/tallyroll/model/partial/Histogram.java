package dev.tallyroll.model.partial;

import java.util.Arrays;

/**
 * A log-linear histogram of doubles: the sketch of a distribution. Mutable, for one thread.
 *
 * <p>How it works. A positive double's bits, read as an integer, grow with the double; cutting all
 * but the sign, the exponent and six bits of the mantissa leaves 64 bins for each power of two. The
 * middle of such a bin is within 1/128 (0.78 %) of every value in it. Negative values have the
 * mirrored bins, zero has its own, and subnormal doubles are scaled by 2^54 first so that they keep
 * their relative width. All of it is integer arithmetic and exact scaling, so SQL and Java agree to
 * the bit by construction. (The same idea: HdrHistogram; Masson, Rim, Lee, "DDSketch", VLDB 2019,
 * whose bins have logarithmic bounds and need a logarithm.)
 *
 * <p>Merging adds the counts of equal bins: associative, commutative, invertible, and without loss,
 * so the error bound holds however many histograms were merged.
 *
 * <p>Encoding, canonical for a set of counts: nothing for the empty histogram; else a byte with the
 * width of the distances (high four bits, 0 to 3 bytes) and of the counts (low four bits, 0 to 8
 * bytes, 0 if every count is 1), three bytes with the least bin plus 2^23, then for each bin in
 * order its distance from the one before (0 for the least) and its count, big-endian in the least
 * widths that hold all of them.
 */
public final class Histogram {
  /** The encoding of the empty histogram. */
  public static final byte[] EMPTY = {};

  private static final int CUT = 52 - 6;
  private static final double SCALE = 0x1p54;
  private static final int SCALED = 54 << 6;

  /** Makes the bin of the least positive double 1. */
  private static final int SHIFT = 3_265;

  private static final int BIAS = 1 << 23;

  private int[] bins = new int[2];

  /** The count of each bin; empty as long as every count is one. */
  private long[] counts = {};

  private int size;

  /** The bin of a finite double. */
  public static int bin(double value) {
    if (value == 0) {
      return 0;
    }
    double magnitude = Math.abs(value);
    int index =
        magnitude >= Double.MIN_NORMAL
            ? (int) (Double.doubleToRawLongBits(magnitude) >>> CUT)
            : (int) (Double.doubleToRawLongBits(magnitude * SCALE) >>> CUT) - SCALED;
    return value > 0 ? index + SHIFT : -(index + SHIFT);
  }

  /** The value that stands for all of a bin: its middle. */
  public static double value(int bin) {
    if (bin == 0) {
      return 0;
    }
    int index = Math.abs(bin) - SHIFT;
    double middle = Math.scalb(1 + ((index & 63) + 0.5) / 64, (index >> 6) - 1023);
    return bin > 0 ? middle : -middle;
  }

  /** Adds one value, which must be finite. */
  public void add(double value) {
    add(0, bin(value), 1);
  }

  /**
   * Adds to a bin, and says where it is, or would be.
   *
   * @param from where to begin to look: no bin before it is the one
   */
  private int add(int from, int bin, long count) {
    int at = find(from, bin);
    if (at >= 0) {
      if (counts.length == 0) {
        counts = new long[bins.length];
        Arrays.fill(counts, 0, size, 1);
      }
      counts[at] = Math.addExact(counts[at], count);
      if (counts[at] == 0) {
        delete(at);
      }
      return at;
    }
    insert(-at - 1, bin, count);
    return -at - 1;
  }

  /** As {@link Arrays#binarySearch(int[], int, int, int)}; what comes in order is found at once. */
  private int find(int from, int bin) {
    if (size == 0 || bins[size - 1] < bin) {
      return -size - 1;
    }
    if (from < size && bins[from] >= bin) {
      return bins[from] == bin ? from : -from - 1;
    }
    return Arrays.binarySearch(bins, from, size, bin);
  }

  private void delete(int at) {
    size--;
    System.arraycopy(bins, at + 1, bins, at, size - at);
    System.arraycopy(counts, at + 1, counts, at, size - at);
  }

  /**
   * Takes one finite value out. A bin that was not there has a count of -1 then, until it is merged
   * into a histogram that holds it.
   */
  void remove(double value) {
    add(0, bin(value), -1);
  }

  /** Whether nothing is in it. */
  boolean isEmpty() {
    return size == 0;
  }

  /** Whether more was taken out of some bin than was put in. */
  boolean isNegative() {
    for (int i = 0; i < size && counts.length > 0; i++) {
      if (counts[i] < 0) {
        return true;
      }
    }
    return false;
  }

  private void insert(int at, int bin, long count) {
    if (size == bins.length) {
      int capacity = size * 2;
      bins = Arrays.copyOf(bins, capacity);
      if (counts.length > 0) {
        counts = Arrays.copyOf(counts, capacity);
      }
    }
    if (counts.length == 0 && count != 1) {
      counts = new long[bins.length];
      Arrays.fill(counts, 0, size, 1);
    }
    System.arraycopy(bins, at, bins, at + 1, size - at);
    bins[at] = bin;
    if (counts.length > 0) {
      System.arraycopy(counts, at, counts, at + 1, size - at);
      counts[at] = count;
    }
    size++;
  }

  /** Adds all of another histogram, which stays as it is. */
  public void merge(Histogram other) {
    int from = 0;
    for (int i = 0; i < other.size; i++) {
      from = add(from, other.bins[i], other.counts.length == 0 ? 1 : other.counts[i]);
    }
  }

  /**
   * Adds all of an encoded histogram.
   *
   * @throws IllegalArgumentException if the bytes are not an encoding
   */
  public void merge(byte[] bytes, int offset, int length) {
    if (length == 0) {
      return;
    }
    int binWidth = bytes[offset] >> 4;
    int countWidth = bytes[offset] & 15;
    int width = binWidth + countWidth;
    if (length < 4
        || binWidth < 0
        || binWidth > 3
        || countWidth > 8
        || (width > 0 ? (length - 4) % width : length - 4) != 0) {
      throw new IllegalArgumentException(
          "not a histogram: " + length + " bytes that begin with " + bytes[offset]);
    }
    int least = (int) number(bytes, offset + 1, 3) - BIAS;
    if (width == 0) {
      add(0, least, 1);
    }
    int bin = least;
    int from = 0;
    for (int at = offset + 4; at < offset + length; at += width) {
      int next = bin + (int) number(bytes, at, binWidth);
      if (next < bin) {
        throw new IllegalArgumentException("not a histogram: its bins have no end");
      }
      bin = next;
      from = add(from, bin, countWidth == 0 ? 1 : number(bytes, at + binWidth, countWidth));
    }
  }

  private static long number(byte[] bytes, int offset, int width) {
    long number = 0;
    for (int i = offset; i < offset + width; i++) {
      number = (number << 8) | (bytes[i] & 0xff);
    }
    return number;
  }

  /** The canonical encoding. */
  public byte[] encode() {
    if (size == 0) {
      return EMPTY;
    }
    int least = bins[0];
    int farthest = 0;
    for (int i = 1; i < size; i++) {
      farthest = Math.max(farthest, bins[i] - bins[i - 1]);
    }
    int binWidth = width(farthest);
    long greatest = 1;
    for (int i = 0; i < size && counts.length > 0; i++) {
      greatest = Math.max(greatest, counts[i]);
    }
    int countWidth = greatest == 1 ? 0 : width(greatest);
    // A single bin with a count of one needs neither offset nor count; several always have an
    // offset.
    byte[] bytes = new byte[4 + size * (binWidth + countWidth)];
    bytes[0] = (byte) ((binWidth << 4) | countWidth);
    put(bytes, 1, 3, least + BIAS);
    int at = 4;
    for (int i = 0; i < size; i++) {
      put(bytes, at, binWidth, i == 0 ? 0 : bins[i] - bins[i - 1]);
      at += binWidth;
      if (countWidth > 0) {
        put(bytes, at, countWidth, counts[i]);
        at += countWidth;
      }
    }
    return bytes;
  }

  /** The bytes that an unsigned number needs; none for zero. */
  private static int width(long number) {
    return (Long.SIZE - Long.numberOfLeadingZeros(number) + 7) / 8;
  }

  private static void put(byte[] bytes, int offset, int width, long number) {
    for (int i = 0; i < width; i++) {
      bytes[offset + i] = (byte) (number >>> (8 * (width - 1 - i)));
    }
  }

  /** The number of values. */
  public long count() {
    if (counts.length == 0) {
      return size;
    }
    long sum = 0;
    for (int i = 0; i < size; i++) {
      sum += counts[i];
    }
    return sum;
  }

  /**
   * The value of rank {@code ceil(q * count)} (nearest rank, as SQL's {@code percentile_disc})
   * within 0.79 % of it, clamped to the exact extremes, which are themselves the answers of the
   * first and the last rank.
   *
   * @param q between 0 and 1
   * @param min the exact least value
   * @param max the exact greatest value
   * @throws IllegalStateException if the histogram is empty
   */
  public double quantile(double q, double min, double max) {
    long count = count();
    if (count == 0) {
      throw new IllegalStateException("no quantile of nothing");
    }
    long rank = (long) Math.ceil(q * count);
    if (rank <= 1) {
      return min;
    }
    if (rank >= count) {
      return max;
    }
    long below = 0;
    int at = 0;
    while (true) {
      below += counts.length == 0 ? 1 : counts[at];
      if (below >= rank) {
        return Math.clamp(value(bins[at]), min, max);
      }
      at++;
    }
  }

  /** About how many bytes of heap it takes. */
  int heapBytes() {
    return 48 + 4 * bins.length + (counts.length == 0 ? 0 : 16 + 8 * counts.length);
  }
}
