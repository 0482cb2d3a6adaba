/* StoreCatalog.java -- the databases and tables of one magicd, read only.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.MagicClient;
import io.magicstore.client.Retry;
import io.magicstore.client.SnapshotChoice;
import io.magicstore.proto.SnapshotRef;
import io.magicstore.proto.TableInfo;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.catalyst.analysis.NoSuchNamespaceException;
import org.apache.spark.sql.catalyst.analysis.NoSuchTableException;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.NamespaceChange;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableCatalog;
import org.apache.spark.sql.connector.catalog.TableChange;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * Made by Spark, once a session, from spark.sql.catalog.NAME=io.magicstore.spark.MagicCatalog. A namespace is a database.
 * Each call here asks the store; nothing is kept, and no snapshot is pinned: that happens when a scan is built
 * (StatementLeases).
 */
abstract class StoreCatalog implements TableCatalog, SupportsNamespaces {
  private String name;
  private MagicOptions options;
  private MagicClient client;

  @Override
  public void initialize(String name, CaseInsensitiveStringMap options) {
    this.name = name;
    this.options = MagicOptions.parse(name, options);
    this.client = MagicClient.at(this.options.uri());
  }

  @Override
  public String name() {
    return name;
  }

  // ---- tables

  @Override
  public Identifier[] listTables(String[] namespace) throws NoSuchNamespaceException {
    return tablesOf(namespace).stream()
        .map(table -> Identifier.of(namespace, table.getTable()))
        .toArray(Identifier[]::new);
  }

  @Override
  public Table loadTable(Identifier ident) throws NoSuchTableException {
    return load(ident, null);
  }

  /** VERSION AS OF: a commit_ts, or epoch:N. */
  @Override
  public Table loadTable(Identifier ident, String version) throws NoSuchTableException {
    return load(ident, SnapshotChoice.parse(version, options.waitMs()));
  }

  /** TIMESTAMP AS OF: the last snapshot at or before. */
  @Override
  public Table loadTable(Identifier ident, long timestamp) throws NoSuchTableException {
    return load(ident, SnapshotChoice.at(timestamp));
  }

  private Table load(Identifier ident, SnapshotRef asOf) throws NoSuchTableException {
    if (ident.namespace().length != 1) {
      throw new NoSuchTableException(ident);
    }
    MagicTable found = MagicTable.find(name, options, ident.namespace()[0], ident.name(), asOf);
    if (found == null) {
      throw new NoSuchTableException(ident);
    }
    return found;
  }

  /** All of a database. */
  final List<TableInfo> tablesOf(String[] namespace) throws NoSuchNamespaceException {
    if (namespace.length != 1) {
      throw new NoSuchNamespaceException(namespace);
    }
    List<TableInfo> tables = tables(StatementLeases.sessionChoice(options), namespace[0], "");
    if (tables.isEmpty()) {
      requireDatabase(namespace);
    }
    return tables;
  }

  private List<TableInfo> tables(SnapshotRef snapshot, String database, String table) {
    return Retry.call(options.retryMs(), () -> client.tables(snapshot, database, table));
  }

  @Override
  public Table createTable(
      Identifier ident, StructType schema, Transform[] partitions, Map<String, String> properties) {
    throw readOnly();
  }

  @Override
  public Table alterTable(Identifier ident, TableChange... changes) {
    throw readOnly();
  }

  @Override
  public boolean dropTable(Identifier ident) {
    throw readOnly();
  }

  @Override
  public void renameTable(Identifier oldIdent, Identifier newIdent) {
    throw readOnly();
  }

  // ---- namespaces

  @Override
  public String[][] listNamespaces() {
    return databases("").stream().map(database -> new String[] {database}).toArray(String[][]::new);
  }

  @Override
  public String[][] listNamespaces(String[] namespace) throws NoSuchNamespaceException {
    if (namespace.length == 0) {
      return listNamespaces();
    }
    requireDatabase(namespace);
    return new String[0][];
  }

  @Override
  public Map<String, String> loadNamespaceMetadata(String[] namespace) throws NoSuchNamespaceException {
    requireDatabase(namespace);
    return Map.of();
  }

  @Override
  public boolean namespaceExists(String[] namespace) {
    return namespace.length == 1 && !namespace[0].isEmpty() && !databases(namespace[0]).isEmpty();
  }

  private void requireDatabase(String[] namespace) throws NoSuchNamespaceException {
    if (!namespaceExists(namespace)) {
      throw new NoSuchNamespaceException(namespace);
    }
  }

  /** An empty name asks for all. */
  private List<String> databases(String database) {
    SnapshotRef snapshot = StatementLeases.sessionChoice(options);
    return Retry.call(options.retryMs(), () -> client.databases(snapshot, database));
  }

  @Override
  public void createNamespace(String[] namespace, Map<String, String> metadata) {
    throw readOnly();
  }

  @Override
  public void alterNamespace(String[] namespace, NamespaceChange... changes) {
    throw readOnly();
  }

  @Override
  public boolean dropNamespace(String[] namespace, boolean cascade) {
    throw readOnly();
  }

  private UnsupportedOperationException readOnly() {
    return new UnsupportedOperationException(
        "catalog " + name + " is read only: its tables follow the source database, change them there");
  }
}
