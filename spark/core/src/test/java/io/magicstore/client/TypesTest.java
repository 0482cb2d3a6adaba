/* TypesTest.java -- names of types, choices of snapshots, addresses.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.magicstore.proto.SnapshotRef;
import org.junit.jupiter.api.Test;

class TypesTest {
  @Test
  void typesAreReadWithTheirNumbers() {
    assertEquals(new ColumnType(ColumnType.Kind.INT8, 0, 0), ColumnType.parse("int8"));
    assertEquals(new ColumnType(ColumnType.Kind.UINT64, 0, 0), ColumnType.parse("uint64"));
    assertEquals(new ColumnType(ColumnType.Kind.DECIMAL, 38, 10), ColumnType.parse("decimal(38,10)"));
    assertEquals(new ColumnType(ColumnType.Kind.DATETIME, 6, 0), ColumnType.parse("datetime(6)"));
    assertEquals(new ColumnType(ColumnType.Kind.DATETIME, 0, 0), ColumnType.parse("datetime"));
    assertEquals(new ColumnType(ColumnType.Kind.UTF8, 0, 0), ColumnType.parse("utf8"));
  }

  @Test
  void typesOfNewerStoresAreNotGuessed() {
    assertNull(ColumnType.parse("json"));
    assertNull(ColumnType.parse("list<float32>"));
    assertNull(ColumnType.parse(""));
  }

  @Test
  void snapshotsAreWrittenInFiveWays() {
    assertEquals(SnapshotRef.getDefaultInstance(), SnapshotChoice.parse(" latest ", 0));
    assertEquals(42, SnapshotChoice.parse("epoch:42", 0).getEpoch());
    assertEquals(448612345678901234L, SnapshotChoice.parse("448612345678901234", 0).getAsOfTs());
    SnapshotRef waits = SnapshotChoice.parse("wait:77", 1500);
    assertEquals(77, waits.getWaitTs());
    assertEquals(1500, waits.getWaitMs());
    SnapshotRef instant = SnapshotChoice.parse("1970-01-01T00:00:01.5Z", 0);
    assertEquals((1500L << 18) | 0x3ffff, instant.getAsOfTs());
    assertEquals(instant, SnapshotChoice.at(1_500_000));
  }

  @Test
  void otherSnapshotsAreRefused() {
    for (String wrong : new String[] {"newest", "epoch:", "epoch:-1", "wait:x", "2026-13-01T00:00:00Z", "-5"}) {
      assertThrows(IllegalArgumentException.class, () -> SnapshotChoice.parse(wrong, 0), wrong);
    }
  }

  @Test
  void addressesHaveASchemeAHostAndAPort() {
    assertEquals(new Address("db1", 8815), Address.parse("grpc://db1"));
    assertEquals(new Address("127.0.0.1", 9000), Address.parse("127.0.0.1:9000"));
    assertEquals(new Address("db1", 1), Address.parse("grpc+tcp://db1:1"));
    assertThrows(IllegalArgumentException.class, () -> Address.parse("grpc+tls://db1:1"));
    assertTrue(Address.parse("127.0.0.1").isLoopback());
    assertFalse(Address.parse("db1").isLoopback());
  }

  @Test
  void codesAreFoundByNumberAndName() {
    assertEquals(Code.SNAPSHOT_EXPIRED, Code.of("32"));
    assertEquals(Code.SNAPSHOT_EXPIRED, Code.of("SNAPSHOT_EXPIRED"));
    assertNull(Code.of("4711"));
    assertNull(Code.of(null));
  }
}
