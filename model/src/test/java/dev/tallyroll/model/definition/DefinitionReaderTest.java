package dev.tallyroll.model.definition;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import dev.tallyroll.model.time.Grain;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class DefinitionReaderTest {
  static final String WHOLE =
      """
      rollup: llm_usage
      source:
        table: public.llm_traces
        tenant: tenant_id
        time: ts
        changes: append
      dimensions: [project_id, workflow_id, provider, model]
      measures:
        requests:    count
        errors:      count where status = 'error'
        tokens:      "sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
        cost_usd:    sum(cost_usd)
        duration_ms: distribution(duration_ms)
        users:       distinct(user_id)
        last_error:  latest(error_message) where status = 'error'
      grains:
        1m: keep 37d
        5m: keep 90d
        1h: keep 210d
        1d: {keep: 1095d}
      """;

  private static String faults(String yaml) {
    try {
      DefinitionReader.read("rollup.yaml", yaml);
    } catch (DefinitionException e) {
      return e.getMessage();
    }
    return "";
  }

  private static Rollup read(String yaml) {
    return DefinitionReader.read("rollup.yaml", yaml).getFirst().rollup();
  }

  @Test
  void theExampleOfTheReadme_isRead() {
    Rollup rollup = DefinitionReader.read("rollup.yaml", WHOLE).getFirst().rollup();
    assertThat(rollup.name()).isEqualTo("llm_usage");
    assertThat(rollup.source().label()).isEqualTo("public.llm_traces");
    assertThat(rollup.source().changes()).isEqualTo(Changes.APPEND);
    assertThat(rollup.dimensions())
        .extracting(Dimension::name)
        .containsExactly("project_id", "workflow_id", "provider", "model");
    assertThat(rollup.measures()).hasSize(7);
    assertThat(rollup.measure("tokens").orElseThrow().expression())
        .isEqualTo("coalesce(input_tokens, 0) + coalesce(output_tokens, 0)");
    assertThat(rollup.measure("last_error").orElseThrow().where()).isEqualTo("status = 'error'");
    assertThat(rollup.grains()).containsEntry(Grain.DAY, new Keep(1095)).hasSize(4);
  }

  @Test
  void theCanonicalText_readsBackEqual() {
    String yaml =
        WHOLE
            .replace("time: ts", "time: {column: \"created \\\"at\", zone: Asia/Kolkata}")
            .replace("[project_id,", "[{region: \"attributes->>'re\\\\gion'\"},");
    Rollup rollup = DefinitionReader.read("a", yaml).getFirst().rollup();
    Rollup again = DefinitionReader.read("b", rollup.text()).getFirst().rollup();
    assertThat(again).isEqualTo(rollup);
    assertThat(again.text()).isEqualTo(rollup.text());
  }

  @Test
  void severalDocuments_areRead_andARepeatedNameIsAFault() {
    assertThat(DefinitionReader.read("f", WHOLE + "---\n" + WHOLE.replace("llm_usage", "other")))
        .hasSize(2);
    assertThat(faults(WHOLE + "---\n" + WHOLE))
        .isEqualTo(
            "rollup.yaml:22:9: rollup 'llm_usage' stands twice in this file, first in line 1");
  }

  @Test
  void flowStyleAndCommentsAndBom_areRead() {
    String flow =
        "\uFEFF{rollup: r, source: {table: t, tenant: a, time: b}, measures: {n: count}, grains: {1h: keep 7d}} # done\n";
    Rollup rollup = DefinitionReader.read("f", flow).getFirst().rollup();
    assertThat(rollup.source().changes()).isEqualTo(Changes.ANY);
    assertThat(rollup.dimensions()).isEmpty();
  }

  @Test
  void mistakes_areReportedWithPlaceAndRemedy() {
    assertThat(faults(WHOLE.replace("dimensions:", "dimension:")))
        .isEqualTo(
            "rollup.yaml:7:1: unknown key 'dimension' in a definition; did you mean 'dimensions'? (known: rollup, source,"
                + " dimensions, measures, grains)");
    assertThat(faults(WHOLE.replace("1h: keep 210d", "2h: keep 210d")))
        .startsWith("rollup.yaml:19:3: unknown key '2h' in grains; did you mean '1h'?");
    assertThat(faults(WHOLE.replace("keep 210d", "keep 210h")))
        .isEqualTo("rollup.yaml:19:7: keep is a number of days, as 90d, up to 36525d, not '210h'");
    assertThat(faults(WHOLE.replace("keep 210d", "210d")))
        .isEqualTo("rollup.yaml:19:7: a grain is written as 'keep 90d' or {keep: 90d}, not '210d'");
    assertThat(faults(WHOLE.replace("keep 210d", "keep 0d"))).contains("keep is 1d to 36525d");
    assertThat(faults(WHOLE.replace("  errors:  ", "  requests:")))
        .isEqualTo("rollup.yaml:10:3: key 'requests' stands twice in measures");
    assertThat(faults(WHOLE.replace("count where", "cont where")))
        .startsWith("rollup.yaml:10:16: a measure is one of count, sum,")
        .endsWith("did you mean 'count'?");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(cost_usd) if x")))
        .isEqualTo("rollup.yaml:12:29: only 'where <predicate>' can follow here, not 'if x'");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(a, b)")))
        .isEqualTo("rollup.yaml:12:21: one expression is expected here, not a list");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(a); drop table x")))
        .contains("only 'where <predicate>'");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(a) where b; c")))
        .contains("must not contain ';'");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum($1)"))).contains("parameters such as $1");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(a) where b) or (c")))
        .contains("')' without its opening bracket");
    assertThat(faults(WHOLE.replace("changes: append", "changes: insert")))
        .isEqualTo("rollup.yaml:6:12: source.changes is any or append, not 'insert'");
    assertThat(faults(WHOLE.replace("time: ts", "time: {column: ts, zone: Europe/Berln}")))
        .contains("unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?");
    assertThat(faults(WHOLE.replace("users: ", "x".repeat(49) + ":")))
        .contains("has at most 48 characters");
    assertThat(faults(WHOLE.replace("users: ", "Users:")))
        .contains("does not begin with a digit; not 'Users'");
    assertThat(faults(WHOLE.replace("users: ", "bucket:"))).contains("'bucket' is reserved");
    assertThat(
            faults(
                WHOLE
                    .replace("users: ", "duration_ms_count:")
                    .replace("distinct(user_id)", "count")))
        .contains(
            "would make a column duration_ms_count, which measure 'duration_ms' has already; rename one");
    assertThat(faults(WHOLE.replace("rollup: llm_usage\n", ""))).contains("'rollup' is missing");
    assertThat(faults(""))
        .isEqualTo("rollup.yaml:1:1: no rollup here; a definition begins with 'rollup: <name>'");
    assertThat(faults("rollup: [")).startsWith("rollup.yaml:1:10: not YAML");
  }

  @Test
  void daysInZones_areGrainsOfTheirOwn() {
    String zones = "{keep: 1095d, zones: [UTC, Asia/Kolkata, America/New_York]}";
    Rollup rollup = read(WHOLE.replace("{keep: 1095d}", zones));
    assertThat(rollup.grains().keySet().stream().map(Grain::label))
        .containsExactly("1m", "5m", "1h", "1d", "1d@America/New_York", "1d@Asia/Kolkata");
    assertThat(read(rollup.text())).isEqualTo(rollup);
    assertThat(rollup.localDaysReach())
        .isEqualTo(
            Map.of(
                "UTC", 1095,
                "Asia/Kolkata", 1095,
                "America/New_York", 1095,
                "offsets of whole hours", 210,
                "offsets of half and quarter hours", 90));
    Rollup only = read(WHOLE.replace("{keep: 1095d}", "{keep: 1095d, zones: [Asia/Kolkata]}"));
    assertThat(only.grains()).doesNotContainKey(Grain.DAY);
    assertThat(read(only.text())).isEqualTo(only);
  }

  @Test
  void zonesThatMakeNoSense_areNamed() {
    assertThat(faults(zones("[Asia/Kolkatta]"))).contains("did you mean 'Asia/Kolkata'?");
    assertThat(faults(zones("[UTC, Etc/UTC]"))).contains("'Etc/UTC' has the same days as 'UTC'");
    assertThat(faults(zones("[Asia/Kolkata, Asia/Calcutta]"))).contains("has the same days as");
    assertThat(faults(zones("[]"))).contains("zones is a list of time zones");
    assertThat(faults(zones("UTC"))).contains("zones is a list of time zones");
    assertThat(faults(WHOLE.replace("keep 210d", "{keep: 210d, zones: [UTC]}")))
        .contains("only days are kept in zones");
    assertThat(
            faults(
                zones("[America/Argentina/Buenos_Aires]")
                    .replace("llm_usage", "usage_of_all_our_services")))
        .contains("at most 16 letters")
        .contains("has 25");
  }

  private static String zones(String list) {
    return WHOLE.replace("{keep: 1095d}", "{keep: 1095d, zones: " + list + "}");
  }

  @Test
  void aMeasureCutByYaml_isRecognised() {
    assertThat(faults(WHOLE.replace("count where status = 'error'", "count where note = 'a #1'")))
        .contains("rollup.yaml:10:")
        .contains("put it in quotes");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(a #b)")))
        .isEqualTo("rollup.yaml:12:16: this value is cut: ' #' begins a comment; put it in quotes");
    assertThat(faults(WHOLE.replace("sum(cost_usd)", "sum(x): y")))
        .isEqualTo("rollup.yaml:12:22: ': ' cuts this value in two: put it in quotes");
    String flow =
        "{rollup: r, source: {table: t, tenant: a, time: b}, measures: {n: sum(coalesce(a, 0))}, grains: {1h: keep 7d}}";
    assertThat(faults(flow))
        .contains("a comma ends a value inside { }")
        .contains("put it in quotes");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "changes: append|changes: any",
        "changes: append|changes: sometimes",
        "rollup: llm_usage|rollup: 1st",
        "time: ts|time: {column: ts, zone: UTC}",
        "time: ts|time: {column: ts}",
        "time: ts|time: [ts]",
        "requests:    count|requests: count(*)",
        "requests:    count|requests: [count]",
        "requests:    count|requests: total(x)",
        "sum(cost_usd)|sum()",
        "sum(cost_usd)|sum(cost_usd) where x > 1",
        "sum(cost_usd)|sum(cost_usd) having x",
        "1m: keep 37d|1m: keep 0d",
        "1m: keep 37d|1m: keep 37",
        "1m: keep 37d|1m: {keep: 37d}",
        "1m: keep 37d|1m: {stay: 37d}",
        "1m: keep 37d|2m: keep 37d",
        "[project_id|[{p: upper(x)}",
        "[project_id|[{}",
        "[project_id|[Project",
        "tenant: tenant_id|owner: tenant_id",
        "users: |tenant: ",
        "grains:|grain:",
        "1m: keep 37d|1m: keep 36525d"
      })
  void theJsonSchema_agreesWithTheReader(String edit) throws IOException {
    String[] parts = edit.split("\\|", -1);
    String yaml = parts.length == 2 ? WHOLE.replace(parts[0], parts[1]) : WHOLE;
    assertThat(yaml)
        .satisfies(text -> assertThat(parts.length == 1 || !text.equals(WHOLE)).isTrue());
    List<?> errors = schema().validate(yaml, InputFormat.YAML);
    assertThat(errors.isEmpty())
        .as("schema says %s, reader says %s", errors, faults(yaml))
        .isEqualTo(faults(yaml).isEmpty());
  }

  private static Schema schema() throws IOException {
    try (InputStream in = DefinitionReader.class.getResourceAsStream("rollup.schema.json")) {
      String json = new String(Objects.requireNonNull(in).readAllBytes(), StandardCharsets.UTF_8);
      return SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12).getSchema(json);
    }
  }

  @Test
  void aFaultOfTheFile_hasExitCodeTwo() {
    assertThatThrownBy(() -> DefinitionReader.read("f", "x: 1"))
        .isInstanceOfSatisfying(
            DefinitionException.class, e -> assertThat(e.code().exitCode()).isEqualTo(2));
  }
}
