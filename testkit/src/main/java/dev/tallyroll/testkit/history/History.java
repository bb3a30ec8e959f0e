package dev.tallyroll.testkit.history;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Redefinition;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Sql;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.testkit.Oracle;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.InstantSource;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * One random history: sessions that change a table, and the engine that keeps rollups of it. All
 * runs in one thread: between any two statements of the engine, sessions take steps, readers look,
 * and connections break. So a seed always gives the same history. For one thread, once.
 *
 * <p>At the end all that is open is ended, the engine runs undisturbed, and everything must be
 * exact.
 */
public final class History implements AutoCloseable {
  private static final Instant START = Instant.parse("2026-06-15T12:00:00Z");
  private static final int SESSIONS = 4;
  private static final List<String> ROLLUPS = List.of("whole", "sums", "days");

  private static final Map<String, String> DEFINITIONS =
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
          grains: {1m: keep 4d, 5m: keep 6d, 1h: keep 14d, 1d: keep 1095d}
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

  /** Rows that no rollup can count: a time too far ahead, and a division by zero. */
  private static final String COUNTED =
      "(select * from (select id, tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg from events union all select * from gone) r where ts < '2900-01-01' and tokens is distinct from 7) e";

  /** What a history did, for the record. */
  public record Summary(int operations, int faults, int reads, int refreshes) {
    /** Both together. */
    public Summary plus(Summary other) {
      return new Summary(
          operations + other.operations,
          faults + other.faults,
          reads + other.reads,
          refreshes + other.refreshes);
    }
  }

  /** Stands for the death of the engine's process: it has no say in what follows. */
  private static final class Killed extends RuntimeException {
    Killed() {
      super("killed", null, false, false);
    }
  }

  private final Random random;
  private final TestDatabase test = TestDatabase.create();
  private final List<@Nullable Connection> sessions = new ArrayList<>();
  private final Changes changes;
  private final List<String> log = new ArrayList<>();
  private final Database calm;
  private final Database disturbed;
  private Instant now = START;
  private final InstantSource clock = () -> now;
  private final double interleaving;
  private final double faulting;
  private final boolean isAppended;
  private final Refresher.Limits limits;
  private final List<String> installed = new ArrayList<>();
  private boolean isByTime;

  /** Partitions in the order of time, as {@code name from to}; the oldest go first. */
  private final List<String[]> partitions = new ArrayList<>();

  /** In which ways the definition of a rollup differs from what it was at first. */
  private final Map<String, Set<String>> variants = new HashMap<>();

  private boolean isInside;
  private boolean isQuiet;
  private boolean isReading;
  private boolean isFaulty;
  private int operations;
  private int faults;
  private int reads;
  private int refreshes;

  private History(long seed) {
    this.random = new Random(seed * 0x9E3779B97F4A7C15L);
    this.interleaving = random.nextInt(4) == 0 ? 0 : random.nextDouble() * 0.3;
    this.faulting = random.nextInt(3) == 0 ? random.nextDouble() * 0.02 : 0;
    // One thread does all, so nobody may wait for long: who holds the lock would never go on.
    PGSimpleDataSource impatient = test.newSource();
    impatient.setOptions("-c lock_timeout=300");
    this.calm = new Database(impatient);
    this.disturbed = new Database(new Interposer(impatient, this::between));
    this.isAppended = random.nextInt(4) == 0;
    boolean hasKey = !isAppended && random.nextBoolean();
    this.changes = new Changes(random, now, hasKey, isAppended);
    this.limits =
        new Refresher.Limits(
            random.nextInt(3) == 0 ? 20_000 : Long.MAX_VALUE,
            random.nextBoolean() ? 8_192 : 1 << 24);
    for (int i = 0; i < SESSIONS; i++) {
      sessions.add(null);
    }
    create(hasKey);
  }

