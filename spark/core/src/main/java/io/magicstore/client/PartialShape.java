/* PartialShape.java -- what the columns of a partial aggregate are, and what Spark may be given of them.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.io.Serializable;
import java.util.List;

/**
 * Immutable.
 *
 * @param grouped without groups a split without rows is one row of results, which the store does not send
 */
public record PartialShape(boolean grouped, List<Column> columns) implements Serializable {
  public enum Kind {
    GROUP,
    COUNT,
    /** MIN, MAX, and sums that may leave as they are. */
    VALUE,
    /** Must fit the argument's precision: Spark casts partial sums back to it. */
    DECIMAL_SUM,
    /** Sent as the decimal(38,0) of a partial AVG, which cannot overflow; leaves as 64 bits. */
    LONG_SUM
  }

  /**
   * @param source place in the store's batches
   * @param precision of a DECIMAL_SUM's argument, else 0
   */
  public record Column(int source, Kind kind, int precision) implements Serializable {}

  public PartialShape {
    columns = List.copyOf(columns);
  }

  /** May batches differ from what the store sends? */
  public boolean changesBatches() {
    return !grouped
        || columns.stream().anyMatch(column -> column.kind() == Kind.DECIMAL_SUM || column.kind() == Kind.LONG_SUM);
  }
}
