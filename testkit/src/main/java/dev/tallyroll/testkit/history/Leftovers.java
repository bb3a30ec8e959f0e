package dev.tallyroll.testkit.history;

import dev.tallyroll.testkit.TestDatabase;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;

/** What of the engine there is in a database besides its rollups: there must be nothing. */
final class Leftovers {
  private static final Pattern LINES = Pattern.compile("\n");

  /** Tables, functions, triggers, columns and constraints that are the engine's. */
  private static final String OBJECTS =
      """
      select string_agg(name, e'\\n' order by name) from (
        select format('%s of kind %s', c.oid::regclass, c.relkind) as name from pg_class c
          where c.relnamespace = 'tallyroll'::regnamespace or c.relname ~ 'tallyroll|~' and c.relpersistence = 'p'
        union all select 'function ' || p.oid::regprocedure from pg_proc p where p.pronamespace = 'tallyroll'::regnamespace
        union all select format('trigger %s on %s', t.tgname, t.tgrelid::regclass) from pg_trigger t
          where not t.tgisinternal and t.tgrelid <> all (select oid from pg_class where relnamespace = 'tallyroll'::regnamespace)
        union all select format('column %s of %s', a.attname, a.attrelid::regclass) from pg_attribute a
          where a.attname ~ 'tallyroll' and not a.attisdropped and a.attrelid <> all (select oid from pg_class where relnamespace = 'tallyroll'::regnamespace)
        union all select format('constraint %s of %s', k.conname, k.conrelid::regclass) from pg_constraint k where k.conname ~ 'tallyroll') objects
      """;

  /** What a killed or failed run must not leave while the rollups are still there. */
  private static final String STRAY =
      """
      select string_agg(name, ', ') from (
        select name from tallyroll.rollup where name like '%~'
        union all select 'table ' || relname from pg_class where relname like '%~%' and relpersistence <> 't'
        union all select 'detached table ' || relname from pg_class
          where relnamespace = 'tallyroll'::regnamespace and relkind = 'r' and relname ~ '_p[0-9]{8}$' and not relispartition
        union all select 'half detached ' || inhrelid::regclass from pg_inherits where inhdetachpending
        union all select 'invalid index ' || indexrelid::regclass from pg_index where not indisvalid
        union all select 'constraint ' || conname || ' of ' || conrelid::regclass from pg_constraint where conname = 'tallyroll_bounds'
        union all select 'prepared transaction ' || gid from pg_prepared_xacts where database = current_database()
        union all select 'temporary file ' || name from pg_ls_tmpdir()) stray
      """;

  private static final String SESSIONS =
      """
      select string_agg(format('%s, %s, with %s locks', application_name, state, (select count(*) from pg_locks l where l.pid = a.pid)), '; ')
      from pg_stat_activity a where datname = current_database() and application_name like 'tallyroll %'
      """;

  private final TestDatabase test;
  private final Set<String> before;

  /** Before the first rollup. */
  Leftovers(TestDatabase test) {
    this.test = test;
    this.before = objects();
  }

  private Set<String> objects() {
    return new TreeSet<>(LINES.splitAsStream(String.valueOf(test.value(OBJECTS))).toList());
  }

  /** With the rollups there, and nobody at work. */
  void checkIdle() {
    String stray = test.value(STRAY);
    if (stray != null) {
      throw new AssertionError("left behind: " + stray);
    }
    awaitNoSession();
  }

  /** The server takes a moment to notice that a connection was closed. */
  void awaitNoSession() {
    String sessions = test.value(SESSIONS);
    for (int i = 0; i < 500 && sessions != null; i++) {
      try {
        Thread.sleep(10);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
      sessions = test.value(SESSIONS);
    }
    if (sessions != null) {
      throw new AssertionError("sessions are left: " + sessions);
    }
  }

  /** After the last rollup was dropped. */
  void checkDropped() {
    Set<String> left = objects();
    left.removeAll(before);
    if (!left.isEmpty()) {
      throw new AssertionError("drop has left " + String.join(", ", left));
    }
    String rows =
        test.value(
            "select string_agg(name, ', ') from (select 'source' as name from tallyroll.source union all select 'leaf' from tallyroll.leaf"
                + " union all select 'seal' from tallyroll.seal union all select 'quarantine' from tallyroll.quarantine union all select 'slice' from tallyroll.slice"
                + " union all select 'start' from tallyroll.start union all select 'grain' from tallyroll.grain) n");
    if (rows != null) {
      throw new AssertionError("drop has left rows in " + rows);
    }
  }
}
