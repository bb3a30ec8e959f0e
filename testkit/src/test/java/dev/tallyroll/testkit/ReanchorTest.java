package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.install.Reanchor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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
}
