package dev.tallyroll.schema.check;

import dev.tallyroll.schema.check.TableState.ConstraintState;
import dev.tallyroll.schema.check.TableState.IndexState;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.Replay;
import dev.tallyroll.schema.script.ScriptPart;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * Looks at what each statement of a migration does to tables that were there before its file: which
 * locks its transaction holds then ({@code pg_locks}), what the server says that it reads or writes
 * as a whole ({@code client_min_messages = debug1}), and which indexes and constraints are not what
 * they were. The database is empty, so nothing is measured: whether PostgreSQL reads or rewrites a
 * table does not depend on its rows. What a file does to tables that it makes itself keeps nobody
 * waiting. For one thread.
 */
final class LockWatch implements Replay.Watcher {
  /** What writes a table anew beside ALTER TABLE, by a name that says so. */
  private static final Pattern MOVES = Pattern.compile("^cluster\\b|\\bset\\s+tablespace\\b");

  private static final Pattern DOMAIN =
      Pattern.compile(
          "^alter\\s+domain\\b.*\\b(add|set\\s+not\\s+null)\\b(?!.*\\bnot\\s+valid\\b)",
          Pattern.DOTALL);

  private static final Pattern ATTACHES = Pattern.compile("\\battach\\s+partition\\b");

  /** What PostgreSQL says of its work at the level debug1, from 15 to 18. */
  private static final Pattern REWRITING = Pattern.compile("^rewriting table \"(.+)\"");

  private static final Pattern VERIFYING = Pattern.compile("^verifying table \"(.+)\"");

  private static final Pattern VALIDATING =
      Pattern.compile("^validating foreign key constraint \"(.+)\"");

  private static final Pattern BUILDING =
      Pattern.compile("^building index \"(.+)\" on table \"(.+)\"");

  /** A few rows only. */
  private static final Pattern INSERTS_VALUES =
      Pattern.compile("insert\\b(?!.*\\bfrom\\b).*", Pattern.DOTALL);

  private final Predicate<Migration> wanted;
  private final Function<Migration, String> files;
  private final Findings findings;

  /** Tables that were there before the present file, as they are now. */
  private Map<Long, TableState> known = new HashMap<>();

  /** Of which tables the present file may have changed what is known. */
  private final Set<Long> touched = new HashSet<>();

  /** Whether migrations have been applied that were not watched. */
  private boolean isStale = true;

  /** The strongest lock on each table that the present transaction holds. */
  private Map<Long, LockMode> held = new HashMap<>();

  /** Tables whose rows the present transaction has changed. */
  private Set<Long> changed = new HashSet<>();

  /** Those of the present file, which may be rolled back and done again. */
  private Findings pending = new Findings();

  /** Tables on which a lock was awaited without a timeout, and where first. */
  private final Map<LockMode, Set<String>> unbounded = new EnumMap<>(LockMode.class);

  private final Map<LockMode, Place> firstUnbounded = new EnumMap<>(LockMode.class);

  /**
   * A lock, as the server lists it.
   *
   * @param isBounded whether a timeout bounds the wait for it
   */
  private record Held(long table, String mode, boolean isBounded) {}

  /**
   * A watch.
   *
   * @param wanted of which migrations to tell; the others are only applied
   * @param files the path of a migration's file, for people
   */
  LockWatch(Predicate<Migration> wanted, Function<Migration, String> files, Findings findings) {
    this.wanted = wanted;
    this.files = files;
    this.findings = findings;
  }

  @Override
  public void beginning(Connection connection, Migration migration) throws SQLException {
    pending = new Findings();
    unbounded.clear();
    firstUnbounded.clear();
    held = new HashMap<>();
    changed = new HashSet<>();
    if (wanted.test(migration)) {
      know(connection);
    }
  }

  /**
   * Brings what is known up to date: tables that are new, those that the last file has touched, and
   * all if nobody can tell. Only few of many tables are read for each file.
   */
  private void know(Connection connection) throws SQLException {
    if (isStale) {
      known = TableState.all(connection);
    } else {
      Set<Long> there = TableState.oids(connection);
      known.keySet().retainAll(there);
      there.removeIf(oid -> known.containsKey(oid) && !touched.contains(oid));
      if (!there.isEmpty()) {
        known.putAll(TableState.some(connection, there));
      }
    }
    isStale = false;
    touched.clear();
  }

  @Override
  public void unseen(Connection connection) throws SQLException {
    known.putAll(TableState.some(connection, known.keySet()));
  }

