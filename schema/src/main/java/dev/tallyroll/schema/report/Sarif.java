package dev.tallyroll.schema.report;

import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Judged;
import dev.tallyroll.schema.finding.Judged.Suppressed;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.finding.Rule;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;

/**
 * Findings in the Static Analysis Results Interchange Format, version 2.1.0 (OASIS), which code
 * hosts and editors show. A fault of a schema stands in no line of a file: its place is the name of
 * the object, as a logical location, and the beginning of what was looked at, since some hosts
 * refuse results without a file.
 */
public final class Sarif {
  private static final JsonMapper JSON = JsonMapper.builder().build();
  private static final List<Rule> RULES = List.of(Rule.values());

  private Sarif() {}

  /**
   * One run as a document.
   *
   * @param version the version of this program
   * @param place what was looked at, as a path in the project
   * @param properties what else is to be known of the run
   */
  public static String of(
      Judged judged, String version, String place, Map<String, String> properties) {
    List<Map<String, Object>> results = new ArrayList<>();
    judged.findings().forEach(finding -> results.add(result(finding, place)));
    for (Suppressed suppressed : judged.suppressed()) {
      Map<String, Object> result = result(suppressed.finding(), place);
      result.put(
          "suppressions",
          List.of(Map.of("kind", "external", "justification", suppressed.reason())));
      results.add(result);
    }
    Map<String, Object> driver = new LinkedHashMap<>();
    driver.put("name", "tallyroll schema");
    driver.put("version", version);
    driver.put("rules", RULES.stream().map(Sarif::rule).toList());
    Map<String, Object> run = new LinkedHashMap<>();
    run.put("tool", Map.of("driver", driver));
    run.put("results", results);
    run.put("properties", properties);
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

  private static Map<String, Object> result(Finding finding, String file) {
    Place place = finding.place() == null ? new Place(file, 1) : finding.place();
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
                Map.of(
                    "artifactLocation",
                    Map.of("uri", uri(place.file())),
                    "region",
                    Map.of("startLine", place.line())),
                "logicalLocations",
                List.of(Map.of("fullyQualifiedName", finding.object(), "kind", "resource")))));
    result.put(
        "partialFingerprints",
        Map.of("ruleAndObject/v1", finding.rule().id() + " " + finding.object()));
    result.put("properties", Map.of("mend", finding.mend()));
    return result;
  }

  /** A path as SARIF wants it: with slashes, and what no URI may hold in per cent. */
  private static String uri(String path) {
    return URLEncoder.encode(path, StandardCharsets.UTF_8)
        .replace("+", "%20")
        .replace("%2F", "/")
        .replace("%5C", "/");
  }
}
