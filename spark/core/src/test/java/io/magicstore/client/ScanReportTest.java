/* ScanReportTest.java -- what the store says of a scan, also one of another version.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class ScanReportTest {
  @Test
  void numbersByTheirNames() {
    assertEquals(
        new ScanReport(5000, 61234, 3, 7, 912), ScanReport.parse("rows=5000 bytes=61234 blocks=3 skipped=7 us=912"));
  }

  @Test
  void whatIsUnknownOrNoNumberIsLeftOut() {
    assertEquals(
        new ScanReport(1, 0, 0, 0, 0),
        ScanReport.parse("later=9 rows=1 blocks=many skipped=-1 us=99999999999999999999 bytes"));
    assertEquals(ScanReport.NONE, ScanReport.parse(""));
  }
}
