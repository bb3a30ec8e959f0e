package dev.tallyroll.schema.statement;

import dev.tallyroll.model.Names;
import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.CatalogReader;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.ForeignKey;
import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.statement.AppStatement.Form;
import dev.tallyroll.schema.statement.AppStatement.Logged;
import dev.tallyroll.schema.statement.Planner.Arbiter;
import dev.tallyroll.schema.statement.Planner.Outcome;
import dev.tallyroll.schema.statement.Planner.Outcome.Planned;
import dev.tallyroll.schema.statement.Planner.Outcome.Refused;
import dev.tallyroll.schema.tenancy.Tenancy;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Has each statement of an application planned on a schema, and says what is wrong with those that
 * have no plan, and with upserts whose key leaves the tenant out. For one thread.
 */
public final class StatementChecks {
  private static final Pattern MISSING_COLUMN =
      Pattern.compile(
          "column \"?(?<name>[^\"]+?)\"?(?: of relation \"(?<table>[^\"]+)\")? does not exist");

  private static final Pattern MISSING_TABLE =
      Pattern.compile("(?:relation|table) \"(?<name>[^\"]+)\" does not exist");

  private static final Pattern MISSING_FUNCTION =
      Pattern.compile("(?:function|procedure) (?<name>[\\w.\"]+)\\(");

  private static final Pattern TARGET =
      Pattern.compile("\\bon\\s+conflict\\s*\\(", Pattern.CASE_INSENSITIVE);

  private static final Pattern INTO =
      Pattern.compile(
          "\\binsert\\s+into\\s+((?:\"[^\"]+\"|\\w+)(?:\\s*\\.\\s*(?:\"[^\"]+\"|\\w+))?)",
          Pattern.CASE_INSENSITIVE);

  private static final Pattern CONFLICT =
      Pattern.compile("\\bon\\s+conflict\\b", Pattern.CASE_INSENSITIVE);

  private static final Pattern CONSTRAINT =
      Pattern.compile("\\bon\\s+conflict\\s+on\\s+constraint\\b", Pattern.CASE_INSENSITIVE);

  private static final Pattern COLUMN_LIST =
      Pattern.compile("insert\\s+into\\s+[\\w.\"]+\\s*\\(([^()]*)\\)", Pattern.CASE_INSENSITIVE);

  /** {@code insert into t ${rows} on conflict} and {@code do update set ${columns}}. */
  private static final Pattern BUILT_ROWS =
      Pattern.compile(
          "(\\binsert\\s+into\\s+[\\w.\"]+)\\s+\\$\\d+\\s+(?=on\\s+conflict\\b)",
          Pattern.CASE_INSENSITIVE);

  private static final Pattern BUILT_SET =
      Pattern.compile(
          "\\bdo\\s+update\\s+set\\s+\\$\\d+.*$", Pattern.CASE_INSENSITIVE | Pattern.DOTALL);

  /** What no PostgreSQL has: parameters of ClickHouse, quotes of MySQL and BigQuery. */
  private static final Pattern OTHER_DIALECT = Pattern.compile("\\{\\w+\\s*:\\s*\\w+|`");

  /** The ledgers of runners, which they make themselves. */
  private static final Set<String> LEDGERS =
      Set.of(
          "_prisma_migrations",
          "flyway_schema_history",
          "schema_migrations",
          "goose_db_version",
          "goose_migrations",
          "__drizzle_migrations");

  /** What programs print for a value that is not there. */
  private static final Set<String> UNDEFINED =
      Set.of("undefined", "null", "nan", "none", "nil", "[object object]", "");

  private static final Set<String> TYPES =
      Set.of(
          "42804", "42846", "42P18", "42P08", "42725", "42821", "22P02", "22007", "22008", "42809");

  private static final String SYNTAX = "42601";

  /** Classes of failures that belong to a program's life: constraints, retries, cancellations. */
  private static final Set<String> USUAL = Set.of("23", "40", "57", "55");

