/* PartialBatches.java -- partial aggregates in a form that Spark can add up by its own rules.
 *
 * Spark casts a partial sum of decimal(p,s) back to decimal(p,s) before it adds it to others, and one of BIGINT must fit 64
 * bits. A sum that does not is given in pieces that do: the group's row comes again with the next piece, 0 for counts and NULL
 * for the rest. Their sum is the sum; whether the total fits, and what happens when it does not, Spark decides.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.apache.arrow.memory.ArrowBuf;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.DecimalVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.VectorSchemaRoot;

/**
 * Belongs to one thread. The vectors live until the next call of {@link #next} or {@link #close}. At most ROWS_MAX rows are
 * held besides the store's own batch, however many pieces there are.
 */
public final class PartialBatches implements AutoCloseable {
  private static final int ROWS_MAX = 4096;
  private static final int DECIMAL_BYTES = 16;
  private static final BigInteger LONG_MAX = BigInteger.valueOf(Long.MAX_VALUE);

  private final List<PartialShape.Column> shape;
  private final BufferAllocator allocator;
  private final BigInteger[] most;
  /** Of the row at hand, by column: what its next pieces are of; null when nothing is left. */
  private final BigInteger[] rest;

  private List<FieldVector> source = List.of();
  private int sourceRows;
  private int row;
  private boolean inPieces;
  private boolean owesRow;
  private long receivedRows;

  private List<FieldVector> made;
  private List<FieldVector> shown = List.of();
  private int shownRows;

  public PartialBatches(PartialShape shape, BufferAllocator allocator) {
    this.shape = shape.columns();
    this.allocator = allocator;
    this.owesRow = !shape.grouped();
    this.most = new BigInteger[this.shape.size()];
    this.rest = new BigInteger[this.shape.size()];
    for (int i = 0; i < most.length; i++) {
      most[i] =
          this.shape.get(i).kind() == PartialShape.Kind.LONG_SUM
              ? LONG_MAX
              : BigInteger.TEN.pow(this.shape.get(i).precision()).subtract(BigInteger.ONE);
    }
  }

  /** False at the end. */
  public boolean next(BatchStream stream) {
    return next(stream::next, stream::root);
  }

  boolean next(BooleanSupplier more, Supplier<VectorSchemaRoot> root) {
    while (row == sourceRows) {
      if (!more.getAsBoolean()) {
        return lastRow(root.get());
      }
      take(root.get());
      if (sourceRows > 0 && leavesAsItIs()) {
        shown = shape.stream().map(column -> source.get(column.source())).toList();
        shownRows = sourceRows;
        row = sourceRows;
        return true;
      }
    }
    make();
    return true;
  }

  public List<FieldVector> vectors() {
    return shown;
  }

  public int rowCount() {
    return shownRows;
  }

  /** Rows that the store sent so far. */
  public long receivedRows() {
    return receivedRows;
  }

  private void take(VectorSchemaRoot root) {
    source = root.getFieldVectors();
    sourceRows = root.getRowCount();
    row = 0;
    receivedRows += sourceRows;
    owesRow &= sourceRows == 0;
  }

  // ---- rows with pieces

  private boolean leavesAsItIs() {
    for (int i = 0; i < shape.size(); i++) {
      if (shape.get(i).kind() == PartialShape.Kind.LONG_SUM) {
        return false;
      }
      if (shape.get(i).kind() == PartialShape.Kind.DECIMAL_SUM) {
        for (int at = 0; at < sourceRows; at++) {
          if (!fits(i, at)) {
            return false;
          }
        }
      }
    }
    return true;
  }

  /** Is it NULL, or a value that needs no pieces? */
  private boolean fits(int column, int at) {
    FieldVector sums = source.get(shape.get(column).source());

    return sums.isNull(at)
        || (isLong(sums, at) && (most[column].bitLength() >= Long.SIZE - 1 || isWithin(low(sums, at), most[column].longValue())))
        || value(sums, at).abs().compareTo(most[column]) <= 0;
  }

  private static boolean isWithin(long value, long most) {
    return value <= most && value >= -most;
  }

  private static boolean isLong(FieldVector decimals, int at) {
    long low = low(decimals, at);
    // the least long is left out: minus itself is no long
    return decimals.getDataBuffer().getLong((long) at * DECIMAL_BYTES + 8) == low >> 63 && low != Long.MIN_VALUE;
  }

