package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.Function;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.session.Sql;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Functions: with whose rights they run, and where their names are looked up. */
final class FunctionChecks {
  private static final Set<String> BOUND_LANGUAGES = Set.of("c", "internal");
  private static final Set<String> SQL_LANGUAGES = Set.of("sql", "plpgsql");

  private static final Pattern COMMENT =
      Pattern.compile("--[^\\n]*+|/\\*.*?\\*/|'[^']*+(?:''[^']*+)*+'", Pattern.DOTALL);

  /** A name without a schema where only a relation can stand. */
  private static final Pattern REFERENCE =
      Pattern.compile(
          "\\b(?:from|join|into|update|table)\\s+(?:only\\s+)?(\"[^\"]+\"|[a-z_]\\w*)(?![\\w\"])(?!\\s*\\.)",
          Pattern.CASE_INSENSITIVE);

  /** Who stands for everybody, with Supabase too. */
  private static final Set<String> OPEN_TO = Set.of("public", "anon");

  private final Subject subject;
  private final Findings findings;
  private final Catalog catalog;
  private final Map<String, Set<String>> schemasOf = new HashMap<>();

  private FunctionChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
    this.catalog = subject.catalog();
    for (Relation relation : catalog.relations()) {
      schemasOf.computeIfAbsent(relation.name(), key -> new HashSet<>()).add(relation.schema());
    }
  }

  static void check(Subject subject, Findings findings) {
    FunctionChecks checks = new FunctionChecks(subject, findings);
    subject.catalog().functions().stream()
        .filter(function -> !BOUND_LANGUAGES.contains(function.language()))
        .forEach(checks::function);
  }

  private void function(Function function) {
    Set<String> named = unqualified(function);
    String path = path(function, named);
    if (function.isDefiner()) {
      if (!function.fixesSearchPath()) {
        findings.add(
            Rule.DEFINER_SEARCH_PATH,
            function.qualified(),
            "SECURITY DEFINER, owned by " + function.owner() + ", without SET search_path",
            path);
      } else if (!function.searchPath().isEmpty() && !function.searchPath().contains("pg_temp")) {
        findings.add(
            Rule.DEFINER_SEARCH_PATH,
            Severity.NOTE,
            function.qualified(),
            "search_path = "
                + function.searchPath()
                + " without pg_temp at its end, which is looked into first then",
            "alter "
                + function.sql()
                + " set search_path = "
                + function.searchPath()
                + ", pg_temp;");
      }
      open(function);
    } else if (!function.fixesSearchPath() && !named.isEmpty()) {
      findings.add(
          Rule.SEARCH_PATH_REFERENCE,
          function.qualified(),
          "names " + String.join(", ", named) + " without a schema",
          path);
    }
  }

  /** Its own schema first, then those of the names that are not there. */
  private String path(Function function, Set<String> named) {
    Set<String> schemas = new LinkedHashSet<>();
    schemas.add(function.schema());
    Set<String> doubtful = new TreeSet<>();
    for (String name : named) {
      Set<String> in = schemasOf.getOrDefault(name, Set.of());
      if (in.size() > 1) {
        doubtful.add(name);
      }
      if (!in.contains(function.schema())) {
        schemas.addAll(in.stream().sorted().toList());
      }
    }
    String alter =
        "alter "
            + function.sql()
            + " set search_path = "
            + String.join(", ", schemas.stream().map(Sql::identifier).toList())
            + ", pg_temp;";
    return doubtful.isEmpty()
        ? alter
        : "-- several schemas have "
            + String.join(", ", doubtful)
            + ": name the right one in the body, or first in\n-- "
            + alter;
  }

  private Set<String> unqualified(Function function) {
    Set<String> names = new TreeSet<>();
    if (SQL_LANGUAGES.contains(function.language()) && !function.isBound()) {
      Matcher matcher = REFERENCE.matcher(COMMENT.matcher(function.body()).replaceAll(" "));
      while (matcher.find()) {
        String name = matcher.group(1);
        String plain =
            name.startsWith("\"")
                ? name.substring(1, name.length() - 1)
                : name.toLowerCase(Locale.ROOT);
        if (schemasOf.containsKey(plain)) {
          names.add(plain);
        }
      }
    }
    return names;
  }

  private void open(Function function) {
    List<String> callers =
        function.callers().stream()
            .filter(OPEN_TO::contains)
            .filter(role -> !subject.isTrusted(role))
            .sorted()
            .toList();
    if (function.isTrigger() || callers.isEmpty()) {
      return;
    }
    List<String> tables =
        subject.guardedTables().stream()
            .filter(table -> subject.isExempt(function.owner(), table))
            .filter(table -> mentions(function.body(), table.name()))
            .map(Relation::qualified)
            .toList();
    if (!tables.isEmpty()) {
      findings.add(
          Rule.DEFINER_PUBLIC,
          function.qualified(),
          "reads "
              + String.join(", ", tables)
              + " as "
              + function.owner()
              + "; EXECUTE is granted to "
              + String.join(", ", callers),
          "revoke execute on " + function.sql() + " from " + Mends.roles(callers) + ";");
    }
  }

  /** In texts too, since they may be statements that the function executes. */
  private static boolean mentions(String body, String table) {
    return Pattern.compile("(?<!\\w)" + Pattern.quote(table) + "(?!\\w)", Pattern.CASE_INSENSITIVE)
        .matcher(body)
        .find();
  }
}