  @Override
  public void committed(Connection connection) {
    held = new HashMap<>();
    changed = new HashSet<>();
  }

  @Override
  public void done(Migration migration) {
    isStale |= !wanted.test(migration);
    unbounded.forEach((mode, tables) ->
        pending.add(
            Rule.LOCK_WITHOUT_TIMEOUT,
            Rule.LOCK_WITHOUT_TIMEOUT.severity(),
            migration.name() + " " + mode,
            mode
                + " on "
                + String.join(", ", tables)
                + (mode == LockMode.ACCESS_EXCLUSIVE ? "" : ", for which writers wait"),
            "-- at the head of "
                + migration.name()
                + "; run it again when that was not enough\nset lock_timeout = '5s';",
            firstUnbounded.get(mode)));
    pending.all().forEach(findings::add);
    pending = new Findings();
    unbounded.clear();
  }

  @Override
  public boolean listens() {
    return true;
  }

  @Override
  public void done(Connection connection, Migration migration, ScriptPart part, List<String> said)
      throws SQLException {
    if (!wanted.test(migration)) {
      return;
    }
    List<Held> locks =
        Sql.list(
            connection,
            Sql.resource("schema/check/locks.sql", Map.of()),
            row -> new Held(row.getLong(1), row.getString(2), row.getBoolean(3)));
    Map<Long, LockMode> before = held;
    Map<Long, LockMode> now = new HashMap<>();
    for (Held lock : locks) {
      if (known.containsKey(lock.table())) {
        LockMode.of(lock.mode())
            .ifPresent(mode -> now.merge(lock.table(), mode, LockMode::stronger));
      }
    }
    held = now;
    Set<Long> written =
        locks.stream()
            .filter(
                lock -> lock.mode().equals("RowExclusiveLock") && known.containsKey(lock.table()))
            .map(Held::table)
            .filter(changed::add)
            .collect(Collectors.toSet());
    Step step = new Step(migration, part, before, now, said);
    boolean isBounded = locks.stream().allMatch(Held::isBounded);
    now.forEach((table, mode) -> {
      LockMode had = before.get(table);
      if (mode.blocksWriters() && (had == null || mode.compareTo(had) > 0) && !isBounded) {
        step.awaits(table, mode);
      }
    });
    step.changes(written);
    step.domain(now);
    Set<Long> locked =
        now.entrySet().stream()
            .filter(lock -> lock.getValue() != LockMode.ROW_EXCLUSIVE)
            .map(Map.Entry::getKey)
            .collect(Collectors.toSet());
    if (!locked.isEmpty()) {
      touched.addAll(locked);
      TableState.some(connection, locked)
          .forEach((oid, after) -> {
            TableState was = known.put(oid, after);
            if (was != null) {
              step.compare(was, after);
            }
          });
    }
  }

  /** One statement, with the locks before and after it. */
  private final class Step {
    private final Migration migration;
    private final ScriptPart part;
    private final String small;
    private final Map<Long, LockMode> before;
    private final Map<Long, LockMode> now;

    /** What the server says that it has read or written as a whole, by name. */
    private final Set<String> rewritten;

    private final Set<String> scanned;
    private final Set<String> validated;
    private final Set<String> built;
    private final Set<String> builtOn;

    private static Set<String> named(List<String> said, Pattern pattern, int group) {
      return said.stream()
          .map(pattern::matcher)
          .filter(Matcher::find)
          .map(matcher -> matcher.group(group))
          .collect(Collectors.toSet());
    }

    Step(
        Migration migration,
        ScriptPart part,
        Map<Long, LockMode> before,
        Map<Long, LockMode> now,
        List<String> said) {
      this.migration = migration;
      this.part = part;
      this.small = part.text().toLowerCase(Locale.ROOT);
      this.before = before;
      this.now = now;
      this.rewritten = named(said, REWRITING, 1);
      this.scanned = named(said, VERIFYING, 1);
      this.validated = named(said, VALIDATING, 1);
      this.built = named(said, BUILDING, 1);
      this.builtOn = named(said, BUILDING, 2);
    }

    private Place place() {
      return new Place(files.apply(migration), part.line());
    }

    private String name(long table) {
      TableState state = known.get(table);
      return state == null ? "?" : state.qualified();
    }

    private void add(Rule rule, String object, String evidence, String mend) {
      pending.add(rule, rule.severity(), migration.name() + " " + object, evidence, mend, place());
    }

    /** Partitions are locked with their parent, and are not told apart from it. */
    private boolean isWithParent(long table) {
      TableState state = known.get(table);
      return state != null && state.parent() != null && now.containsKey(state.parent());
    }

