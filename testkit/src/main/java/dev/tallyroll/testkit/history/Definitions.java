package dev.tallyroll.testkit.history;

import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.model.definition.DefinitionReader;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * The rollups of a history, and in which ways their definitions differ from what they were at
 * first. What is asked of them stays the same. For one thread.
 */
final class Definitions {
  static final List<String> ROLLUPS = List.of("whole", "sums", "days");

  private static final Map<String, String> BODIES =
      Map.of(
          "whole",
          """
          dimensions: [project]
          measures:
            requests:   count
            errors:     count where status = 'error'
            tokens:     sum(tokens)
            inverse:    sum(1000 / (tokens - 7))
            cost:       sum(cost)
            least:      min(cost)
            last_word:  max(msg)
            duration:   distribution(duration_ms)
            score:      sum(duration_ms)
            users:      distinct(user_id)
            last_error: latest(msg) where status = 'error'
            last_id:    max(id)
          grains: {1m: keep 4d, 5m: keep 6d, 1h: keep 14d, 1d: {keep: 1095d, zones: [UTC, America/New_York]}}
          """,
          "sums",
          """
          dimensions: [project, {failed: "status = 'error'"}]
          measures: {tokens: sum(tokens), parts: sum(1000 / (tokens - 7)), last_id: max(id)}
          grains: {1h: keep 1095d}
          """,
          "days",
          """
          dimensions: []
          measures: {requests: count, users: distinct(user_id), words: min(msg), parts: sum(1000 / (tokens - 7)), ids: sum(id)}
          grains: {1m: keep 1d, 1d: keep 1095d}
          """);

  private final boolean isAppended;
  private final String time;
  private final Map<String, SortedSet<String>> variants = new HashMap<>();

  Definitions(boolean isAppended, boolean isLocal) {
    this.isAppended = isAppended;
    this.time = isLocal ? "{column: ts, zone: UTC}" : "ts";
  }

  /** The ways in which a rollup differs. */
  Set<String> variant(String rollup) {
    return variants.computeIfAbsent(rollup, name -> new TreeSet<>());
  }

  /** Whether it was ever changed. */
  boolean isChanged(String rollup) {
    return variants.containsKey(rollup);
  }

  /** Changes it in some way, or back. */
  void change(String rollup, Random random) {
    List<String> kinds = new ArrayList<>(List.of("measure", "dimension", "grains", "keep"));
    if (isAppended) {
      kinds.add("capture");
    }
    String kind = kinds.get(random.nextInt(kinds.size()));
    if (!variant(rollup).remove(kind)) {
      variant(rollup).add(kind);
    }
  }

  boolean hasKeep(String rollup) {
    return isChanged(rollup) && variant(rollup).contains("keep");
  }

  /** From now on its source keeps rows for some days only. */
  void keep(String rollup) {
    variant(rollup).add("keep");
  }

  /** What it is now. */
  List<Definition> read(String rollup) {
    return DefinitionReader.read(
        "history.yaml", text(rollup, variants.getOrDefault(rollup, new TreeSet<>())));
  }

  /** The same with a measure more. */
  List<Definition> readWithMore(String rollup) {
    Set<String> more = new TreeSet<>(variants.getOrDefault(rollup, new TreeSet<>()));
    more.add("measure");
    return DefinitionReader.read("history.yaml", text(rollup, more));
  }

  private String text(String rollup, Set<String> variant) {
    String body = String.valueOf(BODIES.get(rollup));
    if (variant.contains("measure")) {
      body = body.replace("measures:\n", "measures:\n  extra: max(id) where status = 'ok'\n");
      body = body.replace("measures: {", "measures: {extra: max(id) where status = 'ok', ");
    }
    if (variant.contains("dimension")) {
      body =
          body.replace("dimensions: []", "dimensions: [user_id]")
              .replace("dimensions: [project", "dimensions: [user_id, project");
    }
    if (variant.contains("grains")) {
      body =
          body.replace(" 5m: keep 6d,", "")
              .replace("{1m: keep 1d, 1d", "{1m: keep 1d, 1h: keep 20d, 1d")
              .replace("{1h: keep 1095d}", "{1h: keep 1095d, 1d: keep 1094d}");
    }
    return "rollup: "
        + rollup
        + "\nsource: {table: public.events, tenant: tenant_id, time: "
        + time
        + ", changes: "
        + (isAppended && !variant.contains("capture") ? "append" : "any")
        + (variant.contains("keep") ? ", keep: 8d" : "")
        + "}\n"
        + body;
  }
}
