/* MagicReader.java -- the batches of one split, as Spark's columns over Arrow's memory.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Address;
import io.magicstore.client.BatchStream;
import io.magicstore.client.Code;
import io.magicstore.client.MagicClient;
import io.magicstore.client.MagicException;
import io.magicstore.client.Memory;
import io.magicstore.client.PartialBatches;
import io.magicstore.client.PartialShape;
import io.magicstore.client.Retry;
import io.magicstore.client.ScanReport;
import java.util.List;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.spark.TaskContext;
import org.apache.spark.sql.connector.metric.CustomTaskMetric;
import org.apache.spark.sql.connector.read.PartitionReader;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.vectorized.ColumnarBatch;
import org.apache.spark.util.TaskCompletionListener;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Belongs to the task's thread, but for the cancel that Spark calls when the task is killed. A store that is away before the
 * first batch is waited for; after it, the task fails and Spark runs it again with the same ticket. Ends the store's scan when
 * it is closed early. Memory: one allocator a task, empty when it is closed.
 */
final class MagicReader implements PartitionReader<ColumnarBatch> {
  private static final Logger LOG = LoggerFactory.getLogger(MagicReader.class);

  private final MagicOptions options;
  private final StructType columns;
  private final MagicPartition partition;
  private final ReadFaults.Attempt faults;
  private final BufferAllocator allocator;
  /** Null for rows, and for results that need nothing done to them. */
  private final PartialBatches partials;

  private volatile BatchStream stream;
  private volatile boolean killed;
  private ArrowColumn[] vectors;
  private ColumnarBatch batch;
  private boolean closed;

  private long rowCount;
  private long byteCount;
  private long batchCount;
  private long waitNanos;
  private ScanReport report = ScanReport.NONE;

  MagicReader(MagicOptions options, StructType columns, PartialShape partial, MagicPartition partition, ReadFaults faults) {
    TaskContext task = TaskContext.get();

    this.options = options;
    this.columns = columns;
    this.partition = partition;
    this.faults = faults.attempt(task);
    this.allocator = Memory.child(task == null ? "read" : "task " + task.taskAttemptId(), options.taskMemoryBytes());
    this.partials = partial != null && partial.changesBatches() ? new PartialBatches(partial, allocator) : null;
    if (task != null) {
      task.addTaskCompletionListener((TaskCompletionListener) ended -> close());
      Line.onKill(task, this::cancel); // a read may wait for long, and a killed task is not interrupted there
    }
  }

  private void cancel(String why) {
    BatchStream reading = stream;

    killed = true;
    if (reading != null) {
      reading.cancel("the task was killed: " + why);
    }
  }

  @Override
  public boolean next() {
    boolean more;
    long began = System.nanoTime();

    try {
      more = stream == null ? first() : advance();
    } catch (MagicException failure) {
      throw ComputeErrors.ofSpark(failure.withHint());
    } finally {
      waitNanos += System.nanoTime() - began;
    }
    if (!more) {
      report = stream.report();
    }
    faults.afterBatches(batchCount, !more);
    if (!more) {
      return false;
    }
    show();
    return true;
  }

  /** Opens the ticket; true when there is a batch. */
  private boolean first() {
    Retry retry = new Retry(options.retryMs());

    while (true) {
      try {
        if (killed) {
          throw new MagicException(Code.CANCELLED, "the task was killed");
        }
        stream = client().read(faults.ticket(client(), partition), allocator);
        if (killed) {
          stream.cancel("the task was killed");
        }
        return advance();
      } catch (MagicException failure) {
        closeStream();
        retry.waitOrThrow(failure);
      }
    }
  }

  private boolean advance() {
    return partials == null ? stream.next() : partials.next(stream);
  }

  private MagicClient client() {
    List<Address> places = partition.places();

    return MagicClient.at(places.isEmpty() ? options.uri() : places.get(0));
  }

  private void show() {
    List<FieldVector> arrow = partials == null ? stream.root().getFieldVectors() : partials.vectors();

    if (arrow.size() != columns.size()) {
      throw new MagicException(
          Code.PROTOCOL, "the store sent " + arrow.size() + " columns where " + columns.size() + " were asked for");
    }
    if (batch == null) {
      vectors = new ArrowColumn[arrow.size()];
      for (int i = 0; i < vectors.length; i++) {
        vectors[i] = ArrowColumn.over(columns.fields()[i], arrow.get(i));
      }
      batch = new ColumnarBatch(vectors);
    }
    for (int i = 0; i < vectors.length; i++) {
      vectors[i].load(arrow.get(i));
      byteCount += arrow.get(i).getBufferSize();
    }
    batch.setNumRows(partials == null ? stream.root().getRowCount() : partials.rowCount());
    rowCount = partials == null ? rowCount + batch.numRows() : partials.receivedRows();
    batchCount++;
  }

  @Override
  public ColumnarBatch get() {
    return batch;
  }

  @Override
  public CustomTaskMetric[] currentMetricsValues() {
    return Metrics.values(rowCount, byteCount, batchCount, waitNanos / 1_000_000, report);
  }

  private void closeStream() {
    BatchStream reading = stream;

    stream = null;
    if (reading != null) {
      reading.close();
    }
  }

  /** Called by Spark when the task ends, also early; more than once. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    try {
      closeStream();
    } catch (MagicException failure) {
      LOG.info("end of {}: {}", partition, failure.getMessage());
    }
    if (partials != null) {
      partials.close();
    }
    IllegalStateException leak = Memory.close(allocator);
    if (leak != null) {
      LOG.error("{} left memory behind", partition, leak);
    }
  }
}
