/* Metrics.java -- what the scan node of a query shows besides Spark's own numbers.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import org.apache.spark.sql.connector.metric.CustomMetric;
import org.apache.spark.sql.connector.metric.CustomSumMetric;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;

/** Spark makes the classes again by reflection, to add up the tasks' values: they are public and need no arguments. */
public final class Metrics {
  private Metrics() {}

  private static final String ROWS = "magicRows";
  private static final String BYTES = "magicBytes";
  private static final String BATCHES = "magicBatches";
  private static final String WAIT = "magicWaitMs";

  /** Rows that the store sent. */
  public static final class Rows extends CustomSumMetric {
    @Override
    public String name() {
      return ROWS;
    }

    @Override
    public String description() {
      return "rows from the store";
    }
  }

  /** Bytes of Arrow memory that the store sent. */
  public static final class Bytes extends CustomSumMetric {
    @Override
    public String name() {
      return BYTES;
    }

    @Override
    public String description() {
      return "bytes from the store";
    }
  }

  /** Record batches. */
  public static final class Batches extends CustomSumMetric {
    @Override
    public String name() {
      return BATCHES;
    }

    @Override
    public String description() {
      return "batches from the store";
    }
  }

  /** How long tasks waited for the store, all together. */
  public static final class WaitMs extends CustomSumMetric {
    @Override
    public String name() {
      return WAIT;
    }

    @Override
    public String description() {
      return "ms waited for the store";
    }
  }

  private record Value(String name, long value) implements CustomTaskMetric {}

  static CustomMetric[] all() {
    return new CustomMetric[] {new Rows(), new Bytes(), new Batches(), new WaitMs()};
  }

  static CustomTaskMetric[] values(long rows, long bytes, long batches, long waitMs) {
    return new CustomTaskMetric[] {
      new Value(ROWS, rows), new Value(BYTES, bytes), new Value(BATCHES, batches), new Value(WAIT, waitMs)
    };
  }
}
