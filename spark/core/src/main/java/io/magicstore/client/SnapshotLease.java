/* SnapshotLease.java -- a snapshot that stays readable as long as somebody holds this object.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import com.google.protobuf.ByteString;
import io.magicstore.proto.Lease;
import io.magicstore.proto.Snapshot;
import io.magicstore.proto.SnapshotRef;
import io.magicstore.proto.Watermark;
import java.time.Instant;
import java.util.List;

/**
 * Holds on by being reachable: {@link LeaseKeeper} renews it meanwhile, and releases it when it was collected. Immutable but
 * for its {@link State}, which the keeper shares; any thread may use it.
 */
public final class SnapshotLease {
  /** A TiDB timestamp is milliseconds since 1970 and an 18 bit counter. */
  private static final int TSO_COUNTER_BITS = 18;

  /** What outlives the lease object, so that it can still be released. Fields: written by the keeper, read by all. */
  static final class State {
    final MagicClient client;
    final ByteString token;
    final long epoch;
    final long ttlMs;
    final long takenMs;
    final long endsAtMostMs;
    volatile long expiresMs;
    volatile MagicException lost;

    State(MagicClient client, Lease lease, long ttlMs, long ageMaxMs) {
      this.client = client;
      this.token = lease.getToken();
      this.epoch = lease.getSnapshot().getEpoch();
      this.ttlMs = ttlMs;
      this.takenMs = System.currentTimeMillis();
      this.expiresMs = lease.getExpiresMs();
      this.endsAtMostMs = Math.min(lease.getExpiresAtMostMs(), takenMs + ageMaxMs);
    }

    void lose(String why, Throwable cause) {
      lost =
          new MagicException(
              Code.SNAPSHOT_EXPIRED,
              "the snapshot of this statement (epoch " + epoch + ", taken at " + Instant.ofEpochMilli(takenMs)
                  + ") is over: " + why + ". " + MagicException.READ_ANEW,
              cause);
    }
  }

  private final State state;
  private final Snapshot snapshot;

  private SnapshotLease(State state, Snapshot snapshot) {
    this.state = state;
    this.snapshot = snapshot;
  }

  /**
   * Takes a lease and has it kept.
   *
   * @param ttlMs between two renewals the store waits at most that long; 0 = the store's default
   * @param ageMaxMs it is not renewed beyond that age
   */
  public static SnapshotLease take(
      MagicClient client, SnapshotRef which, String holder, long ttlMs, long ageMaxMs, long retryMs) {
    Lease lease = Retry.call(retryMs, () -> client.acquire(which, holder, ttlMs, which.getWaitMs()));
    State state = new State(client, lease, ttlMs, ageMaxMs);
    SnapshotLease taken = new SnapshotLease(state, lease.getSnapshot());

    LeaseKeeper.keep(taken, state);
    return taken;
  }

  public MagicClient client() {
    return state.client;
  }

  public long epoch() {
    return snapshot.getEpoch();
  }

  public long storeId() {
    return snapshot.getStoreId();
  }

  public List<Watermark> watermarks() {
    return snapshot.getWatermarksList();
  }

  /** For a scan; fails when the lease is known to be over. */
  public SnapshotRef ref() {
    check();
    return SnapshotRef.newBuilder().setLease(state.token).build();
  }

  public void check() {
    MagicException lost = state.lost;

    if (lost != null) {
      throw lost.again();
    }
  }

  /** One number for all tables of a statement, and when that was: "epoch 42, W 448612345678 (tidb), age 12 ms at 2026-...Z". */
  public String describe() {
    StringBuilder text = new StringBuilder("epoch ").append(Long.toUnsignedString(epoch()));

    for (Watermark mark : watermarks()) {
      text.append(", W ").append(Long.toUnsignedString(mark.getTs())).append(" (").append(mark.getSource());
      text.append("), age ").append(state.takenMs - (mark.getTs() >>> TSO_COUNTER_BITS)).append(" ms");
    }
    return text.append(" at ").append(Instant.ofEpochMilli(state.takenMs)).toString();
  }

  /** The TiDB timestamp that is the last one of a moment. */
  public static long tsoAt(long epochMicros) {
    return (Math.floorDiv(epochMicros, 1000L) << TSO_COUNTER_BITS) | ((1L << TSO_COUNTER_BITS) - 1);
  }
}
