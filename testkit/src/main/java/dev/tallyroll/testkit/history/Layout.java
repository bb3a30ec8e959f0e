package dev.tallyroll.testkit.history;

import dev.tallyroll.testkit.TestDatabase;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;

/**
 * How the table {@code events} lies in partitions, and how others change that: they attach, detach,
 * drop and make them again. What goes with a partition is remembered in the table {@code gone}. For
 * one thread.
 */
final class Layout {
  private static final String COLUMNS =
      "(id bigint, tenant_id text not null, ts timestamptz not null, project text, status text, user_id text,"
          + " tokens integer, cost numeric, duration_ms double precision, msg text)";

  /** A partition by time; its bounds as in SQL. */
  record Part(String name, String from, String to) {
    /** Its end; none has an infinite one but the last, which nobody purges. */
    Instant end() {
      return Instant.parse(to.substring(1, 11) + "T00:00:00Z");
    }
  }

  private final Random random;
  private final TestDatabase test;
  private final Changes changes;
  private final Consumer<String> note;

  /** Whether partitions by time are also by the number of a row, which divides none of them. */
  private boolean isOfTwoColumns;

  /** In the order of time; empty if the table is not partitioned by it. The oldest go first. */
  private final List<Part> parts = new ArrayList<>();

  /** Whether there is a table of one tenant, which may leave with it. */
  private boolean hasTenantTable;

  private boolean hasTenantLeft;

  /**
   * What was counted of single rows behind a seal stays when they are forgotten; of a whole tenant
   * nothing does. That is written down in the transaction that deletes them, in which nobody else
   * does anything.
   */
  private void rememberForgotten() {
    String of =
        "tenant_id = f.tenant and (f.is_whole or project = 'p1' and not " + Truth.IS_COUNTED + ")";
    test.run(
        "create table forgetting (tenant text not null, is_whole boolean not null);"
            + "create function remember_forgotten() returns trigger language plpgsql set search_path = public as $$"
            + " begin if coalesce(current_setting('tallyroll.erase', true), '') <> '' then"
            + " delete from gone using forgetting f where "
            + of
            + "; insert into gone select "
            + Changes.COLUMNS
            + " from deleted where "
            + Truth.IS_COUNTED
            + " and not (select is_whole from forgetting) and exists (select from tallyroll.seal s"
            + " where extract(epoch from ts) >= extract(epoch from s.range_from) and extract(epoch from ts) < extract(epoch from s.range_to));"
            + " end if; return null; end $$;"
            + "create trigger remember_forgotten after delete on events referencing old table as deleted"
            + " for each statement execute function remember_forgotten()");
  }

  /** Makes the tables. */
  Layout(Random random, TestDatabase test, Changes changes, boolean hasKey, Consumer<String> note) {
    this.random = random;
    this.test = test;
    this.changes = changes;
    this.note = note;
    String columns = changes.typed(COLUMNS);
    test.run("create table gone " + columns);
    switch (hasKey ? 0 : random.nextInt(8)) {
      case 0 -> test.run("create table events " + columns);
      case 1, 2, 3, 4, 5 -> {
        isOfTwoColumns = random.nextInt(3) == 0;
        test.run(
            "create table events "
                + columns
                + " partition by range (ts"
                + (isOfTwoColumns ? ", id)" : ")"));
        create("events_a", "minvalue", "'2026-06-05'", "");
        create("events_b", "'2026-06-05'", "'2026-06-10'", " partition by list (tenant_id)");
        test.run("create table events_b_0 partition of events_b for values in ('t0')");
        test.run("create table events_b_rest partition of events_b default");
        // From the 10th to the 12th there is none at first.
        create("events_c", "'2026-06-12'", "'2026-06-15'", "");
        create("events_d", "'2026-06-15'", "maxvalue", "");
        if (random.nextBoolean()) {
          test.run("create table events_other partition of events default");
        }
      }
      case 6 -> {
        test.run("create table events " + columns + " partition by list (tenant_id)");
        test.run("create table events_0 partition of events for values in ('t0')");
        test.run("create table events_1 partition of events for values in ('t1', 't2')");
        hasTenantTable = true;
      }
      default -> {
        test.run("create table events " + columns + " partition by hash (id)");
        for (int i = 0; i < 3; i++) {
          test.run(
              "create table events_"
                  + i
                  + " partition of events for values with (modulus 3, remainder "
                  + i
                  + ")");
        }
      }
    }
    if (hasKey) {
      test.run("create unique index on events (id)");
    }
    if (random.nextInt(3) > 0) {
      test.run("create index on events (ts)");
    }
    rememberForgotten();
  }

