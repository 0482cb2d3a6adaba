/* AggregateTranslator.java -- Spark's aggregates as ones that the store computes by the same rules, or the reason why not.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.PartialShape;
import io.magicstore.proto.Aggregate;
import io.magicstore.proto.Aggregation;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.aggregate.AggregateFunc;
import org.apache.spark.sql.connector.expressions.aggregate.Avg;
import org.apache.spark.sql.connector.expressions.aggregate.Count;
import org.apache.spark.sql.connector.expressions.aggregate.CountStar;
import org.apache.spark.sql.connector.expressions.aggregate.Max;
import org.apache.spark.sql.connector.expressions.aggregate.Min;
import org.apache.spark.sql.connector.expressions.aggregate.Sum;
import org.apache.spark.sql.types.ByteType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.DoubleType;
import org.apache.spark.sql.types.FloatType;
import org.apache.spark.sql.types.IntegerType;
import org.apache.spark.sql.types.LongType;
import org.apache.spark.sql.types.ShortType;

/**
 * COUNT, SUM, MIN and MAX over columns and arithmetic, by columns and arithmetic on them. AVG never comes here: Spark makes it of
 * SUM and COUNT, and divides itself. spark/README.md has the table. Belongs to one thread.
 */
final class AggregateTranslator {
  /**
   * @param request without `partial`
   * @param types of what Spark is given: the groups, then the calls
   * @param shape of partial results
   * @param mayBeComplete no sum can overflow, so that nothing is left for Spark's rules to decide
   */
  record Translated(Aggregation request, List<DataType> types, PartialShape shape, boolean mayBeComplete) {}

  // The store's own bounds (docs/format/scan.md).
  private static final int GROUPS_MAX = 64;
  private static final int CALLS_MAX = 256;
  private static final int NODES_MAX = 1024;
  private static final int EXPRESSION_NODES_MAX = 256;

  private static final int SUM_DIGITS = 10; // that a sum has more than its argument
  /** Spark computes averages of decimals of up to that many digits as doubles (its rule DecimalAggregates). */
  private static final int AVERAGE_DOUBLE_DIGITS = 11;

  private final ValueTranslator values;
  private final boolean ansi;

  private Aggregation.Builder request;
  private List<DataType> types;
  private List<PartialShape.Column> shape;
  private int sources;
  private int nodes;
  private boolean mayBeComplete;

  /** ansi, lossAllowed: spark.sql.ansi.enabled, spark.sql.decimalOperations.allowPrecisionLoss. */
  AggregateTranslator(TableInfo table, boolean ansi, boolean lossAllowed) {
    this.values = new ValueTranslator(table, lossAllowed);
    this.ansi = ansi;
  }

  Translated translate(org.apache.spark.sql.connector.expressions.aggregate.Aggregation wanted) throws Declined {
    request = Aggregation.newBuilder();
    types = new ArrayList<>();
    shape = new ArrayList<>();
    sources = 0;
    nodes = 0;
    mayBeComplete = true;
    for (Expression group : wanted.groupByExpressions()) {
      addGroup(values.translate(group));
    }
    for (AggregateFunc call : wanted.aggregateExpressions()) {
      addCall(call);
    }
    if (request.getGroupsCount() > GROUPS_MAX || request.getCallsCount() > CALLS_MAX || nodes > NODES_MAX) {
      throw new Declined("more than the store computes at a time");
    }
    boolean grouped = request.getGroupsCount() > 0;
    return new Translated(request.build(), List.copyOf(types), new PartialShape(grouped, shape), mayBeComplete);
  }

  /** Why averages among these cannot be made of SUM and COUNT without a difference; null when they can. */
  String objectionToAverages(org.apache.spark.sql.connector.expressions.aggregate.Aggregation wanted) {
    for (AggregateFunc call : wanted.aggregateExpressions()) {
      if (call instanceof Avg average) {
        try {
          DataType type = values.translate(average.column()).type();
          if (type instanceof LongType) {
            return "AVG of BIGINT: its sum could overflow, where Spark adds up doubles";
          }
          if (type instanceof DecimalType decimal && decimal.precision() <= AVERAGE_DOUBLE_DIGITS) {
            return "AVG of " + decimal.sql() + ": Spark computes it in doubles";
          }
        } catch (Declined reason) {
          return reason.getMessage();
        }
      }
    }
    return null;
  }

