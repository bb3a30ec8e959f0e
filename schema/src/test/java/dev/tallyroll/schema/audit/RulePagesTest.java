package dev.tallyroll.schema.audit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import dev.tallyroll.schema.audit.CorpusTest.Corpus;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Rule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * The page of each rule is the case of the corpus that says so, or the first, audited: what is
 * wrong, what is found, and what mends it. {@code -Dtallyroll.write-pages=true} writes them.
 */
class RulePagesTest {
  private static final Path PAGES = Path.of("../docs/schema-rules");

  /** What mends something may depend on the server. */
  private static final int SERVER = 18;

  @BeforeAll
  static void makeRoles() {
    CorpusTest.makeRoles();
  }

  @AfterAll
  static void dropRoles() {
    CorpusTest.dropRoles();
  }

  @Test
  void pages_sayWhatTheAuditFinds() throws IOException, SQLException {
    List<Corpus> cases = Corpus.read();
    List<String> names = new ArrayList<>();
    for (Rule rule : Rule.values()) {
      names.add(rule.id() + ".md");
      if (rule.scope() != Rule.Scope.AUDIT) {
        continue;
      }
      Corpus first =
          cases.stream()
              .filter(each -> each.rule().equals(rule.id()))
              .min(Comparator.comparing(each -> !each.setup().contains("-- page\n")))
              .orElseThrow();
      compare(PAGES.resolve(rule.id() + ".md"), page(rule, first));
    }
    compare(PAGES.resolve("README.md"), list());
    names.add("README.md");
    try (Stream<Path> files = Files.list(PAGES)) {
      assertThat(files.map(file -> file.getFileName().toString()).collect(Collectors.toSet()))
          .isEqualTo(new TreeSet<>(names));
    }
  }

  private static void compare(Path file, String page) throws IOException {
    if (Boolean.getBoolean("tallyroll.write-pages")) {
      Files.createDirectories(PAGES);
      Files.writeString(file, page);
    }
    assertThat(file).as("write it with -Dtallyroll.write-pages=true").hasContent(page);
  }

  private static String list() {
    return "# Rules\n\nOf `schema audit`, which reads catalogs:\n"
        + list(Rule.Scope.AUDIT)
        + "\nOf `schema check`, which tries migrations and statements:\n"
        + list(Rule.Scope.CHECK);
  }

  private static String list(Rule.Scope scope) {
    return "\n| rule | at worst | finds |\n|---|---|---|\n"
        + Arrays.stream(Rule.values())
            .filter(rule -> rule.scope() == scope)
            .map(rule ->
                "| [%s](%s.md) | %s | %s |\n"
                    .formatted(rule.id(), rule.id(), rule.severity(), rule.title()))
            .collect(Collectors.joining());
  }

  private static String page(Rule rule, Corpus corpus) throws SQLException {
    List<Finding> found =
        CorpusTest.on(
            corpus,
            corpus.fault(),
            connection -> {
              assumeThat(connection.getMetaData().getDatabaseMajorVersion()).isEqualTo(SERVER);
              return CorpusTest.audit(connection, corpus);
            });
    StringBuilder page =
        new StringBuilder(
            "# %s\n\n**%s** (%s). %s\n"
                .formatted(rule.id(), rule.title(), rule.severity(), rule.why()));
    page.append("\n## Found\n");
    if (!corpus.settings().isEmpty()) {
      page.append("\nWith these settings:\n\n```yaml\n")
          .append(corpus.settings())
          .append("\n```\n");
    }
    page.append(sql(shown(corpus.setup()) + shown(corpus.fault())));
    for (Finding finding : found) {
      page.append("\n`")
          .append(finding.object())
          .append("`: ")
          .append(finding.evidence())
          .append("\n\nMends it:\n")
          .append(sql(finding.mend() + "\n"));
    }
    String fixed = shown(corpus.fixed());
    page.append("\n## Not found\n").append(sql(shown(corpus.setup()) + fixed));
    return page.toString();
  }

  private static String shown(String section) {
    return section
        .lines()
        .filter(line -> !line.startsWith("--") && !line.isBlank() && !line.equals("select 1;"))
        .map(line ->
            line.replaceFirst(
                "^select pg_temp\\.guard\\('(.*)'\\);$",
                "alter table $1 enable row level security;\nalter table $1 force row level security;\n"
                    + "create policy tenant_rows on $1 using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));"))
        .map(line -> line + "\n")
        .collect(Collectors.joining());
  }

  private static String sql(String text) {
    return text.isBlank() ? "\n(nothing)\n" : "\n```sql\n" + text + "```\n";
  }
}
