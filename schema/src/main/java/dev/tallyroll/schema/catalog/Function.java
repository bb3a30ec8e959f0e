package dev.tallyroll.schema.catalog;

import dev.tallyroll.session.Sql;
import java.util.List;

/**
 * A function or procedure.
 *
 * @param arguments the types that tell it from others of its name
 * @param isDefiner whether it runs with its owner's rights
 * @param settings what it sets while it runs, as {@code search_path=app}
 * @param body the source; empty if it is bound SQL (BEGIN ATOMIC), whose names were resolved when
 *     it was made
 * @param isProcedure whether it is called and not selected
 * @param isTrigger whether only triggers can call it
 * @param callers who may call it besides the owner; {@code public} is everybody
 */
public record Function(
    String schema,
    String name,
    String arguments,
    String owner,
    boolean isDefiner,
    List<String> settings,
    String language,
    String body,
    boolean isProcedure,
    boolean isTrigger,
    List<String> callers) {
  /** Copies. */
  public Function {
    settings = List.copyOf(settings);
    callers = List.copyOf(callers);
  }

  /** Name and arguments, for people and as the object of a finding. */
  public String qualified() {
    return schema + "." + name + "(" + arguments + ")";
  }

  /** Kind, name and arguments, for ALTER. */
  public String sql() {
    return (isProcedure ? "procedure " : "function ")
        + Sql.identifier(schema)
        + "."
        + Sql.identifier(name)
        + "("
        + arguments
        + ")";
  }

  /** Whether it says itself where its names are looked up. */
  public boolean fixesSearchPath() {
    return settings.stream().anyMatch(setting -> setting.startsWith("search_path="));
  }
}
