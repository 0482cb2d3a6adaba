/* BatchStream.java -- the batches of one ticket.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.FlightStatusCode;
import org.apache.arrow.flight.FlightStream;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Belongs to one thread, but for {@link #cancel}. The batch of {@link #root} lives until the next call of {@link #next} or
 * {@link #close}. Flight asks for a handful of batches ahead, never more: a slow reader slows the store's scan.
 *
 * <p>Flight's stream waits in a queue, and when its thread is interrupted there it loses the mark of the end or leaves before
 * it freed anything. Spark interrupts tasks that it kills. So each call of the stream runs on a thread that nobody
 * interrupts, one call at a time; the reader waits for it and may leave.
 */
public final class BatchStream implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(BatchStream.class);
  private static final ExecutorService CALLS =
      Executors.newCachedThreadPool(
          work -> {
            Thread thread = new Thread(work, "magic-read");
            thread.setDaemon(true);
            return thread;
          });

  private final FlightClient client;
  private final FlightStream stream;
  private final ReportedChannel channel;
  /** The call that the reader left when it was interrupted; null when none is under way. */
  private Future<?> left;

  BatchStream(FlightClient client, FlightStream stream, ReportedChannel channel) {
    this.client = client;
    this.stream = stream;
    this.channel = channel;
  }

  /** False at the end. Blocks until the store sends something; an interrupt ends the read, and the thread stays interrupted. */
  public boolean next() {
    Future<Boolean> call = CALLS.submit(stream::next);

    try {
      return call.get();
    } catch (ExecutionException failure) {
      throw told("read", failure.getCause());
    } catch (InterruptedException interrupted) {
      left = call;
      cancel("the reader was interrupted");
      Thread.currentThread().interrupt();
      throw new MagicException(Code.CANCELLED, "read: the thread was interrupted", interrupted);
    }
  }

  public VectorSchemaRoot root() {
    return stream.getRoot();
  }

  /** Once next() was false; NONE from a store that does not tell. */
  public ScanReport report() {
    ScanReport told = channel.report();

    return told == null ? ScanReport.NONE : told;
  }

  /** Any thread: the store ends its scan, a waiting next() fails. */
  public void cancel(String why) {
    stream.cancel(why, null);
  }

  /** Cancels what is still under way and frees the memory, also when the thread is interrupted, which it stays. */
  @Override
  public void close() {
    try {
      if (left != null) {
        finish(left);
      }
      Throwable failure = finish(CALLS.submit((Callable<Void>) this::closeStream));
      if (failure != null && !isCancel(failure)) {
        throw told("end of a read", failure);
      }
    } finally {
      closeQuietly(client);
    }
  }

  private Void closeStream() throws Exception {
    stream.close();
    return null;
  }

  /** Waits for the end of a call whatever happens to this thread; what it failed with, or null. */
  private static Throwable finish(Future<?> call) {
    boolean interrupted = false;

    try {
      while (true) {
        try {
          call.get();
          return null;
        } catch (ExecutionException failure) {
          return failure.getCause();
        } catch (InterruptedException again) {
          interrupted = true;
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static boolean isCancel(Throwable failure) {
    return failure instanceof FlightRuntimeException flight && flight.status().code() == FlightStatusCode.CANCELLED;
  }

  private static MagicException told(String what, Throwable failure) {
    return failure instanceof FlightRuntimeException flight
        ? MagicException.of(what, flight)
        : new MagicException(Code.INTERNAL, what + ": " + failure, failure);
  }

  /** Closes the client over a shared channel: only its own allocator ends. What is left in it, its parent will tell. */
  static void closeQuietly(FlightClient client) {
    boolean interrupted = Thread.interrupted();

    try {
      client.close();
    } catch (InterruptedException late) {
      interrupted = true;
    } catch (IllegalStateException leak) {
      LOG.debug("the end of a client", leak);
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
