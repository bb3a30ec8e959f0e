package dev.tallyroll.model.partial;

/**
 * From the number of coupons in a bitmap to the number of values: the inverse of the expected
 * number of coupons, tabulated at every 64th coupon and interpolated linearly, which is within 0.01
 * %. SQL uses the same table and the same three operations on doubles, so both give the same
 * integers.
 */
public final class CouponEstimate {
  /** The distance of the table's entries, in coupons. */
  public static final int STEP = 64;

  private static final int ROWS = 2_048;
  private static final int LEVELS = 32;
  private static final double[] TABLE = table();

  private CouponEstimate() {}

  /** The number of distinct values that so many coupons stand for, rounded. */
  static long of(int coupons) {
    int at = coupons / STEP;
    if (at + 1 >= TABLE.length) {
      return (long) Math.floor(TABLE[TABLE.length - 1] + 0.5);
    }
    double part = (coupons - at * STEP) / (double) STEP;
    return (long) Math.floor(TABLE[at] + (TABLE[at + 1] - TABLE[at]) * part + 0.5);
  }

  /** The entries of the table: the estimate for 0, 64, 128, ... coupons. */
  public static double[] entries() {
    return TABLE.clone();
  }

  private static double[] table() {
    double[] table = new double[ROWS * LEVELS / STEP + 1];
    for (int i = 1; i < table.length; i++) {
      // With every coupon there, the expectation has no inverse; half a coupon less has.
      double coupons = Math.min((double) i * STEP, ROWS * LEVELS - 0.5);
      double low = table[i - 1];
      double high = Math.max(2 * low, 2.0 * coupons);
      while (expected(high) < coupons) {
        high *= 2;
      }
      for (int step = 0; step < 200 && low < high; step++) {
        double middle = low + (high - low) / 2;
        if (middle == low || middle == high) {
          break;
        }
        if (expected(middle) < coupons) {
          low = middle;
        } else {
          high = middle;
        }
      }
      table[i] = high;
    }
    return table;
  }

  /**
   * How many of the coupons n values are expected to leave: each level's rows are filled
   * independently.
   */
  private static double expected(double n) {
    double coupons = 0;
    for (int level = 0; level < LEVELS; level++) {
      double chance = StrictMath.scalb(1.0, -Math.min(level + 1, LEVELS - 1)) / ROWS;
      coupons += ROWS * -StrictMath.expm1(n * StrictMath.log1p(-chance));
    }
    return coupons;
  }
}
