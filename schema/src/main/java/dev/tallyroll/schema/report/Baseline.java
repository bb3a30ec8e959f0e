package dev.tallyroll.schema.report;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Severity;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Findings that a schema has had for long, so that an audit tells only of new ones. A JSON file: an
 * array of objects with the id of the rule, the object and the severity of each.
 */
public final class Baseline {
  private static final JsonMapper JSON = JsonMapper.builder().build();

  private final Map<String, Severity> known;

  private Baseline(Map<String, Severity> known) {
    this.known = known;
  }

  /**
   * Reads a file's text.
   *
   * @param file its name, for messages
   * @throws TallyrollException if it is not a baseline
   */
  public static Baseline read(String file, String text) {
    Map<String, Severity> known = new TreeMap<>();
    try {
      JsonNode root = JSON.readTree(text);
      if (!root.isArray()) {
        throw notOne(file, "no array");
      }
      for (JsonNode entry : root) {
        if (!entry.path("rule").isString() || !entry.path("object").isString()) {
          throw notOne(file, "an entry without rule and object");
        }
        known.merge(
            key(entry.path("rule").asString(), entry.path("object").asString()),
            severity(file, entry.path("severity").asString("")),
            (one, other) -> one.isAtLeast(other) ? one : other);
      }
    } catch (JacksonException e) {
      throw notOne(file, String.valueOf(e.getOriginalMessage()));
    }
    return new Baseline(known);
  }

  private static Severity severity(String file, String name) {
    return Arrays.stream(Severity.values())
        .filter(severity -> severity.toString().equals(name))
        .findFirst()
        .orElseThrow(() -> notOne(file, "an entry without severity"));
  }

  private static TallyrollException notOne(String file, String what) {
    return new TallyrollException(
        ErrorCode.USAGE,
        file + ": not a baseline, which --write-baseline makes: " + what.replaceAll("\\s+", " "));
  }

  private static String key(String rule, String object) {
    return rule + " " + object;
  }

  private static String key(Finding finding) {
    return key(finding.rule().id(), finding.object());
  }

  /** The text of a file that knows these findings. */
  public static String of(Collection<Finding> findings) {
    List<Map<String, String>> entries =
        findings.stream()
            .map(finding -> {
              Map<String, String> entry = new LinkedHashMap<>();
              entry.put("rule", finding.rule().id());
              entry.put("object", finding.object());
              entry.put("severity", finding.severity().toString());
              return entry;
            })
            .distinct()
            .toList();
    return JSON.writerWithDefaultPrettyPrinter().writeValueAsString(entries) + "\n";
  }

  /** Whether a finding was there before, and no less bad. */
  public boolean knows(Finding finding) {
    Severity before = known.get(key(finding));
    return before != null && before.isAtLeast(finding.severity());
  }

  /** Entries that fit none of these findings: they are mended. */
  public List<String> mended(Collection<Finding> findings) {
    Set<String> found = findings.stream().map(Baseline::key).collect(Collectors.toSet());
    return known.keySet().stream().filter(entry -> !found.contains(entry)).toList();
  }
}
