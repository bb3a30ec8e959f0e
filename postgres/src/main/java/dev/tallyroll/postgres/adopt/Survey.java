package dev.tallyroll.postgres.adopt;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.postgres.merge.Retention;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.Adoption;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Sql;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Looks at a table and a rollup in one snapshot: what there is to take over, and what stands
 * against it. Changes nothing. For one thread.
 */
final class Survey {
  private final Connection connection;
  private final Installed installed;
  private final BoundRollup bound;
  private final SourceTable table;
  private final Grain grain;
  private final Mapping mapping;
  private final AdoptRequest request;
  private final Instant now;
  private final List<Adoption> adopted;
  private final List<Taken.Refusal> refusals = new ArrayList<>();

  Survey(
      Connection connection,
      Installed installed,
      SourceTable table,
      Grain grain,
      AdoptRequest request,
      Instant now)
      throws SQLException {
    this.connection = connection;
    this.installed = installed;
    this.bound = installed.bound();
    this.table = table;
    this.grain = grain;
    this.request = request;
    this.now = now;
    this.mapping = new Mapping(connection, bound, table, grain, request);
    this.adopted = Adoption.of(connection, installed.name());
  }

  Mapping mapping() {
    return mapping;
  }

  /**
   * From when on buckets are written, by grain; those of a grain that cannot be made from the
   * table's rows do not exist before {@code to}.
   */
  SortedMap<Grain, Long> keptFrom(long to) {
    SortedMap<Grain, Long> kept = new TreeMap<>(Retention.keptFrom(installed, now));
    kept.replaceAll(
        (one, from) -> Math.max(from, isMade(one) ? one.madeOfFrom(grain) : one.ceil(to)));
    return kept;
  }

  /** Whether buckets of a grain can be made from the table's rows. */
  boolean isMade(Grain one) {
    return one.madeOfFrom(grain) < Long.MAX_VALUE;
  }

  private void refuse(ErrorCode code, String message) {
    refusals.add(new Taken.Refusal(code, message));
  }

  Taken look() throws SQLException {
    long kept =
        Retention.keptFrom(installed, now).entrySet().stream()
            .filter(one -> isMade(one.getKey()))
            .mapToLong(Map.Entry::getValue)
            .min()
            .orElse(Long.MIN_VALUE);
    long since = request.since() == null ? kept : Math.max(kept, day(request.since(), "--since"));
    Optional<Long> first = firstRow(since);
    if (first.isEmpty()) {
      refuse(
          ErrorCode.USAGE,
          table.label()
              + " has no row"
              + (since == Long.MIN_VALUE
                  ? ""
                  : " from "
                      + Times.format(since)
                      + " on"
                      + (request.since() == null ? ", and older ones no grain keeps" : ""))
              + ": there is nothing to take over");
      return taken(null, null, "", counts(since, since), List.of());
    }
    long from = request.since() == null ? Grain.DAY.floor(first.get()) : since;
    Own own = own(from);
    long to =
        request.before() == null ? Grain.DAY.floor(own.at()) : day(request.before(), "--before");
    String end =
        request.before() != null
            ? "asked for"
            : to == own.at()
                ? own.what()
                : own.what() + ", and of " + Times.day(to) + " nothing else counts";
    if (to > Times.micros(now)) {
      refuse(
          ErrorCode.USAGE,
          "--before " + Times.format(to) + " lies ahead: only the past can be taken over");
    }
    Optional<Adoption> again =
        adopted.stream().filter(one -> one.touches(from, Math.max(to, from + 1))).findFirst();
    if (again.isPresent()) {
      refuse(
          ErrorCode.REFUSED,
          "already adopted: buckets of '"
              + installed.name()
              + "' from "
              + Times.format(again.get().range().from())
              + " to "
              + Times.format(again.get().range().to())
              + " were taken over from "
              + again.get().origin()
              + "; name another range with --since and --before");
    } else if (from >= to) {
      refuse(
          ErrorCode.REFUSED,
          own.at() < from + Times.DAY && request.before() == null
              ? table.label()
                  + " has nothing to take over that is not counted already: "
                  + own.what()
                  + ", and its rows begin at "
                  + Times.format(first.get())
              : "the range is empty: " + Times.format(from) + " is not before " + Times.format(to));
    } else {
      refuseOwn(from, to, own);
    }
    if (from >= to) {
      return taken(from, to, end, Counts.NONE, List.of());
    }
    findFaults(from, to);
    Counts counts = counts(from, to);
    if (counts.rows() == 0) {
      refuse(
          ErrorCode.USAGE,
          table.label()
              + " has no row from "
              + Times.format(from)
              + " to "
              + Times.format(to)
              + ": there is nothing to take over");
    }
    boolean isFit = refusals.stream().noneMatch(one -> one.code() == ErrorCode.USAGE);
    List<Taken.Sum> sums = isFit ? sums(from, to) : List.of();
    return taken(from, to, end, counts, sums);
  }

