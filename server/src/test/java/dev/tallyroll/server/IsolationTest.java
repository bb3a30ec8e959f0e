package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.postgres.roles.Grant;
import dev.tallyroll.postgres.roles.Grants;
import dev.tallyroll.postgres.roles.ServerRoles;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.settings.Setting;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * That PostgreSQL itself keeps tenants apart, with roles as on a managed server: an installer
 * without superuser, the role that servers log in as, and the one that appends.
 */
class IsolationTest {
  private static final String OWNER = "tallyroll_test_owner";

  /** One who looks at what is stored with a tool of their own, as {@code plan --grants} has it. */
  private static final String READER = "tallyroll_test_reader";

  private static TestDatabase database;
  private static TallyrollServer server;

  @BeforeAll
  static void start() throws Exception {
    database = TestDatabase.create();
    Serving.makeRole(database);
    database.makeRole(OWNER, "login createrole password 'secret'");
    database.makeRole(ServerRoles.INGEST, "nologin");
    database.run(
        "grant tallyroll_ingest to "
            + Serving.ROLE
            + "; grant execute on function pg_control_system() to "
            + OWNER
            + "; drop schema tallyroll cascade; create schema tallyroll authorization "
            + OWNER
            + "; create table public.llm_traces (tenant_id text not null, ts timestamptz not null, model text, tokens bigint); alter table public.llm_traces owner to "
            + OWNER);
    if (Integer.parseInt(
            String.valueOf(database.value("select current_setting('server_version_num')")))
        >= 160_000) {
      database.run("grant tallyroll_ingest to " + Serving.ROLE + " with inherit false");
    }
    database.makeRole(READER, "login password 'secret'");
    Database owner = new Database(database.source(OWNER, "secret"));
    Schema.migrate(owner);
    server =
        TallyrollServer.start(
            ServerSettings.of(
                Map.of(Setting.LISTEN, "127.0.0.1:0", Setting.OTLP_LISTEN, "none"),
                Map.of(),
                null,
                ""),
            database.source(Serving.ROLE, "secret"),
            database.source(OWNER, "secret"),
            InstantSource.system());
    new Installer(owner)
        .apply(
            DefinitionReader.read(
                "d",
                """
                rollup: own_usage
                source: {table: public.llm_traces, tenant: tenant_id, time: ts}
                dimensions: [model]
                measures: {tokens: sum(tokens), calls: count}
                grains: {5m: keep 30d, 1h: keep 60d, 1d: keep 90d}
                """));
    // All tables are there, and no refresh makes partitions of them meanwhile.
    for (Grant grant : Grants.missing(database.database(), definitions(), OWNER, OWNER, READER)) {
      if (grant.role().equals(READER)) {
        database.run(grant.statement());
      }
    }
    for (String tenant : List.of(Isolation.ATTACKER, Isolation.VICTIM)) {
      new Tenants(owner).create(tenant, null);
      String key = new ApiKeys(owner).create(tenant, Scope.INGEST, null).token();
      // The same ids in both tenants.
      for (int i = 0; i < 5; i++) {
        post(
            key,
            Serving.event(
                "same-" + i,
                Map.of("model", tenant + "-model", "user_id", tenant + "-user", "note", tenant)));
      }
      database.run(
          "insert into public.llm_traces select '"
              + tenant
              + "', now(), '"
              + tenant
              + "-model', 5 from generate_series(1, 3)");
      database.run(
          "insert into tallyroll.event_quarantine (tenant, kind, reason, payload) values ('"
              + tenant
              + "', 'span', '"
              + tenant
              + "', '"
              + tenant
              + "')");
    }
    Serving.await(
        60,
        "both are refreshed",
        () ->
            "t"
                .equals(
                    database.value(
                        "select exists (select from tallyroll.llm_usage_1m) and exists (select from tallyroll.own_usage_5m)")));
  }

