package dev.tallyroll.testkit.history;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.status.RollupStatus;
import dev.tallyroll.postgres.status.StatusReader;
import dev.tallyroll.session.Database;
import dev.tallyroll.testkit.Oracle;
import java.sql.Connection;
import java.time.Duration;
import java.time.InstantSource;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What the rollups of a history must say: plain SQL over the raw rows, those that were purged
 * included. Nobody else does anything meanwhile, so that an answer and the truth that it is held
 * against are of the same moment; a view and its truth are read in one statement. For one thread.
 */
final class Truth {
  /** Rows that no rollup can count have a time too far ahead, or divide by zero. */
  static final String IS_COUNTED = "(ts < '2900-01-01' and tokens is distinct from 7)";

  private static final String FINITE = " filter (where cost <> 'NaN')";

  /**
   * A measure as it is asked for, and what it is in SQL.
   *
   * @param isInvertible whether it is right also for a bucket whose rows went before a change of
   *     them was read
   */
  private record Figure(String measure, String sql, boolean isInvertible) {
    static Figure invertible(String measure, String sql) {
      return new Figure(measure, sql, true);
    }

    static Figure other(String measure, String sql) {
      return new Figure(measure, sql, false);
    }
  }

  private static final List<Figure> WHOLE =
      List.of(
          Figure.invertible("requests", "count(*)"),
          Figure.invertible("errors", "count(*) filter (where status = 'error')"),
          Figure.invertible("tokens", "sum(tokens)"),
          Figure.invertible("inverse", "sum(1000 / (tokens - 7))"),
          Figure.invertible("cost", "sum(cost)" + FINITE),
          Figure.other("least", "min(cost)" + FINITE),
          Figure.other("last_word", "max(msg collate \"C\")"),
          Figure.invertible("count(duration)", "count(duration_ms)"),
          Figure.other("min(duration)", "min(duration_ms)"),
          Figure.other("max(duration)", "max(duration_ms)"),
          Figure.other("users", "count(distinct user_id)"),
          Figure.other(
              "last_error",
              "(array_agg(msg order by ts desc, msg collate \"C\" desc) filter (where status = 'error' and msg is not null))[1]"),
          Figure.other("last_id", "max(id)"));

  private static final List<Figure> SUMS =
      List.of(
          Figure.invertible("tokens", "sum(tokens)"),
          Figure.invertible("parts", "sum(1000 / (tokens - 7))"),
          Figure.other("last_id", "max(id)"));

  private static final List<Figure> DAYS =
      List.of(
          Figure.invertible("requests", "count(*)"),
          Figure.other("users", "count(distinct user_id)"),
          Figure.other("words", "min(msg collate \"C\")"),
          Figure.invertible("parts", "sum(1000 / (tokens - 7))"),
          Figure.invertible("ids", "sum(id)"));

  /** The measures that the view over a rollup adds up, and how. */
  private static final Map<String, Map<String, String>> VIEWED =
      Map.of(
          "whole",
          Map.of(
              "requests",
              "sum",
              "tokens",
              "sum",
              "cost",
              "sum",
              "least",
              "min",
              "last_word",
              "max",
              "last_id",
              "max"),
          "sums",
          Map.of("tokens", "sum", "last_id", "max"),
          "days",
          Map.of("requests", "sum", "words", "min", "ids", "sum"));

  private final Supplier<Connection> connection;
  private final Database calm;
  private final InstantSource clock;

  /** All rows, those that were purged too, with their times as instants. */
  private final String all;

  /** Those that are counted, as {@code e}. */
  private final String counted;

  /** Rollups of which rows went before a change of them was read. */
  private final Set<String> inDoubt = new HashSet<>();

  /** Rollups whose source could not be purged the last time. */
  final Set<String> unpurged = new HashSet<>();

  private int compared;

