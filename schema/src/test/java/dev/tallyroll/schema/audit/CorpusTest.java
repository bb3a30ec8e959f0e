package dev.tallyroll.schema.audit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.tallyroll.schema.CorpusFile;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.SettingsReader;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Small schemas with one fault each, and their twins without it. Every fault must be found, nothing
 * else; the twin must have no finding; and what a finding says mends it must do so.
 */
class CorpusTest {
  private static final List<String> ROLES =
      List.of(
          "corpus_owner nologin",
          "corpus_reader nologin",
          "corpus_trusted nologin",
          "corpus_app login",
          "corpus_loud login");

  private static final String GUARD =
      """
      create function pg_temp.guard(guarded regclass) returns void language plpgsql as $$
      begin
        execute format('alter table %1$s enable row level security; alter table %1$s force row level security;'
          || ' create policy tenant_rows on %1$s using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))',
          guarded);
      end $$
      """;

  @BeforeAll
  static void makeRoles() {
    dropRoles();
    try (TestDatabase database = TestDatabase.create()) {
      ROLES.forEach(role -> database.run("create role " + role));
    }
  }

  @AfterAll
  static void dropRoles() {
    try (TestDatabase database = TestDatabase.create()) {
      ROLES.forEach(role -> database.run("drop role if exists " + role.split(" ")[0]));
    }
  }

  static List<Corpus> cases() throws IOException {
    return Corpus.read();
  }

  @Test
  void everyRule_hasACase() throws IOException {
    Set<String> covered = cases().stream().map(Corpus::rule).collect(Collectors.toSet());
    assertThat(
            Arrays.stream(Rule.values())
                .filter(rule -> rule.scope() == Rule.Scope.AUDIT)
                .map(Rule::id))
        .allMatch(covered::contains);
    assertThat(covered).allMatch(id -> Rule.of(id).isPresent());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void fault_isFound_andMended(Corpus corpus) throws SQLException {
    List<Finding> left =
        on(
            corpus,
            corpus.fault(),
            connection -> {
              String before = catalogs(connection);
              List<Finding> found = audit(connection, corpus);
              assertThat(catalogs(connection)).isEqualTo(before);
              assertThat(found.stream().map(CorpusTest::named))
                  .containsExactlyInAnyOrderElementsOf(
                      Stream.concat(
                              corpus.finds().stream().map(find -> corpus.rule() + " " + find),
                              corpus.also().stream())
                          .toList());
              if (corpus.isMendedByPeople()) {
                return List.of();
              }
              for (Finding finding : found) {
                mend(connection, finding);
              }
              return audit(connection, corpus);
            });
    assertThat(left).isEmpty();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void fixedTwin_hasNoFinding(Corpus corpus) throws SQLException {
    List<Finding> found = on(corpus, corpus.fixed(), connection -> audit(connection, corpus));
    assertThat(found).isEmpty();
  }

  /** Works on a database of its own with a case in it. */
  static <T> T on(Corpus corpus, String section, Database.Work<T> work) throws SQLException {
    try (TestDatabase database = TestDatabase.create();
        Connection connection = database.connect()) {
      assumeThat(connection.getMetaData().getDatabaseMajorVersion())
          .isGreaterThanOrEqualTo(corpus.server());
      try {
        build(connection, corpus, section);
        return work.run(connection);
      } finally {
        // Roles are of the whole server: they lose what the case has given them.
        database.run(
            "alter role corpus_loud nobypassrls; alter role corpus_owner nobypassrls; revoke corpus_owner from corpus_loud");
      }
    }
  }

  private static String named(Finding finding) {
    return finding.rule().id() + " " + finding.object() + " " + finding.severity();
  }

  static List<Finding> audit(Connection connection, Corpus corpus) throws SQLException {
    Settings settings =
        SettingsReader.read(
            "settings.yaml",
            "roles: {application: [corpus_app], trusted: [corpus_trusted]}\n" + corpus.settings());
    return Audit.run(connection, settings).findings();
  }

  private static void build(Connection connection, Corpus corpus, String section)
      throws SQLException {
    Sql.run(connection, GUARD);
    Sql.run(connection, Corpus.PRELUDE);
    for (String part : List.of(corpus.setup(), section)) {
      List<String> batches = new ArrayList<>(List.of(part.split("(?m)^-- go$")));
      for (String batch : batches) {
        if (batch.strip().endsWith("-- fails")) {
          assertThatThrownBy(() -> Sql.run(connection, batch)).isInstanceOf(SQLException.class);
        } else if (!batch.isBlank()) {
          Sql.run(connection, batch);
        }
      }
    }
  }

  /** Statement by statement, since some of them must not be in a transaction. */
  static void mend(Connection connection, Finding finding) throws SQLException {
    String bare =
        Arrays.stream(finding.mend().split("\n"))
            .filter(line -> !line.startsWith("--"))
            .collect(Collectors.joining("\n"));
    for (String statement : bare.isBlank() ? new String[0] : bare.split(";\\s*(\n|$)")) {
      try {
        Sql.run(connection, statement);
      } catch (SQLException e) {
        throw new AssertionError(e.getMessage() + " in " + statement, e);
      }
    }
  }

  /** What an audit must not change: all rows of the catalogs that it reads, with their versions. */
  private static String catalogs(Connection connection) throws SQLException {
    return Stream.of(
            "pg_class",
            "pg_attribute",
            "pg_constraint",
            "pg_index",
            "pg_policy",
            "pg_proc",
            "pg_rewrite",
            "pg_authid",
            "pg_namespace",
            "pg_depend")
        .map(catalog ->
            "select md5(string_agg(t.xmin::text || t::text, '' order by t.ctid)) from "
                + catalog
                + " t")
        .map(query -> {
          try {
            return Sql.one(connection, query, row -> row.getString(1));
          } catch (SQLException e) {
            throw new IllegalStateException(e);
          }
        })
        .collect(Collectors.joining(" "));
  }

  /**
   * A case: a file whose comments at the head say what must be found.
   *
   * @param rule the id of its rule, which is the name of its folder
   * @param finds object and severity of each finding
   * @param also findings of other rules, with their rule
   * @param server the oldest version of the server that has what it needs
   * @param settings YAML
   */
  record Corpus(
      String rule,
      String name,
      List<String> finds,
      List<String> also,
      int server,
      boolean isMendedByPeople,
      String settings,
      String setup,
      String fault,
      String fixed) {
    private static final Path ROOT = Path.of("src/test/resources/corpus/audit");
    private static final String PRELUDE = CorpusFile.text(ROOT.resolve("prelude.sql"));

    static List<Corpus> read() throws IOException {
      try (Stream<Path> files = Files.walk(ROOT)) {
        return files
            .filter(file -> file.getParent() != null && !ROOT.equals(file.getParent()))
            .filter(file -> file.toString().endsWith(".sql"))
            .sorted()
            .map(Corpus::of)
            .toList();
      }
    }

    private static Corpus of(Path path) {
      CorpusFile file = CorpusFile.read(ROOT, path, "(?m)^--- (fault|fixed)\n");
      return new Corpus(
          file.rule(),
          file.name(),
          file.heads("-- finds: "),
          file.heads("-- also: "),
          file.server(),
          file.heads("-- mend: ").contains("by people"),
          String.join("\n", file.heads("--| ")),
          file.setup(),
          file.fault(),
          file.fixed());
    }

    @Override
    public String toString() {
      return rule + "/" + name;
    }
  }
}
