package dev.tallyroll.model.event;

import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * The columns of the event log that an event's data may fill, in the order of the table. A member
 * of the data that has the name and the type of one of them goes there, everything else to the
 * attributes.
 */
public enum EventColumn {
  PROJECT_ID(Type.TEXT),
  USER_ID(Type.TEXT),
  AGENT_ID(Type.TEXT),
  WORKFLOW_ID(Type.TEXT),
  SESSION_ID(Type.TEXT),
  PROVIDER(Type.TEXT),
  MODEL(Type.TEXT),
  OPERATION(Type.TEXT),
  STATUS(Type.TEXT),
  ERROR_TYPE(Type.TEXT),
  DURATION_MS(Type.REAL),
  TTFT_MS(Type.REAL),
  INPUT_TOKENS(Type.WHOLE),
  OUTPUT_TOKENS(Type.WHOLE),
  CACHE_READ_TOKENS(Type.WHOLE),
  CACHE_WRITE_TOKENS(Type.WHOLE),
  REASONING_TOKENS(Type.WHOLE),
  QUANTITY(Type.DECIMAL),
  UNIT(Type.TEXT);

  /** What a column holds, and the class of its values. */
  public enum Type {
    /** {@code text}: a String. */
    TEXT,
    /** {@code bigint}: a Long. */
    WHOLE,
    /** {@code double precision}: a finite Double. */
    REAL,
    /** {@code numeric}: a BigDecimal. */
    DECIMAL
  }

  private static final Map<String, EventColumn> BY_NAME =
      Arrays.stream(values()).collect(Collectors.toMap(EventColumn::label, Function.identity()));

  private final String label = name().toLowerCase(Locale.ROOT);
  private final Type type;

  EventColumn(Type type) {
    this.type = type;
  }

  /** Its name in SQL and in an event's data. */
  public String label() {
    return label;
  }

  /** What it holds. */
  public Type type() {
    return type;
  }

  /** The column of this name, if there is one. */
  public static Optional<EventColumn> of(String name) {
    return Optional.ofNullable(BY_NAME.get(name));
  }
}
