package dev.tallyroll.model.partial;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class DistinctSketchTest {
  private static final HashCache HASHES = new HashCache();

  private static long hash(String value) {
    byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
    return HASHES.hash(bytes, 0, bytes.length);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 100, 255, 256})
  void upTo256Values_theCountIsExact(int count) {
    DistinctSketch sketch = new DistinctSketch();
    for (int round = 0; round < 3; round++) {
      for (int i = 0; i < count; i++) {
        sketch.add(hash("user-" + i));
      }
    }
    assertThat(sketch.estimate()).isEqualTo(count);
  }

  /**
   * The root of the mean squared error over many sketches is the standard error; it must be within
   * the stated 1.6 %.
   */
  @ParameterizedTest
  @ValueSource(ints = {257, 300, 1_000, 3_000, 10_000, 100_000})
  void beyond256Values_theStandardErrorIsWithinItsBound(int count) {
    int sketches = count > 10_000 ? 100 : 400;
    double squares = 0;
    double sum = 0;
    Random random = new Random(count);
    for (int s = 0; s < sketches; s++) {
      DistinctSketch sketch = new DistinctSketch();
      for (int i = 0; i < count; i++) {
        sketch.add(random.nextLong());
      }
      double error = (double) sketch.estimate() / count - 1;
      squares += error * error;
      sum += error;
    }
    // The measured figure itself scatters by 1 / sqrt(2 * sketches).
    assertThat(Math.sqrt(squares / sketches))
        .isLessThan(0.016 * (1 + 3 / Math.sqrt(2.0 * sketches)));
    assertThat(Math.abs(sum / sketches)).isLessThan(3 * 0.016 / Math.sqrt(sketches));
  }

  @Test
  void aMillionValues_areWithinThreeStandardErrors() {
    DistinctSketch sketch = new DistinctSketch();
    for (int i = 0; i < 1_000_000; i++) {
      sketch.add(hash("user-" + i));
    }
    assertThat((double) sketch.estimate())
        .isBetween(1_000_000 * (1 - 3 * 0.016), 1_000_000 * (1 + 3 * 0.016));
  }

  @Test
  void anyOrderAndGrouping_givesTheSameBytes() {
    Random random = new Random(11);
    for (int round = 0; round < 60; round++) {
      int count = random.nextInt(700);
      DistinctSketch once = new DistinctSketch();
      DistinctSketch left = new DistinctSketch();
      DistinctSketch right = new DistinctSketch();
      for (int i = 0; i < count; i++) {
        long hash = hash("v" + random.nextInt(600));
        once.add(hash);
        (random.nextBoolean() ? left : right).add(hash);
      }
      byte[] bytes = left.encode();
      right.merge(bytes, 0, bytes.length);
      DistinctSketch merged = new DistinctSketch();
      merged.merge(right);
      assertThat(merged.encode()).isEqualTo(once.encode());
    }
  }

  @Test
  void theHash_isTheBeginningOfSha256() {
    // sha256('abc') begins ba7816bf 8f01cfea (FIPS 180-4, appendix).
    assertThat(hash("abc")).isEqualTo(0xba7816bf8f01cfeaL);
    assertThat(hash("abc")).isEqualTo(0xba7816bf8f01cfeaL);
  }

  @Test
  void bytesThatAreNoSketch_areRefused() {
    assertThatThrownBy(() -> new DistinctSketch().merge(new byte[7], 0, 7))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
