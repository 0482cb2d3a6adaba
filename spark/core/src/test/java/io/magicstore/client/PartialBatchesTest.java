/* PartialBatchesTest.java -- sums in pieces are the sums, and no rows are a row where there are no groups.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.DecimalVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class PartialBatchesTest {
  private BufferAllocator memory;
  private VectorSchemaRoot root;
  private VarCharVector groups;
  private DecimalVector prices;
  private DecimalVector numbers;
  private BigIntVector counts;
  private int batches;

  @BeforeEach
  void open() {
    memory = Memory.child("task", Long.MAX_VALUE);
    groups = new VarCharVector("group_0", memory);
    prices = new DecimalVector("call_0", memory, 14, 2);
    numbers = new DecimalVector("call_1", memory, 38, 0);
    counts = new BigIntVector("call_2", memory);
    root = VectorSchemaRoot.of(groups, prices, numbers, counts);
  }

  @AfterEach
  void close() {
    root.close();
    assertNull(Memory.close(memory));
  }

  private static PartialShape.Column column(int source, PartialShape.Kind kind, int precision) {
    return new PartialShape.Column(source, kind, precision);
  }

  private static final PartialShape.Column GROUP = column(0, PartialShape.Kind.GROUP, 0);
  private static final PartialShape.Column PRICE = column(1, PartialShape.Kind.DECIMAL_SUM, 4);
  private static final PartialShape.Column NUMBER = column(2, PartialShape.Kind.LONG_SUM, 0);
  private static final PartialShape.Column COUNT = column(3, PartialShape.Kind.COUNT, 0);

  private PartialBatches over(boolean grouped, PartialShape.Column... columns) {
    return new PartialBatches(new PartialShape(grouped, List.of(columns)), memory);
  }

  private boolean next(PartialBatches out) {
    return out.next(() -> batches-- > 0, () -> root);
  }

  private void row(int at, String group, String price, String number, long count) {
    if (group == null) {
      groups.setNull(at);
    } else {
      groups.setSafe(at, group.getBytes(StandardCharsets.UTF_8));
    }
    if (price == null) {
      prices.setNull(at);
    } else {
      prices.setSafe(at, new BigDecimal(price));
    }
    if (number == null) {
      numbers.setNull(at);
    } else {
      numbers.setSafe(at, new BigDecimal(number));
    }
    counts.setSafe(at, count);
    root.setRowCount(at + 1);
    batches = 1;
  }

  private static List<String> shown(PartialBatches out) {
    List<String> rows = new ArrayList<>();
    for (int i = 0; i < out.rowCount(); i++) {
      StringBuilder text = new StringBuilder();
      for (FieldVector vector : out.vectors()) {
        text.append(text.isEmpty() ? "" : " ").append(vector.getObject(i));
      }
      rows.add(text.toString());
    }
    return rows;
  }

  @Test
  void whatFitsLeavesAsItIs() {
    try (PartialBatches out = over(true, GROUP, PRICE, COUNT)) {
      row(0, "a", "99.99", null, 1);
      row(1, null, null, null, 0);
      row(2, "b", "-99.99", null, 1);
      assertTrue(next(out));
      assertSame(prices, out.vectors().get(1));
      assertEquals(List.of("a 99.99 1", "null null 0", "b -99.99 1"), shown(out));
      assertFalse(next(out));
    }
  }

  @Test
  void whatDoesNotFitLeavesInPieces() {
    try (PartialBatches out = over(true, GROUP, PRICE, NUMBER, COUNT)) {
      row(0, "a", "250.00", "9223372036854775808", 7);
      row(1, null, "1.00", null, 1);
      row(2, "b", "-100.00", "-9223372036854775808", 2);
      assertTrue(next(out));
      assertEquals(
          List.of(
              "a 99.99 9223372036854775807 7",
              "a 99.99 1 0",
              "a 50.02 null 0",
              "null 1.00 null 1",
              "b -99.99 -9223372036854775807 2",
              "b -0.01 -1 0"),
          shown(out));
      assertEquals(3, out.receivedRows());
      assertFalse(next(out));
    }
  }

  @Test
  void anyNumberOfPiecesTakesLittleMemory() {
    try (PartialBatches out = over(true, PRICE)) {
      row(0, null, "999999999.00", null, 1);
      BigDecimal sum = BigDecimal.ZERO;
      long rows = 0;
      while (next(out)) {
        assertTrue(out.rowCount() <= 4096);
        rows += out.rowCount();
        for (int i = 0; i < out.rowCount(); i++) {
          sum = sum.add((BigDecimal) out.vectors().get(0).getObject(i));
        }
      }
      assertEquals(new BigDecimal("999999999.00"), sum);
      assertEquals(10_001_001, rows);
    }
  }

  @Test
  void noRowsAreOneRowWithoutGroups() {
    try (PartialBatches out = over(false, PRICE, NUMBER, COUNT)) {
      assertTrue(next(out));
      assertEquals(List.of("null null 0"), shown(out));
      assertFalse(next(out));
    }
    try (PartialBatches out = over(false, COUNT)) {
      row(0, null, null, null, 5);
      assertTrue(next(out));
      assertEquals(List.of("5"), shown(out));
      assertFalse(next(out));
    }
    try (PartialBatches out = over(true, GROUP, NUMBER)) {
      assertFalse(next(out));
    }
  }
}
