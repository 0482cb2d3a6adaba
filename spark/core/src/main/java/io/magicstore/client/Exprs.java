/* Exprs.java -- builds the expression trees of proto/scan.proto.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import io.magicstore.proto.Call;
import io.magicstore.proto.ColumnRef;
import io.magicstore.proto.Decimal;
import io.magicstore.proto.Expr;
import io.magicstore.proto.Type;
import io.magicstore.proto.Value;
import com.google.protobuf.ByteString;
import java.math.BigInteger;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/** Pure functions on immutable messages. */
public final class Exprs {
  /** The store refuses deeper trees (src/expr/expr.h); the conjunction that holds them all takes one level. */
  public static final int DEPTH_MAX = 60;

  private Exprs() {}

  public static Expr column(String name) {
    return Expr.newBuilder().setColumn(ColumnRef.newBuilder().setName(name)).build();
  }

  public static Expr literal(Value value) {
    return Expr.newBuilder().setLiteral(value).build();
  }

  public static Expr call(Call.Op op, Iterable<Expr> args) {
    return Expr.newBuilder().setCall(Call.newBuilder().setOp(op).addAllArgs(args)).build();
  }

  public static Expr call(Call.Op op, Expr... args) {
    return call(op, List.of(args));
  }

  /** To a type that holds every value of the argument's. */
  public static Expr cast(Expr arg, Type type) {
    return Expr.newBuilder().setCall(Call.newBuilder().setOp(Call.Op.CAST).addArgs(arg).setType(type)).build();
  }

  /** AND or OR of two sides; sides that are the same connective become part of it, so that long chains stay flat. */
  public static Expr connect(Call.Op op, Expr left, Expr right) {
    Call.Builder call = Call.newBuilder().setOp(op);

    for (Expr side : List.of(left, right)) {
      if (side.hasCall() && side.getCall().getOp() == op) {
        call.addAllArgs(side.getCall().getArgsList());
      } else {
        call.addArgs(side);
      }
    }
    return Expr.newBuilder().setCall(call).build();
  }

  /** All of them; null when there is none. */
  public static Expr all(List<Expr> conjuncts) {
    return switch (conjuncts.size()) {
      case 0 -> null;
      case 1 -> conjuncts.get(0);
      default -> call(Call.Op.AND, conjuncts);
    };
  }

  public static Decimal decimal(BigInteger unscaled, int precision, int scale) {
    byte[] big = unscaled.toByteArray();
    byte[] little = new byte[big.length];

    for (int i = 0; i < big.length; i++) {
      little[i] = big[big.length - 1 - i];
    }
    return Decimal.newBuilder()
        .setUnscaled(ByteString.copyFrom(little))
        .setPrecision(precision)
        .setScale(scale)
        .build();
  }

  public static int depth(Expr expr) {
    int deepest = 0;

    for (Expr arg : expr.getCall().getArgsList()) {
      deepest = Math.max(deepest, depth(arg));
    }
    return deepest + 1;
  }

  public static void columns(Expr expr, Collection<String> out) {
    if (expr.hasColumn()) {
      out.add(expr.getColumn().getName());
    }
    for (Expr arg : expr.getCall().getArgsList()) {
      columns(arg, out);
    }
  }

  /** The same tree with other names of columns. */
  public static Expr rename(Expr expr, Map<String, String> names) {
    if (expr.hasColumn()) {
      return column(names.get(expr.getColumn().getName()));
    }
    if (!expr.hasCall()) {
      return expr;
    }
    Call.Builder call = expr.getCall().toBuilder().clearArgs();
    for (Expr arg : expr.getCall().getArgsList()) {
      call.addArgs(rename(arg, names));
    }
    return Expr.newBuilder().setCall(call).build();
  }
}
