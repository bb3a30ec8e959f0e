package dev.tallyroll.server.cloudevents;

import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.server.http.JsonBodies;
import dev.tallyroll.server.http.ProblemException.Fault;
import java.util.Optional;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.exc.StreamConstraintsException;

/**
 * Reads events from JSON Lines, each line an event in the JSON format of CloudEvents, as strictly
 * as they are read from requests. Thread-safe.
 */
public final class EventLines {
  private static final int MOST_CHARACTERS = 64 << 20;

  private final EventLimits limits;
  private final long now;
  private final JsonBodies json;

  /**
   * What a line holds.
   *
   * @param event the event; empty if there is none
   * @param fault what is wrong with it then; else empty
   */
  public record Line(Optional<Event> event, String fault) {}

  /**
   * A reader.
   *
   * @param now the time of reading, in microseconds since the epoch
   */
  public EventLines(EventLimits limits, long now) {
    this.limits = limits;
    this.now = now;
    this.json = new JsonBodies(limits.depth() + 1, MOST_CHARACTERS);
  }

  /** Reads a line. */
  public Line read(String line) {
    EventReader reader = new EventReader(limits, now, true);
    try (JsonParser parser = json.parser(line)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        return new Line(Optional.empty(), "an event is a JSON object");
      }
      Optional<Event> event = reader.readStructured(parser);
      return parser.nextToken() == null
          ? new Line(
              event,
              reader.faults().stream().map(EventLines::text).collect(Collectors.joining("; ")))
          : new Line(Optional.empty(), "something stands behind the JSON value");
    } catch (StreamConstraintsException e) {
      return new Line(
          Optional.empty(),
          "is nested deeper than " + limits.depth() + ", or has a number or name that is too long");
    } catch (JacksonException e) {
      return new Line(Optional.empty(), "not JSON: " + e.getOriginalMessage());
    }
  }

  private static String text(Fault fault) {
    return fault.field().isEmpty() ? fault.detail() : fault.field() + " " + fault.detail();
  }
}
