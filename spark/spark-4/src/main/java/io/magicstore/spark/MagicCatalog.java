/* MagicCatalog.java -- the catalog, with what Spark 4 asks of one.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import org.apache.spark.sql.catalyst.analysis.NoSuchNamespaceException;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.TableSummary;

/** spark.sql.catalog.NAME=io.magicstore.spark.MagicCatalog. */
public final class MagicCatalog extends StoreCatalog {
  /** Without it SHOW TABLES would load each table. */
  @Override
  public TableSummary[] listTableSummaries(String[] namespace) throws NoSuchNamespaceException {
    return tablesOf(namespace).stream()
        .map(table -> TableSummary.of(Identifier.of(namespace, table.getTable()), TableSummary.FOREIGN_TABLE_TYPE))
        .toArray(TableSummary[]::new);
  }
}
