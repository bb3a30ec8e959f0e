package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Definition;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.backfill.BackfillRequest;
import dev.tallyroll.postgres.feed.Feed;
import dev.tallyroll.postgres.forget.Forget;
import dev.tallyroll.postgres.install.Drop;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.install.Planner;
import dev.tallyroll.postgres.install.Reanchor;
import dev.tallyroll.postgres.install.Redefinition;
import dev.tallyroll.postgres.quarantine.Quarantine;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.RefreshOutcome;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.roles.Grant;
import dev.tallyroll.postgres.roles.Grants;
import dev.tallyroll.postgres.seal.Purge;
import dev.tallyroll.postgres.seal.Seals;
import dev.tallyroll.postgres.status.StatusReader;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Roles without any attribute but LOGIN, with exactly the grants that {@code plan --grants} prints.
 */
class RolesTest {
  private static final AtomicInteger COUNTER = new AtomicInteger();

  /** Row-level security of the source. */
  enum Rows {
    OPEN,
    SECURED,
    FORCED
  }

  /**
   * What is set up.
   *
   * @param changes the capture
   * @param isPartitioned whether the source is
   * @param isPurged whether the definition has a source.keep
   * @param rows its row-level security
   * @param isStrict whether everybody has lost what PostgreSQL gives to everybody; then there are
   *     days of a zone too, whose functions everybody may call otherwise
   */
  record Setup(
      String changes, boolean isPartitioned, boolean isPurged, Rows rows, boolean isStrict) {
    boolean isAny() {
      return changes.equals("any");
    }

    List<Definition> definitions(String more) {
      return Scenario.definitions(
          """
          rollup: usage
          source: {table: public.events, tenant: tenant_id, time: ts, changes: %s%s}
          dimensions: [project]
          measures:
            requests: count
            share:    "sum(1000 / tokens)"
            users:    distinct(user_id)
            least:    min(cost)%s
          grains: {1m: keep 37d, 1h: keep 210d, 1d: {keep: 1095d%s}}
          """
              .formatted(
                  changes,
                  isPurged ? ", keep: 10d" : "",
                  more,
                  isStrict ? ", zones: [UTC, Asia/Kolkata]" : ""));
    }
  }

  /** A database, a source of an application's, and roles that may nothing yet. */
  private static final class Cast implements AutoCloseable {
    private final Setup setup;
    private final Scenario scenario;
    private final String prefix =
        "r" + ProcessHandle.current().pid() + "_" + COUNTER.incrementAndGet() + "_";
    final String app = prefix + "app";
    final String writer = prefix + "writer";
    final String installer = prefix + "installer";
    final String refresher = prefix + "refresher";
    final String reader = prefix + "reader";

    Cast(Setup setup) {
      this.setup = setup;
      scenario = setup.isPartitioned() ? Scenario.withPartitionedTable() : Scenario.withTable();
      run("drop schema tallyroll cascade");
      run(
          "create role %s login password 'pw'; create role %s login password 'pw'"
              .formatted(app, writer));
      run(
          "do $$ declare t regclass; begin for t in select oid from pg_class where relname like 'events%' and relkind in ('r', 'p') loop"
              + " execute format('alter table %s owner to "
              + app
              + "', t); end loop; end $$");
      run("grant select, insert, update, delete on events to " + writer);
      if (setup.isPartitioned()) {
        run("grant create on schema public to " + app);
      }
      if (setup.rows() != Rows.OPEN) {
        run(
            "alter table events enable row level security"
                + (setup.rows() == Rows.FORCED ? ", force row level security" : "")
                + "; create policy writes on events to "
                + writer
                + ", "
                + app
                + " using (true)");
      }
      if (setup.isStrict()) {
        run(
            "revoke all on database %1$s from public; revoke all on schema public from public; revoke execute on function pg_control_system() from public; grant connect on database %1$s to %2$s; grant usage on schema public to %2$s, %3$s"
                .formatted(value("select current_database()"), writer, app));
      }
    }

    TestDatabase database() {
      return scenario.database();
    }

    void run(String sql) {
      database().run(sql);
    }

    String value(String sql) {
      return String.valueOf(database().value(sql));
    }

    Database as(String role) {
      return new Database(database().source(role, "pw"));
    }

    /** Writes to the source, with no right on anything of ours. */
    void write(String sql) throws SQLException {
      try (Connection connection = database().connect(writer, "pw")) {
        Sql.run(connection, sql);
      }
    }

    List<Grant> missing() {
      return Grants.missing(
          database().database(), setup.definitions(""), installer, refresher, reader);
    }

