package dev.tallyroll.postgres.query;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Measure;
import dev.tallyroll.model.definition.Rollup;
import dev.tallyroll.model.partial.PartialColumn.Part;
import dev.tallyroll.model.partial.PartialTable;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** A measure that a query asks for: a part of a stored one, or one derived from such parts. */
sealed interface Asked {
  /** The names of the stored measures that it needs. */
  Stream<String> needs();

  /** The same, and the names of those of their columns that may begin later. */
  Stream<String> parts();

  /**
   * Its value.
   *
   * @param table partials whose columns are in the order of {@code measures}
   * @param measures the names of the stored measures in the table
   * @param group the group
   * @param seconds the length of the bucket
   */
  @Nullable Object value(PartialTable table, List<String> measures, int group, double seconds);

  /** A part of a stored measure. */
  record Stored(String measure, Part part) implements Asked {
    @Override
    public Stream<String> needs() {
      return Stream.of(measure);
    }

    @Override
    public Stream<String> parts() {
      return Stream.of(
          measure,
          switch (part) {
            case Part.Value value -> measure;
            case Part.Count count -> measure + "_count";
            case Part.Sum sum -> measure + "_sum";
            case Part.Min min -> measure + "_min";
            case Part.Max max -> measure + "_max";
            case Part.NonFinite count -> measure + "_nonfinite";
            case Part.Quantile quantile -> measure + "_sketch";
          });
    }

    @Override
    public @Nullable Object value(
        PartialTable table, List<String> measures, int group, double seconds) {
      return table.columns().get(measures.indexOf(measure)).value(group, part);
    }
  }

  /** One divided by the other, NULL where that has no value. */
  record Quotient(Asked dividend, Asked divisor) implements Asked {
    @Override
    public Stream<String> needs() {
      return Stream.concat(dividend.needs(), divisor.needs());
    }

    @Override
    public Stream<String> parts() {
      return Stream.concat(dividend.parts(), divisor.parts());
    }

    @Override
    public @Nullable Object value(
        PartialTable table, List<String> measures, int group, double seconds) {
      return divide(
          dividend.value(table, measures, group, seconds),
          divisor.value(table, measures, group, seconds));
    }
  }

  /** One divided by the seconds of the bucket. */
  record Rate(Asked of) implements Asked {
    @Override
    public Stream<String> needs() {
      return of.needs();
    }

    @Override
    public Stream<String> parts() {
      return of.parts();
    }

    @Override
    public @Nullable Object value(
        PartialTable table, List<String> measures, int group, double seconds) {
      return divide(of.value(table, measures, group, seconds), seconds);
    }
  }

  private static @Nullable Object divide(@Nullable Object dividend, @Nullable Object divisor) {
    if (!(dividend instanceof Number above)
        || !(divisor instanceof Number below)
        || below.doubleValue() == 0) {
      return null;
    }
    if (above instanceof Double || below instanceof Double) {
      return above.doubleValue() / below.doubleValue();
    }
    BigDecimal quotient =
        new BigDecimal(above.toString())
            .divide(new BigDecimal(below.toString()), MathContext.DECIMAL64);
    return quotient.signum() == 0 ? BigDecimal.ZERO : quotient.stripTrailingZeros();
  }

  Pattern CALL = Pattern.compile("\\s*([a-z]+[0-9.]*)\\s*\\(\\s*([a-z_][a-z0-9_]*)\\s*\\)\\s*");
  Pattern PLAIN = Pattern.compile("\\s*([a-z_][a-z0-9_]*)\\s*");
  Pattern PERCENTILE = Pattern.compile("p([0-9]{1,2}(?:\\.[0-9]{1,9})?|100)");
  List<String> CALLS =
      List.of("avg", "rate", "count", "sum", "min", "max", "nonfinite", "p50", "p95", "p99");

  /**
   * Reads what was asked for.
   *
   * @throws TallyrollException if there is no such measure, or it has no such part
   */
  static Asked parse(Rollup rollup, String text) {
    int slash = text.indexOf('/');
    if (slash >= 0) {
      return new Quotient(
          term(rollup, text, text.substring(0, slash)),
          term(rollup, text, text.substring(slash + 1)));
    }
    return term(rollup, text, text);
  }

