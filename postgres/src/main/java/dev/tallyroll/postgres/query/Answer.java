package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.partial.KeySet;
import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Buckets;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tile;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.Tenants;
import dev.tallyroll.postgres.registry.Installed;
import java.nio.ByteBuffer;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** One query being answered. For one thread, once. */
final class Answer {
  private final Question question;
  private final Installed installed;
  private final QueryRequest request;
  private final Buckets buckets;
  private final PartialTable table;

  Answer(Question question) {
    this.question = question;
    this.installed = question.installed;
    this.request = question.request;
    this.buckets = question.buckets;
    this.table = new PartialTable(new KeySet(), question.projected.newColumns());
  }

  /** Reads everything and gives the rows. */
  QueryResult rows() throws SQLException {
    List<String> incomplete = new ArrayList<>();
    uncovered().ifPresent(incomplete::add);
    unknown().ifPresent(incomplete::add);
    Map<Grain, List<Tile>> tiles = new Tiles(question).of();
    if (question.isReader) {
      new ReaderRows(question, table).read(tiles).ifPresent(incomplete::add);
      return result(joined(incomplete));
    }
    Unmerged unmerged = new Unmerged(question);
    Unmerged.Changes changes = request.stale() ? Unmerged.Changes.NONE : unmerged.find(tiles);
    changes.asOf().ifPresent(incomplete::add);
    StoredRows stored = new StoredRows(question, table);
    if (changes.tenants().isEmpty()) {
      stored.read(tiles, "");
    } else {
      Tenants tenants = Tenants.of(changes.tenants());
      if (changes.tenants().size() != request.tenants().size()) {
        stored.read(tiles, tenants.andOthers(question.projected));
      }
      stored.read(changes.tiles(), tenants.and(question.projected));
    }
    if (!request.stale() && changes.asOf().isEmpty()) {
      unmerged.read(changes, table);
    }
    return result(joined(incomplete));
  }

  private static Optional<String> joined(List<String> incomplete) {
    return incomplete.isEmpty() ? Optional.empty() : Optional.of(String.join("; ", incomplete));
  }

  private Optional<String> uncovered() {
    Optional<Map.Entry<Long, Long>> gap = installed.uncovered(question.from(), question.to());
    if (gap.isEmpty()) {
      return Optional.empty();
    }
    String range = Times.format(gap.get().getKey()) + " to " + Times.format(gap.get().getValue());
    if (!request.partial()) {
      throw new TallyrollException(
          ErrorCode.NOT_COVERED,
          "history from "
              + range
              + " is not filled yet; run: {tallyroll} backfill "
              + request.rollup()
              + " (or ask with --partial)");
    }
    return Optional.of("history from " + range + " is not filled yet");
  }

  /**
   * What was added to the definition after the source rows of a part of the range were gone, or was
   * not in the table that their buckets were adopted from.
   */
  private Optional<String> unknown() {
    Map<String, Long> since = new LinkedHashMap<>();
    for (int i = 0; i < question.asked.size(); i++) {
      since.put(question.texts.get(i), since(question.asked.get(i).parts()));
    }
    Stream.concat(
            request.by().stream(), request.where().stream().map(QueryRequest.Condition::dimension))
        .forEach(name -> since.put(name, since(Stream.of(name))));
    Optional<String> late =
        since.entrySet().stream()
            .filter(one -> one.getValue() > question.from())
            .findFirst()
            .map(one ->
                "'"
                    + one.getKey()
                    + "' is known from "
                    + Times.format(one.getValue())
                    + " on only, since the source rows of before are gone");
    if (late.isPresent() && !request.partial()) {
      throw new TallyrollException(
          ErrorCode.NOT_COVERED, late.get() + "; ask from then on, or with --partial");
    }
    return late;
  }

  private long since(Stream<String> names) {
    return names
        .mapToLong(name -> installed.starts().getOrDefault(name, Long.MIN_VALUE))
        .max()
        .orElse(Long.MIN_VALUE);
  }

