/* LeaseKeeper.java -- renews the leases that are in use and releases those that are not.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import io.magicstore.proto.Lease;
import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One daemon thread a process. A lease is due at a third of its time to live; while the store is away it is tried again each
 * second until the lease has run out. Refers to leases weakly: the collector finds those that no plan holds any more.
 */
final class LeaseKeeper {
  private static final Logger LOG = LoggerFactory.getLogger(LeaseKeeper.class);
  private static final long TICK_MS = 200;
  private static final long RETRY_MS = 1000;
  private static final long CALL_LIMIT_MS = 5000;
  private static final Duration NO_RENEWAL_MARGIN = Duration.ofMillis(50);

  private static final ReferenceQueue<SnapshotLease> COLLECTED = new ReferenceQueue<>();
  private static final Set<Kept> KEPT = ConcurrentHashMap.newKeySet();

  static {
    Thread thread = new Thread(LeaseKeeper::run, "magic-lease-keeper");
    thread.setDaemon(true);
    thread.start();
  }

  private LeaseKeeper() {}

  /** Owned by the keeper's thread once it is in KEPT. */
  private static final class Kept extends WeakReference<SnapshotLease> {
    final SnapshotLease.State state;
    long dueMs;

    Kept(SnapshotLease lease, SnapshotLease.State state) {
      super(lease, COLLECTED);
      this.state = state;
      this.dueMs = nextDue(state);
    }
  }

  static void keep(SnapshotLease lease, SnapshotLease.State state) {
    KEPT.add(new Kept(lease, state));
  }

  /** How many leases this process holds; for tests. */
  static int count() {
    return KEPT.size();
  }

  private static long nextDue(SnapshotLease.State state) {
    long now = System.currentTimeMillis();
    long ttlMs = state.ttlMs > 0 ? state.ttlMs : state.expiresMs - now;

    return now + Math.max(ttlMs / 3, TICK_MS);
  }

  private static void run() {
    while (true) {
      try {
        Reference<? extends SnapshotLease> collected = COLLECTED.remove(TICK_MS);
        if (collected != null) {
          release((Kept) collected);
        }
        long now = System.currentTimeMillis();
        for (Kept kept : KEPT) {
          if (kept.state.lost == null && now >= kept.dueMs) {
            renew(kept);
          }
        }
      } catch (InterruptedException | RuntimeException failure) {
        LOG.warn("lease keeper goes on after a failure", failure);
      }
    }
  }

  private static void release(Kept kept) {
    KEPT.remove(kept);
    if (kept.state.lost != null) {
      return;
    }
    try {
      kept.state.client.release(kept.state.token, CALL_LIMIT_MS);
    } catch (MagicException failure) {
      LOG.info("lease on epoch {} could not be released and will run out: {}", kept.state.epoch, failure.getMessage());
    }
  }

  private static void renew(Kept kept) {
    SnapshotLease.State state = kept.state;
    long now = System.currentTimeMillis();

    if (now >= state.endsAtMostMs) {
      state.lose("it reached its greatest age", null);
      releaseAtEnd(state);
      return;
    }
    try {
      Lease lease = state.client.renew(state.token, state.ttlMs, CALL_LIMIT_MS);
      state.expiresMs = lease.getExpiresMs();
      kept.dueMs = Math.min(nextDue(state), Math.max(state.endsAtMostMs, now + NO_RENEWAL_MARGIN.toMillis()));
    } catch (MagicException failure) {
      if (failure.code().worthRetrying() || failure.code() == Code.TIMEOUT) {
        if (now < state.expiresMs) {
          kept.dueMs = now + RETRY_MS;
        } else {
          state.lose("the store could not be reached to renew it", failure);
        }
      } else {
        state.lose("the store does not renew it", failure);
      }
    }
  }

  private static void releaseAtEnd(SnapshotLease.State state) {
    try {
      state.client.release(state.token, CALL_LIMIT_MS);
    } catch (MagicException failure) {
      LOG.info("lease on epoch {} could not be released and will run out: {}", state.epoch, failure.getMessage());
    }
  }
}
