package dev.tallyroll.model.partial;

import dev.tallyroll.model.time.Times;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** The types of values that partials are made of, named as PostgreSQL names them. */
public enum ColumnType {
  /** 16-bit integers. */
  SMALLINT("smallint", Family.INTEGER),
  /** 32-bit integers. */
  INTEGER("integer", Family.INTEGER),
  /** 64-bit integers. */
  BIGINT("bigint", Family.INTEGER),
  /** Decimals of any precision. */
  NUMERIC("numeric", Family.DECIMAL),
  /** 64-bit binary floating point. */
  DOUBLE("double precision", Family.DOUBLE),
  /** Text, compared by its UTF-8 bytes, which is collation "C". */
  TEXT("text", Family.BYTES),
  /** UUIDs, compared by their bytes. */
  UUID("uuid", Family.BYTES),
  /** False, true. */
  BOOLEAN("boolean", Family.INTEGER),
  /** Dates. */
  DATE("date", Family.INTEGER),
  /** Time stamps without a zone. */
  TIMESTAMP("timestamp without time zone", Family.INTEGER),
  /** Instants. */
  TIMESTAMPTZ("timestamp with time zone", Family.INTEGER),
  /** The bytes of a histogram. */
  BYTEA("bytea", Family.BYTES),
  /** The bits of a distinct sketch. */
  VARBIT("bit varying", Family.BYTES);

  /** How values of a type are held and compared. */
  public enum Family {
    /** As a {@code long}. */
    INTEGER,
    /** As a {@code double}. */
    DOUBLE,
    /** As an unscaled number and a scale. */
    DECIMAL,
    /** As bytes, compared as unsigned numbers from the left. */
    BYTES
  }

  private final String sqlName;
  private final Family family;

  ColumnType(String sqlName, Family family) {
    this.sqlName = sqlName;
    this.family = family;
  }

  /** The name in SQL, as {@code format_type} prints it. */
  public String sqlName() {
    return sqlName;
  }

  /** How values are held. */
  public Family family() {
    return family;
  }

  /** The type of this SQL name, if there is one. */
  public static Optional<ColumnType> of(String sqlName) {
    return Arrays.stream(values()).filter(type -> type.sqlName.equals(sqlName)).findFirst();
  }

  /** Whether values can be added up. */
  public boolean isNumber() {
    return switch (this) {
      case SMALLINT, INTEGER, BIGINT, NUMERIC, DOUBLE -> true;
      case TEXT, UUID, BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ, BYTEA, VARBIT -> false;
    };
  }

  /** Whether values can be NaN or infinite. */
  public boolean isMaybeNonFinite() {
    return this == NUMERIC || this == DOUBLE;
  }

  /** The type of a sum of such values, as in SQL. */
  public ColumnType sumType() {
    return switch (this) {
      case SMALLINT, INTEGER -> BIGINT;
      case BIGINT, NUMERIC -> NUMERIC;
      case DOUBLE -> DOUBLE;
      case TEXT, UUID, BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ, BYTEA, VARBIT ->
          throw new IllegalArgumentException("a " + sqlName + " cannot be summed");
    };
  }

  /**
   * A value of this type as a Java object: Long, Double, BigDecimal, Boolean, String, UUID,
   * LocalDate, LocalDateTime, Instant, or null.
   */
  public @Nullable Object box(Scalar value) {
    if (value.isNull()) {
      return null;
    }
    return switch (this) {
      case SMALLINT, INTEGER, BIGINT -> value.integer();
      case BOOLEAN -> value.integer() != 0;
      case DATE -> LocalDate.ofEpochDay(value.integer());
      case TIMESTAMP -> LocalDateTime.ofInstant(Times.instant(value.integer()), ZoneOffset.UTC);
      case TIMESTAMPTZ -> Times.instant(value.integer());
      case NUMERIC -> value.decimal();
      case DOUBLE -> value.real();
      case TEXT ->
          new String(value.bytes(), value.offset(), value.length(), StandardCharsets.UTF_8);
      case UUID -> {
        ByteBuffer bytes = ByteBuffer.wrap(value.bytes(), value.offset(), value.length());
        yield new java.util.UUID(bytes.getLong(), bytes.getLong());
      }
      case BYTEA, VARBIT -> HexFormat.of().formatHex(value.copyBytes());
    };
  }
}
