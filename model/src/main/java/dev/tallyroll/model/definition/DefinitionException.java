package dev.tallyroll.model.definition;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.util.List;
import java.util.stream.Collectors;

/**
 * The faults of a definition file: a line each, as {@code file:line:column: what, and how to mend
 * it}.
 */
public final class DefinitionException extends TallyrollException {
  /**
   * One fault.
   *
   * @param file the name of the file, as the user gave it
   * @param position where in the file
   * @param message what is wrong and how to mend it
   */
  public record Fault(String file, Position position, String message) {
    @Override
    public String toString() {
      return file + ":" + position.line() + ":" + position.column() + ": " + message;
    }
  }

  private final transient List<Fault> faults;

  /** All faults that were found, at least one. */
  public DefinitionException(List<Fault> faults) {
    super(
        ErrorCode.DEFINITION,
        faults.stream().map(Fault::toString).collect(Collectors.joining("\n")));
    this.faults = List.copyOf(faults);
  }

  /** The faults in the order of their positions. */
  public List<Fault> faults() {
    return faults;
  }
}