  private final Planner planner;
  private final @Nullable Planner before;
  private final Catalog catalog;
  private final Tenancy tenancy;
  private final Findings findings;
  private int planned;
  private int composed;

  /**
   * How many statements were looked at.
   *
   * @param planned how many have a plan or a finding
   * @param composed how many are put together at run time, so that nobody can say what they are
   */
  public record Result(int planned, int composed) {
    /** None were. */
    public static final Result NONE = new Result(0, 0);
  }

  private StatementChecks(
      Planner planner,
      @Nullable Planner before,
      Catalog catalog,
      Tenancy tenancy,
      Findings findings) {
    this.planner = planner;
    this.before = before;
    this.catalog = catalog;
    this.tenancy = tenancy;
    this.findings = findings;
  }

  /**
   * A schema to plan on.
   *
   * @param connection to a database that has it, as a runner of migrations has it
   * @param searchPath the application's search path as SQL; empty for the server's
   */
  public record On(Connection connection, String searchPath) {}

  /**
   * Checks statements.
   *
   * @param on the schema as it will be
   * @param before the schema as it is now; null if that is not asked
   * @param step called after each statement
   */
  public static Result check(
      List<AppStatement> statements,
      On on,
      @Nullable On before,
      Settings settings,
      Findings findings,
      Runnable step)
      throws SQLException {
    Catalog catalog = CatalogReader.read(on.connection(), schema -> true);
    Tenancy tenancy = Tenancy.of(catalog, settings);
    try (Planner planner = new Planner(on.connection(), on.searchPath());
        Planner now =
            before == null ? null : new Planner(before.connection(), before.searchPath())) {
      StatementChecks checks = new StatementChecks(planner, now, catalog, tenancy, findings);
      for (AppStatement statement : statements) {
        checks.check(statement);
        step.run();
      }
      return new Result(checks.planned, checks.composed);
    }
  }

  private void check(AppStatement statement) throws SQLException {
    planned++;
    if (!statement.inLiterals().isEmpty()) {
      add(
          statement,
          Rule.PLACEHOLDER_IN_LITERAL,
          Severity.ERROR,
          String.join(", ", statement.inLiterals()) + " in a literal",
          "-- take it out of the quotes, as: interval '1 minute' * $1, or '%' || $1 || '%', or make_interval(mins => $1)");
    }
    Outcome after = planner.plan(statement.sql());
    if (!statement.inLiterals().isEmpty()
        && after instanceof Refused refused
        && Set.of("22007", "22P02", SYNTAX).contains(refused.state())) {
      // That is what the placeholder does.
      return;
    }
    if (statement.logged() != null && !Statements.isPlannable(statement.sql())) {
      logged(statement);
      return;
    }
    if (before != null && deployOrder(statement, before.plan(statement.sql()), after)) {
      return;
    }
    switch (after) {
      case Refused refused -> refused(statement, refused);
      case Planned plan -> {
        plan.arbiters().forEach(arbiter -> arbiter(statement, arbiter));
        logged(statement);
      }
    }
  }

  private void add(
      AppStatement statement, Rule rule, Severity severity, String evidence, String mend) {
    Logged logged = statement.logged();
    String seen =
        logged == null
            ? ""
            : " (failed %s with %s)"
                .formatted(
                    times(statement.times()),
                    logged.state().isEmpty() ? logged.message() : logged.state());
    findings.add(
        rule,
        severity,
        statement.place().file() + " " + statement.head(),
        evidence + seen,
        mend,
        statement.place());
  }

  private static String times(long times) {
    return times == 1 ? "once" : times + " times";
  }

