package dev.tallyroll.schema.report;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.audit.Finding;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Findings that a schema has had for long, so that an audit tells only of new ones. A JSON file: an
 * array of objects with the id of the rule and the object of each.
 */
public final class Baseline {
  private static final JsonMapper JSON = JsonMapper.builder().build();

  private final Set<String> known;

  private Baseline(Set<String> known) {
    this.known = known;
  }

  /**
   * Reads a file's text.
   *
   * @param file its name, for messages
   * @throws TallyrollException if it is not a baseline
   */
  public static Baseline read(String file, String text) {
    Set<String> known = new TreeSet<>();
    try {
      JsonNode root = JSON.readTree(text);
      if (!root.isArray()) {
        throw notOne(file, "no array");
      }
      for (JsonNode entry : root) {
        if (!entry.path("rule").isString() || !entry.path("object").isString()) {
          throw notOne(file, "an entry without rule and object");
        }
        known.add(key(entry.path("rule").asString(), entry.path("object").asString()));
      }
    } catch (JacksonException e) {
      throw notOne(file, String.valueOf(e.getOriginalMessage()));
    }
    return new Baseline(known);
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
              return entry;
            })
            .distinct()
            .toList();
    return JSON.writerWithDefaultPrettyPrinter().writeValueAsString(entries) + "\n";
  }

  /** Whether a finding was there before. */
  public boolean knows(Finding finding) {
    return known.contains(key(finding));
  }

  /** Entries that fit none of these findings: they are mended. */
  public List<String> mended(Collection<Finding> findings) {
    Set<String> found = findings.stream().map(Baseline::key).collect(Collectors.toSet());
    return known.stream().filter(entry -> !found.contains(entry)).toList();
  }
}
