package dev.tallyroll.server.usage;

import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Where a page ended: the range, so that the next page is of the same one though the day has
 * changed, and the key of its last row. Immutable.
 *
 * @param from the start of the range
 * @param to its end
 * @param place how many rows there were up to here
 * @param key tenant, bucket and dimensions of the last row, as text; null for NULL
 */
record Cursor(Instant from, Instant to, int place, List<@Nullable String> key) {
  /** As it stands in an answer. */
  String text() {
    StringBuilder plain = new StringBuilder();
    plain.append(from).append('\n').append(to).append('\n').append(place);
    for (String part : key) {
      plain.append('\n').append(part == null ? "-" : "+" + escaped(part));
    }
    return Base64.getUrlEncoder()
        .withoutPadding()
        .encodeToString(plain.toString().getBytes(StandardCharsets.UTF_8));
  }

  private static String escaped(String text) {
    return text.replace("\\", "\\\\").replace("\n", "\\n");
  }

  private static String unescaped(String text) {
    StringBuilder plain = new StringBuilder();
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '\\' && i + 1 < text.length()) {
        char next = text.charAt(++i);
        plain.append(next == 'n' ? '\n' : next);
      } else {
        plain.append(c);
      }
    }
    return plain.toString();
  }

  /**
   * Reads one.
   *
   * @throws ProblemException if it is none
   */
  static Cursor parse(String text) {
    try {
      String[] parts =
          new String(Base64.getUrlDecoder().decode(text), StandardCharsets.UTF_8).split("\n", -1);
      List<@Nullable String> key = new ArrayList<>();
      for (int i = 3; i < parts.length; i++) {
        key.add(parts[i].equals("-") ? null : unescaped(parts[i].substring(1)));
      }
      return new Cursor(
          Instant.parse(parts[0]), Instant.parse(parts[1]), Integer.parseInt(parts[2]), key);
    } catch (IllegalArgumentException | IndexOutOfBoundsException | DateTimeException e) {
      throw new ProblemException(
          Problem.BAD_REQUEST, "cursor is not the 'next' of an answer to this question");
    }
  }
}
