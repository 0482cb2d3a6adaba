/* Memory.java -- Arrow memory of this process: one root, one child a task.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.util.concurrent.atomic.AtomicLong;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;

/** A child that is closed while something in it is still held is a leak: counted, and told to the caller. */
public final class Memory {
  private static final BufferAllocator ROOT = new RootAllocator(Long.MAX_VALUE);
  private static final AtomicLong LEAKS = new AtomicLong();

  private Memory() {}

  static BufferAllocator root() {
    return ROOT;
  }

  /** For one task or one call; the caller closes it with {@link #close}. */
  public static BufferAllocator child(String name, long limitBytes) {
    return ROOT.newChildAllocator(name, 0, limitBytes);
  }

  /** Null when nothing was left in it, else what was. */
  public static IllegalStateException close(BufferAllocator child) {
    try {
      child.close();
      return null;
    } catch (IllegalStateException leak) {
      LEAKS.incrementAndGet();
      return leak;
    }
  }

  /** How many allocators were closed with something in them. */
  public static long leakCount() {
    return LEAKS.get();
  }

  /** Bytes in use now, of all tasks. */
  public static long allocatedBytes() {
    return ROOT.getAllocatedMemory();
  }
}
