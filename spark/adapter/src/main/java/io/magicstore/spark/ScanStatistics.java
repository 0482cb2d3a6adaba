/* ScanStatistics.java -- about how many rows and bytes a scan gives, and what its columns hold.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.ColumnType;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.Expr;
import io.magicstore.proto.ScanDescriptor;
import io.magicstore.proto.TableInfo;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.sql.connector.expressions.NamedReference;
import org.apache.spark.sql.connector.read.Statistics;
import org.apache.spark.sql.connector.read.colstats.ColumnStatistics;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.StringType;

/**
 * Immutable.
 *
 * @param numRows about; never 0, which Spark would believe
 * @param sizeInBytes as Spark holds rows
 */
record ScanStatistics(OptionalLong numRows, OptionalLong sizeInBytes, Map<NamedReference, ColumnStatistics> columnStats)
    implements Statistics {
  private static final int ROW_BYTES = 8; // that Spark adds
  private static final int TEXT_BYTES = 20; // Spark's guess
  private static final Pattern LENGTH = Pattern.compile("\\w*char\\((\\d+)\\).*", Pattern.CASE_INSENSITIVE);

  /** How the scan changes the number of rows that its predicate keeps. */
  private static double rowsOf(ScanDescriptor scan, TableFacts facts, double kept, int splits) {
    double most = scan.getLimit() > 0 ? Math.min(kept, (double) scan.getLimit() * splits) : kept;

    if (!scan.hasAggregation()) {
      return most;
    }
    double groups = 1;
    for (Expr group : scan.getAggregation().getGroupsList()) {
      ColumnFacts column = group.hasColumn() ? facts.columns().get(group.getColumn().getName()) : null;
      groups *= column == null ? most : column.distinctCount() + 1;
    }
    return Math.min(Math.max(1, most), groups * splits);
  }

  /**
   * Of a scan as it was planned.
   *
   * @param predicate of the scan's what Spark's own estimates do not count again; may be null
   * @param columns what it gives
   * @param withColumns tell of them, too
   */
  static ScanStatistics of(
      TableInfo table,
      TableFacts facts,
      ScanDescriptor scan,
      Expr predicate,
      Map<String, DataType> columns,
      int splits,
      boolean withColumns) {
    long rows = (long) Math.ceil(Math.max(1, rowsOf(scan, facts, facts.rowsKept(predicate), splits)));
    long rowBytes = ROW_BYTES;

    for (Map.Entry<String, DataType> column : columns.entrySet()) {
      DataType type = column.getValue();
      rowBytes += type instanceof StringType ? textBytes(table, column.getKey()) : type.defaultSize();
    }
    return new ScanStatistics(
        OptionalLong.of(rows),
        OptionalLong.of(rows > Long.MAX_VALUE / rowBytes ? Long.MAX_VALUE : rows * rowBytes),
        withColumns && !scan.hasAggregation() ? columnStats(facts, columns, rows) : Map.of());
  }

  /**
   * Of a text: as long as it may be, or Spark's guess; more where the store needs more for a row than all other columns do, and
   * it packs rows.
   */
  private static long textBytes(TableInfo table, String name) {
    long fixed = 0;
    long texts = 1;
    long most = Long.MAX_VALUE;

    for (ColumnInfo column : table.getColumnsList()) {
      ColumnType type = ColumnType.parse(column.getType());
      if (type != null && type.kind() == ColumnType.Kind.UTF8) {
        texts++;
      } else if (type != null) {
        fixed += SparkTypes.of(type).defaultSize();
      }
      Matcher length = LENGTH.matcher(column.getSourceType());
      if (column.getName().equals(name) && length.matches()) {
        most = Math.max(1, Long.parseLong(length.group(1)));
      }
    }
    long stored = (table.getSizeBytes() / Math.max(1, table.getRowCount()) - fixed) / texts;
    return Math.min(most, Math.max(TEXT_BYTES, stored));
  }

  private record Known(OptionalLong distinctCount, OptionalLong nullCount, Optional<Object> min, Optional<Object> max, OptionalLong avgLen)
      implements ColumnStatistics {}

  /** Only of columns of which Spark's estimates hold without a range, or with the one that is known. */
  private static Map<NamedReference, ColumnStatistics> columnStats(TableFacts facts, Map<String, DataType> columns, long rows) {
    Map<NamedReference, ColumnStatistics> stats = new HashMap<>();
    double share = Math.min(1, rows / (double) Math.max(1, facts.rowCount()));

    for (Map.Entry<String, DataType> named : columns.entrySet()) {
      ColumnFacts column = facts.columns().get(named.getKey());
      boolean isText = named.getValue() instanceof StringType;
      if (column == null
          || column.type().kind() == ColumnType.Kind.DATETIME
          || !isText && column.low().isEmpty() && column.distinctCount() > 0) {
        continue;
      }
      stats.put(
          new NamedColumn(named.getKey()),
          new Known(
              OptionalLong.of(Math.min(column.distinctCount(), rows)),
              OptionalLong.of((long) Math.ceil(column.nullCount() * share)),
              column.low(),
              column.high(),
              isText ? OptionalLong.empty() : OptionalLong.of(named.getValue().defaultSize())));
    }
    return Map.copyOf(stats);
  }
}
