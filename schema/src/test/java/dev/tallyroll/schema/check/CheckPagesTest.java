package dev.tallyroll.schema.check;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.schema.check.CheckCorpusTest.Corpus;
import dev.tallyroll.schema.finding.Finding;
import dev.tallyroll.schema.finding.Rule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The page of each rule of {@code schema check} is the case of the corpus that says so, or the
 * first, checked. {@code -Dtallyroll.write-pages=true} writes them.
 */
class CheckPagesTest {
  private static final Path PAGES = Path.of("../docs/schema-rules");

  @TempDir private Path folder = Path.of("");

  @Test
  void pages_sayWhatTheCheckFinds() throws IOException, SQLException {
    List<Corpus> cases = Corpus.read();
    for (Rule rule : Rule.values()) {
      if (rule.scope() == Rule.Scope.CHECK) {
        Corpus first =
            cases.stream()
                .filter(each -> each.rule().equals(rule.id()) && each.server() <= 15)
                .min(Comparator.comparing(each -> !each.isPage()))
                .orElseThrow();
        String page = page(rule, first);
        Path file = PAGES.resolve(rule.id() + ".md");
        if (Boolean.getBoolean("tallyroll.write-pages")) {
          Files.writeString(file, page);
        }
        assertThat(file).as("write it with -Dtallyroll.write-pages=true").hasContent(page);
      }
    }
  }

  private String page(Rule rule, Corpus corpus) throws IOException, SQLException {
    Path of = Files.createDirectories(folder.resolve(rule.id()));
    StringBuilder page =
        new StringBuilder(
            "# %s\n\n**%s** (%s). %s\n\n## Found\n"
                .formatted(rule.id(), rule.title(), rule.severity(), rule.why()));
    page.append(files(corpus.setup())).append(files(corpus.fault()));
    for (Finding finding : CheckCorpusTest.check(of, corpus, corpus.fault())) {
      if (finding.rule() == rule) {
        page.append(
            "\n`%s`: %s\n\nMends it:\n\n```sql\n%s\n```\n"
                .formatted(
                    shown(finding.object(), of),
                    shown(finding.evidence(), of),
                    shown(finding.mend(), of)));
      }
    }
    return page.append("\n## Not found\n")
        .append(files(corpus.setup()))
        .append(files(corpus.fixed()))
        .toString();
  }

  private static String shown(String text, Path of) {
    return text.replace(of.toString().replace('\\', '/') + "/", "");
  }

  private static String files(Map<String, String> files) {
    return files.entrySet().stream()
        .map(file -> "\n`%s`:\n\n```\n%s\n```\n".formatted(file.getKey(), file.getValue().strip()))
        .collect(Collectors.joining());
  }
}
