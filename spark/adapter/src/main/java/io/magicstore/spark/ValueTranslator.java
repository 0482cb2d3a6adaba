/* ValueTranslator.java -- columns, literals and arithmetic as trees that the store computes by Spark's rules, with their types.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Exprs;
import io.magicstore.proto.Call;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.Type;
import org.apache.spark.sql.connector.expressions.Cast;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.GeneralScalarExpression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.types.ByteType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.DoubleType;
import org.apache.spark.sql.types.FloatType;
import org.apache.spark.sql.types.IntegerType;
import org.apache.spark.sql.types.LongType;
import org.apache.spark.sql.types.ShortType;

/**
 * + - * and unary minus on INT, BIGINT, DOUBLE and DECIMAL, and casts that hold every value of their argument. Spark offers
 * arithmetic only where it is ANSI's, so an overflow is an error on both sides. Immutable.
 */
final class ValueTranslator {
  /** The type is the one that Spark gives the expression. */
  record Value(Expr expr, DataType type) {
    boolean isColumn() {
      return expr.hasColumn();
    }
  }

  private static final int SCALE_LEAST = 6; // that a product keeps when its digits do not fit

  private final TableColumns columns;
  private final boolean lossAllowed;

  ValueTranslator(TableInfo table, boolean lossAllowed) {
    this.columns = new TableColumns(table);
    this.lossAllowed = lossAllowed;
  }

  /** An expression that reads a column; one of literals alone is declined. */
  Value translate(Expression expression) throws Declined {
    Value value = tree(expression);

    if (!readsColumn(value.expr())) {
      throw new Declined("an expression without a column");
    }
    if (Exprs.depth(value.expr()) > Exprs.DEPTH_MAX) {
      throw new Declined("nested too deeply");
    }
    return value;
  }

  private static boolean readsColumn(Expr expr) {
    return expr.hasColumn() || expr.getCall().getArgsList().stream().anyMatch(ValueTranslator::readsColumn);
  }

  private Value tree(Expression expression) throws Declined {
    if (expression instanceof NamedReference) {
      TableColumns.Typed column = columns.of(expression);
      return new Value(Exprs.column(column.name()), column.sparkType());
    }
    if (expression instanceof Literal<?> literal) {
      return literal(literal);
    }
    if (expression instanceof Cast cast) {
      return cast(tree(cast.expression()), cast.dataType());
    }
    if (expression instanceof GeneralScalarExpression call) {
      return arithmetic(call);
    }
    throw new Declined(expression + " is not in the store's expressions");
  }

  private static Value literal(Literal<?> literal) throws Declined {
    DataType type = literal.dataType();
    Object value = literal.value();
    io.magicstore.proto.Value.Builder out = io.magicstore.proto.Value.newBuilder();

    if (value == null) {
      throw new Declined("NULL in an expression");
    }
    if (type instanceof IntegerType || type instanceof LongType) {
      long number = ((Number) value).longValue();
      Expr expr = Exprs.literal(out.setIntValue(number).build());
      // The store takes the narrower type where the value allows it.
      return new Value(type instanceof LongType && number == (int) number ? Exprs.cast(expr, wire(type)) : expr, type);
    }
    if (type instanceof DoubleType) {
      return new Value(Exprs.literal(out.setFloatValue((Double) value).build()), type);
    }
    if (type instanceof DecimalType decimal) {
      return new Value(
          Exprs.literal(
              out.setDecimalValue(
                      Exprs.decimal(
                          ((Decimal) value).toJavaBigDecimal().setScale(decimal.scale()).unscaledValue(),
                          decimal.precision(),
                          decimal.scale()))
                  .build()),
          type);
    }
    throw new Declined("a literal of type " + type.sql() + " in an expression");
  }

  // ---- casts

  private static Value cast(Value value, DataType to) throws Declined {
    if (value.type().equals(to)) {
      return value;
    }
    if (!widens(value.type(), to)) {
      throw new Declined("CAST of " + value.type().sql() + " to " + to.sql() + " could differ");
    }
    return new Value(Exprs.cast(value.expr(), wire(to)), to);
  }