    /** Runs a statement as the role that it says. */
    void grant(Grant grant) throws SQLException {
      grant(grant.by(), grant.statement());
    }

    void grant(String by, String statement) throws SQLException {
      try (Connection connection = database().connect()) {
        if (!by.equals("an administrator")) {
          Sql.run(connection, "set role " + by);
        }
        Sql.run(connection, statement);
      }
      if (statement.startsWith("create role")) {
        run(statement.replace("create role", "alter role").replace(" login", " password 'pw'"));
      }
    }

    void grant(Grant.When when) throws SQLException {
      for (Grant grant : missing()) {
        if (grant.when() == when) {
          grant(grant);
        }
      }
    }

    /** A cast with all its grants and the rollup. */
    static Cast installed(Setup setup) throws SQLException {
      Cast cast = new Cast(setup);
      cast.grant(Grant.When.BEFORE_APPLY);
      cast.apply("");
      cast.grant(Grant.When.AFTER_APPLY);
      return cast;
    }

    void apply(String more) {
      for (Installer.Applied applied :
          new Installer(as(installer), scenario.clock()).apply(setup.definitions(more))) {
        if (applied.outcome() == Installer.Outcome.BUILDING) {
          new Redefinition(as(installer), scenario.clock())
              .finish(applied.rollup(), 1, 0, new Backfill.Progress() {});
        }
      }
    }

    RefreshOutcome.Refreshed refresh() {
      try (Refresher refreshes = refresher()) {
        return (RefreshOutcome.Refreshed) refreshes.refresh("usage", Refresher.WhenBusy.WAIT);
      }
    }

    Refresher refresher() {
      return new Refresher(
          as(refresher),
          scenario.clock(),
          Feed.Meter.NONE,
          new Refresher.Limits(Feed.defaultHeapBudget(), 1));
    }

    VerifyReport verify() {
      return new Verifier(as(refresher), scenario.clock())
          .verify(VerifyRequest.all("usage"), new Verifier.Progress() {});
    }

    void backfill() {
      new Backfill(as(refresher), scenario.clock())
          .run(BackfillRequest.all("usage"), new Backfill.Progress() {});
    }

    @Override
    public void close() {
      List<String> left =
          Stream.of(reader, refresher, writer, installer, app)
              .filter(role -> !value("select to_regrole('" + role + "')").equals("null"))
              .toList();
      left.forEach(role -> run("drop owned by " + role + " cascade"));
      left.forEach(role -> run("drop role " + role));
      scenario.close();
    }
  }

  private static String one(Connection connection, String sql) throws SQLException {
    return Sql.one(connection, sql, row -> String.valueOf(row.getString(1)));
  }

  /** All that the three roles do, once; throws where one of them may not. */
  private static void live(Cast cast, List<Grant> before, List<Grant> after) throws SQLException {
    Setup setup = cast.setup;
    cast.write(Scenario.insertSql(1, 300, 20));
    for (Grant grant : before) {
      cast.grant(grant);
    }
    new Planner(cast.as(cast.installer)).plan(setup.definitions(""));
    cast.apply("");
    for (Grant grant : after) {
      cast.grant(grant);
    }
    cast.backfill();
    cast.write(Scenario.insertSql(301, 400, 1));
    cast.refresh();
    cast.write(Scenario.insertSql(401, 410, 1));
    if (setup.isAny()) {
      cast.write("update events set cost = cost + 1 where ts > '2026-06-14 18:00+00'");
    }
    reads(cast);
    cast.refresh();
    assertExact(cast);
    if (setup.isAny()) {
      rotates(cast);
    }
    if (setup.isPartitioned()) {
      growsPartitions(cast);
    }
    quarantines(cast);
    repairs(cast);
    assertThat(new StatusReader(cast.as(cast.refresher)).read("usage")).hasSize(1);
    assertThat(
            new QueryEngine(cast.as(cast.refresher), cast.scenario.clock())
                .run(QueryRequest.of("usage").range("2026-06-01", "2026-06-16"))
                .rows())
        .isNotEmpty();
    // Another definition, built beside.
    cast.apply("\n  words:    max(msg)");
    cast.write(Scenario.insertSql(421, 430, 1));
    cast.refresh();
    assertExact(cast);
    reads(cast);
    if (setup.isPurged()) {
      purges(cast);
    }
    expires(cast);
    ends(cast);
  }

  private static void assertExact(Cast cast) {
    VerifyReport report = cast.verify();
    assertThat(report.mismatches()).isEmpty();
    assertThat(report.rows()).isPositive();
    assertThat(report.pending()).isEmpty();
  }

