/* MagicScanBuilder.java -- collects what Spark pushes down, then has the store plan the scan.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.Exprs;
import io.magicstore.client.MagicClient;
import io.magicstore.client.MagicException;
import io.magicstore.client.Retry;
import io.magicstore.client.SchemaCheck;
import io.magicstore.client.SnapshotLease;
import io.magicstore.proto.Aggregation;
import io.magicstore.proto.Expr;
import io.magicstore.proto.Order;
import io.magicstore.proto.OutputProfile;
import io.magicstore.proto.ScanDescriptor;
import io.magicstore.proto.TableInfo;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.spark.SparkContext;
import org.apache.spark.sql.connector.catalog.CatalogV2Util;
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
  // The store's own bounds (docs/format/scan.md).
  private static final int TOP_ROWS_MAX = 262_144;
  private static final int TOP_COLUMNS_MAX = 16;

  private final MagicTable table;
  private final SnapshotLease lease;
  private final int splitsWanted;
  private final boolean pushFilters = MagicOptions.sessionSwitch(MagicOptions.PUSH_FILTERS);
  private final boolean pushLimit = MagicOptions.sessionSwitch(MagicOptions.PUSH_LIMIT);
  private final boolean pushTop = MagicOptions.sessionSwitch(MagicOptions.PUSH_TOP);
  private final long completeRowsMax = Long.parseLong(MagicOptions.session(MagicOptions.COMPLETE_ROWS, COMPLETE_ROWS));
  private final AggregateTranslator aggregates;

  private StructType columns;
  private final List<Predicate> pushed = new ArrayList<>();
  private final List<Expr> conjuncts = new ArrayList<>();
  private final List<String> declined = new ArrayList<>();
  private int limit;
  private final List<Order> order = new ArrayList<>();
  private String shownOrder = "";
  private boolean isWhole;

  private AggregateTranslator.Translated aggregate;
  private String shownAggregate = "";
  private boolean isPartial;
  /** Of the averages that Spark has asked about and is about to ask for as sums and counts. */
  private String averagesDeclined;

  MagicScanBuilder(MagicTable table, SnapshotLease lease, int splitsWanted) {
    this.table = table;
    this.lease = lease;
    this.splitsWanted = splitsWanted;
    this.columns = CatalogV2Util.v2ColumnsToStructType(table.columns());
    SQLConf session = SQLConf.get();
    this.aggregates =
        new AggregateTranslator(table.info(), session.ansiEnabled(), session.decimalOperationsAllowPrecisionLoss());
  }

  @Override
  public void pruneColumns(StructType requiredSchema) {
    columns = requiredSchema;
  }

  /** Returns those that Spark must still evaluate: the ones that were declined, none of the others. */
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
    return rest.toArray(Predicate[]::new);
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
    Expr predicate = Exprs.all(conjuncts);
    ScanDescriptor wanted = descriptor(predicate);
    MagicClient client = lease.client();
    MagicClient.Plan plan;

    try {
      plan = Retry.call(table.options().retryMs(), () -> client.plan(wanted));
    } catch (MagicException failure) {
      if (failure.code() != Code.SCHEMA_CHANGED) {
        throw failure;
      }
      ScanDescriptor adapted = adapt(wanted, predicate);
      plan = Retry.call(table.options().retryMs(), () -> client.plan(adapted));
    }
    List<String> operators = new ArrayList<>();
    for (String text : List.of(shownAggregate, shownOrder)) {
      if (!text.isEmpty()) {
        operators.add(text);
      }
    }
    return new MagicScan(
        table, lease, wanted, columns, isPartial ? aggregate.shape() : null, plan, new MagicScan.Shown(pushed, operators, declined));
  }

  private ScanDescriptor descriptor(Expr predicate) {
    ScanDescriptor.Builder scan =
        ScanDescriptor.newBuilder()
            .setDatabase(table.info().getDatabase())
            .setTable(table.info().getTable())
            .setSnapshot(lease.ref())
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

  /** The snapshot's table has another schema than the analyzed one: the same scan by the snapshot's names, if that is possible. */
  private ScanDescriptor adapt(ScanDescriptor wanted, Expr predicate) {
    TableInfo analysed = table.info();
    List<TableInfo> found =
        Retry.call(
            table.options().retryMs(),
            () -> lease.client().tables(lease.ref(), analysed.getDatabase(), analysed.getTable()));
    if (found.isEmpty()) {
      throw new MagicException(Code.NOT_FOUND, "table " + table.name() + " is not in the snapshot, " + lease.describe());
    }
    Set<String> names = new LinkedHashSet<>(wanted.getColumnsList());
    if (predicate != null) {
      Exprs.columns(predicate, names);
    }
    Aggregation aggregation = wanted.getAggregation();
    aggregation.getGroupsList().forEach(group -> Exprs.columns(group, names));
    aggregation.getCallsList().forEach(call -> Exprs.columns(call.getArgument(), names));
    order.forEach(one -> names.add(one.getColumn()));
    Map<String, String> renamed = SchemaCheck.rename(analysed, found.get(0), names);
    ScanDescriptor.Builder scan =
        wanted.toBuilder().clearColumns().clearOrder().setSchemaVersion(found.get(0).getSchemaVersion());
    wanted.getColumnsList().forEach(name -> scan.addColumns(renamed.get(name)));
    order.forEach(one -> scan.addOrder(one.toBuilder().setColumn(renamed.get(one.getColumn()))));
    if (wanted.hasAggregation()) {
      scan.setAggregation(rename(aggregation, renamed));
    }
    if (predicate != null) {
      scan.setPredicate(Exprs.rename(predicate, renamed));
    }
    return scan.build();
  }

  private static Aggregation rename(Aggregation aggregation, Map<String, String> renamed) {
    Aggregation.Builder out = aggregation.toBuilder();

    for (int i = 0; i < out.getGroupsCount(); i++) {
      out.setGroups(i, Exprs.rename(out.getGroups(i), renamed));
    }
    for (int i = 0; i < out.getCallsCount(); i++) {
      if (out.getCalls(i).hasArgument()) {
        out.getCallsBuilder(i).setArgument(Exprs.rename(out.getCalls(i).getArgument(), renamed));
      }
    }
    return out.build();
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
