package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Buckets;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tile;
import dev.tallyroll.model.time.Tiling;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.registry.Installed;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** The coarsest stored buckets that make up the calendar buckets of a question exactly. */
final class Tiles {
  private final Question question;
  private final Installed installed;
  private final QueryRequest request;
  private final Buckets buckets;

  Tiles(Question question) {
    this.question = question;
    this.installed = question.installed;
    this.request = question.request;
    this.buckets = question.buckets;
  }

  /**
   * The tiles of the whole range, by grain and in order.
   *
   * @throws TallyrollException if the range does not fall on buckets, or what an edge needs is no
   *     longer kept
   */
  Map<Grain, List<Tile>> of() {
    Tiling tiling = new Tiling(tiledBy(), installed.openFrom());
    Map<Grain, List<Tile>> tiles = new TreeMap<>();
    for (int i = 0; i < buckets.count(); i++) {
      switch (tiling.tile(buckets.start(i), buckets.end(i))) {
        case Tiling.Outcome.Tiled tiled ->
            tiled
                .tiles()
                .forEach(tile ->
                    tiles.computeIfAbsent(tile.grain(), grain -> new ArrayList<>()).add(tile));
        case Tiling.Outcome.NotAligned fault ->
            throw new TallyrollException(
                ErrorCode.USAGE,
                Times.format(fault.time(), request.zone())
                    + " ("
                    + Times.format(fault.time())
                    + ") does not fall on a bucket of "
                    + fault.finest().label()
                    + ", the finest grain of '"
                    + request.rollup()
                    + "'; "
                    + (request.every() == Every.ALL
                            || fault.time() == question.from()
                            || fault.time() == question.to()
                        ? "the nearest is "
                            + Times.format(fault.finest().floor(fault.time()), request.zone())
                        : "ask in a zone or unit whose buckets do, such as --zone UTC"));
        case Tiling.Outcome.NotKept fault ->
            throw new TallyrollException(ErrorCode.NOT_COVERED, notKept(tiling, fault));
      }
    }
    return tiles;
  }

  /**
   * The grains to answer with: the fixed ones, and the days of the asked zone, if they begin when
   * this program's time zone data says so.
   */
  private SortedMap<Grain, Long> tiledBy() {
    SortedMap<Grain, Long> grains = new TreeMap<>(installed.keptFrom());
    grains
        .keySet()
        .removeIf(grain ->
            grain.zone().isPresent()
                && (!grain.isDayIn(request.zone()) || installed.movedDays().contains(grain)));
    if (grains.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.NOT_COVERED,
          "rollup '"
              + request.rollup()
              + "' keeps only "
              + installed.keptFrom().keySet().stream()
                  .map(Grain::label)
                  .collect(Collectors.joining(", "))
              + ": ask in such a zone"
              + (installed.movedDays().isEmpty()
                  ? ""
                  : ", after the next refresh, since the time zone data has changed"));
    }
    return grains;
  }

  private String notKept(Tiling tiling, Tiling.Outcome.NotKept fault) {
    String message =
        "the part from "
            + Times.format(fault.start(), request.zone())
            + " to "
            + Times.format(fault.end(), request.zone())
            + " needs buckets of "
            + fault.grain().label()
            + ", which are kept from "
            + Times.format(fault.oldest())
            + " on; ";
    // The nearest range that can be answered: from the first bucket after the last one that
    // cannot.
    int first = buckets.count();
    while (first > 0
        && tiling.tile(buckets.start(first - 1), buckets.end(first - 1))
            instanceof Tiling.Outcome.Tiled) {
      first--;
    }
    return first < buckets.count()
        ? message
            + "the nearest range that can be answered begins with --from "
            + Times.format(buckets.start(first), request.zone())
        : message
            + "no bucket of this range can be answered in this zone; --zone UTC or a later range may be";
  }
}
