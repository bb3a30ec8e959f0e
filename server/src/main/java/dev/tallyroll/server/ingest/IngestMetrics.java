package dev.tallyroll.server.ingest;

import dev.tallyroll.postgres.events.GroupCommit;
import dev.tallyroll.server.http.InFlight;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.DistributionSummary;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What is measured of ingest. Thread-safe. */
public final class IngestMetrics implements GroupCommit.Listener {
  private static final Logger LOG = LoggerFactory.getLogger(IngestMetrics.class);
  private static final String OTHERS = "(other)";

  private final MeterRegistry registry;
  private final int mostTenants;
  private final Map<String, Answered> kinds = new ConcurrentHashMap<>();
  private final Map<String, Counter> tenants = new ConcurrentHashMap<>();
  private final DistributionSummary groupRequests;
  private final DistributionSummary groupEvents;
  private final Timer commits;
  private final Counter appended;
  private final Counter duplicates;

  /**
   * Measures into a registry.
   *
   * @param mostTenants how many tenants have a counter of their own
   */
  public IngestMetrics(MeterRegistry registry, InFlight inFlight, int mostTenants) {
    this.registry = registry;
    this.mostTenants = mostTenants;
    Gauge.builder("tallyroll.ingest.in.flight.bytes", inFlight, InFlight::bytes)
        .description("Bytes of bodies that are being read or wait for their commit")
        .register(registry);
    groupRequests =
        DistributionSummary.builder("tallyroll.ingest.group.requests")
            .description("Requests that shared a commit")
            .publishPercentileHistogram(false)
            .register(registry);
    groupEvents =
        DistributionSummary.builder("tallyroll.ingest.group.events")
            .description("Events that shared a commit")
            .register(registry);
    commits =
        Timer.builder("tallyroll.ingest.commit.duration")
            .description("From the start of a group's transaction to its commit")
            .register(registry);
    appended =
        Counter.builder("tallyroll.ingest.appended.events")
            .description("Events that were appended to the log")
            .register(registry);
    duplicates =
        Counter.builder("tallyroll.ingest.duplicate.events")
            .description("Events that were known already")
            .register(registry);
  }

  @Override
  public void committed(int requests, int events, long added, Duration duration) {
    groupRequests.record(requests);
    groupEvents.record(events);
    commits.record(duration);
    appended.increment((double) added);
    duplicates.increment((double) (events - added));
  }

  @Override
  public void failed(String reason) {
    LOG.warn("a commit of events failed: {}", reason);
    Counter.builder("tallyroll.ingest.commit.failures")
        .description("Commits that failed; their requests were answered so, or tried one by one")
        .register(registry)
        .increment();
  }

  /** What is measured of the answers of a kind. */
  private record Answered(Timer duration, Counter events) {}

  private Answered ofKind(String kind) {
    return new Answered(
        Timer.builder("tallyroll.ingest.duration")
            .description("From the end of a body to its answer")
            .tag("kind", kind)
            .register(registry),
        Counter.builder("tallyroll.ingest.events")
            .description("Events that were acknowledged, those that were known already too")
            .tag("kind", kind)
            .register(registry));
  }

  /** A request was answered. */
  void answered(String kind, String tenant, int events, long startNanos) {
    Answered answered = kinds.computeIfAbsent(kind, this::ofKind);
    answered.duration().record(System.nanoTime() - startNanos, TimeUnit.NANOSECONDS);
    answered.events().increment(events);
    if (mostTenants > 0) {
      tenant(tenant).increment(events);
    }
  }

  private Counter tenant(String tenant) {
    String label = tenants.size() < mostTenants || tenants.containsKey(tenant) ? tenant : OTHERS;
    return tenants.computeIfAbsent(
        label,
        name ->
            Counter.builder("tallyroll.ingest.tenant.events")
                .description("Events that were acknowledged, by tenant")
                .tag("tenant", name)
                .register(registry));
  }

  /** Something was refused. */
  public void rejected(String kind, String reason, int count) {
    Counter.builder("tallyroll.ingest.rejected")
        .description("Requests, events or spans that were refused")
        .tag("kind", kind)
        .tag("reason", reason)
        .register(registry)
        .increment(count);
  }

  /** Spans were acknowledged that are not metered. */
  public void ignored(int spans) {
    Counter.builder("tallyroll.ingest.ignored.spans")
        .description("Spans that are not of generative AI, acknowledged and not stored")
        .register(registry)
        .increment(spans);
  }
}
