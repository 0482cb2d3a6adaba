/* ReportedChannel.java -- a connection as one stream uses it, with what the store says of the stream at its end.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ForwardingClientCall;
import io.grpc.ForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.concurrent.TimeUnit;

/** Flight shows a stream's trailers only when it fails. Ending it leaves the connection, which is shared. Any thread. */
final class ReportedChannel extends ManagedChannel {
  private static final Metadata.Key<String> REPORT = Metadata.Key.of("magic-scan", Metadata.ASCII_STRING_MARSHALLER);

  private final ManagedChannel channel;
  private volatile ScanReport report;

  ReportedChannel(ManagedChannel channel) {
    this.channel = channel;
  }

  /** Null before the end, and after an end that was not whole. Set before the reader learns of the end. */
  ScanReport report() {
    return report;
  }

  @Override
  public <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallOptions options) {
    return new ForwardingClientCall.SimpleForwardingClientCall<>(channel.newCall(method, options)) {
      @Override
      public void start(Listener<A> listener, Metadata headers) {
        super.start(new Ending<>(listener), headers);
      }
    };
  }

  private final class Ending<A> extends ForwardingClientCallListener.SimpleForwardingClientCallListener<A> {
    Ending(ClientCall.Listener<A> listener) {
      super(listener);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      String text = status.isOk() && trailers != null ? trailers.get(REPORT) : null;

      if (text != null) {
        report = ScanReport.parse(text);
      }
      super.onClose(status, trailers);
    }
  }

  @Override
  public String authority() {
    return channel.authority();
  }

  @Override
  public ManagedChannel shutdown() {
    return this;
  }

  @Override
  public ManagedChannel shutdownNow() {
    return this;
  }

  @Override
  public boolean isShutdown() {
    return channel.isShutdown();
  }

  @Override
  public boolean isTerminated() {
    return channel.isTerminated();
  }

  @Override
  public boolean awaitTermination(long timeout, TimeUnit unit) throws InterruptedException {
    return channel.awaitTermination(timeout, unit);
  }
}
