package dev.tallyroll.testkit.history;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Keep;
import dev.tallyroll.model.time.Grain;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Redefinition;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.registry.KeepTime;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.postgres.session.Database;
import dev.tallyroll.postgres.session.Sql;
import dev.tallyroll.postgres.verify.Mismatch;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.testkit.Oracle;
import dev.tallyroll.testkit.TestDatabase;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import org.jspecify.annotations.Nullable;
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

  /** After so many the engine is disturbed no more, so that no history takes minutes. */
  private static final int MOST_OPERATIONS = 400;

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

  /** What the engine may say when a lock is in its way, or nobody waits for it. */
  private static boolean isPassing(TallyrollException fault) {
    return String.valueOf(fault.getMessage()).matches("(?s).*(55P03|40001|40P01|interrupted).*");
  }

  private final Random random;
  private final TestDatabase test;
  private final Truth truth;
  private final Breakage breakage;
  private final Leftovers leftovers;
  private @Nullable Connection looking;
  private final List<@Nullable Connection> sessions = new ArrayList<>();
  private final Deque<Connection> idle = new ArrayDeque<>();
  private final Changes changes;
  private final Layout layout;
  private final Definitions definitions;
  private final List<String> log = new ArrayList<>();
  private final Database calm;
  private final Database disturbed;
  private Instant now = START;

  /** How far the engine's clock is behind that of the application. */
  private Duration behind = Duration.ZERO;

  private final InstantSource clock = () -> now.minus(behind);
  private double interleaving;
  private final double faulting;
  private final boolean isAppended;
  private final Refresher.Limits limits;
  private final List<String> installed = new ArrayList<>();
  private boolean isInside;
  private boolean isQuiet;

  /** Whether somebody drops the oldest partition while the engine reads it. */
  private boolean isPurging;

  /** Whether a tenant is being forgotten of whom the truth still has rows that were purged. */
  private boolean isForgetting;

  private boolean isReading;
  private boolean isFaulty;

  /** What another process does before the engine gets a lock, for which it would have waited. */
  private @Nullable Runnable meanwhile;

  /** How many locks the engine gets before that one. */
  private int locksBefore;

  private int operations;
  private int faults;
  private int refreshes;

  private History(long seed) {
    this.random = new Random(seed * 0x9E3779B97F4A7C15L);
    this.test =
        random.nextInt(8) == 0
            ? TestDatabase.createToCrash().orElseGet(TestDatabase::create)
            : TestDatabase.create();
    this.interleaving = random.nextInt(4) == 0 ? 0 : random.nextDouble() * 0.3;
    this.faulting =
        test.canCrash() || random.nextInt(3) == 0 ? 0.002 + random.nextDouble() * 0.02 : 0;
    // One thread does all, so nobody may wait for long: who holds the lock would never go on.
    PGSimpleDataSource impatient = test.newSource();
    impatient.setOptions("-c lock_timeout=" + Interposer.PATIENCE);
    this.calm = new Database(new Interposer(impatient, idle, (connection, what) -> {}));
    this.disturbed = new Database(new Interposer(impatient, idle, this::between));
    boolean isLocal = random.nextInt(4) == 0;
    this.truth = new Truth(this::looking, calm, clock, isLocal);
    this.breakage =
        new Breakage(
            random,
            test,
            line -> {
              note(line);
              if (line.endsWith("SERVER_KILLED")) {
                loseConnections();
              }
            });
    this.isAppended = random.nextInt(4) == 0;
    boolean hasKey = !isAppended && random.nextInt(3) == 0;
    this.changes = new Changes(random, now, hasKey, isAppended, isLocal);
    this.limits =
        new Refresher.Limits(
            random.nextInt(3) == 0 ? 20_000 : Long.MAX_VALUE,
            random.nextBoolean() ? 8_192 : 1 << 24);
    for (int i = 0; i < SESSIONS; i++) {
      sessions.add(null);
    }
    this.definitions = new Definitions(isAppended, isLocal);
    this.layout = new Layout(random, test, changes, hasKey, this::note);
    this.leftovers = new Leftovers(test);
  }

  /** A connection to look with. */
  private Connection looking() {
    try {
      if (looking == null) {
        looking = test.connect();
      }
      return looking;
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }

  private @Nullable String value(String sql) {
    return Oracle.rows(looking(), sql).stream().findFirst().map(List::getFirst).orElse(null);
  }

  private void loseConnections() {
    try {
      for (int i = 0; i < SESSIONS; i++) {
        close(sessions.get(i));
        sessions.set(i, null);
      }
      close(looking);
      looking = null;
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void close(@Nullable Connection connection) throws SQLException {
    if (connection != null) {
      connection.abort(Runnable::run);
    }
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
        return new Summary(
            history.operations, history.faults, history.truth.compared(), history.refreshes);
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

  private void note(String what) {
    log.add(what.length() > 300 ? what.substring(0, 300) + "..." : what);
  }

  private void live() throws SQLException {
    for (int i = random.nextInt(12); i > 0; i--) {
      session(changes.insert(1 + random.nextInt(30)));
    }
    install(Definitions.ROLLUPS.getFirst());
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
    new Installer(calm, clock).apply(definitions.read(rollup));
    installed.add(rollup);
    if (random.nextBoolean()) {
      backfill(rollup);
    } else if (random.nextInt(3) == 0) {
      overtake(() -> fill(rollup));
      forget(disturbed);
    }
  }

  /**
   * Gives a rollup another definition, under a disturbed engine or only in part; the next time it
   * goes on, or back. What is asked of the rollup stays the same.
   */
  private void redefine() throws SQLException {
    String rollup = any();
    if (layout.hasTenantLeft()) {
      isRefused(rollup);
      return;
    }
    if (random.nextInt(4) > 0) {
      definitions.change(rollup, random);
    }
    endSessions();
    boolean isFinished = random.nextInt(4) > 0;
    isQuiet = true;
    try {
      disturbed(
          "redefine "
              + rollup
              + " "
              + definitions.variant(rollup)
              + (isFinished ? "" : ", not to the end"),
          () -> redefine(disturbed, rollup, isFinished));
    } finally {
      isQuiet = false;
    }
  }

  /** What needs the rows of who has left is refused; what was counted of them stays. */
  private void isRefused(String rollup) throws SQLException {
    endSessions();
    if (value("select 1 from gone where ts < '2900-01-01' and tokens is distinct from 7 limit 1")
        == null) {
      return;
    }
    note("redefine " + rollup + " without the rows of a tenant");
    boolean isRefused = false;
    try {
      new Installer(calm, clock).apply(definitions.readWithMore(rollup), true);
      new Redefinition(calm, clock).finish(rollup, 1, 0, new Backfill.Progress() {});
    } catch (TallyrollException e) {
      if (isPassing(e)) {
        return;
      }
      isRefused = String.valueOf(e.getMessage()).contains("--accept-loss");
      if (!isRefused) {
        throw e;
      }
    } finally {
      if (value("select 1 from tallyroll.rollup where name = '" + Registry.beside(rollup) + "'")
          != null) {
        new Installer(calm, clock).drop(Registry.beside(rollup));
      }
    }
    if (!isRefused) {
      throw new AssertionError("a new definition of " + rollup + " lost the rows of a tenant");
    }
  }

  private void redefine(Database database, String rollup, boolean isFinished) {
    for (int attempt = 1; ; attempt++) {
      try {
        new Installer(database, clock).apply(definitions.read(rollup), true);
        if (isFinished) {
          new Redefinition(database, clock).finish(rollup, 1, 0, new Backfill.Progress() {});
        }
        return;
      } catch (TallyrollException e) {
        if (attempt == 2 || !String.valueOf(e.getMessage()).contains("give that up")) {
          throw e;
        }
        note("  which is given up: " + e.getMessage());
        new Installer(database, clock).drop(Registry.beside(rollup));
      }
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
    if (definitions.hasKeep(rollup)) {
      purgeByKeep(calm, rollup);
    }
  }

  private void purgeByKeep(Database database, String rollup) throws SQLException {
    endSessions();
    test.run(
        "drop table if exists purged; create table purged as select tableoid as t, ctid as c, e.* from events e");
    isQuiet = true;
    try {
      disturbed("purge by the keep of " + rollup, () -> purge(database, rollup));
    } finally {
      isQuiet = false;
    }
    test.run(
        "insert into gone select id, tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg from purged p"
            + " where not exists (select from events e where e.tableoid = p.t and e.ctid = p.c); drop table purged");
    layout.look();
    readSeals();
  }

  private void purge(Database database, String rollup) {
    try {
      new Purge(database, clock).run(rollup);
    } catch (TallyrollException e) {
      if (e.code() != ErrorCode.REFUSED) {
        throw e;
      }
      note("  is refused: " + e.getMessage());
    }
  }

  /** What lies behind a seal is not changed any more. */
  private void readSeals() {
    String sealed = value("select (max(range_to) at time zone 'UTC')::text from tallyroll.seal");
    if (sealed != null) {
      changes.seal(Instant.parse(sealed.replace(' ', 'T') + "Z"));
    }
  }

  /** A purge by others, who have a range sealed first and delete from it then, or later. */
  private void purgeBehindSeal() throws SQLException {
    Instant before = now.minus(5 + random.nextInt(4), ChronoUnit.DAYS).truncatedTo(ChronoUnit.DAYS);
    Instant sealed = changes.sealed();
    if (isAppended || !before.isAfter(sealed)) {
      return;
    }
    String rollup = any();
    endSessions();
    // Nobody is to change what is sealed while that is done.
    changes.seal(before);
    isQuiet = true;
    try {
      disturbed(
          "seal " + rollup + " before " + before,
          () -> {
            try {
              new Seals(disturbed, clock)
                  .seal(rollup, before, List.of(String.valueOf(value("select current_user"))));
            } catch (TallyrollException e) {
              if (e.code() != ErrorCode.REFUSED) {
                throw e;
              }
              note("  is refused: " + e.getMessage());
            }
          });
    } finally {
      isQuiet = false;
      changes.seal(sealed);
    }
    readSeals();
    if (changes.sealed().equals(before) && random.nextInt(3) > 0) {
      String old = "events where ts < '" + before + "'";
      layout.tryRun("insert into gone select * from " + old + "; delete from " + old);
    }
  }

  /**
   * Another process gets one of the engine's next locks first, and does all that it has to do: the
   * engine has waited for it then, and must see what it has done.
   */
  private void overtake(Runnable work) {
    meanwhile = work;
    locksBefore = random.nextInt(installed.size() + 3);
  }

  /** The engine, overtaken by others. */
  private void overtaken() throws SQLException {
    String rollup = any();
    switch (random.nextInt(5)) {
      case 0 -> {
        overtake(() -> fill(any()));
        forget(disturbed);
      }
      case 1 -> {
        if (!definitions.hasKeep(rollup)) {
          definitions.keep(rollup);
          endSessions();
          redefine(calm, rollup, true);
        }
        overtake(this::insertOld);
        // Nobody else is to change what goes, or it would be unknown what was counted.
        double usual = interleaving;
        interleaving = 0;
        purgeByKeep(disturbed, rollup);
        interleaving = usual;
      }
      case 2 -> {
        endSessions();
        overtake(this::forgetMeanwhile);
        backfill(rollup);
      }
      case 3 -> {
        endSessions();
        overtake(this::forgetMeanwhile);
        refresh(rollup);
      }
      default -> {
        overtake(random.nextBoolean() ? () -> fill(rollup) : () -> refreshMeanwhile(rollup));
        if (random.nextBoolean()) {
          backfill(rollup);
        } else {
          refresh(rollup);
        }
      }
    }
    check();
  }

  /** Rows that a purge is about to take come late. */
  private void insertOld() {
    String sql =
        changes
            .insert(1 + random.nextInt(4))
            .replaceAll(
                "'t(\\d)', '[^']*'",
                "'t$1', '" + now.minus(200 + random.nextInt(80), ChronoUnit.HOURS) + "'");
    note("  a session, whole: " + sql);
    try {
      test.run("set lock_timeout = '30ms'; " + sql);
      operations++;
    } catch (IllegalStateException e) {
      note("  fails: " + e.getMessage());
    }
    test.run(
        "insert into purged select tableoid, ctid, e.* from events e where not exists (select from purged p where p.t = e.tableoid and p.c = e.ctid)");
  }

  private void forgetMeanwhile() {
    meanwhile(
        "forgets",
        () -> {
          try {
            forget(calm);
          } catch (SQLException e) {
            throw new IllegalStateException(e);
          }
        });
  }

  private void forget() throws SQLException {
    forget(random.nextBoolean() ? calm : disturbed);
  }

  private void forget(Database database) throws SQLException {
    endSessions();
    String tenant = "t" + random.nextInt(3);
    boolean isWhole =
        random.nextBoolean()
            || layout.hasTenantLeft()
            || !"0".equals(value("select count(*) from tallyroll.seal"));
    String before = value("select count(*) from tallyroll.erasure");
    String what = "forget " + tenant + (isWhole ? "" : ", a project");
    Runnable work =
        () -> {
          Forget.Forgotten forgotten =
              new Forget(database, clock)
                  .run(new Forget.Request(null, tenant, isWhole ? null : "project = 'p1'"));
          if (database == calm && forgotten.left() != 0) {
            throw new AssertionError("not forgotten: " + forgotten);
          }
        };
    boolean wasQuiet = isQuiet;
    isQuiet = true;
    isForgetting =
        isWhole && value("select 1 from gone where tenant_id = '" + tenant + "' limit 1") != null;
    try {
      if (isInside) {
        note("  " + what);
        work.run();
      } else {
        disturbed(what, work);
      }
    } catch (TallyrollException e) {
      note("  which fails: " + e.getMessage());
      if (!isPassing(e) && !String.valueOf(e.getMessage()).contains("up to date")) {
        throw e;
      }
    } finally {
      isQuiet = wasQuiet;
      isForgetting = false;
    }
    if (isWhole && !Objects.equals(before, value("select count(*) from tallyroll.erasure"))) {
      Sql.run(looking(), "delete from gone where tenant_id = '" + tenant + "'");
    }
  }

  /** A whole transaction of a session, which gives way to locks. */
  private void wholeTransaction() {
    String sql = changes.next();
    note("  a session, whole: " + sql);
    try {
      if (sql.startsWith("copy")) {
        try (Connection session = test.connect()) {
          Sql.run(session, "set lock_timeout = '30ms'");
          Changes.run(session, sql);
        }
      } else {
        test.run("set lock_timeout = '30ms'; " + sql);
      }
      operations++;
    } catch (SQLException | IllegalStateException e) {
      note("  fails: " + e.getMessage());
    }
  }

  private String any() {
    return installed.get(random.nextInt(installed.size()));
  }

  private void step() throws SQLException {
    switch (random.nextInt(34)) {
      case 31, 32 -> overtaken();
      case 33 -> {
        if (random.nextInt(3) == 0) {
          purgeBehindSeal();
        }
      }
      case 25, 26 -> purgeInTheMiddle();
      case 27 -> {
        if (random.nextInt(3) == 0) {
          purgeInDoubt();
        }
      }
      case 28 -> repair();
      case 29 -> clockIsWrong();
      case 30 -> {
        if (random.nextInt(6) == 0) {
          killProcess();
        }
      }
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
        if (installed.size() < Definitions.ROLLUPS.size()
            && "0".equals(value("select count(*) from gone"))) {
          install(Definitions.ROLLUPS.get(installed.size()));
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

  /** A tenant's table goes, once every rollup has counted it; no seal tells of that. */
  private void leaveTenant() throws SQLException {
    if (layout.hasTenantTable()
        && "0".equals(value("select count(*) from tallyroll.seal"))
        && installed.stream().noneMatch(definitions::isChanged)) {
      endSessions();
      if (isAllMerged()) {
        // What an append table was given stays with a part of it that is detached.
        layout.leaveTenant(!isAppended);
      }
    }
  }

  /** Partitions come and go, as others make and purge them. */
  private void alterPartitions() throws SQLException {
    leaveTenant();
    if (!layout.isByTime() || isAppended) {
      return;
    }
    switch (random.nextInt(3)) {
      case 0 -> layout.attach();
      case 1 -> purge();
      default -> layout.refill(operations);
    }
  }

  /** Drops or detaches the oldest partition, once every rollup has counted it. */
  private void purge() {
    if (layout.hasOld() && isAllMerged()) {
      layout.purgeOldest(
          "", random.nextBoolean() ? "drop table %s" : "alter table events detach partition %s");
    }
  }

  /** Whether every rollup has counted all that is there, for which it is refreshed. */
  private boolean isAllMerged() {
    for (String rollup : installed) {
      if (!truth.isCovered(rollup)) {
        return false;
      }
      try (Refresher refresher = new Refresher(calm, clock)) {
        // Twice, since the first may find a partition to complete.
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    return true;
  }

  /** Whether the oldest partition can be purged: it holds what every rollup has counted. */
  private boolean isPurgeable() {
    return layout.isByTime()
        && !isAppended
        && layout.isOldestOpen()
        && value("select 1 from tallyroll.rollup where name like '%~'") == null;
  }

  /**
   * Rows in the oldest partition, counted by every rollup, and then changed in ways that need it.
   */
  private void bringIntoDoubt() throws SQLException {
    String to = layout.oldest().to();
    String oldest = layout.oldest().name();
    endSessions();
    session(
        changes
            .insert(3 + random.nextInt(8))
            .replace("insert into events", "insert into " + oldest)
            .replaceAll(
                "'t(\\d)', '[^']*'",
                changes.typed(
                    "'t$1', "
                        + to
                        + "::timestamptz - interval '"
                        + (5 + random.nextInt(30))
                        + " hours'")));
    for (String rollup : installed) {
      new Backfill(calm, clock).run(BackfillRequest.all(rollup), new Backfill.Progress() {});
    }
    for (String rollup : installed) {
      try (Refresher refresher = new Refresher(calm, clock)) {
        // Twice, since the first may find a partition to complete.
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
        refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      }
    }
    String some = " where id % " + (2 + random.nextInt(2)) + " = 0";
    session(
        switch (random.nextInt(3)) {
          case 0 -> "delete from " + oldest + some;
          case 1 ->
              "update "
                  + oldest
                  + " set cost = null, msg = null, user_id = null, id = id + 1000000"
                  + some;
          default ->
              "update " + oldest + " set tenant_id = 't0', ts = ts - interval '1 minute'" + some;
        });
  }

  /** Somebody drops a partition that a refresh reads, since rows were taken out of it. */
  private void purgeInTheMiddle() throws SQLException {
    if (!isPurgeable()) {
      return;
    }
    bringIntoDoubt();
    isPurging = true;
    try {
      if (random.nextInt(4) == 0) {
        backfill(any());
      } else {
        refresh(any());
      }
    } finally {
      isPurging = false;
    }
    check();
  }

  /**
   * Somebody drops a partition before it was read what was taken out of it: from then on its counts
   * and sums are right, and what only its rows would tell is in quarantine.
   */
  private void purgeInDoubt() throws SQLException {
    if (!isPurgeable()) {
      return;
    }
    bringIntoDoubt();
    if (layout.purgeOldest("", "drop table %s")) {
      truth.doubt(Definitions.ROLLUPS);
      refresh(any());
      check();
    }
  }

  /** A repair finds nothing to do, since nothing was ever wrong. */
  private void repair() {
    String rollup = any();
    disturbed(
        "repair " + rollup,
        () -> {
          Verifier.Repaired repaired;
          try {
            repaired =
                new Verifier(disturbed, clock)
                    .repair(
                        VerifyRequest.all(rollup),
                        !layout.hasTenantLeft(),
                        new Verifier.Progress() {});
          } catch (TallyrollException e) {
            if (layout.hasTenantLeft() && e.code() == ErrorCode.REFUSED) {
              note("  is refused: " + e.getMessage());
              return;
            }
            throw e;
          }
          if (repaired.buckets() > 0) {
            throw new AssertionError("repair of " + rollup + " changed " + repaired);
          }
        });
  }

  /**
   * The engine's clock jumps ahead, with that of the server or without, or runs behind for a while.
   */
  private void clockIsWrong() {
    String rollup = any();
    if (random.nextInt(3) == 0) {
      bothClocksJump(rollup);
      return;
    }
    if (random.nextBoolean()) {
      behind = Duration.ofMinutes(random.nextInt(90));
      note("the engine's clock is behind by " + behind);
      return;
    }
    note("the engine's clock jumps ahead");
    String kept = "select string_agg(g::text, ';' order by g::text) from tallyroll.grain g";
    String before = value(kept);
    Duration ahead = Duration.ofMinutes(65 + random.nextInt(500_000));
    try (Refresher refresher = new Refresher(calm, () -> Instant.now().plus(ahead))) {
      refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
      throw new AssertionError("refreshed with a clock that is ahead by " + ahead);
    } catch (TallyrollException e) {
      if (!String.valueOf(e.getMessage()).contains("ahead of the database's") && !isPassing(e)) {
        throw e;
      }
    }
    if (!Objects.equals(before, value(kept))) {
      throw new AssertionError("a clock that is ahead changed what is kept: " + value(kept));
    }
    String rows = value("select count(*) from events");
    try {
      new Purge(calm, () -> Instant.now().plus(ahead)).run(rollup);
    } catch (TallyrollException e) {
      if (!String.valueOf(e.getMessage())
              .matches("(?s).*(nothing is purged|ahead of the database's).*")
          && !isPassing(e)) {
        throw e;
      }
    }
    if (!Objects.equals(rows, value("select count(*) from events"))) {
      throw new AssertionError("a clock that is ahead purged rows");
    }
  }

  /**
   * The engine's clock jumps, by no more than the server's is ahead of the history, as if both had:
   * all goes on, and nothing is dropped. No row lies so far ahead that it would count by then.
   */
  private void bothClocksJump(String rollup) {
    Duration ahead = KeepTime.MOST_STEP.plusHours(41 + random.nextInt(3_000));
    if (now.plus(ahead).isAfter(Instant.now())) {
      return;
    }
    note("both clocks jump ahead by " + ahead);
    String kept =
        "select string_agg(g.kept_from::text, ';' order by grain) from tallyroll.grain g where rollup = '"
            + rollup
            + "'";
    try (Refresher refresher = new Refresher(calm, clock)) {
      refresher.refresh(rollup, Refresher.WhenBusy.WAIT);
    } catch (TallyrollException e) {
      if (!isPassing(e)) {
        throw e;
      }
      return;
    }
    String before = value(kept);
    Instant right = now;
    now = now.plus(ahead);
    try {
      refresh(rollup);
      check();
      backfill(rollup);
      if (random.nextBoolean()) {
        verify();
      }
    } finally {
      now = right;
    }
    if (!Objects.equals(before, value(kept))) {
      throw new AssertionError("a jump of both clocks changed what is kept: " + value(kept));
    }
  }

  /** The engine in a process of its own, which is killed at some statement. */
  private void killProcess() {
    String rollup = any();
    String task = random.nextBoolean() ? "refresh" : "backfill";
    int statements = 1 + random.nextInt(60);
    note("another process: " + task + " of " + rollup + ", killed at statement " + statements);
    operations++;
    if (OtherProcess.run(test, task, rollup, clock.instant(), statements)) {
      faults++;
      note("  killed");
    }
    leftovers.awaitNoSession();
    check();
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
          Changes.run(session, changes.next());
          Sql.run(session, random.nextBoolean() ? "rollback to a" : "release a");
          note("session " + at + " savepoint");
        }
        case 5 -> {
          if (random.nextInt(12) == 0 && mayTruncate()) {
            // Rows behind a seal cannot be taken out of a rollup any more.
            Sql.run(session, isAppended ? "select 1" : layout.truncate());
            session.commit();
            note("session " + at + " truncates");
          }
        }
        case 6 -> {
          if (random.nextInt(6) == 0) {
            breakage.vanish(session);
            note("session " + at + " is gone");
          }
        }
        default -> {
          String sql = changes.next();
          Changes.run(session, sql);
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

  /** Rows behind a seal that a later rollup has not counted yet must not go. */
  private boolean mayTruncate() {
    return changes.sealed().equals(Instant.EPOCH) || installed.stream().allMatch(truth::isCovered);
  }

  /** Is called before every statement of the engine. */
  private void between(Connection connection, String what) throws SQLException {
    boolean isEnding = what.equals("commit") || what.equals("rollback") || what.equals("close");
    if (isInside) {
      return;
    }
    if (isEnding) {
      // Its locks go with it.
      isReading = false;
    }
    if (what.equals("rollback") || what.equals("close")) {
      return;
    }
    isInside = true;
    try {
      Runnable work = meanwhile;
      if (work != null && what.contains("exclusive mode") && locksBefore-- == 0) {
        meanwhile = null;
        note("  before " + shortened(what));
        work.run();
      }
      if (isPurging && isReading && random.nextBoolean()) {
        purgeMeanwhile();
      }
      if (what.contains("pg_export_snapshot") || what.contains("pg_current_snapshot()::text")) {
        isReading = true;
      }
      if (isFaulty && random.nextDouble() < faulting) {
        faults++;
        isReading = false;
        breakage.happens(connection, shortened(what));
      }
      while (operations < MOST_OPERATIONS && random.nextDouble() < interleaving) {
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
   * Somebody purges while the engine reads, without having waited for it. The engine's lock must
   * keep that off until it is done, or it would compute buckets anew from rows that are gone.
   */
  private void purgeMeanwhile() {
    if (layout.hasOld()) {
      layout.purgeOldest(
          "lock table only events, %s in access exclusive mode nowait; ", "drop table %s");
    }
  }

  private static String shortened(String sql) {
    String line = sql.replaceAll("\\s+", " ").strip();
    return line.length() > 90 ? line.substring(0, 90) + "..." : line;
  }

  private void nestedRefresh() {
    String rollup = any();
    if (random.nextInt(4) == 0) {
      fill(rollup);
    } else {
      refreshMeanwhile(rollup);
    }
  }

  private void fill(String rollup) {
    meanwhile(
        "fills " + rollup,
        () ->
            new Backfill(calm, clock).run(BackfillRequest.all(rollup), new Backfill.Progress() {}));
  }

  private void refreshMeanwhile(String rollup) {
    meanwhile(
        "refreshes " + rollup,
        () -> {
          try (Refresher refresher = new Refresher(calm, clock)) {
            refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
            refreshes++;
          }
        });
  }

  /** Another process works while the engine is between two statements. */
  private void meanwhile(String what, Runnable work) {
    note("  another process " + what);
    // What is in its way now stays there until it has given up: it is not to try again.
    Thread.currentThread().interrupt();
    try {
      work.run();
    } catch (TallyrollException e) {
      // A lock that the outer engine holds may be in its way.
      note("  which fails: " + e.getMessage());
      if (!isPassing(e) && !breakage.isDiskFull()) {
        throw e;
      }
    } finally {
      boolean isStillInterrupted = Thread.interrupted();
      note(isStillInterrupted ? "  done" : "  given up");
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
    } catch (Breakage.Killed e) {
      note(what + ": killed");
    } catch (TallyrollException e) {
      note(what + " fails: " + e.getMessage());
      if (faults == before && !isPassing(e)) {
        throw e;
      }
    } finally {
      isFaulty = false;
      isInside = false;
      isReading = false;
      meanwhile = null;
      breakage.ends();
    }
  }

  private void refresh(String rollup) {
    refreshes++;
    boolean isWatching = random.nextBoolean();
    @Nullable TallyrollException[] failure = new TallyrollException[1];
    disturbed(
        "refresh " + rollup,
        () -> {
          try (Refresher refresher = new Refresher(disturbed, clock, rows -> {}, limits)) {
            if (isWatching) {
              refresher.leavingOpen();
            }
            refresher.refresh(rollup, Refresher.WhenBusy.SKIP);
          } catch (TallyrollException e) {
            failure[0] = e;
            throw e;
          }
        });
    // Unless writing it down has failed too.
    if (failure[0] != null && failure[0].getSuppressed().length == 0) {
      truth.compareFailure(rollup, String.valueOf(failure[0].getMessage()));
    }
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
    // There are few of them, and the time between a slice's reading and its lock is short.
    double usual = interleaving;
    interleaving = random.nextInt(4) == 0 ? usual : 0.3;
    disturbed(
        "backfill " + rollup,
        () -> {
          try {
            new Backfill(disturbed, clock, limits.heapBytes())
                .run(request, new Backfill.Progress() {});
          } catch (Breakage.Killed e) {
            note("killed");
          }
        });
    interleaving = usual;
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
    List<Mismatch> wrong =
        report.mismatches().stream()
            .filter(mismatch ->
                !layout.hasTenantLeft()
                    || !mismatch.column().equals("(source missing)")
                    || !"t0".equals(mismatch.tenant()))
            .toList();
    if (!wrong.isEmpty() || (!report.isExact() && report.mismatches().isEmpty())) {
      throw new AssertionError("verify of " + rollup + ": " + wrong);
    }
  }

  /** What a reader sees now, held against the rows that it could see. */
  private void check() {
    String rollup = any();
    if (isForgetting) {
      return;
    }
    note("  reader looks at " + rollup);
    truth.compareQuery(rollup, false);
    // A view is locked while a definition changes, and we are the only thread.
    if (random.nextInt(3) == 0 && !isQuiet) {
      truth.compareView(rollup);
    }
    if (!isInside && random.nextInt(3) == 0) {
      truth.compareStatus(rollup, false);
    }
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
    behind = Duration.ZERO;
    for (String rollup : installed) {
      if (definitions.isChanged(rollup)) {
        // A change of its definition that was cut short is gone on with.
        redefine(calm, rollup, true);
      }
    }
    for (String rollup : installed) {
      truth.compareView(rollup);
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
      truth.compareQuery(rollup, true);
      truth.compareView(rollup);
    }
    for (String rollup : installed) {
      truth.compareStatus(rollup, true);
      nothingIsDroppedTooEarly(rollup);
    }
    leftovers.checkIdle();
    for (String rollup : installed) {
      new Installer(calm, clock).drop(rollup);
    }
    leftovers.checkDropped();
    leftovers.awaitNoSession();
  }

  /** A grain keeps at least what its definition says, whatever the clock said in between. */
  private void nothingIsDroppedTooEarly(String rollup) {
    if (definitions.isChanged(rollup)) {
      return;
    }
    for (Map.Entry<Grain, Keep> grain :
        definitions.read(rollup).getFirst().rollup().grains().entrySet()) {
      Instant oldest = now.minus(grain.getValue().days(), ChronoUnit.DAYS);
      String early =
          value(
              "select kept_from::text from tallyroll.grain where kept_from > '"
                  + oldest
                  + "' and rollup = '"
                  + rollup
                  + "' and grain = '"
                  + grain.getKey().label()
                  + "'");
      if (early != null) {
        throw new AssertionError(
            rollup + " keeps " + grain.getKey().label() + " only from " + early);
      }
    }
  }

  @Override
  public void close() {
    sessions.add(looking);
    sessions.addAll(idle);
    for (Connection session : sessions) {
      try {
        close(session);
      } catch (SQLException ignored) {
        // The database is dropped next, and its sessions with it.
      }
    }
    test.close();
  }
}
