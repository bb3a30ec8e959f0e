package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Numbers at the edges of what fits into what. */
class NumbersTest {
  private static final String ROLLUP =
      """
      rollup: usage
      source: {table: public.numbers, tenant: tenant_id, time: ts, changes: %s}
      dimensions: [k]
      measures:
        n:       count
        dec:     sum(d)
        least:   min(d)
        most:    max(d)
        whole:   sum(b)
        low:     min(b)
        small:   sum(i)
        real:    sum(f)
        last_d:  latest(d)
        spread:  distribution(d)
        wholes:  distribution(b)
        kinds:   distinct(d)
      grains: {1m: keep 30d, 1h: keep 90d, 1d: keep 900d}
      """;

  /** What a row of a rollup must say, in SQL. */
  private static final String TRUTH =
      "select k, count(*), sum(d), min(d), max(d), sum(b), min(b), sum(i), sum(f), max(d), sum(d), sum(b), min(b) from numbers group by k order by k";

  private static final String STORED =
      "select k, n, dec, least, most, whole, low, small, \"real\", last_d, spread_sum, wholes_sum, wholes_min from tallyroll.usage_%s order by k";

  private static final List<BigInteger> EDGES =
      List.of(
          BigInteger.ZERO,
          BigInteger.ONE,
          BigInteger.valueOf(9_999),
          BigInteger.valueOf(10_000),
          BigInteger.TEN.pow(15).subtract(BigInteger.ONE),
          BigInteger.TEN.pow(15),
          BigInteger.TEN.pow(18),
          BigInteger.ONE.shiftLeft(53),
          BigInteger.ONE.shiftLeft(53).add(BigInteger.ONE),
          BigInteger.valueOf(Long.MAX_VALUE),
          BigInteger.ONE.shiftLeft(63),
          BigInteger.ONE.shiftLeft(63).add(BigInteger.ONE),
          BigInteger.ONE.shiftLeft(64),
          BigInteger.TEN.pow(40));

  /** Each edge of each sign with each number of decimals, which has a key of its own. */
  private static List<String> rows(boolean isHalved) {
    List<String> rows = new ArrayList<>();
    for (BigInteger edge : EDGES) {
      for (int sign : new int[] {1, -1}) {
        for (int scale : new int[] {0, 1, 4, 7, 12, 13, 20}) {
          BigDecimal value = new BigDecimal(edge.multiply(BigInteger.valueOf(sign)), scale);
          boolean isLong = value.scale() == 0 && value.unscaledValue().bitLength() < Long.SIZE;
          String key = sign * scale + " " + edge;
          BigDecimal half = value.divide(BigDecimal.TWO);
          String whole = isLong ? value.toPlainString() : "null";
          if (!isHalved) {
            rows.add(row(key, value, whole));
          } else {
            // What lies at the edge only once it is added up.
            rows.add(row(key, half, "null"));
            rows.add(row(key, value.subtract(half), whole));
          }
        }
      }
    }
    return rows;
  }

  private static String row(String key, BigDecimal value, String whole) {
    String small = whole.length() < 10 ? whole : "null";
    return "('t', '2026-06-15 08:00Z', '%s', %s, %s, %s, %s)"
        .formatted(key, value.toPlainString(), whole, small, value.signum());
  }

  @ParameterizedTest
  @CsvSource({"append, true", "append, false", "any, true", "any, false"})
  void sumsAndExtremesAtTheEdges_areThoseOfSql(String changes, boolean isLive) {
    for (boolean isHalved : new boolean[] {false, true}) {
      try (Scenario scenario = new Scenario()) {
        scenario
            .database()
            .run(
                "create table numbers (tenant_id text not null, ts timestamptz not null, k text, d numeric, b bigint, i integer, f double precision)");
        String insert = "insert into numbers values " + String.join(", ", rows(isHalved));
        if (!isLive) {
          scenario.database().run(insert);
        }
        scenario.apply(ROLLUP.formatted(changes));
        if (isLive) {
          scenario.database().run(insert);
          scenario.refresh("usage");
          // The second time they are merged with what is stored.
          scenario.database().run(insert);
        } else {
          scenario.backfill("usage");
        }
        scenario.refresh("usage");
        assertEqual(scenario);
        if (changes.equals("any")) {
          scenario
              .database()
              .run("delete from numbers where ctid in (select min(ctid) from numbers group by k)");
          scenario.refresh("usage");
          assertEqual(scenario);
        }
      }
    }
  }

  private static void assertEqual(Scenario scenario) {
    List<String> truth = texts(scenario, TRUTH);
    for (String grain : List.of("1m", "1h", "1d", "1d_fresh")) {
      assertThat(texts(scenario, STORED.formatted(grain))).as(grain).isEqualTo(truth);
    }
    assertThat(scenario.verify("usage").mismatches()).isEmpty();
  }

  private static List<String> texts(Scenario scenario, String sql) {
    return Oracle.rows(scenario.database(), sql).stream()
        .map(row -> row.stream().map(String::valueOf).collect(Collectors.joining(" ")))
        .toList();
  }
}
