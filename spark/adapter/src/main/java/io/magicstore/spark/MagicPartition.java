/* MagicPartition.java -- one split on its way to a task.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Address;
import io.magicstore.client.MagicClient;
import io.magicstore.client.SnapshotLease;
import java.util.List;
import org.apache.spark.sql.connector.read.InputPartition;

/** Plain bytes and strings: a ticket is its own proof. On the driver it also holds the lease, so that a kept RDD keeps it. */
final class MagicPartition implements InputPartition {
  private static final long serialVersionUID = 1;

  private final int index;
  private final byte[] ticket;
  private final List<Address> places;
  private final byte[] descriptor;
  private final transient SnapshotLease lease;

  /** descriptor: only for a test that plans again in each task (ReadFaults), else null. */
  MagicPartition(int index, MagicClient.Split split, byte[] descriptor, SnapshotLease lease) {
    this.index = index;
    this.ticket = split.ticket();
    this.places = List.copyOf(split.places());
    this.descriptor = descriptor;
    this.lease = lease;
  }

  int index() {
    return index;
  }

  byte[] ticket() {
    return ticket;
  }

  List<Address> places() {
    return places;
  }

  byte[] descriptor() {
    return descriptor;
  }

  @Override
  public String[] preferredLocations() {
    return places.stream().filter(place -> !place.isLoopback()).map(Address::host).toArray(String[]::new);
  }

  @Override
  public String toString() {
    return "split " + index + (lease == null ? "" : " of " + lease.describe());
  }
}