  /** One tenant for the reader, all for the refresher, what is not merged too. */
  private static void reads(Cast cast) throws SQLException {
    // No minutes are kept of the time before.
    String since = " >= '2026-05-10'";
    String counted = "select count(*) from events where tokens is distinct from 0 and ts" + since;
    try (Connection reader = cast.database().connect(cast.reader, "pw")) {
      List<String> grains = new ArrayList<>(List.of("1m", "1h", "1d"));
      if (cast.setup.isStrict()) {
        grains.add("1d_asia_kolkata");
      }
      for (String grain : grains) {
        Sql.run(reader, "reset tallyroll.tenant");
        assertThat(one(reader, "select count(*) from tallyroll.usage_" + grain + "_fresh"))
            .isEqualTo("0");
        Sql.run(reader, "set tallyroll.tenant = 't1'");
        assertThat(
                one(
                    reader,
                    "select string_agg(distinct tenant, ',') || ' ' || sum(requests) || ' ' || bool_and(complete) from tallyroll.usage_"
                        + grain
                        + "_fresh where bucket"
                        + since))
            .isEqualTo("t1 " + cast.value(counted + " and tenant_id = 't1'") + " true");
        assertThat(
                one(
                    reader,
                    "select string_agg(distinct tenant, ',') from tallyroll.usage_" + grain))
            .isEqualTo("t1");
      }
      for (String sql :
          List.of(
              "select count(*) from public.events",
              "select count(*) from tallyroll.rollup",
              "select tallyroll.drop_partition('tallyroll.usage_1m'::regclass, 'usage_1m_p20260615')",
              "delete from tallyroll.usage_1m")) {
        assertThatThrownBy(() -> one(reader, sql)).hasMessageContaining("permission denied");
      }
    }
    try (Connection refresher = cast.database().connect(cast.refresher, "pw")) {
      assertThat(
              one(
                  refresher,
                  "select sum(requests) from tallyroll.usage_1m_fresh where bucket" + since))
          .isEqualTo(cast.value(counted));
    }
  }

  /** Writers are pointed to the next partition of the log; what is read is truncated. */
  private static void rotates(Cast cast) throws SQLException {
    cast.write(Scenario.insertSql(411, 412, 1));
    String slot = cast.value("select log_slot from tallyroll.source");
    cast.refresh();
    assertThat(cast.value("select log_slot from tallyroll.source")).isNotEqualTo(slot);
    String left = cast.value("select 'tallyroll.' || log || '_" + slot + "' from tallyroll.source");
    try (Connection holding = cast.database().connect()) {
      holding.setAutoCommit(false);
      Sql.run(holding, "lock table " + left + " in access share mode");
      cast.refresh();
      assertThat(cast.value("select to_regclass('" + left + "_xid')")).isNotEqualTo("null");
    }
    cast.refresh();
    assertThat(cast.value("select pg_relation_size('" + left + "')")).isEqualTo("0");
    cast.write(Scenario.insertSql(413, 414, 1));
    cast.refresh();
    assertExact(cast);
  }

  /** A partition that the application makes later, and writes to directly. */
  private static void growsPartitions(Cast cast) throws SQLException {
    cast.grant(
        cast.app,
        "create table events_april partition of events for values from ('2026-04-01') to ('2026-05-01')");
    cast.grant(cast.app, "grant insert on events_april to " + cast.writer);
    // Before PostgreSQL 17 a partition does not have the identity of its table.
    String insert =
        "insert into events_april (id, tenant_id, ts, project, tokens) overriding system value select -i, 't1', '2026-04-02', 'late', 1 from generate_series(1, %d) i";
    cast.write(insert.formatted(5));
    cast.refresh();
    cast.write(insert.formatted(2));
    cast.refresh();
    assertThat(cast.value("select requests from tallyroll.usage_1d where project = 'late'"))
        .isEqualTo("7");
    assertExact(cast);
  }

  /** The row that divides by zero. */
  private static void quarantines(Cast cast) {
    Quarantine quarantine = new Quarantine(cast.as(cast.refresher), cast.scenario.clock());
    assertThat(quarantine.list("usage", null, 10)).hasSize(1);
    assertThat(quarantine.replay("usage", List.of()).left()).isEqualTo(1);
  }

  private static void repairs(Cast cast) {
    cast.run("update tallyroll.usage_1h set requests = requests + 1 where tenant = 't2'");
    assertThat(cast.verify().isExact()).isFalse();
    assertThat(
            new Verifier(cast.as(cast.refresher), cast.scenario.clock())
                .repair(VerifyRequest.all("usage"), false, new Verifier.Progress() {})
                .buckets())
        .isPositive();
    assertExact(cast);
  }

