package dev.tallyroll.cli.demo;

import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.temporal.ChronoUnit;
import java.util.List;
import org.postgresql.PGConnection;

/** The demo's tables, events and rollups. For one thread. */
public final class Demo {
  /** The rollups of the demo. */
  public static final List<String> ROLLUPS = List.of("llm_usage", "workflow_runs");

  private static final String CALLS =
      "demo.llm_call (tenant_id, ts, received_at, project_id, workflow_id, user_id, provider, model, status, error_message,"
          + " input_tokens, output_tokens, cost_usd, duration_ms)";
  private static final String RUNS =
      "demo.workflow_run (tenant_id, ts, workflow_id, user_id, status, steps, duration_ms)";
  private static final long SEED = 20_260_501;

  private final Database database;
  private final InstantSource clock;
  private final SampleEvents live = new SampleEvents(System.nanoTime());
  private Instant ticked;

  /** The demo on a database. */
  public Demo(Database database, InstantSource clock) {
    this.database = database;
    this.clock = clock;
    this.ticked = clock.instant();
  }

  /** Whether the month of events is there. */
  public boolean isLoaded() {
    return database.with(
        "demo",
        connection ->
            Sql.one(
                connection,
                "select to_regclass('demo.llm_call') is not null",
                row -> row.getBoolean(1)));
  }

  /** Makes tables and events in one transaction, up to now, and gives the number of events. */
  public long load(int days) {
    return database.transact(
        "demo",
        connection -> {
          Sql.run(connection, resource("tables.sql"));
          Instant end = clock.instant().truncatedTo(ChronoUnit.MINUTES);
          long rows = 0;
          try (Progress bar =
              Progress.start(
                  "load " + days + " days", "days", (long) days * SampleEvents.TENANTS.size())) {
            for (SampleEvents.Tenant tenant : SampleEvents.TENANTS) {
              Sql.update(
                  connection,
                  "insert into demo.tenant values (?, ?)",
                  tenant.id(),
                  tenant.zone().getId());
              SampleEvents events = new SampleEvents(SEED + tenant.id().hashCode());
              for (int day = days; day > 0; day--) {
                Instant from = end.minus(Duration.ofDays(day));
                rows += insert(connection, events, tenant, from, from.plus(Duration.ofDays(1)), 1);
                bar.step(1);
              }
            }
          }
          Sql.run(connection, "analyze demo.llm_call; analyze demo.workflow_run");
          return rows;
        });
  }

  private static long insert(
      Connection connection,
      SampleEvents events,
      SampleEvents.Tenant tenant,
      Instant from,
      Instant to,
      double factor)
      throws SQLException {
    StringBuilder calls = new StringBuilder();
    StringBuilder runs = new StringBuilder();
    long[] rows = new long[1];
    events.between(
        tenant,
        from,
        to,
        factor,
        line -> {
          calls.append(line).append('\n');
          rows[0]++;
        },
        line -> {
          runs.append(line).append('\n');
          rows[0]++;
        });
    copy(connection, CALLS, calls);
    copy(connection, RUNS, runs);
    return rows[0];
  }

  private static void copy(Connection connection, String target, StringBuilder lines)
      throws SQLException {
    try (Reader text = new StringReader(lines.toString())) {
      connection
          .unwrap(PGConnection.class)
          .getCopyAPI()
          .copyIn("copy " + target + " from stdin", text);
    } catch (IOException e) {
      throw new SQLException(e);
    }
  }

  /** Applies the demo's rollups. */
  public List<Installer.Applied> apply() {
    List<Definition> definitions = DefinitionReader.read("rollups.yaml", resource("rollups.yaml"));
    return new Installer(database).apply(definitions);
  }

  /** Inserts what happened since the last tick, so many times as busy as on an ordinary day. */
  public void tick(double factor) {
    Instant now = clock.instant();
    Instant from = ticked;
    ticked = now;
    database.transact(
        "demo",
        connection -> {
          for (SampleEvents.Tenant tenant : SampleEvents.TENANTS) {
            insert(connection, live, tenant, from, now, factor);
          }
          return true;
        });
  }

  private static String resource(String name) {
    try (InputStream in = Demo.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalStateException("no resource " + name);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }
}
