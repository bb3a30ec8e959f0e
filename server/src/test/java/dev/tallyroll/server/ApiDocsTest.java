package dev.tallyroll.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.server.http.Problem;
import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;

/** That what is written of the API is true of the server. */
class ApiDocsTest {
  private static Serving serving;

  @BeforeAll
  static void start() {
    serving = Serving.start();
  }

  @AfterAll
  static void stop() {
    serving.close();
  }

  private static String file(String name) throws IOException {
    return Files.readString(Path.of("..", name));
  }

  @Test
  void description_isOpenApi31_withTheParametersOfUsage() {
    JsonNode api = Serving.json(serving.get("/v3/api-docs", null));
    assertThat(api.get("openapi").asString()).startsWith("3.1");
    List<String> names = new ArrayList<>();
    api.get("paths")
        .get("/v1/usage/{rollup}")
        .get("get")
        .get("parameters")
        .forEach(parameter -> names.add(parameter.get("name").asString()));
    assertThat(names)
        .containsExactlyInAnyOrder(
            "rollup", "measure", "by", "where", "tenant", "from", "to", "every", "zone", "top",
            "fill", "stale", "partial", "limit", "cursor");
    assertThat(serving.get("/docs", null).statusCode()).isEqualTo(302);
    assertThat(serving.get("/swagger-ui/index.html", null).statusCode()).isEqualTo(200);
  }

  @Test
  void everyPathOfTheDescription_isThere_andThoseOfTheDocsAreInIt() throws IOException {
    JsonNode paths = Serving.json(serving.get("/v3/api-docs", null)).get("paths");
    String docs = file("docs/http-api.md");
    for (Map.Entry<String, JsonNode> path : paths.properties()) {
      assertThat(docs).contains(path.getKey());
      String at = path.getKey().replaceAll("\\{[a-z]+}", "x");
      for (Map.Entry<String, JsonNode> method : path.getValue().properties()) {
        HttpResponse<String> answer =
            serving.send(
                serving
                    .request(at, null)
                    .method(
                        method.getKey().toUpperCase(java.util.Locale.ROOT),
                        java.net.http.HttpRequest.BodyPublishers.noBody()));
        assertThat(answer.statusCode()).as(at).isIn(200, 401);
      }
    }
    Matcher path = Pattern.compile("`(?:GET|POST|DELETE) (/[^`?{ ]*(?:\\{[a-z]+})?)").matcher(docs);
    int found = 0;
    while (path.find()) {
      String of = path.group(1).replaceAll("/$", "");
      assertThat(paths.propertyNames()).anyMatch(known -> known.startsWith(of));
      found++;
    }
    assertThat(found).isGreaterThan(8);
  }

  @Test
  void everyProblem_standsInTheDocs() throws IOException {
    String docs = file("docs/http-api.md");
    assertThat(Arrays.stream(Problem.values()))
        .allSatisfy(problem ->
            assertThat(docs).contains("| `" + problem.slug() + "` | " + problem.status() + " |"));
  }

  @Test
  void curlLinesOfTheReadme_run(@org.junit.jupiter.api.io.TempDir Path folder) throws Exception {
    Matcher block = Pattern.compile("(?s)```sh\\R(.*?)```").matcher(file("README.md"));
    assertThat(block.find()).isTrue();
    String lines =
        block
            .group(1)
            .replace("localhost:8080", "127.0.0.1:" + serving.server.port())
            .replaceAll("(?m)^export .*$", "");
    serving.key("acme-readme", Scope.READ);
    Path script = folder.resolve("readme.sh");
    Files.writeString(script, "set -eux\n" + lines);
    ProcessBuilder builder = new ProcessBuilder("bash", script.toString());
    builder.environment().put("ADMIN", serving.admin);
    serving.database.run("delete from tallyroll.tenant where id = 'acme'");
    // The tenant of the README's lines is made by them, in another zone than keys are made here.
    serving.post(
        "/v1/tenants",
        serving.admin,
        "application/json",
        "{\"id\":\"acme\",\"zone\":\"Asia/Kolkata\"}");
    builder.environment().put("INGEST", made("ingest"));
    builder.environment().put("READ", made("read"));
    builder.redirectErrorStream(true);
    Process process = builder.start();
    String out =
        new String(
            process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(out).isZero();
    assertThat(out).contains("\"model\":\"gpt-4o\",\"requests\":1");
  }

  private static String made(String scope) {
    HttpResponse<String> answer =
        serving.post(
            "/v1/keys",
            serving.admin,
            "application/json",
            "{\"tenant\":\"acme\",\"scope\":\"" + scope + "\"}");
    return Serving.json(answer).get("key").asString();
  }
}
