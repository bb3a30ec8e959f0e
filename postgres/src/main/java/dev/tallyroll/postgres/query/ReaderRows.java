package dev.tallyroll.postgres.query;

import dev.tallyroll.model.partial.PartialTable;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.model.time.Tile;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.BoundRollup;
import dev.tallyroll.postgres.feed.FeedSql;
import dev.tallyroll.session.Sql;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Reads what a question needs as a role that sees neither sources nor change logs, but the rollup's
 * tables, its fresh views and the functions behind them, of one tenant; and of the event log, which
 * has row-level security itself, that tenant's rows.
 */
final class ReaderRows {
  private final Question question;
  private final BoundRollup bound;
  private final StoredRows rows;
  private final PartialTable table;

  /** Reads into a table of the question's keys and the numbers of its buckets. */
  ReaderRows(Question question, PartialTable table) {
    this.question = question;
    this.bound = question.installed.bound();
    this.rows = new StoredRows(question, table);
    this.table = table;
  }

  /**
   * Reads everything.
   *
   * @return what to say if the answer lacks something
   */
  Optional<String> read(Map<Grain, List<Tile>> tiles) throws SQLException {
    boolean isFresh = !question.request.stale();
    if (isFresh && !bound.isChanging() && bound.table().isEventLog()) {
      // Of the event log a server sees its tenant's rows themselves, by an index of their own.
      new Unmerged(question).read(Unmerged.Changes.NONE, table);
      rows.read(tiles, "");
      return Optional.empty();
    }
    if (isFresh && bound.isChanging()) {
      for (Map.Entry<Grain, List<Tile>> grain : tiles.entrySet()) {
        rows.read(grain.getKey(), grain.getValue(), freshName(grain.getKey()), question.filter);
      }
      return asOf(tiles);
    }
    rows.read(tiles, "");
    if (isFresh) {
      readTail();
    }
    return Optional.empty();
  }

  /**
   * What was only added to is in the tail of any grain, as far back as that is kept: of the finest,
   * and behind it of coarser ones.
   */
  private void readTail() throws SQLException {
    long to = question.to();
    for (Map.Entry<Grain, Long> kept : question.installed.keptFrom().entrySet()) {
      Grain grain = kept.getKey();
      long from = Math.max(question.from(), kept.getValue());
      if (grain.zone().isPresent() || from >= to) {
        continue;
      }
      rows.read(
          grain,
          List.of(new Tile(grain, from, to)),
          BoundRollup.qualified(bound.tableName(grain) + "_tail") + "()",
          question.filter);
      to = from;
    }
  }

  private String freshName(Grain grain) {
    return BoundRollup.qualified(bound.tableName(grain) + "_fresh");
  }

  /** Of a changing source there may be changes that a view cannot show before the next refresh. */
  private Optional<String> asOf(Map<Grain, List<Tile>> tiles) throws SQLException {
    boolean isWhole =
        Sql.one(
            question.connection,
            "select tallyroll.is_current(?)",
            row -> row.getBoolean(1),
            question.request.rollup());
    for (Grain grain : tiles.keySet()) {
      isWhole =
          isWhole
              && !Sql.one(
                  question.connection,
                  "select exists (select from "
                      + freshName(grain)
                      + " where not complete and bucket >= "
                      + FeedSql.instant(question.from())
                      + " and bucket < "
                      + FeedSql.instant(question.to())
                      + question.filter
                      + ")",
                  row -> row.getBoolean(1));
    }
    return isWhole
        ? Optional.empty()
        : Optional.of(
            "as of the last refresh before "
                + Times.format(Times.micros(question.now))
                + ": the source has changed since in a way that the next refresh has to look up");
  }
}
