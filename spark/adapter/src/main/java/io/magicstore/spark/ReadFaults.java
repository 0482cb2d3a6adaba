/* ReadFaults.java -- what tests break on purpose in the reading of splits. Without its settings it does nothing.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import com.google.protobuf.InvalidProtocolBufferException;
import io.magicstore.client.Code;
import io.magicstore.client.MagicClient;
import io.magicstore.client.MagicException;
import io.magicstore.proto.ScanDescriptor;
import java.io.Serializable;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.spark.TaskContext;

/**
 * spark.magic.test.fail-tasks: this share of the tasks fails once, after a random batch beyond the first.
 * spark.magic.test.seed: which ones. spark.magic.test.pause-ms: every task waits that long before each batch.
 * spark.magic.test.latest-per-split: each task plans and reads the newest snapshot for itself, as a client without leases would; a
 * test of snapshots must notice.
 */
public record ReadFaults(double failShare, long seed, long pauseMs, boolean readsLatest) implements Serializable {
  private static final AtomicLong INJECTED = new AtomicLong();
  private static final AtomicLong TASKS = new AtomicLong();

  static ReadFaults ofSession() {
    return new ReadFaults(
        Double.parseDouble(MagicOptions.session("spark.magic.test.fail-tasks", "0")),
        Long.parseLong(MagicOptions.session("spark.magic.test.seed", "1")),
        Long.parseLong(MagicOptions.session("spark.magic.test.pause-ms", "0")),
        Boolean.parseBoolean(MagicOptions.session("spark.magic.test.latest-per-split", "false")));
  }

  /** How many tasks of this process were made to fail. */
  public static long injectedCount() {
    return INJECTED.get();
  }

  /** How many tasks of this process read a split, failed ones and their repetitions included. */
  public static long taskCount() {
    return TASKS.get();
  }

  Attempt attempt(TaskContext task) {
    TASKS.incrementAndGet();
    return new Attempt(task);
  }

  /** The faults of one attempt of one task; belongs to its thread. */
  final class Attempt {
    private final SplittableRandom random;
    private final boolean doomed;

    private Attempt(TaskContext task) {
      random = new SplittableRandom(seed * 31 + (task == null ? 0 : task.stageId() * 1_000_003L + task.partitionId()));
      doomed = random.nextDouble() < failShare && task != null && task.attemptNumber() == 0;
    }

    /** Called when another batch, or the end, was received after `batches` were given to Spark. */
    void afterBatches(long batches, boolean end) {
      if (pauseMs > 0) {
        pause();
      }
      if (doomed && (end ? batches >= 1 : batches >= 2 && random.nextBoolean())) {
        INJECTED.incrementAndGet();
        throw new MagicException(Code.INTERNAL, "test: this task fails after batch " + batches);
      }
    }

    private void pause() {
      try {
        Thread.sleep(pauseMs);
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
        throw new MagicException(Code.CANCELLED, "test: interrupted", interrupted);
      }
    }

    byte[] ticket(MagicClient client, MagicPartition partition) {
      if (partition.descriptor() == null) {
        return partition.ticket();
      }
      try {
        ScanDescriptor latest =
            ScanDescriptor.parseFrom(partition.descriptor()).toBuilder().clearSnapshot().build();
        MagicClient.Plan plan = client.plan(latest);
        return plan.splits().get(Math.min(partition.index(), plan.splits().size() - 1)).ticket();
      } catch (InvalidProtocolBufferException failure) {
        throw new MagicException(Code.INTERNAL, "test: descriptor", failure);
      }
    }
  }
}
