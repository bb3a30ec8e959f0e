package dev.tallyroll.server.settings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Where settings come from, what is wrong with them, and that they are documented. */
class SettingsTest {
  @Test
  void option_comesBeforeVariable_beforeFile_beforeDefault() {
    Map<String, String> variables = Map.of("TALLYROLL_INGEST_RATE", "2");
    String file = "ingest:\n  rate: 3\n  max-body: 2MiB\nrefresh.interval: 500ms\n";
    ServerSettings all =
        ServerSettings.of(Map.of(Setting.INGEST_RATE, "1"), variables, "f.yaml", file);
    assertThat(all.rate()).isEqualTo(1);
    assertThat(all.maxBody()).isEqualTo(2 << 20);
    assertThat(all.refreshInterval()).isEqualTo(Duration.ofMillis(500));
    assertThat(ServerSettings.of(Map.of(), variables, "f.yaml", file).rate()).isEqualTo(2);
    assertThat(ServerSettings.of(Map.of(), Map.of(), "f.yaml", file).rate()).isEqualTo(3);
    assertThat(ServerSettings.defaults().rate()).isZero();
    assertThat(ServerSettings.defaults().listen()).hasToString("127.0.0.1:8080");
  }

  @Test
  void wrongValue_isNamedWithWhereItStands() {
    wrong(Map.of(Setting.INGEST_MAX_BODY, "64 megabytes"), "", "--ingest-max-body: '64 megabytes'");
    wrong(Map.of(Setting.LISTEN, "8080"), "", "--listen: '8080'");
    wrong(Map.of(Setting.LISTEN, "localhost:99999"), "", "--listen: 'localhost:99999'");
    wrong(Map.of(Setting.INGEST_SPANS, "some"), "", "genai|all");
    wrong(Map.of(Setting.DEDUP_KEEP, "0d"), "", "from 1d to 3650d");
    wrong(Map.of(Setting.INGEST_COMMITTERS, "0"), "", "from 1 to 64");
    wrong(Map.of(Setting.EVENTS_KEEP, "7d"), "", "from dedup.keep (35d) on");
    wrong(Map.of(), "ingest.rate: fast", "f.yaml: ingest.rate: 'fast'");
    wrong(Map.of(), "ingest.rat: 1", "no setting 'ingest.rat'");
    wrong(Map.of(), "- a", "settings are pairs");
    wrong(Map.of(), "a: [", "f.yaml:1");
    assertThatThrownBy(
            () -> ServerSettings.of(Map.of(), Map.of("TALLYROLL_INGEST_RATE", "x"), null, ""))
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("TALLYROLL_INGEST_RATE: 'x'");
  }

  private static void wrong(Map<Setting, String> options, String file, String message) {
    assertThatThrownBy(() -> ServerSettings.of(options, Map.of(), "f.yaml", file))
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining(message);
  }

  @Test
  void everySetting_standsInTheTable() throws IOException {
    String table = Files.readString(Path.of("..", "docs", "operations.md"));
    assertThat(Arrays.stream(Setting.values()))
        .allSatisfy(setting ->
            assertThat(table)
                .contains(
                    "| `"
                        + setting.key()
                        + "` | `"
                        + setting.option()
                        + "` | `"
                        + setting.variable()
                        + "` | "
                        + (setting.byDefault().isEmpty()
                            ? " "
                            : "`" + setting.byDefault().replace("|", "or") + "` ")
                        + "| "
                        + setting.description()));
  }
}
