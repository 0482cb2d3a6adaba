/* Metrics.java -- what the scan node of a query shows besides Spark's own numbers.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.ScanReport;
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
  private static final String WIRE = "magicWireBytes";
  private static final String READ = "magicBlocksRead";
  private static final String SKIPPED = "magicBlocksSkipped";
  private static final String SERVER = "magicServerUs";

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

  /** Bytes of messages that the store sent. */
  public static final class WireBytes extends CustomSumMetric {
    @Override
    public String name() {
      return WIRE;
    }

    @Override
    public String description() {
      return "bytes on the wire";
    }
  }

  /** Blocks of rows that the store looked into. */
  public static final class BlocksRead extends CustomSumMetric {
    @Override
    public String name() {
      return READ;
    }

    @Override
    public String description() {
      return "blocks read by the store";
    }
  }

  /** Blocks that it passed over by what is known of their values. */
  public static final class BlocksSkipped extends CustomSumMetric {
    @Override
    public String name() {
      return SKIPPED;
    }

    @Override
    public String description() {
      return "blocks skipped by the store";
    }
  }

  /** How long the store worked for the tasks, all together. */
  public static final class ServerUs extends CustomSumMetric {
    @Override
    public String name() {
      return SERVER;
    }

    @Override
    public String description() {
      return "us of the store's work";
    }
  }

  private record Value(String name, long value) implements CustomTaskMetric {}

  static CustomMetric[] all() {
    return new CustomMetric[] {
      new Rows(), new Bytes(), new Batches(), new WaitMs(), new WireBytes(), new BlocksRead(), new BlocksSkipped(), new ServerUs()
    };
  }

  /** report: of a split that was read to its end, else all 0. */
  static CustomTaskMetric[] values(long rows, long bytes, long batches, long waitMs, ScanReport report) {
    return new CustomTaskMetric[] {
      new Value(ROWS, rows),
      new Value(BYTES, bytes),
      new Value(BATCHES, batches),
      new Value(WAIT, waitMs),
      new Value(WIRE, report.bytes()),
      new Value(READ, report.blocksRead()),
      new Value(SKIPPED, report.blocksSkipped()),
      new Value(SERVER, report.micros())
    };
  }
}
