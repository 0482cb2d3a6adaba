/* AggregateTranslatorTest.java -- which aggregates are pushed, as what, with which types, and why the rest is not.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.magicstore.client.PartialShape;
import io.magicstore.proto.Aggregate;
import io.magicstore.proto.Call;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.Type;
import java.math.BigDecimal;
import java.util.Arrays;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.GeneralScalarExpression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.aggregate.AggregateFunc;
import org.apache.spark.sql.connector.expressions.aggregate.Aggregation;
import org.apache.spark.sql.connector.expressions.aggregate.Avg;
import org.apache.spark.sql.connector.expressions.aggregate.Count;
import org.apache.spark.sql.connector.expressions.aggregate.CountStar;
import org.apache.spark.sql.connector.expressions.aggregate.GeneralAggregateFunc;
import org.apache.spark.sql.connector.expressions.aggregate.Max;
import org.apache.spark.sql.connector.expressions.aggregate.Min;
import org.apache.spark.sql.connector.expressions.aggregate.Sum;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.Decimal;
import org.junit.jupiter.api.Test;

class AggregateTranslatorTest {
  private static final TableInfo TABLE =
      TableInfo.newBuilder()
          .addColumns(column("tiny", "int8"))
          .addColumns(column("n", "int32"))
          .addColumns(column("big", "int64"))
          .addColumns(column("huge", "uint64"))
          .addColumns(column("rate", "float64"))
          .addColumns(column("ratio", "float32"))
          .addColumns(column("price", "decimal(15,2)"))
          .addColumns(column("cost", "decimal(11,2)"))
          .addColumns(column("wide", "decimal(38,6)"))
          .addColumns(column("name", "utf8"))
          .addColumns(column("day", "date"))
          .build();

  private final AggregateTranslator translator = new AggregateTranslator(TABLE, true, true);

  private static ColumnInfo column(String name, String type) {
    return ColumnInfo.newBuilder().setName(name).setType(type).build();
  }

  private record Name(String... fieldNames) implements NamedReference {
    @Override
    public String toString() {
      return fieldNames[0];
    }
  }

  private record Constant(Object value, DataType dataType) implements Literal<Object> {}

  private static Expression name(String name) {
    return new Name(name);
  }

  private static Expression number(int value) {
    return new Constant(value, DataTypes.IntegerType);
  }

  private static Expression decimal(String value, int precision, int scale) {
    return new Constant(
        Decimal.apply(new BigDecimal(value), precision, scale), DataTypes.createDecimalType(precision, scale));
  }

  private static Expression call(String name, Expression... children) {
    return new GeneralScalarExpression(name, children);
  }

  private static Aggregation of(AggregateFunc... calls) {
    return new Aggregation(calls, new Expression[0]);
  }

  private static Aggregation by(Expression group) {
    return new Aggregation(new AggregateFunc[] {new CountStar()}, new Expression[] {group});
  }

  private DataType type(AggregateFunc call) throws Declined {
    return translator.translate(of(call)).types().get(0);
  }

  private void declined(String reason, Aggregation wanted) {
    assertEquals(reason, assertThrows(Declined.class, () -> translator.translate(wanted)).getMessage());
  }

  @Test
  void typesAreSparks() throws Exception {
    assertEquals(DataTypes.LongType, type(new CountStar()));
    assertEquals(DataTypes.LongType, type(new Count(name("name"), false)));
    assertEquals(DataTypes.LongType, type(new Sum(name("tiny"), false)));
    assertEquals(DataTypes.LongType, type(new Sum(name("big"), false)));
    assertEquals(DataTypes.createDecimalType(30, 0), type(new Sum(name("huge"), false)));
    assertEquals(DataTypes.DoubleType, type(new Sum(name("ratio"), false)));
    assertEquals(DataTypes.createDecimalType(25, 2), type(new Sum(name("price"), false)));
    assertEquals(DataTypes.createDecimalType(38, 6), type(new Sum(name("wide"), false)));
    assertEquals(DataTypes.StringType, type(new Max(name("name"))));
    assertEquals(DataTypes.ByteType, type(new Min(name("tiny"))));
  }

  /** price * (1 - discount) * (1 + tax) of TPC-H: 49 digits become 38, of which 6 are behind the point. */
  @Test
  void decimalArithmeticHasSparksTypes() throws Exception {
    Expression one = decimal("1", 1, 0);
    Expression discounted = call("*", name("price"), call("-", one, name("price")));
    assertEquals(DataTypes.createDecimalType(32, 4), type(new Max(discounted)));
    assertEquals(DataTypes.createDecimalType(38, 6), type(new Max(call("*", discounted, call("+", one, name("price"))))));
    AggregateTranslator exact = new AggregateTranslator(TABLE, true, false);
    Aggregation lossy = of(new Max(call("*", discounted, discounted)));
    assertThrows(Declined.class, () -> exact.translate(lossy));
  }

  @Test
  void groupsComeFirstAndSumsOfBigintAsAveragesOfWhichTheCountIsLeftOut() throws Exception {
    AggregateTranslator.Translated made =
        translator.translate(
            new Aggregation(
                new AggregateFunc[] {new Sum(name("big"), false), new Sum(name("price"), false), new CountStar()},
                new Expression[] {name("name")}));
    assertEquals(
        Arrays.asList(Aggregate.Function.AVG, Aggregate.Function.SUM, Aggregate.Function.COUNT_ALL),
        made.request().getCallsList().stream().map(Aggregate::getFunction).toList());
    assertEquals("name", made.request().getGroups(0).getColumn().getName());
    assertEquals(
        Arrays.asList(
            new PartialShape.Column(0, PartialShape.Kind.GROUP, 0),
            new PartialShape.Column(1, PartialShape.Kind.LONG_SUM, 0),
            new PartialShape.Column(3, PartialShape.Kind.DECIMAL_SUM, 15),
            new PartialShape.Column(4, PartialShape.Kind.COUNT, 0)),
        made.shape().columns());
    assertEquals(
        Arrays.asList(
            DataTypes.StringType, DataTypes.LongType, DataTypes.createDecimalType(25, 2), DataTypes.LongType),
        made.types());
    assertFalse(made.mayBeComplete());
  }

  @Test
  void sumsThatCannotOverflowMayBeComplete() throws Exception {
    assertTrue(translator.translate(of(new Sum(name("n"), false), new Sum(name("price"), false))).mayBeComplete());
    assertFalse(translator.translate(of(new Sum(name("wide"), false))).mayBeComplete());
  }

  @Test
  void literalsAndCastsKeepTheirTypes() throws Exception {
    Expr sum =
        translator
            .translate(
                of(
                    new Sum(
                        call(
                            "+",
                            LineTesting.cast(name("n"), DataTypes.IntegerType, DataTypes.LongType),
                            new Constant(1L, DataTypes.LongType)),
                        false)))
            .request()
            .getCalls(0)
            .getArgument();
    assertEquals(Call.Op.ADD, sum.getCall().getOp());
    for (Expr arg : sum.getCall().getArgsList()) {
      assertEquals(Call.Op.CAST, arg.getCall().getOp());
      assertEquals(Type.Kind.INT64, arg.getCall().getType().getKind());
    }
    assertEquals(DataTypes.IntegerType, type(new Max(call("-", name("n")))));
  }

  @Test
  void whatCouldDifferIsDeclined() {
    declined("SUM(DISTINCT n) is not in the store's aggregates", of(new Sum(name("n"), true)));
    declined("COUNT(DISTINCT n) is not in the store's aggregates", of(new Count(name("n"), true)));
    declined(
        "STDDEV_POP(rate) is not in the store's aggregates",
        of(new GeneralAggregateFunc("STDDEV_POP", false, new Expression[] {name("rate")})));
    declined("SUM of STRING", of(new Sum(name("name"), false)));
    declined("arithmetic on TINYINT", of(new Max(call("*", name("tiny"), name("tiny")))));
    declined("arithmetic on FLOAT", of(new Max(call("*", name("ratio"), name("ratio")))));
    declined("arithmetic on INT and BIGINT", of(new Max(call("+", name("n"), name("big")))));
    declined("/ is not in the store's expressions", of(new Max(call("/", name("price"), number(2)))));
    declined(
        "CAST of BIGINT to INT could differ",
        of(new Max(LineTesting.cast(name("big"), DataTypes.LongType, DataTypes.IntegerType))));
    declined(
        "CAST of DECIMAL(15,2) to DOUBLE could differ",
        of(new Max(LineTesting.cast(name("price"), DataTypes.createDecimalType(15, 2), DataTypes.DoubleType))));
    declined("an expression without a column", of(new Sum(number(1), false)));
    declined("GROUP BY a computed floating-point number", by(call("-", name("rate"))));
  }

  @Test
  void withoutAnsiWideSumsStayWithSpark() throws Exception {
    AggregateTranslator lenient = new AggregateTranslator(TABLE, false, true);
    lenient.translate(of(new Sum(name("price"), false), new Sum(name("big"), false)));
    assertThrows(Declined.class, () -> lenient.translate(of(new Sum(name("wide"), false))));
  }

  @Test
  void averagesAreSparksWhereItsOwnSumsAreDoubles() {
    assertNull(translator.objectionToAverages(of(new Avg(name("n"), false), new Avg(name("price"), false))));
    assertEquals(
        "AVG of BIGINT: its sum could overflow, where Spark adds up doubles",
        translator.objectionToAverages(of(new CountStar(), new Avg(name("big"), false))));
    assertEquals(
        "AVG of DECIMAL(11,2): Spark computes it in doubles",
        translator.objectionToAverages(of(new Avg(name("cost"), false))));
  }
}