  private static long low(FieldVector decimals, int at) {
    return decimals.getDataBuffer().getLong((long) at * DECIMAL_BYTES);
  }

  private static BigInteger value(FieldVector decimals, int at) {
    ArrowBuf data = decimals.getDataBuffer();
    long place = (long) at * DECIMAL_BYTES;

    return new BigInteger(
        ByteBuffer.allocate(DECIMAL_BYTES).putLong(data.getLong(place + 8)).putLong(data.getLong(place)).array());
  }

  private void make() {
    begin();
    int to = 0;
    while (to < ROWS_MAX && row < sourceRows) {
      boolean first = !inPieces;
      inPieces = false;
      for (int i = 0; i < shape.size(); i++) {
        put(i, first, to);
      }
      to++;
      if (!inPieces) {
        row++;
      }
    }
    show(to);
  }

  private void put(int column, boolean first, int to) {
    FieldVector from = source.get(shape.get(column).source());
    FieldVector vector = made.get(column);

    switch (shape.get(column).kind()) {
      case GROUP -> vector.copyFromSafe(row, to, from);
      case COUNT -> {
        if (first) {
          vector.copyFromSafe(row, to, from);
        } else {
          ((BigIntVector) vector).setSafe(to, 0);
        }
      }
      case VALUE -> {
        if (first) {
          vector.copyFromSafe(row, to, from);
        } else {
          vector.setNull(to);
        }
      }
      case DECIMAL_SUM, LONG_SUM -> putSum(column, first, from, to);
    }
  }

  private void putSum(int column, boolean first, FieldVector from, int to) {
    FieldVector vector = made.get(column);

    if (first && (from.isNull(row) || fits(column, row))) {
      rest[column] = null;
      if (from.isNull(row)) {
        vector.setNull(to);
      } else if (isLong(from, row)) {
        putLong(vector, to, low(from, row));
      } else {
        putBig(vector, to, value(from, row));
      }
      return;
    }
    BigInteger value = first ? value(from, row) : rest[column];
    if (value == null) {
      vector.setNull(to);
      return;
    }
    BigInteger piece = value.min(most[column]).max(most[column].negate());
    putBig(vector, to, piece);
    rest[column] = piece.equals(value) ? null : value.subtract(piece);
    inPieces |= rest[column] != null;
  }

  private static void putLong(FieldVector vector, int to, long value) {
    if (vector instanceof BigIntVector longs) {
      longs.setSafe(to, value);
    } else {
      ((DecimalVector) vector).setSafe(to, value);
    }
  }

  private static void putBig(FieldVector vector, int to, BigInteger value) {
    if (vector instanceof BigIntVector longs) {
      longs.setSafe(to, value.longValueExact());
    } else {
      DecimalVector decimals = (DecimalVector) vector;
      decimals.setSafe(to, new BigDecimal(value, decimals.getScale()));
    }
  }

  // ---- no rows

  /** COUNT of nothing is 0, the others are NULL. */
  private boolean lastRow(VectorSchemaRoot root) {
    if (!owesRow) {
      return false;
    }
    owesRow = false;
    source = root.getFieldVectors();
    begin();
    for (int i = 0; i < shape.size(); i++) {
      if (shape.get(i).kind() == PartialShape.Kind.COUNT) {
        ((BigIntVector) made.get(i)).setSafe(0, 0);
      } else {
        made.get(i).setNull(0);
      }
    }
    show(1);
    return true;
  }

  // ---- vectors of our own

  private void begin() {
    if (made == null) {
      made = new ArrayList<>();
      for (PartialShape.Column column : shape) {
        FieldVector like = source.get(column.source());
        made.add(
            column.kind() == PartialShape.Kind.LONG_SUM
                ? new BigIntVector(like.getName(), allocator)
                : like.getField().createVector(allocator));
      }
    }
    made.forEach(FieldVector::reset);
  }

  private void show(int rows) {
    made.forEach(vector -> vector.setValueCount(rows));
    shown = made;
    shownRows = rows;
  }

  @Override
  public void close() {
    if (made != null) {
      made.forEach(FieldVector::close);
      made = null;
    }
    shown = List.of();
  }
}
