/* SnapshotLeaseTest.java -- leases are renewed while held, released when dropped, and over with a clear word.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.magicstore.proto.SnapshotRef;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(300) // a hang; a busy machine takes long
class SnapshotLeaseTest {
  private static final long HOUR_MS = 3_600_000;

  private static SnapshotLease take(FakeStore store, long ttlMs, long ageMaxMs) {
    return SnapshotLease.take(
        MagicClient.at(store.address()), SnapshotRef.getDefaultInstance(), "test", ttlMs, ageMaxMs, 10_000);
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    while (!condition.getAsBoolean()) {
      Thread.sleep(10);
    }
  }

  @Test
  void aHeldLeaseIsRenewedAndADroppedOneReleased() throws Exception {
    try (FakeStore store = new FakeStore()) {
      store.ttlMs = 900;
      SnapshotLease lease = take(store, 900, HOUR_MS);
      await(() -> store.renewed.get() >= 3);
      lease.check();
      assertTrue(store.released.isEmpty());
      assertEquals(1, lease.epoch());
      assertTrue(lease.describe().startsWith("epoch 1, W 448612345678901234 (tidb), age "), lease.describe());

      lease = null;
      await(
          () -> {
            System.gc();
            return store.released.contains("lease 1");
          });
    }
  }

  @Test
  void aStoreThatIsStartingIsWaitedFor() throws Exception {
    try (FakeStore store = new FakeStore()) {
      store.failuresLeft.set(3);
      assertEquals(1, take(store, 0, HOUR_MS).epoch());
    }
  }

  @Test
  void aStoreThatStaysAwayIsNotWaitedForLongerThanSaid() throws Exception {
    try (FakeStore store = new FakeStore()) {
      store.failuresLeft.set(Integer.MAX_VALUE);
      MagicException failure =
          assertThrows(
              MagicException.class,
              () ->
                  SnapshotLease.take(
                      MagicClient.at(store.address()), SnapshotRef.getDefaultInstance(), "test", 0, HOUR_MS, 300));
      assertEquals(Code.UNAVAILABLE, failure.code());
      store.failuresLeft.set(0);
    }
  }

  @Test
  void aRefusedRenewalEndsIt() throws Exception {
    try (FakeStore store = new FakeStore()) {
      store.refusesRenewal = true;
      SnapshotLease lease = take(store, 600, HOUR_MS);
      MagicException over = awaitEnd(lease);
      assertEquals(Code.SNAPSHOT_EXPIRED, over.code());
      assertTrue(over.getMessage().contains("Run the statement again"), over.getMessage());
      assertFalse(store.released.contains("lease 1"));
    }
  }

  @Test
  void itsGreatestAgeEndsIt() throws Exception {
    try (FakeStore store = new FakeStore()) {
      SnapshotLease lease = take(store, 600, 700);
      MagicException over = awaitEnd(lease);
      assertTrue(over.getMessage().contains("greatest age"), over.getMessage());
      await(() -> store.released.contains("lease 1"));
    }
  }

  private static MagicException awaitEnd(SnapshotLease lease) throws InterruptedException {
    while (true) {
      try {
        lease.ref();
      } catch (MagicException over) {
        return over;
      }
      Thread.sleep(10);
    }
  }
}
