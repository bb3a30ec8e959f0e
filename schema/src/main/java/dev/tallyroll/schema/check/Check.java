package dev.tallyroll.schema.check;

import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Judged;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import dev.tallyroll.schema.replay.Replay;
import dev.tallyroll.schema.replay.Replay.Failure;
import dev.tallyroll.schema.replay.Scratch;
import dev.tallyroll.schema.script.ScriptPart;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.statement.AppStatement;
import dev.tallyroll.schema.statement.StatementChecks;
import dev.tallyroll.schema.statement.StatementChecks.On;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * Checks migrations by applying them to databases that are made for it and thrown away: whether
 * they run on an empty database and in which order they would, what they lock and rewrite, whether
 * an upgrade ends like a fresh installation. No other server is touched. For one thread.
 */
public final class Check {
  /** Each costs a replay. */
  private static final int MOST_FIXES = 10;

  private final Supplier<PGSimpleDataSource> server;
  private final MigrationFolder folder;
  private final String root;
  private final Optional<Ledger> ledger;
  private final List<AppStatement> statements;
  private final Phases phases;
  private final Findings findings = new Findings();

  /** What was seen while migrations were applied. */
  private Findings watched = new Findings();

  private static final Pattern SKIPPING =
      Pattern.compile("^relation \"([^\"]+)\" does not exist, skipping");

  private final Set<String> notes = new LinkedHashSet<>();

  /** What IF EXISTS has passed over in the last replay. */
  private final Set<Skipped> skipped = new LinkedHashSet<>();

  /** What a second run of the same leaves. */
  private @Nullable SchemaState again;

  /** Is told what goes on. */
  @FunctionalInterface
  public interface Phases {
    /**
     * Something begins that takes a while.
     *
     * @param what as {@code replay}
     * @param unit what is counted
     * @param most how many there are
     */
    Phase begin(String what, String unit, int most);
  }

  /** Something that takes a while; closed at its end. */
  public interface Phase extends AutoCloseable {
    /** One is done. */
    void step();

    @Override
    void close();
  }

  /**
   * What a check found.
   *
   * @param judged the findings
   * @param statements how many statements the migrations have
   * @param failures how many of them failed
   * @param planned how many statements of the application were planned
   * @param notes what was made up or passed over
   */
  public record Report(
      Judged judged,
      int statements,
      int failures,
      StatementChecks.Result planned,
      List<String> notes) {
    /** Copies. */
    public Report {
      notes = List.copyOf(notes);
    }
  }

  /**
   * A check.
   *
   * @param server new data sources of the scratch server, as a role that may make databases
   * @param root the path of the folder, for places
   * @param ledger what an existing database has applied, if there is one: locks are told of
   *     migrations only that are not
   * @param statements those of the application: with a ledger they are tried on the schema as it is
   *     now and on what the migrations make of it
   */
  public Check(
      Supplier<PGSimpleDataSource> server,
      MigrationFolder folder,
      String root,
      Optional<Ledger> ledger,
      List<AppStatement> statements,
      Phases phases) {
    this.server = server;
    this.folder = folder;
    this.root = root;
    this.ledger = ledger;
    this.statements = List.copyOf(statements);
    this.phases = phases;
  }

