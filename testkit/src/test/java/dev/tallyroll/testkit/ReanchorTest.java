package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.install.Reanchor;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A database that came into another cluster. What a dump and a restore do to it is done in place:
 * the cluster's identifier is another, and all stored transaction ids are those of a cluster that
 * has run longer.
 */
class ReanchorTest {
  private static void move(Scenario scenario, String changes, long ahead) {
    String snapshot =
        "((pg_snapshot_xmax(%1$s)::text::bigint + "
            + ahead
            + ") || ':' || (pg_snapshot_xmax(%1$s)::text::bigint + "
            + ahead
            + ") || ':')::pg_snapshot";
    scenario
        .database()
        .run(
            "update tallyroll.rollup set system_identifier = 1, anchor = "
                + snapshot.formatted("anchor")
                + ", cursor = "
                + snapshot.formatted("cursor"));
    String table =
        changes.equals("any") ? "(select 'tallyroll.' || log from tallyroll.source)" : "'events'";
    scenario
        .database()
        .run(
            "do $$ begin set local session_replication_role = replica; execute 'alter table events drop constraint if exists tallyroll_xid_is_own';"
                + (changes.equals("append") ? "alter table events disable trigger all;" : "")
                + " execute 'update ' || "
                + table
                + " || ' set tallyroll_xid = (tallyroll_xid::text::bigint + "
                + ahead
                + ")::text::xid8 where tallyroll_xid is not null';"
                + (changes.equals("append") ? "alter table events enable trigger all;" : "")
                + " end $$; update tallyroll.leaf set relation = 1 where relation = (select max(relation) from tallyroll.leaf)");
  }