  private Expr counted(ValueTranslator.Value value) throws Declined {
    int count = nodes(value.expr());

    nodes += count;
    if (count > EXPRESSION_NODES_MAX) {
      throw new Declined("an expression that is too long");
    }
    return value.expr();
  }

  private static int nodes(Expr expr) {
    return 1 + expr.getCall().getArgsList().stream().mapToInt(AggregateTranslator::nodes).sum();
  }

  private void addGroup(ValueTranslator.Value value) throws Declined {
    boolean isExact = !(value.type() instanceof DoubleType || value.type() instanceof FloatType);

    if (!value.isColumn() && !isExact) {
      throw new Declined("GROUP BY a computed floating-point number");
    }
    request.addGroups(counted(value));
    addColumn(value.type(), PartialShape.Kind.GROUP, 0);
  }

  private void addColumn(DataType type, PartialShape.Kind kind, int precision) {
    types.add(type);
    shape.add(new PartialShape.Column(sources++, kind, precision));
  }

  private void addCall(AggregateFunc call) throws Declined {
    if (call instanceof CountStar) {
      request.addCallsBuilder().setFunction(Aggregate.Function.COUNT_ALL);
      addColumn(DataTypes.LongType, PartialShape.Kind.COUNT, 0);
    } else if (call instanceof Count count && !count.isDistinct()) {
      add(Aggregate.Function.COUNT, values.translate(count.column()));
      addColumn(DataTypes.LongType, PartialShape.Kind.COUNT, 0);
    } else if (call instanceof Min min) {
      addBest(Aggregate.Function.MIN, values.translate(min.column()));
    } else if (call instanceof Max max) {
      addBest(Aggregate.Function.MAX, values.translate(max.column()));
    } else if (call instanceof Sum sum && !sum.isDistinct()) {
      addSum(values.translate(sum.column()));
    } else {
      throw new Declined(call + " is not in the store's aggregates");
    }
  }

  private void add(Aggregate.Function function, ValueTranslator.Value value) throws Declined {
    request.addCallsBuilder().setFunction(function).setArgument(counted(value));
  }

  private void addBest(Aggregate.Function function, ValueTranslator.Value value) throws Declined {
    add(function, value);
    addColumn(value.type(), PartialShape.Kind.VALUE, 0);
  }

  private void addSum(ValueTranslator.Value value) throws Declined {
    DataType type = value.type();

    if (type instanceof LongType) {
      // A partial average's sum has 38 digits: what 64 bits do not hold goes to Spark in pieces, and its rules decide.
      add(Aggregate.Function.AVG, value);
      addColumn(DataTypes.LongType, PartialShape.Kind.LONG_SUM, 0);
      sources++;
      mayBeComplete = false;
    } else if (type instanceof ByteType || type instanceof ShortType || type instanceof IntegerType) {
      add(Aggregate.Function.SUM, value);
      addColumn(DataTypes.LongType, PartialShape.Kind.VALUE, 0);
    } else if (type instanceof DoubleType || type instanceof FloatType) {
      add(Aggregate.Function.SUM, value);
      addColumn(DataTypes.DoubleType, PartialShape.Kind.VALUE, 0);
    } else if (type instanceof DecimalType decimal) {
      addDecimalSum(value, decimal);
    } else {
      throw new Declined("SUM of " + type.sql());
    }
  }

  private void addDecimalSum(ValueTranslator.Value value, DecimalType type) throws Declined {
    int precision = Math.min(type.precision() + SUM_DIGITS, DecimalType.MAX_PRECISION());
    boolean cannotOverflow = precision == type.precision() + SUM_DIGITS;

    if (!cannotOverflow && !ansi) {
      throw new Declined("SUM of " + type.sql() + ": without spark.sql.ansi.enabled an overflow is NULL");
    }
    mayBeComplete &= cannotOverflow;
    add(Aggregate.Function.SUM, value);
    addColumn(
        DataTypes.createDecimalType(precision, type.scale()),
        type.precision() == precision ? PartialShape.Kind.VALUE : PartialShape.Kind.DECIMAL_SUM,
        type.precision());
  }
}
