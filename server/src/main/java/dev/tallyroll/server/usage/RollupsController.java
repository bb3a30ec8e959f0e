package dev.tallyroll.server.usage;

import dev.tallyroll.model.Names;
import dev.tallyroll.model.definition.Dimension;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.registry.Installed;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.status.RollupStatus;
import dev.tallyroll.postgres.status.StatusReader;
import dev.tallyroll.server.access.Caller;
import dev.tallyroll.server.access.Needs;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.session.Sql;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.tags.Tag;
import jakarta.servlet.http.HttpServletRequest;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Tells what can be asked, and how the rollups are. */
@RestController
@Tag(name = "usage")
public final class RollupsController {
  private static final int MOST_VALUES = 10_000;

  private final Readers readers;

  /** With connections. */
  public RollupsController(Readers readers) {
    this.readers = readers;
  }

  /** What a list of rollups holds: {@code data}. */
  public record Rollups(List<Map<String, @Nullable Object>> data) {
    /** Copies the list. */
    public Rollups {
      data = List.copyOf(data);
    }
  }

  /** What a list of values holds: {@code data}, and whether there are more. */
  public record Values(List<@Nullable Object> data, boolean more) {}

  /** The rollups with their dimensions, measures and grains. */
  @GetMapping("/v1/rollups")
  @Needs({Scope.READ, Scope.ADMIN})
  @Operation(operationId = "getRollups", summary = "The rollups, and what can be asked of them")
  public Rollups rollups() {
    return new Rollups(
        readers.readNames(connection -> {
          List<Map<String, @Nullable Object>> all = new ArrayList<>();
          for (String name : Registry.names(connection)) {
            if (!Registry.isBeside(name)) {
              all.add(describe(Registry.get(connection, name)));
            }
          }
          return all;
        }));
  }

  private static Map<String, @Nullable Object> describe(Installed installed) {
    Rollup rollup = installed.bound().rollup();
    Map<String, @Nullable Object> told = new LinkedHashMap<>();
    told.put("name", rollup.name());
    told.put("source", rollup.source().label());
    told.put("dimensions", rollup.dimensions().stream().map(Dimension::name).toList());
    told.put(
        "measures",
        rollup.measures().stream()
            .map(measure -> Map.of("name", measure.name(), "kind", measure.kind().label()))
            .toList());
    told.put(
        "grains",
        rollup.grains().entrySet().stream()
            .map(grain ->
                Map.of("grain", grain.getKey().label(), "keep", grain.getValue().toString()))
            .toList());
    return told;
  }

  /** The values of a dimension. */
  @GetMapping("/v1/rollups/{name}/values")
  @Needs({Scope.READ, Scope.ADMIN})
  @Operation(operationId = "getValues", summary = "The values of a dimension, in order")
  public Values values(
      HttpServletRequest request,
      @PathVariable String name,
      @RequestParam String dimension,
      @Parameter(description = "The tenant to answer for; for scope admin, others have their own")
          @RequestParam(required = false)
          @Nullable String tenant,
      @RequestParam(defaultValue = "1000") int limit) {
    if (limit < 1 || limit > MOST_VALUES) {
      throw new ProblemException(Problem.BAD_REQUEST, "limit is a number from 1 to " + MOST_VALUES);
    }
    Optional<String> whose = Caller.of(request).tenantFor(tenant);
    return readers.read(
        whose,
        connection -> {
          Installed installed = Registry.get(connection, name);
          BoundRollup bound = installed.bound();
          List<String> known = bound.rollup().dimensions().stream().map(Dimension::name).toList();
          if (!known.contains(dimension)) {
            throw new ProblemException(
                Problem.BAD_REQUEST,
                "there is no such dimension"
                    + Names.didYouMean(dimension, known)
                    + " (there are "
                    + String.join(", ", known)
                    + ")");
          }
          String column = Sql.identifier(dimension);
          // Open buckets of coarse grains are in finer ones, and what is not merged in the tail.
          String tables =
              Stream.concat(
                      bound.rollup().grains().keySet().stream()
                          .filter(grain -> grain.zone().isEmpty())
                          .map(bound::grainTable),
                      Stream.of(
                          BoundRollup.qualified(bound.tableName(bound.rollup().finest()) + "_tail")
                              + "()"))
                  .map(table ->
                      "select distinct "
                          + column
                          + " as v from "
                          + table
                          + (whose.isEmpty()
                              ? ""
                              : " where tenant::text = " + Sql.literal(whose.get())))
                  .collect(Collectors.joining(" union "));
          List<@Nullable Object> found = new ArrayList<>();
          for (Optional<Object> value :
              Sql.list(
                  connection,
                  "select v from ("
                      + tables
                      + ") all_values order by v nulls last limit "
                      + (limit + 1),
                  row -> Optional.ofNullable(plain(row.getObject(1))))) {
            found.add(value.orElse(null));
          }
          boolean more = found.size() > limit;
          return new Values(more ? found.subList(0, limit) : found, more);
        });
  }

  private static @Nullable Object plain(@Nullable Object value) {
    return value == null || value instanceof Number || value instanceof Boolean
        ? value
        : value.toString();
  }

  /** How the rollups are. */
  @GetMapping("/v1/status")
  @Needs(Scope.ADMIN)
  @Operation(operationId = "getStatus", summary = "How the rollups are: lag, errors, coverage")
  public Rollups status() {
    List<Map<String, @Nullable Object>> all = new ArrayList<>();
    for (RollupStatus status : new StatusReader(readers.owner()).read(null)) {
      Map<String, @Nullable Object> told = new LinkedHashMap<>();
      told.put("rollup", status.rollup());
      told.put("source", status.source());
      told.put("lag_s", status.lag().toMillis() / 1e3);
      told.put("unread_rows", status.unreadRows());
      told.put("merged_to", text(status.mergedTo()));
      told.put("last_refresh", text(status.lastRefresh()));
      told.put("total_rows", status.totalRows());
      told.put("quarantined_rows", status.quarantinedRows());
      told.put("failing", status.isFailing());
      told.put("last_error", status.lastError());
      told.put("purge_error", status.purgeError());
      told.put("uncovered", status.uncovered());
      told.put("source_bytes", status.sourceBytes());
      told.put(
          "grains",
          status.grains().entrySet().stream()
              .collect(
                  Collectors.toMap(
                      Map.Entry::getKey,
                      grain -> grain.getValue().bytes(),
                      (one, other) -> one,
                      LinkedHashMap::new)));
      all.add(told);
    }
    return new Rollups(all);
  }

  private static @Nullable String text(@Nullable Instant instant) {
    return instant == null ? null : instant.toString();
  }
}
