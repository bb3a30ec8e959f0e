package dev.tallyroll.postgres.feed;

import dev.tallyroll.model.partial.ColumnType;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The rows of a feed that cannot be counted, in quarantine and out of it. For one thread. */
final class Poison {
  private final Connection reader;
  private final @Nullable Connection quarantine;
  private final BoundRollup bound;
  private final long latest;

  /** With the parameters of the feed. */
  Poison(Connection reader, @Nullable Connection quarantine, BoundRollup bound, long latest) {
    this.reader = reader;
    this.quarantine = quarantine;
    this.bound = bound;
    this.latest = latest;
  }

  /**
   * The branches without the rows that were taken out and are in quarantine; they leave it, if this
   * feed has one.
   */
  List<Branch> withoutQuarantined(List<Branch> branches) throws SQLException {
    List<Branch> out = branches.stream().filter(Branch::isOut).toList();
    if (out.isEmpty()
        || !Sql.one(
            reader,
            "select exists (select from tallyroll.quarantine where rollup = ?)",
            row -> row.getBoolean(1),
            bound.name())) {
      return branches;
    }
    record Match(Address address, long entry) {}
    List<Match> matches =
        Sql.list(
            reader,
            "select b.part, b.address, q.id from ("
                + FeedSql.select(
                    out,
                    "tableoid::regclass::text as part, ctid::text as address, "
                        + FeedSql.key(bound)
                        + " as image")
                + ") b join (select id, "
                + FeedSql.keyOfEntry(bound)
                + " as image from tallyroll.quarantine where rollup = ? and kind = 'row') q on q.image = b.image order by 1, 2, 3",
            row -> new Match(new Address(row.getString(1), row.getString(2)), row.getLong(3)),
            bound.name());
    Map<String, List<Address>> left = new LinkedHashMap<>();
    Set<Long> entries = new LinkedHashSet<>();
    Set<Address> taken = new HashSet<>();
    for (Match match : matches) {
      if (!taken.contains(match.address()) && entries.add(match.entry())) {
        taken.add(match.address());
        left.computeIfAbsent(match.address().table(), none -> new ArrayList<>())
            .add(match.address());
      }
    }
    if (left.isEmpty()) {
      return branches;
    }
    if (quarantine != null) {
      Sql.update(
          quarantine,
          "delete from tallyroll.quarantine where id = any (?)",
          quarantine.createArrayOf("bigint", entries.toArray()));
    }
    String and =
        left.values().stream()
            .map(batch ->
                " and not ("
                    + Address.isOf(batch.getFirst().table())
                    + " and "
                    + Address.where(batch)
                    + ")")
            .collect(Collectors.joining());
    return branches.stream().map(branch -> branch.isOut() ? branch.and(and) : branch).toList();
  }

  /** The conditions under which {@link RowFold} refuses a row, in SQL. */
  private String refusedSql() {
    List<String> conditions = new ArrayList<>();
    conditions.add(bound.timeSql() + " > " + FeedSql.instant(latest));
    conditions.add(bound.timeSql() + " = '-infinity'");
    List<String> keys = bound.keySql();
    for (int i = 0; i < keys.size(); i++) {
      if (bound.keyTypes().get(i) == ColumnType.TEXT) {
        conditions.add("octet_length(" + keys.get(i) + ") > " + BoundRollup.MOST_KEY_BYTES);
      }
    }
    return String.join(" or ", conditions);
  }

  /** Puts the rows that the fold refused into quarantine, or notes that they are to leave it. */
  void refuse(List<Branch> branches, long expected, Feed.Tally tally) throws SQLException {
    if (branches.getFirst().isOut()) {
      tally.poison -= expected;
      for (Branch branch : branches) {
        tally.withdrawn.addAll(
            Sql.list(
                reader,
                branch.and(" and (" + refusedSql() + ")").select(FeedSql.key(bound) + "::text"),
                row -> row.getString(1)));
      }
      return;
    }
    if (quarantine == null) {
      return;
    }
    Connection writer = quarantineConnection();
    Sql.run(writer, "set local search_path = " + bound.searchPath());
    long found = 0;
    for (Branch branch : branches) {
      found +=
          Sql.update(
              writer,
              "insert into tallyroll.quarantine (rollup, reason, tenant, source_row) "
                  + branch
                      .and(" and (" + refusedSql() + ")")
                      .select(
                          Sql.literal(bound.name())
                              + ", case when "
                              + bound.timeSql()
                              + " > "
                              + FeedSql.instant(latest)
                              + " or "
                              + bound.timeSql()
                              + " = '-infinity' then 'the time lies more than a day ahead, or is infinite'"
                              + " else 'the tenant or a dimension is longer than "
                              + BoundRollup.MOST_KEY_BYTES
                              + " bytes' end, left("
                              + bound.keySql().getFirst()
                              + "::text, 200), "
                              + FeedSql.image(bound)));
    }
    if (found != expected) {
      throw new IllegalStateException(
          expected + " rows were refused, " + found + " of them were found again");
    }
  }

  /** Puts the one row of a branch into quarantine, or notes that it is to leave it. */
  void failed(Branch branch, String reason, Feed.Tally tally) throws SQLException {
    if (branch.isOut()) {
      tally.withdrawn.add(
          Sql.one(reader, branch.select(FeedSql.key(bound) + "::text"), row -> row.getString(1)));
      return;
    }
    tally.poison++;
    if (quarantine != null) {
      quarantine(List.of(branch), "row", reason);
    }
  }

  /** Takes one row of this image out of quarantine, and says how many that were. */
  int release(String image) throws SQLException {
    return quarantine == null
        ? 0
        : Sql.update(
            quarantine,
            "delete from tallyroll.quarantine where id = (select min(id) from tallyroll.quarantine"
                + " where rollup = ? and kind = 'row' and "
                + FeedSql.keyOfEntry(bound)
                + " = ?::jsonb)",
            bound.name(),
            image);
  }

  /** Puts what happened to the rows of these branches into quarantine; the rows stay counted. */
  void changes(List<Branch> branches) throws SQLException {
    quarantine(
        branches,
        "change",
        "a row behind a seal was updated or deleted: its bucket cannot be computed again");
  }

  private void quarantine(List<Branch> branches, String kind, String reason) throws SQLException {
    Connection writer = quarantineConnection();
    Sql.run(writer, "set local search_path = " + bound.searchPath());
    for (Branch branch : branches) {
      Sql.update(
          writer,
          "insert into tallyroll.quarantine (rollup, kind, reason, tenant, source_row) "
              + branch.select(
                  "?, ?, ?, left("
                      + Sql.identifier(bound.rollup().source().tenant())
                      + "::text, 200), "
                      + FeedSql.image(bound)),
          bound.name(),
          kind,
          reason);
    }
  }

  private Connection quarantineConnection() {
    if (quarantine == null) {
      throw new IllegalStateException("this feed has no quarantine");
    }
    return quarantine;
  }
}