  /** While one rollup is taken over the others of its source are not yet. */
  @Test
  void aTableThatWentBeforeTheDump_staysCountedInAllRollups() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 600, 20);
      String rollup = Scenario.ROLLUP.replace("changes: append", "changes: any");
      scenario.apply(rollup + "---\n" + rollup.replace("rollup: usage", "rollup: second"));
      for (String name : new String[] {"usage", "second"}) {
        scenario.backfill(name);
        scenario.refresh(name);
      }
      scenario.database().run("drop table events_may");
      move(scenario, "any", 1_000_000);
      Reanchor reanchor = new Reanchor(scenario.database().database(), scenario.clock());
      assertThat(reanchor.run("usage", false)).containsExactly("second", "usage");
      for (String name : new String[] {"usage", "second"}) {
        scenario.refresh(name);
        assertThat(scenario.verify(name).mismatches()).isEmpty();
        assertThat(scenario.database().value("select sum(requests) from tallyroll." + name + "_1d"))
            .isEqualTo("600");
      }
      assertThat(scenario.database().value("select count(*) from tallyroll.seal")).isEqualTo("1");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"append", "any"})
  void aRestoredDump_goesOnWithoutARecount(String changes) {
    try (Scenario scenario = Scenario.withTable()) {
      scenario.insert(1, 300, 5);
      String rollup = Scenario.ROLLUP.replace("changes: append", "changes: " + changes);
      scenario.apply(rollup + "---\n" + rollup.replace("rollup: usage", "rollup: second"));
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario.refresh("second");
      // Not merged when the dump is taken; and of the second one not even filled.
      scenario.insert(301, 400, 5);
      if (changes.equals("any")) {
        scenario
            .database()
            .run(
                "update events set cost = cost + 1 where id % 3 = 0; delete from events where id % 5 = 0");
      }
      move(scenario, changes, 1_000_000);
      assertThatThrownBy(() -> scenario.refresh("usage"))
          .isInstanceOfSatisfying(
              TallyrollException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.REFUSED))
          .hasMessageContaining("reanchor usage");
      Reanchor reanchor = new Reanchor(scenario.database().database(), scenario.clock());
      assertThatThrownBy(() -> reanchor.run("usage", true))
          .isInstanceOf(TallyrollException.class)
          .hasMessageContaining("restored from a dump");
      assertThat(reanchor.run("usage", false)).containsExactly("second", "usage");
      assertThat(reanchor.run("usage", false)).isEmpty();
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      scenario.insert(401, 500, 5);
      scenario.backfill("second");
      for (String name : new String[] {"usage", "second"}) {
        scenario.refresh(name);
        assertThat(scenario.verify(name).mismatches()).isEmpty();
        assertThat(scenario.database().value("select sum(requests) from tallyroll." + name + "_1d"))
            .isEqualTo(scenario.database().value("select count(*) from events"));
        assertThat(
                scenario
                    .database()
                    .value("select sum(requests) from tallyroll." + name + "_1d_fresh"))
            .isEqualTo(scenario.database().value("select count(*) from events"));
      }
    }
  }

  @Test
  void anUpgradedCluster_goesOnWhereItWas() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 5);
      scenario.refresh("usage");
      scenario.insert(101, 200, 5);
      scenario.database().run("update tallyroll.rollup set system_identifier = 1");
      assertThat(new Reanchor(scenario.database().database(), scenario.clock()).run("usage", true))
          .containsExactly("usage");
      assertThat(scenario.refresh("usage").rows()).isEqualTo(100);
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
    }
  }

  /** A dump keeps the names of logs, which are made of object ids that are dealt anew. */
  @Test
  void aLogOfTheSameNameThatCameWithADump_isNotInTheWay() {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "create table other (x integer);"
                  + " insert into tallyroll.source (relation, log, log_columns) values ('other'::regclass, 'log_' || 'events'::regclass::oid, '{x}');"
                  + " do $$ begin execute 'create table tallyroll.log_' || 'events'::regclass::oid || ' (x integer)'; end $$");
      scenario.insert(1, 100, 5);
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: any"));
      scenario.backfill("usage");
      scenario.database().run("delete from events where id % 2 = 0");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo("50");
    }
  }

  /** Another database of the same cluster goes on counting transactions, but not tables. */
  @Test
  void aDumpRestoredBesideItself_isRefusedUntilItsTablesAreFound() {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      scenario.insert(1, 400, 40);
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: any"));
      scenario.backfill("usage");
      scenario.insert(401, 500, 40);
      scenario.refresh("usage");
      // Of one the name was not looked at since it got it.
      scenario
          .database()
          .run(
              "update tallyroll.leaf set relation = (relation::bigint + 1000000)::oid; update tallyroll.leaf set name = '\"public\".\"old\"' where name like '%may%'");
      assertThatThrownBy(() -> scenario.refresh("usage")).hasMessageContaining("reanchor usage");
      assertThatThrownBy(() -> scenario.freshContents("usage_1d"))
          .hasMessageContaining("made in another database");
      scenario.database().run("update events set tokens = 1 where id % 3 = 0");
      Reanchor reanchor = new Reanchor(scenario.database().database(), scenario.clock());
      assertThat(reanchor.run("usage", false)).containsExactly("usage");
      assertThat(reanchor.run("usage", false)).isEmpty();
      scenario.refresh("usage");
      assertThat(scenario.database().value("select count(*) from tallyroll.seal")).isEqualTo("0");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      scenario.database().run("delete from events where id % 5 = 0");
      scenario.refresh("usage");
      assertThat(scenario.verify("usage").mismatches()).isEmpty();
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d_fresh"))
          .isEqualTo(scenario.database().value("select count(*) from events"));
    }
  }

  /** Transactions are numbered anew there: a fresh view would take new rows for merged ones. */
  @Test
  void freshViews_refuseInAnotherCluster() {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 100, 5);
      scenario.refresh("usage");
      scenario.database().run("update tallyroll.rollup set system_identifier = 1");
      assertThatThrownBy(() -> scenario.freshContents("usage_1d"))
          .hasMessageContaining("made in another database");
    }
  }

  /** A real dump, where the server's own programs are on this machine. */
  @Test
  void aRealDumpRestoredBesideIt_isTakenOver() throws Exception {
    try (Scenario scenario = Scenario.withPartitionedTable()) {
      String bin = scenario.database().value("select setting from pg_config where name = 'BINDIR'");
      Path dump = Path.of(String.valueOf(bin)).resolve("pg_dump");
      assumeTrue(Files.isExecutable(dump));
      scenario.insert(1, 400, 40);
      scenario.apply(Scenario.ROLLUP.replace("changes: append", "changes: any"));
      scenario.backfill("usage");
      scenario.refresh("usage");
      scenario.database().run("update events set tokens = 1 where id % 3 = 0");
      PGSimpleDataSource here = scenario.database().newSource();
      String copy = here.getDatabaseName() + "_copy";
      scenario.database().run("create database " + copy);
      try {
        String server =
            " -h "
                + here.getServerNames()[0]
                + " -p "
                + here.getPortNumbers()[0]
                + " -U "
                + here.getUser();
        ProcessBuilder restore =
            new ProcessBuilder(
                    "sh",
                    "-c",
                    dump
                        + server
                        + " -d "
                        + here.getDatabaseName()
                        + " | "
                        + dump.resolveSibling("psql")
                        + server
                        + " -d "
                        + copy
                        + " -q -v ON_ERROR_STOP=1 -o /dev/null")
                .inheritIO();
        restore.environment().put("PGPASSWORD", String.valueOf(here.getPassword()));
        assertThat(restore.start().waitFor()).isZero();
        PGSimpleDataSource there = scenario.database().newSource();
        there.setDatabaseName(copy);
        Database restored = new Database(there);
        try (Refresher refresher = new Refresher(restored, scenario.clock())) {
          assertThatThrownBy(() -> refresher.refresh("usage", Refresher.WhenBusy.WAIT))
              .hasMessageContaining("reanchor usage");
          assertThat(new Reanchor(restored, scenario.clock()).run("usage", false))
              .containsExactly("usage");
          restored.transact(
              "test",
              connection -> {
                Sql.run(connection, "delete from public.events where id % 5 = 0");
                return true;
              });
          refresher.refresh("usage", Refresher.WhenBusy.WAIT);
        }
        assertThat(
                new Verifier(restored, scenario.clock())
                    .verify(VerifyRequest.all("usage"), new Verifier.Progress() {})
                    .isExact())
            .isTrue();
        assertThat(
                restored.<Boolean>with(
                    "test",
                    connection ->
                        Sql.one(
                            connection,
                            "select (select sum(requests) from tallyroll.usage_1d) = (select count(*) from public.events) and not exists (select from tallyroll.seal)",
                            row -> row.getBoolean(1))))
            .isTrue();
      } finally {
        scenario.database().run("drop database " + copy + " with (force)");
      }
    }
  }
}
