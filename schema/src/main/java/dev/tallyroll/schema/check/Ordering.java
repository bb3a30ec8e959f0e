package dev.tallyroll.schema.check;

import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.Replay;
import dev.tallyroll.schema.replay.Replay.Failure;
import dev.tallyroll.schema.script.Script;
import dev.tallyroll.schema.script.ScriptPart;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Looks for the smallest change of order with which migrations run that do not run as they are: one
 * move at a time, each tried on a database of its own, as long as fewer statements fail. A file is
 * moved behind the one that makes what it misses, or that one before it; where each needs the
 * other, only the statement is moved.
 */
final class Ordering {
  /** So many moves are looked for, and so many replays done at most. */
  private static final int MOST_TRIALS = 24;

  private static final int MOST_MAKERS = 3;
  private static final int MOST_STEPS = 5;

  /** What extensions have. */
  private static final Pattern OF_EXTENSION =
      Pattern.compile("^(type|function|operator|access method|operator class) ");

  private static final List<Pattern> MISSING =
      List.of(
          Pattern.compile("^column \"(?<name>[^\"]+)\" .*does not exist"),
          Pattern.compile(
              "^(?:relation|type|schema|role|sequence|table|index|constraint) \"(?<name>[^\"]+)\" .*?does not exist"),
          Pattern.compile("^(?:function|procedure|routine) (?<name>[\\w.\"]+)\\(.*does not exist"),
          Pattern.compile("^column (?<name>[\\w.\"]+) does not exist"));

  private static final Pattern MAKES =
      Pattern.compile(
          "(create|alter\\s+table\\b.*\\b(add|rename)|select\\b.*\\binto|do)\\b.*", Pattern.DOTALL);

  /** Applies migrations in an order to an empty database. */
  @FunctionalInterface
  interface Trial {
    Replay.Result run(List<Migration> order) throws SQLException;
  }

  /**
   * A statement that fails though a later migration makes what it misses.
   *
   * @param missing the name
   * @param makers later migrations that seem to make it, the likeliest first
   */
  record Late(Failure failure, String missing, List<Migration> makers) {
    /** The likeliest one. */
    Migration maker() {
      return makers.getFirst();
    }
  }

  /**
   * What was found.
   *
   * @param late the statements that come too early
   * @param moved what was moved, in the order in which it was
   * @param order the order that works best, with a statement that was moved as a migration
   * @param left what fails in it
   */
  record Outcome(
      List<Late> late, List<Migration> moved, List<Migration> order, List<Failure> left) {}

  private final Trial trial;
  private int trials;

  Ordering(Trial trial) {
    this.trial = trial;
  }

  /** Finds an order; nothing is moved if no failure is one of order. */
  Outcome find(List<Migration> migrations, List<Failure> failures) throws SQLException {
    List<Late> late = late(migrations, failures);
    List<Migration> order = migrations;
    List<Failure> left = failures;
    List<Migration> moved = new ArrayList<>();
    boolean isBetter = true;
    while (isBetter && trials < MOST_TRIALS) {
      isBetter = false;
      Optional<Candidate> best = best(order, left);
      if (best.isPresent()) {
        isBetter = true;
        order = best.get().order();
        left = best.get().left();
        moved.add(best.get().moved());
      }
    }
    return new Outcome(late, moved, order, left);
  }

  private record Candidate(
      Migration moved, List<Migration> order, int passed, List<Failure> left) {}

  /** The move after which the fewest statements fail, of those the shortest; if it helps at all. */
  private Optional<Candidate> best(List<Migration> order, List<Failure> left) throws SQLException {
    List<Candidate> tried = new ArrayList<>();
    for (Late late : late(order, left)) {
      for (Migration maker : late.makers()) {
        int from = indexOf(order, late.failure().file());
        int to = order.indexOf(maker);
        if (mayMove(order.get(from)) && mayMove(maker)) {
          behind(order, from, to).ifPresent(tried::add);
          tried(moved(order, to, from)).ifPresent(tried::add);
        }
      }
      if (tried.stream().noneMatch(each -> each.left().size() < left.size())) {
        Optional<Candidate> statement =
            statement(
                order,
                indexOf(order, late.failure().file()),
                order.indexOf(late.maker()),
                late.failure());
        if (statement.isPresent()) {
          tried(statement.get()).ifPresent(tried::add);
        }
      }
      if (tried.stream().anyMatch(each -> each.left().size() < left.size())) {
        break;
      }
    }
    return tried.stream()
        .filter(each -> each.left().size() < left.size())
        .min(
            Comparator.<Candidate>comparingInt(each -> each.left().size())
                .thenComparingInt(Candidate::passed));
  }

  /** What Flyway repeats comes last always. */
  private static boolean mayMove(Migration migration) {
    return !MigrationFolder.isRepeatable(migration.name());
  }

  private Optional<Candidate> tried(Candidate candidate) throws SQLException {
    return trials++ < MOST_TRIALS
        ? Optional.of(
            new Candidate(
                candidate.moved(),
                candidate.order(),
                candidate.passed(),
                trial.run(candidate.order()).failures()))
        : Optional.empty();
  }

