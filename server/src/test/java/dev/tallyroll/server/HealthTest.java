package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.session.Sql;
import java.net.http.HttpResponse;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Map;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;
import org.postgresql.ds.PGSimpleDataSource;

/** How a server says that something is wrong, and that it is over; and what is left of a tenant. */
class HealthTest {
  private static HttpResponse<String> await(
      Serving serving, String path, Predicate<HttpResponse<String>> is)
      throws InterruptedException {
    Instant end = Instant.now().plusSeconds(30);
    HttpResponse<String> answer = serving.get(path, null);
    while (!is.test(answer) && Instant.now().isBefore(end)) {
      Thread.sleep(200);
      answer = serving.get(path, null);
    }
    return answer;
  }

  private static void run(PGSimpleDataSource source, String sql) throws SQLException {
    try (Connection connection = source.getConnection()) {
      Sql.run(connection, sql);
    }
  }

  @Test
  void databaseThatIsGone_isTold_andEventsAreTakenAgainAfterwards() throws Exception {
    try (Serving serving = Serving.start()) {
      String key = serving.key("gone", Scope.INGEST);
      assertThat(serving.postEvents(key, Serving.event("1", Map.of())).statusCode()).isEqualTo(204);
      assertThat(Serving.json(serving.get("/readyz", null)).get("status").asString())
          .isEqualTo("ok");
      String name = String.valueOf(serving.database.value("select current_database()"));
      PGSimpleDataSource elsewhere = serving.database.newSource();
      elsewhere.setDatabaseName("postgres");
      run(elsewhere, "alter database " + name + " allow_connections false");
      try {
        run(
            elsewhere,
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '"
                + name
                + "'");
        HttpResponse<String> gone = await(serving, "/readyz", answer -> answer.statusCode() == 503);
        assertThat(gone.statusCode()).isEqualTo(503);
        assertThat(gone.body()).contains("\"database\":\"gone\"");
        assertThat(serving.get("/livez", null).statusCode()).isEqualTo(200);
        HttpResponse<String> refused = serving.postEvents(key, Serving.event("2", Map.of()));
        assertThat(refused.statusCode()).isEqualTo(503);
        assertThat(refused.headers().firstValue("Retry-After")).isPresent();
      } finally {
        run(elsewhere, "alter database " + name + " allow_connections true");
      }
      assertThat(await(serving, "/readyz", answer -> answer.statusCode() == 200).statusCode())
          .isEqualTo(200);
      Serving.await(
          20,
          "events are taken again",
          () -> serving.postEvents(key, Serving.event("2", Map.of())).statusCode() == 204);
      assertThat(
              serving.database.value("select count(*) from tallyroll.event where tenant = 'gone'"))
          .isEqualTo("2");
    }
  }

  @Test
  void schemaOfAnotherVersion_isTold() {
    try (Serving serving = Serving.start()) {
      serving.database.run("insert into tallyroll.schema_version (version) values (999)");
      HttpResponse<String> answer = serving.get("/readyz", null);
      assertThat(answer.statusCode()).isEqualTo(503);
      assertThat(answer.body()).contains("pending: the schema is of version 999");
      serving.database.run("delete from tallyroll.schema_version where version = 999");
    }
  }

  @Test
  void refreshThatFails_isTold_andTheServerStaysReady() throws InterruptedException {
    try (Serving serving = Serving.start()) {
      serving.database.run("alter table tallyroll.activity_5m rename to away");
      HttpResponse<String> degraded =
          await(serving, "/readyz", answer -> answer.body().contains("degraded"));
      assertThat(degraded.statusCode()).isEqualTo(200);
      assertThat(degraded.body()).contains("failing: activity");
      serving.database.run("alter table tallyroll.away rename to activity_5m");
      assertThat(await(serving, "/readyz", answer -> !answer.body().contains("degraded")).body())
          .doesNotContain("degraded");
    }
  }

  @Test
  void metrics_areOpenMetrics_withoutTenants() {
    try (Serving serving = Serving.start()) {
      String key = serving.key("secret-name", Scope.INGEST);
      serving.postEvents(key, Serving.event("1", Map.of()));
      HttpResponse<String> answer = serving.get("/metrics", null);
      assertThat(answer.headers().firstValue("Content-Type").orElse(""))
          .startsWith("application/openmetrics-text");
      assertThat(answer.body())
          .endsWith("# EOF\n")
          .contains(
              "tallyroll_ingest_events_total{kind=\"cloudevents\"} 1.0",
              "tallyroll_ingest_group_requests_sum",
              "tallyroll_ingest_in_flight_bytes",
              "hikaricp_connections")
          .doesNotContain("secret-name");
    }
  }

  @Test
  void tenantThatIsForgotten_isNowhere() throws InterruptedException {
    try (Serving serving = Serving.start()) {
      String key = serving.key("leaving", Scope.INGEST);
      String stays = serving.key("staying", Scope.INGEST);
      for (String one : new String[] {key, stays}) {
        assertThat(serving.postEvents(one, Serving.event("1", Map.of("model", "m"))).statusCode())
            .isEqualTo(204);
      }
      Forget.Forgotten forgotten =
          new Forget(serving.database.database(), InstantSource.system())
              .run(new Forget.Request(null, "leaving", null));
      assertThat(forgotten.rows()).isEqualTo(1);
      assertThat(forgotten.left()).isZero();
      for (String table : new String[] {"event", "event_key", "api_key"}) {
        assertThat(
                serving.database.value(
                    "select string_agg(distinct tenant, ',') from tallyroll."
                        + table
                        + " where tenant is not null"))
            .as(table)
            .isEqualTo("staying");
      }
      Serving.await(
          6,
          "the key is refused",
          () -> serving.postEvents(key, Serving.event("1", Map.of())).statusCode() == 401);
    }
  }
}
