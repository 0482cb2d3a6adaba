/* TableColumns.java -- the columns of a table, as Spark's expressions refer to them.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.ColumnType;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.TableInfo;
import java.util.HashMap;
import java.util.Map;
import org.apache.spark.sql.connector.expressions.Cast;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.types.DataType;

/** Immutable. */
final class TableColumns {
  record Typed(String name, ColumnType type, DataType sparkType) {}

  private final Map<String, Typed> columns = new HashMap<>();

  TableColumns(TableInfo table) {
    for (ColumnInfo info : table.getColumnsList()) {
      ColumnType type = ColumnType.parse(info.getType());
      columns.put(info.getName(), new Typed(info.getName(), type, SparkTypes.of(type)));
    }
  }

  Typed of(Expression expression) throws Declined {
    if (expression instanceof NamedReference reference && reference.fieldNames().length == 1) {
      Typed column = columns.get(reference.fieldNames()[0]);
      if (column != null) {
        return column;
      }
    }
    if (expression instanceof Cast cast) {
      throw new Declined("CAST to " + cast.dataType().sql() + " could differ");
    }
    throw new Declined("not a plain column");
  }
}
