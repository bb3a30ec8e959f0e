package dev.tallyroll.server.http;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A part of a list, as it stands in an answer.
 *
 * @param data what is in it
 * @param next the {@code cursor} of the next part; null if there is none
 */
public record Page(List<Map<String, @Nullable Object>> data, @Nullable String next) {
  /** Copies the list. */
  public Page {
    data = List.copyOf(data);
  }
}