  private static void purges(Cast cast) {
    String before = cast.value("select sum(requests) from tallyroll.usage_1d");
    Purge.Purged purged = new Purge(cast.as(cast.refresher), cast.scenario.clock()).run("usage");
    assertThat(purged.rows() + purged.tables().size()).isPositive();
    assertThat(cast.value("select count(*) from events where ts < '2026-06-05'")).isEqualTo("0");
    cast.refresh();
    assertThat(cast.value("select sum(requests) from tallyroll.usage_1d")).isEqualTo(before);
  }

  /** What is no longer kept is dropped. */
  private static void expires(Cast cast) {
    cast.scenario.setClock(Scenario.NOW.plus(Duration.ofDays(40)));
    assertThat(cast.refresh().held()).isPresent();
    try (Refresher trusting = cast.refresher().trustingClock()) {
      assertThat(
              ((RefreshOutcome.Refreshed) trusting.refresh("usage", Refresher.WhenBusy.WAIT))
                  .dropped())
          .isNotEmpty();
    }
    assertThat(cast.value("select count(*) from tallyroll.usage_1m")).isEqualTo("0");
    cast.scenario.setClock(Scenario.NOW);
  }

  /** What only the installer does. */
  private static void ends(Cast cast) {
    Database installer = cast.as(cast.installer);
    new Seals(installer, cast.scenario.clock())
        .seal(
            "usage",
            Instant.parse("2026-05-27T00:00:00Z"),
            cast.setup.isAny() ? List.of(cast.app) : List.of());
    Forget.Forgotten forgotten =
        new Forget(installer, cast.scenario.clock()).run(new Forget.Request(null, "t2", null));
    assertThat(forgotten.rows()).isPositive();
    assertThat(forgotten.left()).isZero();
    new Drop(installer).run("usage");
    assertThat(
            cast.value(
                "select count(*) from pg_trigger t join pg_class c on c.oid = t.tgrelid where tgname like 'tallyroll%' and c.relnamespace <> 'tallyroll'::regnamespace"))
        .isEqualTo("0");
  }

  private static List<Grant> of(Grant.When when, List<Grant> grants) {
    return grants.stream().filter(grant -> grant.when() == when).toList();
  }

  static Stream<Setup> setups() {
    return Stream.of(
        new Setup("any", false, false, Rows.OPEN, false),
        new Setup("any", false, true, Rows.SECURED, true),
        new Setup("any", true, false, Rows.FORCED, true),
        new Setup("any", true, true, Rows.OPEN, false),
        new Setup("append", false, false, Rows.OPEN, true),
        new Setup("append", false, true, Rows.FORCED, false),
        new Setup("append", true, true, Rows.SECURED, false));
  }

  @ParameterizedTest
  @MethodSource("setups")
  void rolesWithThePrintedGrants_doAllThatTheyAreFor(Setup setup) throws SQLException {
    try (Cast cast = new Cast(setup)) {
      List<Grant> grants = cast.missing();
      live(cast, of(Grant.When.BEFORE_APPLY, grants), of(Grant.When.AFTER_APPLY, grants));
    }
  }

  @ParameterizedTest
  @MethodSource("setups")
  void onceTheGrantsAreRun_nothingIsMissing(Setup setup) throws SQLException {
    try (Cast cast = Cast.installed(setup)) {
      assertThat(cast.missing()).isEmpty();
    }
  }

  /** All grants but one, or one without one of the things that it gives. */
  private static List<Arguments> lessOf(Setup setup) {
    List<Arguments> cases = new ArrayList<>();
    try (Cast cast = new Cast(setup)) {
      List<Grant> grants = cast.missing();
      for (int i = 0; i < grants.size(); i++) {
        String statement =
            grants
                .get(i)
                .statement()
                .replace(cast.prefix, "")
                .replace(cast.value("select current_database()"), "db");
        if (statement.startsWith("create role")) {
          continue;
        }
        cases.add(Arguments.of(setup, i, "", statement));
        for (String privilege :
            List.of(
                "select, ",
                ", trigger",
                "insert, ",
                "update, ",
                ", delete",
                "delete, ",
                ", update (\"ts\")")) {
          if (statement.split(" on ")[0].contains(privilege)) {
            cases.add(Arguments.of(setup, i, privilege, statement));
          }
        }
      }
    }
    return cases;
  }

  static Stream<Arguments> leftOut() {
    Set<String> seen = new HashSet<>();
    return Stream.of(
            new Setup("any", false, true, Rows.SECURED, true),
            new Setup("any", true, false, Rows.OPEN, false),
            new Setup("any", true, true, Rows.OPEN, false),
            new Setup("append", false, true, Rows.FORCED, true))
        .flatMap(setup -> lessOf(setup).stream())
        .filter(one -> seen.add(one.get()[2] + "|" + one.get()[3]));
  }

