package dev.tallyroll.schema.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Judged;
import dev.tallyroll.schema.finding.Judged.Suppressed;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ReportTest {
  private static final Finding KEY =
      new Finding(
          Rule.KEY_WITHOUT_TENANT,
          Severity.NOTE,
          "public.users.\"users\nkey\"",
          "unique key (email)",
          "alter table users;");

  private static final Finding OFF =
      new Finding(Rule.RLS_OFF, Severity.ERROR, "public.orders", "off", "-- enable");

  private static final Finding LATE =
      new Finding(
          Rule.MIGRATION_FAILS,
          Severity.ERROR,
          "2_b.sql",
          "fails",
          "-- mend it",
          new Place("db/2_b.sql", 17));

  private static final Judged REPORT =
      new Judged(List.of(KEY, LATE), List.of(new Suppressed(OFF, "one tenant only")));

  private static Schema schema() throws IOException {
    try (InputStream in =
        Objects.requireNonNull(
            ReportTest.class.getResourceAsStream("/schema/sarif-schema-2.1.0.json"))) {
      return SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_7)
          .getSchema(new String(in.readAllBytes(), StandardCharsets.UTF_8), InputFormat.JSON);
    }
  }

  @Test
  void sarif_fitsItsSchema() throws IOException {
    String sarif = Sarif.of(REPORT, "1.2.3", "db/migrations", Map.of("tenancy", "none"));
    assertThat(schema().validate(sarif, InputFormat.JSON)).isEmpty();
    // And the schema does refuse something.
    assertThat(
            schema()
                .validate(
                    sarif.replace("\"level\" : \"note\"", "\"level\" : \"bad\""), InputFormat.JSON))
        .isNotEmpty();
    assertThat(sarif)
        .contains("\"ruleId\" : \"key-without-tenant\"")
        .contains("\"justification\" : \"one tenant only\"")
        .contains("\"startLine\" : 17")
        .contains("\"uri\" : \"db/2_b.sql\"")
        .contains("\"version\" : \"1.2.3\"");
  }

  @Test
  void baseline_knowsWhatItWasMadeOf() {
    Baseline baseline = Baseline.read("b.json", Baseline.of(List.of(KEY, KEY)));
    assertThat(baseline.knows(KEY)).isTrue();
    assertThat(baseline.knows(OFF)).isFalse();
    assertThat(
            baseline.knows(
                new Finding(KEY.rule(), Severity.ERROR, KEY.object(), KEY.evidence(), KEY.mend())))
        .as("what has become worse")
        .isFalse();
    assertThat(baseline.mended(List.of(KEY))).isEmpty();
    assertThat(baseline.mended(List.of(OFF))).containsExactly(KEY.rule().id() + " " + KEY.object());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "{}",
        "[{\"rule\": 1, \"object\": \"a\"}]",
        "[{\"rule\": \"a\"}]",
        "[{\"rule\": \"a\", \"object\": \"b\"}]",
        "[",
        "no json"
      })
  void whatIsNoBaseline_isRefusedInOneLine(String text) {
    assertThatThrownBy(() -> Baseline.read("b.json", text))
        .isInstanceOf(TallyrollException.class)
        .hasMessageStartingWith("b.json: not a baseline")
        .hasMessageNotContaining("\n");
  }
}
