package dev.tallyroll.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.tallyroll.postgres.access.Scope;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.http.HttpMessageFactory;
import io.cloudevents.jackson.JsonFormat;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Clients that others have written, as they are. */
class ClientsTest {
  private static Serving serving;

  @BeforeAll
  static void start() {
    serving = Serving.start();
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  private static CloudEvent event(String id) {
    return CloudEventBuilder.v1()
        .withId(id)
        .withSource(URI.create("/shop/€"))
        .withType("llm.call")
        .withSubject("customer Ω 100%")
        .withTime(OffsetDateTime.now(java.time.ZoneOffset.UTC))
        .withExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .withData("application/json", "{\"model\":\"gpt-4o\",\"input_tokens\":7}".getBytes(UTF_8))
        .build();
  }

  @Test
  void cloudEventsSdk_sendsStructuredAndBinary() throws IOException {
    String key = serving.key("sdk", Scope.INGEST);
    for (int i = 0; i < 2; i++) {
      // The same event in the other form is the same event.
      for (boolean isBinary : List.of(true, false)) {
        HttpURLConnection connection =
            (HttpURLConnection) serving.uri("/api/v1/events").toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setRequestProperty("Authorization", "Bearer " + key);
        var writer =
            HttpMessageFactory.createWriter(
                connection::setRequestProperty,
                body -> {
                  try {
                    connection.getOutputStream().write(body);
                  } catch (IOException e) {
                    throw new IllegalStateException(e);
                  }
                });
        if (isBinary) {
          writer.writeBinary(event("1"));
        } else {
          writer.writeStructured(event("1"), JsonFormat.CONTENT_TYPE);
        }
        assertThat(connection.getResponseCode()).isEqualTo(204);
        connection.disconnect();
      }
    }
    assertThat(
            serving.database.value(
                "select count(*) || ' ' || min(source) || ' ' || min(subject) || ' ' || min(attributes ->> 'ce-traceparent') || ' ' || sum(input_tokens) from tallyroll.event where tenant = 'sdk'"))
        .isEqualTo(
            "1 /shop/€ customer Ω 100% 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 7");
  }

  @Test
  void javaScriptExporter_sendsJson(@TempDir Path folder) throws Exception {
    assumeTrue(isThere("npm") && isThere("node"), "needs Node.js and npm");
    Files.writeString(
        folder.resolve("package.json"),
        "{\"private\":true,\"type\":\"module\",\"dependencies\":{\"@opentelemetry/exporter-trace-otlp-http\":\"0.301.0\",\"@opentelemetry/sdk-trace\":\"3.1.0\",\"@opentelemetry/api\":\"1.10.0\"}}");
    Files.writeString(
        folder.resolve("send.mjs"),
        """
        import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
        import { TracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace';
        const exporter = new OTLPTraceExporter({ url: process.argv[2], headers: { Authorization: 'Bearer ' + process.argv[3] } });
        const provider = new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter })] });
        const tracer = provider.getTracer('test');
        for (let i = 0; i < 20; i++) {
          const span = tracer.startSpan('chat');
          span.setAttributes({ 'gen_ai.operation.name': 'chat', 'gen_ai.system': 'openai', 'gen_ai.request.model': 'gpt-4o',
            'gen_ai.usage.input_tokens': 11, 'gen_ai.usage.output_tokens': 3 });
          span.end();
        }
        await provider.forceFlush();
        await provider.shutdown();
        """);
    run(folder, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error");
    String key = serving.key("js", Scope.INGEST);
    run(
        folder,
        "node",
        "send.mjs",
        "http://127.0.0.1:" + serving.server.otlpPort().orElseThrow() + "/v1/traces",
        key);
    assertThat(
            serving.usage(
                serving.key("js", Scope.READ),
                "llm_usage?measure=requests&measure=input_tokens&measure=output_tokens&every=all"))
        .singleElement()
        .satisfies(row ->
            assertThat(row)
                .containsEntry("requests", 20)
                .containsEntry("input_tokens", 220)
                .containsEntry("output_tokens", 60));
  }

  private static boolean isThere(String command) {
    try {
      return new ProcessBuilder(command, "--version").start().waitFor() == 0;
    } catch (IOException e) {
      return false;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  private static void run(Path folder, String... command) throws Exception {
    Process process =
        new ProcessBuilder(command).directory(folder.toFile()).redirectErrorStream(true).start();
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    process.getInputStream().transferTo(out);
    assertThat(process.waitFor(180, TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).as(out.toString(UTF_8)).isZero();
  }
}
