/* package-info.java -- what this package is for.
 * SPDX-License-Identifier: Apache-2.0 */

/**
 * Magic as a catalog of Spark 4. In the order in which a query meets them: {@link io.magicstore.spark.MagicCatalog}, MagicTable,
 * StatementLeases, MagicScanBuilder with PredicateTranslator, MagicScan, MagicPartition, MagicReader with ArrowColumn.
 */
package io.magicstore.spark;
