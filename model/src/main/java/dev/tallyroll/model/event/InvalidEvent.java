package dev.tallyroll.model.event;

/**
 * Why an event is refused: what is wrong with which of its fields. Expected, so it has no stack
 * trace.
 */
public final class InvalidEvent extends Exception {
  private static final long serialVersionUID = 1L;

  private final String field;

  /**
   * A fault.
   *
   * @param field the field, as {@code time} or {@code data.model}
   * @param detail what is wrong and how to mend it, without the field's value
   */
  public InvalidEvent(String field, String detail) {
    super(detail, null, false, false);
    this.field = field;
  }

  /** The field. */
  public String field() {
    return field;
  }

  /** What is wrong with it. */
  public String detail() {
    return String.valueOf(getMessage());
  }
}