  /**
   * Runs the history of a seed.
   *
   * @throws AssertionError with the seed and the last steps, if anything is not exact
   */
  public static Summary run(long seed) {
    try (History history = new History(seed)) {
      try {
        history.live();
        history.end();
        return new Summary(history.operations, history.faults, history.reads, history.refreshes);
      } catch (AssertionError | RuntimeException | SQLException e) {
        List<String> log = history.log;
        throw new AssertionError(
            "seed "
                + seed
                + ": "
                + e.getMessage()
                + "\nlast steps:\n"
                + String.join(
                    "\n",
                    log.subList(
                        Math.max(0, log.size() - Integer.getInteger("tallyroll.steps", 60)),
                        log.size())),
            e);
      }
    }
  }

  private void create(boolean hasKey) {
    String columns =
        "(id bigint, tenant_id text not null, ts timestamptz not null, project text, status text, user_id text,"
            + " tokens integer, cost numeric, duration_ms double precision, msg text)";
    test.run("create table gone " + columns);
    switch (hasKey ? 0 : random.nextInt(3)) {
      case 0 -> test.run("create table events " + columns);
      case 1 -> {
        isByTime = true;
        test.run("create table events " + columns + " partition by range (ts)");
        partition("events_a", "minvalue", "'2026-06-05'", "");
        partition("events_b", "'2026-06-05'", "'2026-06-10'", " partition by list (tenant_id)");
        test.run("create table events_b_0 partition of events_b for values in ('t0')");
        test.run("create table events_b_rest partition of events_b default");
        // From the 10th to the 12th there is none at first.
        partition("events_c", "'2026-06-12'", "'2026-06-15'", "");
        partition("events_d", "'2026-06-15'", "maxvalue", "");
      }
      default -> {
        test.run("create table events " + columns + " partition by list (tenant_id)");
        test.run("create table events_0 partition of events for values in ('t0')");
        test.run("create table events_1 partition of events for values in ('t1', 't2')");
      }
    }
    if (hasKey) {
      test.run("create unique index on events (id)");
    }
    if (random.nextInt(3) > 0) {
      test.run("create index on events (ts)");
    }
  }

  private void partition(String name, String from, String to, String by) {
    test.run(
        "create table "
            + name
            + " partition of events for values from ("
            + from
            + ") to ("
            + to
            + ")"
            + by);
    partitions.add(new String[] {name, from, to});
  }

  private void note(String what) {
    log.add(what.length() > 300 ? what.substring(0, 300) + "..." : what);
  }

  private void live() throws SQLException {
    for (int i = random.nextInt(12); i > 0; i--) {
      session(changes.insert(1 + random.nextInt(30)));
    }
    install(ROLLUPS.getFirst());
    int steps = 25 + random.nextInt(60);
    for (int i = 0; i < steps; i++) {
      step();
    }
  }

  /**
   * Installs a rollup; sessions with open transactions are ended first, as apply waits for them.
   */
  private void install(String rollup) throws SQLException {
    for (Connection session : sessions) {
      if (session != null && !session.isClosed()) {
        session.rollback();
      }
    }
    note("install " + rollup);
    new Installer(calm, clock).apply(DefinitionReader.read("history.yaml", definition(rollup)));
    installed.add(rollup);
  }

  private String definition(String rollup) {
    Set<String> variant = variants.getOrDefault(rollup, Set.of());
    String body = String.valueOf(DEFINITIONS.get(rollup));
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
        + "\nsource: {table: public.events, tenant: tenant_id, time: ts, changes: "
        + (isAppended && !variant.contains("capture") ? "append" : "any")
        + (variant.contains("keep") ? ", keep: 8d" : "")
        + "}\n"
        + body;
  }

