/* Retry.java -- tries again while the store is away, for instance while it restarts.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.util.function.Supplier;

/** Back-off from 50 ms, doubling up to 2 s, until a time limit. Only codes that are worth it are tried again. */
public final class Retry {
  private static final long FIRST_WAIT_MS = 50;
  private static final long LONGEST_WAIT_MS = 2000;

  private final long endNanos;
  private long waitMs = FIRST_WAIT_MS;

  public Retry(long limitMs) {
    endNanos = System.nanoTime() + limitMs * 1_000_000;
  }

  /** Calls until it works, the limit is reached, or it fails in a way that another try would not mend. */
  public static <T> T call(long limitMs, Supplier<T> call) {
    Retry retry = new Retry(limitMs);

    while (true) {
      try {
        return call.get();
      } catch (MagicException failure) {
        retry.waitOrThrow(failure);
      }
    }
  }

  /** Returns when the next try is due; throws the failure when there is none. */
  public void waitOrThrow(MagicException failure) {
    long leftMs = (endNanos - System.nanoTime()) / 1_000_000;

    if (!failure.code().worthRetrying() || leftMs <= 0) {
      throw failure;
    }
    try {
      Thread.sleep(Math.min(waitMs, leftMs));
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      failure.addSuppressed(interrupted);
      throw failure;
    }
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}
