package dev.tallyroll.model.event;

import java.time.Duration;
import java.time.temporal.ChronoUnit;
import org.jspecify.annotations.Nullable;

/**
 * How large an event and its parts may be, and of which time. Immutable.
 *
 * @param idBytes most bytes of id and source in UTF-8
 * @param textBytes most bytes of any other text of a column, since it may be a dimension
 * @param attributes most attributes
 * @param attributeBytes most bytes of an attribute's value as JSON
 * @param depth how deep arrays and objects may be nested, the event itself included
 * @param keep how old an event may be: for so long its key is remembered
 * @param ahead how far its time may lie in the future
 */
public record EventLimits(
    int idBytes,
    int textBytes,
    int attributes,
    int attributeBytes,
    int depth,
    Duration keep,
    Duration ahead) {
  /** What holds unless settings say otherwise. */
  public static final EventLimits DEFAULT =
      new EventLimits(512, 512, 128, 4096, 32, Duration.ofDays(35), Duration.ofHours(24));

  /** What takes in older events does not rely on their keys. */
  private static final Duration MOST_REMEMBERED = Duration.ofDays(1_000);

  /** The same with another {@code keep}. */
  public EventLimits keep(Duration other) {
    return new EventLimits(idBytes, textBytes, attributes, attributeBytes, depth, other, ahead);
  }

  /**
   * The same for a log whose keys of events that were received before a time are forgotten: an
   * event that may be among those is too old, however long keys are remembered from now on.
   *
   * @param before that time, in microseconds since the epoch
   * @param now the time of receipt, in microseconds since the epoch
   */
  public EventLimits forgotten(long before, long now) {
    // An event may have come before its time.
    Duration known = Duration.of(now - before, ChronoUnit.MICROS).minus(ahead);
    return known.compareTo(keep) < 0 ? keep(known) : this;
  }

  /**
   * Checks an identifier that must be there.
   *
   * @param text the value; null where the field is missing
   */
  public String id(String field, @Nullable String text) throws InvalidEvent {
    if (text == null || text.isEmpty()) {
      throw new InvalidEvent(field, text == null ? "is missing" : "is empty");
    }
    return checked(field, text, idBytes);
  }

  /** Checks a text that fills a column. */
  public String text(String field, String text) throws InvalidEvent {
    return checked(field, text, textBytes);
  }

  /** Checks that a text can be stored, whatever its length. */
  public static String storable(String field, String text) throws InvalidEvent {
    return checked(field, text, Integer.MAX_VALUE);
  }

  private static String checked(String field, String text, int most) throws InvalidEvent {
    int bytes = 0;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == 0) {
        throw new InvalidEvent(field, "contains the character U+0000, which cannot be stored");
      }
      if (c < 0x80) {
        bytes++;
      } else if (c < 0x800) {
        bytes += 2;
      } else if (!Character.isSurrogate(c)) {
        bytes += 3;
      } else if (Character.isHighSurrogate(c)
          && i + 1 < text.length()
          && Character.isLowSurrogate(text.charAt(i + 1))) {
        bytes += 4;
        i++;
      } else {
        throw new InvalidEvent(field, "contains half of a surrogate pair, which is no character");
      }
    }
    if (bytes > most) {
      throw new InvalidEvent(field, "has " + bytes + " bytes; the most is " + most);
    }
    return text;
  }

  /**
   * Checks an event's time.
   *
   * @param time in microseconds since the epoch
   * @param now the time of receipt, in microseconds since the epoch
   */
  public long time(String field, long time, long now) throws InvalidEvent {
    if (time > now + ahead.toMillis() * 1_000) {
      throw new InvalidEvent(
          field, "lies more than " + ahead.toHours() + " h ahead of the server's clock");
    }
    if (time < now - keep.toMillis() * 1_000) {
      throw new InvalidEvent(
          field,
          "too-old: lies more than "
              + keep.toDays()
              + " d back"
              + (keep.compareTo(MOST_REMEMBERED) > 0
                  ? ""
                  : ", where retries could not be told from new events; load it with import"));
    }
    return time;
  }
}
