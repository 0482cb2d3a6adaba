/* MagicReaderFactory.java -- makes the reader of a split on an executor.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.PartialShape;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.read.InputPartition;
import org.apache.spark.sql.connector.read.PartitionReader;
import org.apache.spark.sql.connector.read.PartitionReaderFactory;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.vectorized.ColumnarBatch;

final class MagicReaderFactory implements PartitionReaderFactory {
  private static final long serialVersionUID = 1;

  private final MagicOptions options;
  private final StructType columns;
  private final PartialShape partial;
  private final ReadFaults faults;

  /** partial: of results that Spark adds up, else null. */
  MagicReaderFactory(MagicOptions options, StructType columns, PartialShape partial, ReadFaults faults) {
    this.options = options;
    this.columns = columns;
    this.partial = partial;
    this.faults = faults;
  }

  @Override
  public boolean supportColumnarReads(InputPartition partition) {
    return true;
  }

  @Override
  public PartitionReader<ColumnarBatch> createColumnarReader(InputPartition partition) {
    return new MagicReader(options, columns, partial, (MagicPartition) partition, faults);
  }

  @Override
  public PartitionReader<InternalRow> createReader(InputPartition partition) {
    throw new UnsupportedOperationException("Magic's scans are columnar");
  }
}
