package dev.tallyroll.cli.demo;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.DayOfWeek;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/**
 * Seeded sample events: LLM calls and workflow runs of tenants in different time zones, with a
 * rhythm of the local day and week, long-tailed latencies and errors. For one thread.
 */
final class SampleEvents {
  /**
   * A tenant.
   *
   * @param id its id
   * @param zone where it works
   * @param callsPerDay its LLM calls on a working day
   * @param users how many people it has
   */
  record Tenant(String id, ZoneId zone, int callsPerDay, int users) {}

  static final List<Tenant> TENANTS =
      List.of(
          new Tenant("acme", ZoneId.of("Asia/Kolkata"), 9_000, 420),
          new Tenant("globex", ZoneId.of("America/New_York"), 6_000, 260),
          new Tenant("initech", ZoneId.of("Europe/Berlin"), 3_000, 120),
          new Tenant("sherpa", ZoneId.of("Asia/Kathmandu"), 900, 40),
          new Tenant("umbrella", ZoneId.of("America/St_Johns"), 600, 25));

  /** Something that happened. */
  sealed interface Sample {
    /** When. */
    Instant time();
  }

  /**
   * A call of a model.
   *
   * @param workflow null where it belongs to none
   * @param error null where there was none
   * @param outputTokens null where it failed, as {@code costUsd}
   */
  record Call(
      Instant time,
      String project,
      @Nullable String workflow,
      String user,
      String feature,
      String provider,
      String model,
      @Nullable String error,
      int inputTokens,
      @Nullable Integer outputTokens,
      @Nullable BigDecimal costUsd,
      double durationMs)
      implements Sample {}

  /** A run of a workflow. */
  record Run(
      Instant time, String workflow, String user, boolean hasFailed, int steps, long durationMs)
      implements Sample {}

  /**
   * A model with its share of calls, its speed in ms per output token, and its prices in USD per
   * million tokens.
   */
  private record Model(
      String provider,
      String name,
      double share,
      double msPerToken,
      double inputPrice,
      double outputPrice) {}

  private static final List<Model> MODELS =
      List.of(
          new Model("anthropic", "claude-sonnet", 0.38, 14, 3, 15),
          new Model("openai", "gpt-mini", 0.31, 8, 0.4, 1.6),
          new Model("openai", "gpt-large", 0.17, 19, 2.5, 10),
          new Model("gcp.gemini", "gemini-flash", 0.10, 6, 0.3, 2.5),
          new Model("mistral_ai", "mistral-small", 0.04, 9, 0.2, 0.6));

  private static final List<String> WORKFLOWS =
      List.of("triage", "summarise", "review", "nightly-report");
  private static final List<String> FEATURES = List.of("assistant", "search", "autocomplete");
  private static final List<String> ERRORS =
      List.of("rate_limited", "timeout", "context_length_exceeded", "connection_reset");

  /** Share of a day's calls by local hour. */
  private static final double[] BY_HOUR = {
    0.3, 0.2, 0.2, 0.2, 0.3, 0.5, 1.0, 2.2, 4.2, 7.0, 8.8, 8.6, 6.2, 7.6, 9.0, 8.9, 8.0, 6.6, 4.8,
    3.8, 3.4, 3.0, 2.2, 1.0
  };

  private final Random random;

  SampleEvents(long seed) {
    this.random = new Random(seed);
  }

  /** How many LLM calls a tenant makes in the second that begins now, on average. */
  private static double perSecond(Tenant tenant, Instant at) {
    ZonedDateTime local = at.atZone(tenant.zone());
    boolean weekend =
        local.getDayOfWeek() == DayOfWeek.SATURDAY || local.getDayOfWeek() == DayOfWeek.SUNDAY;
    return tenant.callsPerDay() * BY_HOUR[local.getHour()] / 98.0 / 3_600 * (weekend ? 0.25 : 1);
  }

  /** A tenant's events of an interval, so many times as busy as on an ordinary day. */
  List<Sample> between(Tenant tenant, Instant from, Instant to, double factor) {
    List<Sample> samples = new ArrayList<>();
    long stepMs = Math.max(1_000, Math.min(60_000, to.toEpochMilli() - from.toEpochMilli()));
    for (long at = from.toEpochMilli(); at < to.toEpochMilli(); at += stepMs) {
      double expected = perSecond(tenant, Instant.ofEpochMilli(at)) * stepMs / 1_000 * factor;
      for (int left = poisson(expected); left > 0; left--) {
        Instant time =
            Instant.ofEpochMilli(at)
                .plusNanos((long) (random.nextDouble() * stepMs * 1_000_000) / 1_000 * 1_000);
        samples.add(call(tenant, time));
        if (random.nextInt(6) == 0) {
          samples.add(run(tenant, time));
        }
      }
    }
    return samples;
  }

  private int poisson(double mean) {
    double limit = Math.exp(-mean);
    int count = 0;
    for (double product = random.nextDouble(); product > limit; product *= random.nextDouble()) {
      count++;
    }
    return count;
  }

  private Call call(Tenant tenant, Instant time) {
    Model model = model();
    boolean error = random.nextInt(40) == 0;
    int input = (int) Math.min(120_000, Math.exp(6.5 + 1.2 * random.nextGaussian()));
    int output = (int) Math.min(8_000, Math.exp(5 + 0.9 * random.nextGaussian()));
    double duration =
        120
            + output * model.msPerToken() * Math.exp(0.35 * random.nextGaussian())
            + (error ? 2_000 : 0);
    BigDecimal cost =
        BigDecimal.valueOf((input * model.inputPrice() + output * model.outputPrice()) / 1e6)
            .setScale(6, RoundingMode.HALF_UP);
    return new Call(
        time,
        "project-" + (1 + (int) (4 * Math.pow(random.nextDouble(), 2))),
        random.nextInt(3) == 0 ? null : one(WORKFLOWS),
        user(tenant),
        one(FEATURES),
        model.provider(),
        model.name(),
        error ? one(ERRORS) : null,
        input,
        error ? null : output,
        error ? null : cost,
        Math.round(duration * 1_000) / 1_000.0);
  }

  private Run run(Tenant tenant, Instant time) {
    boolean failed = random.nextInt(25) == 0;
    int steps = 1 + (int) Math.min(40, Math.exp(1.2 + 0.7 * random.nextGaussian()));
    return new Run(
        time,
        one(WORKFLOWS),
        user(tenant),
        failed,
        steps,
        (long) (steps * 900 * Math.exp(0.8 * random.nextGaussian())));
  }

  private String one(List<String> of) {
    return of.get(random.nextInt(of.size()));
  }

  private Model model() {
    double at = random.nextDouble();
    for (Model model : MODELS) {
      at -= model.share();
      if (at < 0) {
        return model;
      }
    }
    return MODELS.getFirst();
  }

  private String user(Tenant tenant) {
    return tenant.id() + "-user-" + (int) (tenant.users() * Math.pow(random.nextDouble(), 1.6));
  }
}