  private static boolean widens(DataType from, DataType to) {
    if (digits(from) > 0) {
      return digits(to) > digits(from)
          || to instanceof DoubleType
          || to instanceof DecimalType decimal && decimal.precision() - decimal.scale() >= digits(from);
    }
    if (from instanceof DecimalType narrow && to instanceof DecimalType wide) {
      return wide.scale() >= narrow.scale()
          && wide.precision() - wide.scale() >= narrow.precision() - narrow.scale();
    }
    return from instanceof FloatType && to instanceof DoubleType;
  }

  /** Decimal digits of an integer type, else 0. */
  private static int digits(DataType type) {
    if (type instanceof ByteType) {
      return 3;
    }
    if (type instanceof ShortType) {
      return 5;
    }
    if (type instanceof IntegerType) {
      return 10;
    }
    return type instanceof LongType ? 19 : 0;
  }

  private static Type wire(DataType type) {
    Type.Builder out = Type.newBuilder();

    if (type instanceof DecimalType decimal) {
      return out.setKind(Type.Kind.DECIMAL).setPrecision(decimal.precision()).setScale(decimal.scale()).build();
    }
    if (type instanceof DoubleType) {
      return out.setKind(Type.Kind.FLOAT64).build();
    }
    if (type instanceof LongType) {
      return out.setKind(Type.Kind.INT64).build();
    }
    return out.setKind(type instanceof IntegerType ? Type.Kind.INT32 : Type.Kind.INT16).build();
  }

  // ---- arithmetic

  private Value arithmetic(GeneralScalarExpression call) throws Declined {
    Expression[] children = call.children();

    if (children.length == 1 && call.name().equals("-")) {
      Value value = tree(children[0]);
      return new Value(Exprs.call(Call.Op.NEGATE, value.expr()), computed(value.type(), value.type(), null));
    }
    Call.Op op =
        switch (call.name()) {
          case "+" -> Call.Op.ADD;
          case "-" -> Call.Op.SUBTRACT;
          case "*" -> Call.Op.MULTIPLY;
          default -> throw new Declined(call.name() + " is not in the store's expressions");
        };
    Value left = tree(children[0]);
    Value right = tree(children[1]);
    return new Value(Exprs.call(op, left.expr(), right.expr()), computed(left.type(), right.type(), op));
  }

  /** op: null for unary minus. TINYINT and SMALLINT overflow with an error of their own, FLOAT rounds: they stay with Spark. */
  private DataType computed(DataType left, DataType right, Call.Op op) throws Declined {
    if (left instanceof DecimalType x && right instanceof DecimalType y) {
      return op == null ? x : decimal(x, y, op);
    }
    if (left.equals(right) && (left instanceof IntegerType || left instanceof LongType || left instanceof DoubleType)) {
      return left;
    }
    throw new Declined("arithmetic on " + left.sql() + (left.equals(right) ? "" : " and " + right.sql()));
  }

  private DataType decimal(DecimalType x, DecimalType y, Call.Op op) throws Declined {
    int scale = op == Call.Op.MULTIPLY ? x.scale() + y.scale() : Math.max(x.scale(), y.scale());
    int precision =
        op == Call.Op.MULTIPLY
            ? x.precision() + y.precision() + 1
            : Math.max(x.precision() - x.scale(), y.precision() - y.scale()) + scale + 1;
    int most = DecimalType.MAX_PRECISION();

    if (precision <= most) {
      return DataTypes.createDecimalType(precision, scale);
    }
    if (!lossAllowed) {
      throw new Declined("decimals of more than 38 digits without spark.sql.decimalOperations.allowPrecisionLoss");
    }
    return DataTypes.createDecimalType(most, Math.max(most - (precision - scale), Math.min(scale, SCALE_LEAST)));
  }
}
