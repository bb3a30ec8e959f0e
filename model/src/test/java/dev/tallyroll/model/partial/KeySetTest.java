package dev.tallyroll.model.partial;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

class KeySetTest {
  @Test
  void manyKeysOfAllLengths_keepTheirNumbersAndBytes() {
    Random random = new Random(3);
    KeySet keys = new KeySet();
    Map<String, Integer> expected = new HashMap<>();
    for (int i = 0; i < 200_000; i++) {
      String key = "k".repeat(random.nextInt(20)) + random.nextInt(40_000);
      byte[] bytes = ("##" + key).getBytes(StandardCharsets.UTF_8);
      int number = keys.intern(bytes, 2, bytes.length - 2);
      assertThat(expected.computeIfAbsent(key, fresh -> expected.size())).isEqualTo(number);
    }
    assertThat(keys.size()).isEqualTo(expected.size());
    expected.forEach((key, number) ->
        assertThat(keys.bytes(number)).isEqualTo(key.getBytes(StandardCharsets.UTF_8)));
  }
}
