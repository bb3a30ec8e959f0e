package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import java.time.ZoneId;
import java.util.List;
import java.util.OptionalInt;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A question to a rollup. Immutable.
 *
 * @param rollup the rollup's name
 * @param measures measures and derived ones as text, as {@code p95(duration_ms)} or {@code
 *     errors/requests}; none means all
 * @param by dimensions to group by, beside the tenant
 * @param tenants the tenants to answer for, as text; none means all
 * @param where conditions on dimensions, all of which must hold
 * @param from the start as an instant or a local date; null for seven days before {@code to}
 * @param to the end, as {@code from}; null for the end of the zone's current day
 * @param every the calendar unit of the answer's buckets
 * @param zone the zone of the calendar
 * @param top keeps so many of the dimensions' values, by the first measure, and folds the rest into
 *     {@code (other)}
 * @param fill gives a row for empty buckets too
 * @param stale leaves out what no refresh has merged yet
 * @param partial answers although a part of the history is not filled yet
 */
public record QueryRequest(
    String rollup,
    List<String> measures,
    List<String> by,
    List<String> tenants,
    List<Condition> where,
    @Nullable String from,
    @Nullable String to,
    Every every,
    ZoneId zone,
    OptionalInt top,
    boolean fill,
    boolean stale,
    boolean partial) {
  /**
   * A condition on a dimension.
   *
   * @param dimension its name
   * @param value the value it must have, as text; null for NULL
   */
  public record Condition(String dimension, @Nullable String value) {
    private static final Pattern IS_NULL =
        Pattern.compile("\\s*([^=\\s]+)\\s+is\\s+null\\s*", Pattern.CASE_INSENSITIVE);
    private static final Pattern EQUALS =
        Pattern.compile("\\s*([^=\\s]+)\\s*=(.*)", Pattern.DOTALL);

    /**
     * Reads a condition as it is written in commands and addresses.
     *
     * @param text {@code dim=value} or {@code dim is null}
     * @throws TallyrollException if it is neither
     */
    public static Condition parse(String text) {
      Matcher isNull = IS_NULL.matcher(text);
      Matcher equal = EQUALS.matcher(text);
      if (isNull.matches()) {
        return new Condition(isNull.group(1), null);
      }
      if (equal.matches()) {
        return new Condition(equal.group(1), equal.group(2));
      }
      throw new TallyrollException(
          ErrorCode.USAGE, "--where is written as dim=value or 'dim is null', not '" + text + "'");
    }
  }

  /** Copies the lists. */
  public QueryRequest {
    measures = List.copyOf(measures);
    by = List.copyOf(by);
    tenants = List.copyOf(tenants);
    where = List.copyOf(where);
  }

  /** Everything of a rollup by UTC day over the last seven days. */
  public static QueryRequest of(String rollup) {
    return new QueryRequest(
        rollup,
        List.of(),
        List.of(),
        List.of(),
        List.of(),
        null,
        null,
        Every.DAY,
        ZoneId.of("UTC"),
        OptionalInt.empty(),
        false,
        false,
        false);
  }

  /** The same for other measures. */
  public QueryRequest measuring(String... asked) {
    return new QueryRequest(
        rollup,
        List.of(asked),
        by,
        tenants,
        where,
        from,
        to,
        every,
        zone,
        top,
        fill,
        stale,
        partial);
  }

  /** The same grouped by these dimensions. */
  public QueryRequest by(String... dimensions) {
    return new QueryRequest(
        rollup,
        measures,
        List.of(dimensions),
        tenants,
        where,
        from,
        to,
        every,
        zone,
        top,
        fill,
        stale,
        partial);
  }

  /** The same for these tenants. */
  public QueryRequest tenants(String... asked) {
    return new QueryRequest(
        rollup,
        measures,
        by,
        List.of(asked),
        where,
        from,
        to,
        every,
        zone,
        top,
        fill,
        stale,
        partial);
  }

  /** The same with these conditions. */
  public QueryRequest where(Condition... conditions) {
    return new QueryRequest(
        rollup,
        measures,
        by,
        tenants,
        List.of(conditions),
        from,
        to,
        every,
        zone,
        top,
        fill,
        stale,
        partial);
  }

  /** The same over a range. */
  public QueryRequest range(@Nullable String start, @Nullable String end) {
    return new QueryRequest(
        rollup, measures, by, tenants, where, start, end, every, zone, top, fill, stale, partial);
  }

  /** The same in other buckets. */
  public QueryRequest every(Every unit, ZoneId in) {
    return new QueryRequest(
        rollup, measures, by, tenants, where, from, to, unit, in, top, fill, stale, partial);
  }

  /** The same with only the first values by the first measure. */
  public QueryRequest top(int most) {
    return new QueryRequest(
        rollup,
        measures,
        by,
        tenants,
        where,
        from,
        to,
        every,
        zone,
        OptionalInt.of(most),
        fill,
        stale,
        partial);
  }

  /** The same with or without empty buckets, the unmerged tail and uncovered history. */
  public QueryRequest options(boolean filled, boolean withoutTail, boolean evenIfPartial) {
    return new QueryRequest(
        rollup,
        measures,
        by,
        tenants,
        where,
        from,
        to,
        every,
        zone,
        top,
        filled,
        withoutTail,
        evenIfPartial);
  }
}
