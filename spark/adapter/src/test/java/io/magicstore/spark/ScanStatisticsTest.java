/* ScanStatisticsTest.java -- sizes that the optimizer is told: near the truth, and rather more than less.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.magicstore.client.ColumnType;
import io.magicstore.client.Exprs;
import io.magicstore.proto.Aggregation;
import io.magicstore.proto.Call;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.ColumnStats;
import io.magicstore.proto.Expr;
import io.magicstore.proto.ScanDescriptor;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.TableStats;
import io.magicstore.proto.Value;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Map;
import java.util.Optional;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.read.colstats.ColumnStatistics;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.Decimal;
import org.junit.jupiter.api.Test;

class ScanStatisticsTest {
  private static final long ROWS = 1_000_000;
  private static final TableInfo TABLE =
      TableInfo.newBuilder()
          .setRowCount(ROWS)
          .setSizeBytes(ROWS * 30)
          .addColumns(column(1, "id", "int64", "bigint"))
          .addColumns(column(2, "day", "date", "date"))
          .addColumns(column(3, "price", "decimal(12,2)", "decimal(12,2)"))
          .addColumns(column(4, "flag", "utf8", "char(1)"))
          .addColumns(column(5, "note", "utf8", "text"))
          .addColumns(column(6, "kind", "int32", "int"))
          .addColumns(column(7, "local", "datetime(6)", "datetime(6)"))
          .addColumns(column(8, "gone", "int32", "int"))
          .build();
  private static final TableFacts FACTS =
      TableFacts.parse(
          TABLE,
          TableStats.newBuilder()
              .setRowCount(ROWS)
              .addColumns(stats(1, 0, ROWS, "0", "999999"))
              .addColumns(stats(2, 0, 1000, "2020-01-01", "2022-09-26"))
              .addColumns(stats(3, 500_000, 5000, "-10.00", "90.00"))
              .addColumns(stats(4, 0, 3, "A", "R"))
              .addColumns(stats(6, 0, 50, "1", "50"))
              .addColumns(stats(7, 0, 900, "2020-01-01 00:00:00.000000", "2020-01-01 00:00:01.5"))
              .build());

  private static ColumnInfo column(int id, String name, String type, String source) {
    return ColumnInfo.newBuilder().setId(id).setName(name).setType(type).setSourceType(source).build();
  }

  private static ColumnStats stats(int id, long nulls, long distinct, String low, String high) {
    return ColumnStats.newBuilder()
        .setId(id)
        .setNullCount(nulls)
        .setDistinctCount(distinct)
        .setHasBounds(true)
        .setLow(ByteString.copyFromUtf8(low))
        .setHigh(ByteString.copyFromUtf8(high))
        .build();
  }

  private static Expr call(Call.Op op, String column, Value literal) {
    return Exprs.call(op, Exprs.column(column), Exprs.literal(literal));
  }

  private static Value number(long value) {
    return Value.newBuilder().setIntValue(value).build();
  }

  private static Value day(int value) {
    return Value.newBuilder().setDateValue(value).build();
  }

  private static double share(Expr predicate) {
    return new Selectivity(FACTS).of(predicate);
  }

  private static ScanStatistics of(ScanDescriptor scan, Map<String, DataType> columns, int splits) {
    Expr predicate = scan.hasPredicate() ? scan.getPredicate() : null;
    return ScanStatistics.of(TABLE, FACTS, scan, predicate, columns, splits, true);
  }

  @Test
  void boundsAreInSparksForm() {
    assertEquals(Optional.of(18262), FACTS.columns().get("day").low());
    assertEquals(Optional.of(Decimal.apply(new BigDecimal("-10.00"), 12, 2)), FACTS.columns().get("price").low());
    assertEquals(Optional.of(1_577_836_801_500_000L), FACTS.columns().get("local").high());
    assertEquals(Optional.empty(), FACTS.columns().get("flag").low());
    ColumnStats odd = stats(1, 0, 1, "many", "0");
    assertEquals(Optional.empty(), ColumnFacts.of(ColumnType.parse("int64"), odd).low());
    assertEquals(
        Optional.empty(), ColumnFacts.of(ColumnType.parse("float64"), stats(1, 0, 2, "1.5", "inf")).low());
  }

  @Test
  void equalityByDifferentValues() {
    assertEquals(0.02, share(call(Call.Op.EQ, "kind", number(7))), 1e-9);
    assertEquals(0.98, share(call(Call.Op.NE, "kind", number(7))), 1e-9);
    assertEquals(1e-6, share(call(Call.Op.EQ, "id", number(7))), 1e-12);
    assertEquals(
        0.04,
        share(Exprs.call(Call.Op.IN, Exprs.column("kind"), Exprs.literal(number(7)), Exprs.literal(number(8)))),
        1e-9);
    assertEquals(Selectivity.LEAST, share(call(Call.Op.EQ, "price", number(7))), 1e-9, "0.5 / 5000");
    assertEquals(0.5, share(call(Call.Op.EQ, "gone", number(7))), 1e-9, "nothing is known");
    assertEquals(0.5, share(Exprs.call(Call.Op.IS_NULL, Exprs.column("price"))), 1e-9);
  }

  @Test
  void rangesByBounds() {
    assertEquals(0.1, share(call(Call.Op.LT, "day", day(18362))), 0.001);
    assertEquals(0.9, share(call(Call.Op.GE, "day", day(18362))), 0.001);
    Expr month = Exprs.call(Call.Op.AND, call(Call.Op.GE, "day", day(18362)), call(Call.Op.LT, "day", day(18392)));
    assertEquals(0.03, share(month), 0.001);
    assertEquals(Selectivity.LEAST, share(call(Call.Op.GT, "day", day(40000))), 1e-9);
    Value price =
        Value.newBuilder().setDecimalValue(Exprs.decimal(BigInteger.valueOf(4000), 12, 2)).build();
    assertEquals(0.25, share(call(Call.Op.GT, "price", price)), 1e-9, "half of them are NULL");
  }

  @Test
  void furtherConditionsCountLess() {
    Expr one = call(Call.Op.EQ, "kind", number(7));
    Expr other = call(Call.Op.EQ, "flag", Value.newBuilder().setTextValue(ByteString.copyFromUtf8("A")).build());

    assertEquals(0.02 * Math.sqrt(1 / 3.0), share(Exprs.call(Call.Op.AND, one, other)), 1e-6);
    assertEquals(0.02 + 1 / 3.0, share(Exprs.call(Call.Op.OR, one, other)), 1e-6);
    assertEquals(2 / 3.0, share(Exprs.call(Call.Op.NOT, other)), 1e-6);
    assertTrue(share(Exprs.call(Call.Op.AND, one, one, one, one, one, one)) >= Selectivity.LEAST);
    assertEquals(1, share(null));
  }

  @Test
  void limitsAndGroupsBoundTheRows() {
    Map<String, DataType> columns = Map.of("id", DataTypes.LongType);
    ScanDescriptor all = ScanDescriptor.getDefaultInstance();
    Aggregation grouped = Aggregation.newBuilder().addGroups(Exprs.column("kind")).build();

    assertEquals(ROWS, of(all, columns, 4).numRows().getAsLong());
    assertEquals(ROWS * 16, of(all, columns, 4).sizeInBytes().getAsLong());
    assertEquals(40, of(all.toBuilder().setLimit(10).build(), columns, 4).numRows().getAsLong());
    assertEquals(4, of(all.toBuilder().setAggregation(Aggregation.getDefaultInstance()).build(), columns, 4).numRows().getAsLong());
    assertEquals(51 * 4, of(all.toBuilder().setAggregation(grouped).build(), columns, 4).numRows().getAsLong());
    ScanDescriptor few = all.toBuilder().setPredicate(call(Call.Op.EQ, "id", number(3))).build();
    assertEquals(1, of(few, columns, 4).numRows().getAsLong());
    assertEquals(1, ScanStatistics.of(TABLE, TableFacts.none(0), all, null, columns, 1, false).numRows().getAsLong());
  }

  @Test
  void textIsAsLongAsItIsDeclaredOrStored() {
    Map<String, DataType> flag = Map.of("flag", DataTypes.StringType);
    Map<String, DataType> note = Map.of("note", DataTypes.StringType);
    TableInfo large = TABLE.toBuilder().setSizeBytes(ROWS * 1000).build();
    ScanDescriptor all = ScanDescriptor.getDefaultInstance();

    assertEquals(ROWS * (8 + 1), of(all, flag, 1).sizeInBytes().getAsLong());
    assertEquals(ROWS * (8 + 20), of(all, note, 1).sizeInBytes().getAsLong());
    assertTrue(ScanStatistics.of(large, FACTS, all, null, note, 1, false).sizeInBytes().getAsLong() > ROWS * 300);
  }

  @Test
  void columnsAreToldOfAfterThePredicate() {
    Map<String, DataType> columns =
        Map.of(
            "id", DataTypes.LongType,
            "price", DataTypes.createDecimalType(12, 2),
            "flag", DataTypes.StringType,
            "local", DataTypes.TimestampNTZType,
            "gone", DataTypes.IntegerType);
    ScanDescriptor scan = ScanDescriptor.newBuilder().setPredicate(call(Call.Op.EQ, "kind", number(3))).build();
    Map<NamedReference, ColumnStatistics> told = of(scan, columns, 1).columnStats();

    assertEquals(3, told.size(), "not of a type without a range in Spark, nor where nothing is known");
    assertEquals(20_000, told.get(new NamedColumn("id")).distinctCount().getAsLong());
    assertEquals(10_000, told.get(new NamedColumn("price")).nullCount().getAsLong());
    assertEquals(Optional.of(999_999L), told.get(new NamedColumn("id")).max());
    assertEquals(3, told.get(new NamedColumn("flag")).distinctCount().getAsLong());
    assertTrue(ScanStatistics.of(TABLE, FACTS, scan, null, columns, 1, false).columnStats().isEmpty());
  }
}