  /** Whether it works on one side only, which is told. */
  private boolean deployOrder(AppStatement statement, Outcome now, Outcome later) {
    if (now instanceof Planned
        && later instanceof Refused refused
        && !isUnknown(statement, refused)) {
      add(
          statement,
          Rule.DEPLOY_ORDER,
          Severity.ERROR,
          "it breaks as soon as the migrations are applied: " + said(refused),
          "-- deploy the program without it first, then migrate; or keep what it needs until then");
      return true;
    }
    if (now instanceof Refused refused
        && later instanceof Planned
        && !isUnknown(statement, refused)) {
      add(
          statement,
          Rule.DEPLOY_ORDER,
          Severity.WARNING,
          "it works only after the migrations: " + said(refused) + " before",
          "-- migrate first, then deploy the program");
      return true;
    }
    return false;
  }

  private static String said(Refused refused) {
    return refused.message() + " (SQLSTATE " + refused.state() + ")";
  }

  /** Whether the fault may be in what only the running program knows. */
  private static boolean isUnknown(AppStatement statement, Refused refused) {
    boolean isAtName = Set.of("42P10", "42703", "42P01").contains(refused.state());
    boolean isSyntax = refused.state().equals(SYNTAX);
    return switch (statement.form()) {
      case WHOLE -> false;
      case LITERAL ->
          (isSyntax
                  && (refused.message().contains("at end of input")
                      || OTHER_DIALECT.matcher(statement.sql()).find()))
              || isUntyped(statement, refused);
      // Templates within templates are no values.
      case TEMPLATE -> isSyntax || isUntyped(statement, refused);
      case COMPOSED -> !isAtName || refused.message().contains("$");
      case PHRASE -> !refused.state().equals("42703");
    };
  }

  /** Drivers send types with their parameters, which a text does not have. */
  private static boolean isUntyped(AppStatement statement, Refused refused) {
    return statement.sql().contains("$")
        && (refused.message().startsWith("operator")
            || refused.message().contains("is not unique")
            || refused.message().contains("unknown"));
  }

  private void refused(AppStatement statement, Refused refused) throws SQLException {
    String sql = statement.sql();
    Matcher column = MISSING_COLUMN.matcher(refused.message());
    Matcher table = MISSING_TABLE.matcher(refused.message());
    boolean isNamed = column.find() || table.find();
    String name = isNamed ? name(column, table) : "";
    String last = name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
    boolean isUndefined =
        (isNamed && UNDEFINED.contains(last))
            || refused.message().contains("zero-length delimited identifier")
            || (refused.state().equals(SYNTAX) && hasUndefinedColumn(sql));
    if (isUndefined && statement.form() != Form.COMPOSED && !isUnknown(statement, refused)) {
      add(
          statement,
          Rule.NAME_UNDEFINED,
          Severity.ERROR,
          said(refused),
          "-- in the program, look where the names of this list come from: one of them has no value");
      return;
    }
    if (isUnknown(statement, refused)) {
      if (planner.plan(withoutBuilders(sql)) instanceof Refused later
          && later.state().equals("42P10")) {
        conflict(statement, later);
      } else {
        planned--;
        composed++;
      }
      return;
    }
    if (refused.state().equals("42P01") && LEDGERS.contains(last)) {
      return;
    }
    boolean isOtherPlace = refused.state().equals("42P01") && !isNamed;
    boolean isKeyMissing = refused.state().equals("42704") && CONSTRAINT.matcher(sql).find();
    switch (isOtherPlace ? "" : isKeyMissing ? "42P10" : refused.state()) {
      case "42P10" -> conflict(statement, refused);
      case "42703" ->
          add(
              statement,
              Rule.COLUMN_UNKNOWN,
              Severity.ERROR,
              said(refused) + nearestColumn(refused, last, sql),
              "-- correct the name in the program, or add the column in a migration");
      case "42P01" ->
          add(
              statement,
              Rule.TABLE_UNKNOWN,
              Severity.ERROR,
              said(refused) + (name.contains(".") ? "" : elsewhere(last)),
              "-- correct the name in the program, or make the table in a migration");
      case "42883" ->
          add(
              statement,
              Rule.FUNCTION_UNKNOWN,
              Severity.ERROR,
              said(refused) + candidates(refused),
              "-- correct the name or cast the arguments, or make the function in a migration");
      case SYNTAX ->
          add(
              statement,
              Rule.STATEMENT_SYNTAX,
              statement.form() == Form.WHOLE ? Severity.ERROR : Severity.WARNING,
              said(refused),
              "-- correct the statement in the program");
      default ->
          add(
              statement,
              TYPES.contains(refused.state()) ? Rule.TYPE_MISMATCH : Rule.STATEMENT_FAILS,
              Severity.ERROR,
              said(refused) + (refused.hint() == null ? "" : "; " + refused.hint()),
              "-- correct the statement in the program");
    }
  }

