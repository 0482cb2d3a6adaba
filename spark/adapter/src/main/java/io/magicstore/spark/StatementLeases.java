/* StatementLeases.java -- one snapshot for all tables of a statement.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Address;
import io.magicstore.client.MagicClient;
import io.magicstore.client.SnapshotChoice;
import io.magicstore.client.SnapshotLease;
import io.magicstore.proto.SnapshotRef;
import java.lang.ref.Reference;
import java.lang.ref.WeakReference;
import java.util.HashMap;
import java.util.Map;
import java.util.WeakHashMap;
import org.apache.spark.SparkEnv;
import org.apache.spark.sql.catalyst.QueryPlanningTracker;
import scala.Option;

/**
 * A statement is one QueryExecution. Spark optimises it, with all its subqueries, CTEs, unions, views and DataFrames that were built
 * apart, under one QueryPlanningTracker; so the tracker's identity stands for the statement.
 *
 * <p>Which snapshot, first match: AS OF in the text; the session's spark.magic.snapshot; what this tracker's statement took
 * before; a new one. The same wish in the same statement is the same lease.
 */
final class StatementLeases {
  /**
   * Trackers compare by identity. The scans of the statement hold the lease; here it is held weakly, as the map lets go of the
   * values of lost keys only when it is used again.
   */
  private static final Map<QueryPlanningTracker, Map<Wish, Reference<SnapshotLease>>> BY_TRACKER = new WeakHashMap<>();

  private record Wish(Address store, SnapshotRef snapshot) {}

  private StatementLeases() {}

  static SnapshotLease leaseFor(MagicTable table) {
    MagicOptions options = table.options();
    Wish wish = new Wish(options.uri(), table.asOf() != null ? table.asOf() : sessionChoice(options));
    Option<QueryPlanningTracker> tracker = QueryPlanningTracker.get();

    if (tracker.isEmpty()) {
      return take(options, wish);
    }
    Map<Wish, Reference<SnapshotLease>> leases;
    synchronized (BY_TRACKER) {
      leases = BY_TRACKER.computeIfAbsent(tracker.get(), key -> new HashMap<>());
    }
    synchronized (leases) {
      Reference<SnapshotLease> known = leases.get(wish);
      SnapshotLease lease = known == null ? null : known.get();
      if (lease == null) {
        lease = take(options, wish);
        leases.put(wish, new WeakReference<>(lease));
      }
      return lease;
    }
  }

  /** The session's setting; without one, the newest snapshot. */
  static SnapshotRef sessionChoice(MagicOptions options) {
    return SnapshotChoice.parse(MagicOptions.session(MagicOptions.SNAPSHOT, "latest"), options.waitMs());
  }

  private static SnapshotLease take(MagicOptions options, Wish wish) {
    return SnapshotLease.take(
        MagicClient.at(options.uri()),
        wish.snapshot(),
        holder(),
        options.leaseTtlMs(),
        options.leaseAgeMaxMs(),
        options.retryMs());
  }

  /** For people who look at the store's status. */
  private static String holder() {
    SparkEnv env = SparkEnv.get();

    return "spark " + (env == null ? "" : env.conf().get("spark.app.name", "") + " " + env.conf().get("spark.app.id", ""));
  }
}
