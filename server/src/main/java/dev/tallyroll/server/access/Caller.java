package dev.tallyroll.server.access;

import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import jakarta.servlet.http.HttpServletRequest;
import java.util.Optional;

/**
 * Who asks, as the credential says. Immutable.
 *
 * @param keyId the credential's id
 * @param tenant whose it is; empty for scope admin
 * @param scope what it is for
 */
public record Caller(String keyId, Optional<String> tenant, Scope scope) {
  static final String ATTRIBUTE = Caller.class.getName();

  /** The caller of a request that was let through. */
  public static Caller of(HttpServletRequest request) {
    if (request.getAttribute(ATTRIBUTE) instanceof Caller caller) {
      return caller;
    }
    throw new ProblemException(Problem.UNAUTHORIZED, "no credential");
  }

  /** The tenant of a caller whose scope has one. */
  public String ownTenant() {
    return tenant.orElseThrow(
        () -> new ProblemException(Problem.FORBIDDEN, Access.FORBIDDEN_DETAIL));
  }

  /**
   * The tenant to answer for.
   *
   * @param asked the one that the request names; null if it names none
   * @return empty for all tenants
   * @throws ProblemException if it is another one's, whether there is such a tenant or not
   */
  public Optional<String> tenantFor(@org.jspecify.annotations.Nullable String asked) {
    if (tenant.isEmpty()) {
      return Optional.ofNullable(asked);
    }
    if (asked != null && !asked.equals(tenant.get())) {
      throw new ProblemException(Problem.FORBIDDEN, Access.FORBIDDEN_DETAIL);
    }
    return tenant;
  }
}
