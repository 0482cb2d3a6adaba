/* RuntimeFilters.java -- what a join tells a scan of its other side, once that has been read.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.ColumnType;
import io.magicstore.client.Exprs;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.Literal;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * Spark sends lists of the join key's values, and joins by itself all the same: what is declined here costs rows, never an
 * answer. Immutable.
 *
 * @param conjuncts for the store
 * @param shown the same for EXPLAIN, declined ones with their reason
 * @param noRows the other side has no key, so there is nothing to read
 */
record RuntimeFilters(List<Expr> conjuncts, List<String> shown, boolean noRows) {
  private static final int LISTED = 3;

  RuntimeFilters {
    conjuncts = List.copyOf(conjuncts);
    shown = List.copyOf(shown);
  }

  /** Columns among `read` that can be filtered so, those of the key first. */
  static NamedReference[] attributes(TableInfo table, Set<String> read) {
    return table.getColumnsList().stream()
        .filter(column -> read.contains(column.getName()) && mayBeListed(column))
        .sorted(Comparator.comparing(column -> !column.getKey()))
        .map(column -> new NamedColumn(column.getName()))
        .toArray(NamedReference[]::new);
  }

  /** Not those that Spark's join and the store's list compare differently: zeros and NaN. */
  private static boolean mayBeListed(ColumnInfo column) {
    ColumnType type = ColumnType.parse(column.getType());

    return type != null && type.kind() != ColumnType.Kind.FLOAT32 && type.kind() != ColumnType.Kind.FLOAT64;
  }

  /** valuesMax: of longer lists the lowest and the highest value are sent. */
  static RuntimeFilters of(TableInfo table, Predicate[] predicates, int valuesMax) {
    PredicateTranslator translator = new PredicateTranslator(table);
    List<Expr> conjuncts = new ArrayList<>();
    List<String> shown = new ArrayList<>();
    boolean noRows = false;

    for (Predicate predicate : predicates) {
      try {
        if (!predicate.name().equals("IN")) {
          conjuncts.add(translator.translate(predicate));
          shown.add(predicate.toString());
          continue;
        }
        List<Literal<?>> values = values(predicate);
        noRows |= values.isEmpty();
        if (!values.isEmpty()) {
          conjuncts.add(translator.translate(narrowed(predicate.children()[0], values, valuesMax)));
        }
        shown.add(text(predicate.children()[0], values, valuesMax));
      } catch (Declined reason) {
        shown.add(predicate.children()[0] + " (not used: " + reason.getMessage() + ")");
      }
    }
    return new RuntimeFilters(conjuncts, shown, noRows);
  }

  /** The list without NULLs, which no key equals. */
  private static List<Literal<?>> values(Predicate in) throws Declined {
    List<Literal<?>> values = new ArrayList<>();

    for (Expression child : Arrays.asList(in.children()).subList(1, in.children().length)) {
      if (!(child instanceof Literal<?> literal)) {
        throw new Declined("IN with something that is not a literal");
      }
      if (literal.value() != null) {
        values.add(literal);
      }
    }
    return values;
  }

  private static Predicate narrowed(Expression column, List<Literal<?>> values, int valuesMax) throws Declined {
    if (values.size() <= valuesMax) {
      List<Expression> children = new ArrayList<>(values.size() + 1);
      children.add(column);
      children.addAll(values);
      return new Predicate("IN", children.toArray(Expression[]::new));
    }
    return new Predicate(
        "AND",
        new Expression[] {
          new Predicate(">=", new Expression[] {column, end(values, false)}),
          new Predicate("<=", new Expression[] {column, end(values, true)})
        });
  }

  /** The lowest or the highest value, in the order of Spark and of the store. */
  private static Literal<?> end(List<Literal<?>> values, boolean highest) throws Declined {
    Class<?> type = values.get(0).value().getClass();

    if (!values.stream().allMatch(literal -> literal.value().getClass() == type && literal.value() instanceof Comparable)) {
      throw new Declined("values without an order");
    }
    Comparator<Literal<?>> order = (a, b) -> compare(a.value(), b.value());
    return values.stream().max(highest ? order : order.reversed()).orElseThrow();
  }

  @SuppressWarnings("unchecked") // both are of one type
  private static int compare(Object a, Object b) {
    return a instanceof UTF8String text
        ? Arrays.compareUnsigned(text.getBytes(), ((UTF8String) b).getBytes())
        : ((Comparable<Object>) a).compareTo(b);
  }

  private static String text(Expression column, List<Literal<?>> values, int valuesMax) throws Declined {
    if (values.size() > valuesMax) {
      return column + " BETWEEN " + end(values, false) + " AND " + end(values, true) + " of " + values.size() + " values";
    }
    StringBuilder text = new StringBuilder(column + " IN (");
    for (int i = 0; i < Math.min(values.size(), LISTED); i++) {
      text.append(i == 0 ? "" : ", ").append(values.get(i));
    }
    return text + (values.size() > LISTED ? ", ... " + values.size() + " values)" : ")");
  }

  /** The store's predicate with these; null when there is none at all. */
  Expr with(Expr predicate) {
    List<Expr> all = new ArrayList<>(conjuncts);

    if (predicate != null) {
      all.add(0, predicate);
    }
    return Exprs.all(all);
  }
}
