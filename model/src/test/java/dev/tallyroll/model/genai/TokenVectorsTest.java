package dev.tallyroll.model.genai;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** The published cases of the normaliser. */
class TokenVectorsTest {
  private static final JsonMapper JSON =
      JsonMapper.builder().enable(DeserializationFeature.USE_LONG_FOR_INTS).build();

  static List<Map<String, Object>> vectors() throws IOException {
    try (InputStream in = GenAiSpan.class.getResourceAsStream("token-vectors.json")) {
      return JSON.readValue(in, new TypeReference<>() {});
    }
  }

  static Stream<String> names() throws IOException {
    return vectors().stream().map(vector -> (String) vector.get("name"));
  }

  @Test
  void vectors_areEnough_andHaveNamesOfTheirOwn() throws IOException {
    assertThat(names()).hasSizeGreaterThanOrEqualTo(60).doesNotHaveDuplicates();
  }

  @ParameterizedTest
  @MethodSource("names")
  @SuppressWarnings("unchecked")
  void vector_comesOutAsExpected(String name) throws IOException {
    Map<String, Object> vector =
        vectors().stream().filter(one -> name.equals(one.get("name"))).findFirst().orElseThrow();
    Optional<GenAiSpan> span =
        GenAiSpan.of((Map<String, Object>) Objects.requireNonNull(vector.get("attributes")));
    assertThat(span.map(TokenVectorsTest::told).orElse(null)).isEqualTo(vector.get("expected"));
  }

  private static Map<String, Object> told(GenAiSpan span) {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("kind", span.kind().label().substring("gen_ai.".length()));
    put(told, "provider", span.provider());
    put(told, "model", span.model());
    put(told, "operation", span.operation());
    put(told, "input_tokens", span.tokens().input());
    put(told, "output_tokens", span.tokens().output());
    put(told, "cache_read_tokens", span.tokens().cacheRead());
    put(told, "cache_write_tokens", span.tokens().cacheWrite());
    put(told, "reasoning_tokens", span.tokens().reasoning());
    put(told, "ttft_ms", span.ttftMs());
    put(told, "user_id", span.userId());
    put(told, "session_id", span.sessionId());
    put(told, "agent_id", span.agentId());
    put(told, "workflow_id", span.workflowId());
    put(told, "project_id", span.projectId());
    put(told, "error_type", span.errorType());
    if (!span.tokens().flags().isEmpty()) {
      told.put("flags", span.tokens().flags().stream().map(TokenUsage.Flag::label).toList());
    }
    return told;
  }

  private static void put(Map<String, Object> told, String name, @Nullable Object value) {
    if (value != null) {
      told.put(name, value);
    }
  }
}