  /** A file behind the one that makes what it misses; and on, while it misses what comes later. */
  private Optional<Candidate> behind(List<Migration> order, int from, int to) throws SQLException {
    String name = order.get(from).name();
    Optional<Candidate> candidate = tried(moved(order, from, to));
    for (int i = 0; i < MOST_STEPS && candidate.isPresent(); i++) {
      List<Migration> now = candidate.get().order();
      Optional<Late> next =
          late(now, candidate.get().left()).stream()
              .filter(late -> late.failure().file().equals(name) && mayMove(late.maker()))
              .findFirst();
      if (next.isEmpty()) {
        break;
      }
      Candidate further = moved(now, indexOf(now, name), now.indexOf(next.get().maker()));
      Optional<Candidate> reached =
          tried(
              new Candidate(
                  further.moved(),
                  further.order(),
                  candidate.get().passed() + further.passed(),
                  List.of()));
      if (reached.isEmpty()) {
        break;
      }
      candidate = reached;
    }
    return candidate;
  }

  private static Candidate moved(List<Migration> order, int from, int to) {
    List<Migration> changed = new ArrayList<>(order);
    Migration moved = changed.remove(from);
    changed.add(to, moved);
    return new Candidate(moved, changed, Math.abs(to - from), List.of());
  }

  /** The statement alone, behind the migration that makes what it misses. */
  private static Optional<Candidate> statement(
      List<Migration> order, int from, int to, Failure failure) {
    Migration whole = order.get(from);
    Optional<ScriptPart> part =
        Script.parts(whole.sql()).stream()
            .filter(each -> each.line() == failure.line() && each instanceof ScriptPart.Statement)
            .findFirst();
    if (part.isEmpty()) {
      return Optional.empty();
    }
    // Its text may stand in a comment before it.
    int line = 0;
    for (int i = 1; i < failure.line(); i++) {
      line = whole.sql().indexOf('\n', line) + 1;
    }
    int at = whole.sql().indexOf(part.get().text(), line);
    String blank = part.get().text().replaceAll("[^\\n]", " ");
    String rest =
        whole.sql().substring(0, at)
            + blank
            + whole.sql().substring(at + blank.length()).replaceFirst("^\\s*;", " ");
    Migration moved =
        new Migration(
            whole.name() + ":" + failure.line(), part.get().text(), whole.isInTransaction());
    List<Migration> changed = new ArrayList<>(order);
    changed.set(from, new Migration(whole.name(), rest, whole.isInTransaction()));
    changed.add(to + 1, moved);
    return Optional.of(new Candidate(moved, changed, to - from, List.of()));
  }

  private static int indexOf(List<Migration> order, String name) {
    for (int i = 0; i < order.size(); i++) {
      if (order.get(i).name().equals(name)) {
        return i;
      }
    }
    throw new IllegalArgumentException(name);
  }

  private static List<Late> late(List<Migration> order, List<Failure> failures) {
    List<Late> late = new ArrayList<>();
    for (Failure failure : failures) {
      Optional<String> missing = missing(failure.message());
      if (missing.isPresent()) {
        List<Migration> later = order.subList(indexOf(order, failure.file()) + 1, order.size());
        List<Migration> makers =
            new ArrayList<>(
                later.stream()
                    .filter(migration -> makes(migration, missing.get()))
                    .limit(MOST_MAKERS)
                    .toList());
        if (makers.isEmpty() && OF_EXTENSION.matcher(failure.message()).find()) {
          later.stream().filter(Ordering::makesExtension).limit(MOST_MAKERS).forEach(makers::add);
        }
        if (!makers.isEmpty()) {
          late.add(new Late(failure, missing.get(), makers));
        }
      }
    }
    return late;
  }

  private static Optional<String> missing(String message) {
    for (Pattern pattern : MISSING) {
      Matcher matcher = pattern.matcher(message);
      if (matcher.find()) {
        return Optional.of(matcher.group("name").replace("\"", ""));
      }
    }
    return Optional.empty();
  }

  private static boolean makesExtension(Migration migration) {
    return Script.parts(migration.sql()).stream()
        .anyMatch(
            part -> part.text().toLowerCase(Locale.ROOT).matches("(?s)create\\s+extension\\b.*"));
  }

  /** Whether it seems to make something of this name: the trial shows whether it does. */
  static boolean makes(Migration migration, String name) {
    String bare = name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
    Pattern made =
        Pattern.compile(
            "\\b(table|view|type|domain|function|procedure|schema|sequence|index|column|add|to|into|constraint)\\s+(if\\s+not\\s+exists\\s+)?(only\\s+)?(\"?\\w+\"?\\s*\\.\\s*)?\"?"
                + Pattern.quote(bare)
                + "(?!\\w)");
    return Script.parts(migration.sql()).stream()
        .map(part -> part.text().toLowerCase(Locale.ROOT))
        .anyMatch(text -> MAKES.matcher(text).matches() && made.matcher(text).find());
  }
}
