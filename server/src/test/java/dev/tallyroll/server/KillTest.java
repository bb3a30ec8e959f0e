package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.roles.ServerRoles;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.InstantSource;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/**
 * Clients that try again what was not acknowledged, two servers on one database, and both of these
 * and PostgreSQL killed again and again: whatever was acknowledged is counted, and counted once.
 */
class KillTest {
  private static final int KILLS = 10;
  private static final int CLIENTS = 4;

  @Test
  void killedAgainAndAgain_everyAcknowledgedEventIsCountedOnce() throws Exception {
    Optional<TestDatabase> found = TestDatabase.createToCrash();
    assumeTrue(found.isPresent(), "the programs of PostgreSQL are not on this machine");
    try (TestDatabase database = found.get()) {
      Serving.makeRole(database);
      database.makeRole(ServerRoles.INGEST, "nologin");
      List<OtherServer> servers =
          List.of(
              OtherServer.start(database.url(), freePort()),
              OtherServer.start(database.url(), freePort()));
      List<String> keys = new ArrayList<>();
      for (int i = 0; i < CLIENTS; i++) {
        new Tenants(database.database()).create("t" + i, null);
        keys.add(new ApiKeys(database.database()).create("t" + i, Scope.INGEST, null).token());
      }
      AtomicBoolean isOver = new AtomicBoolean();
      AtomicLong refused = new AtomicLong();
      try (ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
        List<Future<Long>> sent = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
          int client = i;
          sent.add(clients.submit(() -> send(client, keys.get(client), servers, isOver, refused)));
        }
        for (int i = 0; i < KILLS; i++) {
          Thread.sleep(700);
          servers.get(i % 2).kill();
          Thread.sleep(700);
          database.kill();
        }
        Thread.sleep(1_000);
        isOver.set(true);
        long[] acknowledged = new long[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
          acknowledged[i] = sent.get(i).get();
        }
        for (OtherServer server : servers) {
          server.stop();
        }
        proves(database, acknowledged);
      }
      // Otherwise nothing was interrupted.
      assertThat(refused.get()).isPositive();
    }
  }

  @Test
  void toldToStopUnderLoad_answersWhatItHasTaken_andEndsInTime() throws Exception {
    try (TestDatabase database = TestDatabase.create()) {
      Serving.makeRole(database);
      OtherServer server = OtherServer.start(database.url(), freePort());
      List<String> keys = new ArrayList<>();
      for (int i = 0; i < CLIENTS; i++) {
        new Tenants(database.database()).create("t" + i, null);
        keys.add(new ApiKeys(database.database()).create("t" + i, Scope.INGEST, null).token());
      }
      long[] acknowledged = new long[CLIENTS];
      try (ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
        List<Future<Long>> sent = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
          int client = i;
          sent.add(clients.submit(() -> sendUntilRefused(client, keys.get(client), server)));
        }
        Thread.sleep(2_000);
        long from = System.nanoTime();
        server.stop();
        assertThat(Duration.ofNanos(System.nanoTime() - from)).isLessThan(Duration.ofSeconds(30));
        for (int i = 0; i < CLIENTS; i++) {
          acknowledged[i] = sent.get(i).get();
          assertThat(acknowledged[i]).isPositive();
        }
      }
      for (int i = 0; i < CLIENTS; i++) {
        long counted =
            Long.parseLong(
                String.valueOf(
                    database.value(
                        "select count(*) from tallyroll.event where tenant = 't" + i + "'")));
        // What it has committed it has answered, the last one too.
        assertThat(counted).isEqualTo(acknowledged[i]);
      }
      // Neither what it is made of nor those whose requests were refused have anything to log.
      // (The tests' class path has two providers of logging, which is said.)
      assertThat(server.said()).allMatch(line -> line.startsWith("SLF4J("));
    }
  }

  /** Sends events one by one until the first is not acknowledged; gives how many were. */
  private static long sendUntilRefused(int client, String key, OtherServer server)
      throws InterruptedException {
    try (HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build()) {
      for (long sent = 0; ; sent++) {
        String body =
            Serving.JSON.writeValueAsString(
                List.of(Serving.event(client + "-" + sent, Map.of("model", "m"))));
        if (!post(http, key, server, body)) {
          return sent;
        }
      }
    }
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return socket.getLocalPort();
    }
  }

  /** Sends batches until it is over, each until it is acknowledged; gives how many events. */
  private static long send(
      int client, String key, List<OtherServer> servers, AtomicBoolean isOver, AtomicLong refused)
      throws InterruptedException {
    Random random = new Random(client);
    long acknowledged = 0;
    try (HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build()) {
      for (int batch = 0; !isOver.get(); batch++) {
        List<Object> events = new ArrayList<>();
        int size = 1 + random.nextInt(50);
        for (int i = 0; i < size; i++) {
          // Without a time: a retry has another one.
          events.add(
              Serving.event(
                  batch + "-" + i,
                  Map.of("model", "m" + i % 3, "input_tokens", 1, "user_id", "u" + i)));
        }
        String body = Serving.JSON.writeValueAsString(events);
        while (!post(http, key, servers.get(random.nextInt(2)), body)) {
          refused.incrementAndGet();
          Thread.sleep(50);
        }
        acknowledged += size;
      }
    }
    return acknowledged;
  }

  private static boolean post(HttpClient http, String key, OtherServer server, String body)
      throws InterruptedException {
    try {
      HttpResponse<String> answer =
          http.send(
              HttpRequest.newBuilder(
                      URI.create("http://127.0.0.1:" + server.port() + "/api/v1/events"))
                  .timeout(Duration.ofSeconds(20))
                  .header("Authorization", "Bearer " + key)
                  .header("Content-Type", "application/cloudevents-batch+json")
                  .POST(HttpRequest.BodyPublishers.ofString(body))
                  .build(),
              HttpResponse.BodyHandlers.ofString());
      assertThat(answer.statusCode()).as(answer.body()).isIn(204, 503);
      return answer.statusCode() == 204;
    } catch (IOException e) {
      return false;
    }
  }

  private static void proves(TestDatabase database, long[] acknowledged) {
    for (int i = 0; i < acknowledged.length; i++) {
      assertThat(
              database.value(
                  "select count(*) || ' ' || count(distinct (source, id)) from tallyroll.event where tenant = 't"
                      + i
                      + "'"))
          .isEqualTo(acknowledged[i] + " " + acknowledged[i]);
      assertThat(
              new QueryEngine(database.database(), InstantSource.system())
                  .run(
                      QueryRequest.of("llm_usage")
                          .tenants("t" + i)
                          .every(dev.tallyroll.model.time.Every.ALL, ZoneId.of("UTC"))
                          .measuring("requests", "input_tokens"))
                  .rows()
                  .getFirst()
                  .subList(2, 4)
                  .toString())
          .isEqualTo("[" + acknowledged[i] + ", " + acknowledged[i] + "]");
    }
    try (Refresher refresher = new Refresher(database.database(), InstantSource.system())) {
      for (String rollup : List.of("llm_usage", "activity")) {
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        VerifyReport report =
            new Verifier(database.database(), InstantSource.system())
                .verify(VerifyRequest.all(rollup), new Verifier.Progress() {});
        assertThat(report.isExact()).as(rollup).isTrue();
      }
    }
  }
}
