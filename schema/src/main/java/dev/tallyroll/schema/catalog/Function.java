package dev.tallyroll.schema.catalog;

import dev.tallyroll.session.Sql;
import java.util.List;

/**
 * A function or procedure.
 *
 * @param arguments the types that tell it from others of its name
 * @param isDefiner whether it runs with its owner's rights
 * @param settings what it sets while it runs, as {@code search_path=app}
 * @param body the source
 * @param isBound whether that is bound SQL (BEGIN ATOMIC), whose names were resolved when it was
 *     made
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
    boolean isBound,
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

  private static final String SEARCH_PATH = "search_path=";

  /** Whether it says itself where its names are looked up. */
  public boolean fixesSearchPath() {
    return settings.stream().anyMatch(setting -> setting.startsWith(SEARCH_PATH));
  }

  /**
   * Where it looks up its names; empty if it does not say, or has all of them with their schemas.
   */
  public String searchPath() {
    return settings.stream()
        .filter(setting -> setting.startsWith(SEARCH_PATH))
        .map(setting -> setting.substring(SEARCH_PATH.length()))
        .filter(path -> !path.equals("\"\"") && !path.equals("''"))
        .findFirst()
        .orElse("");
  }
}
