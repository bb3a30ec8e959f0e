package dev.tallyroll.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.server.settings.Setting;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What a client cannot do to the others. */
class LimitsTest {
  private static Serving serving;
  private static String key;
  private static String other;

  @BeforeAll
  static void start() {
    serving =
        Serving.start(
            Map.of(
                Setting.INGEST_MAX_BODY, "1MiB",
                Setting.INGEST_MAX_IN_FLIGHT, "4MiB",
                Setting.INGEST_BODY_DEADLINE, "1s",
                Setting.INGEST_MAX_EVENTS, "1000"));
    key = serving.key("limited", Scope.INGEST);
    other = serving.key("other", Scope.INGEST);
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  private static void othersAreServed() {
    assertThat(serving.postEvents(other, Serving.event("x", Map.of())).statusCode()).isEqualTo(204);
  }

  @Test
  void compressionBomb_is413_andTakesNoMoreThanABody() throws IOException {
    ByteArrayOutputStream bomb = new ByteArrayOutputStream();
    try (GZIPOutputStream out = new GZIPOutputStream(bomb)) {
      byte[] zeros = new byte[1 << 20];
      for (int i = 0; i < 200; i++) {
        out.write(zeros);
      }
    }
    assertThat(bomb.size()).isLessThan(300_000);
    for (String path : List.of("/api/v1/events", "/v1/traces")) {
      HttpResponse<String> answer =
          serving.send(
              serving
                  .request(path, key)
                  .header("Content-Type", "application/json")
                  .header("Content-Encoding", "gzip")
                  .POST(HttpRequest.BodyPublishers.ofByteArray(bomb.toByteArray())));
      assertThat(answer.statusCode()).isEqualTo(413);
    }
    othersAreServed();
  }

  @Test
  void largeBody_is413_withOrWithoutItsLength() {
    String large = "x".repeat(2 << 20);
    assertThat(serving.post("/api/v1/events", key, "application/json", large).statusCode())
        .isEqualTo(413);
    assertThat(
            serving
                .send(
                    serving
                        .request("/api/v1/events", key)
                        .header("Content-Type", "application/json")
                        .POST(
                            HttpRequest.BodyPublishers.ofInputStream(
                                () -> new java.io.ByteArrayInputStream(large.getBytes(UTF_8)))))
                .statusCode())
        .isEqualTo(413);
  }

  private static Socket open(String head) throws IOException {
    Socket socket = new Socket(InetAddress.getLoopbackAddress(), serving.server.port());
    socket.setSoTimeout(20_000);
    socket.getOutputStream().write(head.getBytes(UTF_8));
    socket.getOutputStream().flush();
    return socket;
  }

  private static String head(int length) {
    return "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        + key
        + "\r\nContent-Type: application/json\r\nContent-Length: "
        + length
        + "\r\n\r\n";
  }

  private static String firstLine(Socket socket) throws IOException {
    InputStream in = socket.getInputStream();
    StringBuilder line = new StringBuilder();
    for (int c = in.read(); c >= 0 && c != '\n'; c = in.read()) {
      line.append((char) c);
    }
    return line.toString();
  }

  @Test
  void bodyThatDrips_is408() throws Exception {
    try (Socket socket = open(head(1_000))) {
      for (int i = 0; i < 15; i++) {
        socket.getOutputStream().write('x');
        socket.getOutputStream().flush();
        Thread.sleep(100);
      }
      assertThat(firstLine(socket)).contains(" 408");
    }
    try (Socket silent = open(head(1_000))) {
      assertThat(firstLine(silent)).contains(" 408");
    }
  }

  @Test
  void manySlowBodies_doNotKeepOthersOut() throws IOException {
    List<Socket> slow = new ArrayList<>();
    try {
      for (int i = 0; i < 200; i++) {
        slow.add(open(head(1_000_000) + "[" + " ".repeat(100)));
      }
      for (int i = 0; i < 20; i++) {
        othersAreServed();
      }
    } finally {
      for (Socket socket : slow) {
        socket.close();
      }
    }
  }

  @Test
  void tenThousandIdleConnections_doNotKeepOthersOut() throws IOException {
    try (IdleConnections idle = IdleConnections.open(serving.server.port(), 10_000)) {
      assertThat(idle).isNotNull();
      for (int i = 0; i < 20; i++) {
        othersAreServed();
      }
      // Nor from a connection of their own.
      try (Socket socket = open("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")) {
        assertThat(firstLine(socket)).contains(" 200");
      }
    }
  }

  @Test
  void headerFlood_isRefused() throws IOException {
    try (Socket socket =
        open(
            "GET /livez HTTP/1.1\r\nHost: localhost\r\n"
                + "X-Flood: 0123456789012345678901234567890123456789\r\n".repeat(2_000)
                + "\r\n")) {
      assertThat(firstLine(socket)).matches("HTTP/1.1 (400|431).*\\s*");
    }
    othersAreServed();
  }

  @Test
  void tooManyEvents_is400() {
    List<Object> batch = new ArrayList<>();
    for (int i = 0; i < 1_001; i++) {
      batch.add(Serving.event("n" + i, Map.of()));
    }
    HttpResponse<String> answer = serving.postEvents(key, batch);
    assertThat(answer.statusCode()).isEqualTo(400);
    assertThat(answer.body()).contains("at most 1000 events");
    batch.removeLast();
    assertThat(serving.postEvents(key, batch).statusCode()).isEqualTo(204);
  }

  @Test
  void rate_is429_withRetryAfter_andOthersAreServed() {
    try (Serving limited = serving.another(Map.of(Setting.INGEST_RATE, "10"))) {
      HttpResponse<String> answer = limited.postEvents(key, Serving.event("rate", Map.of()));
      for (int i = 0; i < 200 && answer.statusCode() == 204; i++) {
        answer = limited.postEvents(key, Serving.event("rate" + i, Map.of()));
      }
      assertThat(answer.statusCode()).isEqualTo(429);
      assertThat(answer.headers().firstValueAsLong("Retry-After").orElse(0)).isPositive();
      assertThat(limited.postEvents(other, Serving.event("y", Map.of())).statusCode())
          .isEqualTo(204);
    }
  }

  @Test
  void bytesInFlight_is503_withRetryAfter() throws IOException {
    // Each holds a body of a megabyte that does not end.
    List<Socket> holding = new ArrayList<>();
    try {
      String rest = "[" + " ".repeat(900_000);
      for (int i = 0; i < 8; i++) {
        holding.add(open(head(1_000_000) + rest));
      }
      int seen = 0;
      for (int i = 0; i < 20 && seen != 503; i++) {
        seen =
            serving
                .post("/api/v1/events", other, "application/json", "[" + " ".repeat(900_000) + "]")
                .statusCode();
      }
      assertThat(seen).isEqualTo(503);
    } finally {
      for (Socket socket : holding) {
        socket.close();
      }
    }
  }

  @Test
  void bodyOfMillionsOfEmptySpans_isRefused_beforeTheyAreMade() throws IOException {
    // resource_spans, scope_spans, then spans of nothing: two bytes each.
    byte[] spans = new byte[900_000];
    for (int i = 0; i < spans.length; i += 2) {
      spans[i] = 0x12;
    }
    ByteArrayOutputStream scope = new ByteArrayOutputStream();
    scope.write(0x12);
    varint(scope, spans.length);
    scope.writeBytes(spans);
    ByteArrayOutputStream body = new ByteArrayOutputStream();
    body.write(0x0a);
    varint(body, scope.size());
    body.writeBytes(scope.toByteArray());
    HttpResponse<String> answer =
        serving.send(
            serving
                .request("/v1/traces", key)
                .header("Content-Type", "application/x-protobuf")
                .POST(HttpRequest.BodyPublishers.ofByteArray(body.toByteArray())));
    assertThat(answer.statusCode()).isEqualTo(400);
    othersAreServed();
  }

  private static void varint(ByteArrayOutputStream out, int value) {
    int left = value;
    while (left > 0x7f) {
      out.write((left & 0x7f) | 0x80);
      left >>>= 7;
    }
    out.write(left);
  }

  @Test
  void smallBodyThatIsLargeWhenStored_is413() {
    // Each span gets the attributes of its resource.
    StringBuilder attributes = new StringBuilder();
    for (int i = 0; i < 100; i++) {
      attributes
          .append(i == 0 ? "" : ",")
          .append("{\"key\":\"k")
          .append(i)
          .append("\",\"value\":{\"stringValue\":\"")
          .append("x".repeat(3_000))
          .append("\"}}");
    }
    StringBuilder spans = new StringBuilder();
    long now = System.currentTimeMillis() * 1_000_000;
    for (int i = 0; i < 500; i++) {
      spans
          .append(i == 0 ? "" : ",")
          .append(
              "{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"%016x"
                  .formatted(i + 1))
          .append("\",\"endTimeUnixNano\":\"")
          .append(now)
          .append(
              "\",\"attributes\":[{\"key\":\"gen_ai.system\",\"value\":{\"stringValue\":\"x\"}}]}");
    }
    String body =
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":["
            + attributes
            + "]},\"scopeSpans\":[{\"spans\":["
            + spans
            + "]}]}]}";
    assertThat(body.length()).isLessThan(1 << 20);
    assertThat(serving.post("/v1/traces", key, "application/json", body).statusCode())
        .isEqualTo(413);
    othersAreServed();
  }

  @Test
  void formThatNobodyReads_isNotRead() throws IOException {
    try (Socket socket =
        open(
            "DELETE /livez HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000000\r\n\r\n")) {
      assertThat(firstLine(socket)).contains(" 405");
    }
  }

  @Test
  void addressThatDoesNotRead_is400() throws IOException {
    try (Socket socket = open("GET /livez?x=%zz HTTP/1.1\r\nHost: localhost\r\n\r\n")) {
      assertThat(firstLine(socket)).contains(" 400");
    }
  }
}
