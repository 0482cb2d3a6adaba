/* ArrowColumn.java -- a Spark column that reads Arrow's buffers by address.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.MagicException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import org.apache.arrow.vector.BaseFixedWidthVector;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.DateDayVector;
import org.apache.arrow.vector.DecimalVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.Float4Vector;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.IntVector;
import org.apache.arrow.vector.SmallIntVector;
import org.apache.arrow.vector.TimeStampMicroTZVector;
import org.apache.arrow.vector.TimeStampMicroVector;
import org.apache.arrow.vector.TinyIntVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.spark.sql.types.ByteType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DateType;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.DoubleType;
import org.apache.spark.sql.types.FloatType;
import org.apache.spark.sql.types.IntegerType;
import org.apache.spark.sql.types.LongType;
import org.apache.spark.sql.types.ShortType;
import org.apache.spark.sql.types.StringType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.TimestampNTZType;
import org.apache.spark.sql.types.TimestampType;
import org.apache.spark.sql.vectorized.ColumnVector;
import org.apache.spark.sql.vectorized.ColumnarArray;
import org.apache.spark.sql.vectorized.ColumnarMap;
import org.apache.spark.unsafe.Platform;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * Borrows the buffers of the reader's current batch: valid until the reader's next(). Owns nothing, so close() frees
 * nothing; the reader does.
 * Rows are not checked against the batch's length: Spark asks only for those it was told of.
 */
final class ArrowColumn extends ColumnVector {
  /** Decimals of up to that many digits fit into a long. */
  private static final int LONG_DIGITS = 18;
  private static final int DECIMAL_BYTES = 16;

  private long validity;
  private long data;
  private long offsets;
  private int nullCount;

  private ArrowColumn(DataType type) {
    super(type);
  }

  /** For a field and the vector that the store sent for it; a mismatch is the store's error. */
  static ArrowColumn over(StructField field, FieldVector vector) {
    DataType type = field.dataType();

    if (!fits(type, vector)) {
      throw new MagicException(
          Code.PROTOCOL,
          "column " + field.name() + ": the store sent " + vector.getField().getType() + " for " + type.sql());
    }
    return new ArrowColumn(type);
  }

  private static boolean fits(DataType type, FieldVector vector) {
    return type instanceof ByteType && vector instanceof TinyIntVector
        || type instanceof ShortType && vector instanceof SmallIntVector
        || type instanceof IntegerType && vector instanceof IntVector
        || type instanceof LongType && vector instanceof BigIntVector
        || type instanceof FloatType && vector instanceof Float4Vector
        || type instanceof DoubleType && vector instanceof Float8Vector
        || type instanceof DateType && vector instanceof DateDayVector
        || type instanceof TimestampNTZType && vector instanceof TimeStampMicroVector
        || type instanceof TimestampType && vector instanceof TimeStampMicroTZVector
        || type instanceof StringType && vector instanceof VarCharVector
        || type instanceof DecimalType decimal
            && vector instanceof DecimalVector sent
            && sent.getScale() == decimal.scale()
            && sent.getPrecision() <= decimal.precision();
  }

  /** Look at this vector from now on; of the same kind as the one before. */
  void load(FieldVector vector) {
    nullCount = vector.getNullCount();
    validity = nullCount == 0 ? 0 : vector.getValidityBuffer().memoryAddress();
    data = vector.getDataBuffer().memoryAddress();
    offsets = vector instanceof BaseFixedWidthVector ? 0 : vector.getOffsetBuffer().memoryAddress();
  }

  @Override
  public void close() {}

  /** Spark calls this after each batch; the memory is used again for the next one. */
  @Override
  public void closeIfFreeable() {}

  @Override
  public boolean hasNull() {
    return nullCount > 0;
  }

  @Override
  public int numNulls() {
    return nullCount;
  }

  @Override
  public boolean isNullAt(int row) {
    return validity != 0 && (Platform.getByte(null, validity + (row >> 3)) >> (row & 7) & 1) == 0;
  }

  @Override
  public byte getByte(int row) {
    return Platform.getByte(null, data + row);
  }

  @Override
  public short getShort(int row) {
    return Platform.getShort(null, data + 2L * row);
  }

  @Override
  public int getInt(int row) {
    return Platform.getInt(null, data + 4L * row);
  }

  @Override
  public long getLong(int row) {
    return Platform.getLong(null, data + 8L * row);
  }

  @Override
  public float getFloat(int row) {
    return Platform.getFloat(null, data + 4L * row);
  }

  @Override
  public double getDouble(int row) {
    return Platform.getDouble(null, data + 8L * row);
  }

  @Override
  public Decimal getDecimal(int row, int precision, int scale) {
    if (isNullAt(row)) {
      return null;
    }
    long place = data + (long) DECIMAL_BYTES * row;
    long low = Platform.getLong(null, place);
    if (precision <= LONG_DIGITS) {
      return Decimal.createUnsafe(low, precision, scale);
    }
    long high = Platform.getLong(null, place + 8);
    BigDecimal value =
        high == low >> 63
            ? BigDecimal.valueOf(low, scale)
            : new BigDecimal(
                new BigInteger(ByteBuffer.allocate(DECIMAL_BYTES).putLong(high).putLong(low).array()), scale);
    return Decimal.apply(value, precision, scale);
  }

  @Override
  public UTF8String getUTF8String(int row) {
    if (isNullAt(row)) {
      return null;
    }
    int start = Platform.getInt(null, offsets + 4L * row);
    int end = Platform.getInt(null, offsets + 4L * row + 4);
    return UTF8String.fromAddress(null, data + start, end - start);
  }

  // ---- types that no table of this version has

  @Override
  public boolean getBoolean(int row) {
    throw other();
  }

  @Override
  public byte[] getBinary(int row) {
    throw other();
  }

  @Override
  public ColumnarArray getArray(int row) {
    throw other();
  }

  @Override
  public ColumnarMap getMap(int row) {
    throw other();
  }

  @Override
  public ColumnVector getChild(int ordinal) {
    throw other();
  }

  private UnsupportedOperationException other() {
    return new UnsupportedOperationException("a column of type " + type.sql() + " was read as another type");
  }
}
