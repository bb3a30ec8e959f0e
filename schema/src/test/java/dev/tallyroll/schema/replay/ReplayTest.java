package dev.tallyroll.schema.replay;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What migrations make of an empty database, and what is said of those that fail. */
class ReplayTest {
  @TempDir private Path folder = Path.of("");

  private final TestDatabase database = TestDatabase.create();
  private Scratch scratch = Scratch.on(database::newSource);

  @BeforeEach
  void clean() {
    scratch.close();
    scratch = Scratch.on(database::newSource);
  }

  @AfterEach
  void close() {
    scratch.close();
    database.close();
  }

  private void file(String name, String text) throws IOException {
    Path file = folder.resolve(name);
    Files.createDirectories(file.getParent());
    Files.writeString(file, text);
  }

  private Replay.Result replay() throws SQLException {
    return Replay.run(scratch, MigrationFolder.read(folder, Optional.empty()), Replay.Watcher.NONE);
  }

  private static List<String> tables(Connection connection) throws SQLException {
    return Sql.list(
        connection,
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1",
        row -> row.getString(1));
  }

  private static List<String> failures(Replay.Result result) {
    return result.failures().stream()
        .map(failure -> failure.file() + ":" + failure.line() + ": " + failure.message())
        .toList();
  }

  @Test
  void statementsOfAllKinds_areApplied() throws SQLException, IOException {
    file(
        "1_a.sql",
        "create table a (id int, name text);\ncopy a from stdin;\n1\tone; 'two'\n2\t\\N\n\\.\n");
    file("2_b.sql", "create index concurrently a_id on a (id);");
    file(
        "3_c.sql",
        "begin; create temp table t on commit drop as select * from a; create table c as select * from t; commit;");
    file(
        "4_d.sql",
        "create temp table t on commit drop as select * from a; create table d as select * from t;");
    file(
        "5_e.sql",
        "select '{fn now()}', '?', ':x'; create function f() returns int begin atomic select 1; end;");
    List<String> done = new ArrayList<>();
    try (Connection connection = scratch.open()) {
      Replay.Result result =
          Replay.run(
              scratch,
              MigrationFolder.read(folder, Optional.empty()),
              new Replay.Watcher() {
                @Override
                public void done(Migration migration) {
                  done.add(migration.name());
                }
              });
      assertThat(failures(result)).isEmpty();
      assertThat(result.notes()).isEmpty();
      assertThat(result.statements()).isEqualTo(11);
      assertThat(tables(connection)).containsExactly("a", "c", "d");
      assertThat(
              Sql.<String>one(
                  connection, "select string_agg(name, '|') from a", row -> row.getString(1)))
          .isEqualTo("one; 'two'");
    }
    assertThat(done).hasSize(5);
  }

  @Test
  void failure_isToldByItsLine_andTheRestGoesOn() throws SQLException, IOException {
    file(
        "1_a.sql",
        "create table a (id int);\n\n  create table b (id int references missing);\ncreate table c (id int);");
    file(
        "2_b.sql",
        "begin;\ncreate table d (id int);\nselect nothing;\ncreate table e (id int);\ncommit;\ncreate table f (id int);");
    file("3_c.sql", "create table g (id int)");
    try (Connection connection = scratch.open()) {
      Replay.Result result = replay();
      assertThat(failures(result))
          .containsExactly(
              "1_a.sql:3: relation \"missing\" does not exist (SQLSTATE 42P01)",
              "2_b.sql:3: column \"nothing\" does not exist (SQLSTATE 42703)");
      assertThat(result.failures().getFirst().statement())
          .isEqualTo("create table b (id int references missing)");
      assertThat(tables(connection)).containsExactly("a", "c", "f", "g");
    }
  }

  @Test
  void rolesAndExtensionsThatAreNotThere_areMadeUpByName_andSaid()
      throws SQLException, IOException {
    file(
        "1_a.sql",
        "create table a (id int);\ngrant select on a to replay_reader;\nalter table a owner to replay_owner;");
    file(
        "2_b.sql", "begin;\ncreate table b (id int);\ngrant select on b to replay_other;\ncommit;");
    file(
        "3_c.sql",
        "create extension if not exists \"pg_nothing\";\ncreate table c (id int);\n\\set x 1\n");
    file("4_d.sql", "select nothing;\ncreate table d (id int);\ngrant select on d to replay_late;");
    try (Connection connection = scratch.open()) {
      Replay.Result result = replay();
      assertThat(failures(result))
          .containsExactly("4_d.sql:1: column \"nothing\" does not exist (SQLSTATE 42703)");
      assertThat(result.notes())
          .containsExactly(
              "1_a.sql:2: role replay_reader was made up",
              "1_a.sql:3: role replay_owner was made up",
              "2_b.sql:3: role replay_other was made up",
              "3_c.sql:3: \\set x 1 is a command of psql, and was passed over",
              "3_c.sql:1: extension pg_nothing is not on the scratch server, and was passed over; what needs it fails",
              "4_d.sql:3: role replay_late was made up");
      assertThat(tables(connection)).containsExactly("a", "b", "c", "d");
    }
    scratch.close();
    assertThat(database.value("select count(*) from pg_roles where rolname like 'replay%'"))
        .isEqualTo("0");
    assertThat(
            database.value(
                "select count(*) from pg_database where datname like 'tallyroll_scratch%'"))
        .isEqualTo("0");
  }