  Truth(Supplier<Connection> connection, Database calm, InstantSource clock, boolean isLocal) {
    this.all =
        "(select id, tenant_id, "
            + (isLocal ? "ts at time zone 'UTC' as ts" : "ts")
            + ", project, status, user_id, tokens, cost, duration_ms, msg from (select id, tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg from events union all select * from gone) r) e";
    this.counted = "(select * from " + all + " where " + IS_COUNTED + ") e";
    this.connection = connection;
    this.calm = calm;
    this.clock = clock;
  }

  /** From now on of these only counts and sums must be right. */
  void doubt(List<String> rollups) {
    inDoubt.addAll(rollups);
  }

  /** How many answers were held against the rows. */
  int compared() {
    return compared;
  }

  private List<Figure> figures(String rollup) {
    List<Figure> figures =
        switch (rollup) {
          case "whole" -> WHOLE;
          case "sums" -> SUMS;
          default -> DAYS;
        };
    return inDoubt.contains(rollup)
        ? figures.stream().filter(Figure::isInvertible).toList()
        : figures;
  }

  private List<List<@Nullable String>> rows(String sql) {
    return Oracle.rows(connection.get(), sql);
  }

  private @Nullable String value(String sql) {
    return rows(sql).getFirst().getFirst();
  }

  /**
   * Asks a query.
   *
   * @param must whether there must be an answer; otherwise a part may not be covered, or a lock be
   *     in the way
   */
  void compareQuery(String rollup, boolean must) {
    List<Figure> figures = figures(rollup);
    // Of the rollup that keeps them also by days of New York, which is at one offset all the time.
    boolean isLocal = rollup.equals("whole") && compared % 2 == 1;
    String zone = isLocal ? "America/New_York" : "UTC";
    QueryRequest request =
        QueryRequest.of(rollup)
            .every(Every.DAY, ZoneId.of(zone))
            .range("2026-05-01", "2026-09-01")
            .measuring(figures.stream().map(Figure::measure).toArray(String[]::new));
    request =
        switch (rollup) {
          case "whole" -> request.by("project");
          case "sums" -> request.by("project", "failed");
          default -> request;
        };
    QueryResult answer;
    try {
      answer = new QueryEngine(calm, clock).run(request);
    } catch (TallyrollException e) {
      if (!must
          && (e.code() == ErrorCode.NOT_COVERED
              || String.valueOf(e.getMessage()).contains("55P03"))) {
        return;
      }
      throw e;
    }
    if (answer.incomplete().isPresent()) {
      if (must) {
        throw new AssertionError(rollup + " is incomplete: " + answer.incomplete().get());
      }
      return;
    }
    List<String> keys =
        Stream.concat(
                Stream.of(
                    "tenant_id",
                    "to_char(ts at time zone '"
                        + zone
                        + "', 'YYYY-MM-DD\"T00:00:00"
                        + (isLocal ? "-04:00" : "+00:00")
                        + "\"') as d"),
                switch (rollup) {
                  case "whole" -> Stream.of("project");
                  case "sums" -> Stream.of("project", "status = 'error'");
                  default -> Stream.of();
                })
            .toList();
    String truth =
        "select "
            + Stream.concat(keys.stream(), figures.stream().map(Figure::sql))
                .collect(Collectors.joining(", "))
            + " from "
            + counted
            + " group by "
            + numbers(keys.size(), "")
            + " order by "
            + numbers(keys.size(), " nulls last");
    compared++;
    compare(
        "query of " + rollup,
        settled(rollup, keys.size(), Oracle.rows(answer)),
        settled(rollup, keys.size(), rows(truth)));
  }

  private static String numbers(int count, String and) {
    List<String> numbers = new ArrayList<>();
    for (int i = 1; i <= count; i++) {
      numbers.add(i + and);
    }
    return String.join(", ", numbers);
  }

  /** Whether all history of a rollup is counted. */
  boolean isCovered(String rollup) {
    return "true".equals(value("select isempty(tallyroll.uncovered('" + rollup + "'))"));
  }

