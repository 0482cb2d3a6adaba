/* TableFacts.java -- what the store knows of a table's columns, asked for once in a while.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Address;
import io.magicstore.client.ColumnType;
import io.magicstore.client.MagicException;
import io.magicstore.client.SnapshotLease;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.ColumnStats;
import io.magicstore.proto.Expr;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.TableStats;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Immutable. The store looks at all rows in memory to tell of them, so its answer is kept for KEPT_MS, for TABLES_MAX tables: it
 * is used to estimate, never to answer.
 *
 * @param columns by name; those of which nothing is known are missing
 */
record TableFacts(long rowCount, Map<String, ColumnFacts> columns) {
  private static final Logger LOG = LoggerFactory.getLogger(TableFacts.class);
  private static final long KEPT_MS = 30_000;
  private static final int TABLES_MAX = 256;

  private record Known(Address store, long storeId, long tableId, long schemaVersion) {}

  /** asked: columns, also those of which the store knows nothing. */
  private record Aged(TableFacts facts, Set<String> asked, long untilMs) {}

  private static final Map<Known, Aged> KNOWN =
      new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Known, Aged> eldest) {
          return size() > TABLES_MAX;
        }
      };

  static TableFacts none(long rowCount) {
    return new TableFacts(rowCount, Map.of());
  }

  /** About how many, never none; all of them where nothing is known. */
  double rowsKept(Expr predicate) {
    return Math.max(1, rowCount * (columns.isEmpty() ? 1 : new Selectivity(this).of(predicate)));
  }

  /** The same of a table with so many rows now. */
  TableFacts withRows(long now) {
    return new TableFacts(now, columns);
  }

  /** Of these columns at least, at about the lease's snapshot; none where the store cannot tell: an optimizer does without. */
  static TableFacts of(MagicTable table, SnapshotLease lease, Set<String> wanted) {
    TableInfo info = table.info();
    Known key = new Known(table.options().uri(), lease.storeId(), info.getTableId(), info.getSchemaVersion());
    long nowMs = System.currentTimeMillis();
    Set<String> asked = new HashSet<>(wanted);

    if (wanted.isEmpty()) {
      return none(info.getRowCount());
    }
    synchronized (KNOWN) {
      Aged known = KNOWN.get(key);
      if (known != null && nowMs < known.untilMs()) {
        if (known.asked().containsAll(wanted)) {
          return known.facts();
        }
        asked.addAll(known.asked());
      }
    }
    TableFacts facts;
    try {
      facts = parse(info, lease.client().stats(lease.ref(), info.getDatabase(), info.getTable(), asked));
    } catch (MagicException failure) {
      lease.check();
      LOG.info("{} is planned without statistics: {}", table.name(), failure.getMessage());
      facts = none(info.getRowCount());
    }
    synchronized (KNOWN) {
      KNOWN.put(key, new Aged(facts, asked, nowMs + KEPT_MS));
    }
    return facts;
  }

  /** Columns by the names that the analysed table has for their ids. */
  static TableFacts parse(TableInfo info, TableStats stats) {
    Map<Long, ColumnStats> byId = new HashMap<>();
    Map<String, ColumnFacts> columns = new HashMap<>();

    stats.getColumnsList().forEach(column -> byId.put(column.getId(), column));
    for (ColumnInfo column : info.getColumnsList()) {
      ColumnStats known = byId.get(column.getId());
      ColumnType type = ColumnType.parse(column.getType());
      if (known != null && type != null) {
        columns.put(column.getName(), ColumnFacts.of(type, known));
      }
    }
    return new TableFacts(stats.getRowCount(), Map.copyOf(columns));
  }
}