  /** Does all of it. */
  public Report run(Settings settings) throws SQLException {
    for (Migration migration : folder.migrations()) {
      if (isPending(migration)) {
        ScriptChecks.check(folder.layout(), migration, file(migration), findings);
      }
    }
    Replay.Result fresh;
    SchemaState state;
    Ordering.Outcome outcome;
    StatementChecks.Result planned = StatementChecks.Result.NONE;
    try (Scratch scratch = Scratch.on(server)) {
      fresh = replay("replay", scratch, folder.migrations(), watchIfFresh());
      state = state(scratch);
      outcome = order(fresh);
      if (outcome.moved().isEmpty() && !statements.isEmpty()) {
        planned = statements(scratch, settings);
      }
    }
    lateSkipped();
    skipped.clear();
    notes.addAll(fresh.notes());
    if (!outcome.moved().isEmpty()) {
      // The rest is looked at in the order that works, as databases have it that grew in it.
      watched = new Findings();
      try (Scratch scratch = Scratch.on(server)) {
        replay("in order", scratch, outcome.order(), watchIfFresh());
        state = state(scratch);
        if (!statements.isEmpty()) {
          planned = statements(scratch, settings);
        }
      }
    }
    if (ledger.isPresent()) {
      upgrade(ledger.get(), state, fresh.failures());
    }
    watched.all().forEach(findings::add);
    if (fresh.failures().isEmpty()) {
      fixes(state);
    }
    Judged judged = Judged.of(findings.all(), settings, Rule.Scope.CHECK);
    return new Report(
        judged, fresh.statements(), fresh.failures().size(), planned, List.copyOf(notes));
  }

  private StatementChecks.Result statements(Scratch scratch, Settings settings)
      throws SQLException {
    if (ledger.isEmpty()) {
      return statements(scratch, null, settings);
    }
    try (Scratch now = Scratch.on(server)) {
      replay("before", now, ledger.get().applied(), Replay.Watcher.NONE);
      return statements(scratch, now, settings);
    }
  }

  private StatementChecks.Result statements(
      Scratch scratch, @Nullable Scratch now, Settings settings) throws SQLException {
    try (Connection connection = scratch.open();
        Connection before = now == null ? null : now.open();
        Phase phase = phases.begin("statements", "statements", statements.size())) {
      return StatementChecks.check(
          statements,
          new On(connection, scratch.searchPath()),
          now == null || before == null ? null : new On(before, now.searchPath()),
          settings,
          findings,
          phase::step);
    }
  }

  private boolean isPending(Migration migration) {
    boolean isPart = migration.name().matches(".*:\\d+");
    return !isPart && (ledger.isEmpty() || !ledger.get().has(migration));
  }

  private String file(Migration migration) {
    // A statement that is moved alone is called by its line.
    return root + "/" + migration.name().replaceFirst(":\\d+$", "");
  }

  private LockWatch watch() {
    return new LockWatch(this::isPending, this::file, watched);
  }

  /** With a ledger, what waits is looked at in the upgrade. */
  private Replay.Watcher watchIfFresh() {
    return ledger.isEmpty() ? watch() : Replay.Watcher.NONE;
  }

  private Replay.Result replay(
      String what, Scratch scratch, List<Migration> migrations, Replay.Watcher watcher)
      throws SQLException {
    try (Phase phase = phases.begin(what, "migrations", migrations.size())) {
      return Replay.run(
          scratch,
          new MigrationFolder(folder.layout(), migrations, List.of()),
          new Stepping(phase, watcher));
    }
  }

  /** Tells of each migration, and of statements that their runner cannot run. */
  private final class Stepping implements Replay.Watcher {
    private final Phase phase;
    private final Replay.Watcher watcher;

    Stepping(Phase phase, Replay.Watcher watcher) {
      this.phase = phase;
      this.watcher = watcher;
    }

    @Override
    public void beginning(Connection connection, Migration migration) throws SQLException {
      watcher.beginning(connection, migration);
    }

    @Override
    public boolean listens() {
      return watcher.listens();
    }

    @Override
    public void done(Connection connection, Migration migration, ScriptPart part, List<String> said)
        throws SQLException {
      watcher.done(connection, migration, part, said);
      skipped(migration, part, said);
    }

    @Override
    public void committed(Connection connection) throws SQLException {
      watcher.committed(connection);
    }

    @Override
    public void unseen(Connection connection) throws SQLException {
      watcher.unseen(connection);
    }

    @Override
    public void ranAlone(Migration migration, ScriptPart part, int parts) {
      if (watcher instanceof LockWatch) {
        notInTransaction(migration, part, parts);
      }
    }

    @Override
    public void done(Migration migration) {
      watcher.done(migration);
      phase.step();
    }
  }

  private record Skipped(Migration migration, ScriptPart part, String name) {}