  @ParameterizedTest(name = "{0}: without ''{2}'' of {3}")
  @MethodSource("leftOut")
  void withoutOneOfTheGrants_whatItIsForFails(
      Setup setup, int index, String privilege, String statement) throws SQLException {
    try (Cast cast = new Cast(setup)) {
      List<Grant> grants = new ArrayList<>(cast.missing());
      Grant grant = grants.get(index);
      if (privilege.isEmpty()) {
        grants.remove(index);
      } else {
        grants.set(
            index,
            new Grant(
                grant.when(),
                grant.by(),
                grant.role(),
                grant.statement().replaceFirst(Pattern.quote(privilege), ""),
                grant.why()));
      }
      Throwable fault =
          catchThrowable(() ->
              live(cast, of(Grant.When.BEFORE_APPLY, grants), of(Grant.When.AFTER_APPLY, grants)));
      if (statement.startsWith("create policy tallyroll_reads")) {
        assertThat(fault).hasMessageContaining("row-level security may hide rows");
      } else if (statement.startsWith("create policy")) {
        assertThat(fault)
            .isInstanceOf(TallyrollException.class)
            .hasMessageMatching("(?s).*(none of the old rows|after they were deleted).*");
      } else if (statement.startsWith("create schema")) {
        assertThat(fault).hasMessageContaining("schema \"tallyroll\" does not exist");
      } else {
        assertThat(fault)
            .as("without '%s' of %s", privilege, statement)
            .hasMessageMatching(
                "(?s).*(permission denied|may not put triggers on|must be owner|hides what is stored).*");
      }
    }
  }

  private static final Setup PLAIN = new Setup("any", false, false, Rows.OPEN, false);

  @Test
  void anInstallerWhoMayNotMakeTheSchema_isToldTheStatement() {
    try (Cast cast = new Cast(PLAIN)) {
      cast.run("create role " + cast.installer + " login password 'pw'");
      cast.run("grant select, trigger on events to " + cast.installer);
      assertThatThrownBy(() -> cast.apply(""))
          .hasMessageContaining(
              "may not create schemas in the database "
                  + cast.value("select current_database()")
                  + "; an administrator has to run: CREATE SCHEMA tallyroll AUTHORIZATION \""
                  + cast.installer
                  + "\";");
      cast.run("create schema tallyroll authorization " + cast.installer);
      cast.apply("");
    }
  }

  @Test
  void applyAsAnotherRoleThanTheSchemas_isRefused() throws SQLException {
    try (Cast cast = Cast.installed(PLAIN)) {
      assertThatThrownBy(
              () -> new Installer(cast.database().database()).apply(PLAIN.definitions("")))
          .hasMessageContaining("the schema tallyroll belongs to the role " + cast.installer);
    }
  }

  /** PostgreSQL 16 and later ask a role that is no superuser to let itself become what it made. */
  @Test
  void anAdministratorWhoIsNoSuperuser_makesTheRolesAndTheSchema() throws SQLException {
    try (Cast cast = new Cast(PLAIN)) {
      String admin = cast.prefix + "admin";
      cast.run(
          "create role %1$s login password 'pw' createrole; grant create on database %2$s to %1$s"
              .formatted(admin, cast.value("select current_database()")));
      try (Connection connection = cast.database().connect(admin, "pw")) {
        for (Grant grant : of(Grant.When.BEFORE_APPLY, cast.missing())) {
          if (grant.by().equals("an administrator")) {
            Sql.run(connection, grant.statement());
          } else {
            cast.grant(grant);
          }
          if (grant.statement().startsWith("create role")) {
            Sql.run(
                connection,
                "alter role %1$s password 'pw'; grant %1$s to current_user"
                    .formatted(Sql.identifier(grant.role())));
          }
        }
      }
      cast.apply("");
      cast.grant(Grant.When.AFTER_APPLY);
      cast.write(Scenario.insertSql(1, 30, 1));
      cast.refresh();
      assertExact(cast);
      cast.run(
          "drop owned by "
              + admin
              + "; revoke %s, %s, %s from %s"
                  .formatted(cast.installer, cast.refresher, cast.reader, admin));
      cast.run("drop role " + admin);
    }
  }