  /**
   * Gives a rollup another definition, under a disturbed engine or only in part; the next time it
   * goes on, or back. What is asked of the rollup stays the same.
   */
  private void redefine() throws SQLException {
    String rollup = any();
    Set<String> variant = variants.computeIfAbsent(rollup, name -> new HashSet<>());
    if (random.nextInt(4) > 0) {
      List<String> kinds = new ArrayList<>(List.of("measure", "dimension", "grains", "keep"));
      if (isAppended) {
        kinds.add("capture");
      }
      String kind = kinds.get(random.nextInt(kinds.size()));
      if (!variant.remove(kind)) {
        variant.add(kind);
      }
    }
    endSessions();
    boolean isFinished = random.nextInt(4) > 0;
    isQuiet = true;
    try {
      disturbed(
          "redefine "
              + rollup
              + " "
              + new TreeSet<>(variant)
              + (isFinished ? "" : ", not to the end"),
          () -> {
            new Installer(disturbed, clock)
                .apply(DefinitionReader.read("history.yaml", definition(rollup)), true);
            if (isFinished) {
              new Redefinition(disturbed, clock).finish(rollup, 1, 0, new Backfill.Progress() {});
            }
          });
    } finally {
      isQuiet = false;
    }
  }

  private void endSessions() throws SQLException {
    for (Connection session : sessions) {
      if (session != null && !session.isClosed()) {
        if (random.nextBoolean()) {
          session.rollback();
        } else {
          session.commit();
        }
      }
    }
  }

  /** Our own purge, by a definition's keep; what it took is remembered for the oracle. */
  private void purgeByKeep() throws SQLException {
    String rollup = any();
    if (!variants.getOrDefault(rollup, Set.of()).contains("keep")) {
      return;
    }
    endSessions();
    note("purge by the keep of " + rollup);
    test.run(
        "drop table if exists purged; create table purged as select tableoid as t, ctid as c, e.* from events e");
    try {
      new Purge(calm, clock).run(rollup);
    } catch (TallyrollException e) {
      note("  which fails: " + e.getMessage());
      if (e.code() != ErrorCode.REFUSED
          && !String.valueOf(e.getMessage()).matches("(?s).*(55P03|40001|40P01).*")) {
        throw e;
      }
    }
    test.run(
        "insert into gone select id, tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg from purged p"
            + " where not exists (select from events e where e.tableoid = p.t and e.ctid = p.c); drop table purged");
    partitions.removeIf(
        partition -> test.value("select to_regclass('" + partition[0] + "')") == null);
    String sealed = test.value("select max(range_to) at time zone 'UTC' from tallyroll.seal");
    if (sealed != null) {
      changes.seal(Instant.parse(sealed.replace(' ', 'T') + "Z"));
    }
  }

  private void forget() throws SQLException {
    endSessions();
    String tenant = "t" + random.nextInt(3);
    boolean isWhole =
        random.nextBoolean() || !"0".equals(test.value("select count(*) from tallyroll.seal"));
    note("forget " + tenant + (isWhole ? "" : ", a project"));
    try {
      Forget.Forgotten forgotten =
          new Forget(calm, clock)
              .run(new Forget.Request(null, tenant, isWhole ? null : "project = 'p1'"));
      if (forgotten.left() != 0) {
        throw new AssertionError("not forgotten: " + forgotten);
      }
      test.run(
          "delete from gone where tenant_id = '" + tenant + "'" + (isWhole ? "" : " and false"));
    } catch (TallyrollException e) {
      note("  which fails: " + e.getMessage());
      if (!String.valueOf(e.getMessage()).matches("(?s).*(55P03|40001|40P01|up to date).*")) {
        throw e;
      }
    }
  }

  /** A whole transaction of a session, which gives way to locks. */
  private void wholeTransaction() {
    String sql = changes.next();
    note("  a session, whole: " + sql);
    try {
      test.run("set lock_timeout = '30ms'; " + sql);
      operations++;
    } catch (IllegalStateException e) {
      note("  fails: " + e.getMessage());
    }
  }

  private String any() {
    return installed.get(random.nextInt(installed.size()));
  }

