package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.session.Sql;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.regex.Pattern;

/** Indexes that were left behind. */
final class IndexChecks {
  private static final Pattern LEFT_BY_REINDEX = Pattern.compile(".*_cc(new|old)[0-9]*");

  private final Subject subject;
  private final Findings findings;

  private IndexChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
  }

  static void check(Subject subject, Findings findings) {
    IndexChecks checks = new IndexChecks(subject, findings);
    for (Relation table : subject.catalog().relations()) {
      List<Index> indexes = subject.catalog().indexes(table);
      indexes.forEach(index -> checks.unusable(table, index));
      checks.duplicates(table, indexes);
    }
  }

  private void unusable(Relation table, Index index) {
    String object = table.qualified() + "." + index.name();
    String name = Mends.index(table, index);
    if (!index.isReady() || !index.isLive()) {
      findings.add(
          Rule.INDEX_NOT_READY,
          object,
          index.isLive() ? "not ready: inserts pass it by" : "half dropped",
          "-- then build it again\ndrop index concurrently " + name + ";");
    } else if (!index.isValid()) {
      boolean isPartitioned = table.kind() == Relation.Kind.PARTITIONED;
      findings.add(
          Rule.INDEX_INVALID,
          object,
          isPartitioned
              ? "made on ONLY the parent, and not every partition has its part attached"
              : "left by a concurrent build that was cut short",
          isPartitioned
              ? "-- create index concurrently on each partition, then alter index "
                  + name
                  + " attach partition each"
              : LEFT_BY_REINDEX.matcher(index.name()).matches()
                  ? "drop index concurrently " + name + ";"
                  : (index.isUnique()
                          ? "-- fails if rows are doubled by now: mend these first\n"
                          : "")
                      + "reindex index concurrently "
                      + name
                      + ";");
    }
  }

  private void duplicates(Relation table, List<Index> indexes) {
    // What must stay comes first: keys, then unique ones, then older ones.
    List<Index> candidates =
        indexes.stream()
            .filter(index -> index.isUsable() && !index.isAttached() && !index.isExclusion())
            .sorted(
                Comparator.comparing((Index index) -> !index.isPrimary())
                    .thenComparing(index -> index.constraint() == null)
                    .thenComparing(index -> !index.isUnique())
                    .thenComparingLong(Index::oid))
            .toList();
    for (int i = 1; i < candidates.size(); i++) {
      Index later = candidates.get(i);
      candidates.subList(0, i).stream()
          .filter(earlier -> covers(earlier, later))
          .findFirst()
          .ifPresent(earlier -> duplicate(table, earlier, later));
    }
  }

  private static boolean covers(Index one, Index other) {
    return one.method().equals(other.method())
        && one.keys().equals(other.keys())
        && one.included().containsAll(other.included())
        && Objects.equals(one.predicate(), other.predicate())
        && (!other.isUnique()
            || (one.isUnique()
                && one.nullsNotDistinct() == other.nullsNotDistinct()
                && one.deferral().equals(other.deferral())));
  }

  private void duplicate(Relation table, Index kept, Index superfluous) {
    String constraint = superfluous.constraint();
    List<String> referring = subject.referring(table, superfluous);
    findings.add(
        Rule.INDEX_DUPLICATE,
        table.qualified() + "." + superfluous.name(),
        "the same as " + kept.name(),
        (referring.isEmpty() || constraint == null
                ? ""
                : "-- first make these foreign keys anew, which then refer to the other: "
                    + String.join(", ", referring)
                    + "\n")
            + (constraint != null
                ? "alter table "
                    + table.sql()
                    + " drop constraint "
                    + Sql.identifier(constraint)
                    + ";"
                : "drop index "
                    + (table.kind() == Relation.Kind.PARTITIONED ? "" : "concurrently ")
                    + Mends.index(table, superfluous)
                    + ";"));
  }
}
