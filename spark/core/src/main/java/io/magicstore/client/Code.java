/* Code.java -- the store's result codes, by the names (or numbers) that travel in the trailer "magic-code".
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

/** Names and numbers are those of src/base/codes.def; the numbers never change. */
public enum Code {
  INVALID(1, false),
  NOT_FOUND(2, false),
  EXISTS(3, false),
  CORRUPT(4, false),
  IO(5, false),
  NO_SPACE(6, false),
  NO_MEMORY(7, true),
  TOO_BIG(8, false),
  BUSY(9, true),
  TIMEOUT(10, false),
  CANCELLED(11, false),
  UNAVAILABLE(12, true),
  UNIMPLEMENTED(13, false),
  INTERNAL(14, false),
  UNAUTHENTICATED(15, false),
  DENIED(16, false),
  PROTOCOL(17, false),
  CLOSED(18, true),
  STOPPED(19, false),
  SNAPSHOT_EXPIRED(32, false),
  SNAPSHOT_TOO_OLD(33, false),
  SNAPSHOT_NOT_YET(34, false),
  TICKET_INVALID(35, false),
  TABLE_NEEDS_RELOAD(36, false),
  TABLE_UNSUPPORTED(37, false),
  SCHEMA_CHANGED(38, false),
  WRITER_FENCED(39, false),
  SOURCE_STOPPED(40, false),
  OUT_OF_RANGE(41, false),
  DIVIDE_BY_ZERO(42, false);

  private final int number;
  private final boolean worthRetrying;

  Code(int number, boolean worthRetrying) {
    this.number = number;
    this.worthRetrying = worthRetrying;
  }

  public int number() {
    return number;
  }

  /** The same call may succeed a moment later, without anybody changing it. */
  public boolean worthRetrying() {
    return worthRetrying;
  }

  /** By number or name, as a trailer holds it; null when this version does not know it. */
  static Code of(String text) {
    if (text == null) {
      return null;
    }
    for (Code code : values()) {
      if (code.name().equals(text) || Integer.toString(code.number).equals(text)) {
        return code;
      }
    }
    return null;
  }
}