  /**
   * An upsert without the columns and rows that a builder puts in: its target is known all the
   * same.
   */
  private static String withoutBuilders(String sql) {
    return BUILT_SET
        .matcher(BUILT_ROWS.matcher(sql).replaceFirst("$1 default values "))
        .replaceFirst("do nothing");
  }

  private static String name(Matcher column, Matcher table) {
    return Objects.requireNonNull(
        column.hasMatch() ? column.group("name") : table.group("name"), "a name");
  }

  /** Whether a name is missing in the list of columns of an INSERT. */
  private static boolean hasUndefinedColumn(String sql) {
    Matcher list = COLUMN_LIST.matcher(sql);
    return list.find()
        && Arrays.stream(list.group(1).split(",", -1))
            .map(name -> name.strip().replace("\"", "").toLowerCase(Locale.ROOT))
            .anyMatch(UNDEFINED::contains);
  }

  /** What the server means, or the same name in other letters, or one like it. */
  private String nearestColumn(Refused refused, String last, String sql) {
    if (refused.hint() != null) {
      return "; " + refused.hint();
    }
    return catalog.relations().stream()
        .filter(relation -> isNamed(sql, relation.name()))
        .flatMap(relation -> relation.columns().stream())
        .map(Column::name)
        .filter(name -> name.equalsIgnoreCase(last) && !name.equals(last))
        .findFirst()
        .map(name -> "; did you mean '" + Sql.identifier(name) + "', in quotes?")
        .orElseGet(() -> Names.didYouMean(last, columns(sql, last)));
  }

  private static boolean isNamed(String sql, String name) {
    return Pattern.compile("(?<!\\w)" + Pattern.quote(name) + "(?!\\w)", Pattern.CASE_INSENSITIVE)
        .matcher(sql)
        .find();
  }

  /** The columns of the tables that a statement names. */
  private List<String> columns(String sql, String missing) {
    return catalog.relations().stream()
        .filter(relation -> isNamed(sql, relation.name()))
        .flatMap(relation -> relation.columns().stream())
        .map(Column::name)
        .filter(name -> !name.equalsIgnoreCase(missing))
        .distinct()
        .toList();
  }

  private String elsewhere(String name) {
    List<String> same =
        catalog.relations().stream()
            .filter(relation -> relation.name().equals(name))
            .map(Relation::qualified)
            .toList();
    return same.isEmpty()
        ? Names.didYouMean(
            name, catalog.relations().stream().map(Relation::name).distinct().toList())
        : "; there is " + String.join(", ", same) + ", which is not on the search path";
  }

  private String candidates(Refused refused) throws SQLException {
    Matcher function = MISSING_FUNCTION.matcher(refused.message());
    if (!function.find()) {
      return refused.hint() == null ? "" : "; " + refused.hint();
    }
    String name = function.group("name").replace("\"", "");
    String bare = name.substring(name.lastIndexOf('.') + 1);
    List<String> there = planner.functions(bare);
    return there.isEmpty()
        ? "; there is none of this name"
        : "; there is " + String.join(", ", there);
  }

