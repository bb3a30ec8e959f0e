package dev.tallyroll.model.partial;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.Random;
import java.util.function.DoubleSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class HistogramTest {
  private static final double[] QUANTILES = {0.01, 0.5, 0.9, 0.99, 0.999};

  static Stream<Arguments> workloads() {
    return Stream.of(1, 60, 1_440, 10_000)
        .flatMap(parts ->
            Stream.of(
                    "lognormal 0.5",
                    "lognormal 1",
                    "lognormal 1.5",
                    "lognormal 2",
                    "pareto",
                    "uniform",
                    "bimodal",
                    "constant",
                    "negative",
                    "zeros",
                    "nine decades")
                .map(name -> Arguments.of(name, parts)));
  }

  static DoubleSupplier values(String name, Random random) {
    return switch (name) {
      case "lognormal 0.5" -> () -> Math.exp(5 + 0.5 * random.nextGaussian());
      case "lognormal 1" -> () -> Math.exp(5 + random.nextGaussian());
      case "lognormal 1.5" -> () -> Math.exp(5 + 1.5 * random.nextGaussian());
      case "lognormal 2" -> () -> Math.exp(5 + 2 * random.nextGaussian());
      case "pareto" -> () -> Math.pow(1 - random.nextDouble(), -1 / 1.2);
      case "uniform" -> () -> random.nextDouble() * 1_000;
      case "bimodal" ->
          () -> random.nextInt(4) == 0 ? 10_000 + random.nextGaussian() : 3 + random.nextDouble();
      case "constant" -> () -> 42.5;
      case "negative" -> () -> -Math.exp(3 + random.nextGaussian());
      case "zeros" -> () -> random.nextInt(3) - 1;
      case "nine decades" ->
          () -> Math.pow(10, random.nextDouble() * 9 - 4) * (random.nextInt(5) == 0 ? -1 : 1);
      default -> throw new IllegalArgumentException(name);
    };
  }

  @ParameterizedTest
  @MethodSource("workloads")
  void quantilesOfMergedPartials_areWithinOnePercent(String name, int parts) {
    Random random = new Random(name.hashCode() * 31L + parts);
    DoubleSupplier values = values(name, random);
    int each = Math.max(3, 40_000 / parts);
    double[] all = new double[parts * each];
    Histogram merged = new Histogram();
    for (int part = 0; part < parts; part++) {
      Histogram histogram = new Histogram();
      for (int i = 0; i < each; i++) {
        double value = values.getAsDouble();
        all[part * each + i] = value;
        histogram.add(value);
      }
      byte[] bytes = histogram.encode();
      merged.merge(bytes, 0, bytes.length);
    }
    Arrays.sort(all);
    assertThat(merged.count()).isEqualTo(all.length);
    for (double q : QUANTILES) {
      double exact = all[(int) Math.ceil(q * all.length) - 1];
      double estimate = merged.quantile(q, all[0], all[all.length - 1]);
      assertThat(Math.abs(estimate - exact))
          .as("p%s of %s", q * 100, exact)
          .isLessThanOrEqualTo(0.01 * Math.abs(exact));
    }
  }

  @Test
  void anyOrderAndGrouping_givesTheSameBytes() {
    Random random = new Random(7);
    for (int round = 0; round < 200; round++) {
      DoubleSupplier source = values(round % 2 == 0 ? "nine decades" : "zeros", random);
      double[] values =
          random.doubles(1 + random.nextInt(300)).map(x -> source.getAsDouble()).toArray();
      Histogram once = new Histogram();
      for (double value : values) {
        once.add(value);
      }
      Histogram[] parts =
          Stream.generate(Histogram::new).limit(1 + random.nextInt(5)).toArray(Histogram[]::new);
      for (int i = values.length - 1; i >= 0; i--) {
        parts[random.nextInt(parts.length)].add(values[i]);
      }
      Histogram merged = new Histogram();
      for (Histogram part : parts) {
        merged.merge(part);
      }
      assertThat(merged.encode()).isEqualTo(once.encode());
    }
  }

  @Test
  void everyBin_holdsItsOwnMiddle() {
    for (int bin = -134_272; bin <= 134_272; bin++) {
      double value = Histogram.value(bin);
      if (Math.abs(value) >= 1e-300) {
        assertThat(Histogram.bin(value)).isEqualTo(bin);
      }
    }
  }

  @Test
  void edgesOfTheDoubles_haveBinsWithinTheBound() {
    for (double value :
        new double[] {
          Double.MIN_VALUE,
          3 * Double.MIN_VALUE,
          1e-310,
          Double.MIN_NORMAL,
          Math.nextDown(Double.MIN_NORMAL),
          1,
          Double.MAX_VALUE
        }) {
      assertThat(Math.abs(Histogram.value(Histogram.bin(value)) - value))
          .isLessThanOrEqualTo(0.0079 * value);
      assertThat(Histogram.bin(-value)).isEqualTo(-Histogram.bin(value));
    }
    assertThat(Histogram.bin(Double.MIN_VALUE)).isEqualTo(1);
    assertThat(Histogram.bin(Double.MAX_VALUE)).isEqualTo(134_272);
    assertThat(Histogram.bin(0)).isZero();
  }

  @Test
  void smallHistograms_areSmall() {
    Histogram one = new Histogram();
    one.add(12.5);
    assertThat(one.encode()).hasSize(4);
    one.add(12.5);
    assertThat(one.encode()).hasSize(5);
    one.add(13.5);
    assertThat(one.encode()).hasSize(8);
  }

  @Test
  void bytesThatAreNoHistogram_areRefused() {
    assertThatThrownBy(() -> new Histogram().merge(new byte[] {0x11, 0, 0, 0, 1}, 0, 5))
        .isInstanceOf(IllegalArgumentException.class);
    // Distances that add up to more than there are bins.
    byte[] endless = new byte[4 + 3 * 200];
    Arrays.fill(endless, (byte) 0xff);
    endless[0] = 0x30;
    assertThatThrownBy(() -> new Histogram().merge(endless, 0, endless.length))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
