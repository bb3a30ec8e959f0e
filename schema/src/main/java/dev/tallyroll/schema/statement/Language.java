package dev.tallyroll.schema.statement;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/** Languages in whose programs SQL is looked for. */
enum Language {
  /** SQL itself. */
  SQL(".*\\.sql"),
  /** TypeScript and JavaScript. */
  TYPESCRIPT(".*(?<!\\.d)\\.([mc]?[jt]s|[jt]sx)"),
  /** Java. */
  JAVA(".*\\.java"),
  /** Go. */
  GO(".*\\.go"),
  /** Python. */
  PYTHON(".*\\.py");

  private final String files;

  Language(String files) {
    this.files = files;
  }

  /** The language of a file of this name. */
  static Optional<Language> of(String file) {
    String small = file.toLowerCase(Locale.ROOT);
    return Arrays.stream(values()).filter(language -> small.matches(language.files)).findFirst();
  }
}
