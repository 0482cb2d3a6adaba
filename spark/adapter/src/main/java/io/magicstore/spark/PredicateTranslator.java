/* PredicateTranslator.java -- Spark's predicates as trees that the store evaluates by the same rules, or the reason why not.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import com.google.protobuf.ByteString;
import io.magicstore.client.ColumnType;
import io.magicstore.client.Exprs;
import io.magicstore.proto.Call;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.Value;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * Takes a column against literals of exactly its type, or against a column of exactly its type, under comparisons, IN, null tests,
 * prefixes, AND, OR, NOT. Anything else is declined whole: Spark evaluates it itself. spark/README.md has the table.
 */
final class PredicateTranslator {
  private static final BigInteger UINT64_END = BigInteger.ONE.shiftLeft(64);
  private static final int LAST_CODE_POINT = Character.MAX_CODE_POINT;

  private final TableColumns columns;

  PredicateTranslator(TableInfo table) {
    columns = new TableColumns(table);
  }

  Expr translate(Predicate predicate) throws Declined {
    Expr expr = tree(predicate);

    if (Exprs.depth(expr) > Exprs.DEPTH_MAX) {
      throw new Declined("nested too deeply");
    }
    return expr;
  }

  private Expr tree(Expression expression) throws Declined {
    if (!(expression instanceof Predicate predicate)) {
      throw new Declined("no predicate that the store has");
    }
    Expression[] children = predicate.children();
    return switch (predicate.name()) {
      case "=" -> compare(Call.Op.EQ, children);
      case "<>" -> compare(Call.Op.NE, children);
      case "<" -> compare(Call.Op.LT, children);
      case "<=" -> compare(Call.Op.LE, children);
      case ">" -> compare(Call.Op.GT, children);
      case ">=" -> compare(Call.Op.GE, children);
      case "<=>" -> compare(Call.Op.EQ_NULL_SAFE, children);
      case "IS_NULL" -> Exprs.call(Call.Op.IS_NULL, Exprs.column(columns.of(children[0]).name()));
      case "IS_NOT_NULL" -> Exprs.call(Call.Op.IS_NOT_NULL, Exprs.column(columns.of(children[0]).name()));
      case "AND" -> Exprs.connect(Call.Op.AND, tree(children[0]), tree(children[1]));
      case "OR" -> Exprs.connect(Call.Op.OR, tree(children[0]), tree(children[1]));
      case "NOT" -> Exprs.call(Call.Op.NOT, tree(children[0]));
      case "IN" -> in(children);
      case "STARTS_WITH" -> startsWith(children);
      default -> throw new Declined(predicate.name() + " is not in the store's predicates");
    };
  }

  private Expr compare(Call.Op op, Expression[] children) throws Declined {
    if (children[0] instanceof Literal<?> literal) {
      TableColumns.Typed column = columns.of(children[1]);
      return Exprs.call(mirrored(op), Exprs.column(column.name()), literal(column, literal));
    }
    TableColumns.Typed column = columns.of(children[0]);
    if (children[1] instanceof Literal<?> literal) {
      return Exprs.call(op, Exprs.column(column.name()), literal(column, literal));
    }
    TableColumns.Typed other = columns.of(children[1]);
    if (column.type().kind() != other.type().kind() || !column.sparkType().equals(other.sparkType())) {
      throw new Declined("the columns differ in type");
    }
    return Exprs.call(op, Exprs.column(column.name()), Exprs.column(other.name()));
  }

  private static Call.Op mirrored(Call.Op op) {
    return switch (op) {
      case LT -> Call.Op.GT;
      case LE -> Call.Op.GE;
      case GT -> Call.Op.LT;
      case GE -> Call.Op.LE;
      default -> op;
    };
  }

