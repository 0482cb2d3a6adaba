/* SparkTypes.java -- Magic's types as Spark sees them in the output profile SPARK.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.ColumnType;
import io.magicstore.client.MagicException;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.TableInfo;
import org.apache.spark.sql.connector.catalog.Column;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;

final class SparkTypes {
  private SparkTypes() {}

  static DataType of(ColumnType type) {
    return switch (type.kind()) {
      case INT8 -> DataTypes.ByteType;
      case INT16, UINT8 -> DataTypes.ShortType;
      case INT32, UINT16 -> DataTypes.IntegerType;
      case INT64, UINT32 -> DataTypes.LongType;
      case UINT64 -> DataTypes.createDecimalType(20, 0);
      case FLOAT32 -> DataTypes.FloatType;
      case FLOAT64 -> DataTypes.DoubleType;
      case DECIMAL -> DataTypes.createDecimalType(type.precision(), type.scale());
      case DATE -> DataTypes.DateType;
      case DATETIME -> DataTypes.TimestampNTZType;
      case TIMESTAMP -> DataTypes.TimestampType;
      case UTF8 -> DataTypes.StringType;
    };
  }

  /** The columns of a table; a type that this client does not know is an error that names the column. */
  static Column[] columns(TableInfo table) {
    Column[] columns = new Column[table.getColumnsCount()];

    for (int i = 0; i < columns.length; i++) {
      ColumnInfo info = table.getColumns(i);
      ColumnType type = ColumnType.parse(info.getType());
      if (type == null) {
        throw new MagicException(
            Code.TABLE_UNSUPPORTED,
            "table " + table.getDatabase() + "." + table.getTable() + ": column " + info.getName() + " has type "
                + info.getType() + ", which this client does not know");
      }
      String metadata = "{\"magic.source_type\":\"" + info.getSourceType().replace("\\", "\\\\").replace("\"", "\\\"") + "\"}";
      columns[i] = Column.create(info.getName(), of(type), info.getNullable(), null, metadata);
    }
    return columns;
  }
}
