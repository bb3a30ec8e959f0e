package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.events.EventQuarantine;
import dev.tallyroll.postgres.events.EventUpkeep;
import dev.tallyroll.postgres.registry.Schema;
import dev.tallyroll.server.settings.Setting;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What a server keeps within bounds, and what it says when there is no room. */
class UpkeepTest {
  private static Serving serving;

  @BeforeAll
  static void start() {
    serving = Serving.start();
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  @Test
  void quarantine_losesWhatIsOld_andOfEachTenantWhatIsTooMuch() {
    serving.database.run(
        """
        insert into tallyroll.event_quarantine (tenant, quarantined_at, kind, reason, payload)
        select t, clock_timestamp() - n * interval '1 day', 'span', n::text, '' from unnest(array['much', 'little']) t, generate_series(9, 0, -1) n where t = 'much' or n in (0, 8)
        """);
    int gone =
        serving
            .database
            .database()
            .transact(
                "serve", connection -> EventQuarantine.purge(connection, Duration.ofDays(5), 3));
    // Of ten three stay; of two the one of eight days ago goes.
    assertThat(gone).isEqualTo(8);
    assertThat(
            serving.database.value(
                "select string_agg(tenant || reason, ' ' order by tenant, reason) from tallyroll.event_quarantine where tenant in ('much', 'little')"))
        .isEqualTo("little0 much0 much1 much2");
  }

  @Test
  void keysThatAreTooOldToComeAgain_arePurged_andTheOthersStillTellRetries() {
    String key = serving.key("keys", Scope.INGEST);
    for (String id : new String[] {"old", "new"}) {
      assertThat(serving.postEvents(key, Serving.event(id, Map.of())).statusCode()).isEqualTo(204);
    }
    serving.database.run(
        "insert into tallyroll.event_key select 'keys', gen_random_uuid(), now() - interval '40 days' from generate_series(1, 20000)");
    // First said, so that all servers know it, then done, whoever calls meanwhile.
    assertThat(purgeKeys(serving, 0, 37)).isZero();
    assertThat(purgeKeys(serving, 0, 37)).isZero();
    anHourLater(serving);
    assertThat(purgeKeys(serving, 0, 37, () -> false)).as("told to stop").isZero();
    anHourLater(serving);
    assertThat(purgeKeys(serving, 0, 37)).isEqualTo(20_000);
    assertThat(
            serving.database.value(
                "select count(*) from tallyroll.event_key where tenant = 'keys'"))
        .isEqualTo("2");
    assertThat(serving.postEvents(key, Serving.event("old", Map.of())).statusCode()).isEqualTo(204);
    assertThat(serving.database.value("select count(*) from tallyroll.event where tenant = 'keys'"))
        .isEqualTo("2");
  }

  private static long purgeKeys(Serving of, int daysAhead, int age) {
    return purgeKeys(of, daysAhead, age, () -> true);
  }

  private static long purgeKeys(Serving of, int daysAhead, int age, BooleanSupplier goesOn) {
    return EventUpkeep.purgeKeys(
        of.database.database(),
        Instant.now().plus(Duration.ofDays(daysAhead)),
        Duration.ofDays(age),
        goesOn);
  }

  private static void anHourLater(Serving of) {
    of.database.run("update tallyroll.event_key_purge set said_at = said_at - interval '1 hour'");
  }

  @Test
  void clockThatIsWrong_forgetsAFewDaysAtMost() {
    try (Serving other = Serving.start()) {
      assertThat(purgeKeys(other, 0, 37)).isZero();
      assertThat(other.database.value("select count(*) from tallyroll.event_key_purge"))
          .as("of no key at all there is nothing to say")
          .isEqualTo("0");
      other.database.run(
          "insert into tallyroll.event_key select 'ahead', gen_random_uuid(), now() - n * interval '1 day' from generate_series(1, 30) n");
      // A year ahead of the database, then with a database that is as far ahead.
      purgeKeys(other, 365, 37);
      String before =
          "select round(extract(epoch from now() - before) / 86400) from tallyroll.event_key_purge";
      assertThat(other.database.value(before)).isEqualTo("37");
      anHourLater(other);
      purgeKeys(other, 0, -365);
      assertThat(other.database.value(before)).isEqualTo("22");
    }
  }

  @Test
  void eventsWhoseKeysArePurged_areTooOld_howeverLongKeysAreKeptNow() {
    try (Serving other = Serving.start()) {
      Instant now = Instant.now();
      String key = other.key("kept", Scope.INGEST);
      HttpResponse<String> known = other.postEvents(key, eventOf("known", now, 20));
      assertThat(known.statusCode()).as(known.body()).isEqualTo(204);
      purgeKeys(other, 0, 12);
      anHourLater(other);
      // What was said is not taken back by a server that keeps them for longer.
      purgeKeys(other, 0, 37);
      try (Serving raised = other.another(Map.of(Setting.DEDUP_KEEP, "30d"))) {
        HttpResponse<String> answer = raised.postEvents(key, eventOf("new", now, 20));
        assertThat(answer.statusCode()).isEqualTo(400);
        assertThat(answer.body()).contains("too-old: lies more than 11 d back");
        assertThat(raised.postEvents(key, eventOf("new", now, 10)).statusCode()).isEqualTo(204);
      }
    }
  }

  @Test
  void migrationByAnother_leavesAServerItsRights() {
    try (Serving other = Serving.start()) {
      other.database.run(
          "drop table tallyroll.event_key_purge; delete from tallyroll.schema_version where version = 14");
      Schema.migrate(other.database.database());
      assertThat(
              other.database.value(
                  "select has_table_privilege('"
                      + Serving.ROLE
                      + "', 'tallyroll.event_key_purge', 'select')"))
          .isEqualTo("t");
    }
  }

  private static Map<String, Object> eventOf(String id, Instant now, int daysBack) {
    Map<String, Object> event = Serving.event(id, Map.of());
    event.put("time", now.minus(Duration.ofDays(daysBack)).toString());
    return event;
  }

  /** What PostgreSQL says when its disk is full, said by a trigger. */
  @Test
  void fullDisk_isTold_andIsOverWithTheFirstCommit() {
    String key = serving.key("full", Scope.INGEST);
    assertThat(serving.postEvents(key, Serving.event("1", Map.of())).statusCode()).isEqualTo(204);
    serving.database.run(
        "create function public.full_disk() returns trigger language plpgsql as $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$;"
            + " create trigger full_disk before insert on tallyroll.event_key for each statement execute function public.full_disk()");
    try {
      HttpResponse<String> refused = serving.postEvents(key, Serving.event("2", Map.of()));
      assertThat(refused.statusCode()).isEqualTo(503);
      assertThat(refused.headers().firstValue("Retry-After")).isPresent();
      assertThat(refused.body()).contains("out of disk");
      HttpResponse<String> ready = serving.get("/readyz", null);
      assertThat(ready.statusCode()).isEqualTo(503);
      assertThat(ready.body()).contains("\"disk\":\"full\"");
    } finally {
      serving.database.run(
          "drop trigger full_disk on tallyroll.event_key; drop function public.full_disk()");
    }
    assertThat(serving.postEvents(key, Serving.event("2", Map.of())).statusCode()).isEqualTo(204);
    assertThat(serving.get("/readyz", null).body()).contains("\"disk\":\"ok\"");
  }
}