  private static Asked term(Rollup rollup, String whole, String text) {
    Matcher plain = PLAIN.matcher(text);
    if (plain.matches()) {
      Measure measure = measure(rollup, plain.group(1));
      if (measure.kind() == Measure.Kind.DISTRIBUTION) {
        String name = measure.name();
        throw new TallyrollException(
            ErrorCode.USAGE,
            "'"
                + name
                + "' is a distribution: ask for p95("
                + name
                + "), avg("
                + name
                + "), count("
                + name
                + "), sum, min or max of it");
      }
      return new Stored(measure.name(), new Part.Value());
    }
    Matcher call = CALL.matcher(text);
    if (!call.matches()) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "'"
              + whole
              + "' is not a measure: write requests, p95(duration_ms), avg(x), rate(x) or errors/requests");
    }
    String function = call.group(1).toLowerCase(Locale.ROOT);
    Measure measure = measure(rollup, call.group(2));
    String name = measure.name();
    boolean distribution = measure.kind() == Measure.Kind.DISTRIBUTION;
    Matcher percentile = PERCENTILE.matcher(function);
    if (percentile.matches()) {
      double q = new BigDecimal(percentile.group(1)).movePointLeft(2).doubleValue();
      return new Stored(name, needs(distribution, whole, measure, new Part.Quantile(q)));
    }
    return switch (function) {
      case "count" -> new Stored(name, needs(distribution, whole, measure, new Part.Count()));
      case "sum" -> new Stored(name, needs(distribution, whole, measure, new Part.Sum()));
      case "min" -> new Stored(name, needs(distribution, whole, measure, new Part.Min()));
      case "max" -> new Stored(name, needs(distribution, whole, measure, new Part.Max()));
      case "nonfinite" ->
          new Stored(
              name,
              needs(
                  measure.kind().columns(name).contains(name + "_nonfinite"),
                  whole,
                  measure,
                  new Part.NonFinite()));
      case "avg" ->
          new Quotient(
              new Stored(name, needs(distribution, whole, measure, new Part.Sum())),
              new Stored(name, new Part.Count()));
      case "rate" ->
          new Rate(
              new Stored(
                  name,
                  needs(
                      distribution
                          || measure.kind() == Measure.Kind.COUNT
                          || measure.kind() == Measure.Kind.SUM,
                      whole,
                      measure,
                      distribution ? new Part.Count() : new Part.Value())));
      default ->
          throw new TallyrollException(
              ErrorCode.USAGE,
              "'"
                  + whole
                  + "': there is no "
                  + function
                  + "()"
                  + Names.didYouMean(function, CALLS));
    };
  }

  private static Part needs(boolean has, String whole, Measure measure, Part part) {
    if (!has) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "'"
              + whole
              + "' is not to be had: "
              + measure.name()
              + " is "
              + measure.text()
              + (part instanceof Part.Quantile || part instanceof Part.Count
                  ? ", and this needs a distribution"
                  : ""));
    }
    return part;
  }

  private static Measure measure(Rollup rollup, String name) {
    List<String> names = rollup.measures().stream().map(Measure::name).toList();
    return rollup
        .measure(name)
        .orElseThrow(() ->
            new TallyrollException(
                ErrorCode.UNKNOWN_NAME,
                "no measure '"
                    + name
                    + "' in rollup '"
                    + rollup.name()
                    + "'"
                    + Names.didYouMean(name, names)
                    + " (there are "
                    + String.join(", ", names)
                    + ")"));
  }

  /**
   * What is asked when nothing is: all measures, a distribution by its count, average and usual
   * percentiles.
   */
  static List<String> all(Rollup rollup) {
    List<String> texts = new ArrayList<>();
    for (Measure measure : rollup.measures()) {
      if (measure.kind() == Measure.Kind.DISTRIBUTION) {
        for (String function : List.of("count", "avg", "p50", "p95", "p99")) {
          texts.add(function + "(" + measure.name() + ")");
        }
      } else {
        texts.add(measure.name());
      }
    }
    return texts;
  }
}
