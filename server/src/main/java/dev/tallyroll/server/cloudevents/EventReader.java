package dev.tallyroll.server.cloudevents;

import com.ethlo.time.ITU;
import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventColumn;
import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.model.event.InvalidEvent;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.server.http.ProblemException.Fault;
import java.math.BigDecimal;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;

/**
 * Reads events in the JSON event format of CloudEvents 1.0, one at a time from a stream. Every
 * fault is collected, and the stream is left behind the event all the same. For one thread.
 *
 * <p>Source: CloudEvents 1.0.2, "JSON Event Format" and "HTTP Protocol Binding".
 */
final class EventReader {
  /** Names of context attributes: lower-case letters and digits. */
  private static final Pattern ATTRIBUTE = Pattern.compile("[a-z0-9]{1,64}");

  private static final int MOST_DIGITS = 200;

  private final EventLimits limits;
  private final long now;
  private final boolean isTimed;
  private final List<Fault> faults = new ArrayList<>();
  private int index;

  /**
   * A reader of a request.
   *
   * @param now the time of receipt, in microseconds since the epoch
   */
  EventReader(EventLimits limits, long now) {
    this(limits, now, false);
  }

  /**
   * A reader of what may be read again long after.
   *
   * @param isTimed whether each event must tell its time
   */
  EventReader(EventLimits limits, long now, boolean isTimed) {
    this.limits = limits;
    this.now = now;
    this.isTimed = isTimed;
  }

  /** What was wrong with the events so far. */
  List<Fault> faults() {
    return faults;
  }

  private void fault(InvalidEvent fault) {
    if (faults.size() < ProblemException.MOST_FAULTS) {
      faults.add(new Fault(index, fault.field(), fault.detail()));
    }
  }

  /** What is known of an event while it is read. */
  private final class Draft {
    private final Map<String, String> context = new HashMap<>();
    private final Map<EventColumn, Object> values = new EnumMap<>(EventColumn.class);
    private final AttributeWriter attributes = new AttributeWriter(limits);
    private boolean hasData;
    private boolean isFaulty;

    private void fault(InvalidEvent fault) {
      isFaulty = true;
      EventReader.this.fault(fault);
    }

    private @Nullable String required(String name, boolean isId) {
      try {
        String text = limits.id(name, context.get(name));
        return isId ? text : limits.text(name, text);
      } catch (InvalidEvent e) {
        fault(e);
        return null;
      }
    }

    private Optional<Event> event() {
      String version = context.get("specversion");
      if (version == null || !version.equals("1.0")) {
        fault(new InvalidEvent("specversion", version == null ? "is missing" : "is not 1.0"));
      }
      String id = required("id", true);
      String source = required("source", true);
      String type = required("type", false);
      // Optional in CloudEvents; here each event is of somebody or something, as OpenMeter has it.
      String subject = required("subject", false);
      long time = now;
      String told = context.get("time");
      try {
        if (told != null) {
          time = limits.time("time", instant(told), now);
        } else if (isTimed) {
          throw new InvalidEvent(
              "time", "is missing: without it nobody could tell later that it was counted");
        }
        for (Map.Entry<String, String> one : context.entrySet()) {
          if (!CORE.contains(one.getKey())) {
            // An extension, which is no member of the data.
            attributes.addText(one.getKey(), "ce-" + one.getKey(), one.getValue());
          }
        }
      } catch (InvalidEvent e) {
        fault(e);
      }
      return isFaulty || id == null || source == null || type == null
          ? Optional.empty()
          : Optional.of(new Event(source, id, time, type, subject, values, attributes.json()));
    }
  }

  private static final Set<String> CORE =
      Set.of(
          "specversion",
          "id",
          "source",
          "type",
          "subject",
          "time",
          "datacontenttype",
          "dataschema");

  private static long instant(String text) throws InvalidEvent {
    try {
      return Times.micros(ITU.parseDateTime(text).toInstant());
    } catch (DateTimeException | ArithmeticException e) {
      return lenientInstant(text);
    }
  }

  /** What the fast parser does not take: an unknown offset (-00:00), or no seconds. */
  private static long lenientInstant(String text) throws InvalidEvent {
    try {
      return Times.micros(OffsetDateTime.parse(text).toInstant());
    } catch (DateTimeException | ArithmeticException e) {
      throw new InvalidEvent("time", "is not a time of RFC 3339, as 2026-05-01T06:00:00Z");
    }
  }