  private Expr in(Expression[] children) throws Declined {
    TableColumns.Typed column = columns.of(children[0]);
    List<Expr> args = new ArrayList<>(children.length);

    args.add(Exprs.column(column.name()));
    for (int i = 1; i < children.length; i++) {
      if (!(children[i] instanceof Literal<?> literal)) {
        throw new Declined("IN with something that is not a literal");
      }
      // Spark looks long lists up by the bits of a double, where the two zeros differ.
      if (literal.value() instanceof Number number && isFloating(column) && number.doubleValue() == 0) {
        throw new Declined("IN with a floating zero");
      }
      args.add(literal.value() == null ? Exprs.literal(Value.getDefaultInstance()) : literal(column, literal));
    }
    return Exprs.call(Call.Op.IN, args);
  }

  private static boolean isFloating(TableColumns.Typed column) {
    return column.type().kind() == ColumnType.Kind.FLOAT32 || column.type().kind() == ColumnType.Kind.FLOAT64;
  }

  /** In UTF-8 the order of bytes is that of code points: a prefix is the range up to its last code point plus one. */
  private Expr startsWith(Expression[] children) throws Declined {
    TableColumns.Typed column = columns.of(children[0]);

    if (!(children[1] instanceof Literal<?> literal)
        || !(literal.value() instanceof UTF8String text)
        || column.type().kind() != ColumnType.Kind.UTF8) {
      throw new Declined("prefix that is not a literal");
    }
    String prefix = text.toString();
    if (prefix.isEmpty() || !UTF8String.fromString(prefix).equals(text)) {
      throw new Declined("prefix that is empty or no valid text");
    }
    int last = prefix.codePointBefore(prefix.length());
    int next = last + 1 == Character.MIN_SURROGATE ? Character.MAX_SURROGATE + 1 : last + 1;
    if (last == LAST_CODE_POINT) {
      throw new Declined("prefix that ends with the last code point");
    }
    String head = prefix.substring(0, prefix.length() - Character.charCount(last));
    Expr name = Exprs.column(column.name());
    return Exprs.call(
        Call.Op.AND,
        Exprs.call(Call.Op.GE, name, text(prefix)),
        Exprs.call(Call.Op.LT, name, text(head + Character.toString(next))));
  }

  private static Expr text(String value) {
    return Exprs.literal(Value.newBuilder().setTextValue(ByteString.copyFromUtf8(value)).build());
  }

  private Expr literal(TableColumns.Typed column, Literal<?> literal) throws Declined {
    if (literal.value() == null) {
      throw new Declined("comparison with NULL");
    }
    if (!literal.dataType().equals(column.sparkType())) {
      throw new Declined("literal of type " + literal.dataType().sql() + " against " + column.sparkType().sql());
    }
    return Exprs.literal(value(column.type(), literal.value()));
  }

  /** Spark's internal form of a literal as the wire's. */
  private static Value value(ColumnType type, Object value) throws Declined {
    Value.Builder out = Value.newBuilder();

    return switch (type.kind()) {
      case INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32 -> out.setIntValue(((Number) value).longValue()).build();
      case UINT64 -> out.setUintValue(uint64((Decimal) value)).build();
      case FLOAT32, FLOAT64 -> out.setFloatValue(((Number) value).doubleValue()).build();
      case DECIMAL ->
          out.setDecimalValue(
                  Exprs.decimal(
                      ((Decimal) value).toJavaBigDecimal().setScale(type.scale()).unscaledValue(),
                      type.precision(),
                      type.scale()))
              .build();
      case DATE -> out.setDateValue((Integer) value).build();
      case DATETIME -> out.setDatetimeValue((Long) value).build();
      case TIMESTAMP -> out.setTimestampValue((Long) value).build();
      case UTF8 -> out.setTextValue(ByteString.copyFrom(((UTF8String) value).getBytes())).build();
    };
  }

  private static long uint64(Decimal value) throws Declined {
    BigInteger whole = value.toJavaBigDecimal().toBigIntegerExact();

    if (whole.signum() < 0 || whole.compareTo(UINT64_END) >= 0) {
      throw new Declined("literal outside of BIGINT UNSIGNED");
    }
    return whole.longValue();
  }
}
