package dev.tallyroll.schema.report;

import dev.tallyroll.schema.audit.Audit;
import dev.tallyroll.schema.audit.Finding;
import dev.tallyroll.schema.audit.Rule;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;

/**
 * Findings in the Static Analysis Results Interchange Format, version 2.1.0 (OASIS), which code
 * hosts and editors show. A fault of a schema stands in no line of a file: its place is the name of
 * the object, as a logical location, and the beginning of what was audited, since some hosts refuse
 * results without a file.
 */
public final class Sarif {
  private static final JsonMapper JSON = JsonMapper.builder().build();
  private static final List<Rule> RULES = List.of(Rule.values());

  private Sarif() {}

  /**
   * One run as a document.
   *
   * @param version the version of this program
   * @param place what was audited, as a path in the project
   */
  public static String of(Audit.Report report, String version, String place) {
    List<Map<String, Object>> results = new ArrayList<>();
    report.findings().forEach(finding -> results.add(result(finding, place)));
    for (Audit.Suppressed suppressed : report.suppressed()) {
      Map<String, Object> result = result(suppressed.finding(), place);
      result.put(
          "suppressions",
          List.of(Map.of("kind", "external", "justification", suppressed.reason())));
      results.add(result);
    }
    Map<String, Object> driver = new LinkedHashMap<>();
    driver.put("name", "tallyroll schema audit");
    driver.put("version", version);
    driver.put("rules", RULES.stream().map(Sarif::rule).toList());
    Map<String, Object> run = new LinkedHashMap<>();
    run.put("tool", Map.of("driver", driver));
    run.put("results", results);
    run.put("properties", Map.of("tenancy", report.tenancy().described()));
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("$schema", "https://json.schemastore.org/sarif-2.1.0.json");
    document.put("version", "2.1.0");
    document.put("runs", List.of(run));
    return JSON.writerWithDefaultPrettyPrinter().writeValueAsString(document);
  }

  private static Map<String, Object> rule(Rule rule) {
    Map<String, Object> described = new LinkedHashMap<>();
    described.put("id", rule.id());
    described.put("shortDescription", Map.of("text", rule.title()));
    described.put("fullDescription", Map.of("text", rule.why()));
    described.put("defaultConfiguration", Map.of("level", rule.severity().toString()));
    return described;
  }

  private static Map<String, Object> result(Finding finding, String place) {
    Map<String, Object> result = new LinkedHashMap<>();
    result.put("ruleId", finding.rule().id());
    result.put("ruleIndex", RULES.indexOf(finding.rule()));
    result.put("level", finding.severity().toString());
    result.put(
        "message",
        Map.of(
            "text", finding.rule().title() + ": " + finding.object() + ": " + finding.evidence()));
    result.put(
        "locations",
        List.of(
            Map.of(
                "physicalLocation",
                Map.of("artifactLocation", Map.of("uri", place), "region", Map.of("startLine", 1)),
                "logicalLocations",
                List.of(Map.of("fullyQualifiedName", finding.object(), "kind", "resource")))));
    result.put(
        "partialFingerprints",
        Map.of("ruleAndObject/v1", finding.rule().id() + " " + finding.object()));
    result.put("properties", Map.of("mend", finding.mend()));
    return result;
  }
}
