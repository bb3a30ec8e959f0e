package dev.tallyroll.model.time;

import dev.tallyroll.model.Sha256;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Where the days of a zone begin: each runs from {@link LocalDate#atStartOfDay(ZoneId)} to the next
 * one, so that days of 22 to 26 hours follow each other without gap or overlap, whatever a clock
 * does at midnight. A date that a zone skips, as Samoa did in 2011, is no day. From 1970 to 2100;
 * since 1972 a day is begun at a multiple of 15 minutes everywhere. Immutable.
 *
 * <p>The days are those of this JVM's time zone data, which {@link #version} tells apart.
 */
final class LocalDays {
  private static final LocalDate FIRST = LocalDate.of(1970, 1, 2);
  private static final LocalDate LAST = LocalDate.of(2100, 1, 1);

  private static final Map<ZoneId, LocalDays> KNOWN = new ConcurrentHashMap<>();

  private final long[] starts;
  private final String version;

  private LocalDays(ZoneId zone) {
    long[] all = new long[(int) (LAST.toEpochDay() - FIRST.toEpochDay())];
    int count = 0;
    MessageDigest digest = Sha256.newDigest();
    ByteBuffer buffer = ByteBuffer.allocate(Long.BYTES);
    for (LocalDate day = FIRST; day.isBefore(LAST); day = day.plusDays(1)) {
      Instant start = day.atStartOfDay(zone).toInstant();
      long micros = Times.micros(start);
      if (count == 0 || micros > all[count - 1]) {
        all[count++] = micros;
        digest.update(buffer.putLong(0, micros).array());
      }
    }
    starts = Arrays.copyOf(all, count);
    version = HexFormat.of().formatHex(digest.digest(), 0, 8);
  }

  /** The days of a zone. */
  static LocalDays of(ZoneId zone) {
    return KNOWN.computeIfAbsent(zone, LocalDays::new);
  }

  /** The start of the day that holds a time; {@link Long#MIN_VALUE} before the first day. */
  long floor(long time) {
    int at = Arrays.binarySearch(starts, time);
    int index = at >= 0 ? at : -at - 2;
    return index < 0 ? Long.MIN_VALUE : starts[index];
  }

  /** The first start at or after a time; {@link Long#MAX_VALUE} after the last. */
  long ceil(long time) {
    int at = Arrays.binarySearch(starts, time);
    int index = at >= 0 ? at : -at - 1;
    return index == starts.length ? Long.MAX_VALUE : starts[index];
  }

  /** From which start on all days begin and end at a multiple of a width. */
  long alignedFrom(long micros) {
    for (int i = starts.length - 1; i >= 0; i--) {
      if (Math.floorMod(starts[i], micros) != 0) {
        return i == starts.length - 1 ? Long.MAX_VALUE : starts[i + 1];
      }
    }
    return starts[0];
  }

  /** All starts, in order. */
  long[] starts() {
    return starts.clone();
  }

  /** Tells the time zone data apart: equal for equal days. */
  String version() {
    return version;
  }
}
