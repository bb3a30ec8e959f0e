package dev.tallyroll.cli.output;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class TableTest {
  private static String printed(Format format) {
    StringWriter text = new StringWriter();
    new Table(List.of("model", "n"))
        .add(Arrays.asList("", 1L))
        .add(Arrays.asList(null, 2L))
        .add(Arrays.asList("a,\"b", null))
        .print(new PrintWriter(text), format);
    return text.toString();
  }

  @Test
  void nullAndTheEmptyText_areNotTheSame() {
    assertThat(printed(Format.CSV))
        .isEqualToNormalizingNewlines("model,n\n\"\",1\n,2\n\"a,\"\"b\",\n");
    assertThat(printed(Format.JSON)).contains("\"model\":\"\"", "\"model\":null");
  }
}
