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
import io.magicstore.proto.Expr;
import io.magicstore.proto.OutputProfile;
import io.magicstore.proto.ScanDescriptor;
import io.magicstore.proto.TableInfo;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.spark.SparkContext;
import org.apache.spark.sql.connector.catalog.CatalogV2Util;
import org.apache.spark.sql.connector.expressions.filter.Predicate;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.SupportsPushDownLimit;
import org.apache.spark.sql.connector.read.SupportsPushDownRequiredColumns;
import org.apache.spark.sql.connector.read.SupportsPushDownV2Filters;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** Belongs to one thread. Its snapshot was fixed when it was made. */
final class MagicScanBuilder
    implements SupportsPushDownRequiredColumns, SupportsPushDownV2Filters, SupportsPushDownLimit {
  private final MagicTable table;
  private final SnapshotLease lease;
  private final int splitsWanted;
  private final boolean pushFilters = MagicOptions.sessionSwitch(MagicOptions.PUSH_FILTERS);
  private final boolean pushLimit = MagicOptions.sessionSwitch(MagicOptions.PUSH_LIMIT);

  private StructType columns;
  private final List<Predicate> pushed = new ArrayList<>();
  private final List<Expr> conjuncts = new ArrayList<>();
  private final List<String> declined = new ArrayList<>();
  private int limit;

  MagicScanBuilder(MagicTable table, SnapshotLease lease, int splitsWanted) {
    this.table = table;
    this.lease = lease;
    this.splitsWanted = splitsWanted;
    this.columns = CatalogV2Util.v2ColumnsToStructType(table.columns());
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
          throw new PredicateTranslator.Declined(MagicOptions.PUSH_FILTERS + " is off");
        }
        conjuncts.add(translator.translate(predicate));
        pushed.add(predicate);
      } catch (PredicateTranslator.Declined reason) {
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

  /** Each split stops there; Spark still cuts the whole (isPartiallyPushed). */
  @Override
  public boolean pushLimit(int limit) {
    if (!pushLimit) {
      return false;
    }
    this.limit = limit;
    return true;
  }

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
    return new MagicScan(table, lease, wanted, columns, plan, pushed, declined);
  }

  private ScanDescriptor descriptor(Expr predicate) {
    ScanDescriptor.Builder scan =
        ScanDescriptor.newBuilder()
            .setDatabase(table.info().getDatabase())
            .setTable(table.info().getTable())
            .setNoColumns(columns.isEmpty())
            .setSnapshot(lease.ref())
            .setSplitsWanted(splits())
            .setProfile(OutputProfile.SPARK)
            .setLimit(limit)
            .setSchemaVersion(table.info().getSchemaVersion());

    for (StructField field : columns.fields()) {
      scan.addColumns(field.name());
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
    Map<String, String> renamed = SchemaCheck.rename(analysed, found.get(0), names);
    ScanDescriptor.Builder scan =
        wanted.toBuilder().clearColumns().setSchemaVersion(found.get(0).getSchemaVersion());
    wanted.getColumnsList().forEach(name -> scan.addColumns(renamed.get(name)));
    if (predicate != null) {
      scan.setPredicate(Exprs.rename(predicate, renamed));
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