  private void step() throws SQLException {
    switch (random.nextInt(25)) {
      case 22 -> {
        if (random.nextInt(3) > 0) {
          redefine();
        }
      }
      case 23 -> purgeByKeep();
      case 24 -> {
        if (random.nextInt(3) == 0) {
          forget();
        }
      }
      case 20 -> {
        // A rollup that is made later does not know what is gone.
        if (installed.size() < ROLLUPS.size()
            && "0".equals(test.value("select count(*) from gone"))) {
          install(ROLLUPS.get(installed.size()));
        }
      }
      case 21 -> alterPartitions();
      case 0, 1, 2, 3 -> refresh(any());
      case 4 -> backfill(any());
      case 5 -> check();
      case 6 -> {
        if (random.nextInt(3) == 0) {
          now = now.plus(random.nextInt(40), ChronoUnit.HOURS);
          changes.setClock(now);
          note("clock " + now);
        }
      }
      case 7 -> verify();
      default -> session();
    }
  }

  /** Partitions come and go, as others make and purge them. */
  private void alterPartitions() {
    if (!isByTime || isAppended) {
      return;
    }
    switch (random.nextInt(3)) {
      case 0 -> attach();
      case 1 -> purge();
      default -> {
        if (partitions.getFirst()[0].equals("events_a")) {
          return;
        }
        // Late rows may come for a range that was purged.
        String to = partitions.getFirst()[1];
        String name = "events_late_" + operations;
        if (tryRun(
            "create table "
                + name
                + " partition of events for values from (minvalue) to ("
                + to
                + ")")) {
          partitions.addFirst(new String[] {name, "minvalue", to});
        }
      }
    }
  }

  private void attach() {
    if (partitions.stream().anyMatch(partition -> partition[0].equals("events_hole"))
        || !partitions.getFirst()[0].equals("events_a")) {
      return;
    }
    String rows =
        changes
            .insert(1 + random.nextInt(20))
            .replace("insert into events", "insert into events_hole");
    tryRun(
        "create table events_hole (like events); "
            + rows
            + "; update events_hole set ts = '2026-06-10'::timestamptz + id * interval '1 minute';"
            + " alter table events attach partition events_hole for values from ('2026-06-10') to ('2026-06-12')");
    if (test.value("select to_regclass('events_hole')") != null) {
      partitions.add(2, new String[] {"events_hole", "'2026-06-10'", "'2026-06-12'"});
    }
  }

