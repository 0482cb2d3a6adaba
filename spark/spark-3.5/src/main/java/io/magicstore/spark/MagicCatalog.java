/* MagicCatalog.java -- the catalog, for Spark 3.5.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

/** spark.sql.catalog.NAME=io.magicstore.spark.MagicCatalog. */
public final class MagicCatalog extends StoreCatalog {}