  /** Reads the fresh view and the rows in one statement, so in one snapshot. */
  void compareView(String rollup) {
    // Finer grains do not keep all that the source has.
    String grain =
        switch (rollup) {
          case "whole" -> compared % 2 == 1 ? "_1d_america_new_york" : "_1d";
          case "sums" -> "_1h";
          default -> "_1d";
        };
    compareTable(rollup, "tallyroll." + rollup + grain + "_fresh");
  }

  /**
   * Of rollups in doubt a sum of nothing may be 0, and a group of no rows may be there: whether
   * anything is left is told only by rows that are gone.
   */
  private List<List<@Nullable String>> settled(
      String rollup, int keys, List<List<@Nullable String>> rows) {
    if (!inDoubt.contains(rollup)) {
      return rows;
    }
    List<List<@Nullable String>> settled = new ArrayList<>();
    for (List<@Nullable String> row : rows) {
      List<@Nullable String> copy = new ArrayList<>(row);
      for (int i = keys; i < copy.size(); i++) {
        if (copy.get(i) == null) {
          copy.set(i, "0");
        }
      }
      if (!copy.subList(keys, copy.size()).stream().allMatch("0"::equals)) {
        settled.add(copy);
      }
    }
    return settled;
  }

  private void compareTable(String rollup, String table) {
    if (!isCovered(rollup)) {
      return;
    }
    boolean isFresh = table.endsWith("_fresh");
    Map<String, String> viewed = VIEWED.getOrDefault(rollup, Map.of());
    List<Figure> figures =
        figures(rollup).stream().filter(figure -> viewed.containsKey(figure.measure())).toList();
    List<List<@Nullable String>> rows;
    try {
      rows =
          rows(
              "select 'view', tenant, "
                  + (isFresh ? "bool_and(complete)::text" : "'true'")
                  + figures.stream()
                      .map(figure ->
                          ", " + viewed.get(figure.measure()) + "(" + figure.measure() + ")")
                      .collect(Collectors.joining())
                  + " from "
                  + table
                  + " group by tenant union all select 'true', tenant_id, 'true'"
                  + figures.stream()
                      .map(figure -> ", " + figure.sql())
                      .collect(Collectors.joining())
                  + " from "
                  + counted
                  + " group by tenant_id");
    } catch (IllegalStateException e) {
      if (String.valueOf(e.getMessage()).contains("division by zero")
          || String.valueOf(e.getMessage()).contains("lock timeout")) {
        return;
      }
      throw e;
    }
    if (rows.stream().anyMatch(row -> "false".equals(row.get(2)))) {
      return;
    }
    List<List<@Nullable String>> view = of(rows, "view");
    if (view.isEmpty()
        && "false"
            .equals(
                value(
                    "select coalesce((select tallyroll.is_current(name) from tallyroll.rollup where changes = 'any' and name = '"
                        + rollup
                        + "'), true)"))) {
      // Without a row it cannot say that it is not complete.
      return;
    }
    compared++;
    compare(table, settled(rollup, 2, view), settled(rollup, 2, of(rows, "true")));
  }

  private static List<List<@Nullable String>> of(List<List<@Nullable String>> rows, String kind) {
    List<List<@Nullable String>> those = new ArrayList<>();
    for (List<@Nullable String> row : rows) {
      if (kind.equals(row.getFirst())) {
        those.add(row.subList(1, row.size()));
      }
    }
    those.sort(Comparator.comparing(row -> String.valueOf(row.getFirst())));
    return those;
  }

  private static void compare(
      String what, List<List<@Nullable String>> actual, List<List<@Nullable String>> expected) {
    if (actual.equals(expected)) {
      return;
    }
    List<List<@Nullable String>> wrong = new ArrayList<>(actual);
    wrong.removeAll(expected);
    List<List<@Nullable String>> missing = new ArrayList<>(expected);
    missing.removeAll(actual);
    throw new AssertionError(
        what
            + " is wrong: has "
            + wrong.subList(0, Math.min(3, wrong.size()))
            + ", should have "
            + missing.subList(0, Math.min(3, missing.size())));
  }

