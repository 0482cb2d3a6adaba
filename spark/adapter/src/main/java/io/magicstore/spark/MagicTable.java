/* MagicTable.java -- a table as the analyzer saw it: names, types, and perhaps an explicit snapshot.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.MagicClient;
import io.magicstore.client.MagicException;
import io.magicstore.client.Retry;
import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.SnapshotRef;
import io.magicstore.proto.TableInfo;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.spark.sql.connector.catalog.CatalogV2Util;
import org.apache.spark.sql.connector.catalog.Column;
import org.apache.spark.sql.connector.catalog.SupportsRead;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableCapability;
import org.apache.spark.sql.connector.read.ScanBuilder;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * Immutable; pins nothing. version() stays null: a table with one would be loaded again by Spark before each execution, outside of
 * the statement's planning.
 */
final class MagicTable implements Table, SupportsRead {
  private final String catalog;
  private final MagicOptions options;
  private final TableInfo info;
  private final SnapshotRef asOf;
  private final Column[] columns;

  /** asOf: of VERSION or TIMESTAMP AS OF, else null. */
  MagicTable(String catalog, MagicOptions options, TableInfo info, SnapshotRef asOf) {
    if (info.getState().equals("unsupported")) {
      throw new MagicException(
          Code.TABLE_UNSUPPORTED, "table " + info.getDatabase() + "." + info.getTable() + ": " + info.getReason());
    }
    this.catalog = catalog;
    this.options = options;
    this.info = info;
    this.asOf = asOf;
    this.columns = SparkTypes.columns(info);
  }

  /** Asks the store; null: it has no such table. Pins nothing. */
  static MagicTable find(String catalog, MagicOptions options, String database, String table, SnapshotRef asOf) {
    SnapshotRef snapshot = asOf != null ? asOf : StatementLeases.sessionChoice(options);
    List<TableInfo> found =
        Retry.call(options.retryMs(), () -> MagicClient.at(options.uri()).tables(snapshot, database, table));

    if (found.isEmpty()) {
      return null;
    }
    MagicTable loaded = new MagicTable(catalog, options, found.get(0), asOf);
    StatementTables.found(loaded);
    return loaded;
  }

  MagicOptions options() {
    return options;
  }

  TableInfo info() {
    return info;
  }

  SnapshotRef asOf() {
    return asOf;
  }

  @Override
  public String name() {
    return catalog + "." + info.getDatabase() + "." + info.getTable();
  }

  /** Of Spark 4.1 and later. */
  public String id() {
    return Long.toUnsignedString(info.getTableId());
  }

  @Override
  public Column[] columns() {
    return columns.clone();
  }

  /** Spark 3.5 has no default for it. */
  @Override
  @SuppressWarnings("deprecation")
  public StructType schema() {
    return CatalogV2Util.v2ColumnsToStructType(columns);
  }

  @Override
  public Map<String, String> properties() {
    Map<String, String> properties = new LinkedHashMap<>();

    properties.put("provider", "magic");
    properties.put("magic.state", info.getState());
    if (!info.getReason().isEmpty()) {
      properties.put("magic.reason", info.getReason());
    }
    properties.put("magic.schema_version", Long.toUnsignedString(info.getSchemaVersion()));
    String key =
        info.getColumnsList().stream().filter(ColumnInfo::getKey).map(ColumnInfo::getName).collect(Collectors.joining(","));
    if (!key.isEmpty()) {
      properties.put("magic.key", key);
    }
    return properties;
  }

  @Override
  public Set<TableCapability> capabilities() {
    return Set.of(TableCapability.BATCH_READ);
  }

  /** Called while a statement is optimised: here, and only here, its snapshot is taken. */
  @Override
  public ScanBuilder newScanBuilder(CaseInsensitiveStringMap scanOptions) {
    return new MagicScanBuilder(this, StatementLeases.leaseFor(this), scanOptions);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof MagicTable that
        && options.uri().equals(that.options.uri())
        && name().equals(that.name())
        && info.getTableId() == that.info.getTableId()
        && info.getSchemaVersion() == that.info.getSchemaVersion()
        && Objects.equals(asOf, that.asOf);
  }

  @Override
  public int hashCode() {
    return Objects.hash(options.uri(), name(), info.getTableId(), info.getSchemaVersion(), asOf);
  }

  @Override
  public String toString() {
    return name();
  }
}
