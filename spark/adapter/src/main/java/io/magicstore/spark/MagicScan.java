/* MagicScan.java -- a planned scan: its snapshot, its splits, and what EXPLAIN says of it.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.Exprs;
import io.magicstore.client.MagicClient;
import io.magicstore.client.MagicException;
import io.magicstore.client.PartialShape;
import io.magicstore.client.SnapshotLease;
import io.magicstore.proto.Expr;
import io.magicstore.proto.ScanDescriptor;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.read.Batch;
import org.apache.spark.sql.connector.read.InputPartition;
import org.apache.spark.sql.connector.read.PartitionReaderFactory;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.Statistics;
import org.apache.spark.sql.connector.read.SupportsReportStatistics;
import org.apache.spark.sql.connector.read.SupportsRuntimeV2Filtering;
import org.apache.spark.sql.internal.SQLConf;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/**
 * Immutable but for what joins tell it while the statement runs. Holds the lease: as long as a plan refers to this object its
 * tickets can be read, as often as wanted.
 * Two scans are equal when they give the same rows, which lets Spark read once what a statement uses twice.
 */
final class MagicScan implements Scan, Batch, SupportsReportStatistics, SupportsRuntimeV2Filtering {
  /**
   * What EXPLAIN says of push-down.
   *
   * @param visible the pushed predicate that Spark evaluates, too; or empty
   * @param operators aggregates, top-N
   * @param declined each with its reason
   */
  record Shown(List<Predicate> predicates, String visible, List<String> operators, List<String> declined) {
    Shown {
      predicates = List.copyOf(predicates);
      operators = List.copyOf(operators);
      declined = List.copyOf(declined);
    }
  }

  /**
   * How sizes are estimated.
   *
   * @param predicate what of the scan's Spark does not count again; may be null
   * @param worthIt something depends on them: there is another table, or an aggregate that may be large
   */
  record Estimated(Expr predicate, boolean worthIt) {}

  private static final int SHOWN_CHARACTERS_MAX = 200;

  /** Values of a longer list are the store's work for each row, and travel with each split. */
  private static final String RUNTIME_VALUES = "10000";

  private final MagicTable table;
  private final ScanPlanner planner;
  private final SnapshotLease lease;
  private final ScanDescriptor rows;
  private final StructType columns;
  private final PartialShape partial;
  private final MagicClient.Plan plan;
  private final Shown shown;
  private final NamedReference[] filterable;
  private final int runtimeValuesMax =
      Integer.parseInt(MagicOptions.session(MagicOptions.RUNTIME_VALUES, RUNTIME_VALUES));
  private final ReadFaults faults = ReadFaults.ofSession();

  /** What is read once a join has told its keys; null before. */
  private volatile Filtered filtered;

  /** Null until the optimizer asks. */
  private volatile ScanStatistics statistics;

  private final Estimated estimated;

  private record Filtered(RuntimeFilters filters, List<MagicClient.Split> splits) {}

  /**
   * Has the store plan it.
   *
   * @param partial of results that Spark adds up, else null
   * @param filterable columns that joins may filter by
   */
  MagicScan(
      MagicTable table,
      ScanPlanner planner,
      ScanDescriptor descriptor,
      StructType columns,
      PartialShape partial,
      NamedReference[] filterable,
      Estimated estimated,
      Shown shown) {
    this.table = table;
    this.planner = planner;
    this.lease = planner.lease();
    this.rows = descriptor;
    this.columns = columns;
    this.partial = partial;
    this.plan = planner.plan(descriptor);
    this.filterable = filterable.clone();
    this.estimated = estimated;
    this.shown = shown;
  }

  @Override
  public StructType readSchema() {
    return columns;
  }

  @Override
  public Batch toBatch() {
    return this;
  }

  @Override
  public ColumnarSupportMode columnarSupportMode() {
    return ColumnarSupportMode.SUPPORTED;
  }

  @Override
  public String description() {
    StringBuilder text = new StringBuilder(table.name());

    text.append(" [snapshot: ").append(lease.describe());
    text.append("; splits: ").append(splits().size());
    text.append("; pushed: ").append(cut(shown.predicates().stream().map(Predicate::toString).toList()));
    shown.operators().forEach(operator -> text.append("; ").append(operator));
    if (rows.getLimit() > 0 && rows.getOrderCount() == 0) {
      text.append("; limit of each split: ").append(rows.getLimit());
    }
    if (filtered != null) {
      text.append("; runtime filters: ").append(cut(filtered.filters().shown()));
    }
    if (!shown.visible().isEmpty()) {
      text.append("; for runtime filters also left to Spark: ").append(cut(List.of(shown.visible())));
    }
    if (!shown.declined().isEmpty()) {
      text.append("; not pushed: ").append(cut(shown.declined()));
    }
    return text.append("]").toString();
  }

