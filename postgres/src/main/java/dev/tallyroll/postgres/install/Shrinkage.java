package dev.tallyroll.postgres.install;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * What a rollup that was built anew from the source has lost: buckets of a tenant that the old one
 * has counted, and of which the source has no row any more, as of a table of one tenant that was
 * dropped. No seal tells of these. Buckets of an hour are compared, and coarser ones; finer ones
 * only where there is nothing else.
 */
final class Shrinkage {
  /** So many buckets that the new one lacks are looked for in the source. */
  private static final int MOST_CANDIDATES = 1_000;

  /**
   * A bucket that would be lost.
   *
   * @param tenant the tenant, as text
   * @param bucket its start, in microseconds since the epoch
   */
  record Lost(String tenant, long bucket) {}

  private Shrinkage() {}

  /**
   * The first bucket that the source cannot tell any more.
   *
   * @param writing sees both rollups, each up to date
   * @param reading sees the source in the same snapshot
   */
  static Optional<Lost> first(
      Connection writing, Connection reading, Installed old, Installed built) throws SQLException {
    List<Grain> grains = fixed(old);
    boolean hasHours = grains.stream().anyMatch(grain -> grain.compareTo(Grain.HOUR) >= 0);
    for (Grain grain : grains) {
      if (hasHours && grain.compareTo(Grain.HOUR) < 0) {
        continue;
      }
      Grain other =
          fixed(built).stream()
              .filter(one -> one.compareTo(grain) <= 0)
              .max(Comparator.naturalOrder())
              .orElseGet(() -> fixed(built).getFirst());
      Grain wide = grain.compareTo(other) > 0 ? grain : other;
      List<Lost> candidates = candidates(writing, old, grain, built, other, wide);
      Optional<Lost> lost = notInSource(reading, old.bound(), candidates, wide);
      if (lost.isPresent()) {
        return lost;
      }
    }
    return Optional.empty();
  }

  private static List<Grain> fixed(Installed rollup) {
    return rollup.bound().rollup().grains().keySet().stream()
        .filter(grain -> grain.zone().isEmpty())
        .sorted()
        .toList();
  }

  /** The buckets of the old one that the new one lacks, by tenant. */
  private static List<Lost> candidates(
      Connection writing, Installed old, Grain grain, Installed built, Grain other, Grain wide)
      throws SQLException {
    long kept =
        Math.max(
            old.keptFrom().getOrDefault(grain, Long.MIN_VALUE),
            built.keptFrom().getOrDefault(other, Long.MIN_VALUE));
    return Sql.list(
        writing,
        "select tenant::text, (extract(epoch from bucket) * 1000000)::bigint from ("
            + buckets(old, grain, wide, kept)
            + " except "
            + buckets(built, other, wide, kept)
            + ") lacking order by bucket, tenant limit "
            + MOST_CANDIDATES,
        row -> new Lost(row.getString(1), row.getLong(2)));
  }

  private static String buckets(Installed rollup, Grain grain, Grain wide, long kept) {
    return "select tenant, date_bin('"
        + wide.width().toSeconds()
        + " s', bucket, 'epoch'::timestamptz) as bucket from "
        + rollup.bound().grainTable(grain)
        + " where bucket >= "
        + FeedSql.instant(kept == Long.MIN_VALUE ? kept : wide.ceil(kept));
  }

  private static Optional<Lost> notInSource(
      Connection reading, BoundRollup bound, List<Lost> candidates, Grain wide)
      throws SQLException {
    if (candidates.isEmpty()) {
      return Optional.empty();
    }
    List<String> values = new ArrayList<>();
    for (Lost lost : candidates) {
      values.add(
          "("
              + Sql.literal(lost.tenant())
              + "::"
              + bound.tenantType().sqlName()
              + ", "
              + lost.bucket()
              + ", "
              + FeedSql.instant(lost.bucket())
              + ", "
              + FeedSql.instant(wide.end(lost.bucket()))
              + ")");
    }
    return Sql.first(
        reading,
        "select tallyroll_tenant::text, tallyroll_at from (values "
            + String.join(", ", values)
            + ") tallyroll_lost (tallyroll_tenant, tallyroll_at, tallyroll_from, tallyroll_to) where not exists (select from "
            + bound.table().sqlName()
            + " where "
            + bound.keySql().getFirst()
            + " = tallyroll_tenant and "
            + FeedSql.inRange(bound, "tallyroll_from", "tallyroll_to")
            + ") limit 1",
        row -> new Lost(row.getString(1), row.getLong(2)));
  }
}