  /** The table of the last INSERT before the ON CONFLICT, as the search path has it. */
  private Optional<Relation> into(String sql) throws SQLException {
    Matcher conflict = CONFLICT.matcher(sql);
    int until = conflict.find() ? conflict.start() : sql.length();
    Matcher into = INTO.matcher(sql.substring(0, until));
    String name = "";
    while (into.find()) {
      name = into.group(1);
    }
    return name.isEmpty() ? Optional.empty() : planner.table(name).flatMap(catalog::relation);
  }

  /** Which unique indexes there are, and the target that would fit the likeliest. */
  private void conflict(AppStatement statement, Refused refused) throws SQLException {
    String sql = statement.sql();
    Matcher target = TARGET.matcher(sql);
    String wanted = "";
    if (target.find()) {
      int close = closing(sql, target.end());
      wanted = sql.substring(target.end(), close);
      if (wanted.matches("(?s).*\\$[0-9].*")) {
        add(
            statement,
            Rule.ON_CONFLICT_PARAMETER,
            Severity.ERROR,
            said(refused) + " with the generic plan; the target is (" + wanted.strip() + ")",
            "-- write the value of the index into the target as a literal, or use a key with NULLS NOT DISTINCT and plain columns");
        return;
      }
    }
    Optional<Relation> table = into(sql);
    List<Index> keys =
        table.map(catalog::indexes).orElse(List.of()).stream()
            .filter(index -> index.isUnique() && index.isUsable() && index.deferral().isEmpty())
            .toList();
    if (table.isEmpty()) {
      add(
          statement,
          Rule.ON_CONFLICT_WITHOUT_KEY,
          Severity.ERROR,
          said(refused),
          "-- in the program: on conflict with the columns of a unique index");
      return;
    }
    if (keys.isEmpty()) {
      add(
          statement,
          Rule.ON_CONFLICT_WITHOUT_KEY,
          Severity.ERROR,
          said(refused) + "; the table has no unique index at all",
          "-- create unique index concurrently on the columns of the target, in a migration");
      return;
    }
    Set<String> named =
        Arrays.stream(wanted.toLowerCase(Locale.ROOT).replace("\"", "").split("[^\\w]+"))
            .collect(Collectors.toSet());
    Relation into = table.get();
    Index nearest =
        keys.stream()
            .max(
                Comparator.<Index>comparingLong(index -> shared(into, index, named))
                    .thenComparingInt(index -> -index.keys().size()))
            .orElseThrow();
    add(
        statement,
        Rule.ON_CONFLICT_WITHOUT_KEY,
        Severity.ERROR,
        said(refused)
            + "; unique are "
            + keys.stream().map(index -> target(into, index)).collect(Collectors.joining(", ")),
        "-- in the program: on conflict " + target(into, nearest));
  }

  private static int closing(String sql, int from) {
    int depth = 0;
    for (int i = from; i < sql.length(); i++) {
      if (sql.charAt(i) == '(') {
        depth++;
      } else if (sql.charAt(i) == ')' && depth-- == 0) {
        return i;
      }
    }
    return sql.length();
  }

  private static long shared(Relation table, Index index, Set<String> named) {
    return index.keys().stream()
        .flatMap(part -> table.column(part.column()).stream())
        .filter(column -> named.contains(column.name().toLowerCase(Locale.ROOT)))
        .count();
  }

  private static String target(Relation table, Index index) {
    List<String> parts = new ArrayList<>();
    for (Index.Part part : index.keys()) {
      parts.add(
          part.expression() != null
              ? "(" + part.expression() + ")"
              : table.column(part.column()).map(column -> printed(column.name())).orElse("?"));
    }
    return "("
        + String.join(", ", parts)
        + ")"
        + (index.predicate() == null ? "" : " where " + index.predicate());
  }

  private static String printed(String name) {
    return name.matches("[a-z_][a-z0-9_]*") ? name : Sql.identifier(name);
  }

