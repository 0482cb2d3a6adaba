/* BatchStream.java -- the batches of one ticket.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.FlightStatusCode;
import org.apache.arrow.flight.FlightStream;
import org.apache.arrow.vector.VectorSchemaRoot;

/**
 * Belongs to one thread, but for {@link #cancel}. The batch of {@link #root} lives until the next call of {@link #next} or
 * {@link #close}. Flight asks for a handful of batches ahead, never more: a slow reader slows the store's scan.
 */
public final class BatchStream implements AutoCloseable {
  private final FlightClient client;
  private final FlightStream stream;

  BatchStream(FlightClient client, FlightStream stream) {
    this.client = client;
    this.stream = stream;
  }

  /** False at the end. Blocks until the store sends something. */
  public boolean next() {
    try {
      return stream.next();
    } catch (FlightRuntimeException failure) {
      throw MagicException.of("read", failure);
    }
  }

  public VectorSchemaRoot root() {
    return stream.getRoot();
  }

  /** Any thread: the store ends its scan, a waiting next() fails. */
  public void cancel(String why) {
    stream.cancel(why, null);
  }

  /** Cancels what is still under way and frees the memory. */
  @Override
  public void close() {
    try {
      stream.close();
    } catch (FlightRuntimeException failure) {
      if (failure.status().code() != FlightStatusCode.CANCELLED) {
        throw MagicException.of("end of a read", failure);
      }
    } catch (Exception failure) {
      throw new MagicException(Code.INTERNAL, "end of a read", failure);
    } finally {
      closeQuietly(client);
    }
  }

  /** Closes the client over a shared channel: only its own empty allocator ends. */
  static void closeQuietly(FlightClient client) {
    try {
      client.close();
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
