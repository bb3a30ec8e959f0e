package dev.tallyroll.postgres.install;

import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.Branch;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * What a rollup that was built anew from the source has lost: buckets of a tenant that the old one
 * has counted, and of which the source has no row any more, as of a table of one tenant that was
 * dropped. No seal tells of these. Buckets of an hour are compared, and coarser ones and days of
 * zones; finer ones only where there is nothing else. Definitions that tell time or tenant by other
 * columns cannot be compared.
 */
final class Shrinkage {
  /** So many buckets are looked up in the source at once. */
  private static final int LOOKED_UP = 1_000;

  /** More that the new one lacks are not held in memory; one of these counts as lost. */
  private static final int MOST_CANDIDATES = 200_000;

  /**
   * A bucket that would be lost.
   *
   * @param tenant the tenant, as text
   * @param bucket its start, in microseconds since the epoch
   */
  record Lost(String tenant, long bucket) {}

  private final Connection writing;
  private final Connection reading;
  private final Installed old;
  private final Installed built;

  /**
   * For two rollups.
   *
   * @param writing sees both, each up to date but for what is being changed just now
   * @param reading sees the source in the same snapshot
   */
  Shrinkage(Connection writing, Connection reading, Installed old, Installed built) {
    this.writing = writing;
    this.reading = reading;
    this.old = old;
    this.built = built;
  }

  /** The first bucket that the source cannot tell any more. */
  Optional<Lost> first() throws SQLException {
    List<Grain> fixed = fixed(built);
    boolean hasHours = fixed(old).stream().anyMatch(grain -> grain.compareTo(Grain.HOUR) >= 0);
    for (Grain grain : old.bound().rollup().grains().keySet()) {
      Optional<Lost> lost = Optional.empty();
      if (grain.zone().isPresent()) {
        if (built.bound().rollup().grains().containsKey(grain)) {
          lost = first(grain, grain, grain);
        }
      } else if (!fixed.isEmpty() && (!hasHours || grain.compareTo(Grain.HOUR) >= 0)) {
        Grain other =
            fixed.stream()
                .filter(one -> one.compareTo(grain) <= 0)
                .max(Comparator.naturalOrder())
                .orElseGet(fixed::getFirst);
        lost = first(grain, other, grain.compareTo(other) > 0 ? grain : other);
      }
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

  /** Compares a grain of the old one with a grain of the new one, in buckets of the wider one. */
  private Optional<Lost> first(Grain grain, Grain other, Grain wide) throws SQLException {
    long kept =
        Math.max(
            old.keptFrom().getOrDefault(grain, Long.MIN_VALUE),
            built.keptFrom().getOrDefault(other, Long.MIN_VALUE));
    List<Lost> candidates =
        Sql.list(
            writing,
            "select tenant::text, (extract(epoch from bucket) * 1000000)::bigint from ("
                + buckets(old, grain, wide, kept)
                + " except "
                + buckets(built, other, wide, kept)
                + ") lacking order by bucket, tenant limit "
                + (MOST_CANDIDATES + 1),
            row -> new Lost(row.getString(1), row.getLong(2)));
    for (int from = 0; from < candidates.size(); from += LOOKED_UP) {
      if (from == MOST_CANDIDATES) {
        return Optional.of(candidates.getLast());
      }
      int to = Math.min(candidates.size(), from + LOOKED_UP);
      Optional<Lost> lost = notInSource(candidates.subList(from, to), wide);
      if (lost.isPresent()) {
        return lost;
      }
    }
    return Optional.empty();
  }

  private static String buckets(Installed rollup, Grain grain, Grain wide, long kept) {
    String bucket =
        wide.zone().isPresent()
            ? "bucket"
            : "date_bin('"
                + wide.width().toSeconds()
                + " s', bucket, 'epoch'::timestamptz) as bucket";
    return "select distinct tenant, "
        + bucket
        + " from "
        + rollup.bound().grainTable(grain)
        + " where bucket >= "
        + FeedSql.instant(kept == Long.MIN_VALUE ? kept : wide.ceil(kept));
  }

  /** The first of which there is no row, and which no deletion empties that is not merged yet. */
  private Optional<Lost> notInSource(List<Lost> candidates, Grain wide) throws SQLException {
    BoundRollup bound = old.bound();
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
    List<Branch> out =
        old.log().isEmpty()
            ? List.of()
            : FeedSql.unread(old).stream().filter(Branch::isOut).toList();
    String tenant = bound.keySql().getFirst();
    String emptied =
        out.isEmpty()
            ? ""
            : " and not exists (select from ("
                + FeedSql.select(out, tenant + " as t, " + bound.timeSql() + " as at")
                + ") o where o.t = tallyroll_tenant and o.at >= tallyroll_from and o.at < tallyroll_to)";
    return Sql.first(
        reading,
        "select tallyroll_tenant::text, tallyroll_at from (values "
            + String.join(", ", values)
            + ") tallyroll_lost (tallyroll_tenant, tallyroll_at, tallyroll_from, tallyroll_to)"
            // LIMIT keeps this a lookup for each.
            + " left join lateral (select true as is_there from "
            + bound.table().sqlName()
            + " where "
            + tenant
            + " = tallyroll_tenant and "
            + FeedSql.inRange(bound, "tallyroll_from", "tallyroll_to")
            + " limit 1) found on true where found.is_there is null"
            + emptied
            + " order by tallyroll_at limit 1",
        row -> new Lost(row.getString(1), row.getLong(2)));
  }
}