  /**
   * Reads the event that the parser stands at the start of; empty if something is wrong with it.
   */
  Optional<Event> readStructured(JsonParser parser) {
    Draft draft = new Draft();
    if (parser.currentToken() != JsonToken.START_OBJECT) {
      draft.fault(new InvalidEvent("", "an event is a JSON object"));
      parser.skipChildren();
      index++;
      return Optional.empty();
    }
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String name = parser.currentName();
      JsonToken token = parser.nextToken();
      if (token == JsonToken.VALUE_NULL) {
        continue;
      }
      if (name.equals("data")) {
        if (draft.hasData) {
          draft.fault(new InvalidEvent("data", "stands twice"));
          parser.skipChildren();
        } else {
          readData(parser, draft);
        }
      } else if (name.equals("data_base64")) {
        draft.fault(new InvalidEvent("data_base64", "data is a JSON object, in the member data"));
        parser.skipChildren();
      } else if (!CORE.contains(name) && !ATTRIBUTE.matcher(name).matches()) {
        draft.fault(
            new InvalidEvent(
                "", "has a context attribute whose name is not of lower-case letters and digits"));
        parser.skipChildren();
      } else if (token.isScalarValue()) {
        putContext(draft, name, parser.getString());
      } else {
        draft.fault(new InvalidEvent(name, "is neither a text nor a number nor a boolean"));
        parser.skipChildren();
      }
    }
    Optional<Event> event = draft.event();
    index++;
    return event;
  }

  private static void putContext(Draft draft, String name, String value) {
    if (draft.context.putIfAbsent(name, value) != null) {
      draft.fault(new InvalidEvent(name, "stands twice"));
    }
  }

  /**
   * Makes an event of headers and the data that the parser stands before.
   *
   * @param context the context attributes
   * @param parser null if there is no data
   */
  Optional<Event> readBinary(Map<String, String> context, @Nullable JsonParser parser) {
    Draft draft = new Draft();
    context.forEach((name, value) -> {
      if (ATTRIBUTE.matcher(name).matches()) {
        putContext(draft, name, value);
      } else {
        draft.fault(new InvalidEvent("", "has a header ce-* whose name is no context attribute"));
      }
    });
    if (parser != null && parser.nextToken() != null) {
      readData(parser, draft);
    }
    return draft.event();
  }

  private void readData(JsonParser parser, Draft draft) {
    draft.hasData = true;
    if (parser.currentToken() != JsonToken.START_OBJECT) {
      draft.fault(new InvalidEvent("data", "is not a JSON object"));
      parser.skipChildren();
      return;
    }
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String name = parser.currentName();
      JsonToken token = parser.nextToken();
      if (token == JsonToken.VALUE_NULL && EventColumn.of(name).isPresent()) {
        continue;
      }
      try {
        Object value = column(name, token, parser);
        if (value == null) {
          draft.attributes.add(field(name), name, parser);
        } else if (draft.values.put(EventColumn.of(name).orElseThrow(), value) != null) {
          throw new InvalidEvent(field(name), "stands twice");
        }
      } catch (InvalidEvent e) {
        draft.fault(e);
      }
    }
  }

  private static String field(String name) {
    return "data." + (name.length() > 64 ? name.substring(0, 64) + "..." : name);
  }

  /** The value that fills a column; null if the member is not of that name and type. */
  private @Nullable Object column(String name, JsonToken token, JsonParser parser)
      throws InvalidEvent {
    EventColumn column = EventColumn.of(name).orElse(null);
    if (column == null) {
      return null;
    }
    return switch (column.type()) {
      case TEXT ->
          token == JsonToken.VALUE_STRING ? limits.text(field(name), parser.getString()) : null;
      case WHOLE -> {
        if (isShort(token, parser)) {
          yield parser.getLongValue();
        }
        BigDecimal number = number(token, parser);
        yield number != null && isLong(number) ? (Object) number.longValueExact() : null;
      }
      case REAL -> {
        BigDecimal number = number(token, parser);
        yield number != null && Double.isFinite(number.doubleValue())
            ? (Object) number.doubleValue()
            : null;
      }
      case DECIMAL -> number(token, parser);
    };
  }

  /** Whether it is a whole number that a long certainly holds. */
  private static boolean isShort(JsonToken token, JsonParser parser) {
    return token == JsonToken.VALUE_NUMBER_INT && parser.getStringLength() <= 18;
  }

  private static @Nullable BigDecimal number(JsonToken token, JsonParser parser) {
    if (isShort(token, parser)) {
      return BigDecimal.valueOf(parser.getLongValue());
    }
    if (token != JsonToken.VALUE_NUMBER_INT && token != JsonToken.VALUE_NUMBER_FLOAT) {
      return null;
    }
    String text = parser.getString();
    return text.length() <= MOST_DIGITS && AttributeWriter.isStorable(text)
        ? new BigDecimal(text)
        : null;
  }

  private static boolean isLong(BigDecimal number) {
    return number.signum() == 0
        || (number.precision() - number.scale() <= 19
            && number.stripTrailingZeros().scale() <= 0
            && number.compareTo(BigDecimal.valueOf(Long.MAX_VALUE)) <= 0
            && number.compareTo(BigDecimal.valueOf(Long.MIN_VALUE)) >= 0);
  }
}
