package dev.tallyroll.server.http;

import java.util.List;
import java.util.OptionalInt;

/** A request that is answered with an error. Expected, so it has no stack trace. */
public final class ProblemException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Most faults of a batch that are told. */
  public static final int MOST_FAULTS = 100;

  /**
   * What is wrong with one event of a batch.
   *
   * @param index its place, from 0
   * @param field which of its fields
   * @param detail what is wrong
   */
  public record Fault(int index, String field, String detail) implements java.io.Serializable {}

  private final Problem problem;
  private final transient List<Fault> faults;
  private final int retryAfter;

  /** An error with a detail for whoever sent the request. */
  public ProblemException(Problem problem, String detail) {
    this(problem, detail, List.of(), -1);
  }

  private ProblemException(Problem problem, String detail, List<Fault> faults, int retryAfter) {
    super(detail, null, false, false);
    this.problem = problem;
    this.faults = List.copyOf(faults);
    this.retryAfter = retryAfter;
  }

  /** Events of a batch are refused. */
  public static ProblemException invalid(List<Fault> faults, int events) {
    return new ProblemException(
        Problem.INVALID_EVENT,
        faults.size()
            + (faults.size() == MOST_FAULTS ? " or more" : "")
            + (faults.size() == 1 ? " fault in " : " faults in ")
            + events
            + (events == 1 ? " event" : " events")
            + "; nothing was stored",
        faults,
        -1);
  }

  /** To be tried again after some seconds. */
  public static ProblemException retry(Problem problem, String detail, int seconds) {
    return new ProblemException(problem, detail, List.of(), seconds);
  }

  /** What kind of error it is. */
  public Problem problem() {
    return problem;
  }

  /** What is wrong, for whoever sent the request. */
  public String detail() {
    return String.valueOf(getMessage());
  }

  /** What is wrong with which event. */
  public List<Fault> faults() {
    return faults;
  }

  /** After how many seconds it may be tried again. */
  public OptionalInt retryAfter() {
    return retryAfter < 0 ? OptionalInt.empty() : OptionalInt.of(retryAfter);
  }
}
