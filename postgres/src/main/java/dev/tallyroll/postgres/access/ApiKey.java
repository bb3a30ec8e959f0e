package dev.tallyroll.postgres.access;

import java.time.Instant;
import java.util.Optional;

/**
 * A credential, without its secret. Immutable.
 *
 * @param id its id, which may be shown
 * @param tenant whose it is; empty for scope admin
 * @param scope what it is for
 * @param createdAt when it was made
 * @param expiresAt from when on it is no longer accepted
 * @param revokedAt when it was revoked
 * @param lastUsedAt when it was last used, to within a minute
 */
public record ApiKey(
    String id,
    Optional<String> tenant,
    Scope scope,
    Instant createdAt,
    Optional<Instant> expiresAt,
    Optional<Instant> revokedAt,
    Optional<Instant> lastUsedAt) {}