  /** An upsert by an index that leaves the tenant out, unless its WHERE asks for the tenant. */
  private void arbiter(AppStatement statement, Arbiter arbiter) {
    Optional<Relation> found =
        catalog.tables().stream()
            .filter(table ->
                table.name().equals(arbiter.table()) && table.schema().equals(arbiter.schema()))
            .findFirst();
    Optional<Column> tenant = found.map(catalog::top).flatMap(tenancy::column);
    if (found.isEmpty() || tenant.isEmpty()) {
      return;
    }
    Relation table = found.get();
    String name = tenant.get().name();
    for (Index index : catalog.indexes(table)) {
      if (!arbiter.indexes().contains(index.name()) || hasTenant(table, index, name)) {
        continue;
      }
      boolean isMadeUp =
          index.keys().stream()
              .flatMap(part -> table.column(part.column()).stream())
              .anyMatch(Column::isSurrogate);
      if (isMadeUp || isFenced(arbiter.filter(), name)) {
        continue;
      }
      Optional<ForeignKey> parent = parent(table, index);
      add(
          statement,
          Rule.UPSERT_WITHOUT_TENANT,
          parent.isPresent()
              ? Severity.NOTE
              : arbiter.isUpdate() ? Severity.ERROR : Severity.WARNING,
          "its key is %s %s, without %s%s"
              .formatted(
                  index.name(),
                  target(table, index),
                  name,
                  parent.isPresent()
                      ? "; it begins with the id of a row that some tenant has, which is as good as long as nobody names another's"
                      : ""),
          "-- a key that has it (schema audit prints one), and here: on conflict (%s, ...)%s"
              .formatted(
                  printed(name),
                  arbiter.isUpdate()
                      ? "; until then: do update ... where "
                          + printed(table.name())
                          + "."
                          + printed(name)
                          + " = excluded."
                          + printed(name)
                      : ""));
    }
  }

  /** Whether only rows of the same tenant pass. */
  private static boolean isFenced(String filter, String tenant) {
    String name = "\"?" + Pattern.quote(tenant) + "\"?";
    return !filter.contains(" OR ")
        && Pattern.compile(
                "(?<![\\w])" + name + "(\\)?(::\\w+)?)? = |= \\(?(\\w+\\.)?" + name + "(?![\\w])")
            .matcher(filter)
            .find();
  }

  private static boolean hasTenant(Relation table, Index index, String tenant) {
    return index.keys().stream()
        .anyMatch(part ->
            part.expression() != null
                ? mentions(part.expression(), tenant)
                : table
                    .column(part.column())
                    .filter(each -> each.name().equals(tenant))
                    .isPresent());
  }

  private static boolean mentions(String sql, String name) {
    return Pattern.compile("(?<![\\w])" + Pattern.quote(name) + "(?![\\w])").matcher(sql).find();
  }

  /** A foreign key, within the key, to a table whose rows are some tenant's. */
  private Optional<ForeignKey> parent(Relation table, Index index) {
    return catalog.foreignKeys(table).stream()
        .filter(key ->
            key.columns().stream().allMatch(index::hasKey)
                && key.columns().contains(index.keys().getFirst().column()))
        .filter(key -> catalog.relation(key.referenced()).filter(tenancy::holdsTenants).isPresent())
        .findFirst();
  }

  /** What failed on a server though it has a plan here. */
  private void logged(AppStatement statement) {
    Logged logged = statement.logged();
    if (logged == null || isOfSchema(logged.state())) {
      // It was mended by a migration since, or the log is of another schema.
      return;
    }
    String kind = logged.state().length() == 5 ? logged.state().substring(0, 2) : "";
    findings.add(
        Rule.LOGGED_FAILURE,
        USUAL.contains(kind) ? Severity.NOTE : Severity.WARNING,
        statement.place().file() + " " + logged.state() + " " + statement.head(),
        times(statement.times()) + ": " + logged.message(),
        "-- look at the values that the program sends",
        statement.place());
  }

  private static boolean isOfSchema(String state) {
    return Set.of("42P10", "42703", "42P01", "42883", SYNTAX).contains(state)
        || (TYPES.contains(state) && state.startsWith("42"));
  }
}
