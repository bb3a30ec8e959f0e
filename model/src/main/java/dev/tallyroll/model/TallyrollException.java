package dev.tallyroll.model;

import org.jspecify.annotations.Nullable;

/**
 * The one exception of Tallyroll. Its message is one line for the user: what is wrong, where, and
 * how to mend it. It is shown without a stack trace.
 */
public class TallyrollException extends RuntimeException {
  private final ErrorCode code;

  /** A fault with a message for the user. */
  public TallyrollException(ErrorCode code, String message) {
    this(code, message, null);
  }

  /** A fault with a message for the user and the exception that caused it. */
  public TallyrollException(ErrorCode code, String message, @Nullable Throwable cause) {
    super(message, cause);
    this.code = code;
  }

  /** What kind of fault this is. */
  public ErrorCode code() {
    return code;
  }

  /** The message; never null. */
  @Override
  public String getMessage() {
    String message = super.getMessage();
    return message == null ? code.name() : message;
  }
}
