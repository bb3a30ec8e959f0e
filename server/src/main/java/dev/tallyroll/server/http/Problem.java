package dev.tallyroll.server.http;

import java.util.Arrays;
import java.util.Optional;

/**
 * The kinds of errors that the server answers with. Each has a page at {@code
 * https://tallyroll.dev/problems/<slug>} and a line in docs/http-api.md.
 */
public enum Problem {
  /** A parameter, a header or a body does not read. */
  BAD_REQUEST("bad-request", 400, "The request cannot be read"),
  /** Events of a batch are refused; nothing of it is stored. */
  INVALID_EVENT("invalid-event", 400, "An event is refused, and nothing of the request is stored"),
  /** No credential, or one that is unknown, expired or revoked. */
  UNAUTHORIZED("unauthorized", 401, "A valid key is needed"),
  /** The credential is for something else. */
  FORBIDDEN("forbidden", 403, "The key is not for this"),
  /** There is nothing here. */
  NOT_FOUND("not-found", 404, "There is nothing of this name"),
  /** No rollup has this name. */
  UNKNOWN_ROLLUP("unknown-rollup", 404, "There is no rollup of this name"),
  /** The path is there, the method is not. */
  METHOD_NOT_ALLOWED("method-not-allowed", 405, "This path takes other methods"),
  /** No answer is of a kind that is accepted. */
  NOT_ACCEPTABLE("not-acceptable", 406, "No answer is of a kind that the request accepts"),
  /** The body did not come in time. */
  BODY_TIMEOUT("body-timeout", 408, "The body did not come in time"),
  /** What is to be made is there with other properties. */
  CONFLICT("conflict", 409, "It is there already, and differs"),
  /** A part of the range cannot be answered. */
  UNCOVERED("uncovered", 409, "A part of the range cannot be answered"),
  /** The body is too large. */
  TOO_LARGE("too-large", 413, "The body is too large"),
  /** The body is of a kind that is not read here. */
  UNSUPPORTED_MEDIA_TYPE(
      "unsupported-media-type", 415, "The body is of a kind that is not read here"),
  /** The tenant sends faster than it may. */
  RATE_LIMITED("rate-limited", 429, "The tenant sends faster than it may"),
  /** Something is wrong with the server itself. */
  INTERNAL("internal", 500, "The server made a mistake"),
  /** The server has more to do than it takes on. */
  OVERLOADED("overloaded", 503, "The server has more to do than it takes on"),
  /** The database does not answer, or refuses. */
  DATABASE("database", 503, "The database does not answer, or refuses");

  private final String slug;
  private final int status;
  private final String title;

  Problem(String slug, int status, String title) {
    this.slug = slug;
    this.status = status;
    this.title = title;
  }

  /** The end of its address. */
  public String slug() {
    return slug;
  }

  /** Its address. */
  public String type() {
    return "https://tallyroll.dev/problems/" + slug;
  }

  /** The status of the answer. */
  public int status() {
    return status;
  }

  /** What it is, the same for each. */
  public String title() {
    return title;
  }

  /** The first kind with this status. */
  public static Optional<Problem> of(int status) {
    return Arrays.stream(values()).filter(problem -> problem.status == status).findFirst();
  }
}
