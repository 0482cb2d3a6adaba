/* ScanReport.java -- what the store says of a scan that it has read to its end.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

/**
 * The trailer "magic-scan" of a stream (docs/format/scan.md).
 *
 * @param rows sent
 * @param bytes of messages, sent
 * @param blocksRead looked into
 * @param blocksSkipped passed over by what is known of their values
 * @param micros of the store's work, without waiting for the reader
 */
public record ScanReport(long rows, long bytes, long blocksRead, long blocksSkipped, long micros) {
  public static final ScanReport NONE = new ScanReport(0, 0, 0, 0, 0);

  /** Unknown names and what is no number are left out. */
  static ScanReport parse(String text) {
    return new ScanReport(
        number(text, "rows"), number(text, "bytes"), number(text, "blocks"), number(text, "skipped"), number(text, "us"));
  }

  private static long number(String text, String name) {
    for (String pair : text.split(" ")) {
      String value = pair.startsWith(name + "=") ? pair.substring(name.length() + 1) : "";
      if (value.matches("\\d{1,18}")) {
        return Long.parseLong(value);
      }
    }
    return 0;
  }
}
