package dev.tallyroll.schema.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.audit.Finding;
import dev.tallyroll.schema.audit.Rule;
import dev.tallyroll.schema.audit.Severity;
import dev.tallyroll.schema.tenancy.Tenancy;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
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

  private static final Audit.Report REPORT =
      new Audit.Report(
          new Tenancy(Set.of("tenant_id"), Optional.empty(), Set.of(), true),
          7,
          List.of(KEY),
          List.of(new Audit.Suppressed(OFF, "one tenant only")));

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
    String sarif = Sarif.of(REPORT, "1.2.3", "db/migrations");
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
