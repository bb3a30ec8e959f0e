package dev.tallyroll.model.partial;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.definition.Measure;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Partials of changes: what is stored, merged with rows put in and taken out, equals what is left
 * computed anew, or says that it is in doubt.
 */
class ChangesTest {
  private static final int ROUNDS = 4_000;

  /** A measure over values of a type. */
  enum Case {
    COUNT(Measure.Kind.COUNT, ColumnType.BOOLEAN),
    SUM_INTEGER(Measure.Kind.SUM, ColumnType.INTEGER),
    SUM_BIGINT(Measure.Kind.SUM, ColumnType.BIGINT),
    SUM_NUMERIC(Measure.Kind.SUM, ColumnType.NUMERIC),
    SUM_DOUBLE(Measure.Kind.SUM, ColumnType.DOUBLE),
    MIN_INTEGER(Measure.Kind.MIN, ColumnType.INTEGER),
    MAX_NUMERIC(Measure.Kind.MAX, ColumnType.NUMERIC),
    MAX_TEXT(Measure.Kind.MAX, ColumnType.TEXT),
    LATEST_TEXT(Measure.Kind.LATEST, ColumnType.TEXT),
    LATEST_NUMERIC(Measure.Kind.LATEST, ColumnType.NUMERIC),
    DISTRIBUTION_DOUBLE(Measure.Kind.DISTRIBUTION, ColumnType.DOUBLE),
    DISTRIBUTION_INTEGER(Measure.Kind.DISTRIBUTION, ColumnType.INTEGER),
    DISTINCT(Measure.Kind.DISTINCT, ColumnType.TEXT);

    private final Measure.Kind kind;
    private final ColumnType type;

    Case(Measure.Kind kind, ColumnType type) {
      this.kind = kind;
      this.type = type;
    }

    PartialColumn column() {
      PartialColumn column =
          PartialColumn.of(
              new Measure("m", kind, kind == Measure.Kind.COUNT ? null : "x", null), type);
      column.grow(2);
      return column;
    }
  }

  private record Row(int value, long time) {}

  /** Sets one of few values, so that equal ones meet; 0 is NULL and 1 is NaN where there is one. */
  private static void set(Scalar scalar, ColumnType type, int value) {
    if (value == 0) {
      scalar.setNull();
      return;
    }
    switch (type) {
      case NUMERIC -> {
        if (value == 1) {
          scalar.setNonFinite();
        } else {
          scalar.setDecimal(new BigDecimal(value - 4).movePointLeft(value % 3));
        }
      }
      case DOUBLE -> scalar.setDouble(value == 1 ? Double.NaN : (value - 4) * 0.5);
      case TEXT -> {
        byte[] bytes = ("v" + value).getBytes(StandardCharsets.UTF_8);
        scalar.setBytes(bytes, 0, bytes.length);
      }
      default -> scalar.setInteger(value - 4);
    }
  }

  private static void apply(PartialColumn column, ColumnType type, List<Row> rows, boolean in) {
    Scalar scalar = new Scalar();
    for (Row row : rows) {
      set(scalar, type, row.value());
      if (in) {
        column.add(0, scalar, row.time());
      } else {
        column.remove(0, scalar, row.time());
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void changesMergedWithWhatIsStored_equalWhatIsLeftOrAreInDoubt(Case measure) {
    Random random = new Random(7);
    int known = 0;
    int lessened = 0;
    for (int round = 0; round < ROUNDS; round++) {
      List<Row> stored = rows(random, 6);
      List<Row> left = new ArrayList<>(stored);
      List<Row> in = new ArrayList<>();
      List<Row> out = new ArrayList<>();
      for (int change = random.nextInt(6); change >= 0; change--) {
        if (!left.isEmpty() && random.nextInt(3) > 0) {
          Row gone = left.remove(random.nextInt(left.size()));
          out.add(gone);
          if (random.nextBoolean()) {
            continue;
          }
        }
        Row come = rows(random, 1).getFirst();
        in.add(come);
        left.add(come);
      }
      if (out.isEmpty()) {
        continue;
      }
      lessened++;

      PartialColumn changes = measure.column();
      apply(changes, measure.type, out, false);
      apply(changes, measure.type, in, true);
      if (random.nextBoolean()) {
        // As a coarser grain gets them: merged from the finer one's.
        PartialColumn coarser = measure.column();
        coarser.merge(0, changes, 0);
        changes = coarser;
      }
      PartialColumn before = measure.column();
      apply(before, measure.type, stored, true);
      changes.read(0, new Fields(fields(before)));
      if (changes.isDoubtful(0)) {
        continue;
      }
      known++;
      PartialColumn expected = measure.column();
      apply(expected, measure.type, left, true);
      assertThat(fields(changes))
          .describedAs("%s stored, %s out, %s in", stored, out, in)
          .usingElementComparator(ChangesTest::compare)
          .containsExactlyElementsOf(fields(expected));
    }
    assertThat(lessened).isGreaterThan(ROUNDS / 2);
    // Doubt about everything would be right, and useless.
    assertThat(known).isGreaterThan(lessened / 20);
  }

  private static int compare(@Nullable Object left, @Nullable Object right) {
    if (left instanceof BigDecimal one && right instanceof BigDecimal other) {
      return one.compareTo(other);
    }
    return java.util.Objects.equals(left, right) ? 0 : 1;
  }

  private static List<Row> rows(Random random, int most) {
    List<Row> rows = new ArrayList<>();
    for (int i = most == 1 ? 1 : random.nextInt(most); i > 0; i--) {
      rows.add(new Row(random.nextInt(7), random.nextInt(3)));
    }
    return rows;
  }

  private static List<@Nullable Object> fields(PartialColumn column) {
    List<@Nullable Object> fields = new ArrayList<>();
    column.write(
        0,
        new FieldWriter() {
          @Override
          public void writeNull() {
            fields.add(null);
          }

          @Override
          public void writeLong(long value) {
            fields.add(value);
          }

          @Override
          public void write(Scalar value, ColumnType type) {
            fields.add(value.isNull() ? null : value.key());
          }

          @Override
          public void writeBytes(byte[] bytes) {
            fields.add(java.nio.ByteBuffer.wrap(bytes));
          }

          @Override
          public void writeBits(byte[] bytes) {
            fields.add(java.nio.ByteBuffer.wrap(bytes));
          }
        });
    return fields;
  }

  /** Stored fields, read back. */
  private static final class Fields implements FieldReader {
    private final Iterator<@Nullable Object> fields;

    Fields(List<@Nullable Object> fields) {
      this.fields = fields.iterator();
    }

    @Override
    public void read(ColumnType type, Scalar into) {
      Object field = fields.next();
      if (field == null) {
        into.setNull();
      } else {
        into.setKey(field);
      }
    }
  }
}
