/* MagicClient.java -- the calls of proto/scan.proto to one magicd.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import com.google.protobuf.Parser;
import io.grpc.ManagedChannel;
import io.grpc.netty.NettyChannelBuilder;
import io.magicstore.proto.AcquireRequest;
import io.magicstore.proto.DatabaseInfo;
import io.magicstore.proto.LagRequest;
import io.magicstore.proto.LagResponse;
import io.magicstore.proto.Lease;
import io.magicstore.proto.ListDatabasesRequest;
import io.magicstore.proto.ListTablesRequest;
import io.magicstore.proto.ReleaseRequest;
import io.magicstore.proto.RenewRequest;
import io.magicstore.proto.ScanDescriptor;
import io.magicstore.proto.ScanPlan;
import io.magicstore.proto.SnapshotRef;
import io.magicstore.proto.StatsRequest;
import io.magicstore.proto.TableInfo;
import io.magicstore.proto.TableStats;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.TimeUnit;
import org.apache.arrow.flight.Action;
import org.apache.arrow.flight.CallOption;
import org.apache.arrow.flight.CallOptions;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightDescriptor;
import org.apache.arrow.flight.FlightEndpoint;
import org.apache.arrow.flight.FlightGrpcUtils;
import org.apache.arrow.flight.FlightInfo;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.Location;
import org.apache.arrow.flight.Result;
import org.apache.arrow.flight.Ticket;
import org.apache.arrow.memory.BufferAllocator;

/**
 * One per address and process, shared by all threads, never closed: the connection below goes idle by itself. Each call has
 * a time limit; none is tried again here ({@link Retry} does that).
 */
public final class MagicClient {
  private static final ConcurrentMap<Address, MagicClient> CLIENTS = new ConcurrentHashMap<>();
  private static final long CALL_LIMIT_MS = 20_000;
  private static final int CONNECT_LIMIT_MS = 5_000;

  private final Address address;
  private final ManagedChannel channel;
  private final FlightClient control;

  private MagicClient(Address address) {
    this.address = address;
    channel =
        NettyChannelBuilder.forAddress(address.host(), address.port())
            .usePlaintext()
            .maxInboundMessageSize(Integer.MAX_VALUE)
            .keepAliveTime(60, TimeUnit.SECONDS)
            .withOption(
                io.netty.channel.ChannelOption.CONNECT_TIMEOUT_MILLIS, CONNECT_LIMIT_MS)
            .build();
    control = FlightGrpcUtils.createFlightClientWithSharedChannel(Memory.root(), channel);
  }

  public static MagicClient at(Address address) {
    return CLIENTS.computeIfAbsent(address, MagicClient::new);
  }

  public Address address() {
    return address;
  }

  /** A split: what to read, and where; an empty list of places is this client's own address. */
  public record Split(byte[] ticket, List<Address> places) {}

  /** What GetFlightInfo answered. Counts are -1 when the store does not know them. */
  public record Plan(ScanPlan scan, List<Split> splits, long rowCount, long sizeBytes) {}

  public Lease acquire(SnapshotRef snapshot, String holder, long ttlMs, long waitMs) {
    AcquireRequest request =
        AcquireRequest.newBuilder()
            .setSnapshot(snapshot)
            .setHolder(holder)
            .setTtlMs(Math.toIntExact(ttlMs))
            .build();
    return one("magic.acquire", request, Lease.parser(), CALL_LIMIT_MS + waitMs);
  }

  public Lease renew(com.google.protobuf.ByteString token, long ttlMs, long limitMs) {
    RenewRequest request =
        RenewRequest.newBuilder().setToken(token).setTtlMs(Math.toIntExact(ttlMs)).build();
    return one("magic.renew", request, Lease.parser(), limitMs);
  }

  public void release(com.google.protobuf.ByteString token, long limitMs) {
    action("magic.release", ReleaseRequest.newBuilder().setToken(token).build(), limitMs);
  }

  /** Empty database or table: all of them. */
  public List<TableInfo> tables(SnapshotRef snapshot, String database, String table) {
    ListTablesRequest request =
        ListTablesRequest.newBuilder()
            .setSnapshot(snapshot)
            .setDatabase(database)
            .setTable(table)
            .build();
    List<TableInfo> tables = new ArrayList<>();

    for (byte[] body : action("magic.tables", request, CALL_LIMIT_MS)) {
      tables.add(parse("magic.tables", body, TableInfo.parser()));
    }
    return tables;
  }

