/* PredicateTranslatorTest.java -- what is pushed, as what, and why the rest is not.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.magicstore.proto.Call;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.Value;
import java.math.BigDecimal;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.unsafe.types.UTF8String;
import org.junit.jupiter.api.Test;

class PredicateTranslatorTest {
  private final PredicateTranslator translator =
      new PredicateTranslator(
          TableInfo.newBuilder()
              .addColumns(column("id", "int64"))
              .addColumns(column("small", "uint8"))
              .addColumns(column("huge", "uint64"))
              .addColumns(column("price", "decimal(12,2)"))
              .addColumns(column("cost", "decimal(12,3)"))
              .addColumns(column("rate", "float64"))
              .addColumns(column("day", "date"))
              .addColumns(column("local", "datetime(6)"))
              .addColumns(column("moment", "timestamp"))
              .addColumns(column("name", "utf8"))
              .addColumns(column("title", "utf8"))
              .build());

  private static ColumnInfo column(String name, String type) {
    return ColumnInfo.newBuilder().setName(name).setType(type).build();
  }

  private record Name(String... fieldNames) implements NamedReference {}

  private record Constant(Object value, DataType dataType) implements Literal<Object> {}

  private static Expression name(String name) {
    return new Name(name);
  }

  private static Expression constant(Object value, DataType type) {
    return new Constant(value, type);
  }

  private static Expression text(String value) {
    return constant(value == null ? null : UTF8String.fromString(value), DataTypes.StringType);
  }

  private static Predicate predicate(String name, Expression... children) {
    return new Predicate(name, children);
  }

  private Call call(Predicate predicate) throws Declined {
    return translator.translate(predicate).getCall();
  }

  private Value literal(String column, Object value, DataType type) throws Declined {
    Expr right = call(predicate("=", name(column), constant(value, type))).getArgs(1);
    return right.getLiteral();
  }

  private void declined(String reason, Predicate predicate) {
    assertEquals(
        reason, assertThrows(Declined.class, () -> translator.translate(predicate)).getMessage());
  }

  @Test
  void literalsKeepTheirType() throws Exception {
    assertEquals(-5, literal("id", -5L, DataTypes.LongType).getIntValue());
    assertEquals(200, literal("small", (short) 200, DataTypes.ShortType).getIntValue());
    assertEquals(2.5, literal("rate", 2.5, DataTypes.DoubleType).getFloatValue());
    assertEquals(19000, literal("day", 19000, DataTypes.DateType).getDateValue());
    assertEquals(7L, literal("local", 7L, DataTypes.TimestampNTZType).getDatetimeValue());
    assertEquals(8L, literal("moment", 8L, DataTypes.TimestampType).getTimestampValue());
    assertEquals("naïve ", literal("name", UTF8String.fromString("naïve "), DataTypes.StringType).getTextValue().toStringUtf8());
    Decimal price = Decimal.apply(new BigDecimal("1.50"), 12, 2);
    assertEquals(2, literal("price", price, DataTypes.createDecimalType(12, 2)).getDecimalValue().getScale());
    Decimal huge = Decimal.apply(new BigDecimal("18446744073709551615"), 20, 0);
    assertEquals(-1L, literal("huge", huge, DataTypes.createDecimalType(20, 0)).getUintValue());
  }

  @Test
  void aLiteralOnTheLeftIsMirrored() throws Exception {
    Call call = call(predicate("<=", constant(5L, DataTypes.LongType), name("id")));
    assertEquals(Call.Op.GE, call.getOp());
    assertEquals("id", call.getArgs(0).getColumn().getName());
  }

  @Test
  void columnsOfOneTypeAreCompared() throws Exception {
    assertEquals("title", call(predicate("<=>", name("name"), name("title"))).getArgs(1).getColumn().getName());
    declined("the columns differ in type", predicate("=", name("price"), name("cost")));
  }

  @Test
  void whatIsNotExactlyTheSameIsDeclined() {
    declined("literal of type INT against BIGINT", predicate("=", name("id"), constant(5, DataTypes.IntegerType)));
    declined(
        "literal of type DECIMAL(4,2) against DECIMAL(12,2)",
        predicate(
            "=", name("price"), constant(Decimal.apply(new BigDecimal("1.50"), 4, 2), DataTypes.createDecimalType(4, 2))));
    declined("comparison with NULL", predicate("<=>", name("name"), text(null)));
    declined(
        "literal outside of BIGINT UNSIGNED",
        predicate(">", name("huge"), constant(Decimal.apply(new BigDecimal("-1"), 20, 0), DataTypes.createDecimalType(20, 0))));
    declined(
        "CAST to DOUBLE could differ",
        predicate(
            "=",
            LineTesting.cast(name("id"), DataTypes.LongType, DataTypes.DoubleType),
            constant(1.5, DataTypes.DoubleType)));
    declined("ENDS_WITH is not in the store's predicates", predicate("ENDS_WITH", name("name"), text("x")));
    declined("IN with a floating zero", predicate("IN", name("rate"), constant(-0.0, DataTypes.DoubleType)));
    declined("not a plain column", predicate("IS_NULL", new Name("a", "b")));
  }

  @Test
  void oneDeclinedPartDeclinesTheWhole() {
    Predicate fine = predicate("IS_NULL", name("name"));
    declined(
        "CONTAINS is not in the store's predicates",
        predicate("OR", fine, predicate("NOT", predicate("CONTAINS", name("name"), text("x")))));
  }

  @Test
  void nullMayStandInALiteralList() throws Exception {
    Call call = call(predicate("IN", name("name"), text("a"), text(null)));
    assertEquals(3, call.getArgsCount());
    assertEquals(Value.ValueCase.VALUE_NOT_SET, call.getArgs(2).getLiteral().getValueCase());
  }

  @Test
  void aPrefixIsARange() throws Exception {
    Call call = call(predicate("STARTS_WITH", name("name"), text("ab%_")));
    assertEquals(Call.Op.AND, call.getOp());
    assertEquals("ab%_", call.getArgs(0).getCall().getArgs(1).getLiteral().getTextValue().toStringUtf8());
    assertEquals("ab%`", call.getArgs(1).getCall().getArgs(1).getLiteral().getTextValue().toStringUtf8());
    Call last = call(predicate("STARTS_WITH", name("name"), text("\uD7FF")));
    assertEquals("\uE000", last.getArgs(1).getCall().getArgs(1).getLiteral().getTextValue().toStringUtf8());
    declined(
        "prefix that ends with the last code point",
        predicate("STARTS_WITH", name("name"), text(Character.toString(Character.MAX_CODE_POINT))));
    declined("prefix that is empty or no valid text", predicate("STARTS_WITH", name("name"), text("")));
  }

  @Test
  void deepTreesStayWithSpark() throws Exception {
    Predicate tree = predicate("IS_NULL", name("name"));
    for (int i = 0; i < 100; i++) {
      tree = predicate("NOT", tree);
    }
    declined("nested too deeply", tree);
  }
}
