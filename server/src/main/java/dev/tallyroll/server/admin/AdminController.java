package dev.tallyroll.server.admin;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.access.ApiKey;
import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.server.access.Needs;
import dev.tallyroll.server.http.Page;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.server.usage.Readers;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.tags.Tag;
import java.time.Instant;
import java.time.InstantSource;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Makes tenants and keys. */
@RestController
@Tag(name = "admin")
public final class AdminController {
  private static final int PAGE = 1_000;

  private final Readers readers;
  private final InstantSource clock;

  /** With connections. */
  public AdminController(Readers readers, InstantSource clock) {
    this.readers = readers;
    this.clock = clock;
  }

  /**
   * A tenant to make.
   *
   * @param id its id
   * @param zone the IANA zone in which its days begin; UTC if it is left out
   */
  public record NewTenant(@Nullable String id, @Nullable String zone) {}

  /**
   * A key to make.
   *
   * @param tenant whose it is to be; none for scope admin
   * @param scope ingest, read or admin
   * @param expires_at from when on it is not accepted any more; never if it is left out
   */
  public record NewKey(
      @Nullable String tenant, @Nullable String scope, @Nullable String expires_at) {}

  /** Makes a tenant. */
  @PostMapping("/v1/tenants")
  @Needs(Scope.ADMIN)
  @Operation(operationId = "postTenant", summary = "Makes a tenant; the same again changes nothing")
  public ResponseEntity<Map<String, @Nullable Object>> createTenant(@RequestBody NewTenant asked) {
    if (asked.id() == null) {
      throw new ProblemException(Problem.BAD_REQUEST, "id is missing");
    }
    return new Tenants(readers.owner())
        .create(asked.id(), asked.zone())
        .map(tenant -> ResponseEntity.status(HttpStatus.CREATED).body(told(tenant)))
        .orElseThrow(() ->
            new ProblemException(
                Problem.CONFLICT, "there is a tenant of this id, with another zone"));
  }

  private static Map<String, @Nullable Object> told(Tenants.Tenant tenant) {
    Map<String, @Nullable Object> told = new LinkedHashMap<>();
    told.put("id", tenant.id());
    told.put("zone", tenant.zone());
    told.put("created_at", tenant.createdAt().toString());
    return told;
  }

  /** The tenants. */
  @GetMapping("/v1/tenants")
  @Needs(Scope.ADMIN)
  @Operation(operationId = "getTenants", summary = "The tenants, in order of id")
  public Page tenants(@RequestParam(defaultValue = "") String cursor) {
    List<Tenants.Tenant> found = new Tenants(readers.owner()).list(cursor, PAGE);
    return new Page(
        found.stream().map(AdminController::told).toList(),
        found.size() < PAGE ? null : found.getLast().id());
  }

  /** Makes a key. */
  @PostMapping("/v1/keys")
  @Needs(Scope.ADMIN)
  @Operation(operationId = "postKey", summary = "Makes a key, and shows it for the only time")
  public ResponseEntity<Map<String, @Nullable Object>> createKey(@RequestBody NewKey asked) {
    Scope scope =
        Scope.of(asked.scope() == null ? "" : asked.scope())
            .orElseThrow(
                () -> new ProblemException(Problem.BAD_REQUEST, "scope is ingest, read or admin"));
    Instant expires = expires(asked.expires_at());
    try {
      ApiKeys.NewKey made = new ApiKeys(readers.owner()).create(asked.tenant(), scope, expires);
      Map<String, @Nullable Object> told = told(made.key());
      told.put("key", made.token());
      return ResponseEntity.status(HttpStatus.CREATED).body(told);
    } catch (TallyrollException e) {
      if (e.code() == ErrorCode.UNKNOWN_NAME) {
        throw new ProblemException(
            Problem.BAD_REQUEST, "there is no such tenant; make it first by POST /v1/tenants");
      }
      throw e;
    }
  }

  private @Nullable Instant expires(@Nullable String text) {
    if (text == null) {
      return null;
    }
    Instant instant;
    try {
      instant = OffsetDateTime.parse(text).toInstant();
    } catch (DateTimeParseException e) {
      throw new ProblemException(
          Problem.BAD_REQUEST, "expires_at is an instant, as 2027-01-01T00:00:00Z");
    }
    if (!instant.isAfter(clock.instant())) {
      throw new ProblemException(Problem.BAD_REQUEST, "expires_at lies in the past");
    }
    return instant;
  }

  private static Map<String, @Nullable Object> told(ApiKey key) {
    Map<String, @Nullable Object> told = new LinkedHashMap<>();
    told.put("id", key.id());
    told.put("tenant", key.tenant().orElse(null));
    told.put("scope", key.scope().label());
    told.put("created_at", key.createdAt().toString());
    told.put("expires_at", key.expiresAt().map(Instant::toString).orElse(null));
    told.put("revoked_at", key.revokedAt().map(Instant::toString).orElse(null));
    told.put("last_used_at", key.lastUsedAt().map(Instant::toString).orElse(null));
    return told;
  }

  /** The keys, without their secrets. */
  @GetMapping("/v1/keys")
  @Needs(Scope.ADMIN)
  @Operation(operationId = "getKeys", summary = "The keys without their secrets, in order of id")
  public Page keys(
      @RequestParam(required = false) @Nullable String tenant,
      @RequestParam(defaultValue = "") String cursor) {
    List<ApiKey> found = new ApiKeys(readers.owner()).list(tenant, cursor, PAGE);
    return new Page(
        found.stream().map(AdminController::told).toList(),
        found.size() < PAGE ? null : found.getLast().id());
  }

  /** Revokes a key; within 5 s no server accepts it any more. */
  @DeleteMapping("/v1/keys/{id}")
  @Needs(Scope.ADMIN)
  @Operation(operationId = "deleteKey", summary = "Revokes a key, on all servers within 5 s")
  public ResponseEntity<Void> revokeKey(@PathVariable String id) {
    if (!new ApiKeys(readers.owner()).revoke(id)) {
      throw new ProblemException(Problem.NOT_FOUND, "there is no key of this id");
    }
    return ResponseEntity.noContent().build();
  }
}
