package dev.tallyroll.model;

/**
 * What kind of fault a {@link TallyrollException} reports. The exit code of a command follows from
 * it.
 */
public enum ErrorCode {
  /** Wrong usage or bad input: an option, a value, a file. */
  USAGE(2),
  /** A definition that does not parse or does not fit its table. */
  DEFINITION(2),
  /** A name that does not exist: a rollup, a measure, a dimension. */
  UNKNOWN_NAME(2),
  /** The database or another outside part failed. */
  DATABASE(3),
  /** A range that is needed is not covered, or no longer kept. */
  NOT_COVERED(3),
  /** Refused to protect data. */
  REFUSED(4);

  private final int exitCode;

  ErrorCode(int exitCode) {
    this.exitCode = exitCode;
  }

  /** The exit code of a command that ends with this fault: 2, 3 or 4. */
  public int exitCode() {
    return exitCode;
  }
}