  /** What IF EXISTS has passed over, but for what was to be dropped anyway. */
  private void skipped(Migration migration, ScriptPart part, List<String> said) {
    if (part.text().regionMatches(true, 0, "drop", 0, 4)) {
      return;
    }
    for (String message : said) {
      Matcher matcher = SKIPPING.matcher(message);
      if (matcher.find()) {
        skipped.add(new Skipped(migration, part, matcher.group(1)));
      }
    }
  }

  /** What was passed over lacks for good, if a later file makes it. */
  private void lateSkipped() {
    for (Skipped each : skipped) {
      int at = folder.migrations().indexOf(each.migration());
      Optional<Migration> maker =
          at < 0
              ? Optional.empty()
              : folder.migrations().stream()
                  .skip(at + 1L)
                  .filter(later -> Ordering.makes(later, each.name()))
                  .findFirst();
      maker.ifPresent(later ->
          findings.add(
              Rule.ORDER_REFERS_TO_LATER,
              Severity.WARNING,
              each.migration().name() + " " + each.name(),
              "%s is not there yet, and IF EXISTS passes it over without an error; %s makes it"
                  .formatted(each.name(), later.name()),
              "-- put the statement behind " + later.name() + ", or into a migration after it",
              new Place(file(each.migration()), each.part().line())));
    }
  }

  private void notInTransaction(Migration migration, ScriptPart part, int parts) {
    if (!isPending(migration)) {
      return;
    }
    Optional<String> mend = Transactions.mend(folder.layout(), migration, part.text(), parts);
    mend.ifPresent(how ->
        watched.add(
            Rule.NOT_IN_TRANSACTION,
            Rule.NOT_IN_TRANSACTION.severity(),
            migration.name() + " " + Transactions.head(part.text()),
            Transactions.why(folder.layout(), parts),
            how,
            new Place(file(migration), part.line())));
  }

  private static SchemaState state(Scratch scratch) throws SQLException {
    try (Connection connection = scratch.open()) {
      return SchemaState.read(connection);
    }
  }

  private Ordering.Outcome order(Replay.Result fresh) throws SQLException {
    Ordering.Outcome outcome =
        new Ordering(this::trial).find(folder.migrations(), fresh.failures());
    Set<Failure> late =
        outcome.late().stream().map(Ordering.Late::failure).collect(Collectors.toSet());
    String steps = steps(outcome);
    for (Ordering.Late each : outcome.late()) {
      Failure failure = each.failure();
      findings.add(
          Rule.ORDER_REFERS_TO_LATER,
          Rule.ORDER_REFERS_TO_LATER.severity(),
          failure.file() + " " + each.missing(),
          failure.message()
              + " in "
              + failure.statement()
              + "; "
              + each.maker().name()
              + " makes it",
          steps,
          new Place(root + "/" + failure.file(), failure.line()));
    }
    for (Failure failure : fresh.failures()) {
      // What fails in the right order too; the rest comes of it.
      boolean isLeft = outcome.moved().isEmpty() || fails(outcome.left(), failure);
      if (!late.contains(failure) && isLeft) {
        findings.add(
            Rule.MIGRATION_FAILS,
            Rule.MIGRATION_FAILS.severity(),
            failure.file() + " " + Transactions.head(failure.statement()),
            failure.message() + " in " + failure.statement(),
            "-- mend the file; databases that have applied it another way need a migration that makes them the same",
            new Place(root + "/" + failure.file(), failure.line()));
      }
    }
    return outcome;
  }

  private static boolean fails(List<Failure> left, Failure failure) {
    return left.stream()
        .anyMatch(each ->
            each.file().equals(failure.file()) && each.statement().equals(failure.statement()));
  }