  private Taken taken(
      @Nullable Long from, @Nullable Long to, String end, Counts counts, List<Taken.Sum> sums) {
    return new Taken(
        installed.name(),
        table.label(),
        grain.label(),
        from == null ? null : Times.instant(from),
        to == null ? null : Times.instant(to),
        end,
        counts.rows(),
        counts.older(),
        counts.later(),
        sums,
        mapping.unknown(),
        refusals);
  }

  private static long day(Instant time, String option) {
    long micros = Times.micros(time);
    if (Grain.DAY.floor(micros) != micros) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          option
              + " "
              + time
              + " is not the start of a UTC day: buckets are taken over by whole UTC days; the nearest are "
              + Times.format(Grain.DAY.floor(micros))
              + " and "
              + Times.format(Grain.DAY.ceil(micros)));
    }
    return micros;
  }

  private Optional<Long> firstRow(long since) throws SQLException {
    return instant(
        "select min(bucket) from (select "
            + mapping.bucket()
            + " as bucket from "
            + table.sqlName()
            + ") rows where isfinite(bucket) and bucket >= "
            + FeedSql.instant(since));
  }

  private Optional<Long> instant(String query) throws SQLException {
    return Sql.one(
        connection,
        query,
        row ->
            Optional.ofNullable(row.getObject(1, OffsetDateTime.class))
                .map(time -> Times.micros(time.toInstant())));
  }

  /** How many rows lie in a range, before it, and from its end on. */
  private record Counts(long rows, long older, long later) {
    static final Counts NONE = new Counts(0, 0, 0);
  }

  private Counts counts(long from, long to) throws SQLException {
    String start = FeedSql.instant(from);
    String end = FeedSql.instant(to);
    return Sql.one(
        connection,
        "select count(*) filter (where at >= "
            + start
            + " and at < "
            + end
            + "), count(*) filter (where at < "
            + start
            + "), count(*) filter (where at >= "
            + end
            + ") from (select "
            + mapping.bucket()
            + " as at from "
            + table.sqlName()
            + ") rows where isfinite(at)",
        row -> new Counts(row.getLong(1), row.getLong(2), row.getLong(3)));
  }

  /**
   * Where the rollup or its source begin to have something of their own, or the day that is not
   * over.
   */
  private record Own(long at, String what) {}

  private Own own(long from) throws SQLException {
    List<Own> all = new ArrayList<>();
    long today = Grain.DAY.floor(Times.micros(now));
    all.add(new Own(today, "today, " + Times.day(today) + ", is not over"));
    firstSourceRow(from, Times.micros(now.plus(Refresher.MOST_AHEAD)))
        .ifPresent(at ->
            all.add(
                new Own(
                    at,
                    bound.table().label()
                        + " has rows of its own from "
                        + Times.format(at)
                        + " on")));
    for (Adoption adoption : adopted) {
      if (adoption.range().from() > from) {
        all.add(
            new Own(
                adoption.range().from(),
                "'"
                    + installed.name()
                    + "' has buckets adopted from "
                    + adoption.origin()
                    + " from "
                    + Times.format(adoption.range().from())
                    + " on"));
      }
    }
    // Only on the days before: behind them lie all the buckets that are kept up to date.
    long to = Grain.DAY.floor(all.stream().mapToLong(Own::at).min().orElse(today));
    for (Grain one : bound.rollup().grains().keySet()) {
      if (one.zone().isPresent()) {
        // The day of a zone may begin before the source's first UTC day.
        continue;
      }
      firstBucket(one, from, to)
          .ifPresent(at ->
              all.add(
                  new Own(
                      at,
                      "'"
                          + installed.name()
                          + "' has buckets of its own from "
                          + Times.format(at)
                          + " on")));
    }
    return all.stream().min(Comparator.comparingLong(Own::at)).orElseThrow();
  }

  private Optional<Long> firstSourceRow(long from, long to) throws SQLException {
    return instant(
        "select min("
            + bound.timeSql()
            + ") from "
            + bound.table().sqlName()
            + " where "
            + FeedSql.inRange(bound, from, to));
  }

  /** The first stored bucket of a range that was not adopted. */
  private Optional<Long> firstBucket(Grain one, long from, long to) throws SQLException {
    return instant(
        "select min(bucket) from "
            + bound.grainTable(one)
            + " where bucket >= "
            + FeedSql.instant(from)
            + " and bucket < "
            + FeedSql.instant(to)
            + " and not (select tallyroll.adopted("
            + Sql.literal(installed.name())
            + ")) @> bucket");
  }

  /** Refuses a range in which the rollup or its source have something of their own. */
  private void refuseOwn(long from, long to, Own own) throws SQLException {
    if (Registry.names(connection).contains(Registry.beside(installed.name()))) {
      refuse(
          ErrorCode.REFUSED,
          "another definition of '"
              + installed.name()
              + "' is being built; first let apply come to its end, or give it up: {tallyroll} drop "
              + Registry.beside(installed.name()));
    }
    Optional<Long> row = firstSourceRow(from, to);
    if (row.isPresent()) {
      long rows =
          Sql.one(
              connection,
              "select count(*) from "
                  + bound.table().sqlName()
                  + " where "
                  + FeedSql.inRange(bound, from, to),
              result -> result.getLong(1));
      refuse(
          ErrorCode.REFUSED,
          bound.table().label()
              + " has "
              + rows
              + (rows == 1 ? " row" : " rows")
              + " of its own from "
              + Times.format(from)
              + " to "
              + Times.format(to)
              + ", the first at "
              + Times.format(row.get())
              + ", which would be counted twice; take over what is before them, with --before "
              + Times.day(row.get())
              + ", or delete them from it first if "
              + table.label()
              + " has counted them");
    } else if (own.at() < to && own.at() < Grain.DAY.floor(Times.micros(now))) {
      refuse(
          ErrorCode.REFUSED,
          own.what()
              + ", which would be counted twice; take over what is before them, with --before "
              + Times.day(own.at()));
    }
    for (Grain one : bound.rollup().grains().keySet()) {
      long least = installed.keptFrom().getOrDefault(one, Long.MIN_VALUE);
      Optional<Long> hidden = isMade(one) ? Optional.empty() : firstBucket(one, least, from);
      if (hidden.isPresent()) {
        refuse(
            ErrorCode.REFUSED,
            "'"
                + installed.name()
                + "' has older buckets of "
                + one.label()
                + ", from "
                + Times.format(hidden.get())
                + " on, which could not be asked for behind a time that has none; give that grain a shorter keep, or leave it out, and apply that first");
      }
    }
    installed
        .uncovered(from, to)
        .ifPresent(gap ->
            refuse(
                ErrorCode.REFUSED,
                "the history of '"
                    + installed.name()
                    + "' from "
                    + Times.format(gap.getKey())
                    + " to "
                    + Times.format(gap.getValue())
                    + " is not filled yet; first run: {tallyroll} backfill "
                    + installed.name()));
  }

  /** Finds rows that cannot be taken over, and names the first of each kind. */
  private void findFaults(long from, long to) throws SQLException {
    List<Mapping.Check> checks = mapping.checks(from, to);
    String fault =
        IntStream.range(0, checks.size())
            .mapToObj(i -> " when " + checks.get(i).condition() + " then " + i)
            .collect(Collectors.joining("", "case", " end"));
    String value =
        IntStream.range(0, checks.size())
            .mapToObj(i -> " when " + i + " then " + checks.get(i).column() + "::text")
            .collect(Collectors.joining("", "case tallyroll_fault", " end"));
    String query =
        "select distinct on (tallyroll_fault) tallyroll_fault, count(*) over (partition by tallyroll_fault), case when isfinite(tallyroll_bucket)"
            + " then replace((tallyroll_bucket at time zone 'UTC')::text, ' ', 'T') || 'Z' else tallyroll_bucket::text end, "
            + "tallyroll_row, left("
            + value
            + ", 100) from (select *, "
            + fault
            + " as tallyroll_fault, "
            + mapping.bucket()
            + " as tallyroll_bucket, "
            + mapping.nameOfRow()
            + " as tallyroll_row from "
            + table.sqlName()
            + ") rows where tallyroll_fault is not null and (not isfinite(tallyroll_bucket) or tallyroll_bucket is null or tallyroll_bucket >= "
            + FeedSql.instant(from)
            + " and tallyroll_bucket < "
            + FeedSql.instant(to)
            + ") order by tallyroll_fault, tallyroll_bucket, tallyroll_row";
    record Found(String bucket, Taken.Refusal refusal) {}
    List<Found> found =
        Sql.list(
            connection,
            query,
            row -> {
              Mapping.Check check = checks.get(row.getInt(1));
              long more = row.getLong(2) - 1;
              String bucket = row.getString(3) == null ? "" : row.getString(3);
              String of = row.getString(4);
              return new Found(
                  bucket,
                  new Taken.Refusal(
                      ErrorCode.USAGE,
                      table.label()
                          + ", row of "
                          + (bucket.isEmpty() ? "no time" : bucket)
                          + (of == null || of.isEmpty() ? "" : ", " + of)
                          + ": "
                          + check.name()
                          + " (column "
                          + check.column().replace("\"", "")
                          + ") is "
                          + (row.getString(5) == null ? "NULL" : row.getString(5))
                          + ": "
                          + check.why()
                          + (more == 0 ? "" : " (and " + more + " more such)")));
            });
    found.stream()
        .sorted(Comparator.comparing(Found::bucket))
        .forEach(one -> refusals.add(one.refusal()));
  }

  /** What the rows of a range add up to, and how much that is without signs. */
  private record Totals(List<@Nullable Object> values, List<@Nullable Object> magnitudes) {}

  private Totals totals(long from, long to) throws SQLException {
    int size = mapping.totals().size();
    List<@Nullable Object> all =
        values(
            table.sqlName(),
            mapping.inRange(from, to),
            Stream.concat(
                    mapping.totals().stream().map(Mapping.Total::ofTable),
                    mapping.totals().stream().map(Mapping.Total::magnitude))
                .toList());
    return new Totals(all.subList(0, size), all.subList(size, 2 * size));
  }

  private List<Taken.Sum> sums(long from, long to) throws SQLException {
    Totals totals = totals(from, to);
    List<Taken.Sum> sums = new ArrayList<>();
    for (int i = 0; i < mapping.totals().size(); i++) {
      Mapping.Total total = mapping.totals().get(i);
      if (total.type() == ColumnType.BIGINT
          && totals.magnitudes().get(i) instanceof BigDecimal all
          && all.compareTo(BigDecimal.valueOf(Long.MAX_VALUE)) > 0) {
        refuse(
            ErrorCode.USAGE,
            table.label()
                + ": the values of "
                + total.column()
                + " add up to more than a bigint holds; correct them, or leave the column out");
      }
      sums.add(
          new Taken.Sum(total.name(), total.column(), total.aggregate(), totals.values().get(i)));
    }
    return sums;
  }

  private List<@Nullable Object> values(String relation, String where, List<String> expressions)
      throws SQLException {
    return Sql.one(
        connection,
        "select " + String.join(", ", expressions) + " from " + relation + " where " + where,
        row -> {
          List<@Nullable Object> values = new ArrayList<>();
          for (int i = 1; i <= expressions.size(); i++) {
            values.add(row.getObject(i));
          }
          return values;
        });
  }

  /**
   * Compares what is stored of a range with the table: every grain must add up to the same.
   *
   * @throws SQLException if it does not
   */
  void prove(long from, long to, SortedMap<Grain, Long> kept) throws SQLException {
    for (Grain one : bound.rollup().grains().keySet()) {
      long start = Math.max(from, kept.getOrDefault(one, Long.MIN_VALUE));
      // The days of a zone at the end of the range are in part of the source's own rows.
      if (!isMade(one) || start >= to || one.zone().isPresent()) {
        continue;
      }
      Totals theirs = totals(start, to);
      List<@Nullable Object> ours =
          values(
              bound.grainTable(one),
              "bucket >= " + FeedSql.instant(start) + " and bucket < " + FeedSql.instant(to),
              mapping.totals().stream().map(Mapping.Total::ofRollup).toList());
      for (int i = 0; i < ours.size(); i++) {
        if (!isSame(theirs.values().get(i), ours.get(i), theirs.magnitudes().get(i))) {
          throw new SQLException(
              "adopted "
                  + mapping.totals().get(i).name()
                  + " of "
                  + one.label()
                  + " add up to "
                  + ours.get(i)
                  + " and not to "
                  + theirs.values().get(i)
                  + ", so that nothing is taken over; please report this");
        }
      }
    }
  }

  private static boolean isSame(
      @Nullable Object theirs, @Nullable Object ours, @Nullable Object magnitude) {
    if (theirs instanceof BigDecimal a && ours instanceof BigDecimal b) {
      return a.compareTo(b) == 0;
    }
    if (theirs instanceof Double a && ours instanceof Double b) {
      double all = magnitude instanceof Number number ? number.doubleValue() : 0;
      return Math.abs(a - b) <= 1e-9 * all;
    }
    return Objects.equals(theirs, ours);
  }
}
