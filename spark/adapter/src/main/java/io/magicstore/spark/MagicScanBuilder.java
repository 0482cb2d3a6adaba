/* MagicScanBuilder.java -- collects what Spark pushes down, then has the store plan the scan.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Exprs;
import io.magicstore.client.SnapshotLease;
import io.magicstore.proto.Expr;
import io.magicstore.proto.Order;
import io.magicstore.proto.OutputProfile;
import io.magicstore.proto.ScanDescriptor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.spark.SparkContext;
import org.apache.spark.sql.connector.catalog.CatalogV2Util;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.NullOrdering;
import org.apache.spark.sql.connector.expressions.SortDirection;
import org.apache.spark.sql.connector.expressions.SortOrder;
import org.apache.spark.sql.connector.expressions.aggregate.Avg;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.SupportsPushDownAggregates;
import org.apache.spark.sql.connector.read.SupportsPushDownLimit;
import org.apache.spark.sql.connector.read.SupportsPushDownRequiredColumns;
import org.apache.spark.sql.connector.read.SupportsPushDownTopN;
import org.apache.spark.sql.connector.read.SupportsPushDownV2Filters;
import org.apache.spark.sql.internal.SQLConf;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/** Belongs to one thread. Its snapshot was fixed when it was made. */
final class MagicScanBuilder
    implements SupportsPushDownRequiredColumns,
        SupportsPushDownV2Filters,
        SupportsPushDownAggregates,
        SupportsPushDownLimit,
        SupportsPushDownTopN {
  /** Up to here one split is faster than a stage of Spark that merges several. */
  private static final String COMPLETE_ROWS = "1000000";
  /** The store holds the groups of a complete aggregate in memory, and there are no more of them than rows. */
  private static final long COMPLETE_GROUPS_MAX = 100_000;
  /** A table leaves Spark a predicate beside another one of at least that many times as many rows. */
  private static final long CHOSEN_TIMES = 4;
  /** Spark's own and the shortest key: what a row of a broadcast takes at least. */
  private static final long BROADCAST_ROW_BYTES = 16;
  // The store's own bounds (docs/format/scan.md).
  private static final int TOP_ROWS_MAX = 262_144;
  private static final int TOP_COLUMNS_MAX = 16;

  private final MagicTable table;
  private final SnapshotLease lease;
  private final int splitsWanted;
  private final boolean runtimeFilters;
  private final StatementTables statement;
  private final boolean pushFilters = MagicOptions.sessionSwitch(MagicOptions.PUSH_FILTERS);
  private final boolean pushLimit = MagicOptions.sessionSwitch(MagicOptions.PUSH_LIMIT);
  private final boolean pushTop = MagicOptions.sessionSwitch(MagicOptions.PUSH_TOP);
  private final long completeRowsMax = Long.parseLong(MagicOptions.session(MagicOptions.COMPLETE_ROWS, COMPLETE_ROWS));
  private final AggregateTranslator aggregates;

  private StructType columns;
  private final List<Predicate> pushed = new ArrayList<>();
  private final List<Expr> conjuncts = new ArrayList<>();
  private final List<String> declined = new ArrayList<>();
  /** A pushed predicate that Spark evaluates once more, or null. */
  private Predicate visible;
  private int limit;
  private final List<Order> order = new ArrayList<>();
  private String shownOrder = "";
  private boolean isWhole;

  private AggregateTranslator.Translated aggregate;
  private String shownAggregate = "";
  private boolean isPartial;
  /** Of the averages that Spark has asked about and is about to ask for as sums and counts. */
  private String averagesDeclined;

  MagicScanBuilder(MagicTable table, SnapshotLease lease, CaseInsensitiveStringMap options) {
    this.table = table;
    this.lease = lease;
    this.splitsWanted = options.getInt("splits", 0);
    this.runtimeFilters = options.getBoolean("runtimeFilters", MagicOptions.sessionSwitch(MagicOptions.RUNTIME_FILTERS));
    this.statement = StatementTables.scanned(table);
    this.columns = CatalogV2Util.v2ColumnsToStructType(table.columns());
    SQLConf session = SQLConf.get();
    this.aggregates =
        new AggregateTranslator(table.info(), session.ansiEnabled(), session.decimalOperationsAllowPrecisionLoss());
  }

  @Override
  public void pruneColumns(StructType requiredSchema) {
    columns = requiredSchema;
  }

  /** Returns those that Spark must still evaluate: the ones that were declined, and perhaps one for it to see. */
  @Override
  public Predicate[] pushPredicates(Predicate[] predicates) {
    PredicateTranslator translator = new PredicateTranslator(table.info());
    List<Predicate> rest = new ArrayList<>();

    for (Predicate predicate : predicates) {
      try {
        if (!pushFilters) {
          throw new Declined(MagicOptions.PUSH_FILTERS + " is off");
        }
        conjuncts.add(translator.translate(predicate));
        pushed.add(predicate);
      } catch (Declined reason) {
        declined.add(predicate + " (" + reason.getMessage() + ")");
        rest.add(predicate);
      }
    }
    if (rest.isEmpty() && choosesKeys()) {
      visible = pushed.stream().filter(MagicScanBuilder::isSelective).findFirst().orElse(null);
      if (visible != null) {
        rest.add(visible);
      }
    }
    return rest.toArray(Predicate[]::new);
  }

  /**
   * Spark filters a scan by the keys of the join's other side only where it sees a predicate there, and one that was pushed
   * whole it does not see. So a table beside a larger one leaves it one, at the cost of testing again the rows that are left: where
   * these are few enough to be broadcast.
   */
  private boolean choosesKeys() {
    SQLConf session = SQLConf.get();
    long broadcastMax = session.autoBroadcastJoinThreshold();

    if (!runtimeFilters
        || !session.dynamicPartitionPruningEnabled()
        || conjuncts.isEmpty()
        || table.info().getRowCount() > statement.largest() / CHOSEN_TIMES) {
      return false;
    }
    return broadcastMax <= 0
        ? !session.dynamicPartitionPruningReuseBroadcastOnly()
        : rowsKept() <= (double) broadcastMax / BROADCAST_ROW_BYTES;
  }

  private double rowsKept() {
    Expr predicate = Exprs.all(conjuncts);
    Set<String> names = new HashSet<>();

    Exprs.columns(predicate, names);
    return TableFacts.of(table, lease, names).withRows(table.info().getRowCount()).rowsKept(predicate);
  }

  /** As Spark guesses it (PredicateHelper.isLikelySelective). */
  private static boolean isSelective(Predicate predicate) {
    Expression[] children = predicate.children();

    return switch (predicate.name()) {
      case "AND" -> isSelective((Predicate) children[0]) || isSelective((Predicate) children[1]);
      case "OR" -> isSelective((Predicate) children[0]) && isSelective((Predicate) children[1]);
      case "NOT" -> isSelective((Predicate) children[0]);
      case "IS_NULL", "IS_NOT_NULL" -> false;
      default -> true;
    };
  }

  @Override
  public Predicate[] pushedPredicates() {
    return pushed.toArray(Predicate[]::new);
  }

  // ---- aggregates

  /**
   * Averages never: asked once more, with SUM and COUNT in their place, Spark divides by its own rules. Else true when one split
   * gives every group once, there are few of them, and no sum can overflow.
   */
  @Override
  public boolean supportCompletePushDown(org.apache.spark.sql.connector.expressions.aggregate.Aggregation wanted) {
    if (Arrays.stream(wanted.aggregateExpressions()).anyMatch(Avg.class::isInstance)) {
      averagesDeclined = aggregates.objectionToAverages(wanted);
      return false;
    }
    try {
      return averagesDeclined == null && isComplete(translate(wanted));
    } catch (Declined reason) {
      return false;
    }
  }

  /** Spark offers them only when no predicate stayed with it. */
  @Override
  public boolean pushAggregation(org.apache.spark.sql.connector.expressions.aggregate.Aggregation wanted) {
    String objection = averagesDeclined;

    averagesDeclined = null;
    try {
      if (objection != null) {
        throw new Declined(objection);
      }
      aggregate = translate(wanted);
    } catch (Declined reason) {
      declined.add("aggregates (" + reason.getMessage() + ")");
      return false;
    }
    isPartial = !isComplete(aggregate);
    columns = new StructType();
    for (DataType type : aggregate.types()) {
      columns = columns.add("result_" + columns.size(), type, true);
    }
    shownAggregate =
        "PushedAggregates: " + Arrays.toString(wanted.aggregateExpressions())
            + ", PushedGroupBy: " + Arrays.toString(wanted.groupByExpressions())
            + (isPartial ? ", partial" : ", complete");
    return true;
  }

  private AggregateTranslator.Translated translate(
      org.apache.spark.sql.connector.expressions.aggregate.Aggregation wanted) throws Declined {
    if (!MagicOptions.sessionSwitch(MagicOptions.PUSH_AGGREGATES)) {
      throw new Declined(MagicOptions.PUSH_AGGREGATES + " is off");
    }
    if (aggregate != null || limit > 0) {
      throw new Declined("the scan is an aggregate or has a limit already");
    }
    return aggregates.translate(wanted);
  }

  private boolean isComplete(AggregateTranslator.Translated translated) {
    long most =
        translated.request().getGroupsCount() == 0 ? completeRowsMax : Math.min(completeRowsMax, COMPLETE_GROUPS_MAX);

    return translated.mayBeComplete() && table.info().getRowCount() <= most;
  }

  // ---- limit, top-N

  /** Each split stops there; Spark still cuts the whole (isPartiallyPushed). */
  @Override
  public boolean pushLimit(int limit) {
    if (!pushLimit || aggregate != null) {
      return false;
    }
    this.limit = limit;
    return true;
  }

  /** Each split gives its first rows, or the only one all of them, in order; then Spark need not sort. */
  @Override
  public boolean pushTopN(SortOrder[] orders, int limit) {
    try {
      if (!pushTop) {
        throw new Declined(MagicOptions.PUSH_TOP + " is off");
      }
      if (aggregate != null || limit < 1 || limit > TOP_ROWS_MAX || orders.length > TOP_COLUMNS_MAX) {
        throw new Declined("more than the store sorts");
      }
      TableColumns known = new TableColumns(table.info());
      for (SortOrder one : orders) {
        order.add(
            Order.newBuilder()
                .setColumn(known.of(one.expression()).name())
                .setDescending(one.direction() == SortDirection.DESCENDING)
                .setNullsLast(one.nullOrdering() == NullOrdering.NULLS_LAST)
                .build());
      }
    } catch (Declined reason) {
      order.clear();
      declined.add("top-N (" + reason.getMessage() + ")");
      return false;
    }
    this.limit = limit;
    isWhole = table.info().getRowCount() <= completeRowsMax;
    shownOrder = "PushedTopN: ORDER BY " + Arrays.toString(orders) + " LIMIT " + limit + (isWhole ? ", complete" : ", partial");
    return true;
  }

  /** Asked right after a limit or a top-N was pushed. */
  @Override
  public boolean isPartiallyPushed() {
    return !isWhole;
  }

  // ---- the scan

  @Override
  public Scan build() {
    ScanPlanner planner = new ScanPlanner(table, lease);
    ScanDescriptor wanted = descriptor(Exprs.all(conjuncts));
    List<String> operators = new ArrayList<>();

    for (String text : List.of(shownAggregate, shownOrder)) {
      if (!text.isEmpty()) {
        operators.add(text);
      }
    }
    return new MagicScan(
        table,
        planner,
        wanted,
        columns,
        isPartial ? aggregate.shape() : null,
        filterable(),
        new MagicScan.Estimated(estimated(), statement.hasSeveral()),
        new MagicScan.Shown(pushed, visible == null ? "" : visible.toString(), operators, declined));
  }

  /** Not what an aggregate or a limit made: Spark filters these, not the rows below. */
  private NamedReference[] filterable() {
    return runtimeFilters && aggregate == null && limit == 0
        ? RuntimeFilters.attributes(table.info(), Set.of(columns.fieldNames()))
        : new NamedReference[0];
  }

  /** Without the predicate that Spark sees, which an optimizer by cost estimates by itself. */
  private Expr estimated() {
    List<Expr> counted = new ArrayList<>(conjuncts);

    if (visible != null && SQLConf.get().cboEnabled()) {
      counted.remove(pushed.indexOf(visible));
    }
    return Exprs.all(counted);
  }

  private ScanDescriptor descriptor(Expr predicate) {
    ScanDescriptor.Builder scan =
        ScanDescriptor.newBuilder()
            .setDatabase(table.info().getDatabase())
            .setTable(table.info().getTable())
            .setSplitsWanted(isWhole ? 1 : splits())
            .setProfile(OutputProfile.SPARK)
            .setLimit(limit)
            .addAllOrder(order)
            .setSchemaVersion(table.info().getSchemaVersion());

    if (aggregate != null) {
      scan.setAggregation(aggregate.request().toBuilder().setPartial(isPartial));
    } else {
      scan.setNoColumns(columns.isEmpty());
      for (StructField field : columns.fields()) {
        scan.addColumns(field.name());
      }
    }
    if (predicate != null) {
      scan.setPredicate(predicate);
    }
    return scan.build();
  }

  private int splits() {
    int session = Integer.parseInt(MagicOptions.session(MagicOptions.SPLITS, "0"));

    if (splitsWanted > 0) {
      return splitsWanted;
    }
    if (session > 0) {
      return session;
    }
    return table.options().splits() > 0
        ? table.options().splits()
        : SparkContext.getOrCreate().defaultParallelism();
  }
}