    void awaits(long table, LockMode mode) {
      if (isWithParent(table)) {
        return;
      }
      firstUnbounded.putIfAbsent(mode, place());
      unbounded.computeIfAbsent(mode, key -> new TreeSet<>()).add(name(table));
    }

    /**
     * A constraint of a domain is checked in all tables that have it, which are locked for that.
     */
    void domain(Map<Long, LockMode> locks) {
      if (!DOMAIN.matcher(small).find()) {
        return;
      }
      List<String> tables =
          locks.entrySet().stream()
              .filter(lock -> lock.getValue().blocksWriters())
              .map(lock -> name(lock.getKey()))
              .sorted()
              .toList();
      if (!tables.isEmpty()) {
        add(
            Rule.VALIDATION_UNDER_LOCK,
            String.join(", ", tables),
            "all rows of the tables that have the domain are checked under SHARE",
            "-- add the constraint NOT VALID, and in a migration of its own: alter domain ... validate constraint ...");
      }
    }

    void changes(Set<Long> written) {
      if (INSERTS_VALUES.matcher(Transactions.bare(small)).matches()) {
        return;
      }
      List<String> changed = written.stream().map(this::name).sorted().toList();
      List<String> locked =
          before.entrySet().stream()
              .filter(lock -> lock.getValue().blocksWriters() && !isWithParent(lock.getKey()))
              .map(lock -> lock.getValue() + " on " + name(lock.getKey()))
              .sorted()
              .toList();
      if (!changed.isEmpty() && !locked.isEmpty()) {
        add(
            Rule.ROWS_CHANGED_UNDER_LOCK,
            String.join(", ", changed),
            "the transaction holds " + String.join(", ", locked) + " already",
            "-- put what changes rows into a migration of its own, in batches that are committed one by one");
      }
    }

    void compare(TableState was, TableState is) {
      LockMode lock = now.getOrDefault(is.oid(), LockMode.ROW_EXCLUSIVE);
      boolean isScanned = scanned.contains(is.name()) && lock.blocksWriters();
      if (was.parent() != null && now.containsKey(was.parent())) {
        if (isScanned && ATTACHES.matcher(small).find()) {
          attached(
              is, lock, "rows of the default partition that belong to the new one are looked for");
        }
        return;
      }
      boolean isRewritten =
          rewritten.contains(is.name()) || (was.file() != is.file() && MOVES.matcher(small).find());
      if (isRewritten) {
        add(
            Rule.TABLE_REWRITE,
            is.qualified(),
            "its rows are in a new file after this statement, which holds " + lock,
            rewriteMend(was, is));
      }
      if (!lock.blocksWriters()) {
        return;
      }
      if (!isRewritten && was.file() == is.file()) {
        indexes(was, is, lock);
      }
      int before = pending.all().size();
      constraints(was, is, lock);
      notNull(was, is, lock);
      if (isScanned
          && !isRewritten
          && pending.all().size() == before
          && is.parent() != null
          && was.parent() == null) {
        attached(is, lock, "all its rows are checked against the bounds");
      }
    }

    private void attached(TableState table, LockMode lock, String what) {
      add(
          Rule.VALIDATION_UNDER_LOCK,
          table.qualified(),
          "ATTACH PARTITION: " + what + " under " + lock,
          """
          -- a valid CHECK that says the same as the bounds (of a default partition, the opposite) is taken for it:
          alter table %1$s add constraint bounds check (...) not valid;
          -- in a migration of its own:
          alter table %1$s validate constraint bounds;
          -- then attach, and drop the CHECK; indexes that the parent has are built concurrently before\
          """
              .formatted(table.sql()));
    }

    private String rewriteMend(TableState was, TableState is) {
      Set<String> added = new TreeSet<>(is.columns());
      added.removeAll(was.columns());
      added.retainAll(is.defaults());
      if (!added.isEmpty()) {
        String column = TableState.printed(added.iterator().next());
        return """
        -- a default that is not the same for all rows is computed for each: first the column, then its default for new rows,
        alter table %1$s add column %2$s ...;
        alter table %1$s alter column %2$s set default ...;
        -- and then the old rows, in batches\
        """
            .formatted(is.sql(), column);
      }
      return """
      -- a new column of the new type, filled by a trigger for new rows and in batches for old ones; then the names are exchanged:
      alter table %1$s add column ...;
      -- or, if the table is small for certain, suppress this finding and say so\
      """
          .formatted(is.sql());
    }

