/* ColumnFacts.java -- what the store knows of a column without reading it, as Spark's optimizer wants it.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.ColumnType;
import io.magicstore.proto.ColumnStats;
import io.magicstore.proto.Value;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.Optional;
import java.util.OptionalDouble;
import org.apache.spark.sql.types.Decimal;

/**
 * Immutable. Counts are of about the snapshot's rows.
 *
 * @param nullCount not below the truth
 * @param distinctCount about
 * @param low in Spark's internal form, or empty; all values lie between low and high
 */
record ColumnFacts(ColumnType type, long nullCount, long distinctCount, Optional<Object> low, Optional<Object> high) {
  static ColumnFacts of(ColumnType type, ColumnStats stats) {
    Optional<Object> low = stats.getHasBounds() ? bound(type, stats.getLow().toStringUtf8()) : Optional.empty();
    Optional<Object> high = stats.getHasBounds() ? bound(type, stats.getHigh().toStringUtf8()) : Optional.empty();
    boolean both = low.isPresent() && high.isPresent();

    return new ColumnFacts(
        type,
        stats.getNullCount(),
        stats.getDistinctCount(),
        both ? low : Optional.empty(),
        both ? high : Optional.empty());
  }

  /** From SQL text; empty where Spark takes none, or the text is not understood. */
  private static Optional<Object> bound(ColumnType type, String text) {
    try {
      return switch (type.kind()) {
        case INT8 -> Optional.of(Byte.valueOf(text));
        case INT16, UINT8 -> Optional.of(Short.valueOf(text));
        case INT32, UINT16 -> Optional.of(Integer.valueOf(text));
        case INT64, UINT32 -> Optional.of(Long.valueOf(text));
        case UINT64 -> Optional.of(Decimal.apply(new BigDecimal(text), 20, 0));
        case DECIMAL -> Optional.of(Decimal.apply(new BigDecimal(text), type.precision(), type.scale()));
        case FLOAT32 -> Optional.of(Float.valueOf(text)).filter(value -> Float.isFinite(value)).map(value -> value);
        case FLOAT64 -> Optional.of(Double.valueOf(text)).filter(value -> Double.isFinite(value)).map(value -> value);
        case DATE -> Optional.of((int) LocalDate.parse(text).toEpochDay());
        case DATETIME, TIMESTAMP -> Optional.of(micros(text));
        case UTF8 -> Optional.empty();
      };
    } catch (NumberFormatException | DateTimeException notUnderstood) {
      return Optional.empty();
    }
  }

  private static long micros(String text) {
    return ChronoUnit.MICROS.between(
        LocalDateTime.ofEpochSecond(0, 0, ZoneOffset.UTC), LocalDateTime.parse(text.trim().replace(' ', 'T')));
  }

  /** Of bounds and of the wire's literals on one scale; empty for text. */
  static OptionalDouble number(Object value) {
    if (value instanceof Decimal decimal) {
      return OptionalDouble.of(decimal.toDouble());
    }
    return value instanceof Number number ? OptionalDouble.of(number.doubleValue()) : OptionalDouble.empty();
  }

  static OptionalDouble number(Value literal) {
    return switch (literal.getValueCase()) {
      case INT_VALUE -> OptionalDouble.of(literal.getIntValue());
      case UINT_VALUE -> OptionalDouble.of(new BigDecimal(Long.toUnsignedString(literal.getUintValue())).doubleValue());
      case FLOAT_VALUE -> OptionalDouble.of(literal.getFloatValue());
      case DECIMAL_VALUE -> OptionalDouble.of(decimal(literal));
      case DATE_VALUE -> OptionalDouble.of(literal.getDateValue());
      case DATETIME_VALUE -> OptionalDouble.of(literal.getDatetimeValue());
      case TIMESTAMP_VALUE -> OptionalDouble.of(literal.getTimestampValue());
      default -> OptionalDouble.empty();
    };
  }

  private static double decimal(Value literal) {
    byte[] little = literal.getDecimalValue().getUnscaled().toByteArray();
    byte[] big = new byte[little.length];

    for (int i = 0; i < big.length; i++) {
      big[i] = little[little.length - 1 - i];
    }
    return new BigDecimal(new BigInteger(big), literal.getDecimalValue().getScale()).doubleValue();
  }
}
