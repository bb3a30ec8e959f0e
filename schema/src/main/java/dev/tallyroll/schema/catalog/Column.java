package dev.tallyroll.schema.catalog;

import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A column of a relation.
 *
 * @param number its number in the catalogs
 * @param type with its modifiers, as {@code numeric(5,2)}
 * @param typeName the bare name of the type, as {@code uuid}
 * @param isNotNull whether no row has NULL: NOT NULL, and proved for old rows
 * @param unproved the name of its NOT NULL NOT VALID, which PostgreSQL 18 has: new rows are
 *     checked, old ones may be NULL; null without one
 * @param byDefault the SQL of its default or of what generates it; null without one
 * @param isIdentity GENERATED ... AS IDENTITY
 * @param isGenerated GENERATED ALWAYS AS (expression)
 */
public record Column(
    int number,
    String name,
    String type,
    String typeName,
    boolean isNotNull,
    @Nullable String unproved,
    @Nullable String byDefault,
    boolean isIdentity,
    boolean isGenerated) {
  private static final Set<String> UUID_FUNCTIONS =
      Set.of(
          "gen_random_uuid()",
          "uuidv4()",
          "uuidv7()",
          "uuid_generate_v1()",
          "uuid_generate_v1mc()",
          "uuid_generate_v4()",
          "uuid_generate_v7()");

  /**
   * Whether the database itself makes up its values, and never one twice: an identity, a sequence
   * or a uuid.
   */
  public boolean isSurrogate() {
    if (isIdentity) {
      return true;
    }
    String made = byDefault;
    if (made == null || isGenerated) {
      return false;
    }
    String bare = made.substring(made.lastIndexOf('.') + 1);
    return made.startsWith("nextval(")
        || UUID_FUNCTIONS.contains(bare)
        // Modifiers and a change of type stand around it: (gen_random_uuid())::text
        || UUID_FUNCTIONS.stream().anyMatch(function -> made.startsWith("(" + function + ")::"));
  }
}
