package dev.tallyroll.server.access;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.model.event.InvalidEvent;
import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.session.Database;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.web.method.HandlerMethod;
import org.springframework.web.servlet.HandlerInterceptor;

/**
 * Lets requests through to endpoints by their credential. What the database says of a credential is
 * believed for {@link #TRUSTED_FOR}, so that a revocation holds on all servers within 5 s.
 * Thread-safe.
 */
public final class Access implements HandlerInterceptor {
  /** How long a credential is trusted once it was looked up. */
  static final Duration TRUSTED_FOR = Duration.ofSeconds(3);

  static final String FORBIDDEN_DETAIL = "the key is of another scope, or of another tenant";

  private static final int MOST_KNOWN = 100_000;
  private static final String OURS = "dev.tallyroll.";

  private final Database database;
  private final InstantSource clock;
  private final Cache<String, Optional<ApiKeys.Known>> known =
      Caffeine.newBuilder().maximumSize(MOST_KNOWN).expireAfterWrite(TRUSTED_FOR).build();
  private volatile int tracesPort = -1;
  private final Set<String> used = ConcurrentHashMap.newKeySet();

  /** Looks credentials up as the application role. */
  public Access(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
  }

  /** Says that on a port there is nothing but {@code /v1/traces}. */
  public void onlyTracesOn(int port) {
    tracesPort = port;
  }

  @Override
  public boolean preHandle(
      HttpServletRequest request, HttpServletResponse response, Object handler) {
    if (request.getLocalPort() == tracesPort && !request.getRequestURI().equals("/v1/traces")) {
      throw new ProblemException(Problem.NOT_FOUND, "here is only /v1/traces");
    }
    checkText("the path", request.getServletPath());
    parameters(request)
        .forEach((name, values) -> {
          checkText("a parameter's name", name);
          for (String value : values) {
            checkText(name, value);
          }
        });
    if (!(handler instanceof HandlerMethod method)
        || !method.getBeanType().getName().startsWith(OURS)) {
      return true;
    }
    Needs needs = method.getMethodAnnotation(Needs.class);
    if (needs != null && needs.value().length == 0) {
      return true;
    }
    Caller caller = authenticate(request);
    if (needs == null || !Arrays.asList(needs.value()).contains(caller.scope())) {
      throw new ProblemException(Problem.FORBIDDEN, FORBIDDEN_DETAIL);
    }
    request.setAttribute(Caller.ATTRIBUTE, caller);
    return true;
  }

  private static Map<String, String[]> parameters(HttpServletRequest request) {
    try {
      return request.getParameterMap();
    } catch (IllegalStateException | IllegalArgumentException e) {
      throw new ProblemException(Problem.BAD_REQUEST, "the query of the address does not read");
    }
  }

  /** What PostgreSQL cannot store nobody has asked for. */
  private static void checkText(String what, String text) {
    try {
      EventLimits.storable(what, text);
    } catch (InvalidEvent e) {
      throw new ProblemException(Problem.BAD_REQUEST, what + " " + e.detail());
    }
  }

  private Caller authenticate(HttpServletRequest request) {
    String header = request.getHeader("Authorization");
    if (header == null) {
      throw new ProblemException(
          Problem.UNAUTHORIZED, "send the header Authorization: Bearer tr_<id>_<secret>");
    }
    Optional<ApiKeys.Token> token =
        header.regionMatches(true, 0, "Bearer ", 0, 7)
            ? ApiKeys.Token.parse(header.substring(7).strip())
            : Optional.empty();
    return token
        .flatMap(one -> lookUp(one.id()).filter(key -> key.accepts(one.secret(), clock.instant())))
        .map(key -> {
          used.add(key.id());
          return new Caller(key.id(), key.tenant(), key.scope());
        })
        .orElseThrow(() ->
            new ProblemException(
                Problem.UNAUTHORIZED, "the key is unknown, has expired or was revoked"));
  }

  private Optional<ApiKeys.Known> lookUp(String id) {
    Optional<ApiKeys.Known> found = known.getIfPresent(id);
    if (found == null) {
      found = database.with("serve", connection -> ApiKeys.find(connection, id));
      known.put(id, found);
    }
    return found;
  }

  /** Writes down which credentials were used since the last time. */
  public void writeUses() {
    List<String> ids = new ArrayList<>(used);
    if (!ids.isEmpty()) {
      database.with(
          "serve",
          connection -> {
            ApiKeys.use(connection, ids);
            return true;
          });
      used.removeAll(ids);
    }
  }
}
