/* StatementTables.java -- which tables a statement reads, as far as Spark has asked for them.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;
import org.apache.spark.sql.catalyst.QueryPlanningTracker;
import scala.Option;

/**
 * Spark finds the tables of a statement before it optimises it, and makes the scan builders of a whole plan, though not of its
 * subqueries, before it pushes anything into one of them: so a builder can know what it will be joined with. Any thread.
 */
final class StatementTables {
  private static final Map<QueryPlanningTracker, StatementTables> BY_TRACKER = new WeakHashMap<>();

  // Guarded by BY_TRACKER.
  private final Set<MagicTable> found = Collections.newSetFromMap(new IdentityHashMap<>());
  private int scanCount;

  private StatementTables() {}

  /** A table of the statement that is analysed on this thread. */
  static void found(MagicTable table) {
    synchronized (BY_TRACKER) {
      ofThread().found.add(table);
    }
  }

  /** Of the statement that is optimised on this thread, with one more scan of a table. */
  static StatementTables scanned(MagicTable table) {
    synchronized (BY_TRACKER) {
      StatementTables tables = ofThread();
      tables.found.add(table);
      tables.scanCount++;
      return tables;
    }
  }

  private static StatementTables ofThread() {
    Option<QueryPlanningTracker> tracker = QueryPlanningTracker.get();

    return tracker.isEmpty()
        ? new StatementTables()
        : BY_TRACKER.computeIfAbsent(tracker.get(), key -> new StatementTables());
  }

  /** Is there more than one table, or one that is read more than once? */
  boolean hasSeveral() {
    synchronized (BY_TRACKER) {
      return found.size() > 1 || scanCount > 1;
    }
  }

  /** Rows of the largest table. */
  long largest() {
    synchronized (BY_TRACKER) {
      return found.stream().mapToLong(table -> table.info().getRowCount()).max().orElse(0);
    }
  }
}