  private QueryResult result(Optional<String> incomplete) {
    PartialTable answer =
        request.top().isPresent() && !request.by().isEmpty()
            ? topped(request.top().getAsInt())
            : table;
    if (request.fill()) {
      int keys = answer.keys().size();
      question.checkRows((long) keys * buckets.count());
      for (int key = 0; key < keys; key++) {
        for (int bucket = 0; bucket < buckets.count(); bucket++) {
          answer.group(key, bucket);
        }
      }
    }
    List<List<@Nullable Object>> keys = new ArrayList<>();
    for (int key = 0; key < answer.keys().size(); key++) {
      keys.add(
          question.projected.decodeKey(answer.keys(), key).stream().map(Answer::plain).toList());
    }
    Integer[] order = new Integer[answer.size()];
    Arrays.setAll(order, group -> group);
    Arrays.sort(
        order,
        Comparator.<Integer, @Nullable Object>comparing(
                group -> keys.get(answer.key(group)).getFirst(), Answer::compare)
            .thenComparingLong(answer::bucket)
            .thenComparing(group -> keys.get(answer.key(group)), Answer::compareDimensions));
    List<List<@Nullable Object>> rows = new ArrayList<>();
    for (int group : order) {
      List<@Nullable Object> row = new ArrayList<>();
      List<@Nullable Object> key = keys.get(answer.key(group));
      int bucket = (int) answer.bucket(group);
      row.add(key.getFirst());
      row.add(Times.format(buckets.label(bucket), buckets.zone()));
      row.addAll(key.subList(1, key.size()));
      double seconds = (buckets.end(bucket) - buckets.start(bucket)) / 1e6;
      for (Asked one : question.asked) {
        row.add(plain(one.value(answer, question.measures, group, seconds)));
      }
      rows.add(row);
    }
    List<String> columns = new ArrayList<>(List.of("tenant", "bucket"));
    columns.addAll(request.by().stream().distinct().toList());
    columns.addAll(question.texts);
    return new QueryResult(
        columns, rows, Times.instant(question.from()), Times.instant(question.to()), incomplete);
  }

  /** Dates and the like as text, numbers and booleans as they are. */
  private static @Nullable Object plain(@Nullable Object value) {
    return value == null || value instanceof Number || value instanceof Boolean
        ? value
        : value.toString();
  }

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static int compare(@Nullable Object left, @Nullable Object right) {
    if (left == null || right == null) {
      return left == null ? (right == null ? 0 : 1) : -1;
    }
    return left.getClass() == right.getClass()
        ? ((Comparable) left).compareTo(right)
        : left.toString().compareTo(right.toString());
  }

  private static int compareDimensions(List<@Nullable Object> left, List<@Nullable Object> right) {
    boolean leftOther = left.size() > 1 && BoundRollup.OTHER.equals(left.get(1));
    boolean rightOther = right.size() > 1 && BoundRollup.OTHER.equals(right.get(1));
    if (leftOther != rightOther) {
      return leftOther ? 1 : -1;
    }
    for (int i = 1; i < left.size(); i++) {
      int order = compare(left.get(i), right.get(i));
      if (order != 0) {
        return order;
      }
    }
    return 0;
  }

  /**
   * Keeps the first keys of each tenant by the first measure's total, and merges the others into
   * one.
   */
  private PartialTable topped(int most) {
    PartialTable totals = new PartialTable(table.keys(), question.projected.newColumns());
    table.mergeInto(totals, bucket -> 0);
    double seconds = (question.to() - question.from()) / 1e6;
    Map<List<Byte>, List<Integer>> byTenant = new LinkedHashMap<>();
    for (int group = 0; group < totals.size(); group++) {
      byTenant
          .computeIfAbsent(
              tenantField(totals.keys(), totals.key(group)), tenant -> new ArrayList<>())
          .add(group);
    }
    Set<Integer> kept = new HashSet<>();
    for (List<Integer> groups : byTenant.values()) {
      groups.sort(
          Comparator.<Integer>comparingDouble(group ->
                  question.asked.getFirst().value(totals, question.measures, group, seconds)
                          instanceof Number number
                      ? number.doubleValue()
                      : Double.NEGATIVE_INFINITY)
              .reversed());
      groups.stream().limit(most).map(totals::key).forEach(kept::add);
    }
    PartialTable answer = new PartialTable(new KeySet(), question.projected.newColumns());
    for (int group = 0; group < table.size(); group++) {
      byte[] key = table.keys().bytes(table.key(group));
      if (!kept.contains(table.key(group))) {
        ByteBuffer other =
            ByteBuffer.allocate(key.length + 4 * question.projected.dimensionTypes().size());
        other.put(key, 0, 4 + ByteBuffer.wrap(key).getInt());
        question
            .projected
            .dimensionTypes()
            .forEach(dimension -> other.putInt(BoundRollup.OTHER_LENGTH));
        key = Arrays.copyOf(other.array(), other.position());
      }
      int into = answer.group(answer.keys().intern(key, 0, key.length), table.bucket(group));
      answer.merge(into, table, group);
    }
    return answer;
  }

  private static List<Byte> tenantField(KeySet keys, int key) {
    byte[] bytes = keys.bytes(key);
    List<Byte> field = new ArrayList<>();
    for (int i = 0; i < 4 + ByteBuffer.wrap(bytes).getInt(); i++) {
      field.add(bytes[i]);
    }
    return field;
  }
}
