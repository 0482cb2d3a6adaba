/* ScanPlanner.java -- has the store plan scans of a table at one snapshot, by the names that the snapshot's table has.
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
import io.magicstore.proto.Order;
import io.magicstore.proto.ScanDescriptor;
import io.magicstore.proto.TableInfo;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Immutable; any thread. Holds the lease, under which each of its plans stands: another snapshot is never read. */
final class ScanPlanner {
  private final MagicTable table;
  private final SnapshotLease lease;

  ScanPlanner(MagicTable table, SnapshotLease lease) {
    this.table = table;
    this.lease = lease;
  }

  SnapshotLease lease() {
    return lease;
  }

  /** wanted: by the names of the analysed table. Its snapshot is set here; a lease that is lost is an error. */
  MagicClient.Plan plan(ScanDescriptor wanted) {
    ScanDescriptor scan = wanted.toBuilder().setSnapshot(lease.ref()).build();

    try {
      return ask(scan);
    } catch (MagicException failure) {
      if (failure.code() != Code.SCHEMA_CHANGED) {
        throw failure;
      }
      return ask(adapt(scan));
    }
  }

  private MagicClient.Plan ask(ScanDescriptor scan) {
    return Retry.call(table.options().retryMs(), () -> lease.client().plan(scan));
  }

  /** The snapshot's table has another schema than the analysed one: the same scan by the snapshot's names, if that is possible. */
  private ScanDescriptor adapt(ScanDescriptor wanted) {
    TableInfo analysed = table.info();
    List<TableInfo> found =
        Retry.call(
            table.options().retryMs(),
            () -> lease.client().tables(lease.ref(), analysed.getDatabase(), analysed.getTable()));
    if (found.isEmpty()) {
      throw new MagicException(Code.NOT_FOUND, "table " + table.name() + " is not in the snapshot, " + lease.describe());
    }
    Map<String, String> renamed = SchemaCheck.rename(analysed, found.get(0), names(wanted));
    ScanDescriptor.Builder scan =
        wanted.toBuilder().clearColumns().clearOrder().setSchemaVersion(found.get(0).getSchemaVersion());
    wanted.getColumnsList().forEach(name -> scan.addColumns(renamed.get(name)));
    for (Order one : wanted.getOrderList()) {
      scan.addOrder(one.toBuilder().setColumn(renamed.get(one.getColumn())));
    }
    if (wanted.hasAggregation()) {
      scan.setAggregation(rename(wanted.getAggregation(), renamed));
    }
    if (wanted.hasPredicate()) {
      scan.setPredicate(Exprs.rename(wanted.getPredicate(), renamed));
    }
    return scan.build();
  }

  private static Set<String> names(ScanDescriptor wanted) {
    Set<String> names = new LinkedHashSet<>(wanted.getColumnsList());
    Aggregation aggregation = wanted.getAggregation();

    if (wanted.hasPredicate()) {
      Exprs.columns(wanted.getPredicate(), names);
    }
    aggregation.getGroupsList().forEach(group -> Exprs.columns(group, names));
    aggregation.getCallsList().forEach(call -> Exprs.columns(call.getArgument(), names));
    wanted.getOrderList().forEach(one -> names.add(one.getColumn()));
    return names;
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
}
