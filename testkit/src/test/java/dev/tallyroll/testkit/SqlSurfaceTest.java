package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.partial.Histogram;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * What BI tools see: the tables, the sketch functions, the fresh views, and the walls between
 * tenants.
 */
class SqlSurfaceTest {
  @Test
  void binsAndTheirValues_areTheSameInSqlAndJava() {
    try (TestDatabase database = TestDatabase.create()) {
      StringBuilder values = new StringBuilder();
      StringBuilder bins = new StringBuilder();
      Random random = new Random(9);
      for (int i = 0; i < 4_000; i++) {
        double value = Double.longBitsToDouble(random.nextLong());
        if (!Double.isFinite(value)) {
          continue;
        }
        values
            .append(",(")
            .append("'")
            .append(value)
            .append("'::float8, ")
            .append(Histogram.bin(value))
            .append(')');
      }
      for (double value :
          new double[] {
            0,
            Double.MIN_VALUE,
            -Double.MIN_VALUE,
            Double.MIN_NORMAL,
            Math.nextDown(Double.MIN_NORMAL),
            Double.MAX_VALUE,
            1,
            -1
          }) {
        values
            .append(",('")
            .append(value)
            .append("'::float8, ")
            .append(Histogram.bin(value))
            .append(')');
      }
      for (int bin = -134_272; bin <= 134_272; bin += 97) {
        bins.append(",(")
            .append(bin)
            .append(", '")
            .append(Histogram.value(bin))
            .append("'::float8)");
      }
      assertThat(
              database.value(
                  "select count(*) from (values "
                      + values.substring(1)
                      + ") v (x, bin) where tallyroll.bin(x) <> bin"))
          .isEqualTo("0");
      assertThat(
              database.value(
                  "select count(*) from (values "
                      + bins.substring(1)
                      + ") v (bin, x) where tallyroll.bin_value(bin) <> x"))
          .isEqualTo("0");
    }
  }