  @Test
  void supabase_findsItsRolesSchemasAndFunctions() throws SQLException, IOException {
    file(
        "supabase/migrations/20260101000000_a.sql",
        """
        create table notes (id uuid primary key default gen_random_uuid(), owner uuid references auth.users on delete cascade);
        alter table notes enable row level security;
        create policy own on notes to authenticated using ((select auth.uid()) = owner and auth.jwt() ->> 'role' = 'x');
        alter publication supabase_realtime add table notes;
        create extension if not exists pgcrypto with schema extensions;
        select encode(digest('a', 'sha256'), 'hex');
        """);
    try (Connection connection = scratch.open()) {
      Replay.Result result =
          Replay.run(
              scratch,
              MigrationFolder.read(folder.resolve("supabase/migrations"), Optional.empty()),
              Replay.Watcher.NONE);
      assertThat(failures(result)).isEmpty();
      assertThat(result.notes()).hasSize(1);
      assertThat(tables(connection)).containsExactly("notes");
    }
  }

  @Test
  void rolesOfOthers_stay() throws SQLException, IOException {
    database.run("create role replay_before");
    scratch.close();
    scratch = Scratch.on(database::newSource);
    database.run("create role replay_of_somebody");
    try {
      file("1_a.sql", "create table a (id int); grant select on a to replay_before;");
      assertThat(replay().notes()).isEmpty();
      scratch.close();
      assertThat(database.value("select count(*) from pg_roles where rolname like 'replay%'"))
          .isEqualTo("2");
    } finally {
      database.run("drop role replay_before; drop role replay_of_somebody");
    }
  }

  @Test
  void whatAFileSets_holdsForItAlone_alsoWhenSomethingOfItFails() throws SQLException, IOException {
    file(
        "1_a.sql",
        "select pg_catalog.set_config('search_path', '', false);\ncreate table public.a (id int);");
    file(
        "2_b.sql",
        "create schema other;\nset local search_path = other;\nselect nothing;\ncreate table b (id int);");
    file(
        "3_c.sql",
        "create table c (id int);\ncreate table d (id int references a deferrable initially deferred);");
    try (Connection connection = scratch.open()) {
      assertThat(failures(replay()))
          .containsExactly(
              "2_b.sql:3: column \"nothing\" does not exist (SQLSTATE 42703)",
              "3_c.sql:2: there is no primary key for referenced table \"a\" (SQLSTATE 42704)");
      assertThat(tables(connection)).containsExactly("a", "c");
      assertThat(
              Sql.<String>one(
                  connection,
                  "select relnamespace::regnamespace::text from pg_class where relname = 'b'",
                  row -> row.getString(1)))
          .isEqualTo("other");
    }
  }

  @Test
  void rolesThatMigrationsMake_goWithThem_unlessSomebodyUsesThem()
      throws SQLException, IOException {
    file("1_a.sql", "create role replay_made; do $$ begin create role replay_done; end $$;");
    assertThat(replay().notes()).isEmpty();
    database.run("create table used (); alter table used owner to replay_done");
    scratch.close();
    assertThat(
            database.value(
                "select string_agg(rolname, ' ') from pg_roles where rolname like 'replay%'"))
        .isEqualTo("replay_done");
    database.run("drop table used; drop role replay_done");
  }

  @Test
  void extensionsThatAreKnown_areMadeUp() throws SQLException, IOException {
    file(
        "1_a.sql",
        """
        create schema extensions;
        create extension if not exists "vector" with schema "extensions";
        create extension pg_cron;
        create extension if not exists pg_net;
        create table a (id int, embedding extensions.vector(1536) not null);
        create index on a using hnsw (embedding extensions.vector_cosine_ops);
        create index on a (id);
        insert into a values (1, '[1,2,3]');
        create function near(wanted extensions.vector) returns setof a language sql stable
          as $$ select * from a order by embedding operator(extensions.<=>) wanted limit 3 $$;
        select cron.schedule('nightly', '0 3 * * *', 'select 1');
        select net.http_post(url := 'https://example.org', body := '{}');
        """);
    try (Connection connection = scratch.open()) {
      Replay.Result result = replay();
      assertThat(failures(result)).isEmpty();
      assertThat(result.notes())
          .containsExactly(
              "1_a.sql:2: extension vector is not on the scratch server, and was made up: its types and functions are there, and do nothing",
              "1_a.sql:3: extension pg_cron is not on the scratch server, and was made up: its types and functions are there, and do nothing",
              "1_a.sql:4: extension pg_net is not on the scratch server, and was made up: its types and functions are there, and do nothing",
              "1_a.sql:6: an index by hnsw was passed over, which is not on the scratch server");
      assertThat(tables(connection)).containsExactly("a");
    }
  }

  @Test
  void statementThatEndsTheSession_isToldAndLeftOut_andTheRestIsThere()
      throws SQLException, IOException {
    file("1_a.sql", "create table a (id int);");
    String deadly = "select pg_terminate_backend(pg_backend_pid());";
    file("2_b.sql", "create table b (id int);\n" + deadly + "\ncreate table c (id int);");
    file(
        "3_c.sql",
        "create table d (id int);\nselect nothing;\n" + deadly + "\ncreate table e (id int);");
    file("4_d.sql", "begin;\ncreate table f (id int);\n" + deadly + "\ncommit;\n" + deadly);
    try (Connection connection = scratch.open()) {
      String gone = ": terminating connection due to administrator command (SQLSTATE 57P01)";
      assertThat(failures(replay()))
          .containsExactlyInAnyOrder(
              "2_b.sql:2" + gone,
              "3_c.sql:2: column \"nothing\" does not exist (SQLSTATE 42703)",
              "3_c.sql:3" + gone,
              "4_d.sql:3" + gone,
              "4_d.sql:5" + gone);
      assertThat(tables(connection)).containsExactly("a", "b", "c", "d", "e", "f");
    }
  }
}
