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
  /** Of all lists of a scan, half of what a descriptor may have: longer ones are ranges. */
  private static final int LIST_BYTES_MAX = 2 << 20;

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
    Reading reading = new Reading(new PredicateTranslator(table), valuesMax);

    for (Predicate predicate : predicates) {
      try {
        reading.add(predicate);
      } catch (Declined reason) {
        reading.shown.add(predicate.children()[0] + " (not used: " + reason.getMessage() + ")");
      }
    }
    return new RuntimeFilters(reading.conjuncts, reading.shown, reading.noRows);
  }

  /** None, because the store did not take them. */
  static RuntimeFilters refused(String why) {
    return new RuntimeFilters(List.of(), List.of("not used: " + why), false);
  }

  private static final class Reading {
    private final PredicateTranslator translator;
    private final int valuesMax;
    private final List<Expr> conjuncts = new ArrayList<>();
    private final List<String> shown = new ArrayList<>();
    private boolean noRows;
    private int bytesLeft = LIST_BYTES_MAX;

    Reading(PredicateTranslator translator, int valuesMax) {
      this.translator = translator;
      this.valuesMax = valuesMax;
    }

    void add(Predicate predicate) throws Declined {
      if (!predicate.name().equals("IN")) {
        conjuncts.add(translator.translate(predicate));
        shown.add(predicate.toString());
        return;
      }
      Expression column = predicate.children()[0];
      List<Literal<?>> values = values(predicate);
      if (values.isEmpty()) {
        noRows = true;
        shown.add(listText(column, values));
      } else if (!addList(column, values)) {
        conjuncts.add(translator.translate(range(column, values)));
        shown.add(rangeText(column, values));
      }
    }

    private boolean addList(Expression column, List<Literal<?>> values) throws Declined {
      Expr list = values.size() > valuesMax ? null : translator.translate(list(column, values));

      if (list == null || list.getSerializedSize() > bytesLeft) {
        return false;
      }
      bytesLeft -= list.getSerializedSize();
      conjuncts.add(list);
      shown.add(listText(column, values));
      return true;
    }
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

  private static Predicate list(Expression column, List<Literal<?>> values) {
    List<Expression> children = new ArrayList<>(values.size() + 1);

    children.add(column);
    children.addAll(values);
    return new Predicate("IN", children.toArray(Expression[]::new));
  }

  private static Predicate range(Expression column, List<Literal<?>> values) throws Declined {
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

  private static String rangeText(Expression column, List<Literal<?>> values) throws Declined {
    return column + " BETWEEN " + end(values, false) + " AND " + end(values, true) + " of " + values.size() + " values";
  }

  private static String listText(Expression column, List<Literal<?>> values) {
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