  private static void post(String key, Map<String, Object> event) throws Exception {
    try (HttpClient client = HttpClient.newHttpClient()) {
      HttpResponse<String> answer =
          client.send(
              HttpRequest.newBuilder(
                      URI.create("http://127.0.0.1:" + server.port() + "/api/v1/events"))
                  .header("Authorization", "Bearer " + key)
                  .header("Content-Type", "application/json")
                  .POST(HttpRequest.BodyPublishers.ofString(Serving.JSON.writeValueAsString(event)))
                  .build(),
              HttpResponse.BodyHandlers.ofString());
      assertThat(answer.statusCode()).as(answer.body()).isEqualTo(204);
    }
  }

  @AfterAll
  static void stop() throws SQLException {
    try {
      // A hole that was left open would make those after it look found.
      assertThat(probe().faults()).isEmpty();
    } finally {
      server.close();
      database.close();
    }
  }

  /** All that are installed. */
  private static List<Definition> definitions() {
    return DefinitionReader.read(
        "installed",
        String.valueOf(
            database.value("select string_agg(definition, E'\\n---\\n') from tallyroll.rollup")));
  }

  private record Tried(List<String> faults, int probes) {}

  /** Everything, as each role in each of its states. */
  private static Tried probe() throws SQLException {
    return probe("");
  }

  /** The same as those roles only whose name ends so. */
  private static Tried probe(String end) throws SQLException {
    List<String> faults = new ArrayList<>();
    int probes = 0;
    for (Map.Entry<String, String> who :
        Map.of(
                "application for the attacker",
                "set local tallyroll.tenant = '" + Isolation.ATTACKER + "'",
                "application for nobody",
                "select 1",
                "ingest for the attacker",
                "set local role "
                    + ServerRoles.INGEST
                    + "; set local tallyroll.tenants = '"
                    + Isolation.ATTACKER
                    + "'",
                "ingest for nobody",
                "set local role " + ServerRoles.INGEST,
                "reader for the attacker",
                "set local tallyroll.tenant = '" + Isolation.ATTACKER + "'",
                "reader for nobody",
                "select 1")
            .entrySet()) {
      if (!who.getKey().endsWith(end)) {
        continue;
      }
      try (Connection connection =
          database.connect(who.getKey().startsWith("reader") ? READER : Serving.ROLE, "secret")) {
        connection.setAutoCommit(false);
        Sql.run(connection, who.getValue());
        Isolation isolation = new Isolation(connection, who.getKey()).run();
        faults.addAll(isolation.faults());
        probes += isolation.probes();
        connection.rollback();
      }
    }
    return new Tried(faults, probes);
  }

  @Test
  void nobody_getsAtAnotherTenant() throws SQLException {
    Tried tried = probe();
    assertThat(tried.faults()).isEmpty();
    assertThat(tried.probes()).isGreaterThan(1_000);
  }

  @Test
  void attacker_seesItsOwn() throws SQLException {
    // That the victim is not found means something only if one's own rows are.
    try (Connection connection = database.connect(Serving.ROLE, "secret")) {
      connection.setAutoCommit(false);
      Sql.run(connection, "set local tallyroll.tenant = '" + Isolation.ATTACKER + "'");
      for (String relation :
          List.of(
              "tallyroll.event",
              "tallyroll.llm_usage_1d_fresh",
              "tallyroll.llm_usage_1m",
              "tallyroll.own_usage_5m_fresh",
              "tallyroll.activity_1d_tail()",
              "tallyroll.event_quarantine",
              "tallyroll.tenant")) {
        long rows = Sql.one(connection, "select count(*) from " + relation, row -> row.getLong(1));
        assertThat(rows).as(relation).isPositive();
      }
      connection.rollback();
    }
    try (Connection connection = database.connect(READER, "secret")) {
      connection.setAutoCommit(false);
      Sql.run(connection, "set local tallyroll.tenant = '" + Isolation.ATTACKER + "'");
      for (String relation : List.of("tallyroll.llm_usage_1m", "tallyroll.own_usage_5m_fresh")) {
        long rows = Sql.one(connection, "select count(*) from " + relation, row -> row.getLong(1));
        assertThat(rows).as("reader: " + relation).isPositive();
      }
      connection.rollback();
    }
  }

