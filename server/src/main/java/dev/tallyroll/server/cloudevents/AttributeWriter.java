package dev.tallyroll.server.cloudevents;

import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.model.event.InvalidEvent;
import java.io.StringWriter;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.StreamWriteFeature;
import tools.jackson.core.io.JsonStringEncoder;
import tools.jackson.core.json.JsonFactory;

/**
 * Collects what fills no column as a JSON object, checked so that {@code jsonb} takes it: no
 * U+0000, no halves of surrogate pairs, no number that {@code numeric} cannot hold. For one thread
 * and one event.
 */
final class AttributeWriter {
  private static final JsonFactory JSON =
      JsonFactory.builder().disable(StreamWriteFeature.AUTO_CLOSE_CONTENT).build();

  /** Far below what {@code numeric} holds: 131,072 digits before the point. */
  private static final int MOST_EXPONENT = 1_000;

  private final EventLimits limits;
  private final StringBuilder object = new StringBuilder();
  private int count;

  AttributeWriter(EventLimits limits) {
    this.limits = limits;
  }

  /** The object; null if there is nothing in it. */
  @Nullable String json() {
    return count == 0 ? null : object + "}";
  }

  /** Adds the value that the parser stands on, and leaves it at the value's end. */
  void add(String field, String name, JsonParser parser) throws InvalidEvent {
    if (parser.currentToken() == JsonToken.VALUE_STRING) {
      addText(field, name, parser.getString());
      return;
    }
    StringWriter text = new StringWriter();
    InvalidEvent fault = null;
    try (JsonGenerator json = JSON.createGenerator(ObjectWriteContext.empty(), text)) {
      fault = copy(field, parser, json);
    }
    if (fault != null) {
      throw fault;
    }
    add(field, name, text.toString());
  }

  /** Adds a text. */
  void addText(String field, String name, String value) throws InvalidEvent {
    EventLimits.storable(field, value);
    add(field, name, quoted(value));
  }

  private void add(String field, String name, String json) throws InvalidEvent {
    EventLimits.storable(field, name);
    if (name.length() > limits.textBytes()) {
      throw new InvalidEvent(
          "data", "has an attribute whose name is longer than " + limits.textBytes());
    }
    // A character has at least a byte: no need to count those of short ones.
    int bytes =
        json.length() * 3 <= limits.attributeBytes()
            ? json.length()
            : json.getBytes(java.nio.charset.StandardCharsets.UTF_8).length;
    if (bytes > limits.attributeBytes()) {
      throw new InvalidEvent(
          field, "has " + bytes + " bytes as JSON; the most is " + limits.attributeBytes());
    }
    if (count == limits.attributes()) {
      throw new InvalidEvent("data", "has more than " + limits.attributes() + " attributes");
    }
    object.append(count++ == 0 ? '{' : ',').append(quoted(name)).append(':').append(json);
  }

  private static String quoted(String text) {
    StringBuilder quoted = new StringBuilder(text.length() + 2).append('"');
    JsonStringEncoder.getInstance().quoteAsString(text, quoted);
    return quoted.append('"').toString();
  }

  /** Copies a value whole, whatever is wrong with it, so that the parser is where it must be. */
  private static @Nullable InvalidEvent copy(String field, JsonParser parser, JsonGenerator json) {
    InvalidEvent fault = null;
    int depth = 0;
    JsonToken token = parser.currentToken();
    while (true) {
      switch (token) {
        case START_OBJECT, START_ARRAY -> {
          json.copyCurrentEvent(parser);
          depth++;
        }
        case END_OBJECT, END_ARRAY -> {
          json.copyCurrentEvent(parser);
          depth--;
        }
        case PROPERTY_NAME -> {
          fault = first(fault, field, parser.currentName());
          json.writeName(parser.currentName());
        }
        case VALUE_STRING -> {
          fault = first(fault, field, parser.getString());
          json.writeString(parser.getString());
        }
        case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> {
          String number = parser.getString();
          if (fault == null && !isStorable(number)) {
            fault = new InvalidEvent(field, "holds a number that is out of range");
          }
          json.writeNumber(number);
        }
        default -> json.copyCurrentEvent(parser);
      }
      if (depth == 0) {
        return fault;
      }
      token = parser.nextToken();
    }
  }

  private static @Nullable InvalidEvent first(
      @Nullable InvalidEvent fault, String field, String text) {
    if (fault != null) {
      return fault;
    }
    try {
      EventLimits.storable(field, text);
      return null;
    } catch (InvalidEvent e) {
      return e;
    }
  }

  /** Whether a number, as it is written in JSON, has an exponent that is within bounds. */
  static boolean isStorable(String number) {
    int e = Math.max(number.indexOf('e'), number.indexOf('E'));
    if (e < 0) {
      return true;
    }
    String exponent = number.substring(e + 1).replaceFirst("^[+-]?0*", "");
    return exponent.length() <= 4
        && (exponent.isEmpty() || Integer.parseInt(exponent) <= MOST_EXPONENT);
  }
}
