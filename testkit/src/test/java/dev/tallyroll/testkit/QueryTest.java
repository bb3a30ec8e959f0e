package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.ZoneId;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class QueryTest {
  private static final ZoneId UTC = ZoneId.of("UTC");
  private static @Nullable Scenario shared;

  @BeforeAll
  static void fill() {
    Scenario scenario = Scenario.withTable();
    // Two thirds history, a part merged, the rest not merged yet.
    scenario.insert(1, 20_000, 230);
    scenario.apply(
        Scenario.ROLLUP
            .replace("keep 37d", "keep 400d")
            .replace("keep 90d", "keep 400d")
            .replace("keep 210d", "keep 400d"));
    scenario.backfill("usage");
    scenario.insert(20_001, 28_000, 230);
    scenario.refresh("usage");
    scenario.insert(28_001, 31_000, 230);
    shared = scenario;
  }

  @AfterAll
  static void close() {
    scenario().close();
  }

  private static Scenario scenario() {
    return Objects.requireNonNull(shared);
  }

  private static List<List<@Nullable String>> answer(QueryRequest request) {
    return Oracle.rows(scenario().query(request));
  }

  /**
   * Both changes of the clock lie in the range of 230 days before June 15, 2026, or in that of the
   * year before.
   */
  @ParameterizedTest
  @CsvSource({
    "Asia/Kolkata, 1d",
    "Asia/Kathmandu, 1d",
    "America/St_Johns, 1d",
    "America/Los_Angeles, 1d",
    "Africa/Cairo, 1d",
    "Europe/Berlin, 1d",
    "America/St_Johns, 1w",
    "Europe/Berlin, 1mo",
    "Africa/Cairo, 1mo",
    "UTC, 1d"
  })
  void localDays_equalThoseOfRawRows(String zone, String every) {
    String unit = every.equals("1d") ? "day" : every.equals("1w") ? "week" : "month";
    String sql =
        """
        select tenant_id, date_trunc('%s', ts at time zone '%s')::date::text, count(*), sum(cost), count(distinct user_id),
               max(duration_ms), percentile_disc(0.5) within group (order by duration_ms)
        from events where ts >= timestamp '2025-11-01' at time zone '%s' and ts < timestamp '2026-06-15' at time zone '%s'
        group by 1, 2 order by 1, 2
        """
            .formatted(unit, zone, zone, zone);
    List<List<@Nullable String>> expected = Oracle.rows(scenario().database(), sql);
    List<List<@Nullable String>> actual =
        answer(
            QueryRequest.of("usage")
                .every(Every.of(every).orElseThrow(), ZoneId.of(zone))
                .range("2025-11-01", "2026-06-15")
                .measuring("requests", "cost", "users", "max(duration_ms)", "p50(duration_ms)"));
    assertThat(actual).hasSameSizeAs(expected);
    for (int i = 0; i < expected.size(); i++) {
      List<@Nullable String> right = expected.get(i);
      List<@Nullable String> left = actual.get(i);
      assertThat(left.get(0)).isEqualTo(right.get(0));
      assertThat(String.valueOf(left.get(1))).startsWith(String.valueOf(right.get(1)));
      // A month holds more users than are counted exactly.
      int exact = every.equals("1mo") ? 4 : 5;
      assertThat(left.subList(2, exact)).isEqualTo(right.subList(2, exact));
      double users = Double.parseDouble(String.valueOf(right.get(4)));
      assertThat(Double.parseDouble(String.valueOf(left.get(4))))
          .isBetween(users * 0.92, users * 1.08);
      assertThat(left.get(5)).isEqualTo(right.get(5));
      double median = Double.parseDouble(String.valueOf(right.get(6)));
      assertThat(Math.abs(Double.parseDouble(String.valueOf(left.get(6))) - median))
          .isLessThanOrEqualTo(0.01 * Math.abs(median));
    }
  }

  @Test
  void changesOfTheClock_lieInTheRange() {
    for (String zone :
        List.of("America/St_Johns", "America/Los_Angeles", "Africa/Cairo", "Europe/Berlin")) {
      var rules = ZoneId.of(zone).getRules();
      var first = rules.nextTransition(Instant.parse("2025-10-28T23:00:00Z"));
      assertThat(first.getInstant()).isBefore(Instant.parse("2026-06-15T00:00:00Z"));
    }
  }

  @Test
  void staleAnswers_leaveOutTheTail() {
    QueryRequest all =
        QueryRequest.of("usage")
            .every(Every.ALL, UTC)
            .measuring("requests")
            .range("2025-10-20", "2026-06-16");
    assertThat(sum(answer(all))).isEqualTo(31_000);
    assertThat(sum(answer(all.options(false, true, false)))).isEqualTo(28_000);
  }

  private static long sum(List<List<@Nullable String>> rows) {
    return rows.stream().mapToLong(row -> Long.parseLong(String.valueOf(row.getLast()))).sum();
  }

  /** Case 17: groups that are folded away still add up to the total. */
  @Test
  void topFoldsTheRest_soThatPartsAddUp() {
    QueryRequest all =
        QueryRequest.of("usage")
            .every(Every.MONTH, UTC)
            .measuring("requests", "users")
            .range("2026-01-01", "2026-06-01")
            .tenants("t1");
    List<List<@Nullable String>> rows = answer(all.by("project").top(2));
    List<List<@Nullable String>> totals = answer(all);
    assertThat(rows).hasSize(15);
    for (int month = 0; month < 5; month++) {
      List<List<@Nullable String>> parts = rows.subList(month * 3, month * 3 + 3);
      assertThat(parts.get(2).get(2)).isEqualTo("(other)");
      assertThat(parts.stream().mapToLong(row -> Long.parseLong(String.valueOf(row.get(3)))).sum())
          .isEqualTo(Long.parseLong(String.valueOf(totals.get(month).get(2))));
      assertThat(parts.get(2).get(1)).isEqualTo(totals.get(month).get(1));
    }
  }

  @Test
  void conditionsAndNulls_selectLikeSql() {
    String sql =
        "select tenant_id, count(*) from events where %s and ts >= '2026-01-01' and ts < '2026-06-01' group by 1 order by 1";
    QueryRequest all =
        QueryRequest.of("usage")
            .every(Every.ALL, UTC)
            .measuring("requests")
            .range("2026-01-01", "2026-06-01");
    for (var condition :
        List.of(
            new QueryRequest.Condition("project", null),
            new QueryRequest.Condition("project", "p1"),
            new QueryRequest.Condition("model", "große"))) {
      List<List<@Nullable String>> rows = answer(all.where(condition));
      String where =
          condition.dimension()
              + (condition.value() == null ? " is null" : " = '" + condition.value() + "'");
      assertThat(
              rows.stream()
                  .map(row -> List.of(String.valueOf(row.get(0)), String.valueOf(row.get(2))))
                  .toList()
                  .toString())
          .isEqualTo(Oracle.rows(scenario().database(), sql.formatted(where)).toString());
    }
    assertThat(
            answer(all.where(new QueryRequest.Condition("project", "p1'; drop table events; --"))))
        .isEmpty();
    assertThat(answer(all.tenants("nobody"))).isEmpty();
  }

  @Test
  void fill_givesEmptyBucketsTheirZeros() {
    List<List<@Nullable String>> rows =
        answer(
            QueryRequest.of("usage")
                .every(Every.DAY, UTC)
                .range("2026-06-14", "2026-06-18")
                .tenants("t0")
                .measuring("requests", "tokens", "users", "p50(duration_ms)")
                .options(true, false, false));
    assertThat(rows).hasSize(4);
    assertThat(rows.get(3).subList(2, 6)).containsExactly("0", null, "0", null);
  }

  @Test
  void derivedMeasures_areQuotientsOfTotals() {
    QueryRequest all =
        QueryRequest.of("usage")
            .every(Every.ALL, UTC)
            .range("2026-01-01", "2026-06-01")
            .tenants("t0");
    List<@Nullable String> row =
        answer(
                all.measuring(
                    "errors/requests",
                    "avg(duration_ms)",
                    "rate(requests)",
                    "p99.9(duration_ms)",
                    "min(sizes)"))
            .getFirst();
    List<@Nullable String> right =
        Oracle.rows(
                scenario().database(),
                "select count(*) filter (where status = 'error') / count(*)::float8, avg(duration_ms), count(*) / (151 * 86400.0)::float8,"
                    + " percentile_disc(0.999) within group (order by duration_ms), min(tokens) from events where tenant_id = 't0'"
                    + " and ts >= '2026-01-01' and ts < '2026-06-01'")
            .getFirst();
    for (int i = 0; i < 5; i++) {
      double expected = Double.parseDouble(String.valueOf(right.get(i)));
      assertThat(Double.parseDouble(String.valueOf(row.get(i + 2))))
          .isBetween(expected - Math.abs(expected) * 0.01, expected + Math.abs(expected) * 0.01);
    }
  }

  @Test
  void mistakes_areNamedWithTheNearestName() {
    QueryRequest all = QueryRequest.of("usage");
    assertFault(
        QueryRequest.of("usge"), ErrorCode.UNKNOWN_NAME, "no rollup 'usge'; did you mean 'usage'?");
    assertFault(
        all.measuring("request"),
        ErrorCode.UNKNOWN_NAME,
        "no measure 'request' in rollup 'usage'; did you mean 'requests'?");
    assertFault(
        all.by("modl"),
        ErrorCode.UNKNOWN_NAME,
        "no dimension 'modl' in rollup 'usage'; did you mean 'model'?");
    assertFault(
        all.measuring("duration_ms"),
        ErrorCode.USAGE,
        "'duration_ms' is a distribution: ask for p95(duration_ms)");
    assertFault(
        all.measuring("p95(tokens)"),
        ErrorCode.USAGE,
        "'p95(tokens)' is not to be had: tokens is sum(tokens)");
    assertFault(all.measuring("median(sizes)"), ErrorCode.USAGE, "there is no median()");
    assertFault(
        all.range("yesterday", null), ErrorCode.USAGE, "--from: 'yesterday' is neither a date");
    assertFault(all.range("2026-06-02", "2026-06-01"), ErrorCode.USAGE, "the range is empty");
    assertFault(
        all.range("2026-06-01T00:00:30Z", "2026-06-02T00:00:00Z"),
        ErrorCode.USAGE,
        "does not fall on a bucket of 1m");
  }

  private static void assertFault(QueryRequest request, ErrorCode code, String message) {
    assertThatThrownBy(() -> scenario().query(request))
        .isInstanceOfSatisfying(
            TallyrollException.class,
            e -> {
              assertThat(e.code()).isEqualTo(code);
              assertThat(e).hasMessageContaining(message);
            });
  }

  @Test
  void answerOfMoreRowsThanMayBe_isRefused_withWhatMendsIt() {
    QueryRequest request = QueryRequest.of("usage").by("project", "model");
    assertThat(
            new QueryEngine(scenario().database().database(), scenario().clock(), 100_000)
                .run(request)
                .rows())
        .hasSizeGreaterThan(3);
    assertThatThrownBy(() ->
            new QueryEngine(scenario().database().database(), scenario().clock(), 3).run(request))
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("the answer has more than 3 rows: ask for a shorter range");
  }

  /** With fewer grains a table that was locked is gone; with more of them one was not locked. */
  @Test
  void rollupThatWasDroppedAndMadeAnew_isReadAsItIsNow() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 100, 2);
      QueryEngine engine = new QueryEngine(scenario.database().database(), scenario.clock());
      QueryRequest request = QueryRequest.of("usage").measuring("requests");
      Drop drop = new Drop(scenario.database().database());
      scenario.apply(Scenario.ROLLUP);
      scenario.backfill("usage");
      List<List<@Nullable String>> before = Oracle.rows(engine.run(request));
      assertThat(before).isNotEmpty();
      for (String grains : List.of("{5m: keep 90d, ", "{1m: keep 37d, 5m: keep 90d, ")) {
        drop.run("usage");
        scenario.apply(Scenario.ROLLUP.replace("{1m: keep 37d, 5m: keep 90d, ", grains));
        scenario.backfill("usage");
        assertThat(Oracle.rows(engine.run(request))).as(grains).isEqualTo(before);
      }
      drop.run("usage");
      assertThatThrownBy(() -> engine.run(request)).hasMessageContaining("no rollup 'usage'");
    }
  }

  /** Beside one transaction that had begun later and ended, and beside many. */
  @ParameterizedTest
  @ValueSource(ints = {1, 40})
  void whatWasInProgressAtTheRefresh_isCountedOnce(int others) throws SQLException {
    try (Scenario scenario = Scenario.withRollup();
        Connection writer = scenario.database().connect()) {
      scenario.insert(1, 500, 3);
      writer.setAutoCommit(false);
      Sql.run(writer, Scenario.insertSql(501, 600, 3));
      for (int i = 0; i < others; i++) {
        scenario.insert(601 + i, 601 + i, 3);
      }
      scenario.refresh("usage");
      assertTenantsAreCounted(scenario);
      scenario.insert(701, 750, 3);
      assertTenantsAreCounted(scenario);
      writer.commit();
      assertTenantsAreCounted(scenario);
      scenario.refresh("usage");
      assertTenantsAreCounted(scenario);
    }
  }

  private static void assertTenantsAreCounted(Scenario scenario) {
    for (String tenant : List.of("t0", "t1", "t2")) {
      List<List<@Nullable String>> rows =
          Oracle.rows(
              scenario.query(
                  QueryRequest.of("usage")
                      .every(Every.ALL, UTC)
                      .measuring("requests", "big")
                      .tenants(tenant)
                      .range("2026-06-01", "2026-06-16")));
      assertThat(rows).hasSize(1);
      List<@Nullable String> row = rows.getFirst();
      assertThat(row.subList(row.size() - 2, row.size()))
          .isEqualTo(
              Oracle.rows(
                      scenario.database(),
                      "select count(*), sum(big) from events where tenant_id = '" + tenant + "'")
                  .getFirst());
    }
  }
}
