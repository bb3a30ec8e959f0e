package dev.tallyroll.postgres.verify;

import dev.tallyroll.model.partial.PartialColumn;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.partial.StoredColumn;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.registry.Installed;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What a verification has found so far. Mutable, for one thread. */
final class Tally {
  /** How many differences are listed; the others are only counted. */
  private static final int MOST_LISTED = 1_000;

  private final BoundRollup bound;
  private final List<Mismatch> mismatches = new ArrayList<>();
  private final List<Mismatch> lost = new ArrayList<>();
  final List<String> uncovered = new ArrayList<>();
  private final MissingRanges sourceMissing = new MissingRanges();
  final List<String> sealed = new ArrayList<>();
  final List<String> adopted = new ArrayList<>();
  final List<String> pending = new ArrayList<>();
  private long rows;
  private long buckets;
  private long differing;
  private long lostBuckets;

  Tally(BoundRollup bound) {
    this.bound = bound;
  }

  void add(Sides sides, Comparison comparison, Losses losses) {
    buckets += comparison.buckets();
    differing += comparison.differences().size();
    for (Comparison.Difference difference : comparison.differences()) {
      boolean isLost = difference.isIn(losses);
      lostBuckets += isLost ? 1 : 0;
      List<Mismatch> list = isLost ? lost : mismatches;
      if (list.size() < MOST_LISTED) {
        list(sides, difference, isLost, list);
      }
    }
  }

  /** Notes of which ranges rows are gone: of all tenants, or of which. */
  void lost(Part part, Sides sides, Losses losses, VerifyRequest request) {
    if (isWhole(sides, request)) {
      sourceMissing.add(part.from(), part.to());
      return;
    }
    for (Losses.Range range : losses.ranges()) {
      sourceMissing.add(
          String.valueOf(bound.decodeKey(sides.keys(), range.key()).getFirst()),
          range.from(),
          range.to());
    }
  }

  private void list(
      Sides sides, Comparison.Difference difference, boolean isLost, List<Mismatch> into) {
    Grain grain = difference.grain();
    long bucket = difference.bucket();
    PartialTable expected = Sides.table(sides.expected(), grain);
    PartialTable actual = Sides.table(sides.actual(), grain);
    int expectedGroup = difference.expectedGroup();
    int actualGroup = difference.actualGroup();
    List<@Nullable Object> fields = bound.decodeKey(sides.keys(), difference.key());
    Map<String, @Nullable Object> dimensions = new LinkedHashMap<>();
    for (int i = 0; i < bound.rollup().dimensions().size(); i++) {
      dimensions.put(bound.rollup().dimensions().get(i).name(), fields.get(i + 1));
    }
    if (expectedGroup < 0 || actualGroup < 0) {
      into.add(
          new Mismatch(
              fields.getFirst(),
              grain.label(),
              Times.format(bucket),
              dimensions,
              isLost ? "(source missing)" : "(row)",
              actualGroup < 0 ? null : "present",
              expectedGroup < 0 ? null : "present"));
      return;
    }
    for (int i = 0; i < expected.columns().size(); i++) {
      PartialColumn column = expected.columns().get(i);
      int at = Comparison.differing(column, expectedGroup, actual.columns().get(i), actualGroup);
      if (at >= 0) {
        StoredColumn stored = column.stored().get(at);
        into.add(
            new Mismatch(
                fields.getFirst(),
                grain.label(),
                Times.format(bucket),
                dimensions,
                stored.name(),
                Comparison.fields(actual.columns().get(i), actualGroup).get(at),
                Comparison.fields(column, expectedGroup).get(at)));
      }
    }
  }

  VerifyReport report(Installed installed, Parts found, long quarantined, boolean sample) {
    List<Part> parts = found.list();
    List<String> expired = new ArrayList<>();
    installed
        .keptFrom()
        .forEach((grain, kept) -> {
          if (found.oldest() < kept) {
            expired.add(grain.label() + " before " + Times.format(kept));
          }
        });
    List<Mismatch> listed = new ArrayList<>(mismatches);
    listed.addAll(lost.subList(0, Math.clamp(MOST_LISTED - listed.size(), 0, lost.size())));
    return new VerifyReport(
        installed.name(),
        parts.isEmpty() ? "" : Times.format(parts.stream().mapToLong(Part::from).min().orElse(0)),
        parts.isEmpty() ? "" : Times.format(parts.stream().mapToLong(Part::to).max().orElse(0)),
        rows,
        buckets,
        differing,
        lostBuckets,
        listed,
        uncovered,
        sourceMissing.list(),
        sealed,
        adopted,
        pending,
        expired,
        quarantined,
        sample
            ? parts.stream()
                .map(part -> part.grains().getFirst().label() + " " + Times.format(part.from()))
                .toList()
            : List.of());
  }

  /** Counts source rows that were read. */
  void addRows(long read) {
    rows += read;
  }

  /** Adds a part to a list of ranges; one that begins where the last one ends makes it longer. */
  static void note(List<String> ranges, Part part) {
    String from = Times.format(part.from());
    String to = Times.format(part.to());
    String end = " to " + from;
    if (!ranges.isEmpty() && ranges.getLast().endsWith(end)) {
      String last = ranges.removeLast();
      ranges.add(last.substring(0, last.length() - end.length()) + " to " + to);
    } else {
      ranges.add(from + " to " + to);
    }
  }

  /** Whether the source has no row at all of a part. */
  static boolean isWhole(Sides sides, VerifyRequest request) {
    return sides.rows() == 0 && request.tenants().isEmpty();
  }
}