  private void create(String name, String from, String to, String by) {
    Part part = new Part(name, from, to);
    test.run(created(part) + by);
    parts.add(part);
  }

  private String created(Part part) {
    return "create table " + part.name() + " partition of events" + bounds(part);
  }

  private String bounds(Part part) {
    return " for values from (" + bound(part.from()) + ") to (" + bound(part.to()) + ")";
  }

  private String bound(String time) {
    return isOfTwoColumns ? time + (time.equals("maxvalue") ? ", maxvalue" : ", minvalue") : time;
  }

  boolean isByTime() {
    return !parts.isEmpty();
  }

  Part oldest() {
    return parts.getFirst();
  }

  /** Whether the oldest partition may go. */
  boolean hasOld() {
    return parts.size() > 2;
  }

  /** Whether rows can be put into the oldest partition, which nobody has sealed. */
  boolean isOldestOpen() {
    return hasOld()
        && !oldest().name().startsWith("events_late")
        && !changes.sealed().isAfter(oldest().end().minus(Duration.ofDays(3)));
  }

  /**
   * A tenant leaves with its table, and stays counted.
   *
   * @param mayDetach whether the table may be left outside of the source
   * @return whether no lock was in the way
   */
  boolean leaveTenant(boolean mayDetach) {
    hasTenantLeft =
        tryRun(
            "insert into gone select "
                + Changes.COLUMNS
                + " from events_0; "
                + (mayDetach && random.nextBoolean()
                    ? "alter table events detach partition events_0"
                    : "drop table events_0"));
    return hasTenantLeft;
  }

  /** Whether a tenant may leave with its table. */
  boolean hasTenantTable() {
    return hasTenantTable && !hasTenantLeft;
  }

  /** Whether one has left. */
  boolean hasTenantLeft() {
    return hasTenantLeft;
  }

  /** All rows are taken away at once; those that are sealed, or of who has left, stay counted. */
  String truncate() {
    return "insert into gone select * from events"
        + " where ts < '"
        + changes.sealed()
        + "'; truncate "
        + (hasTenantLeft ? "events_1" : "events");
  }

  /** Forgets the partitions that are no longer there. */
  void look() {
    parts.removeIf(part -> test.value("select to_regclass('" + part.name() + "')") == null);
  }

  /**
   * Takes the oldest partition away, as others do it.
   *
   * @param how a statement for it, which takes its name
   * @return whether no lock was in the way
   */
  boolean purgeOldest(String before, String how) {
    String name = oldest().name();
    if (!tryRun(
        before.formatted(name)
            + "insert into gone select * from "
            + name
            + "; "
            + how.formatted(name))) {
      return false;
    }
    Instant end = parts.removeFirst().end();
    if (end.isAfter(changes.sealed())) {
      changes.seal(end);
    }
    return true;
  }

  /** A table with rows becomes a partition where there was none. */
  void attach() {
    if (parts.stream().anyMatch(part -> part.name().equals("events_hole"))
        || !oldest().name().equals("events_a")) {
      return;
    }
    String rows =
        changes
            .insert(1 + random.nextInt(20))
            .replace("insert into events", "insert into events_hole");
    Part hole = new Part("events_hole", "'2026-06-10'", "'2026-06-12'");
    if (tryRun(
        "create table events_hole (like events); "
            + rows
            + changes.typed(
                "; update events_hole set ts = '2026-06-10'::timestamptz + id * interval '1 minute';")
            + " alter table events attach partition events_hole"
            + bounds(hole))) {
      parts.add(2, hole);
    }
  }

  /** Late rows may come for a range that was purged. */
  void refill(int number) {
    if (oldest().from().equals("minvalue")) {
      return;
    }
    Part late = new Part("events_late_" + number, "minvalue", oldest().from());
    if (tryRun(created(late))) {
      parts.addFirst(late);
    }
  }

  /** Runs statements in one transaction, or not at all if a lock is in the way. */
  boolean tryRun(String sql) {
    note.accept(sql);
    try {
      test.run("set lock_timeout = '100ms'; begin; " + sql + "; commit");
      return true;
    } catch (IllegalStateException e) {
      note.accept("  fails: " + e.getMessage());
      // Rows of a new partition's range may lie in the default one.
      if (String.valueOf(e.getMessage())
          .matches("(?s).*(lock timeout|could not obtain lock|default partition).*")) {
        return false;
      }
      throw e;
    }
  }
}
