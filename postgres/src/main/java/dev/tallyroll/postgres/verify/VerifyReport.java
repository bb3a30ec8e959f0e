package dev.tallyroll.postgres.verify;

import java.util.List;

/**
 * What a verification found. Immutable.
 *
 * @param rollup the rollup
 * @param from the start of the verified range
 * @param to its end
 * @param rows the source rows that were read
 * @param buckets how many stored or expected rows of the rollup were compared
 * @param differing how many of them differ
 * @param lost how many of those lie where the source is missing, or hold what does: repair leaves
 *     them alone unless it is told to accept the loss
 * @param mismatches the first of the differences, value by value, those that are lost at the end
 * @param uncovered ranges of history that no backfill has filled, which are not verified
 * @param sourceMissing the first of the ranges of which buckets of a tenant are stored although the
 *     source has no row of it in them any more, and how many more there are
 * @param sealed ranges whose source rows are gone or going, which are not verified
 * @param adopted ranges that hold buckets that were taken over from another table, which are not
 *     verified
 * @param pending ranges that the next refresh computes anew, after a TRUNCATE or an ATTACH
 * @param expired what is no longer kept, by grain
 * @param quarantined entries of the quarantine in the range: rows that no bucket holds, and changes
 *     that none shows
 * @param sampled the buckets that were picked, if a sample was asked for
 */
public record VerifyReport(
    String rollup,
    String from,
    String to,
    long rows,
    long buckets,
    long differing,
    long lost,
    List<Mismatch> mismatches,
    List<String> uncovered,
    List<String> sourceMissing,
    List<String> sealed,
    List<String> adopted,
    List<String> pending,
    List<String> expired,
    long quarantined,
    List<String> sampled) {
  /** Copies the lists. */
  public VerifyReport {
    mismatches = List.copyOf(mismatches);
    uncovered = List.copyOf(uncovered);
    sourceMissing = List.copyOf(sourceMissing);
    sealed = List.copyOf(sealed);
    adopted = List.copyOf(adopted);
    pending = List.copyOf(pending);
    expired = List.copyOf(expired);
    sampled = List.copyOf(sampled);
  }

  /** Whether everything that was compared is equal, which may be nothing. */
  public boolean isExact() {
    return differing == 0;
  }

  /** Whether something was not compared that is not filled yet, or about to be computed anew. */
  public boolean isPartial() {
    return !uncovered.isEmpty() || !pending.isEmpty();
  }

  /**
   * Whether there was something to compare, all that was asked for and is still kept was compared,
   * and it is equal.
   */
  public boolean isComplete() {
    return isExact()
        && buckets > 0
        && !isPartial()
        && sealed.isEmpty()
        && adopted.isEmpty()
        && quarantined == 0
        && sampled.isEmpty();
  }
}