  /** Each with what takes it back. */
  static Stream<Arguments> holes() {
    String app = Serving.ROLE;
    String drop = "drop table tallyroll.added";
    String leaf =
        "do $$ declare one regclass := (select inhrelid::regclass from pg_inherits where inhparent = 'tallyroll.event'::regclass order by 1 desc limit 1); begin execute format('%s', one, one); end $$";
    return Stream.of(
        Arguments.of(
            "create table tallyroll.added (tenant text); grant select on tallyroll.added to " + app,
            drop),
        Arguments.of(
            "create table tallyroll.added (note text); grant select on tallyroll.added to " + app,
            drop),
        Arguments.of(
            "create table public.added (tenant text); grant insert, select on public.added to public",
            "drop table public.added"),
        Arguments.of(
            "create table tallyroll.added (tenant text); alter table tallyroll.added enable row level security, force row level security;"
                + " create policy open on tallyroll.added using (true); insert into tallyroll.added values ('"
                + Isolation.VICTIM
                + "'); grant select on tallyroll.added to "
                + app,
            drop),
        Arguments.of(
            "alter table tallyroll.event no force row level security",
            "alter table tallyroll.event force row level security"),
        Arguments.of(
            "alter table tallyroll.event disable row level security",
            "alter table tallyroll.event enable row level security"),
        Arguments.of(
            "create policy added on tallyroll.event for select using (true)",
            "drop policy added on tallyroll.event"),
        Arguments.of(
            "create policy added on tallyroll.llm_usage_1m for select using (true)",
            "drop policy added on tallyroll.llm_usage_1m"),
        Arguments.of(
            "alter table tallyroll.event_key disable row level security",
            "alter table tallyroll.event_key enable row level security"),
        Arguments.of(
            "grant select on tallyroll.api_key to "
                + app
                + "; create policy added on tallyroll.api_key using (true)",
            "drop policy added on tallyroll.api_key; revoke select on tallyroll.api_key from "
                + app),
        Arguments.of(
            "create view tallyroll.added as select * from tallyroll.event; grant select on tallyroll.added to "
                + app,
            "drop view tallyroll.added"),
        Arguments.of(
            "create function tallyroll.added() returns setof tallyroll.event language sql security definer as 'select * from tallyroll.event'",
            "drop function tallyroll.added()"),
        Arguments.of(
            "grant usage on sequence tallyroll.event_quarantine_id_seq to " + app,
            "revoke usage on sequence tallyroll.event_quarantine_id_seq from " + app),
        Arguments.of(
            "grant delete on tallyroll.event_quarantine to "
                + app
                + "; create policy added on tallyroll.event_quarantine for all using (true)",
            "drop policy added on tallyroll.event_quarantine; revoke delete on tallyroll.event_quarantine from "
                + app),
        Arguments.of(
            "grant insert on tallyroll.event_key to "
                + app
                + "; create policy added on tallyroll.event_key for insert with check (true)",
            "drop policy added on tallyroll.event_key; revoke insert on tallyroll.event_key from "
                + app),
        Arguments.of(
            leaf.formatted(
                "grant select on %s to " + app + "; alter table %s disable row level security"),
            leaf.formatted(
                "revoke select on %s from " + app + "; alter table %s enable row level security")),
        Arguments.of("grant " + OWNER + " to " + app, "revoke " + OWNER + " from " + app),
        Arguments.of(
            "alter policy ingest_appends on tallyroll.event with check (true)",
            "alter policy ingest_appends on tallyroll.event with check (tenant = any ((select string_to_array(current_setting('tallyroll.tenants', true), ','))::text[]))"));
  }

  @ParameterizedTest
  @MethodSource("holes")
  void hole_isFound(String made, String takenBack) throws SQLException {
    database.run(made);
    try {
      assertThat(probe("attacker").faults()).isNotEmpty();
    } finally {
      database.run(takenBack);
    }
  }
}
