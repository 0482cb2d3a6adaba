/* FakeStore.java -- the actions and streams of a magicd for tests, in this process.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import io.magicstore.proto.Lease;
import io.magicstore.proto.ReleaseRequest;
import io.magicstore.proto.RenewRequest;
import io.magicstore.proto.Snapshot;
import io.magicstore.proto.Watermark;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.arrow.flight.Action;
import org.apache.arrow.flight.CallStatus;
import org.apache.arrow.flight.FlightServer;
import org.apache.arrow.flight.Location;
import org.apache.arrow.flight.NoOpFlightProducer;
import org.apache.arrow.flight.Result;
import org.apache.arrow.flight.Ticket;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.Schema;

/** Every lease is on the next epoch. Counters are read by tests, switches set by them. */
final class FakeStore implements AutoCloseable {
  final AtomicInteger acquired = new AtomicInteger();
  final AtomicInteger renewed = new AtomicInteger();
  final Set<String> released = ConcurrentHashMap.newKeySet();
  final AtomicInteger failuresLeft = new AtomicInteger();
  volatile boolean refusesRenewal;
  volatile long ttlMs = 60_000;

  /** The server's side, which may still be sending when it is closed: not looked at by tests. */
  private final BufferAllocator memory = new RootAllocator();
  private final FlightServer server;

  FakeStore() throws Exception {
    server = FlightServer.builder(memory, Location.forGrpcInsecure("127.0.0.1", 0), new Producer()).build().start();
  }

  Address address() {
    return new Address("127.0.0.1", server.getPort());
  }

  private Lease lease(String token) {
    return Lease.newBuilder()
        .setToken(ByteString.copyFromUtf8(token))
        .setSnapshot(
            Snapshot.newBuilder()
                .setEpoch(acquired.get())
                .setStoreId(1)
                .addWatermarks(Watermark.newBuilder().setSource("tidb").setTs(448612345678901234L)))
        .setExpiresMs(System.currentTimeMillis() + ttlMs)
        .setExpiresAtMostMs(Long.MAX_VALUE)
        .build();
  }

  private final class Producer extends NoOpFlightProducer {
    /** Batches of 1,000 numbers until the reader goes away; any ticket. */
    @Override
    public void getStream(CallContext context, Ticket ticket, ServerStreamListener listener) {
      Schema schema = new Schema(List.of(Field.notNullable("n", new ArrowType.Int(64, true))));

      try (VectorSchemaRoot root = VectorSchemaRoot.create(schema, memory)) {
        listener.start(root);
        BigIntVector numbers = (BigIntVector) root.getVector(0);
        while (!listener.isCancelled()) {
          if (!listener.isReady()) {
            Thread.onSpinWait();
            continue;
          }
          numbers.allocateNew(1000);
          for (int i = 0; i < 1000; i++) {
            numbers.set(i, i);
          }
          root.setRowCount(1000);
          listener.putNext();
        }
      }
    }

    @Override
    public void doAction(CallContext context, Action action, StreamListener<Result> listener) {
      try {
        answer(action, listener);
      } catch (InvalidProtocolBufferException failure) {
        listener.onError(failure);
      }
    }

    private void answer(Action action, StreamListener<Result> listener) throws InvalidProtocolBufferException {
      if (failuresLeft.getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
        listener.onError(CallStatus.UNAVAILABLE.withDescription("starting").toRuntimeException());
        return;
      }
      switch (action.getType()) {
        case "magic.acquire" -> listener.onNext(new Result(lease("lease " + acquired.incrementAndGet()).toByteArray()));
        case "magic.renew" -> {
          if (refusesRenewal) {
            listener.onError(CallStatus.INVALID_ARGUMENT.withDescription("over").toRuntimeException());
            return;
          }
          renewed.incrementAndGet();
          String token = RenewRequest.parseFrom(action.getBody()).getToken().toStringUtf8();
          listener.onNext(new Result(lease(token).toByteArray()));
        }
        case "magic.release" -> released.add(ReleaseRequest.parseFrom(action.getBody()).getToken().toStringUtf8());
        default -> throw new IllegalArgumentException(action.getType());
      }
      listener.onCompleted();
    }
  }

  @Override
  public void close() throws Exception {
    server.close();
  }
}
