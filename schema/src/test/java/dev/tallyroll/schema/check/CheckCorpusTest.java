package dev.tallyroll.schema.check;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.tallyroll.schema.CorpusFile;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import dev.tallyroll.schema.settings.SettingsReader;
import dev.tallyroll.schema.statement.AppStatement;
import dev.tallyroll.schema.statement.ServerLog;
import dev.tallyroll.schema.statement.Statements;
import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Small folders of migrations with one fault each, and their twins without it: every fault must be
 * found, nothing else, and the twin must have no finding.
 */
class CheckCorpusTest {
  private static final Check.Phases SILENT =
      (what, unit, most) ->
          new Check.Phase() {
            @Override
            public void step() {}

            @Override
            public void close() {}
          };

  @TempDir private Path folder = Path.of("");

  static List<Corpus> cases() throws IOException {
    return Corpus.read();
  }

  @Test
  void everyRule_hasACase() throws IOException {
    Set<String> covered = cases().stream().map(Corpus::rule).collect(Collectors.toSet());
    assertThat(
            Arrays.stream(Rule.values())
                .filter(rule -> rule.scope() == Rule.Scope.CHECK)
                .map(Rule::id))
        .allMatch(covered::contains);
    assertThat(covered).allMatch(id -> Rule.of(id).isPresent());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void fault_isFound(Corpus corpus) throws SQLException, IOException {
    assertThat(check(folder, corpus, corpus.fault()).stream().map(CheckCorpusTest::named))
        .containsExactlyInAnyOrderElementsOf(
            Stream.concat(
                    corpus.finds().stream().map(find -> corpus.rule() + " " + find),
                    corpus.also().stream())
                .toList());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void fixedTwin_hasNoFinding(Corpus corpus) throws SQLException, IOException {
    assertThat(check(folder, corpus, corpus.fixed())).isEmpty();
  }

  private static String named(Finding finding) {
    return finding.rule().id()
        + " "
        + finding
            .object()
            .replaceFirst("^/\\S*/(?=(app|log)/)", "")
            .replaceFirst(" #[0-9a-f]+$", "")
        + " "
        + finding.severity();
  }

  static List<Finding> check(Path folder, Corpus corpus, Map<String, String> files)
      throws SQLException, IOException {
    try (TestDatabase database = TestDatabase.create()) {
      try (Connection connection = database.connect()) {
        assumeThat(connection.getMetaData().getDatabaseMajorVersion())
            .isGreaterThanOrEqualTo(corpus.server());
      }
      Map<String, String> all = new LinkedHashMap<>(corpus.setup());
      all.putAll(files);
      Path migrations = folder.resolve("migrations");
      for (Map.Entry<String, String> file : all.entrySet()) {
        Path path = folder.resolve(file.getKey());
        Files.createDirectories(path.getParent());
        Files.writeString(path, file.getValue());
      }
      MigrationFolder read = MigrationFolder.read(migrations, corpus.layout());
      Path ledger = folder.resolve("ledger");
      return new Check(
              database::newSource,
              read,
              "migrations",
              Files.exists(ledger)
                  ? Optional.of(Ledger.read("ledger", Files.readString(ledger), read))
                  : Optional.empty(),
              statements(folder),
              SILENT)
          .run(SettingsReader.read("settings.yaml", corpus.settings()))
          .judged()
          .findings();
    }
  }

  private static List<AppStatement> statements(Path folder) throws IOException {
    List<AppStatement> statements = new ArrayList<>();
    if (Files.exists(folder.resolve("app"))) {
      statements.addAll(Statements.read(folder.resolve("app"), List.of()).statements());
    }
    if (Files.exists(folder.resolve("log"))) {
      try (Stream<Path> logs = Files.list(folder.resolve("log"))) {
        logs.sorted().forEach(log -> statements.addAll(ServerLog.read(log).statements()));
      }
    }
    return statements;
  }

  /**
   * A case: a file whose comments at the head say what must be found.
   *
   * @param rule the id of its rule, which is the name of its folder
   * @param finds object and severity of each finding
   * @param also findings of other rules, with their rule
   * @param server the oldest version of the server that has what it needs
   * @param settings YAML
   * @param isPage whether the page of the rule shows it
   * @param setup files of both
   * @param fault files of the one with the fault
   * @param fixed files of its twin
   */
  record Corpus(
      String rule,
      String name,
      List<String> finds,
      List<String> also,
      int server,
      Optional<Layout> layout,
      String settings,
      boolean isPage,
      Map<String, String> setup,
      Map<String, String> fault,
      Map<String, String> fixed) {
    private static final Path ROOT = Path.of("src/test/resources/corpus/check");

    static List<Corpus> read() throws IOException {
      try (Stream<Path> files = Files.walk(ROOT)) {
        return files
            .filter(file -> file.toString().endsWith(".txt"))
            .sorted()
            .map(Corpus::of)
            .toList();
      }
    }

    private static Corpus of(Path path) {
      CorpusFile file = CorpusFile.read(ROOT, path, "(?m)^=== (fault|fixed)\n");
      return new Corpus(
          file.rule(),
          file.name(),
          file.heads("-- finds: "),
          file.heads("-- also: "),
          file.server(),
          file.heads("-- layout: ").stream()
              .map(name -> Layout.valueOf(name.toUpperCase(Locale.ROOT).replace('-', '_')))
              .findFirst(),
          String.join("\n", file.heads("--| ")),
          file.text().contains("\n-- page\n"),
          files(file.setup()),
          files(file.fault()),
          files(file.fixed()));
    }

    /** Files of migrations stand for themselves, others are named by their path. */
    private static Map<String, String> files(String section) {
      Map<String, String> files = new LinkedHashMap<>();
      List<String> parts = new ArrayList<>(List.of(section.split("(?m)^--- ")));
      parts.removeFirst();
      for (String part : parts) {
        int end = part.indexOf('\n');
        String name = part.substring(0, end);
        files.put(
            name.equals("ledger") || name.startsWith("app/") || name.startsWith("log/")
                ? name
                : "migrations/" + name,
            part.substring(end + 1));
      }
      return files;
    }

    @Override
    public String toString() {
      return rule + "/" + name;
    }
  }
}
