package dev.tallyroll.model.event;

import java.util.Collections;
import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * An event that was checked and can be stored. Immutable, but for the bytes of its attributes,
 * which nobody must change.
 *
 * @param source where it comes from; with the id it tells it from all others of its tenant
 * @param id its id
 * @param time when it happened, in microseconds since the epoch
 * @param type what it is
 * @param subject what it is about; null if that is not told
 * @param values what fills columns: String, Long, Double or BigDecimal, as the column's type says
 * @param attributes everything else, as the text of a JSON object; null if there is nothing
 */
public record Event(
    String source,
    String id,
    long time,
    String type,
    @Nullable String subject,
    Map<EventColumn, Object> values,
    @Nullable String attributes) {
  /** Takes the map over, which nobody must change afterwards. */
  public Event {
    values =
        values.isEmpty()
            ? Map.of()
            : Collections.unmodifiableMap(
                values instanceof EnumMap ? values : new EnumMap<>(values));
  }
}
