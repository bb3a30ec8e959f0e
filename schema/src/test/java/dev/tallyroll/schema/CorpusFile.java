package dev.tallyroll.schema;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * A file of the corpus: comments at its head say what must be found, then come what both have, what
 * has the fault, and its twin without.
 *
 * @param path where it lies below the corpus, as {@code rule/case}
 */
public record CorpusFile(Path path, String text, String setup, String fault, String fixed) {
  /**
   * Reads it.
   *
   * @param sections what begins the two sections, as a regular expression
   */
  public static CorpusFile read(Path root, Path file, String sections) {
    String text = text(file);
    String[] parts = text.split(sections);
    assertThat(parts).as(file.toString()).hasSize(3);
    return new CorpusFile(root.relativize(file), text, parts[0], parts[1], parts[2]);
  }

  /** The text of a file. */
  public static String text(Path file) {
    try {
      return Files.readString(file, StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The rule that it is for. */
  public String rule() {
    return path.getName(0).toString();
  }

  /** Its name, without the ending. */
  public String name() {
    return path.getName(1).toString().replaceFirst("\\.\\w+$", "");
  }

  /** What stands behind comments that begin so. */
  public List<String> heads(String head) {
    return text.lines()
        .filter(line -> line.startsWith(head))
        .map(line -> line.substring(head.length()))
        .toList();
  }

  /** The oldest version of the server that has what it needs; 0 if all have. */
  public int server() {
    return heads("-- server: ").stream().mapToInt(Integer::parseInt).findFirst().orElse(0);
  }
}