  @Test
  void aRefresherThatComesLater_isLetInToWhatIsThere() throws SQLException {
    for (boolean isPartitioned : List.of(false, true)) {
      try (Cast cast = new Cast(new Setup("any", isPartitioned, false, Rows.OPEN, false))) {
        // At first one role does both.
        for (Grant grant :
            Grants.missing(
                cast.database().database(),
                cast.setup.definitions(""),
                cast.installer,
                cast.installer,
                cast.reader)) {
          if (grant.when() == Grant.When.BEFORE_APPLY) {
            cast.grant(grant);
          }
        }
        cast.write(Scenario.insertSql(1, 300, 20));
        cast.apply("");
        new Backfill(cast.as(cast.installer), cast.scenario.clock())
            .run(BackfillRequest.all("usage"), new Backfill.Progress() {});
        assertThatThrownBy(
                () -> {
                  cast.run("create role " + cast.refresher + " login password 'pw'");
                  cast.refresh();
                })
            .hasMessageContaining("permission denied")
            .hasMessageContaining("plan --grants -f FILE prints what");
        cast.run("drop role " + cast.refresher);
        cast.grant(Grant.When.BEFORE_APPLY);
        cast.grant(Grant.When.AFTER_APPLY);
        assertThat(cast.missing()).isEmpty();
        cast.write(Scenario.insertSql(301, 400, 1));
        cast.refresh();
        rotates(cast);
        reads(cast);
        repairs(cast);
        expires(cast);
      }
    }
  }

  /** Case 18, of our own tables: what a dump loses that is restored under other roles. */
  @Test
  void tablesThatHideWhatIsStored_areNotTakenForEmpty() throws SQLException {
    try (Cast cast = Cast.installed(PLAIN)) {
      cast.write(Scenario.insertSql(1, 100, 1));
      cast.refresh();
      List<Runnable> asks =
          List.of(
              cast::refresh,
              cast::verify,
              () ->
                  new QueryEngine(cast.as(cast.refresher), cast.scenario.clock())
                      .run(QueryRequest.of("usage").range("2026-06-01", "2026-06-16")));
      asks.forEach(Runnable::run);
      String loses =
          List.of("1m", "1h", "1d").stream()
              .map(grain -> "drop policy refresher on tallyroll.usage_" + grain + ";")
              .collect(Collectors.joining());
      cast.run(loses);
      for (Runnable ask : asks) {
        assertThatThrownBy(ask::run)
            .hasMessageStartingWith(
                "row-level security hides what is stored in tallyroll.usage_1d from "
                    + cast.refresher
                    + ",")
            .hasMessageContaining("apply -f FILE");
      }
      cast.apply("");
      asks.forEach(Runnable::run);
      assertExact(cast);
      // The policy is there, and names somebody else.
      cast.run("alter policy refresher on tallyroll.usage_1h to " + cast.refresher);
      Database installer = cast.as(cast.installer);
      try (Refresher refresher = new Refresher(installer, cast.scenario.clock())) {
        // As the installer the fresh views read what is open.
        for (Runnable ask :
            List.<Runnable>of(
                cast::refresh, () -> refresher.refresh("usage", Refresher.WhenBusy.WAIT))) {
          assertThatThrownBy(ask::run)
              .hasMessageContaining("tallyroll.usage_1h from " + cast.installer);
        }
        cast.apply("");
        refresher.refresh("usage", Refresher.WhenBusy.WAIT);
      }
      asks.forEach(Runnable::run);
      // Whoever runs it, reanchor lets the installer in.
      for (Database by : List.of(installer, cast.database().database())) {
        cast.run(loses + "update tallyroll.rollup set system_identifier = 1");
        cast.write(Scenario.insertSql(101, 200, 1));
        new Reanchor(by, cast.scenario.clock()).run("usage", false);
        asks.forEach(Runnable::run);
        assertExact(cast);
        assertThat(
                cast.value(
                    "select bool_and(exists (select from unnest(polroles) o where pg_get_userbyid(o) = '%s')) from pg_policy where polname = 'refresher'"
                        .formatted(cast.installer)))
            .isEqualTo("t");
      }
      // What is built beside has policies of its own.
      String more = "\n  words:    max(msg)";
      new Installer(installer, cast.scenario.clock()).apply(PLAIN.definitions(more));
      cast.run("drop policy refresher on tallyroll.\"usage~_1h\"");
      cast.apply(more);
      asks.forEach(Runnable::run);
      assertExact(cast);
    }
  }