  /** Drops or detaches the oldest partition, once every rollup has counted it. */
  private void purge() {
    if (partitions.size() < 3) {
      return;
    }
    for (String rollup : installed) {
      if (!"t".equals(test.value("select isempty(tallyroll.uncovered('" + rollup + "'))"))) {
        return;
      }
      try (Refresher refresher = new Refresher(calm, clock)) {
        // Twice, since the first may find a partition to complete.
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    String[] oldest = partitions.getFirst();
    boolean isPurged =
        tryRun(
            "insert into gone select * from "
                + oldest[0]
                + "; "
                + (random.nextBoolean()
                    ? "drop table " + oldest[0]
                    : "alter table events detach partition " + oldest[0]));
    if (isPurged) {
      seal(partitions.removeFirst());
    }
  }

  private void seal(String[] partition) {
    changes.seal(Instant.parse(partition[2].substring(1, 11) + "T00:00:00Z"));
  }

  /** Runs statements in one transaction, or not at all if a lock is in the way. */
  private boolean tryRun(String sql) {
    note(sql);
    try {
      test.run("set lock_timeout = '100ms'; begin; " + sql + "; commit");
      return true;
    } catch (IllegalStateException e) {
      note("  fails: " + e.getMessage());
      if (String.valueOf(e.getMessage()).contains("lock timeout")) {
        return false;
      }
      throw e;
    }
  }

  private void session(String sql) {
    note(sql);
    try {
      test.run(sql);
    } catch (IllegalStateException e) {
      // There may be no partition for a row.
      note("  fails: " + e.getMessage());
    }
  }

  /** One step of one session. */
  private void session() throws SQLException {
    int at = random.nextInt(SESSIONS);
    Connection session = sessions.get(at);
    if (session == null || session.isClosed()) {
      session = test.connect();
      session.setAutoCommit(false);
      Sql.run(session, "set lock_timeout = '30ms'");
      session.commit();
      if (random.nextInt(4) == 0) {
        session.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      }
      sessions.set(at, session);
    }
    operations++;
    try {
      switch (random.nextInt(14)) {
        case 0, 1, 2 -> {
          session.commit();
          note("session " + at + " commits");
        }
        case 3 -> {
          session.rollback();
          note("session " + at + " rolls back");
        }
        case 4 -> {
          Sql.run(session, "savepoint a");
          Sql.run(session, changes.next());
          Sql.run(session, random.nextBoolean() ? "rollback to a" : "release a");
          note("session " + at + " savepoint");
        }
        case 5 -> {
          if (random.nextInt(12) == 0) {
            // Rows behind a seal cannot be taken out of a rollup any more.
            Sql.run(
                session,
                isAppended
                    ? "select 1"
                    : "insert into gone select * from events where ts < '"
                        + changes.sealed()
                        + "'; truncate events");
            session.commit();
            note("session " + at + " truncates");
          }
        }
        case 6 -> {
          if (random.nextInt(6) == 0) {
            vanish(session);
            note("session " + at + " is gone");
          }
        }
        default -> {
          String sql = changes.next();
          Sql.run(session, sql);
          note("session " + at + ": " + sql);
          if (random.nextInt(3) == 0) {
            session.commit();
            note("session " + at + " commits");
          }
        }
      }
    } catch (SQLException e) {
      // A lock, a serialization failure, a duplicate key: the application's everyday.
      note("session " + at + " fails: " + e.getMessage());
      if (!List.of(
              "55P03", "40001", "40P01", "23505", "23514", "25P02", "21000", "0B000", "3B001",
              "23001", "42P01")
          .contains(String.valueOf(e.getSQLState()))) {
        throw e;
      }
      session.rollback();
    }
  }

  /** Is called before every statement of the engine. */
  private void between(Connection connection, String what) throws SQLException {
    if (isInside) {
      return;
    }
    isInside = true;
    try {
      if (what.contains("pg_export_snapshot")) {
        isReading = true;
      } else if (what.equals("commit")) {
        isReading = false;
      } else if (isReading && !isQuiet && random.nextInt(40) == 0) {
        purgeMeanwhile();
      }
      if (isFaulty && random.nextDouble() < faulting) {
        breakConnection(connection, what);
      }
      while (random.nextDouble() < interleaving) {
        switch (random.nextInt(10)) {
          case 0 -> check();
          case 1 -> nestedRefresh();
          default -> {
            note("  before " + shortened(what));
            if (isQuiet) {
              wholeTransaction();
            } else {
              session();
            }
          }
        }
      }
    } finally {
      isInside = false;
    }
  }

  /**
   * Somebody purges while a refresh reads, without having waited for it. The refresh's lock must
   * keep that off until it is done, or it would compute buckets anew from rows that are gone.
   */
  private void purgeMeanwhile() {
    if (isByTime && !isAppended && installed.size() == 1 && partitions.size() > 2) {
      String oldest = partitions.getFirst()[0];
      if (tryRun("insert into gone select * from " + oldest + "; drop table " + oldest)) {
        seal(partitions.removeFirst());
      }
    }
  }

  private static String shortened(String sql) {
    String line = sql.replaceAll("\\s+", " ").strip();
    return line.length() > 90 ? line.substring(0, 90) + "..." : line;
  }

  private void breakConnection(Connection connection, String what) throws SQLException {
    faults++;
    note("  fault before " + shortened(what));
    switch (random.nextInt(3)) {
      case 0 -> terminate(backend(connection));
      case 1 -> {
        vanish(connection);
        throw new Killed();
      }
      default -> throw new SQLException("canceling statement due to statement timeout", "57014");
    }
  }

  private static int backend(Connection connection) throws SQLException {
    return connection.unwrap(PGConnection.class).getBackendPID();
  }

  /** Ends a backend, and waits until it holds nothing any more. */
  private void terminate(int backend) {
    test.run(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid = "
            + backend);
  }

  /** What the death of a process leaves of a connection, once the server has noticed. */
  private void vanish(Connection connection) throws SQLException {
    int backend = backend(connection);
    connection.abort(Runnable::run);
    terminate(backend);
  }

  private void nestedRefresh() {
    String rollup = any();
    note("  another process refreshes " + rollup);
    try (Refresher refresher = new Refresher(calm, clock)) {
      refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
      refreshes++;
    } catch (TallyrollException e) {
      // A lock that the outer engine holds may be in its way.
      note("  which fails: " + e.getMessage());
      if (!String.valueOf(e.getMessage()).matches(".*(55P03|40001|40P01).*")) {
        throw e;
      }
    }
  }

  /** Runs the engine disturbed; only what the machine has broken may fail. */
  private void disturbed(String what, Runnable work) {
    note(what);
    operations++;
    int before = faults;
    isFaulty = true;
    try {
      work.run();
    } catch (Killed e) {
      note(what + ": killed");
    } catch (TallyrollException e) {
      note(what + " fails: " + e.getMessage());
      if (faults == before
          && !String.valueOf(e.getMessage()).matches("(?s).*(55P03|40001|40P01).*")) {
        throw e;
      }
    } finally {
      isFaulty = false;
      isInside = false;
      isReading = false;
    }
  }

  private void refresh(String rollup) {
    refreshes++;
    disturbed(
        "refresh " + rollup,
        () -> {
          try (Refresher refresher = new Refresher(disturbed, clock, rows -> {}, limits)) {
            refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
          }
        });
  }

  private void backfill(String rollup) {
    BackfillRequest request =
        random.nextBoolean()
            ? BackfillRequest.all(rollup)
            : new BackfillRequest(
                rollup,
                START
                    .minus(random.nextInt(12), ChronoUnit.DAYS)
                    .atZone(ZoneOffset.UTC)
                    .toLocalDate(),
                null,
                1,
                0);
    disturbed(
        "backfill " + rollup,
        () -> {
          try {
            new Backfill(disturbed, clock, limits.heapBytes())
                .run(request, new Backfill.Progress() {});
          } catch (Killed e) {
            note("killed");
          }
        });
  }

  private void verify() {
    String rollup = any();
    disturbed(
        "verify " + rollup,
        () ->
            exact(
                rollup,
                new Verifier(disturbed, clock)
                    .verify(VerifyRequest.all(rollup), new Verifier.Progress() {})));
  }

  private void exact(String rollup, VerifyReport report) {
    if (!report.isExact()) {
      throw new AssertionError("verify of " + rollup + ": " + report.mismatches());
    }
  }

  /** What a reader sees now, held against the rows that it could see. */
  private void check() {
    String rollup = any();
    reads++;
    note("  reader looks at " + rollup);
    compareQuery(rollup, false);
    // A view is locked while a definition changes, and we are the only thread.
    if (random.nextInt(3) == 0 && !isQuiet) {
      compareView(rollup, rollup.equals("sums") ? "1h" : "1d");
    }
  }

  private static QueryRequest request(String rollup) {
    QueryRequest request = QueryRequest.of(rollup).range("2026-05-01", "2026-09-01");
    return switch (rollup) {
      case "whole" ->
          request
              .measuring(
                  "requests",
                  "errors",
                  "tokens",
                  "inverse",
                  "cost",
                  "least",
                  "last_word",
                  "count(duration)",
                  "min(duration)",
                  "max(duration)",
                  "users",
                  "last_error",
                  "last_id")
              .by("project");
      case "sums" -> request.measuring("tokens", "parts", "last_id").by("project", "failed");
      default -> request.measuring("requests", "users", "words", "parts", "ids");
    };
  }

  private static String oracle(String rollup) {
    String day = "to_char(ts at time zone 'UTC', 'YYYY-MM-DD\"T00:00:00+00:00\"') as d";
    String finite = " filter (where cost <> 'NaN')";
    return switch (rollup) {
      case "whole" ->
          "select tenant_id, "
              + day
              + ", project, count(*), count(*) filter (where status = 'error'), sum(tokens), sum(1000 / (tokens - 7)), sum(cost)"
              + finite
              + ", min(cost)"
              + finite
              + ", max(msg collate \"C\"), count(duration_ms), min(duration_ms), max(duration_ms), count(distinct user_id),"
              + " (array_agg(msg order by ts desc, msg collate \"C\" desc) filter (where status = 'error' and msg is not null))[1], max(id) from "
              + COUNTED
              + " group by 1, 2, 3 order by 1, 2, 3 nulls last";
      case "sums" ->
          "select tenant_id, "
              + day
              + ", project, status = 'error', sum(tokens), sum(1000 / (tokens - 7)), max(id) from "
              + COUNTED
              + " group by 1, 2, 3, 4 order by 1, 2, 3 nulls last, 4 nulls last";
      default ->
          "select tenant_id, "
              + day
              + ", count(*), count(distinct user_id), min(msg collate \"C\"), sum(1000 / (tokens - 7)), sum(id) from "
              + COUNTED
              + " group by 1, 2 order by 1, 2";
    };
  }

  private void compareQuery(String rollup, boolean must) {
    QueryResult answer;
    try {
      answer = new QueryEngine(calm, clock).run(request(rollup));
    } catch (TallyrollException e) {
      if (!must
          && (e.code() == ErrorCode.NOT_COVERED
              || String.valueOf(e.getMessage()).contains("55P03"))) {
        return;
      }
      throw e;
    }
    if (answer.incomplete().isPresent()) {
      if (must) {
        throw new AssertionError(rollup + " is incomplete: " + answer.incomplete().get());
      }
      return;
    }
    compare("query of " + rollup, Oracle.rows(answer), Oracle.rows(test, oracle(rollup)));
  }

  private void compare(
      String what, List<List<@Nullable String>> actual, List<List<@Nullable String>> expected) {
    if (actual.equals(expected)) {
      return;
    }
    List<List<@Nullable String>> wrong = new ArrayList<>(actual);
    wrong.removeAll(expected);
    List<List<@Nullable String>> missing = new ArrayList<>(expected);
    missing.removeAll(actual);
    throw new AssertionError(
        what
            + " is wrong: has "
            + wrong.subList(0, Math.min(3, wrong.size()))
            + ", should have "
            + missing.subList(0, Math.min(3, missing.size())));
  }

  /** The fresh view and the oracle in one statement, so in one snapshot. */
  private void compareView(String rollup, String grain) {
    if (!"t".equals(test.value("select isempty(tallyroll.uncovered('" + rollup + "'))"))) {
      return;
    }
    String view = "tallyroll." + rollup + "_" + grain + "_fresh";
    String sums =
        switch (rollup) {
          case "whole" ->
              "sum(requests), sum(tokens), sum(cost), min(least), max(last_word), max(last_id)";
          case "sums" ->
              "null::bigint, sum(tokens), null::bigint, null::bigint, null::text, max(last_id)";
          default ->
              "sum(requests), null::bigint, null::bigint, null::bigint, min(words), sum(ids)";
        };
    String truth =
        switch (rollup) {
          case "whole" ->
              "count(*), sum(tokens), sum(cost) filter (where cost <> 'NaN'), min(cost) filter (where cost <> 'NaN'), max(msg collate \"C\"), max(id)";
          case "sums" ->
              "null::bigint, sum(tokens), null::bigint, null::bigint, null::text, max(id)";
          default ->
              "count(*), null::bigint, null::bigint, null::bigint, min(msg collate \"C\"), sum(id)";
        };
    List<List<@Nullable String>> rows;
    try {
      rows =
          Oracle.rows(
              test,
              "select 'view', tenant, bool_and(complete), "
                  + sums
                  + " from "
                  + view
                  + " group by tenant union all select 'true', tenant_id, true, "
                  + truth
                  + " from "
                  + COUNTED
                  + " group by tenant_id");
    } catch (IllegalStateException e) {
      if (String.valueOf(e.getMessage()).contains("division by zero")
          || String.valueOf(e.getMessage()).contains("lock timeout")) {
        return;
      }
      throw e;
    }
    if (rows.stream().anyMatch(row -> "false".equals(row.get(2)))) {
      return;
    }
    compare(
        view,
        rows.stream()
            .filter(row -> "view".equals(row.getFirst()))
            .map(History::values)
            .sorted(History::byTenant)
            .toList(),
        rows.stream()
            .filter(row -> "true".equals(row.getFirst()))
            .map(History::values)
            .sorted(History::byTenant)
            .toList());
  }

  private static List<@Nullable String> values(List<@Nullable String> row) {
    return row.subList(1, row.size());
  }

  private static int byTenant(List<@Nullable String> left, List<@Nullable String> right) {
    return String.valueOf(left.getFirst()).compareTo(String.valueOf(right.getFirst()));
  }

  /** Ends all sessions, lets the engine run undisturbed, and checks everything. */
  private void end() throws SQLException {
    for (Connection session : sessions) {
      if (session != null && !session.isClosed()) {
        if (random.nextBoolean()) {
          session.commit();
        }
        session.close();
      }
    }
    note("the end");
    for (String rollup : installed) {
      if (!variants.containsKey(rollup)) {
        continue;
      }
      // A change of its definition that was cut short is gone on with.
      new Installer(calm, clock)
          .apply(DefinitionReader.read("history.yaml", definition(rollup)), true);
      new Redefinition(calm, clock).finish(rollup, 1, 0, new Backfill.Progress() {});
    }
    for (String rollup : installed) {
      compareViews(rollup);
      new Backfill(calm, clock).run(BackfillRequest.all(rollup), new Backfill.Progress() {});
      exact(
          rollup,
          new Verifier(calm, clock).verify(VerifyRequest.all(rollup), new Verifier.Progress() {}));
      try (Refresher refresher = new Refresher(calm, clock)) {
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
      exact(
          rollup,
          new Verifier(calm, clock).verify(VerifyRequest.all(rollup), new Verifier.Progress() {}));
      compareQuery(rollup, true);
      compareViews(rollup);
    }
    nothingIsLeft();
  }

  private void compareViews(String rollup) {
    // Finer grains do not keep all that the source has.
    compareView(rollup, rollup.equals("sums") ? "1h" : "1d");
  }

  private void nothingIsLeft() {
    String beside =
        test.value(
            "select string_agg(name, ', ') from (select name from tallyroll.rollup where name like '%~' union all select relname from pg_class where relname like '%~%' and relpersistence <> 't') n");
    if (beside != null) {
      throw new AssertionError("left of a change: " + beside);
    }
    String locks =
        test.value(
            "select string_agg(l.mode || ' on ' || l.relation::regclass, ', ') from pg_locks l join pg_stat_activity a on a.pid = l.pid"
                + " where a.datname = current_database() and a.application_name like 'tallyroll %' and l.relation is not null");
    if (locks != null) {
      throw new AssertionError("locks are left: " + locks);
    }
    String poison =
        test.value(
            "select string_agg(rollup || ' has ' || q || ' in quarantine, the source ' || n, ', ') from ("
                + "select r.name as rollup, (select count(*) from tallyroll.quarantine q where q.rollup = r.name) as q,"
                + " (select count(*) from (select ts, tokens from events union all select ts, tokens from gone) e where not (ts < '2900-01-01' and tokens is distinct from 7)) as n from tallyroll.rollup r) c where q <> n");
    if (poison != null) {
      throw new AssertionError(poison);
    }
  }

  @Override
  public void close() {
    for (Connection session : sessions) {
      try {
        if (session != null) {
          session.close();
        }
      } catch (SQLException ignored) {
        // The database is dropped next, and its sessions with it.
      }
    }
    test.close();
  }
}