  @Test
  void sketchesMergedInSql_areByteForByteThoseMergedInJava() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 30_000, 4);
      scenario.refresh("usage");
      // The coarser tables were merged in Java; SQL merges the minutes.
      for (String grain : List.of("5m", "1h", "1d")) {
        String seconds = grain.equals("5m") ? "300" : grain.equals("1h") ? "3600" : "86400";
        assertThat(
                scenario
                    .database()
                    .value(
                        "select count(*) from (select tenant, date_bin(interval '"
                            + seconds
                            + " s', bucket, 'epoch') as bucket, project, model,"
                            + " tallyroll.merge(duration_ms_sketch) as h, tallyroll.merge(sizes_sketch) as s, tallyroll.merge(users_sketch) as d from tallyroll.usage_1m group by 1, 2, 3, 4) m"
                            + " join tallyroll.usage_"
                            + grain
                            + " g on g.tenant = m.tenant and g.bucket = m.bucket and g.project is not distinct from m.project"
                            + " and g.model is not distinct from m.model where g.duration_ms_sketch = m.h and g.users_sketch = m.d and g.sizes_sketch = m.s"))
            .as(grain)
            .isEqualTo(scenario.database().value("select count(*) from tallyroll.usage_" + grain));
      }
      // Whole tenants: bitmaps, and the same from raw rows.
      String merged =
          "select tenant, tallyroll.merge(users_sketch) as d, tallyroll.merge(duration_ms_sketch) as h from tallyroll.usage_1d group by 1";
      assertThat(
              scenario
                  .database()
                  .value(
                      "select count(*) from ("
                          + merged
                          + ") m join (select tenant_id, tallyroll.distinct_sketch(user_id) as d, tallyroll.histogram(duration_ms) as h"
                          + " from events group by 1) r on r.tenant_id = m.tenant where r.d = m.d and r.h = m.h"))
          .isEqualTo("3");
      assertThat(scenario.database().value("select max(length(d)) from (" + merged + ") m"))
          .isEqualTo("65536");
    }
  }

  @Test
  void quantilesAndEstimatesInSql_areThoseOfJava() {
    try (TestDatabase database = TestDatabase.create()) {
      Random random = new Random(21);
      for (int round = 0; round < 40; round++) {
        Histogram histogram = new Histogram();
        double least = Double.POSITIVE_INFINITY;
        double most = Double.NEGATIVE_INFINITY;
        for (int i = 0; i <= round * 7; i++) {
          double value = random.nextGaussian() * Math.pow(10, random.nextInt(6));
          least = Math.min(least, value);
          most = Math.max(most, value);
          histogram.add(value);
        }
        double q = random.nextDouble();
        String sql =
            "select tallyroll.quantile('\\x%s', %s, %s, %s)"
                .formatted(HexFormat.of().formatHex(histogram.encode()), q, least, most);
        assertThat(Double.parseDouble(String.valueOf(database.value(sql))))
            .isEqualTo(histogram.quantile(q, least, most));
      }
      String estimate =
          "select tallyroll.estimate(tallyroll.distinct_sketch('u' || i)) from generate_series(1, %d) i";
      assertThat(database.value(estimate.formatted(0))).isEqualTo("0");
      assertThat(database.value(estimate.formatted(256))).isEqualTo("256");
      assertThat(Long.parseLong(String.valueOf(database.value(estimate.formatted(20_000)))))
          .isBetween(19_000L, 21_000L);
      assertThat(database.value("select tallyroll.quantile(''::bytea, 0.5)")).isNull();
    }
  }

  @Test
  void freshViews_equalTheRollupAfterTheNextRefresh() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 3_000, 3);
      scenario.apply(Scenario.ROLLUP);
      assertThat(scenario.database().value("select count(*) from tallyroll.usage_1h_fresh"))
          .isEqualTo("0");
      scenario.backfill("usage");
      scenario.insert(3_001, 6_000, 3);
      scenario.refresh("usage");
      scenario.insert(6_001, 8_000, 3);
      for (String grain : List.of("1m", "5m", "1h", "1d")) {
        scenario
            .database()
            .run(
                "create table fresh_"
                    + grain
                    + " as select * from tallyroll.usage_"
                    + grain
                    + "_fresh");
      }
      assertThat(scenario.database().value("select bool_and(complete) from fresh_1h"))
          .isEqualTo("t");
      scenario.refresh("usage");
      for (String grain : List.of("1m", "5m", "1h", "1d")) {
        String columns = "to_jsonb(x) - 'complete' - 'score' - 'duration_ms_sum'";
        assertThat(
                scenario
                    .database()
                    .value(
                        "select count(*) from (select "
                            + columns
                            + " from fresh_"
                            + grain
                            + " x except all select "
                            + columns
                            + " from tallyroll.usage_"
                            + grain
                            + " x) d"))
            .as(grain)
            .isEqualTo("0");
        assertThat(scenario.database().value("select count(*) from fresh_" + grain))
            .isEqualTo(scenario.database().value("select count(*) from tallyroll.usage_" + grain));
      }
    }
  }

  @Test
  void aTenantsRole_seesItsOwnRowsAndNothingElse() throws SQLException {
    try (Scenario scenario = Scenario.withRollup()) {
      String role = "reader_" + ProcessHandle.current().pid();
      scenario.insert(1, 300, 1);
      scenario.refresh("usage");
      scenario.insert(301, 330, 1);
      scenario
          .database()
          .run(
              "create role "
                  + role
                  + " login password 'secret'; grant usage on schema tallyroll to "
                  + role
                  + "; grant select on tallyroll.usage_1h, tallyroll.usage_1h_fresh to "
                  + role
                  + "; grant execute on function tallyroll.usage_1h_tail() to "
                  + role);
      try (Connection reader = scenario.database().connect(role, "secret")) {
        assertThat(one(reader, "select count(*) from tallyroll.usage_1h")).isEqualTo("0");
        assertThat(one(reader, "select count(*) from tallyroll.usage_1h_fresh")).isEqualTo("0");
        reader.createStatement().execute("set tallyroll.tenant = 't1'");
        assertThat(
                one(
                    reader,
                    "select string_agg(distinct tenant, ',') || sum(requests) from tallyroll.usage_1h"))
            .isEqualTo("t1100");
        assertThat(
                one(
                    reader,
                    "select string_agg(distinct tenant, ',') || sum(requests) from tallyroll.usage_1h_fresh"))
            .isEqualTo("t1110");
        assertThat(
                one(
                    reader,
                    "select string_agg(distinct tenant, ',') from tallyroll.usage_1h_tail()"))
            .isEqualTo("t1");
        String partition =
            scenario
                .database()
                .value(
                    "select inhrelid::regclass::text from pg_inherits where inhparent = 'tallyroll.usage_1h'::regclass limit 1");
        for (String sql :
            List.of(
                "select * from " + partition,
                "select * from tallyroll.usage_1d",
                "select * from events",
                "select * from tallyroll.rollup",
                "select * from tallyroll.quarantine",
                "update tallyroll.usage_1h set requests = 0",
                "delete from tallyroll.usage_1h",
                "select * from tallyroll.usage_1d_tail()")) {
          assertThatThrownBy(() -> one(reader, sql))
              .as(sql)
              .hasMessageContaining("permission denied");
        }
        reader.createStatement().execute("reset tallyroll.tenant");
        assertThat(one(reader, "select count(*) from tallyroll.usage_1h")).isEqualTo("0");
      }
      // Even with grants on a partition its rows stay hidden, and the owner is bound too when it is
      // no superuser.
      scenario.database().run("grant select on all tables in schema tallyroll to " + role);
      try (Connection reader = scenario.database().connect(role, "secret")) {
        reader.createStatement().execute("set tallyroll.tenant = 't1'");
        String partition =
            scenario
                .database()
                .value(
                    "select inhrelid::regclass::text from pg_inherits where inhparent = 'tallyroll.usage_1h'::regclass limit 1");
        assertThat(one(reader, "select count(*) from " + partition)).isEqualTo("0");
      } finally {
        scenario.database().run("drop owned by " + role + "; drop role " + role);
      }
    }
  }

  private static String one(Connection connection, String sql) throws SQLException {
    try (var result = connection.createStatement().executeQuery(sql)) {
      return result.next() ? String.valueOf(result.getString(1)) : "";
    }
  }

  /**
   * Case 18: a job under row-level security sees no rows, writes no rollup, and reports success.
   */
  @Test
  void aRefresherThatMayNotSeeAllRows_refuses() {
    try (Scenario scenario = Scenario.withTable()) {
      String role = "owner_" + ProcessHandle.current().pid();
      scenario
          .database()
          .run(
              "create role "
                  + role
                  + " login password 'secret'; alter table events owner to "
                  + role
                  + "; grant create on database "
                  + scenario.database().value("select current_database()")
                  + " to "
                  + role
                  + "; grant create on schema public to "
                  + role
                  + "; drop schema tallyroll cascade"
                  + "; alter table events enable row level security, force row level security");
      try {
        var asOwner =
            new dev.tallyroll.session.Database(scenario.database().source(role, "secret"));
        var installer = new dev.tallyroll.postgres.install.Installer(asOwner);
        assertThatThrownBy(() -> installer.apply(Scenario.definitions(Scenario.ROLLUP)))
            .hasMessageContaining("row-level security may hide rows of public.events from " + role)
            .hasMessageContaining(
                "CREATE POLICY tallyroll_reads ON \"public\".\"events\" FOR SELECT TO \""
                    + role
                    + "\" USING (true);");
        scenario
            .database()
            .run("create policy tallyroll_reads on events for select to " + role + " using (true)");
        installer.apply(Scenario.definitions(Scenario.ROLLUP));
        scenario.insert(1, 50, 1);
        try (var refresher =
            new dev.tallyroll.postgres.refresh.Refresher(asOwner, scenario.clock())) {
          refresher.refresh("usage", dev.tallyroll.postgres.refresh.Refresher.WhenBusy.WAIT);
          scenario.insert(51, 80, 1);
          refresher.refresh("usage", dev.tallyroll.postgres.refresh.Refresher.WhenBusy.WAIT);
        }
        assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1m"))
            .isEqualTo("80");
      } finally {
        scenario.database().run("drop owned by " + role + " cascade; drop role " + role);
      }
    }
  }
}