  /** Without a right to write the source, LOCK TABLE is refused, and the triggers' locks serve. */
  @Test
  void anInstallerWhoMayNotWriteTheSource_stillWaitsForItsWriters() throws Exception {
    try (Cast cast = new Cast(new Setup("any", true, false, Rows.OPEN, false))) {
      for (Grant grant : of(Grant.When.BEFORE_APPLY, cast.missing())) {
        if (!grant.statement().startsWith("grant delete")) {
          cast.grant(grant);
        }
      }
      cast.apply("");
      cast.run("grant insert on events_may to " + cast.writer);
      CompletableFuture<Void> applied;
      try (Connection writing = cast.database().connect(cast.writer, "pw")) {
        writing.setAutoCommit(false);
        Sql.run(
            writing,
            "insert into events_may (id, tenant_id, ts, tokens, msg) overriding system value values (1, 't1', '2026-05-30', 1, 'in between')");
        applied =
            CompletableFuture.runAsync(() ->
                new Installer(cast.as(cast.installer), cast.scenario.clock())
                    .apply(
                        Scenario.definitions(
                            """
                            rollup: words
                            source: {table: public.events, tenant: tenant_id, time: ts}
                            measures: {word: max(msg)}
                            grains: {1h: keep 210d}
                            """)));
        String waits =
            "select exists (select from pg_locks where not granted and relation = 'events_may'::regclass)";
        for (int tried = 0; tried < 200 && cast.value(waits).equals("f"); tried++) {
          Thread.sleep(50);
        }
        assertThat(cast.value(waits)).isEqualTo("t");
        writing.commit();
      }
      applied.join();
      try (Refresher refresher = new Refresher(cast.as(cast.refresher), cast.scenario.clock())) {
        refresher.refresh("words", Refresher.WhenBusy.WAIT);
      }
      new Backfill(cast.as(cast.refresher), cast.scenario.clock())
          .run(BackfillRequest.all("words"), new Backfill.Progress() {});
      assertThat(cast.value("select word from tallyroll.words_1h")).isEqualTo("in between");
    }
  }

  @Test
  void aRefresher_doesNothingThatIsTheInstallers() throws SQLException {
    try (Cast cast = Cast.installed(PLAIN)) {
      cast.write(Scenario.insertSql(1, 30, 1));
      cast.refresh();
      cast.run("create table other (id integer); alter table other owner to " + cast.installer);
      String log = cast.value("select log from tallyroll.source");
      try (Connection refresher = cast.database().connect(cast.refresher, "pw")) {
        for (String sql :
            List.of(
                "update tallyroll.source set log_functions = '{}' returning 1",
                "delete from tallyroll.erasure returning 1",
                "insert into tallyroll.purger select 1, 'x' returning 1",
                "select tallyroll.make_partition('tallyroll.usage_1m'::regclass, 'other')",
                "select tallyroll.make_partition('tallyroll."
                    + log
                    + "'::regclass, '"
                    + log
                    + "_p20260101')",
                "select tallyroll.drop_partition('other'::regclass, 'other_p20260101')",
                "select tallyroll.drop_partition('tallyroll.usage_1m'::regclass, 'usage_1h_p20260601')",
                "select tallyroll.capture_table((select id from tallyroll.source), 'other'::regclass)",
                "insert into events (tenant_id, ts) values ('t1', now()) returning 1",
                "delete from events returning 1")) {
          assertThatThrownBy(() -> one(refresher, sql))
              .as(sql)
              .hasMessageMatching("(?s).*(permission denied|is no partition of|is no table of).*");
        }
        for (String sql :
            List.of(
                "create table tallyroll.mine ()",
                "drop table tallyroll.usage_1m",
                "truncate tallyroll.usage_1m",
                "drop trigger tallyroll_log_insert on events",
                "create trigger mine after insert on events for each row execute function suppress_redundant_updates_trigger()",
                "create or replace function tallyroll.uncovered(of_rollup text) returns tstzmultirange language sql as $$ select '{}'::tstzmultirange $$")) {
          assertThatThrownBy(() -> Sql.run(refresher, sql))
              .as(sql)
              .hasMessageMatching("(?s).*(permission denied|must be owner).*");
        }
      }
    }
  }

