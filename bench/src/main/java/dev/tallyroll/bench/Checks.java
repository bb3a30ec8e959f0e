package dev.tallyroll.bench;

import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.check.Check;
import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.Replay;
import dev.tallyroll.schema.replay.Scratch;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.statement.AppStatement;
import dev.tallyroll.schema.statement.Statements;
import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Supplier;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * Replays, audits and checks a folder of 300 migrations that make 500 tables, and 1,000 statements
 * on what they make, beside the same files sent as they are.
 */
final class Checks {
  private static final int MIGRATIONS = 300;
  private static final int TABLES = 500;
  private static final int STATEMENTS = 1_000;
  private static final int ROUNDS = 3;

  private final Supplier<PGSimpleDataSource> server;
  private final Path directory;
  private double planned;

  Checks(Supplier<PGSimpleDataSource> server, Path directory) {
    this.server = server;
    this.directory = directory;
  }

  void measure() throws SQLException, IOException {
    System.out.println("## check");
    Path folder = directory.resolve("checked");
    write(folder);
    MigrationFolder migrations =
        MigrationFolder.read(folder.resolve("migrations"), Optional.empty());
    List<AppStatement> statements =
        Statements.read(folder.resolve("statements.sql"), List.of()).statements();
    System.out.printf(
        "%d migrations, %d tables, %d statements%n%n",
        migrations.migrations().size(), TABLES, statements.size());
    for (int round = 0; round < ROUNDS; round++) {
      double sent = timed(() -> sent(migrations));
      double audited = timed(() -> audited(migrations));
      double checked = timed(() -> checked(migrations, List.of()));
      checked(migrations, statements);
      System.out.printf(
          Locale.ROOT,
          "| round %d | files sent as they are %.2f s | replay and audit %.2f s, %.1f times | check %.2f s, %.1f times | statements %.2f s | peak heap %d MB |%n",
          round + 1,
          sent,
          audited,
          audited / sent,
          checked,
          checked / sent,
          planned,
          peakHeap());
    }
  }

  private static void write(Path folder) throws IOException {
    Path migrations = Files.createDirectories(folder.resolve("migrations"));
    int table = 0;
    for (int i = 0; i < MIGRATIONS; i++) {
      StringBuilder sql = new StringBuilder("set lock_timeout = '5s';\n");
      if (i == 0) {
        sql.append(
            "create table tenants (id uuid primary key default gen_random_uuid(), name text);\n");
      }
      for (; table < (long) TABLES * (i + 1) / MIGRATIONS; table++) {
        sql.append(
            """
            create table t%1$d (id bigint generated always as identity primary key, tenant_id uuid not null references tenants,
              a text, b text, c int, at timestamptz not null default now(), unique (tenant_id, a));
            create index t%1$d_at on t%1$d (tenant_id, at);
            alter table t%1$d enable row level security;
            create policy own on t%1$d using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
            """
                .formatted(table));
      }
      if (i > 0) {
        sql.append(
            "alter table t%1$d add column d%2$d int;%nupdate t%1$d set c = 1 where c is null;%n"
                .formatted(i - 1, i));
      }
      Files.writeString(migrations.resolve("%04d_step.sql".formatted(i)), sql);
    }
    StringBuilder statements = new StringBuilder();
    for (int i = 0; i < STATEMENTS; i++) {
      int of = i % TABLES;
      String statement =
          switch (i % 4) {
            case 0 ->
                "insert into t%d (tenant_id, a, b) values ($1, $2, $3) on conflict (tenant_id, a) do update set b = excluded.b;";
            case 1 ->
                "select a, count(*) from t%d join tenants on tenants.id = tenant_id where tenant_id = $1 and at >= $2 group by a;";
            case 2 -> "update t%d set c = $1 where tenant_id = $2 and id = any ($3);";
            default -> "select missing from t%d where tenant_id = $1;";
          };
      statements.append(statement.formatted(of)).append('\n');
    }
    Files.writeString(folder.resolve("statements.sql"), statements);
  }

  private void sent(MigrationFolder migrations) throws SQLException {
    try (Scratch scratch = Scratch.on(server);
        Connection connection = scratch.open()) {
      for (Migration migration : migrations.migrations()) {
        Sql.run(connection, migration.sql());
      }
    }
  }

  private void audited(MigrationFolder migrations) throws SQLException {
    try (Scratch scratch = Scratch.on(server)) {
      Replay.run(scratch, migrations, Replay.Watcher.NONE);
      try (Connection connection = scratch.open()) {
        Audit.run(connection, Settings.NONE);
      }
    }
  }

  private void checked(MigrationFolder migrations, List<AppStatement> statements)
      throws SQLException {
    new Check(server, migrations, "migrations", Optional.empty(), statements, this::phase)
        .run(Settings.NONE);
  }

  /** Times the statements apart. */
  private Check.Phase phase(String what, String unit, int most) {
    long began = System.nanoTime();
    return new Check.Phase() {
      @Override
      public void step() {}

      @Override
      public void close() {
        if (what.equals("statements")) {
          planned = (System.nanoTime() - began) / 1e9;
        }
      }
    };
  }

  private static long peakHeap() {
    return ManagementFactory.getMemoryPoolMXBeans().stream()
            .filter(pool -> pool.getType() == MemoryType.HEAP)
            .map(MemoryPoolMXBean::getPeakUsage)
            .mapToLong(usage -> usage.getUsed())
            .sum()
        >> 20;
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
