package dev.tallyroll.cli.load;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventLimits;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.events.EventImport;
import dev.tallyroll.server.cloudevents.EventLines;
import java.io.IOException;
import java.io.Writer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Loads CloudEvents in JSON Lines into the event log, each once, however old they are. A file is
 * read twice: nothing of it is loaded before all of it is known to be right; then it is loaded in
 * batches, of which those that are there already are passed over when it is loaded again. For one
 * thread.
 */
public final class EventLoader {
  private static final int BATCH = 5_000;
  private static final int BATCH_CHARACTERS = 8 << 20;

  /** As much as a server's settings can allow, but for texts, which may be dimensions. */
  private static final EventLimits LIMITS =
      new EventLimits(
          2_000,
          EventLimits.DEFAULT.textBytes(),
          10_000,
          1 << 20,
          200,
          EventImport.OLDEST,
          EventLimits.DEFAULT.ahead());

  private final EventImport events;
  private final @Nullable Writer badLines;
  private final long now;
  private final EventLines lines;

  /**
   * How many events were loaded.
   *
   * @param added how many were new
   * @param known how many were there already
   * @param bad how many lines were bad
   * @param isSoonPurged whether some are older than rows of the log are kept
   */
  public record Result(long added, long known, long bad, boolean isSoonPurged) {}

  /**
   * A loader.
   *
   * @param badLines takes bad lines, each with its reason; null if one bad line refuses its file
   * @param now the time of loading, in microseconds since the epoch
   */
  public EventLoader(EventImport events, @Nullable Writer badLines, long now) {
    this.events = events;
    this.badLines = badLines;
    this.now = now;
    this.lines = new EventLines(LIMITS, now);
  }

  /**
   * Loads one file.
   *
   * @param meter is told how many bytes were read, of each of the two times
   * @throws TallyrollException with file, line and reason of the first bad line
   */
  public Result load(Path file, LongConsumer meter) throws IOException {
    if (!Records.isJson(file)) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          file
              + ": the event log takes CloudEvents in JSON Lines, in a file that ends in .jsonl, .ndjson or .json");
    }
    long bad = check(file, meter);
    long added = 0;
    long all = 0;
    long characters = 0;
    long oldest = Long.MAX_VALUE;
    List<Event> batch = new ArrayList<>();
    try (Records records = Records.open(file, true, meter)) {
      for (String line = records.nextLine(); line != null; line = records.nextLine()) {
        EventLines.Line read = lines.read(line);
        if (read.event().isPresent() && !events.isPurged(read.event().get().time())) {
          batch.add(read.event().get());
          oldest = Math.min(oldest, read.event().get().time());
          characters += line.length();
          all++;
        }
        if (batch.size() == BATCH || characters > BATCH_CHARACTERS) {
          added += events.append(batch, now);
          batch.clear();
          characters = 0;
        }
      }
    }
    if (!batch.isEmpty()) {
      added += events.append(batch, now);
    }
    boolean isSoonPurged =
        events.keptDays() > 0 && oldest < Grain.DAY.floor(now) - events.keptDays() * Times.DAY;
    return new Result(added, all - added, bad, isSoonPurged);
  }

  private long check(Path file, LongConsumer meter) throws IOException {
    long bad = 0;
    try (Records records = Records.open(file, true, meter)) {
      for (String line = records.nextLine(); line != null; line = records.nextLine()) {
        EventLines.Line read = lines.read(line);
        String fault = read.event().map(this::purged).orElse(read.fault());
        if (fault.isEmpty()) {
          continue;
        }
        String at = file + ":" + records.line() + ": " + fault;
        if (badLines == null) {
          throw new TallyrollException(ErrorCode.USAGE, at + "; nothing of this file is loaded");
        }
        bad++;
        badLines.write(at + "\t" + line + "\n");
      }
    }
    return bad;
  }

  private String purged(Event event) {
    return events.isPurged(event.time())
        ? "time "
            + Times.format(event.time())
            + " lies on a day whose events were purged: nobody can tell whether it was counted"
        : "";
  }
}
