package dev.tallyroll.server.ingest;

import com.github.benmanes.caffeine.cache.Caffeine;
import com.github.benmanes.caffeine.cache.LoadingCache;
import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.events.Appender;
import dev.tallyroll.postgres.events.EventBatch;
import dev.tallyroll.postgres.events.Refusal;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import io.github.bucket4j.Bandwidth;
import io.github.bucket4j.Bucket;
import io.github.bucket4j.ConsumptionProbe;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/** Makes what was read durable, within the rate of its tenant. Thread-safe. */
public final class Ingest {
  private static final int MOST_TENANTS = 100_000;
  private static final int BURST_S = 2;

  private final Appender commit;
  private final IngestMetrics metrics;
  private final long rate;
  private final EventLimits limits;
  private final LoadingCache<String, Bucket> buckets =
      Caffeine.newBuilder()
          .maximumSize(MOST_TENANTS)
          .expireAfterAccess(Duration.ofMinutes(10))
          .build(tenant -> bucket());

  /** In microseconds since the epoch. */
  private volatile long keysPurgedBefore = Long.MIN_VALUE;

  /**
   * Into the event log.
   *
   * @param rate events a second of each tenant; 0 for any
   * @param limits what an event may be
   */
  public Ingest(Appender commit, IngestMetrics metrics, long rate, EventLimits limits) {
    this.commit = commit;
    this.metrics = metrics;
    this.rate = rate;
    this.limits = limits;
  }

  /** From now on the keys of events that were received before this time are not relied on. */
  public void keysPurgedBefore(Instant before) {
    keysPurgedBefore = Times.micros(before);
  }

  /**
   * What an event may be that is received now.
   *
   * @param now in microseconds since the epoch
   */
  public EventLimits limits(long now) {
    long before = keysPurgedBefore;
    return before == Long.MIN_VALUE ? limits : limits.forgotten(before, now);
  }

  private Bucket bucket() {
    return Bucket.builder()
        .addLimit(
            Bandwidth.builder()
                .capacity(BURST_S * rate)
                .refillGreedy(rate, Duration.ofSeconds(1))
                .build())
        .build();
  }

  /** What is measured. */
  public IngestMetrics metrics() {
    return metrics;
  }

  /**
   * Returns when a batch is durable.
   *
   * @param kind what it is of, for metrics: {@code cloudevents} or {@code traces}
   * @throws ProblemException if nothing of it was stored, or that is not known
   */
  public void append(String kind, EventBatch batch) {
    long start = System.nanoTime();
    limit(batch);
    if (!batch.isEmpty()) {
      Optional<Refusal> refusal;
      try {
        refusal = commit.append(batch);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw ProblemException.retry(Problem.OVERLOADED, "the server stops", 1);
      }
      if (refusal.isPresent()) {
        throw refused(refusal.get());
      }
    }
    metrics.answered(kind, batch.tenant(), batch.size(), start);
  }

  /** A batch is let through while there is anything left, and what it takes too much is owed. */
  private void limit(EventBatch batch) {
    if (rate == 0 || batch.sizeWithRefused() == 0) {
      return;
    }
    Bucket bucket = buckets.get(batch.tenant());
    ConsumptionProbe probe = bucket.tryConsumeAndReturnRemaining(1);
    if (!probe.isConsumed()) {
      throw ProblemException.retry(
          Problem.RATE_LIMITED,
          "at most " + rate + " events a second are taken of this tenant",
          (int) Math.max(1, Duration.ofNanos(probe.getNanosToWaitForRefill()).toSeconds() + 1));
    }
    if (batch.sizeWithRefused() > 1) {
      bucket.consumeIgnoringRateLimits(batch.sizeWithRefused() - 1L);
    }
  }

  private static ProblemException refused(Refusal refusal) {
    return switch (refusal) {
      case Refusal.Unavailable unavailable ->
          ProblemException.retry(Problem.DATABASE, unavailable.reason(), 1);
      case Refusal.Overloaded overloaded ->
          ProblemException.retry(
              Problem.OVERLOADED, "as many requests as may wait for a commit wait", 1);
      case Refusal.Invalid invalid ->
          new ProblemException(
              Problem.BAD_REQUEST, "the database refuses a value: " + invalid.reason());
    };
  }
}