  private static String cut(List<String> predicates) {
    return predicates.isEmpty()
        ? "nothing"
        : predicates.stream()
            .map(text -> text.length() <= SHOWN_CHARACTERS_MAX ? text : text.substring(0, SHOWN_CHARACTERS_MAX) + " ...")
            .collect(Collectors.joining(", "));
  }

  // ---- what joins tell

  @Override
  public NamedReference[] filterAttributes() {
    return filterable.clone();
  }

  /**
   * Called on the driver when the other side of a join is known, before the splits are asked for. The same snapshot is planned once
   * more, under the same lease. A later call stands for itself: each names all that is known.
   */
  @Override
  public void filter(Predicate[] predicates) {
    RuntimeFilters filters = RuntimeFilters.of(table.info(), predicates, runtimeValuesMax);
    List<MagicClient.Split> splits = plan.splits();

    lease.check();
    if (filters.noRows()) {
      splits = List.of();
    } else if (!filters.conjuncts().isEmpty()) {
      Expr all = filters.with(rows.hasPredicate() ? rows.getPredicate() : null);
      try {
        splits = planner.plan(rows.toBuilder().setPredicate(all).build()).splits();
      } catch (MagicException failure) {
        if (failure.code() != Code.TOO_BIG) {
          throw failure;
        }
        filters = RuntimeFilters.refused(failure.getMessage());
      }
    }
    filtered = new Filtered(filters, splits);
  }

  private List<MagicClient.Split> splits() {
    Filtered told = filtered;

    return told == null ? plan.splits() : told.splits();
  }

  // ---- reading

  /** May run on another thread than the one that planned, and more than once: the tickets are the same, until a join tells more. */
  @Override
  public InputPartition[] planInputPartitions() {
    lease.check();
    List<MagicClient.Split> splits = splits();
    InputPartition[] partitions = new InputPartition[splits.size()];
    for (int i = 0; i < partitions.length; i++) {
      partitions[i] = new MagicPartition(i, splits.get(i), faults.readsLatest() ? rows.toByteArray() : null, lease);
    }
    return partitions;
  }

  @Override
  public PartitionReaderFactory createReaderFactory() {
    return new MagicReaderFactory(table.options(), columns, partial, faults);
  }

  @Override
  public CustomMetric[] supportedCustomMetrics() {
    return Metrics.all();
  }

  // ---- what the optimizer asks

  /** As it was planned: Spark asks before joins tell anything. The same object each time. */
  @Override
  public Statistics estimateStatistics() {
    ScanStatistics known = statistics;

    if (known == null) {
      SQLConf session = SQLConf.get();
      boolean isPlannedByCost = session.cboEnabled() || session.planStatsEnabled();
      long rowCount = plan.rowCount() >= 0 ? plan.rowCount() : table.info().getRowCount();
      TableFacts facts =
          isPlannedByCost || estimated.worthIt()
              ? TableFacts.of(table, lease, columnsToKnow(isPlannedByCost))
              : TableFacts.none(rowCount);
      known =
          ScanStatistics.of(
              table.info(), facts.withRows(rowCount), rows, estimated.predicate(), types(), plan.splits().size(), isPlannedByCost);
      statistics = known;
    }
    return known;
  }

  private Set<String> columnsToKnow(boolean isPlannedByCost) {
    Set<String> names = new HashSet<>();

    if (rows.hasPredicate()) {
      Exprs.columns(rows.getPredicate(), names);
    }
    rows.getAggregation().getGroupsList().forEach(group -> Exprs.columns(group, names));
    if (isPlannedByCost && !rows.hasAggregation()) {
      names.addAll(List.of(columns.fieldNames()));
    }
    return names;
  }

  private Map<String, DataType> types() {
    Map<String, DataType> types = new LinkedHashMap<>();

    for (StructField field : columns.fields()) {
      types.put(field.name(), field.dataType());
    }
    return types;
  }

  /**
   * The lease's token is left out: two leases on one epoch show the same rows. So are runtime filters, which Spark compares
   * by itself and which come while scans are in use as keys.
   */
  private Object identity() {
    return List.of(
        table.options().uri(),
        lease.storeId(),
        lease.epoch(),
        plan.scan().getTableId(),
        columns,
        faults,
        rows);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof MagicScan that && identity().equals(that.identity());
  }

  @Override
  public int hashCode() {
    return Objects.hashCode(identity());
  }

  @Override
  public String toString() {
    return description();
  }
}
