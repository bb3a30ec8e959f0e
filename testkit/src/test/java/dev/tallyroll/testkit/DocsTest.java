package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.postgres.install.Installer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** What the documentation shows must work. */
class DocsTest {
  private static List<String> blocks(String file, String language) throws IOException {
    Matcher block =
        Pattern.compile("```" + language + "\\R(.*?)```", Pattern.DOTALL)
            .matcher(Files.readString(Path.of("..", file)));
    List<String> blocks = new ArrayList<>();
    while (block.find()) {
      blocks.add(block.group(1));
    }
    return blocks;
  }

  @Test
  void queriesOfTheSqlReference_giveRows() throws IOException {
    try (Scenario scenario = Scenario.withRollup()) {
      scenario.insert(1, 2_000, 3);
      scenario.refresh("usage");
      scenario.insert(2_001, 2_100, 3);
      List<String> queries = blocks("docs/sql-reference.md", "sql");
      assertThat(queries).hasSizeGreaterThan(3);
      for (String query : queries) {
        assertThat(Oracle.rows(scenario.database(), query)).as(query).isNotEmpty();
      }
      assertThat(scenario.database().value("select sum(requests) from tallyroll.usage_1d_fresh"))
          .isEqualTo("2100");
    }
  }

  @Test
  void theDefinitionOfTheReadme_canBeApplied() throws IOException {
    try (Scenario scenario = Scenario.withTable()) {
      scenario
          .database()
          .run(
              "create table llm_traces (tenant_id uuid not null, ts timestamptz not null, project_id text, workflow_id text, provider text, model text,"
                  + " status text, input_tokens int, output_tokens int, cost_usd numeric, duration_ms int, user_id text, error_message text)");
      List<String> definitions = blocks("README.md", "yaml");
      assertThat(definitions).hasSize(1);
      assertThat(scenario.apply(definitions.getFirst()).getFirst().outcome())
          .isEqualTo(Installer.Outcome.INSTALLED);
    }
  }
}
