/* Selectivity.java -- about which share of a table's rows a predicate keeps.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.proto.Call;
import io.magicstore.proto.Expr;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;

/**
 * Errs towards more rows, as a table that is thought too small is broadcast: of several conditions each further one counts less
 * (columns may say the same), and where nothing is known of a column, half or all of the rows are kept. Immutable.
 */
final class Selectivity {
  /** Nothing but a whole key is thought to keep less. */
  static final double LEAST = 1e-4;

  private static final double UNKNOWN = 0.5;

  private final TableFacts facts;
  private final double rows;

  Selectivity(TableFacts facts) {
    this.facts = facts;
    this.rows = Math.max(1, facts.rowCount());
  }

  /** Between one row and 1; below LEAST only by a key's values, or by NULLs. */
  double of(Expr predicate) {
    return Math.min(1, Math.max(predicate == null ? 1 : share(predicate), 1 / rows));
  }

  private double share(Expr expr) {
    Call call = expr.getCall();

    if (!expr.hasCall() || call.getArgsCount() == 0) {
      return 1;
    }
    return switch (call.getOp()) {
      case AND -> all(call.getArgsList());
      case OR -> any(call.getArgsList());
      case NOT -> Math.max(1 - share(call.getArgs(0)), LEAST);
      case IN -> equal(call, call.getArgsCount() - 1);
      case EQ, EQ_NULL_SAFE -> equal(call, 1);
      case NE -> Math.max(1 - equal(call, 1), LEAST);
      case LT, LE, GT, GE -> compared(call);
      case IS_NULL -> nulls(call.getArgs(0));
      case IS_NOT_NULL -> 1 - nulls(call.getArgs(0));
      default -> 1;
    };
  }

  // ---- one condition

  private ColumnFacts column(Expr expr) {
    return expr.hasColumn() ? facts.columns().get(expr.getColumn().getName()) : null;
  }

  private double nulls(Expr expr) {
    ColumnFacts column = column(expr);

    return column == null ? 0 : Math.min(1, column.nullCount() / rows);
  }

  /** Against so many values. */
  private double equal(Call call, int values) {
    ColumnFacts column = column(call.getArgs(0));

    if (column == null || column.distinctCount() == 0) {
      return UNKNOWN;
    }
    double one = (1 - nulls(call.getArgs(0))) / column.distinctCount();
    boolean isKey = column.distinctCount() > rows * 0.9;
    return Math.min(1, values * (isKey ? one : Math.max(one, LEAST)));
  }

  /** As far as values are spread evenly between the bounds. */
  private double compared(Call call) {
    ColumnFacts column = column(call.getArgs(0));

    if (column == null || column.low().isEmpty() || !call.getArgs(1).hasLiteral()) {
      return UNKNOWN;
    }
    OptionalDouble low = ColumnFacts.number(column.low().get());
    OptionalDouble high = ColumnFacts.number(column.high().get());
    OptionalDouble at = ColumnFacts.number(call.getArgs(1).getLiteral());
    if (low.isEmpty() || high.isEmpty() || at.isEmpty()) {
      return UNKNOWN;
    }
    double width = high.getAsDouble() - low.getAsDouble();
    double below = width <= 0 ? UNKNOWN : Math.min(1, Math.max(0, (at.getAsDouble() - low.getAsDouble()) / width));
    boolean isUpper = call.getOp() == Call.Op.LT || call.getOp() == Call.Op.LE;
    return (1 - nulls(call.getArgs(0))) * Math.max(isUpper ? below : 1 - below, LEAST);
  }

  // ---- several

  private static boolean isRange(Expr expr) {
    return switch (expr.getCall().getOp()) {
      case LT, LE, GT, GE -> expr.getCall().getArgs(0).hasColumn() && expr.getCall().getArgs(1).hasLiteral();
      default -> false;
    };
  }

  /** Ranges of one column are one condition; then the strictest counts whole, the next as its root, and so on. */
  private double all(List<Expr> conjuncts) {
    Map<String, Double> ranges = new HashMap<>();
    List<Double> shares = new ArrayList<>();

    for (Expr one : flat(conjuncts)) {
      if (isRange(one)) {
        ranges.merge(one.getCall().getArgs(0).getColumn().getName(), share(one), Selectivity::between);
      } else {
        shares.add(share(one));
      }
    }
    ranges.values().forEach(share -> shares.add(Math.max(share, LEAST)));
    shares.sort(Comparator.naturalOrder());
    double whole = 1;
    double power = 1;
    for (double share : shares) {
      whole *= Math.pow(share, power);
      power /= 2;
    }
    return Math.max(whole, Math.min(shares.get(0), LEAST));
  }

  /** Of a lower and an upper bound. */
  private static double between(double a, double b) {
    return a + b > 1 ? a + b - 1 : Math.min(a, b) * UNKNOWN;
  }

  private static List<Expr> flat(List<Expr> conjuncts) {
    List<Expr> flat = new ArrayList<>();

    for (Expr one : conjuncts) {
      if (one.hasCall() && one.getCall().getOp() == Call.Op.AND) {
        flat.addAll(flat(one.getCall().getArgsList()));
      } else {
        flat.add(one);
      }
    }
    return flat;
  }

  private double any(List<Expr> disjuncts) {
    return Math.min(1, disjuncts.stream().mapToDouble(this::share).sum());
  }
}