  private String steps(Ordering.Outcome outcome) {
    if (outcome.moved().isEmpty()) {
      return "-- no single move that was tried mends it";
    }
    List<String> steps = new ArrayList<>();
    for (Migration moved : outcome.moved()) {
      Optional<Migration> whole =
          folder.migrations().stream().filter(each -> each.name().equals(moved.name())).findFirst();
      if (whole.isPresent()) {
        steps.add(Renaming.steps(folder, moved, outcome.order()));
      } else {
        Migration behind = outcome.order().get(outcome.order().indexOf(moved) - 1);
        steps.add(
            "-- take the statement at %s out, and put it at the end of %s; to databases that have both already, nothing is to be done%s:\n%s;"
                .formatted(
                    moved.name(),
                    behind.name(),
                    Transactions.afterEdit(folder.layout()),
                    moved.sql()));
      }
    }
    steps.add(
        outcome.left().isEmpty()
            ? "-- tried: in this order all migrations run"
            : "-- tried: in this order %d fail still".formatted(outcome.left().size()));
    return String.join("\n", steps);
  }

  private Replay.Result trial(List<Migration> order) throws SQLException {
    try (Scratch scratch = Scratch.on(server)) {
      return replay("another order", scratch, order, Replay.Watcher.NONE);
    }
  }

  /** A fix is tried right behind what it mends: folded, it would run there. */
  private void fixes(SchemaState state) throws SQLException {
    List<Folding.Fix> fixes =
        Folding.fixes(folder.migrations()).stream().filter(fix -> isPending(fix.fix())).toList();
    if (fixes.size() > MOST_FIXES) {
      notes.add(
          "%d migrations mend earlier ones; whether they can be folded was tried for the last %d"
              .formatted(fixes.size(), MOST_FIXES));
    }
    for (Folding.Fix fix : fixes.subList(Math.max(0, fixes.size() - MOST_FIXES), fixes.size())) {
      String why =
          isPending(fix.mended())
              ? notFoldable(fix, state)
              : "it is applied already, and an applied file must not change";
      findings.add(
          Rule.FIX_MIGRATION,
          Rule.FIX_MIGRATION.severity(),
          fix.fix().name(),
          why.isEmpty()
              ? "it can be folded into " + fix.mended().name() + ": tried, the end is the same"
              : "it cannot be folded into " + fix.mended().name() + ": " + why,
          why.isEmpty()
              ? "-- if no database has %s yet: put these statements at its end, and delete this file"
                  .formatted(fix.mended().name())
              : "-- keep it",
          new Place(file(fix.fix()), 1));
    }
  }

  private String notFoldable(Folding.Fix fix, SchemaState state) throws SQLException {
    List<Migration> order = new ArrayList<>(folder.migrations());
    order.remove(fix.fix());
    order.add(order.indexOf(fix.mended()) + 1, fix.fix());
    try (Scratch scratch = Scratch.on(server)) {
      Replay.Result folded = replay("folded", scratch, order, Replay.Watcher.NONE);
      if (!folded.failures().isEmpty()) {
        Failure first = folded.failures().getFirst();
        return "there %s:%d fails: %s".formatted(first.file(), first.line(), first.message());
      }
      SchemaState other = state(scratch);
      return comparable(state, other).differences("now", other, "folded").stream()
          .findFirst()
          .map(difference -> difference.object() + " ends differently: " + difference.evidence())
          .orElse("");
    }
  }

  /**
   * Of rows that differ though there are as many, those that differ from run to run are left out.
   */
  private SchemaState comparable(SchemaState fresh, SchemaState other) throws SQLException {
    if (!fresh.mayBeRandom(other)) {
      return fresh;
    }
    if (again == null) {
      try (Scratch scratch = Scratch.on(server)) {
        replay("replay again", scratch, folder.migrations(), Replay.Watcher.NONE);
        again = state(scratch);
      }
    }
    return fresh.without(again);
  }