  /** Empty database: all of them, also those that hold no table. */
  public List<String> databases(SnapshotRef snapshot, String database) {
    ListDatabasesRequest request =
        ListDatabasesRequest.newBuilder().setSnapshot(snapshot).setDatabase(database).build();
    List<String> databases = new ArrayList<>();

    for (byte[] body : action("magic.databases", request, CALL_LIMIT_MS)) {
      databases.add(parse("magic.databases", body, DatabaseInfo.parser()).getDatabase());
    }
    return databases;
  }

  /** What is known of some columns of a table (empty: of all); the store looks at all its rows in memory. */
  public TableStats stats(SnapshotRef snapshot, String database, String table, Collection<String> columns) {
    StatsRequest request =
        StatsRequest.newBuilder()
            .setSnapshot(snapshot)
            .setDatabase(database)
            .setTable(table)
            .addAllColumns(columns)
            .build();
    return one("magic.stats", request, TableStats.parser(), CALL_LIMIT_MS);
  }

  public LagResponse lag() {
    return one("magic.lag", LagRequest.getDefaultInstance(), LagResponse.parser(), CALL_LIMIT_MS);
  }

  /** Splits and tickets of a scan, and the snapshot they stand under. */
  public Plan plan(ScanDescriptor scan) {
    String what = "plan of a scan of " + scan.getDatabase() + "." + scan.getTable();
    FlightInfo info;

    try {
      info = control.getInfo(FlightDescriptor.command(Any.pack(scan).toByteArray()), limit(CALL_LIMIT_MS));
    } catch (FlightRuntimeException failure) {
      throw MagicException.of(what, failure);
    }
    List<Split> splits = new ArrayList<>();
    for (FlightEndpoint endpoint : info.getEndpoints()) {
      splits.add(new Split(endpoint.getTicket().getBytes(), places(endpoint)));
    }
    return new Plan(
        parse(what, info.getAppMetadata(), ScanPlan.parser()), splits, info.getRecords(), info.getBytes());
  }

  /** Starts to read a ticket; memory is taken from the allocator, which must outlive the stream. */
  public BatchStream read(byte[] ticket, BufferAllocator allocator) {
    ReportedChannel reported = new ReportedChannel(channel);
    FlightClient client = FlightGrpcUtils.createFlightClientWithSharedChannel(allocator, reported);

    try {
      return new BatchStream(client, client.getStream(new Ticket(ticket)), reported);
    } catch (FlightRuntimeException failure) {
      BatchStream.closeQuietly(client);
      throw MagicException.of("read from " + address, failure);
    }
  }

  private static List<Address> places(FlightEndpoint endpoint) {
    List<Address> places = new ArrayList<>();

    for (Location location : endpoint.getLocations()) {
      String scheme = location.getUri().getScheme();
      if ("grpc".equals(scheme) || "grpc+tcp".equals(scheme)) {
        places.add(Address.parse(location.getUri().toString()));
      }
    }
    return places;
  }

  private <T> T one(String name, MessageLite request, Parser<T> parser, long limitMs) {
    List<byte[]> bodies = action(name, request, limitMs);

    if (bodies.size() != 1) {
      throw new MagicException(Code.PROTOCOL, name + ": " + bodies.size() + " results where 1 was expected");
    }
    return parse(name, bodies.get(0), parser);
  }

  private List<byte[]> action(String name, MessageLite request, long limitMs) {
    List<byte[]> bodies = new ArrayList<>();

    try {
      Iterator<Result> results = control.doAction(new Action(name, request.toByteArray()), limit(limitMs));
      while (results.hasNext()) {
        bodies.add(results.next().getBody());
      }
    } catch (FlightRuntimeException failure) {
      throw MagicException.of(name + " at " + address, failure);
    }
    return bodies;
  }

  private static CallOption limit(long limitMs) {
    return CallOptions.timeout(limitMs, TimeUnit.MILLISECONDS);
  }

  private static <T> T parse(String name, byte[] body, Parser<T> parser) {
    try {
      return parser.parseFrom(body);
    } catch (InvalidProtocolBufferException failure) {
      throw new MagicException(Code.PROTOCOL, name + ": the answer cannot be read", failure);
    }
  }
}
