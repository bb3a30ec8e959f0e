package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.event.Event;
import dev.tallyroll.model.event.EventKey;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.events.EventBatch;
import dev.tallyroll.postgres.events.GroupCommit;
import dev.tallyroll.postgres.events.Refusal;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.nio.ByteBuffer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** How requests share commits when the database is slow; their speed is measured in the bench. */
class GroupCommitTest {
  private static final int SOON_S = 20;
  private static final String SOURCE = "a source";

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
  void aRequestThatWaitsForTooLong_isToldSo_andOneThatNobodyHasTakenYetIsNotStoredAfterwards()
      throws Exception {
    try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
        GroupCommit commit = commit(1, Duration.ofSeconds(1));
        Connection holder = serving.database.connect()) {
      assertThat(commit.append(batch("patient", "before"))).isEmpty();
      holder.setAutoCommit(false);
      claim(holder, "patient", "taken");

      Future<Optional<Refusal>> taken =
          threads.submit(() -> commit.append(batch("patient", "taken")));
      awaitBlocked();
      Future<Optional<Refusal>> waiting =
          threads.submit(() -> commit.append(batch("patient", "waiting")));

      assertThat(taken.get(SOON_S, TimeUnit.SECONDS)).containsInstanceOf(Refusal.Unavailable.class);
      assertThat(waiting.get(SOON_S, TimeUnit.SECONDS))
          .containsInstanceOf(Refusal.Unavailable.class);
      holder.rollback();
      assertThat(commit.append(batch("patient", "after"))).isEmpty();
      assertThat(
              serving.database.value(
                  "select string_agg(id, ' ' order by id) from tallyroll.event where tenant = 'patient'"))
          .isEqualTo("after before taken");
    }
  }

  @Test
  void whileACommitterIsHeldUp_anotherTakesWhatIsMuch() throws Exception {
    try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
        GroupCommit commit = commit(2, Duration.ofMinutes(2));
        Connection holder = serving.database.connect()) {
      holder.setAutoCommit(false);
      claim(holder, "helped", "stuck");
      Future<Optional<Refusal>> stuck =
          threads.submit(() -> commit.append(batch("helped", "stuck")));
      awaitBlocked();

      String[] ids = new String[1_000];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = "event-" + i;
      }
      assertThat(threads.submit(() -> commit.append(batch("helped", ids))).get(5, TimeUnit.SECONDS))
          .isEmpty();

      assertThat(stuck.isDone()).isFalse();
      holder.rollback();
      assertThat(stuck.get(SOON_S, TimeUnit.SECONDS)).isEmpty();
      assertThat(
              serving.database.value(
                  "select count(*) from tallyroll.event where tenant = 'helped'"))
          .isEqualTo("1001");
    }
  }

  @Test
  void aListenerThatFails_refusesNothing_andTheCommitterGoesOn() throws Exception {
    GroupCommit.Listener failing =
        new GroupCommit.Listener() {
          @Override
          public void committed(int requests, int events, long appended, Duration duration) {
            throw new IllegalStateException("not counted");
          }

          @Override
          public void failed(String reason) {}
        };
    try (GroupCommit commit =
        new GroupCommit(
            new Database(serving.database.source(Serving.ROLE, "secret")), 1, failing)) {
      for (int i = 0; i < 20; i++) {
        assertThat(commit.append(batch("unheard", "event-" + i))).isEmpty();
      }
    }
  }

  private static GroupCommit commit(int committers, Duration longestWait) {
    return new GroupCommit(
        new Database(serving.database.source(Serving.ROLE, "secret")),
        committers,
        longestWait,
        GroupCommit.Listener.NONE);
  }

  private static EventBatch batch(String tenant, String... ids) {
    long now = Times.micros(Instant.now());
    EventBatch batch = new EventBatch(tenant, now, 0);
    for (String id : ids) {
      batch.add(new Event(SOURCE, id, now, "a type", null, Map.of(), null));
    }
    return batch;
  }

  /** As a transaction of another server would that is not committed yet. */
  private static void claim(Connection connection, String tenant, String id) throws SQLException {
    ByteBuffer key = ByteBuffer.wrap(EventKey.of(SOURCE, id).bytes());
    Sql.update(
        connection,
        "insert into tallyroll.event_key (tenant, key, received_at) values (?, ?, now())",
        tenant,
        new UUID(key.getLong(), key.getLong()));
  }

  private static void awaitBlocked() throws InterruptedException {
    String waiting =
        "select string_agg(wait_event || ': ' || query, '; ') from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    long until = System.nanoTime() + Duration.ofSeconds(SOON_S).toNanos();
    String found = serving.database.value(waiting);
    while (found == null || !found.contains("event_key")) {
      assertThat(System.nanoTime()).as("waits: %s", found).isLessThan(until);
      Thread.sleep(20);
      found = serving.database.value(waiting);
    }
  }
}
