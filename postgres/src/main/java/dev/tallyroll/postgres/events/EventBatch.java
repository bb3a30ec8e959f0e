package dev.tallyroll.postgres.events;

import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventColumn;
import dev.tallyroll.model.event.EventKey;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.partial.Scalar;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.wire.RowBuffer;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * The events of one request of one tenant, in the binary form of COPY already, so that whoever
 * commits has nothing to do but to hand them on. Filled by one thread, then read by another.
 */
public final class EventBatch {
  /** The columns of the staging table, in the order in which rows are written. */
  static final List<String> COLUMNS =
      Stream.concat(
              Stream.of("tenant", "key", "source", "id", "time", "received_at", "type", "subject"),
              Stream.concat(
                  Arrays.stream(EventColumn.values()).map(EventColumn::label),
                  Stream.of("attributes")))
          .toList();

  private static final EventColumn[] FILLED = EventColumn.values();

  /**
   * What is acknowledged and cannot be counted.
   *
   * @param kind what it was: {@code span}
   * @param reason why, without its values
   * @param payload it itself, cut to what may be kept
   */
  public record Refused(String kind, String reason, String payload) {}

  private static final int LEAST = 1 << 10;
  private static final int MOST_EXPECTED = 1 << 20;

  private final String tenant;
  private final byte[] tenantBytes;
  private final long receivedAt;
  private final List<EventKey> keys = new ArrayList<>();
  private final List<Refused> refused = new ArrayList<>();
  private final Set<Long> days = new TreeSet<>();
  private final Scalar scalar = new Scalar();
  private final RowBuffer rows;
  private int[] ends = new int[16];
  private int refusedBytes;

  /**
   * An empty batch.
   *
   * @param tenant whose events they are, as the credential says
   * @param receivedAt when the request came, in microseconds since the epoch
   * @param bytes about how many bytes the events take; it grows
   */
  public EventBatch(String tenant, long receivedAt, int bytes) {
    this.rows = new RowBuffer(Math.clamp(bytes, LEAST, MOST_EXPECTED));
    this.tenant = tenant;
    this.tenantBytes = tenant.getBytes(StandardCharsets.UTF_8);
    this.receivedAt = receivedAt;
  }

  /** Adds an event. */
  public void add(Event event) {
    EventKey key = EventKey.of(event.source(), event.id());
    rows.beginRow(COLUMNS.size());
    rows.writeBytes(tenantBytes);
    rows.writeBytes(key.bytes());
    write(event.source());
    write(event.id());
    rows.writeInstant(event.time());
    rows.writeInstant(receivedAt);
    write(event.type());
    if (event.subject() == null) {
      rows.writeNull();
    } else {
      write(event.subject());
    }
    for (EventColumn column : FILLED) {
      switch (event.values().get(column)) {
        case null -> rows.writeNull();
        case String text -> write(text);
        case Long whole -> rows.writeLong(whole);
        case Double real -> rows.writeLong(Double.doubleToRawLongBits(real));
        case BigDecimal decimal -> {
          scalar.setDecimal(decimal);
          rows.write(scalar, ColumnType.NUMERIC);
        }
        case Object other ->
            throw new IllegalArgumentException(column + " cannot hold a " + other.getClass());
      }
    }
    if (event.attributes() == null) {
      rows.writeNull();
    } else {
      rows.writeJson(event.attributes().getBytes(StandardCharsets.UTF_8));
    }
    if (keys.size() == ends.length) {
      ends = Arrays.copyOf(ends, 2 * ends.length);
    }
    ends[keys.size()] = rows.size();
    keys.add(key);
    days.add(Grain.DAY.floor(event.time()));
  }

  private void write(String text) {
    rows.writeBytes(text.getBytes(StandardCharsets.UTF_8));
  }

  /** Adds something that goes to quarantine. */
  public void refuse(Refused one) {
    refused.add(one);
    refusedBytes += 2 * (one.reason().length() + one.payload().length());
  }

  /** Whose events they are. */
  public String tenant() {
    return tenant;
  }

  /** How many events there are, those that are there twice counted twice. */
  public int size() {
    return keys.size();
  }

  /** How many there are with those that go to quarantine. */
  public int sizeWithRefused() {
    return keys.size() + refused.size();
  }

  /** Whether there is nothing to store. */
  public boolean isEmpty() {
    return keys.isEmpty() && refused.isEmpty();
  }

  /** How many bytes it takes. */
  public int bytes() {
    return rows.size() + refusedBytes;
  }

  /** What goes to quarantine. */
  public List<Refused> refused() {
    return refused;
  }

  /** The starts of the UTC days of its events, in microseconds since the epoch. */
  Set<Long> days() {
    return days;
  }

  EventKey key(int event) {
    return keys.get(event);
  }

  RowBuffer rows() {
    return rows;
  }

  int start(int event) {
    return event == 0 ? 0 : ends[event - 1];
  }

  int end(int event) {
    return ends[event];
  }
}