  /**
   * Holds what the status says of a rollup against what is so.
   *
   * @param atEnd whether all must be done
   */
  void compareStatus(String rollup, boolean atEnd) {
    RollupStatus status = new StatusReader(calm).read(rollup).getFirst();
    if (status.unreadRows() == 0 && !status.lag().isZero()) {
      throw new AssertionError("status of " + rollup + ": lags by " + status.lag() + " of no rows");
    }
    if (status.uncovered().isEmpty() != isCovered(rollup)) {
      throw new AssertionError("status of " + rollup + ": uncovered is " + status.uncovered());
    }
    String seals =
        value(
            "select count(*) from tallyroll.seal s join tallyroll.rollup r on r.source = s.source where r.name = '"
                + rollup
                + "'");
    if (status.seals().size() != Integer.parseInt(String.valueOf(seals))) {
      throw new AssertionError("status of " + rollup + ": " + status.seals() + " of " + seals);
    }
    boolean isUpToDate =
        status.unreadRows() == 0
            && status.uncovered().isEmpty()
            && status.awaited().isEmpty()
            // Open buckets are not stored.
            && "0"
                .equals(
                    value(
                        "select count(*) from tallyroll.grain where isfinite(open_from) and rollup = '"
                            + rollup
                            + "'"));
    if (isUpToDate) {
      // Then what is stored is all there is.
      compareTable(rollup, "tallyroll." + rollup + (rollup.equals("sums") ? "_1h" : "_1d"));
      long poison =
          Long.parseLong(
              String.valueOf(value("select count(*) from " + all + " where not " + IS_COUNTED)));
      long others =
          Long.parseLong(
              String.valueOf(
                  value(
                      "select count(*) from tallyroll.quarantine where kind <> 'row' and rollup = '"
                          + rollup
                          + "'")));
      if (status.quarantinedRows() - others != poison
          || (others > 0 && !inDoubt.contains(rollup))) {
        throw new AssertionError(
            rollup
                + " has "
                + status.quarantinedRows()
                + " in quarantine, "
                + others
                + " of them of no row; the source has "
                + poison);
      }
    }
    if (atEnd && (!isUpToDate || !status.lag().isZero() || status.isFailing())) {
      throw new AssertionError(
          "status of "
              + rollup
              + ": "
              + status.unreadRows()
              + " unread, lags by "
              + status.lag()
              + ", uncovered "
              + status.uncovered()
              + ", awaited "
              + status.awaited()
              + (status.isFailing() ? ", fails: " + status.lastError() : ""));
    }
    List<String> faults =
        status.faults(Duration.ofHours(1), java.time.Instant.now()).stream()
            .filter(fault -> !(unpurged.contains(rollup) && fault.contains("was not purged")))
            .toList();
    if (atEnd && !faults.isEmpty()) {
      throw new AssertionError("status of " + rollup + " tells of " + faults);
    }
  }

  /** That the status tells why the last purge did not go through. */
  void comparePurgeFailure(String rollup, String message) {
    String told = new StatusReader(calm).read(rollup).getFirst().purgeError();
    if (!message.equals(told)) {
      throw new AssertionError(
          "status of " + rollup + " does not tell that its source was not purged, but: " + told);
    }
  }

  /** That the status tells of the failure of the last refresh. */
  void compareFailure(String rollup, String message) {
    RollupStatus status = new StatusReader(calm).read(rollup).getFirst();
    if (!status.isFailing() || !message.equals(status.lastError())) {
      throw new AssertionError(
          "status of " + rollup + " says " + status.lastError() + " and not " + message);
    }
  }
}
