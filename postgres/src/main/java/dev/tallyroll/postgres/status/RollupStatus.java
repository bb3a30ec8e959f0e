package dev.tallyroll.postgres.status;

import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.registry.Adoption;
import dev.tallyroll.postgres.registry.KeepTime;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How a rollup stands. Immutable.
 *
 * @param rollup its name
 * @param source its source table
 * @param unreadRows committed rows that no refresh has merged
 * @param lag how far the newest merged event is behind the newest committed one; zero with nothing
 *     unread
 * @param mergedTo the greatest event time that is merged; null before the first row
 * @param lastRefresh when the last refresh ended; null before the first
 * @param lastDuration how long it took
 * @param lastRows how many rows it merged
 * @param totalRows how many rows are merged in all
 * @param expiredRows rows that came too late for every grain's keep
 * @param quarantinedRows rows that could not be folded
 * @param lastError the last error of a refresh, which stays until the rollup is dropped; null if
 *     there was none
 * @param lastErrorAt when it happened
 * @param isFailing whether the last attempt failed
 * @param purgeError why the last purge of the source by {@code source.keep} did not go through;
 *     null if it did, or there was none
 * @param purgeErrorAt when that was
 * @param uncovered days of history that no backfill has filled
 * @param capture how the source's changes are captured: {@code any} or {@code append}
 * @param uncaptured what changes the source without being captured, and how to mend that
 * @param logBytes the size of the source's change log, 0 without one
 * @param seals ranges whose source rows are gone or going, with the reason
 * @param adopted buckets that were taken over from other tables
 * @param awaited tables that were added to the source, taken from it or emptied by TRUNCATE since
 *     the last refresh
 * @param keepTime up to which moment of the clock keep is applied, and whether it is held there
 * @param sourceBytes the source's size with its indexes
 * @param grains the grains by label, finest first
 */
public record RollupStatus(
    String rollup,
    String source,
    long unreadRows,
    Duration lag,
    @Nullable Instant mergedTo,
    @Nullable Instant lastRefresh,
    @Nullable Duration lastDuration,
    long lastRows,
    long totalRows,
    long expiredRows,
    long quarantinedRows,
    @Nullable String lastError,
    @Nullable Instant lastErrorAt,
    boolean isFailing,
    @Nullable String purgeError,
    @Nullable Instant purgeErrorAt,
    List<String> uncovered,
    String capture,
    List<String> uncaptured,
    long logBytes,
    List<String> seals,
    List<Adoption> adopted,
    List<String> awaited,
    KeepTime keepTime,
    long sourceBytes,
    Map<String, GrainStatus> grains) {
  /**
   * How a grain stands.
   *
   * @param bytes its size with its index
   * @param oldestBucket its oldest bucket; null if it is empty
   * @param keptFrom buckets from here on are complete; null for all
   */
  public record GrainStatus(
      long bytes, @Nullable Instant oldestBucket, @Nullable Instant keptFrom) {}

  /**
   * What is wrong with it, if it should never be further behind than this: that it lags, that its
   * last refresh failed, that nobody has refreshed it for so long, that its keep is held, or that
   * its source was not purged. Empty if all is well.
   *
   * @param now the time
   */
  public List<String> faults(Duration most, Instant now) {
    List<String> faults = new ArrayList<>();
    if (lag.compareTo(most) > 0) {
      faults.add("lags by " + Times.format(lag));
    }
    if (isFailing) {
      faults.add("the last refresh failed: " + lastError);
    }
    if (lastRefresh == null) {
      faults.add("was never refreshed");
    } else if (Duration.between(lastRefresh, now).compareTo(most) > 0) {
      faults.add("was not refreshed since " + lastRefresh.truncatedTo(ChronoUnit.SECONDS));
    }
    keepTime
        .held(rollup)
        .ifPresent(why -> faults.add("drops nothing that is no longer kept: " + why));
    if (purgeError != null) {
      faults.add("the source was not purged: " + purgeError);
    }
    return faults;
  }

  /** Copies the collections. */
  public RollupStatus {
    uncovered = List.copyOf(uncovered);
    seals = List.copyOf(seals);
    adopted = List.copyOf(adopted);
    awaited = List.copyOf(awaited);
    grains = Collections.unmodifiableMap(new LinkedHashMap<>(grains));
  }
}
