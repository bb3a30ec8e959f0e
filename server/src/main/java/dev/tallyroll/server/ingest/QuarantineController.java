package dev.tallyroll.server.ingest;

import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.events.EventQuarantine;
import dev.tallyroll.server.access.Caller;
import dev.tallyroll.server.access.Needs;
import dev.tallyroll.server.http.Page;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.server.usage.Readers;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.tags.Tag;
import jakarta.servlet.http.HttpServletRequest;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Shows what was acknowledged and could not be counted. */
@RestController
@Tag(name = "ingest")
public final class QuarantineController {
  private static final int MOST = 1_000;

  private final Readers readers;

  /** With connections. */
  public QuarantineController(Readers readers) {
    this.readers = readers;
  }

  /** The newest entries. */
  @GetMapping("/v1/quarantine")
  @Needs({Scope.READ, Scope.ADMIN})
  @Operation(
      operationId = "getQuarantine",
      summary = "Spans that were acknowledged and could not be counted, newest first")
  public Page quarantine(
      HttpServletRequest request,
      @Parameter(description = "The tenant to answer for; for scope admin, others have their own")
          @RequestParam(required = false)
          @Nullable String tenant,
      @RequestParam(defaultValue = "100") int limit,
      @RequestParam(required = false) @Nullable Long cursor) {
    if (limit < 1 || limit > MOST) {
      throw new ProblemException(Problem.BAD_REQUEST, "limit is a number from 1 to " + MOST);
    }
    Optional<String> whose = Caller.of(request).tenantFor(tenant);
    List<EventQuarantine.Entry> found =
        readers.read(
            whose,
            connection ->
                EventQuarantine.newest(
                    connection, whose.orElse(""), cursor == null ? Long.MAX_VALUE : cursor, limit));
    return new Page(
        found.stream().map(QuarantineController::told).toList(),
        found.size() < limit ? null : Long.toString(found.getLast().id()));
  }

  private static Map<String, @Nullable Object> told(EventQuarantine.Entry entry) {
    Map<String, @Nullable Object> told = new LinkedHashMap<>();
    told.put("id", entry.id());
    told.put("tenant", entry.tenant());
    told.put("quarantined_at", entry.at().toString());
    told.put("kind", entry.kind());
    told.put("reason", entry.reason());
    told.put("payload", entry.payload());
    return told;
  }
}
