/* RuntimeFiltersTest.java -- what becomes of the lists of keys that joins send.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.magicstore.client.Exprs;
import io.magicstore.proto.Call;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.TableInfo;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.unsafe.types.UTF8String;
import org.junit.jupiter.api.Test;

class RuntimeFiltersTest {
  private static final TableInfo TABLE =
      TableInfo.newBuilder()
          .addColumns(column("rate", "float64", false))
          .addColumns(column("name.x", "utf8", false))
          .addColumns(column("n", "int32", false))
          .addColumns(column("id", "int64", true))
          .build();

  private static ColumnInfo column(String name, String type, boolean key) {
    return ColumnInfo.newBuilder().setName(name).setType(type).setKey(key).build();
  }

  private record Name(String... fieldNames) implements NamedReference {
    @Override
    public String toString() {
      return String.join(".", fieldNames);
    }
  }

  private record Constant(Object value, DataType dataType) implements Literal<Object> {
    @Override
    public String toString() {
      return String.valueOf(value);
    }
  }

  private static Predicate in(String column, DataType type, Object... values) {
    return new Predicate(
        "IN",
        Stream.concat(Stream.of(new Name(column)), Arrays.stream(values).map(value -> new Constant(value, type)))
            .toArray(Expression[]::new));
  }

  private static RuntimeFilters of(int valuesMax, Predicate... predicates) {
    return RuntimeFilters.of(TABLE, predicates, valuesMax);
  }

  @Test
  void keyColumnsComeFirstAndFloatsNever() {
    NamedReference[] attributes = RuntimeFilters.attributes(TABLE, Set.of("rate", "name.x", "id"));

    assertEquals(
        List.of(List.of("id"), List.of("name.x")),
        Arrays.stream(attributes).map(attribute -> List.of(attribute.fieldNames())).toList());
  }

  @Test
  void nullsAreLeftOut() {
    RuntimeFilters filters = of(10, in("n", DataTypes.IntegerType, 3, null, 5));

    assertEquals(Call.Op.IN, filters.conjuncts().get(0).getCall().getOp());
    assertEquals(3, filters.conjuncts().get(0).getCall().getArgsCount());
    assertEquals(List.of("n IN (3, 5)"), filters.shown());
    assertFalse(filters.noRows());
  }

  @Test
  void nothingOnTheOtherSideIsNoRow() {
    for (RuntimeFilters filters :
        List.of(of(10, in("n", DataTypes.IntegerType)), of(10, in("n", DataTypes.IntegerType, (Object) null)))) {
      assertTrue(filters.noRows());
      assertEquals(List.of("n IN ()"), filters.shown());
      assertNull(filters.with(null));
    }
  }

  @Test
  void longListsBecomeARange() {
    RuntimeFilters filters = of(3, in("n", DataTypes.IntegerType, 7, -2, 9, 4));
    Call range = filters.conjuncts().get(0).getCall();

    assertEquals(Call.Op.AND, range.getOp());
    assertEquals(-2, range.getArgs(0).getCall().getArgs(1).getLiteral().getIntValue());
    assertEquals(9, range.getArgs(1).getCall().getArgs(1).getLiteral().getIntValue());
    assertEquals(List.of("n BETWEEN -2 AND 9 of 4 values"), filters.shown());
    assertEquals(List.of("n IN (7, -2, 9, ... 4 values)"), of(4, in("n", DataTypes.IntegerType, 7, -2, 9, 4)).shown());
  }

  @Test
  void textsAreInTheOrderOfTheirBytes() {
    Object[] names = Stream.of("b", "ä", "a", "Z").map(UTF8String::fromString).toArray();
    RuntimeFilters filters = of(2, in("name.x", DataTypes.StringType, names));

    assertEquals(List.of("name.x BETWEEN Z AND ä of 4 values"), filters.shown());
  }

  @Test
  void whatWouldNotFitADescriptorBecomesARange() {
    Object[] names =
        IntStream.range(0, 40).mapToObj(i -> UTF8String.fromString((char) ('a' + i % 26) + "x".repeat(40_000))).toArray();
    RuntimeFilters filters =
        of(1000, in("name.x", DataTypes.StringType, names), in("name.x", DataTypes.StringType, names));

    assertEquals(Call.Op.IN, filters.conjuncts().get(0).getCall().getOp());
    assertEquals(Call.Op.AND, filters.conjuncts().get(1).getCall().getOp());
    assertTrue(filters.with(null).getSerializedSize() < 2 << 20);
  }

  @Test
  void whatIsDeclinedIsOnlyLeftOut() {
    RuntimeFilters filters = of(10, in("n", DataTypes.LongType, 1L), in("id", DataTypes.LongType, 1L));

    assertEquals(List.of("n (not used: literal of type BIGINT against INT)", "id IN (1)"), filters.shown());
    assertEquals(Call.Op.IN, filters.with(null).getCall().getOp());
    assertEquals(Call.Op.AND, filters.with(Exprs.column("n")).getCall().getOp());
  }
}