    private void indexes(TableState was, TableState is, LockMode lock) {
      boolean isBuiltBelow =
          is.isPartitioned()
              && known.values().stream()
                  .anyMatch(table ->
                      Objects.equals(table.parent(), is.oid()) && builtOn.contains(table.name()));
      is.indexes()
          .forEach((oid, index) -> {
            IndexState old = was.indexes().get(oid);
            boolean isBuilt = index.isPartitioned() ? isBuiltBelow : built.contains(index.name());
            if (isBuilt && (old == null || old.file() != index.file())) {
              add(
                  Rule.INDEX_BUILD_BLOCKS,
                  is.schema() + "." + index.name(),
                  "it is built%s under %s on %s"
                      .formatted(old == null ? "" : " anew", lock, is.qualified()),
                  old == null
                      ? indexMend(is, index)
                      : "reindex index concurrently "
                          + TableState.printed(is.schema())
                          + "."
                          + TableState.printed(index.name())
                          + ";");
            }
          });
    }

    private String indexMend(TableState table, IndexState index) {
      if (table.isPartitioned()) {
        return """
        -- of a partitioned table, one partition after the other, each statement in no transaction:
        create index ... on only %1$s (...);
        create index concurrently ... on <partition> (...);
        alter index ... attach partition ...;\
        """
            .formatted(table.sql());
      }
      String concurrently =
          index.sql().replaceFirst("^CREATE (UNIQUE )?INDEX ", "CREATE $1INDEX CONCURRENTLY ");
      String key = index.key();
      if ("p".equals(key) || "u".equals(key)) {
        return """
        -- in a migration without a transaction, and with nothing else in it:
        %1$s;
        -- and then, which takes a moment only:
        alter table %2$s add constraint %3$s %4$s using index %3$s%5$s;\
        """
            .formatted(
                concurrently,
                table.sql(),
                TableState.printed(index.name()),
                "p".equals(key) ? "primary key" : "unique",
                index.deferral() == null ? "" : index.deferral().toLowerCase(Locale.ROOT));
      }
      if (key != null) {
        return "-- an exclusion constraint cannot be built concurrently: in a quiet hour, with lock_timeout";
      }
      return "-- in a migration without a transaction, and with nothing else in it:\n"
          + concurrently
          + ";";
    }

    private void constraints(TableState was, TableState is, LockMode lock) {
      is.constraints()
          .forEach((oid, constraint) -> {
            ConstraintState old = was.constraints().get(oid);
            boolean isNew = old == null && constraint.isValid();
            boolean isValidated = old != null && !old.isValid() && constraint.isValid();
            boolean isChecked =
                constraint.kind().equals("f")
                    ? validated.contains(constraint.name())
                    : scanned.contains(is.name());
            if (((isNew && !constraint.kind().equals("n")) || isValidated) && isChecked) {
              add(
                  Rule.VALIDATION_UNDER_LOCK,
                  is.qualified() + "." + constraint.name(),
                  isNew
                      ? "added as valid under " + lock
                      : "validated by a transaction that holds " + lock,
                  """
                  alter table %1$s add constraint %2$s %3$s not valid;
                  -- and in a migration of its own, since only the end of the transaction gives that lock back:
                  alter table %1$s validate constraint %2$s;\
                  """
                      .formatted(
                          is.sql(),
                          TableState.printed(constraint.name()),
                          constraint.sql().replace(" NOT VALID", "")));
            }
          });
    }

    private void notNull(TableState was, TableState is, LockMode lock) {
      for (String column : new TreeSet<>(is.notNull())) {
        boolean isNotChecked =
            is.constraints().values().stream()
                .anyMatch(constraint ->
                    constraint.kind().equals("n")
                        && !constraint.isValid()
                        && constraint.columns().contains(column));
        if (was.columns().contains(column)
            && !was.notNull().contains(column)
            && scanned.contains(is.name())
            && !isNotChecked) {
          add(
              Rule.VALIDATION_UNDER_LOCK,
              is.qualified() + "." + column,
              "SET NOT NULL looks at all rows under " + lock,
              """
              alter table %1$s add constraint %2$s check (%3$s is not null) not valid;
              -- in a migration of its own:
              alter table %1$s validate constraint %2$s;
              -- and then, which looks at no row any more:
              alter table %1$s alter column %3$s set not null;
              alter table %1$s drop constraint %2$s;\
              """
                  .formatted(
                      is.sql(),
                      TableState.printed(is.name() + "_" + column + "_not_null"),
                      TableState.printed(column)));
        }
      }
    }
  }
}
