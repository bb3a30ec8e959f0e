package dev.tallyroll.bench;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Random;

/**
 * Seeded events of 50 tenants: about 500 keys of project, workflow or NULL, provider and model,
 * some far busier than others; 5,000 users, 100 in each tenant; log-normal durations; 14 columns.
 *
 * @param name its name
 * @param span how long the events stretch, ending at {@code end}
 * @param end when they end
 * @param rows how many there are
 */
record Workload(String name, Duration span, Instant end, int rows) {
  static final String COLUMNS =
      "tenant_id, ts, project_id, workflow_id, provider, model, user_id, session_id, status, input_tokens, output_tokens, cost_usd, duration_ms, ttft_ms";

  static final String TABLE =
      """
      (tenant_id text not null, ts timestamptz not null, project_id text, workflow_id text, provider text, model text, user_id text,
       session_id text, status text, input_tokens integer, output_tokens integer, cost_usd numeric(12, 6),
       duration_ms double precision, ttft_ms double precision)
      """;

  static final String ROLLUP =
      """
      rollup: %s
      source: {table: public.%s, tenant: tenant_id, time: ts, changes: append}
      dimensions: [project_id, workflow_id, provider, model]
      measures:
        requests:    count
        errors:      count where status = 'error'
        tokens:      "sum(input_tokens + output_tokens)"
        cost_usd:    sum(cost_usd)
        duration_ms: distribution(duration_ms)
        users:       distinct(user_id)
      grains: {1m: keep 37d, 5m: keep 90d, 1h: keep 210d, 1d: keep 1095d}
      """;

  private static final int KEYS = 500;
  private static final String[] MODELS = {"sonnet", "mini", "large", "flash", "small"};
  private static final String[] PROVIDERS = {"anthropic", "openai", "openai", "google", "mistral"};

  /** Writes the events in COPY's text format, about in order of time. */
  void write(Path file) throws IOException {
    Random random = new Random(name.hashCode());
    double[] weights = weights();
    long spanMicros = span.toNanos() / 1_000;
    long startMicros = end.getEpochSecond() * 1_000_000 - spanMicros;
    try (BufferedWriter out = Files.newBufferedWriter(file)) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < rows; i++) {
        double at = Math.clamp((i + 2_000 * random.nextGaussian()) / rows, 0, 0.999_999_999);
        line(line, random, weights, startMicros + (long) (at * spanMicros));
        out.append(line);
      }
    }
  }

  /** So many late events as lines, spread evenly over the whole span. */
  String late(int count) {
    Random random = new Random(77);
    double[] weights = weights();
    long spanMicros = span.toNanos() / 1_000;
    StringBuilder all = new StringBuilder();
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < count; i++) {
      line(
          line,
          random,
          weights,
          end.getEpochSecond() * 1_000_000 - 1 - (long) (random.nextDouble() * (spanMicros - 2)));
      all.append(line);
    }
    return all.toString();
  }

  private static double[] weights() {
    double[] cumulated = new double[KEYS];
    double sum = 0;
    for (int i = 0; i < KEYS; i++) {
      sum += 1 / Math.pow(i + 1, 0.6);
      cumulated[i] = sum;
    }
    return cumulated;
  }

  private static void line(StringBuilder line, Random random, double[] weights, long micros) {
    double pick = random.nextDouble() * weights[KEYS - 1];
    int key = Arrays.binarySearch(weights, pick);
    key = key < 0 ? -key - 1 : key;
    int tenant = key * 7 % 50;
    int model = key % MODELS.length;
    double duration = Math.exp(6.5 + random.nextGaussian());
    int input = (int) Math.exp(6 + random.nextGaussian());
    int output = (int) Math.exp(5 + random.nextGaussian());
    line.setLength(0);
    line.append("tenant-").append(tenant).append('\t');
    line.append(Instant.ofEpochSecond(micros / 1_000_000, micros % 1_000_000 * 1_000)).append('\t');
    line.append("project-").append(key % 11).append('\t');
    line.append(key % 3 == 0 ? "\\N" : "workflow-" + key % 4).append('\t');
    line.append(PROVIDERS[model]).append('\t').append(MODELS[model]).append('\t');
    line.append("user-")
        .append(tenant * 100 + (int) (100 * Math.pow(random.nextDouble(), 1.5)))
        .append('\t');
    line.append("session-").append(random.nextInt(1_000_000)).append('\t');
    line.append(random.nextInt(50) == 0 ? "error" : "ok").append('\t');
    line.append(input).append('\t').append(output).append('\t');
    long cost = input * 3L + output * 15L;
    line.append(cost / 1_000_000)
        .append('.')
        .append(Long.toString(1_000_000 + cost % 1_000_000), 1, 7)
        .append('\t');
    line.append(Math.round(duration * 1_000) / 1_000.0)
        .append('\t')
        .append(Math.round(duration * 100) / 1_000.0)
        .append('\n');
  }
}