  /** Case 18, for a refresher that is not the owner. */
  @Test
  void aRefresherThatRowLevelSecurityBinds_refusesUntilItSeesEveryRow() throws SQLException {
    for (boolean isPartitioned : List.of(false, true)) {
      try (Cast cast = Cast.installed(new Setup("any", isPartitioned, false, Rows.OPEN, false))) {
        cast.write(Scenario.insertSql(1, 90, 1));
        cast.refresh();
        cast.run(
            "alter table events enable row level security; create policy only_t1 on events using (tenant_id = 't1')");
        cast.write("set role none; update events set cost = 1 where tenant_id = 't1'");
        String refused = "row-level security may hide rows of public.events from " + cast.refresher;
        assertThatThrownBy(cast::refresh)
            .hasMessageContaining(refused)
            .hasMessageContaining(
                "CREATE POLICY tallyroll_reads ON \"public\".\"events\" FOR SELECT TO \""
                    + cast.refresher
                    + "\" USING (true);");
        assertThatThrownBy(cast::verify).hasMessageContaining(refused);
        // A policy for somebody else does not help, one for a role that it is a member of does.
        cast.run(
            "create policy tallyroll_reads on events for select to "
                + cast.reader
                + " using (true)");
        assertThatThrownBy(cast::refresh).hasMessageContaining(refused);
        cast.run("drop policy tallyroll_reads on events");
        cast.grant(Grant.When.BEFORE_APPLY);
        cast.refresh();
        assertExact(cast);
        cast.run("alter table events force row level security");
        cast.refresh();
        // A restrictive policy takes rows away whatever others allow.
        cast.run("create policy not_all on events as restrictive using (tenant_id <> 't2')");
        assertThatThrownBy(cast::refresh)
            .hasMessageContaining(refused)
            .hasMessageContaining("ALTER ROLE \"" + cast.refresher + "\" BYPASSRLS;");
        assertThat(cast.missing().stream().map(Grant::statement))
            .contains("alter role \"" + cast.refresher + "\" bypassrls");
        cast.grant(Grant.When.BEFORE_APPLY);
        assertThat(cast.missing()).isEmpty();
        cast.run(Scenario.insertSql(91, 120, 1));
        cast.refresh();
        assertExact(cast);
      }
    }
  }

  /** As the installer fresh views read the source. */
  @Test
  void anInstallerThatRowLevelSecurityBinds_isFoundByTheRefresh() throws SQLException {
    try (Cast cast = Cast.installed(new Setup("any", false, false, Rows.OPEN, false))) {
      cast.write(Scenario.insertSql(1, 90, 1));
      cast.refresh();
      cast.run(
          "alter table events enable row level security; create policy tallyroll_reads on events for select to "
              + cast.refresher
              + " using (true)");
      assertThatThrownBy(cast::refresh)
          .hasMessageContaining(
              "row-level security may hide rows of public.events from " + cast.installer);
    }
  }

  /**
   * A partition's own policies hold only for who names it: a new one is read through the source.
   */
  @Test
  void aNewPartitionWithPoliciesOfItsOwn_isCountedWhole() throws SQLException {
    Setup setup = new Setup("any", true, false, Rows.OPEN, false);
    try (Cast cast = new Cast(setup)) {
      // By hash, so that its bounds tell no time.
      cast.run(
          "drop table events cascade; create table events (tenant_id text not null, ts timestamptz not null, project text, tokens integer, user_id text, cost numeric) partition by hash (tenant_id);"
              + " create table events_0 partition of events for values with (modulus 2, remainder 0);"
              + " alter table events owner to "
              + cast.app
              + "; alter table events_0 owner to "
              + cast.app);
      cast.grant(Grant.When.BEFORE_APPLY);
      cast.apply("");
      cast.refresh();
      cast.grant(
          cast.app,
          "create table events_1 partition of events for values with (modulus 2, remainder 1)");
      // Directly, so that no trigger sees them; one divides by zero, so that rows are read by their
      // address.
      cast.run(
          "insert into events_1 select 't' || i, '2026-06-15', 'p', i % 3, 'u', 1 from generate_series(1, 40) i where satisfies_hash_partition('events'::regclass, 2, 1, 't' || i)");
      // As long as its rows are hidden, it is not taken for captured.
      cast.run("alter table events enable row level security");
      assertThatThrownBy(cast::refresh).hasMessageContaining("row-level security may hide rows");
      cast.grant(Grant.When.BEFORE_APPLY);
      // A right to read it does not help, if it hides rows itself.
      cast.run("grant select on events_1 to " + cast.refresher);
      cast.grant(cast.app, "alter table events_1 enable row level security");
      cast.refresh();
      assertThat(cast.value("select sum(requests) from tallyroll.usage_1d"))
          .isEqualTo(cast.value("select count(*) from events where tokens <> 0"))
          .isNotEqualTo("0");
      assertExact(cast);
    }
  }

  @Test
  void aNewPartitionThatTheInstallerMayNotTouch_isNamedWithItsGrant() throws SQLException {
    try (Cast cast = Cast.installed(new Setup("any", true, false, Rows.OPEN, false))) {
      cast.run(
          "create table events_july partition of events for values from ('2026-07-01') to ('2026-08-01')");
      assertThatThrownBy(cast::refresh)
          .hasMessageContaining(
              "may not put triggers on public.events_july, which was added to a source; run: GRANT TRIGGER ON public.events_july TO "
                  + cast.installer);
      cast.run("grant trigger on events_july to " + cast.installer);
      cast.refresh();
    }
  }
}
