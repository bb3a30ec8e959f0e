package dev.tallyroll.server.upkeep;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.server.access.Needs;
import dev.tallyroll.session.Database;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.tags.Tag;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** Tells whether the server lives, is ready, and what it measures. */
@RestController
@Tag(name = "operations")
public final class HealthController {
  private static final String OPEN_METRICS =
      "application/openmetrics-text; version=1.0.0; charset=utf-8";

  private final Database application;
  private final Upkeep upkeep;
  private final CommitHealth commits;
  private final PrometheusMeterRegistry registry;

  /** With what it tells of. */
  public HealthController(
      Database application, Upkeep upkeep, CommitHealth commits, PrometheusMeterRegistry registry) {
    this.application = application;
    this.upkeep = upkeep;
    this.commits = commits;
    this.registry = registry;
  }

  /** What a check found: {@code status} is ok, degraded or failed, {@code checks} says why. */
  public record Health(String status, Map<String, String> checks) {
    /** Copies the map. */
    public Health {
      checks = new LinkedHashMap<>(checks);
    }
  }

  /** That the process answers. */
  @GetMapping("/livez")
  @Needs({})
  @Operation(operationId = "getLive", summary = "Whether the process answers")
  public Health live() {
    return new Health("ok", Map.of());
  }

  /**
   * Whether requests can be served. A refresh that fails does not keep events from being taken in,
   * nor fresh answers from being right: it is told, and the server stays ready.
   */
  @GetMapping("/readyz")
  @Needs({})
  @Operation(
      operationId = "getReady",
      summary = "Whether requests can be served, and what is wrong")
  public ResponseEntity<Health> ready() {
    Map<String, String> checks = new LinkedHashMap<>();
    boolean isReady = true;
    try {
      int version = application.with("serve", Schema::versionOf);
      boolean isCurrent = version == Schema.version();
      checks.put("database", "ok");
      checks.put(
          "migrations",
          isCurrent
              ? "ok"
              : "pending: the schema is of version "
                  + version
                  + ", this program's is "
                  + Schema.version());
      isReady = isCurrent;
    } catch (TallyrollException e) {
      checks.put("database", "gone");
      isReady = false;
    }
    String disk = commits.disk();
    checks.put("disk", disk);
    isReady &= disk.equals("ok");
    Map<String, String> failing = upkeep.failing();
    checks.put(
        "refresh", failing.isEmpty() ? "ok" : "failing: " + String.join(", ", failing.keySet()));
    return ResponseEntity.status(isReady ? HttpStatus.OK : HttpStatus.SERVICE_UNAVAILABLE)
        .body(new Health(!isReady ? "failed" : failing.isEmpty() ? "ok" : "degraded", checks));
  }

  /** What is measured, in the text format of OpenMetrics, or of Prometheus for those who ask. */
  @GetMapping("/metrics")
  @Needs({})
  @Operation(operationId = "getMetrics", summary = "What is measured, in OpenMetrics' text format")
  public void metrics(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String accept = Objects.requireNonNullElse(request.getHeader("Accept"), "");
    String type =
        accept.contains("text/plain") && !accept.contains("openmetrics")
            ? "text/plain; version=0.0.4; charset=utf-8"
            : OPEN_METRICS;
    byte[] body = registry.scrape(type).getBytes(StandardCharsets.UTF_8);
    response.setContentType(type);
    response.setContentLength(body.length);
    response.getOutputStream().write(body);
  }
}
