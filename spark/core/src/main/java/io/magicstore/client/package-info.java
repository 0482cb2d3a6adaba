/* package-info.java -- what this package is for.
 * SPDX-License-Identifier: Apache-2.0 */

/**
 * Speaks Magic's wire (proto/scan.proto on Arrow Flight) and knows no Spark: {@link io.magicstore.client.MagicClient}
 * calls, {@link io.magicstore.client.SnapshotLease} pins a snapshot, {@link io.magicstore.client.BatchStream} reads a
 * ticket.
 */
package io.magicstore.client;
