/* BatchStreamTest.java -- a stream gives its memory back, however its reader ends.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.apache.arrow.memory.BufferAllocator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(300) // a hang; a busy machine takes long
class BatchStreamTest {
  private static final byte[] TICKET = {1};

  @Test
  void anInterruptedThreadFreesIt() throws Exception {
    try (FakeStore store = new FakeStore()) {
      BufferAllocator memory = Memory.child("task", Long.MAX_VALUE);
      BatchStream stream = MagicClient.at(store.address()).read(TICKET, memory);
      assertTrue(stream.next());
      assertEquals(1000, stream.root().getRowCount());

      Thread.currentThread().interrupt();
      stream.close();
      assertTrue(Thread.interrupted(), "the interrupt is kept for whoever looks at it next");
      assertNull(Memory.close(memory));
    }
  }

  @Test
  void anInterruptWhileItClosesFreesIt() throws Exception {
    try (FakeStore store = new FakeStore()) {
      for (int i = 0; i < 200; i++) {
        BufferAllocator memory = Memory.child("task " + i, Long.MAX_VALUE);
        BatchStream stream = MagicClient.at(store.address()).read(TICKET, memory);
        assertTrue(stream.next());
        Thread reader = Thread.currentThread();
        long delay = i * 5_000L;
        Thread killer =
            new Thread(
                () -> {
                  for (long until = System.nanoTime() + delay; System.nanoTime() < until; ) {
                    Thread.onSpinWait();
                  }
                  stream.cancel("killed");
                  reader.interrupt();
                });
        killer.start();
        stream.close();
        while (killer.isAlive()) {
          Thread.onSpinWait();
        }
        Thread.interrupted();
        assertNull(Memory.close(memory), "after " + delay + " ns");
      }
    }
  }

  @Test
  void anInterruptedReadIsCancelled() throws Exception {
    try (FakeStore store = new FakeStore()) {
      BufferAllocator memory = Memory.child("task", Long.MAX_VALUE);
      BatchStream stream = MagicClient.at(store.address()).read(TICKET, memory);
      Thread.currentThread().interrupt();
      MagicException failure =
          assertThrows(
              MagicException.class,
              () -> {
                while (stream.next()) {}
              });
      assertEquals(Code.CANCELLED, failure.code());
      stream.close();
      assertTrue(Thread.interrupted());
      assertNull(Memory.close(memory));
    }
  }
}
