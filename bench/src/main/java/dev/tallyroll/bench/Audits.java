package dev.tallyroll.bench;

import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.replay.Scratch;
import dev.tallyroll.schema.settings.SettingsReader;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Locale;
import java.util.function.Supplier;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * Audits a large schema, beside a query that only prints the same indexes and constraints. Half of
 * the tables have faults.
 */
final class Audits {
  private static final int TABLES = 2_000;
  private static final int TABLES_AT_ONCE = 100;
  private static final int ROUNDS = 5;

  private final Supplier<PGSimpleDataSource> server;

  Audits(Supplier<PGSimpleDataSource> server) {
    this.server = server;
  }

  void measure() throws SQLException {
    System.out.println("## audit");
    // Two thousand tables are more than one transaction may lock to drop them.
    try (Scratch scratch = Scratch.on(server);
        Connection connection = scratch.open()) {
      Sql.run(connection, "create schema audited");
      Sql.run(
          connection,
          "create table audited.tenants (id uuid primary key default gen_random_uuid(), name text)");
      for (int from = 0; from < TABLES; from += TABLES_AT_ONCE) {
        build(connection, from);
      }
      Sql.run(connection, "analyze");
      System.out.printf(
          "%s tables, %s indexes, %s constraints, %s policies%n%n",
          count(
              connection,
              "pg_class where relkind = 'r' and relnamespace = 'audited'::regnamespace"),
          count(
              connection,
              "pg_index join pg_class on oid = indexrelid where relnamespace = 'audited'::regnamespace"),
          count(connection, "pg_constraint where connamespace = 'audited'::regnamespace"),
          count(connection, "pg_policy"));
      for (int round = 0; round < ROUNDS; round++) {
        double printed = timed(() -> print(connection));
        long[] findings = new long[1];
        double audited =
            timed(() ->
                findings[0] =
                    Audit.run(connection, SettingsReader.read("bench", "exclude: [public]"))
                        .findings()
                        .size());
        System.out.printf(
            Locale.ROOT,
            "| round %d | printing indexes and constraints %.2f s | audit %.2f s | %.1f times | %d findings |%n",
            round + 1,
            printed,
            audited,
            audited / printed,
            findings[0]);
      }
    }
  }

  private static void build(Connection connection, int from) throws SQLException {
    Sql.run(
        connection,
        """
        do $$ begin
          for i in %d..%d loop
            execute format('create table audited.t%%1$s (id bigint generated always as identity primary key,'
              ' tenant_id uuid not null references audited.tenants, parent bigint, a text, b text, c int, d timestamptz, unique (tenant_id, id))', i);
            execute format('create index on audited.t%%1$s (tenant_id, a); create index on audited.t%%1$s (tenant_id, b);'
              ' create index on audited.t%%1$s (tenant_id, c); create index on audited.t%%1$s (tenant_id, d); create index on audited.t%%1$s (lower(a));'
              ' create index on audited.t%%1$s (b) where c > 0; create index on audited.t%%1$s (c, d)', i);
            execute format('alter table audited.t%%1$s enable row level security; alter table audited.t%%1$s force row level security;'
              ' create policy own on audited.t%%1$s using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', i);
            if i %% 2 = 1 then
              execute format('alter table audited.t%%1$s add unique (a), add foreign key (parent) references audited.t%%2$s', i, i - 1);
            else
              execute format('create unique index on audited.t%%1$s (tenant_id, d, c)', i);
            end if;
          end loop;
        end $$
        """
            .formatted(from, from + TABLES_AT_ONCE - 1));
  }

  private static String count(Connection connection, String what) throws SQLException {
    return Sql.one(connection, "select count(*) from " + what, row -> row.getString(1));
  }

  private static void print(Connection connection) throws SQLException {
    Sql.list(
        connection,
        "select pg_get_indexdef(indexrelid) from pg_index union all select pg_get_constraintdef(oid) from pg_constraint",
        row -> row.getString(1));
  }

  private interface Work {
    void run() throws SQLException;
  }

  private static double timed(Work work) throws SQLException {
    long began = System.nanoTime();
    work.run();
    return (System.nanoTime() - began) / 1e9;
  }
}