  private void upgrade(Ledger applied, SchemaState fresh, List<Failure> known) throws SQLException {
    for (String missing : applied.missing()) {
      Optional<Migration> renamed = renamed(applied, missing);
      findings.add(
          Rule.LEDGER_WITHOUT_FILE,
          Rule.LEDGER_WITHOUT_FILE.severity(),
          missing,
          "the ledger has it as applied"
              + renamed.map(now -> ", and " + now.name() + " says the same").orElse(""),
          "-- bring the file back under its old name, or give the ledger its new name:\n"
              + Renaming.ledger(
                  folder.layout(), missing, renamed.map(Migration::name).orElse("<its new name>")),
          new Place(root, 1));
    }
    List<Migration> pending = outOfOrder(applied);
    List<Migration> order = new ArrayList<>(applied.applied());
    order.removeIf(migration -> MigrationFolder.isRepeatable(migration.name()));
    order.addAll(pending);
    // Flyway runs them again when they have changed, after all others.
    order.removeIf(migration -> MigrationFolder.isRepeatable(migration.name()));
    folder.migrations().stream()
        .filter(migration -> MigrationFolder.isRepeatable(migration.name()))
        .forEach(order::add);
    try (Scratch scratch = Scratch.on(server)) {
      Replay.Result result = replay("upgrade", scratch, order, watch());
      notes.addAll(result.notes());
      if (result.failures().isEmpty()) {
        SchemaState upgraded = state(scratch);
        differences(comparable(fresh, upgraded), upgraded);
      } else {
        for (Failure failure : result.failures()) {
          if (fails(known, failure)) {
            // It is told already.
            continue;
          }
          findings.add(
              Rule.UPGRADE_DIFFERS,
              Rule.UPGRADE_DIFFERS.severity(),
              failure.file() + " " + Transactions.head(failure.statement()),
              "in an upgrade it fails: " + failure.message() + " in " + failure.statement(),
              "-- mend the file, so that it runs after all that the ledger has",
              new Place(root + "/" + failure.file(), failure.line()));
        }
      }
    }
  }

  private int indexOf(String name) {
    for (int i = 0; i < folder.migrations().size(); i++) {
      if (folder.migrations().get(i).name().equals(name)) {
        return i;
      }
    }
    return -1;
  }

  /** The file that an applied one is now, if its text tells. */
  private Optional<Migration> renamed(Ledger applied, String missing) {
    Optional<Migration> old =
        applied.applied().stream().filter(each -> each.name().equals(missing)).findFirst();
    return folder.migrations().stream()
        .filter(each -> old.isPresent() && each.sql().equals(old.get().sql()))
        .findFirst();
  }

  /** Pending migrations; those that sort before an applied one are told. */
  private List<Migration> outOfOrder(Ledger applied) {
    int last =
        applied.applied().stream()
            .map(Migration::name)
            .filter(name -> !MigrationFolder.isRepeatable(name))
            .mapToInt(this::indexOf)
            .max()
            .orElse(-1);
    List<Migration> pending = new ArrayList<>();
    for (int i = 0; i < folder.migrations().size(); i++) {
      Migration migration = folder.migrations().get(i);
      if (applied.has(migration)) {
        continue;
      }
      pending.add(migration);
      if (i < last && folder.layout() != Layout.PRISMA) {
        Migration lastApplied = folder.migrations().get(last);
        List<Migration> behind = new ArrayList<>(folder.migrations());
        behind.remove(migration);
        behind.add(migration);
        findings.add(
            Rule.LEDGER_OUT_OF_ORDER,
            Rule.LEDGER_OUT_OF_ORDER.severity(),
            migration.name(),
            "it is pending, and %s is applied: %s"
                .formatted(lastApplied.name(), Transactions.lateFiles(folder.layout())),
            Renaming.steps(folder, migration, behind),
            new Place(file(migration), 1));
      }
    }
    return pending;
  }

  private void differences(SchemaState fresh, SchemaState upgraded) {
    for (SchemaState.Difference difference :
        fresh.differences("a fresh installation", upgraded, "an upgrade")) {
      findings.add(
          Rule.UPGRADE_DIFFERS,
          difference.isOrder() ? Severity.NOTE : Severity.ERROR,
          difference.object(),
          difference.evidence(),
          "-- a migration that makes both the same, which looks at what is there",
          new Place(root, 1));
    }
  }
}
